// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"time"

	"github.com/rounds-engine/rounds/sdk/schema"
)

// The defaults, as they would be written.
const (
	defaultOverlap     = "2m"
	defaultPollTimeout = "2m"
	defaultStart       = "now"
	defaultMaxDeleted  = 0.1
	defaultParallel    = 16
	defaultOnReject    = "pause"
	defaultListen      = "127.0.0.1:8417"
	defaultHistory     = 7 * 24 * time.Hour
	defaultHistoryMiB  = 1024
	defaultErrorsOver  = "15m"
	defaultResolved    = "5m"
	defaultSendTimeout = "30s" // the Standard Webhooks specification gives receivers 15 to 30 seconds
)

const (
	leastEvery  = time.Second
	maxParallel = 1024
	leastToken  = 16
	leastOver   = time.Minute
	mostOver    = 24 * time.Hour
	leastMemory = 64
	mostMemory  = 1 << 20
)

// Schemas describes the blocks that are the engine's own, by name. Those of a source and a destination hold the attributes that all
// of them have. The tables of docs/hcl-reference.md are made of it.
func Schemas() map[string]schema.Schema {
	return map[string]schema.Schema{"adapter": adapterSchema, "source": {Attributes: sourceAttributes},
		"destination": {Attributes: destinationAttributes}, "pipeline": pipelineSchema, "variable": variableSchema, "table": tableSchema,
		"moved": movedSchema, "alert": alertSchema, "web": webSchema, "history": historySchema}
}

var adapterSchema = schema.Schema{Attributes: []schema.Attribute{
	{Name: "path", Type: schema.String, Doc: "The adapter's program. Not for adapters that are bundled, and needed for all others."},
	{Name: "sha256", Type: schema.String,
		Doc: "Its SHA-256 in hexadecimal digits, as sha256sum prints it. A program with another one is not started."},
	{Name: "memory_limit", Type: schema.Integer,
		Doc: "MiB of memory that each process of the adapter may take, at least 64; one that takes more is ended and started again. On Linux " +
			"only. Without it: half of what there is, on the machine or in its container or service."},
}}

var sourceAttributes = []schema.Attribute{
	{Name: "isolate", Type: schema.Bool, Doc: "The source gets a process of its own. Otherwise one process serves all sources of an adapter."},
}

var destinationAttributes = []schema.Attribute{
	{Name: "parallel", Type: schema.Integer, Default: fmt.Sprint(defaultParallel),
		Doc: fmt.Sprintf("Notifications in flight at the same time, each of another ordering key; from 1 to %d.", maxParallel)},
	{Name: "on_reject", Type: schema.String, Default: defaultOnReject, Values: []string{"pause", "dead_letter"},
		Doc: "What a refusal (HTTP 4xx, with exceptions; AE, AR of HL7; exit code 65) does: pause holds what has the same ordering key until a person decides, " +
			"dead_letter keeps the notification with its cause and goes on."},
	{Name: "timeout", Type: schema.Duration, Default: defaultSendTimeout, Doc: "Time for one notification to be accepted, at least 1s."},
}

var pipelineSchema = schema.Schema{Attributes: []schema.Attribute{
	{Name: "keep_previous", Type: schema.Bool,
		Doc: "Keeps each record, the change and what was fetched, as it was committed, so that the next mapping of it has context.previous " +
			"and context.changed. It takes room in the state."},
	{Name: "isolate", Type: schema.Bool,
		Doc: "The pipeline's scripts run in a process of their own, with at most 256 MiB of memory. Whatever they do, the engine and other " +
			"pipelines go on."},
}, Blocks: []schema.Block{
	{Name: "poll", Required: true, Doc: "The feed and how often it is asked.", Body: pollSchema},
	{Name: "expand", Labels: []string{"name"}, Doc: "Children of what the feed lists, which become the changes.", Body: expandSchema},
	{Name: "fetch", Labels: []string{"name"}, Repeated: true, Doc: "Details of the record.", Body: fetchSchema},
	{Name: "deliver", Labels: []string{"name"}, Repeated: true, Required: true,
		Doc: "A mapping and where its notifications go; at least one.", Body: deliverSchema},
}}

