// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package destination

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"

	"github.com/rounds-engine/rounds/engine/delivery"
	"github.com/rounds-engine/rounds/engine/record"
)

type mllpConfig struct {
	_       struct{}   `doc:"Sends each notification as an HL7 v2 message over MLLP, and waits for its acknowledgement."`
	Address string     `hcl:"address" doc:"Host and port of the receiver, as \"his.example:2575\"."`
	TLS     *tlsConfig `hcl:"tls,block"`

	secure *tls.Config // set by check; nil: plain TCP
}

// The bytes of MLLP: one before a message, two behind it.
const (
	frameStart = 0x0b
	frameEnd   = "\x1c\r"
)

const (
	maxAck  = 64 << 10 // bytes of one acknowledgement
	maxAcks = 1 << 20  // bytes that are read to find the one that is waited for
)

func (c *mllpConfig) check() (err error) {
	host, port, err := net.SplitHostPort(c.Address)
	if n, bad := strconv.Atoi(port); err != nil || host == "" || bad != nil || n < 1 || n > 65535 {
		return blame("address", `must be host and port, as "his.example:2575"`)
	}
	if c.TLS == nil {
		return nil
	}
	if c.secure, err = c.TLS.compile(); err != nil {
		return err
	}
	if c.secure.ServerName == "" {
		c.secure.ServerName = host
	}
	return nil
}

func (c *mllpConfig) open() Destination {
	return &mllp{address: c.Address, secure: c.secure, resting: resting{time: restTime}}
}

// mllp speaks the Minimal Lower Layer Protocol.
type mllp struct {
	address string
	secure  *tls.Config
	resting resting
}

// mllpConn is a connection that one Send has.
type mllpConn struct {
	*conn
	foreign bool // an acknowledgement of another message came
}

// Send makes one attempt. The answer that counts is the acknowledgement whose MSA-2 is the message's MSH-10: some receivers repeat
// earlier ones on a connection.
func (m *mllp) Send(ctx context.Context, n delivery.Notification) error {
	message, problem := parseMessage(n.Body)
	if problem != "" {
		return &record.SendError{Verdict: record.Reject, Code: "not_hl7", Text: "the notification " + problem}
	}
	conn, err := m.take(ctx)
	if err != nil {
		return m.broken(ctx, err)
	}
	stop := conn.cut(ctx)
	control := controlID(n.ID)
	answer, data, err := conn.exchange(message.frame(control), control)
	if !stop() || err != nil || conn.foreign || answer.control == "" {
		_ = conn.Close() // what else comes on it is not to be told from the answer to the next message
	} else {
		m.resting.give(conn.conn)
	}
	if err != nil {
		return m.broken(ctx, err)
	}
	return answer.verdict(data)
}

// Probe connects, and sends nothing.
func (m *mllp) Probe(ctx context.Context) error {
	conn, err := m.dial(ctx)
	if err != nil {
		return m.broken(ctx, err)
	}
	_ = conn.Close() // it was good
	return nil
}

// broken says why there was no acknowledgement.
func (m *mllp) broken(ctx context.Context, err error) error {
	var e *record.SendError
	switch {
	case errors.As(err, &e):
		return e
	case ctx.Err() != nil:
		return canceled(ctx)
	}
	return networkError(err)
}

// exchange sends a message and reads on until its acknowledgement comes.
func (c *mllpConn) exchange(frame []byte, control string) (ack, []byte, error) {
	if _, err := c.Write(frame); err != nil {
		return ack{}, nil, err
	}
	left := maxAcks
	for {
		data, read, err := readFrame(c.in, min(left, maxAck))
		if left -= read; err != nil {
			return ack{}, nil, c.skipped(err)
		}
		answer, ok := parseAck(data)
		switch {
		case !ok:
			return ack{}, nil, &record.SendError{
				Code: "mllp", Text: "the receiver answered with what is no acknowledgement of HL7 v2", Detail: excerpt(data),
			}
		case answer.control == control, answer.control == "" && answer.code[1] != 'A': // it could not read who sent it
			return answer, data, nil
		}
		c.foreign = true
	}
}

// skipped adds to the end of a time that was used up what was read meanwhile.
func (c *mllpConn) skipped(err error) error {
	var timeout net.Error
	if c.foreign && errors.As(err, &timeout) && timeout.Timeout() {
		return &record.SendError{Code: "mllp", Text: "the receiver acknowledged other messages only: in MSA-2 it has to give MSH-10 back"}
	}
	return err
}

// verdict is what the acknowledgement says of the message; data is the whole of it.
func (a ack) verdict(data []byte) error {
	if a.code[1] == 'A' {
		return nil
	}
	e := &record.SendError{
		Verdict: record.Reject, Code: "hl7_" + strings.ToLower(a.code), Text: "the receiver answered " + a.code, Detail: excerpt(data),
	}
	if a.cause != "" {
		e.Text += fmt.Sprintf(", %s (%s)", a.cause, causes[a.cause])
	}
	// An error (AE) is one in the message. A rejection may be for another reason, which passes.
	if a.code != "AE" && (a.cause == causeLocked || a.cause == causeInternal) {
		e.Verdict = record.Retry
	}
	return e
}

// excerpt is the beginning of an answer, to be kept.
func excerpt(data []byte) string {
	return strings.ToValidUTF8(string(data[:min(len(data), maxDetail)]), "\uFFFD")
}

// readFrame reads what stands between the bytes of MLLP, and how many bytes that took. What comes before them is passed over.
func readFrame(in *bufio.Reader, limit int) (data []byte, read int, err error) {
	started := false
	for ; read < limit; read++ {
		b, err := in.ReadByte()
		switch {
		case errors.Is(err, io.EOF) && (started || read > 0):
			return nil, read, notMLLP("the receiver closed the connection in the middle of an answer, or answered with what is not MLLP")
		case err != nil:
			return nil, read, err
		case b == frameStart: // also in the middle of one that was broken off
			started, data = true, data[:0]
		case b == frameEnd[1] && len(data) > 0 && data[len(data)-1] == frameEnd[0]:
			return data[:len(data)-1], read + 1, nil
		case started:
			data = append(data, b)
		}
	}
	return nil, read, notMLLP(fmt.Sprintf("the receiver sent %d bytes without an end of an acknowledgement", limit))
}

func notMLLP(text string) error { return &record.SendError{Code: "mllp", Text: text} }

// take gives a connection that rests, or a new one.
func (m *mllp) take(ctx context.Context) (*mllpConn, error) {
	if c := m.resting.take(); c != nil {
		return &mllpConn{conn: c}, nil
	}
	return m.dial(ctx)
}

func (m *mllp) dial(ctx context.Context) (*mllpConn, error) {
	within, cancel := context.WithTimeout(ctx, connectTime)
	defer cancel()
	c, err := (&net.Dialer{}).DialContext(within, "tcp", m.address)
	if err != nil {
		return nil, err
	}
	if m.secure != nil {
		if c, err = secured(within, c, m.secure); err != nil {
			return nil, err
		}
	}
	return &mllpConn{conn: newConn(c)}, nil
}

// Close implements Destination.
func (m *mllp) Close() error {
	m.resting.close()
	return nil
}
