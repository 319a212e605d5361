// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package couchdb

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/rounds-engine/rounds/sdk"
	"github.com/rounds-engine/rounds/sdk/httpx"
	"github.com/rounds-engine/rounds/sdk/rawjson"
)

// batchSize is how many documents are asked for at once. A document has 8 MB at most, unless the server is configured otherwise.
const batchSize = 100

// Fetch reads documents by their ids, those of one database in batches.
func (s *source) Fetch(ctx context.Context, refs []sdk.Ref) ([]sdk.Result, error) {
	results := make([]sdk.Result, len(refs))
	wanted := map[string][]string{} // ids by database
	for i, r := range refs {
		results[i].Ref = r
		database, ok := s.resources[r.Kind]
		switch {
		case !ok:
			results[i].Err = sdk.Permanent("resource %q is not configured", r.Kind)
		case r.Args != "":
			results[i].Err = sdk.Permanent("POST %s/_all_docs: takes an id and no further arguments", path(database))
		case r.ID == "":
			results[i].Err = sdk.Permanent("POST %s/_all_docs: the id is empty", path(database))
		case !slices.Contains(wanted[database], r.ID):
			wanted[database] = append(wanted[database], r.ID)
		}
	}
	type batch struct {
		database string
		ids      []string
		found    map[string]sdk.Result
	}
	var batches []*batch
	for database, ids := range wanted {
		for some := range slices.Chunk(ids, batchSize) {
			batches = append(batches, &batch{database, some, map[string]sdk.Result{}})
		}
	}
	var g errgroup.Group
	g.SetLimit(s.client.Concurrency())
	for _, b := range batches {
		g.Go(func() error {
			defer func() {
				if recover() != nil { // the value may quote a document, and the process serves other sources too
					for _, id := range b.ids {
						b.found[id] = sdk.Result{Err: sdk.Retryable("the couchdb adapter panicked, please report it")}
					}
				}
			}()
			s.documents(ctx, b.database, b.ids, b.found)
			return nil
		})
	}
	_ = g.Wait() // each failure is in its own result
	found := map[string]map[string]sdk.Result{}
	for _, b := range batches {
		if found[b.database] == nil {
			found[b.database] = map[string]sdk.Result{}
		}
		for id, r := range b.found {
			found[b.database][id] = r
		}
	}
	for i, r := range refs {
		if results[i].Err == nil {
			results[i] = found[s.resources[r.Kind]][r.ID]
			results[i].Ref = r
		}
	}
	return results, nil
}

// documents asks for some documents by one call. When their answer is too large, it asks for half of them each time.
func (s *source) documents(ctx context.Context, database string, ids []string, found map[string]sdk.Result) {
	all := func(err error) {
		for _, id := range ids {
			found[id] = sdk.Result{Err: err}
		}
	}
	body, err := json.Marshal(map[string][]string{"keys": ids})
	if err != nil {
		all(sdk.Permanent("POST %s/_all_docs: the ids can't be written", path(database)).Because(err))
		return
	}
	header := s.header.Clone()
	header.Set("Content-Type", "application/json")
	res, err := s.client.JSON(ctx, httpx.Request{Method: http.MethodPost, URL: s.address(database, "/_all_docs?include_docs=true"),
		Template: path(database) + "/_all_docs", Header: header, Body: body, Repeat: true})
	switch {
	case tooMuch(err) && len(ids) > 1:
		s.documents(ctx, database, ids[:len(ids)/2], found)
		s.documents(ctx, database, ids[len(ids)/2:], found)
		return
	case sdk.CodeOf(err) == sdk.CodeNotFound: // the database, not a document
		all(sdk.Retryable("%s", err.Error()).Because(err))
		return
	case err != nil:
		all(err)
		return
	}
	rows, _ := rawjson.Get(res.Body, "rows")
	if !bytes.HasPrefix(rows, []byte("[")) {
		all(sdk.Retryable("POST %s/_all_docs: the answer has no rows", path(database)))
		return
	}
	all(sdk.Retryable("POST %s/_all_docs: the answer does not say anything of the id", path(database)))
	for row := range rawjson.Elements(rows) {
		raw, _ := rawjson.Get(row, "key")
		if id, ok := rawjson.Text(raw); ok {
			if _, asked := found[id]; asked {
				found[id] = document(row, path(database))
			}
		}
	}
}

// tooMuch says whether an error may be that of the number of documents: a Permanent one that no status made is about the answer.
func tooMuch(err error) bool {
	var status *httpx.StatusError
	if errors.As(err, &status) {
		return status.Status == http.StatusRequestEntityTooLarge
	}
	return sdk.CodeOf(err) == sdk.CodePermanent
}

// document reads a row.
func document(row []byte, path string) sdk.Result {
	rev, _ := rawjson.Get(row, "value", "rev")
	version, _ := rawjson.Text(rev)
	deleted, _ := rawjson.Get(row, "value", "deleted")
	doc, _ := rawjson.Get(row, "doc")
	failure, _ := rawjson.Get(row, "error")
	why, _ := rawjson.Text(failure)
	switch {
	case why == "not_found":
		return sdk.Result{Err: sdk.NotFound("POST %s/_all_docs: there is no document of that id", path)}
	case string(deleted) == "true":
		return sdk.Result{Version: version, Err: sdk.Gone("POST %s/_all_docs: the document was deleted", path)}
	case len(doc) == 0 || doc[0] != '{':
		return sdk.Result{Err: sdk.Retryable("POST %s/_all_docs: a row came without its document", path)}
	}
	return sdk.Result{Version: version, Data: doc}
}
