// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package destination

import (
	"context"
	"errors"
	"strconv"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/rounds-engine/rounds/engine/record"
)

// kafkaVerdict gives an error code of Kafka its meaning. The names of codes are no secret.
func kafkaVerdict(e *kerr.Error) (record.Verdict, string) {
	switch e {
	case kerr.MessageTooLarge, kerr.RecordListTooLarge:
		return record.Reject, "the notification is larger than max_message_bytes, or than the topic takes (max.message.bytes)"
	case kerr.InvalidRecord:
		return record.Reject, "the broker does not take the record as it is; a compacted topic wants a key"
	case kerr.UnknownTopicOrPartition, kerr.UnknownTopicID, kerr.InvalidTopicException:
		return record.Pause, "the topic does not exist; create it, or correct topic"
	case kerr.TopicAuthorizationFailed, kerr.ClusterAuthorizationFailed:
		return record.Pause, "this user may not write to the topic"
	case kerr.SaslAuthenticationFailed, kerr.UnsupportedSaslMechanism, kerr.IllegalSaslState:
		return record.Pause, "the broker refuses the credentials of the auth block, or wants others"
	case kerr.PolicyViolation, kerr.InvalidRequiredAcks, kerr.UnsupportedVersion, kerr.UnsupportedForMessageFormat:
		return record.Pause, "the broker does not take records of this client (" + e.Message + ")"
	}
	return record.Retry, "the broker did not take the record (" + e.Message + ")"
}

// kafkaError gives an error of the client its meaning. Texts of the client hold addresses.
func kafkaError(err error) *record.SendError {
	var code *kerr.Error
	var eof *kgo.ErrFirstReadEOF
	switch {
	case errors.As(err, &code):
		verdict, text := kafkaVerdict(code)
		return &record.SendError{Verdict: verdict, Code: "kafka_" + strconv.Itoa(int(code.Code)), Text: text}
	case errors.As(err, &eof):
		return &record.SendError{Code: "kafka", Text: "the broker closed the connection at once; it may want TLS, no TLS, or credentials"}
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return &record.SendError{Code: "kafka", Text: "a record before this one in its partition could not be sent"}
	}
	return networkError(err)
}
