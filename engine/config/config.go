// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

// Package config reads a configuration: HCL files in, a Config out, and every mistake at once, each at its line.
//
// What it reads of the world are the files themselves, the environment and the directory of secrets; only
// Options.Adapters may start a process. What comes from env, secret, file and sensitive variables never gets into a diagnostic.
package config

import (
	"context"
	"encoding/json"
	"time"

	"github.com/rounds-engine/rounds/sdk"
	"github.com/rounds-engine/rounds/sdk/schema"
)

// Config is a whole configuration. The order is that of the files by name and of the blocks in them.
type Config struct {
	Dir           string   // absolute: of the files, where relative paths start and which imports of scripts may not leave
	Secrets       []string // what secret() and sensitive variables gave: never to be shown, wherever it is used
	Sources       []Source
	Destinations  []Destination
	Pipelines     []Pipeline
	Tables        map[string]map[string]string // by name; what a key is translated to
	TableDefaults map[string]string            // by name of the table: what a key is translated to that it does not have
	Moves         []Move
	Alerts        []Alert
	Web           *Web // nil: it answers nobody
	History       History
}

// Move says that what was kept under one name belongs to another from now on.
type Move struct {
	Kind     string // "pipeline", "source" or "destination"
	From, To string // as state is keyed: a pipeline's name, else the ID
}

// Adapter is the program that speaks to the sources that name it.
type Adapter struct {
	Name   string
	Path   string // absolute; empty: bundled
	SHA256 string // lower-case hex; empty: not verified
	Memory int64  // MiB that a process of it may take; 0: the default
}

// Source is one configured use of an adapter.
type Source struct {
	Adapter Adapter
	Name    string
	Isolate bool            // gets a process of its own
	Config  json.RawMessage // the block in the JSON form of the adapter's schema; holds secrets
}

// ID is the name that state is keyed by and that references use: "rest.clinic".
func (s Source) ID() string { return s.Adapter.Name + "." + s.Name }

// Destination is where notifications go.
type Destination struct {
	Type     string
	Name     string
	Parallel int    // notifications in flight at the same time
	OnReject string // "pause" or "dead_letter"
	Timeout  time.Duration
	Config   json.RawMessage // the block in the JSON form of the type's schema; holds secrets
}

// ID is the name that state is keyed by and that references use: "webhook.scheduling".
func (d Destination) ID() string { return d.Type + "." + d.Name }

// Pipeline is the way of the records of one feed.
type Pipeline struct {
	Name    string
	Source  string // ID of the source
	Feed    string
	Every   time.Duration
	Overlap time.Duration
	Timeout time.Duration // of one call to the source
	Start   Start
	// Confirm is the resource that is asked whether a record is deleted that a scan does not list; empty: no delete is
	// inferred. MaxDeleted is the share of all records that may be deleted after one scan.
	Confirm    string
	MaxDeleted float64
	Expand     *Expand // nil: what the feed lists are the changes
	// KeepPrevious keeps each record as it was committed, for the next mapping of it.
	KeepPrevious bool
	Isolate      bool // mappings run in a process of their own
	Fetches      []Fetch
	Delivers     []Deliver
}

// Start says where a feed that was never read begins. The zero value is the beginning of all records.
type Start struct {
	Now bool
	At  time.Time // meant when Now is false and At is not zero
}

// Expand makes changes of the children of what the feed lists. Paths are into the answer and, beside Items, into a child.
type Expand struct {
	Name     string // label; the kind of the children
	Resource string
	ID       *Expr // over the parent, as its change; without it there are no children
	Items    []string
	Key      []string
	Version  []string
	Time     []string
}

// Fetch asks for the details of a record.
type Fetch struct {
	Name      string // label; what was fetched is fetched.NAME
	Resource  string
	ID        *Expr         // nothing is fetched for a record that it is absent for; nil with ForEach
	ForEach   *Expr         // a list of identifiers; nil with ID
	When      *Expr         // whether anything is fetched; nil: always
	Optional  bool          // what can't be fetched is null
	OnMissing string        // "dead_letter", "skip" or "deliver": what a 404 or 410 makes of a change
	Cache     time.Duration // how old what an earlier poll fetched may be
	Needs     []string      // labels of the fetches of the same pipeline that the expressions use, sorted
}

// Deliver is one mapping and where its notifications go.
type Deliver struct {
	Name        string
	Destination string // ID of the destination
	Script      string // absolute path
	Schema      string // that what the script returns has to be valid by: the name of a shipped one, or an absolute path; empty: none
	Filter      *Expr  // nil: every record is delivered
	OrderBy     *Expr  // nil, or absent for a record: the record's own id is the ordering key
}

// Adapters is what config asks of the host. Errors are of type *sdk.Error; one with a Path is shown at that attribute (for
// Describe "path" or "sha256" of the adapter block), the text of any other type is withheld.
type Adapters interface {
	Describe(ctx context.Context, a Adapter) (sdk.Info, schema.Schema, error)
	Validate(ctx context.Context, a Adapter, config []byte) error
}

// Options is what a configuration is read with.
type Options struct {
	Adapters     Adapters
	Bundled      []string                 // names of the adapters that need no adapter block
	Destinations map[string]schema.Schema // by type
	// CheckDestination checks the block of a destination beyond its schema; as Adapters.Validate. May be nil.
	CheckDestination func(kind string, config []byte) error
	// CheckBody says what a destination of a type could not send of a notification's body; "" if it can send it. May be nil.
	CheckBody func(kind string, body []byte) string
	// CheckScript compiles a mapping, whose imports may not leave dir; an isolated one runs nowhere but in a process of its own. The
	// error's text says where in the script and is shown; it holds no values. May be nil.
	CheckScript func(dir, path string, isolated bool) error
	// Parsed has the files of the reading before and takes those of this one; nil: all are parsed.
	Parsed *Parsed
	// Schemas are the names of the shipped schemas, and CheckSchema compiles a schema as CheckScript does a script. May be nil.
	Schemas     []string
	CheckSchema func(dir, schema string) error
	SecretsDir  string                      // of secret(); empty: $CREDENTIALS_DIRECTORY, else /run/secrets
	LookupEnv   func(string) (string, bool) // nil: os.LookupEnv
	Values      []Value                     // of variables, beside the environment; later ones count
}
