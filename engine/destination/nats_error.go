// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package destination

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/rounds-engine/rounds/engine/record"
)

func natsDenied() *record.SendError {
	return &record.SendError{Verdict: record.Pause, Code: "nats_denied", Text: "the server does not permit this user to publish to the " +
		"subject, or to subscribe to _INBOX.>, where the acknowledgement comes to"}
}

// noStream finds out why nobody answered: streams are without a leader for moments, which passes; a subject that no stream takes
// needs a person.
func (l *natsLink) noStream(ctx context.Context, subject string) error {
	e := &record.SendError{Code: "nats_no_stream"}
	_, err := l.js.StreamNameBySubject(ctx, subject)
	switch {
	case ctx.Err() != nil:
		return canceled(ctx)
	case errors.Is(err, jetstream.ErrStreamNotFound):
		e.Verdict, e.Text = record.Pause, "no stream takes the subject; add it to the subjects of a stream, or correct subject"
	case err == nil:
		e.Text = "the stream does not answer; it may be without a leader"
	case l.denied.Load():
		e.Text = "no stream answers for the subject, and this user may not ask the server whether there is one"
	default:
		e.Text = "JetStream does not answer; it may have no leader, or not be enabled for this account"
	}
	return e
}

// Codes of errors of JetStream, as in server/errors.json of nats-server.
const (
	jsNotEnabledForAccount jetstream.ErrorCode = 10039
	jsTooLarge             jetstream.ErrorCode = 10054
	jsOtherStream          jetstream.ErrorCode = 10060
	jsNotEnabled           jetstream.ErrorCode = 10076
	jsSealed               jetstream.ErrorCode = 10109
)

// natsError gives an error of the client or the server its meaning. Their texts hold addresses and subjects.
func natsError(err error) *record.SendError {
	e := &record.SendError{Code: "nats"}
	var api *jetstream.APIError
	switch {
	case errors.Is(err, nats.ErrMaxPayload):
		e.Verdict, e.Code, e.Text = record.Reject, "nats_too_large", "the notification is larger than the server takes (max_payload)"
	case errors.As(err, &api):
		e.Code = "nats_" + strconv.Itoa(int(api.ErrorCode))
		switch api.ErrorCode {
		case jsTooLarge:
			e.Verdict, e.Text = record.Reject, "the notification is larger than the stream takes (max_msg_size)"
		case jsOtherStream:
			e.Verdict, e.Text = record.Pause, "another stream than that of the attribute stream takes the subject"
		case jsNotEnabled, jsNotEnabledForAccount:
			e.Verdict, e.Text = record.Pause, "JetStream is not enabled for this account"
		case jsSealed:
			e.Verdict, e.Text = record.Pause, "the stream is sealed, it takes nothing more"
		default:
			e.Text = fmt.Sprintf("the stream did not store the notification (JetStream error %d)", api.ErrorCode)
		}
	case errors.Is(err, nats.ErrAuthorization), errors.Is(err, nats.ErrAuthExpired), errors.Is(err, nats.ErrAuthRevoked),
		errors.Is(err, nats.ErrAccountAuthExpired), errors.Is(err, nats.ErrNkeysNotSupported):
		e.Verdict, e.Code, e.Text = record.Pause, "nats_auth", "the server refuses the credentials of the auth block, or wants some"
	case errors.Is(err, nats.ErrSecureConnWanted):
		e.Verdict, e.Code, e.Text = record.Pause, "tls", "the server does not speak TLS"
	case errors.Is(err, nats.ErrHeadersNotSupported):
		e.Verdict, e.Text = record.Pause, "the server is too old: it does not know headers"
	case errors.Is(err, nats.ErrConnectionClosed), errors.Is(err, nats.ErrDisconnected):
		e.Text = "the connection was lost before the notification was acknowledged"
	case errors.Is(err, nats.ErrNoServers):
		e.Text = "no server can be reached"
	case errors.Is(err, nats.ErrTimeout):
		e.Text = "no server answers in time"
	case errors.Is(err, jetstream.ErrInvalidJSAck):
		e.Text = "what answered is not a stream; something else listens to the subject"
	default:
		return networkError(err)
	}
	return e
}
