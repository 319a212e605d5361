// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package sdktest

// rule is a promise of the contract and how it is tested.
type rule struct {
	name    string
	promise string
	advice  string
	needs   need
	still   bool // compares readings
	last    bool // after all others
	check   func(*kit, *outcome)
}

// need is what a rule can't be tested without.
type need int

const (
	opened  need = iota // a source that can be opened and read
	nothing             // but a process
	way                 // a lane between adapter and EHR; such rules have lanes of their own and run side by side
)

// rules are all rules, in the order in which they are tested. Rules that need a way run beside those after them.
var rules = []rule{
	{name: "describe", needs: nothing, check: checkDescribe,
		promise: "The adapter tells the same about itself at each start",
		advice:  "make name, version, schema and catalog of constants and of the configuration alone, in a fixed order (a map has none)"},
	{name: "config", needs: nothing, check: checkConfig,
		promise: "A configuration that can't be meant is refused, and the error names the attribute",
		advice:  "return Misconfigured with the path of the attribute: block types, labels and attribute, joined by dots"},
	{name: "offline", needs: nothing, check: checkOffline,
		promise: "Validate asks nobody",
		advice:  "move what calls the EHR from Validate to Open, or better to the first Poll"},
	{name: "open", needs: nothing, check: checkOpen,
		promise: "A source opens with its configuration, and each of its feeds can be read to the end of a window",
		advice:  "see the error; `rounds validate` shows mistakes in the configuration at their lines"},
	{name: "handles", check: checkHandles,
		promise: "Sources of one process don't touch each other, and one that is closed takes no calls",
		advice:  "keep everything that belongs to a source under its handle; answer a call on a handle that is not open with an error"},
	{name: "repeats", still: true, check: checkRepeats,
		promise: "The same query gives the same page, in another process too, and when asked several times at once; of a queue, with Peek",
		advice:  "keep nothing between calls: all that a page depends on belongs into the watermark and the cursor"},
	{name: "resume", still: true, check: checkResume,
		promise: "From each cursor, another process reads the same rest of the window",
		advice:  "put into the cursor what the window needs, its bound included; the process may be another one at the next page"},
	{name: "watermark", still: true, check: checkWatermark,
		promise: "A watermark stands still while nothing changes, and never moves back",
		advice:  "let an empty window give the watermark that it was asked with"},
	{name: "ties", still: true, check: checkTies,
		promise: "Changes of one instant are all listed, wherever a page or a window ends",
		advice:  "ask inclusively, one unit of the server's precision and the overlap before the watermark; page by more than a time"},
	{name: "foreign", check: checkForeign,
		promise: "A watermark or a cursor that the adapter did not write is refused",
		advice:  "check what you read back; answer WatermarkExpired or CursorExpired, and don't take it for the beginning"},
	{name: "queue", check: checkQueue,
		promise: "What a queue gave and was never acknowledged comes again with Recover",
		advice:  "keep in the watermark, or in the state, from where to read again, until Ack"},
	{name: "unknown-feed", check: checkUnknownFeed,
		promise: "A feed or a resource that there is not is refused",
		advice:  "answer with Permanent; an empty page would be taken for a feed without changes"},
	{name: "not-found", check: checkNotFound,
		promise: "An identifier that the EHR does not know is NotFound or Gone in its result",
		advice:  "put what befalls one ref into its Result.Err, by sdk.NotFound; the error of Fetch is for a failure of all"},
	{name: "paths", check: checkPaths,
		promise: "An identifier that would lead to another path of the EHR's is refused",
		advice:  "escape identifiers (url.PathEscape), and refuse the empty one, . and .. with Permanent: what is there is not the record"},
	{name: "order", check: checkOrder,
		promise: "Fetch gives one result per ref, in the order of the refs, each with its own record",
		advice:  "make results by the index of the ref, of duplicates and of unknown ones too; sdk.Each does"},
	{name: "cancel", needs: way, check: checkCancel,
		promise: "A call that is cancelled ends within a second, and what it asked of the EHR with it",
		advice:  "hand the call's context to every request and every wait"},
	{name: "deadline", needs: way, check: checkDeadline,
		promise: "A call whose deadline comes is answered before it, with an error of the adapter's own",
		advice:  "end a tenth of the time, or half a second, before the deadline; three calls without an answer get the process killed"},
	{name: "rate-limited", needs: way, check: checkRateLimited,
		promise: "429 is RateLimited, with the pause that the EHR asks for",
		advice:  "read Retry-After, and return sdk.RateLimited with it; don't wait for minutes yourself"},
	{name: "unauthorized", needs: way, check: checkUnauthorized,
		promise: "401 is Unauthorized",
		advice:  "return sdk.Unauthorized; the engine tells it from what one record causes"},
	{name: "forbidden", needs: way, check: checkForbidden,
		promise: "403 is Forbidden",
		advice:  "return sdk.Forbidden"},
	{name: "server-error", needs: way, check: checkServerError,
		promise: "500, 502 and 503 are to be retried",
		advice:  "return sdk.Retryable; Permanent or NotFound would make dead letters of an outage"},
	{name: "not-data", needs: way, check: checkNotData,
		promise: "A page of HTML, cut JSON or an error in JSON, with status 200, is never taken for an empty list or a record",
		advice:  "check that the answer has the form that is expected, and return sdk.Retryable if it has not"},
	{name: "pages", last: true, check: checkPages,
		promise: "Pages are as the contract has them: a cursor that leads on or a watermark, ids, JSON, a record's changes oldest first",
		advice:  "see the table of sdk.Page in docs/adapters.md"},
	{name: "leak", last: true, check: checkLeak,
		promise: "Opening, reading and closing over and over leaves no memory, files or connections behind",
		advice:  "close in Close what was opened for the source: idle connections (httpx.Client.Close), files, goroutines"},
	{name: "secrets", last: true, needs: nothing, check: func(k *kit, o *outcome) { checkLeaks(k, o, true) },
		promise: "No secret is in an error, a note, a log line or on stderr",
		advice:  "mark it as sensitive in the schema, and make texts of method, path template and status alone"},
	{name: "content", last: true, needs: nothing, check: func(k *kit, o *outcome) { checkLeaks(k, o, false) },
		promise: "No identifier and no content of a record is in an error, a note, a log line or on stderr",
		advice:  "never put a value, a URL or a library's own error into a text; in Go sdk.Safe keeps errors of others back"},
}

// Rule is what is told about a rule.
type Rule struct {
	Name    string
	Promise string
	Advice  string // what to do when it failed
}

// Rules are all rules, in the order of a report.
func Rules() (all []Rule) {
	for _, r := range rules {
		all = append(all, Rule{r.name, r.promise, r.advice})
	}
	return all
}
