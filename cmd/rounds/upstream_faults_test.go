// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"time"
	"unicode/utf16"
)

// How errors name the calls.
const (
	ofList     = "GET /v2/appointments: "
	ofNextPage = "GET /v2/appointments (next page): "
	ofPatient  = "GET /patient/{id}: "

	tooMany    = ofList + "429 Too Many Requests"
	brokenJSON = ofList + "answered with JSON that is broken, cut off or nested too deep"
	notUTF8    = ofList + "answered in another character encoding than UTF-8"
	closed     = ofList + "connection closed before the answer was complete"
)

// ehrFaults are the ways in which an EHR misbehaves, by the name of their pipeline. docs/operations.md tells operators of them, under Faults.
var ehrFaults = map[string]ehrFault{
	// It does not answer, or breaks off.
	"refused": {begin: ehrAtItsOwnAddress, says: ofList + "connection refused"},
	"hangs":   {answer: ehrHangs, says: ofList + "timed out after 1s"},
	"hangsInBody": {says: ofList + "timed out after 1s", answer: func(u *upstream, w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, `{"items": [{"id": "c4n4ry`)
		_ = http.NewResponseController(w).Flush()
		ehrHangs(u, w, r)
	}},
	"slowloris": {says: ofList + "timed out after 1s", answer: func(_ *upstream, w http.ResponseWriter, r *http.Request) {
		ehrTrickles(w, r, " ", 100*time.Millisecond)
	}},
	"resets": {says: ofList + "connection ", answer: func(u *upstream, w http.ResponseWriter, r *http.Request) {
		u.changed(w, r, func(body []byte) []byte { return body[:len(body)/2] })
		ehrResets(w)
	}},
	"lengthTooLong": {says: closed, answer: ehrAnswersRaw(`{"items": [], "next": null}`, "Content-Length: 1000")},
	"lengthTooShort": {says: brokenJSON,
		answer: ehrAnswersRaw(`{"items": [], "next": null}`, "Content-Type: application/json\r\nContent-Length: 20")},

	// It refuses.
	"error500":   {answer: ehrRefuses(500), says: ofList + "500 Internal Server Error"},
	"error502":   {answer: ehrRefuses(502), says: ofList + "502 Bad Gateway"},
	"error503":   {answer: ehrRefuses(503, "Retry-After", "1"), says: ofList + "503 Service Unavailable"},
	"error400":   {answer: ehrRefuses(400), says: ofList + "400 Bad Request"},
	"limited":    {answer: ehrRefuses(429), says: tooMany},
	"limitedFor": {answer: ehrRefuses(429, "Retry-After", "1"), says: tooMany},
	"limitedTill": {says: tooMany, answer: func(u *upstream, w http.ResponseWriter, r *http.Request) {
		ehrRefuses(429, "Retry-After", time.Now().Add(2*time.Second).UTC().Format(http.TimeFormat))(u, w, r)
	}},
	"limitedNegative": {answer: ehrRefuses(429, "Retry-After", "-5"), says: tooMany},
	"limitedGarbage":  {answer: ehrRefuses(429, "Retry-After", "c4n4ry"), says: tooMany},
	"limitedYear":     {answer: ehrRefuses(429, "Retry-After", "31536000"), says: tooMany, restarts: true},

	// It answers with something else.
	"html":     {answer: ehrAnswers("text/html", "<title>c4n4ry</title>Please log in"), says: ofList + "answered text/html where JSON was expected"},
	"cut":      {answer: ehrAnswers("application/json", `{"items": [{"id": "c4n4ry`), says: brokenJSON},
	"deep":     {answer: ehrAnswers("application/json", strings.Repeat("[", 50_000)+strings.Repeat("]", 50_000)), says: brokenJSON},
	"type":     {answer: ehrAnswers("application/json", `{"items": {"id": "c4n4ry"}}`), says: ofList + `no array at "items": found an object`},
	"itemNull": {answer: ehrAnswers("application/json", `{"items": null}`), says: ofList + `no array at "items": found null`},
	"nothing":  {answer: ehrAnswersNothing, says: ofList + "answered nothing where JSON was expected"},
	"empty":    {answer: ehrAnswers("application/json", ""), says: ofList + "answered nothing where JSON was expected"},
	"latin1":   {answer: ehrAnswers("application/json; charset=iso-8859-1", "{\"items\": [{\"id\": \"c4n4ry\xfc\"}]}"), says: notUTF8},
	"utf16": {says: notUTF8, answer: func(u *upstream, w http.ResponseWriter, r *http.Request) {
		u.changed(w, r, func(body []byte) []byte {
			wide := []byte{0xff, 0xfe}
			for _, c := range utf16.Encode([]rune(string(body))) {
				wide = append(wide, byte(c), byte(c>>8))
			}
			return wide
		})
	}},
	"bom": {answer: func(u *upstream, w http.ResponseWriter, r *http.Request) {
		u.changed(w, r, func(body []byte) []byte { return append([]byte("\xef\xbb\xbf"), body...) })
	}},
	"noGzip": {answer: ehrAnswersRaw("c4n4ry-c4n4ry", "Content-Encoding: gzip\r\nContent-Length: 13"),
		says: ofList + "answered in a compression that is broken"},
	"cutGzip": {says: closed, answer: func(_ *upstream, w http.ResponseWriter, _ *http.Request) {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		_, _ = io.WriteString(z, strings.Repeat("c4n4ry", 1000))
		_ = z.Close()
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = w.Write(b.Bytes()[:b.Len()/2])
	}},
	"brotli": {answer: ehrAnswersRaw("c4n4ry", "Content-Encoding: br\r\nContent-Length: 6"),
		says: ofList + "answered in a content encoding that was not asked for"},

	// Its items are not as they should be.
	"noIDs": {answer: ehrGivesID(-1, `null`), says: `no identifier at "id": found null`},
	// One of them becomes a dead letter, and comes as what it is when it can be read.
	"oneIDNull":   {answer: ehrGivesID(0, `null`), says: `no identifier at "id": found null`},
	"oneIDEmpty":  {answer: ehrGivesID(0, `""`), says: `no identifier at "id": found`},
	"oneIDObject": {answer: ehrGivesID(0, `{"c4n4ry": 1}`), says: `no identifier at "id": found an object`},
	"twice": {answer: func(u *upstream, w http.ResponseWriter, r *http.Request) {
		u.items(w, r, func(items []json.RawMessage) []json.RawMessage { return append(items, items...) })
	}},
	"olderAfter": {breaks: ehrUpdatesTwice,
		answer: ehrGivesVersions(func(now, before json.RawMessage) []json.RawMessage { return []json.RawMessage{now, before} })},
	"backwards": {answer: ehrGivesVersions(func(_, before json.RawMessage) []json.RawMessage { return []json.RawMessage{before} })},
	"fewer": {answer: func(u *upstream, w http.ResponseWriter, r *http.Request) {
		u.items(w, r, func(items []json.RawMessage) []json.RawMessage { return items[:len(items)/2] })
	}},

	// Its pages lead astray.
	"cursorExpired": {logs: "the cursor expired, the window is read again from the watermark", says: ofNextPage + "410 Gone",
		answer: ehrBeyondFirstPage(ehrRefuses(410))},
	"cursorObject": {answer: ehrNamesNext(func(string) string { return `{"c4n4ry": 1}` }), says: ofList + `no cursor at "next": found an object`},
	"pageAgain": {says: ofNextPage + "the next page is the same page again, so paging would never end",
		answer: ehrBeyondFirstPage(ehrNamesNext(func(cursor string) string { return `"` + cursor + `"` }))},
	"pagesInACircle": {answer: ehrLeadsInACircle, says: ofNextPage + "the pages lead in a circle, so paging would never end"},
	"cursorIgnored": {answer: ehrIgnoresCursors,
		says: `the next page is the same page again, so paging would never end; is "cursor" the right parameter?`},

	// It sends the calls elsewhere, where the token would go.
	"redirected": {config: withBearer, answer: ehrRedirects(func(u *upstream) string { return u.otherURL + "/v2/appointments" }),
		says: saysElsewhere},
	"redirectedHost": {config: withBearer, says: saysElsewhere,
		answer: ehrRedirects(func(u *upstream) string { return strings.Replace(u.otherURL, "127.0.0.1", "localhost", 1) })},
	"redirectedMetadata": {config: withBearer, answer: ehrRedirects(func(*upstream) string { return "http://169.254.169.254/latest/meta-data/" }),
		says: saysElsewhere},
	"redirectedPatient": {config: withBearer, at: "/patient/", answer: ehrRedirects(func(u *upstream) string { return u.otherURL }),
		says: ofPatient + "redirected to another scheme, host or port, where the credentials would leak", retries: true},
	"redirectedPlain": {config: withBearer, begin: ehrOverTLS, answer: ehrRedirects(func(u *upstream) string { return u.otherURL }),
		says: saysElsewhere},
	"redirectLoop": {answer: ehrRedirects(func(u *upstream) string { return u.url + "/v2/appointments" }),
		says: ofList + "redirected more than 5 times"},

	// Its certificate is not good.
	"certificateExpired":   {begin: ehrOverTLS, bad: badExpired, says: ofList + "TLS: certificate has expired or is not yet valid"},
	"certificateOfAnother": {begin: ehrOverTLS, bad: badName, says: ofList + "TLS: certificate is for another host"},
	"certificateOfNobody":  {begin: ehrOverTLS, bad: badAuthority, says: ofList + "TLS: certificate is not trusted"},

	// Its tokens.
	"tokenRevoked": {config: withOAuth, answer: func(u *upstream, w http.ResponseWriter, r *http.Request) {
		if u.hits.Load() == 4 { // between the third page and the fourth
			u.tokens.Add(1)
		}
		u.well(w, r)
	}},
	"tokensDown": {config: withOAuth, at: "/token", begin: ehrGivesShortTokens, answer: ehrRefuses(503),
		says: "no token: POST /tokensDown/token: 503 Service Unavailable"},
	"tokensGarbage": {config: withOAuth, at: "/token", begin: ehrGivesShortTokens, answer: ehrAnswers("text/html", "c4n4ry"),
		says: "no token: POST /tokensGarbage/token: answered text/html where JSON was expected"},
	"tokensRefused": {config: withOAuth, begin: ehrGivesShortTokens, answer: ehrRefuses(401), says: ofList + "401 Unauthorized"},
	"clientRefused": {config: withOAuth, at: "/token", begin: ehrGivesShortTokens,
		says: "no token: POST /clientRefused/token: 401 Unauthorized (invalid_client)",
		answer: func(_ *upstream, w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(401)
			_, _ = io.WriteString(w, `{"error": "invalid_client", "error_description": "c4n4ry"}`)
		}},

	// Its clock.
	"clockAhead":  {breaks: ehrClock(3 * time.Hour)},
	"clockBehind": {breaks: ehrClock(-3 * time.Hour), logs: "the server's clock was set back"},
	"clockBack":   {begin: ehrWithAClockAhead, breaks: ehrClock(0), logs: "the server's clock was set back"},

	// Of many patients, one can't be had.
	"patient404": {at: onePatient, answer: ehrRefuses(404), says: ofPatient + "404 Not Found", retries: true},
	"patient410": {at: onePatient, answer: ehrRefuses(410), says: ofPatient + "410 Gone", retries: true},
	"patient500": {at: onePatient, answer: ehrRefuses(500), says: `fetch "patient": ` + ofPatient + `500 Internal Server Error`, retries: true},
	"patientCut": {at: onePatient, answer: ehrAnswers("application/json", `{"id": "c4n4ry`),
		says: `fetch "patient": ` + ofPatient + `answered with JSON that is broken`, retries: true},
	"patientOfAnother": {at: onePatient, config: withID, says: `fetch "patient": ` + ofPatient + `answered with another record than was asked for`, retries: true,
		answer: func(u *upstream, w http.ResponseWriter, r *http.Request) {
			r.URL.Path = "/patient/P100002"
			u.well(w, r)
		}},
	"batchMissesOne": {at: "/patients", config: withBatch, says: "GET /patients: the identifier is not among the items of the answer", retries: true,
		answer: func(u *upstream, w http.ResponseWriter, r *http.Request) { u.batch(w, r, "P100001") }},
}
