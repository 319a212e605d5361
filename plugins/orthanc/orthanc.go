// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

// Package orthanc is the adapter for Orthanc, the DICOM server: it reads the list of changes that Orthanc keeps, GET /changes, and
// fetches patients, studies, series and instances.
//
//	source "orthanc" "pacs" {
//	  base_url = "https://pacs.example:8042"
//	  username = "rounds"
//	  password = secret("orthanc")
//	}
//
// # The list of changes
//
// Each change has a number, Seq, which grows by one and begins at 1 when a database is made. A call gives those after a number,
// exclusively, and the adapter goes by the numbers that it was shown, never by the Last of an answer: with nothing to show, Last is the
// number that was given out last, and with limit=0 it is that as well, with all that was not shown before it.
//
// A database that was made anew begins at 1 again, which is a gap (sdk.WatermarkExpired). It is told by these, at each page:
//
//   - The change that was read last is asked for again. If another has its number, the database is another.
//   - If nothing is listed and the number given out last is smaller than the one that was read, so it is.
//   - If nothing has that number (a deletion takes all changes of what is deleted out of the list, a file that is overwritten those of
//     the old one), the first change of the list is asked for. One with a smaller number and a later date is none of that database.
//
// # Stable or new
//
// Orthanc lists NewStudy when the first instance of a study has come, with more to come, and StableStudy when none has come for a time
// (its StableAge, a minute if not set). The latter is what makes a change here, unless trigger = "new". Orthanc has what is not
// stable yet in memory only: when it is restarted before that, there will be no StableStudy. So the numbers of the New* that were listed and
// have no Stable* yet are part of the watermark, and where Orthanc says that such a study is stable, and does not list it by the next
// poll, the New* becomes the change, as if it were the Stable*.
//
// # Late numbers
//
// Orthanc with SQLite, its default, writes one change after the other. Over a database in which several write at a time a number may
// become visible after a greater one. So the changes of the pipeline's overlap before the newest are read again at each poll; the engine
// drops what it has seen. No more than 10,000 numbers are.
package orthanc

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"github.com/rounds-engine/rounds/sdk"
	"github.com/rounds-engine/rounds/sdk/httpx"
	"github.com/rounds-engine/rounds/sdk/window"
)

var info = sdk.Info{
	Name: "orthanc", Version: "0.1.0", Doc: "Polls Orthanc, the DICOM server, for patients, studies, series and instances.",
	Feeds: feeds(Config{Trigger: stable}), Resources: resources(),
}

// Serve makes this process the adapter.
func Serve() { sdk.Serve(info, Open) }

// source is one Orthanc.
type source struct {
	base   *url.URL // without a slash at its end
	header http.Header
	format window.Format
	client *httpx.Client
	config Config
}

var _ sdk.Source = (*source)(nil)

// Open makes a source. It does not call Orthanc: one that is down is found out by the first poll.
func Open(_ context.Context, c Config, env sdk.Env) (sdk.Source, error) {
	s, err := c.compile()
	if err != nil {
		return nil, err
	}
	if env.Logger != nil && c.Username != "" && httpx.Plain(s.base) {
		env.Logger.Warn("credentials and records travel unencrypted, as base_url is http")
	}
	return s, nil
}

// Catalog tells the four feeds and what can be fetched.
func (s *source) Catalog() sdk.Catalog {
	return sdk.Catalog{Feeds: feeds(s.config), Resources: resources()}
}

// Close closes idle connections.
func (s *source) Close() error { return s.client.Close() }

// level is one of the levels at which DICOM files are arranged.
type level struct {
	feed     string // its name, and that of the list in Orthanc's paths
	kind     string // of the records
	resource string // what Orthanc calls it in changes
	grows    bool   // after the first instance, so that it is said to be stable
}

var levels = []level{
	{"patients", "patient", "Patient", true}, {"studies", "study", "Study", true}, {"series", "series", "Series", true},
	{"instances", "instance", "Instance", false},
}

// trigger is the event that makes a change of this level.
func (l level) trigger(c Config) string {
	if l.grows && c.Trigger == stable {
		return "Stable" + l.resource
	}
	return "New" + l.resource
}

func feeds(c Config) []sdk.Feed {
	var all []sdk.Feed
	for _, l := range levels {
		why := "GET /changes numbers what comes; " + l.trigger(c) + " makes a change"
		if c.Updates {
			why += ", and so do UpdatedMetadata and UpdatedAttachment"
		}
		all = append(all, sdk.Feed{Name: l.feed, Kind: l.kind, Class: sdk.Sequence, Version: sdk.Exact, Precision: time.Second, History: true, Why: why})
	}
	return all
}
