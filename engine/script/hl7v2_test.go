// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package script_test

import (
	"encoding/json"
	"errors"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/rounds-engine/rounds/engine/destination"
	"github.com/rounds-engine/rounds/engine/script"
	"github.com/rounds-engine/rounds/scripts"
)

const withHL7 = "import { ADT, escape, message, SIU, timestamp } from 'rounds/hl7v2';\n"

// segments maps a record with a script that returns a message, and gives its segments. It must be one that mllp can send.
func segments(t testing.TB, s *script.Script, data string) []string {
	t.Helper()
	body, err := mapRecord(t, s, small(data))
	if err != nil {
		t.Fatal(err)
	}
	if problem := destination.CheckBody("mllp", []byte(body)); problem != "" {
		t.Errorf("%s: %s", body, problem)
	}
	var m struct{ HL7 []string }
	if err := json.Unmarshal([]byte(body), &m); err != nil {
		t.Fatal(err)
	}
	return m.HL7
}

func TestHL7MessagesOfEachEvent(t *testing.T) {
	const head = `MSH|^~\&|||||20260308063000+0000||`
	const tail = `||P|2.5.1||||||UNICODE UTF-8`
	const pid = `PID: { identifiers: { id: "77", authority: "CLINIC", type: "MR" }, name: { family: "Doe", given: "Ana" } }`
	for call, want := range map[string][]string{
		`SIU.S12({ SCH: { fillerID: "A1" } })`: {head + `SIU^S12^SIU_S12` + tail, `SCH||A1`, `RGS|1`},
		`SIU.S13({ SCH: { placerID: { id: "A1", namespace: "W" } }, ` + pid + `, RGS: { action: "U" } })`: {
			head + `SIU^S13^SIU_S12` + tail, `SCH|A1^W`, `PID|1||77^^^CLINIC^MR||Doe^Ana`, `RGS|1|U`},
		`SIU.S14({ AIP: [{ person: { id: 7, family: "Who" } }, { person: "8" }], AIS: { service: { code: "CHECK" }, duration: 20 },
			AIL: { location: { room: "3", facility: { namespace: "N", universalID: "1.2" } } }, AIG: { resource: "US" },
			NTE: ["a\r\nb|", { comment: "c", source: "P" }], PV1: { patientClass: "O" }, OBX: { 2: "NM", value: 1.5 }, DG1: { type: "A" },
			ZAA: [{ 1: true }, { 3: false }], PV2: {}, PD1: null, SCH: { 2: "A1", status: "Booked" } })`: {
			head + `SIU^S14^SIU_S12` + tail, `SCH||A1|||||||||||||||||||||||Booked`, `NTE|1||a\.br\b\F\`, `NTE|2|P|c`, `PV1|1|O`, `PV2`,
			`OBX|1|NM|||1.5`, `DG1|1|||||A`, `RGS|1`, `AIS|1||CHECK||||20`, `AIG|1||US`, `AIL|1||^3^^N&1.2`, `AIP|1||7^Who`, `AIP|2||8`,
			`ZAA|Y`, `ZAA|||N`},
		`SIU.S15({ SCH: { fillerID: "A1", timing: { end: '""' }, reason: '""' } })`: {head + `SIU^S15^SIU_S12` + tail, `SCH||A1|||||""||||^^^^""`, `RGS|1`},
		`SIU.S15({ SCH: { fillerID: "A1" } })`:                                      {head + `SIU^S15^SIU_S12` + tail, `SCH||A1`, `RGS|1`},
		`SIU.S17({ SCH: { fillerID: "A1" } })`:                                      {head + `SIU^S17^SIU_S12` + tail, `SCH||A1`, `RGS|1`},
		`SIU.S26({ zone: "America/New_York", SCH: { fillerID: "A1", timing: { start: "2026-07-14T13:30:00Z", end: "2026-07-14T10:00" } } })`: {
			strings.Replace(head, "20260308063000+0000", "20260308013000-0500", 1) + `SIU^S26^SIU_S12` + tail,
			`SCH||A1|||||||||^^^20260714093000-0400^20260714100000-0400`, `RGS|1`},
		`ADT.A01({ ` + pid + `, PV1: { patientClass: "I", location: { pointOfCare: "W1", room: 2, bed: 1 }, admitted: "20260101" } })`: {
			head + `ADT^A01^ADT_A01` + tail, `EVN|A01|20260308063000+0000`, `PID|1||77^^^CLINIC^MR||Doe^Ana`,
			`PV1|1|I|W1^2^1` + strings.Repeat("|", 41) + `20260101`},
		`ADT.A08({ EVN: { recorded: "2026-01-02T03:04:05Z", event: null, reason: "01" }, ` + pid + `, PV1: { 2: "O" },
			NK1: [{ name: { family: "Roe" } }, { relationship: { code: "MTH" } }], AL1: { allergen: "PEN" }, MSH: { 7: "2026", 12: "2.3", 18: null } })`: {
			`MSH|^~\&|||||2026||ADT^A08^ADT_A01||P|2.3`, `EVN||20260102030405+0000||01`, `PID|1||77^^^CLINIC^MR||Doe^Ana`, `NK1|1|Roe`,
			`NK1|2||MTH`, `PV1|1|O`, `AL1|1||PEN`},
		`ADT.A28({ ` + pid + ` })`: {head + `ADT^A28^ADT_A05` + tail, `EVN|A28|20260308063000+0000`, `PID|1||77^^^CLINIC^MR||Doe^Ana`,
			`PV1|1|N`},
		`ADT.A40({ ` + pid + `, MRG: { identifiers: [{ id: "78", type: "MR" }, "79"] } })`: {head + `ADT^A40^ADT_A39` + tail,
			`EVN|A40|20260308063000+0000`, `PID|1||77^^^CLINIC^MR||Doe^Ana`, `MRG|78^^^^MR~79`},
		`message({ type: ["MDM", "T02", "MDM_T02"], segments: [["MSH", { sendingFacility: { namespace: "N", universalID: "1.2", 3: "ISO" } }],
			["EVN", { 1: "T02" }], ["TXA", { 1: 1, 12: { 1: "D1" }, 3: new Date(0) }], ["ZZ9", {}]] })`: {
			`MSH|^~\&||N^1.2^ISO|||20260308063000+0000||MDM^T02^MDM_T02` + tail, `EVN|T02`, `TXA|1||19700101000000+0000|||||||||D1`, `ZZ9`},
	} {
		got := segments(t, compile(t, withHL7+"export default () => "+call), `{}`)
		if !slices.Equal(got, want) {
			t.Errorf("%s\n got %s\nwant %s", call, strings.Join(got, "\n     "), strings.Join(want, "\n     "))
		}
	}
	structures := map[string]string{
		"A01": "ADT_A01", "A02": "ADT_A02", "A03": "ADT_A03", "A04": "ADT_A01", "A05": "ADT_A05", "A08": "ADT_A01", "A11": "ADT_A09",
		"A12": "ADT_A12", "A13": "ADT_A01", "A28": "ADT_A05", "A31": "ADT_A05", "A38": "ADT_A38", "A40": "ADT_A39",
	}
	for event, structure := range structures {
		more := `, PV1: { patientClass: "O" }`
		if event == "A40" {
			more = `, MRG: { identifiers: "78" }`
		}
		got := segments(t, compile(t, withHL7+"export default () => ADT."+event+"({ "+pid+more+" })"), `{}`)
		if want := head + "ADT^" + event + "^" + structure + tail; got[0] != want || !strings.HasPrefix(got[1], "EVN|"+event+"|2026") {
			t.Errorf("%s is %s", event, got)
		}
	}
	if got, err := mapRecord(t, compile(t, withHL7+"export default () => ({ v: Object.keys(ADT).length })"), small(`{}`)); err != nil ||
		got != `{"v":`+strconv.Itoa(len(structures))+`}` {
		t.Errorf("there are %s, %v", got, err)
	}
}

func TestHL7Times(t *testing.T) {
	for expression, want := range map[string]string{
		`timestamp("2026-07-14T13:30:00Z")`:                                "20260714133000+0000",
		`timestamp("2026-07-14T13:30:00.987654321-04:00")`:                 "20260714173000+0000",
		`timestamp("2026-07-14T13:30:00Z", "America/New_York")`:            "20260714093000-0400",
		`timestamp("2026-07-14T09:30:00", "America/New_York")`:             "20260714093000-0400",
		`timestamp("2026-07-14 09:30:00.5")`:                               "20260714093000",
		`timestamp("2026-07-14T09:30")`:                                    "20260714093000",
		`timestamp("2026-07-14", "America/New_York")`:                      "20260714",
		`timestamp("2026-07")`:                                             "202607",
		`timestamp("2026")`:                                                "2026",
		`timestamp("20260714093000.1234-0400", "UTC")`:                     "20260714093000.1234-0400",
		`timestamp(new Date("2026-07-14T13:30:00.9Z"), "America/Chicago")`: "20260714083000-0500",
		`timestamp(null) + timestamp(undefined) + timestamp("")`:           "",
		`escape("a|b^c&d~e\\f\n\u0000ü")`:                                  `a\\F\\b\\S\\c\\T\\d\\R\\e\\E\\f\\X0A\\\\X00\\ü`,
	} {
		got, err := mapRecord(t, compile(t, withHL7+returning(expression)), small(`{}`))
		if want := `{"v":"` + want + `"}`; err != nil || got != want {
			t.Errorf("%s\n got %s, %v\nwant %s", expression, got, err, want)
		}
	}
	for value, want := range map[string]string{
		`"1980-02-03"`: "19800203", `"1980-02-03T00:00:00Z"`: "19800203", `"1980-02-03T23:59:59-05:00"`: "19800203", `"1980-02"`: "198002",
		`"19800203"`: "19800203", `new Date("1980-02-03")`: "19800203", `'""'`: `""`,
	} {
		got := segments(t, compile(t, withHL7+`export default () => SIU.S12({ zone: "America/New_York", SCH: { fillerID: "1" }, PID: { birthDate: `+
			value+` } })`), `{}`)
		if got[2] != "PID|1||||||"+want {
			t.Errorf("born %s: %s", value, got[2])
		}
	}
}

// The errors name what the author wrote or the library has, and no value of the record.
func TestHL7MistakesAreErrorsAtTheCall(t *testing.T) {
	const pid = `PID: { identifiers: "1", name: "Doe" }`
	for call, want := range map[string]string{
		`SIU.S12("Doe")`:                                                        "SIU.S12: give the segments of the message as an object",
		`SIU.S12({})`:                                                           "SIU.S12: SCH is missing",
		`SIU.S12({SCH:{}})`:                                                     "SIU.S12: SCH.placerID or SCH.fillerID is missing",
		`SIU.S12({ SCH: { fillerID: "" } })`:                                    "SIU.S12: SCH.placerID or SCH.fillerID is missing",
		`SIU.S12({ SCH: { fillerID: 1 }, Doe: {} })`:                            "SIU.S12: unknown member; there are zone, MSH, SCH, NTE, PID, PD1, PV1, PV2, OBX, DG1, RGS, AIS, AIG, AIL, AIP, and segments that begin with Z",
		`SIU.S12({ SCH: { fillerID: 1 }, PID: [{}] })`:                          "SIU.S12: PID stands once, and is not a list",
		`SIU.S12({ SCH: { fillerID: 1 }, PID: "Doe" })`:                         "SIU.S12: PID is not an object",
		`SIU.S12({ SCH: { fillerID: 1 }, RGS: { Doe: 1 } })`:                    "SIU.S12: RGS: a member is not a number, nor one of the names setID, action, groupID",
		`SIU.S12({ SCH: { fillerID: { Doe: 1 } } })`:                            "SIU.S12: SCH.fillerID: a member is not a number, nor one of the names id, namespace, universalID, universalIDType",
		`SIU.S12({ SCH: { fillerID: 1, 2: "Doe" } })`:                           "SIU.S12: SCH.fillerID is given twice, by its name and by its number",
		`SIU.S12({ SCH: { fillerID: 2 ** 53 } })`:                               "SIU.S12: SCH.fillerID is a number that can't be written without loss",
		`SIU.S12({ SCH: { fillerID: NaN } })`:                                   "SIU.S12: SCH.fillerID is a number that can't be written without loss",
		`SIU.S12({ SCH: { fillerID: 1e-9 } })`:                                  "SIU.S12: SCH.fillerID is a number that can't be written without loss",
		`SIU.S12({ SCH: { fillerID: () => "Doe" } })`:                           "SIU.S12: SCH.fillerID is neither text, number, boolean nor time",
		`SIU.S12({ SCH: { fillerID: { 1: ["Doe"] } } })`:                        "SIU.S12: SCH.fillerID.1 is neither text, number, boolean nor time",
		`SIU.S12({ SCH: { fillerID: { 1: { 1: { 1: "Doe" } } } } })`:            "SIU.S12: SCH.fillerID.1.1 is nested too deep: a field has components, and these have subcomponents",
		`SIU.S12({ SCH: { fillerID: 1 }, MSH: { controlID: "Doe" } })`:          "SIU.S12: MSH-9 is set by the builder, and MSH-10 by the destination",
		`SIU.S12({ SCH: { fillerID: 1 }, MSH: { 1: "Doe" } })`:                  "SIU.S12: MSH.1: a member is not a number, nor one of the names sendingApplication, sendingFacility, receivingApplication, receivingFacility, time, security, type, controlID, processingID, version, sequenceNumber, acceptAck, applicationAck, country, charset, language, profile",
		`SIU.S12({ SCH: { fillerID: 1, timing: { start: "Doe" } } })`:           "timestamp: give a Date, or a text such as 2026-07-14T13:30:00Z, 2026-07-14T09:30:00 or 2026-07-14",
		`SIU.S12({ SCH: { fillerID: 1, timing: { start: 5 } } })`:               "timestamp: give a Date, or a text such as 2026-07-14T13:30:00Z, 2026-07-14T09:30:00 or 2026-07-14",
		`ADT.A01({ PV1: { patientClass: "I" } })`:                               "ADT.A01: PID is missing",
		`ADT.A01({ PID: { identifiers: [] }, PV1: {} })`:                        "ADT.A01: PID.identifiers is missing",
		`ADT.A01({ PID: { identifiers: "Doe" } })`:                              "ADT.A01: PID.name is missing",
		`ADT.A01({ ` + pid + ` })`:                                              "ADT.A01: PV1 is missing",
		`ADT.A01({ ` + pid + `, PV1: {}, MRG: {} })`:                            "ADT.A01: unknown member; there are zone, MSH, EVN, PID, PD1, NK1, PV1, PV2, OBX, AL1, DG1, GT1, IN1, and segments that begin with Z",
		`ADT.A40({ ` + pid + ` })`:                                              "ADT.A40: MRG is missing",
		`message({})`:                                                           "message: give an object with type and segments",
		`message({ type: [], segments: [], Doe: 1 })`:                           "message: unknown member; there are type, zone, segments",
		`message({ type: ["MDM"], segments: [["PID", {}]] })`:                   "message: segments begins with MSH, which stands nowhere else",
		`message({ type: ["MDM"], segments: [["MSH", {}], ["Doe", {}]] })`:      "message: the name of a segment is three capital letters or digits",
		`message({ type: ["MDM"], segments: [["MSH", {}], ["PID", "Doe"]] })`:   "message: a segment has to be an object of fields",
		`message({ type: ["MDM"], segments: [["MSH", {}], "Doe"] })`:            "message: segments[1] is not a pair, such as [\"PID\", { … }]",
		`message({ type: ["MDM"], segments: [["MSH", {}], ["ZZZ", { a: 1 }]]})`: "message: ZZZ: a member is not a number",
	} {
		s := compile(t, withHL7+"export default () => {\n  return "+call+";\n};")
		body, err := mapRecord(t, s, small(`{}`))
		var own *script.Error
		if !errors.As(err, &own) || own.Text != want || own.File != "map.js" || own.Line != 3 {
			t.Errorf("%s\n got %s, %v\nwant map.js:3: %s", call, body, err, want)
		}
	}
}

// FuzzHL7Text: whatever a record holds, it comes back out of the message, from where it was put, and changes nothing beside it.
func FuzzHL7Text(f *testing.F) {
	s := compile(f, withHL7+`export default ({ change: { data: [a, b, c] } }) => SIU.S12({
		SCH: { fillerID: a }, NTE: [a, { comment: b }],
		PID: { name: [{ family: a, given: b, 5: c }, { 2: c }], 3: { 1: a, authority: { namespace: b, universalID: c } }, 30: b },
		ZZZ: { 1: c, 2: a, 7: b } })`)
	f.Add("Doe", "a|b", `^~\&`)
	f.Add(`\F\`, "line\nbreak\r\n", "\x00\x0b\x1c\r")
	f.Add(`""`, "Zażółć 😀", `\X0D\`)
	f.Add("a", " ", "\t")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		for _, s := range []*string{&a, &b, &c} {
			*s = strings.ToValidUTF8(*s, "?")
		}
		if a == "" { // without an id there is no message
			a = "a"
		}
		data, err := json.Marshal([]string{a, b, c})
		if err != nil {
			t.Fatal(err)
		}
		got := segments(t, s, string(data))
		names := ""
		for _, segment := range got {
			names += segment[:3] + " "
		}
		if names != "MSH SCH NTE NTE PID RGS ZZZ " {
			t.Fatalf("the segments are %s", names)
		}
		type at struct{ segment, field, repetition, component, sub int }
		for place, want := range map[at]string{
			{1, 2, 0, 0, 0}: a, {4, 5, 0, 0, 0}: a, {4, 5, 0, 1, 0}: b, {4, 5, 0, 4, 0}: c, {4, 5, 1, 1, 0}: c, {4, 3, 0, 0, 0}: a, {4, 3, 0, 3, 0}: b,
			{4, 3, 0, 3, 1}: c, {4, 30, 0, 0, 0}: b, {4, 6, 0, 0, 0}: "", {6, 1, 0, 0, 0}: c, {6, 2, 0, 0, 0}: a, {6, 7, 0, 0, 0}: b, {6, 3, 0, 0, 0}: "",
		} {
			part := got[place.segment]
			for i, n := range []int{place.field, place.repetition, place.component, place.sub} {
				parts := strings.Split(part, []string{"|", "~", "^", "&"}[i])
				if part = ""; n < len(parts) {
					part = parts[n]
				}
			}
			if text := unescape(t, part); text != want {
				t.Errorf("%+v is %q, want %q, in %q", place, text, want, got[place.segment])
			}
		}
		line := strings.NewReplacer("\r\n", "\n", "\r", "\n")
		for i, want := range []string{a, b} {
			fields := append(strings.Split(got[2+i], "|"), "", "")
			if text := unescape(t, strings.ReplaceAll(fields[3], `\.br\`, "\n")); text != line.Replace(want) {
				t.Errorf("note %d is %q, want %q", i, text, want)
			}
		}
	})
}

var sequence = regexp.MustCompile(`\\[^\\]*\\`)

// unescape reads escape sequences as chapter 2 of the standard has them.
func unescape(t *testing.T, text string) string {
	return sequence.ReplaceAllStringFunc(text, func(s string) string {
		plain := map[string]string{`\F\`: "|", `\S\`: "^", `\T\`: "&", `\R\`: "~", `\E\`: `\`}[s]
		if n, err := strconv.ParseUint(strings.Trim(s, `\X`), 16, 8); plain == "" && err == nil && s[1] == 'X' {
			return string(rune(n))
		}
		if plain == "" {
			t.Errorf("%q is no escape sequence", s)
		}
		return plain
	})
}

// The types name the fields that the library has.
func TestTheTypesOfHL7AreThoseOfTheLibrary(t *testing.T) {
	source := string(read(t, "../../scripts/rounds/hl7v2/fields.js"))
	declared := string(scripts.Types)
	_, declared, _ = strings.Cut(declared, `declare module "rounds/hl7v2"`)
	tables := regexp.MustCompile(`(?ms)^  ([A-Z][A-Z0-9]{1,2}): ((?:"[^"]*"(?: \+\n\s+)?)+),$`).FindAllStringSubmatch(source, -1)
	if len(tables) < 30 {
		t.Fatalf("only %d tables found", len(tables))
	}
	for _, m := range tables {
		if m[1] == "MSG" { // of MSH-9, which the builder sets
			continue
		}
		body := regexp.MustCompile(`(?s)interface ` + m[1] + ` extends \w+ \{(.*?)\n  \}`).FindStringSubmatch(declared)
		if body == nil {
			t.Errorf("%s is not declared", m[1])
			continue
		}
		var names, types []string
		for _, line := range regexp.MustCompile(`(\w+):\d+:`).FindAllStringSubmatch(m[2], -1) {
			if m[1] != "MSH" || line[1] != "type" && line[1] != "controlID" {
				names = append(names, line[1])
			}
		}
		for _, line := range regexp.MustCompile(`(\w+)\?:`).FindAllStringSubmatch(body[1], -1) {
			types = append(types, line[1])
		}
		slices.Sort(names)
		slices.Sort(types)
		if !slices.Equal(names, types) {
			t.Errorf("%s has %s, and is declared with %s", m[1], names, types)
		}
	}
}
