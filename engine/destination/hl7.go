// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package destination

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// maxControlID is the length of MSH-10 that every version of HL7 v2 allows.
const maxControlID = 20

// message is an HL7 v2 message, a segment each, without a control id.
type message []string

// parseMessage reads the body of a notification, {"hl7": ["MSH|^~\\&|…", "PID|…"]}. problem says what a receiver could not
// understand, or could not answer; it goes on "an object that …", and holds nothing of the body.
func parseMessage(body []byte) (m message, problem string) {
	const form = `is no HL7 message: it has to be {"hl7": ["MSH|…", "PID|…"]}, a text for each segment, as rounds/hl7v2 makes it`
	var members map[string]json.RawMessage
	if json.Unmarshal(body, &members) != nil || len(members) != 1 || json.Unmarshal(members["hl7"], &m) != nil || len(m) == 0 {
		return nil, form
	}
	head := m[0]
	if !isHeader(head) {
		return nil, "is no HL7 message: its first segment has to begin like MSH|^~\\&|"
	}
	ascii := true
	for i, segment := range m {
		at := fmt.Sprintf("is no HL7 message: segment %d ", i+1)
		switch {
		case !isSegmentName(segment) || len(segment) > 3 && segment[3] != head[3]:
			return nil, at + "does not begin with a name of three characters and the field separator"
		case i > 0 && (segment[:3] == "MSH" || segment[:3] == "BHS" || segment[:3] == "FHS"):
			return nil, at + "begins another message; a notification is one"
		case strings.ContainsFunc(segment, isControl):
			return nil, at + "holds a line break or another control character, which has to be written as an escape sequence"
		}
		ascii = ascii && !strings.ContainsFunc(segment, func(r rune) bool { return r >= utf8.RuneSelf })
	}
	accept, application := m.head(15), m.head(16)
	switch {
	case m.head(9) == "" || m.head(11) == "" || m.head(12) == "":
		return nil, "is no HL7 message: MSH-9, MSH-11 and MSH-12 must be there"
	case m.head(10) != "":
		return nil, "has a control id: MSH-10 must be empty, it is made of the notification's id"
	case accept+application != "" && accept != "AL" && application != "AL":
		return nil, "asks for no acknowledgement: of MSH-15 and MSH-16 one must be AL, or both be empty"
	}
	if charset, _, _ := strings.Cut(m.head(18), string(head[5])); !ascii && charset != "" && charset != "UNICODE UTF-8" {
		return nil, "names another character set: it is sent as UTF-8, so MSH-18 must be UNICODE UTF-8, or empty"
	}
	return m, ""
}

// isHeader reports whether a segment is MSH with its delimiters: the field separator, four encoding characters that differ, the
// truncation character of version 2.7 and later perhaps, and the field separator.
func isHeader(segment string) bool {
	if len(segment) < 9 || segment[:3] != "MSH" {
		return false
	}
	encoding, _, ended := strings.Cut(segment[4:], segment[3:4])
	delimiters := segment[3 : 4+len(encoding)]
	if !ended || len(encoding) != 4 && len(encoding) != 5 {
		return false
	}
	for i, c := range []byte(delimiters) {
		letter := c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z'
		if letter || c <= ' ' || c >= 0x7f || strings.IndexByte(delimiters, c) != i {
			return false
		}
	}
	return true
}

func isSegmentName(s string) bool {
	if len(s) < 3 || s[0] < 'A' || s[0] > 'Z' {
		return false
	}
	return !strings.ContainsFunc(s[:3], func(r rune) bool { return (r < 'A' || r > 'Z') && (r < '0' || r > '9') })
}

// isControl reports what breaks a segment or a frame; a tabulator does neither.
func isControl(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }

// head is a field of MSH, whose first field is the separator itself.
func (m message) head(n int) string { return field(strings.Split(m[0], m[0][3:4]), n-1) }

func field(fields []string, n int) string {
	if n < len(fields) {
		return fields[n]
	}
	return ""
}

// frame gives the message as it is sent: its control id put in, each segment ended, between the bytes of MLLP.
func (m message) frame(control string) []byte {
	separator := m[0][3:4]
	head := strings.Split(m[0], separator)
	for len(head) < 10 {
		head = append(head, "")
	}
	head[9] = control
	var b bytes.Buffer
	b.WriteByte(frameStart)
	b.WriteString(strings.Join(head, separator) + "\r")
	for _, segment := range m[1:] {
		b.WriteString(segment + "\r")
	}
	b.WriteString(frameEnd)
	return b.Bytes()
}

// controlID is what MSH-10 holds: the same in every attempt, and for no other notification. Ids that the engine gives are 32 hexadecimal
// digits of a hash, of which the first 20 are kept, 80 bits: a message can be found by them. Of any other id it is a hash.
func controlID(id string) string {
	if _, err := hex.DecodeString(id); err != nil || len(id) != 32 {
		sum := sha256.Sum256([]byte(id))
		id = hex.EncodeToString(sum[:])
	}
	return id[:maxControlID]
}

// ack is an acknowledgement.
type ack struct {
	code    string // MSA-1: AA, AE, AR; CA, CE, CR in enhanced mode
	control string // MSA-2: MSH-10 of the message that it is for
	cause   string // the number of HL7 table 0357 that the receiver gives as the cause; "" if it gives none, or another
}

// parseAck reads what a receiver sent, without the frame. It is false for what is no acknowledgement. Segments may end
// with any line break.
func parseAck(data []byte) (a ack, ok bool) {
	segments := strings.FieldsFunc(string(data), func(r rune) bool { return r == '\r' || r == '\n' })
	if len(segments) == 0 || !isHeader(segments[0]) {
		return ack{}, false
	}
	separator, component, repetition, sub := segments[0][3:4], segments[0][4:5], segments[0][5:6], segments[0][7:8]
	part := func(s, by string, n int) string { return field(strings.Split(s, by), n-1) }
	for _, segment := range segments[1:] {
		fields := strings.Split(segment, separator)
		switch fields[0] {
		case "MSA":
			if !ok {
				a.code, a.control, ok = strings.TrimSpace(field(fields, 1)), strings.TrimSpace(field(fields, 2)), true
				a.cause = known(a.cause, part(field(fields, 6), component, 1)) // until version 2.6
			}
		case "ERR":
			first := part(field(fields, 1), repetition, 1) // until version 2.4: segment, place, field and the code
			a.cause = known(a.cause, part(field(fields, 3), component, 1), part(part(first, component, 4), sub, 1))
		}
	}
	return a, ok && slices.Contains(ackCodes, a.code)
}

var ackCodes = []string{"AA", "AE", "AR", "CA", "CE", "CR"}

// causes are the codes of HL7 table 0357 that say what is wrong.
var causes = map[string]string{
	"100": "segment sequence error", "101": "required field missing", "102": "data type error", "103": "table value not found",
	"104": "value too long", "198": "non-conformant cardinality", "199": "other HL7 error", "200": "unsupported message type",
	"201": "unsupported event code", "202": "unsupported processing id", "203": "unsupported version id", "204": "unknown key identifier",
	"205": "duplicate key identifier", causeLocked: "application record locked", causeInternal: "application internal error",
}

const (
	causeLocked   = "206"
	causeInternal = "207"
)

// known is the first of some texts that is a code of the table: what else a receiver writes may be content.
func known(texts ...string) string {
	for _, text := range texts {
		if causes[text] != "" {
			return text
		}
	}
	return ""
}