var pollSchema = schema.Schema{Attributes: []schema.Attribute{
	{Name: "feed", Type: reference, Required: true, Doc: "The feed to ask, as source.ADAPTER.NAME.feed.FEED, without quotes."},
	{Name: "every", Type: schema.Duration, Required: true, Doc: "How often the feed is polled, at least 1s."},
	{Name: "overlap", Type: schema.Duration, Default: defaultOverlap,
		Doc: "How far before the last window is read again, for records that became visible late. What was seen is not delivered again."},
	{Name: "start", Type: schema.String, Default: defaultStart,
		Doc: `Where a feed begins that was never read: "now", "beginning", or an instant with its zone, "2026-01-31T08:00:00Z". ` +
			"Without meaning once there is a watermark."},
	{Name: "timeout", Type: schema.Duration, Default: defaultPollTimeout, Doc: "Time for one call to the source, at least 1s."},
	{Name: "confirm", Type: schema.String,
		Doc: "For feeds that list everything: the resource that is asked, by the record's identifier, whether a record that is no longer " +
			"listed is deleted. Without it no delete is inferred."},
	{Name: "max_deleted", Type: schema.Number, Default: fmt.Sprint(defaultMaxDeleted),
		Doc: "The share of all records, 0 to 1, that may be deleted after one poll, five records at least. If more are missing, none is " +
			"deleted and an error is logged."},
}}

var expandSchema = schema.Schema{Attributes: []schema.Attribute{
	{Name: "from", Type: schema.String, Doc: "The resource that has the children. Without it: the label."},
	{Name: "id", Type: expression, Required: true,
		Doc: "The identifier that it is asked by; change is what the feed lists. Where it is null, missing or empty there are no children."},
	{Name: "items", Type: schema.String,
		Doc: "Dotted path to the list of children in the answer. Without it the answer is the list. Null is an empty list."},
	{Name: "key", Type: schema.String, Required: true,
		Doc: "Dotted path to a child's identifier, which has to be unique among all children of the pipeline."},
	{Name: "version", Type: schema.String, Doc: "Dotted path to a child's version. An equal version with other data is a change too."},
	{Name: "time", Type: schema.String, Doc: "Dotted path to the time of a child's last change, written as RFC 3339."},
}}

var fetchSchema = schema.Schema{Attributes: []schema.Attribute{
	{Name: "from", Type: schema.String, Doc: "The resource that is asked. Without it: the label."},
	{Name: "id", Type: expression,
		Doc: "The identifier. Nothing is fetched for a record for which it is null, missing or empty; fetched.NAME is null then."},
	{Name: "for_each", Type: expression,
		Doc: "In place of id: a list of identifiers, at most 1,000. fetched.NAME is a list in the same order, with null for those that are " +
			"null or empty. A list that is null or missing is an empty one."},
	{Name: "when", Type: expression, Doc: "True or false for each record. Where it is false, nothing is fetched and fetched.NAME is null."},
	{Name: "optional", Type: schema.Bool,
		Doc: "What can't be fetched for good (missing, forbidden, refused) is null and makes no dead letter. What may be had later (the " +
			"server is down, busy, or wants other credentials) is waited for all the same."},
	{Name: "on_missing", Type: schema.String, Values: []string{"dead_letter", "skip", "deliver"},
		Doc: "What becomes of a change for which the server answers 404 or 410. dead_letter, the default: a dead letter. skip: the change is " +
			"filtered out. deliver, the default with optional: null stands in its place. A deletion is always delivered."},
	{Name: "cache", Type: schema.Duration,
		Doc: "How old what was fetched for an earlier poll may be. Without it nothing is kept from poll to poll. What could not be fetched is " +
			"never kept. At most 16 MiB are kept for each pipeline, in memory."},
}}

var deliverSchema = schema.Schema{Attributes: []schema.Attribute{
	{Name: "to", Type: reference, Required: true, Doc: "Where notifications go, as destination.TYPE.NAME, without quotes."},
	{Name: "map", Type: schema.String, Required: true, Doc: "The script that makes the notification, in JavaScript or TypeScript."},
	{Name: "validate", Type: schema.String,
		Doc: `The JSON Schema that what the script returns has to be valid by: "redox/notes", "redox/order", "redox/patientadmin", ` +
			`"redox/results" or "redox/scheduling", which ship with Rounds, or a file.`},
	{Name: "filter", Type: expression,
		Doc: "Whether the record is delivered here: true or false. Where it is false, neither order_by nor map is looked at, and the change " +
			"counts as filtered. Null, as from a path that leads nowhere, or anything else is an error: a dead letter, nothing is delivered."},
	{Name: "order_by", Type: expression,
		Doc: "The ordering key: notifications of one key arrive in the order in which the changes were found. Without it, or where it is " +
			"null, missing or empty: the record's own id."},
}}

var variableSchema = schema.Schema{Attributes: []schema.Attribute{
	{Name: "type", Type: expression,
		Doc: "string, number, bool, list(string), map(string), any, or any other type of HCL, without quotes. A value is converted if it can " +
			"be. Without it: any."},
	{Name: "default", Type: expression,
		Doc: "The value if none is given. Functions and names can't be used in it. Without a default a value has to be given."},
	{Name: "sensitive", Type: schema.Bool, Doc: "The value, and all that is made of it, is shown in no message."},
	{Name: "description", Type: schema.String, Doc: "What it is for."},
}}

var tableSchema = schema.Schema{Attributes: []schema.Attribute{
	{Name: "values", Type: schema.Map, Doc: "The entries; or else csv, key and value:"},
	{Name: "csv", Type: schema.String, Doc: "A CSV file, in UTF-8, with commas, and names of columns in its first line."},
	{Name: "key", Type: schema.String, Doc: "The name of the column of keys. Columns other than this and the next are not looked at."},
	{Name: "value", Type: schema.String, Doc: "The name of the column of what they are translated to."},
	{Name: "default", Type: schema.String, Doc: "What any other key is translated to."},
}}

var movedSchema = schema.Schema{Attributes: []schema.Attribute{
	{Name: "from", Type: reference, Required: true,
		Doc: "The name until now, as pipeline.NAME, source.ADAPTER.NAME or destination.TYPE.NAME, without quotes."},
	{Name: "to", Type: reference, Required: true, Doc: "The name from now on."},
}}

var webSchema = schema.Schema{Attributes: []schema.Attribute{
	{Name: "listen", Type: schema.String, Default: defaultListen,
		Doc: "HOST:PORT of the page, /healthz, /readyz and /metrics. Without a host: all addresses of this machine."},
	{Name: "token", Type: schema.String, Sensitive: true,
		Doc: fmt.Sprintf("What opens the page, at least %d characters. Without it the command rounds web does, for who may open the admin socket.", leastToken)},
}, Blocks: []schema.Block{
	{Name: "tls", Doc: "HTTPS in place of HTTP.", Body: schema.Schema{Attributes: []schema.Attribute{
		{Name: "cert", Type: schema.String, Required: true, Doc: "The certificate and its chain, in PEM, as of file()."},
		{Name: "key", Type: schema.String, Required: true, Sensitive: true, Doc: "Its private key, in PEM, as of secret()."},
	}}},
}}

var historySchema = schema.Schema{Attributes: []schema.Attribute{
	{Name: "keep", Type: schema.Duration, Default: "168h",
		Doc: "How long delivered notifications are kept, with the records that they were mapped from, for search, replay and trace. 0s: not at all."},
	{Name: "max_size", Type: schema.Integer, Default: fmt.Sprint(defaultHistoryMiB),
		Doc: "What they may take on disk, in MiB; the oldest go first."},
}}

var alertSchema = schema.Schema{Attributes: []schema.Attribute{
	{Name: "to", Type: reference, Required: true, Doc: "The destination that is told, as destination.TYPE.NAME, without quotes."},
	{Name: "pipeline", Type: reference, Doc: "The pipeline that the alert is about, as pipeline.NAME, without quotes; or else:"},
	{Name: "destination", Type: reference, Doc: "the destination, as destination.TYPE.NAME; or else:"},
	{Name: "source", Type: reference,
		Doc: "the source, as source.ADAPTER.NAME. Without any of the three: all that the condition can be about, each on its own."},
	{Name: "no_traffic_for", Type: schema.Duration,
		Doc: "A pipeline made no notification for so long. Time in which the engine did not run does not count."},
	{Name: "poll_older_than", Type: schema.Duration,
		Doc: "The last poll of a pipeline that was read to its end began longer ago, and the pipeline was started longer ago."},
	{Name: "errors_above", Type: schema.Number,
		Doc: "The share, 0 to 1, of attempts that failed: of a pipeline, what it asked its source for; of a destination, what was sent to it. " +
			"Five attempts at least."},
	{Name: "dead_letters_above", Type: schema.Integer, Doc: "More dead letters of a pipeline wait for a person."},
	{Name: "outbox_older_than", Type: schema.Duration, Doc: "A notification has waited longer for a destination to accept it."},
	{Name: "calls_per_day_above", Type: schema.Integer,
		Doc: "A source will have made more calls to its EHR by the end of the day, in UTC, if it goes on as in the last hour."},
	{Name: "over", Type: schema.Duration, Default: defaultErrorsOver,
		Doc: "For errors_above: the time in which attempts are counted, from 1m to 24h."},
	{Name: "resolve_after", Type: schema.Duration, Default: defaultResolved,
		Doc: "How long the condition has to be gone before that is told. A condition that comes back before then is not told again."},
	{Name: "map", Type: schema.String,
		Doc: "A script that makes the message, in JavaScript or TypeScript; the alert is change.data. Without it the alert is sent as it is."},
}}
