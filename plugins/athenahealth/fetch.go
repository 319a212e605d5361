// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package athenahealth

import (
	"bytes"
	"context"
	"encoding/json"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/rounds-engine/rounds/sdk"
	"github.com/rounds-engine/rounds/sdk/httpx"
	"github.com/rounds-engine/rounds/sdk/rawjson"
)

// Fetch makes one call for each ref.
func (s *source) Fetch(ctx context.Context, refs []sdk.Ref) ([]sdk.Result, error) {
	return sdk.Each(refs, httpx.DefaultConcurrency, func(ref sdk.Ref) (json.RawMessage, error) {
		r, known := resources[ref.Kind]
		if !known {
			return nil, sdk.Permanent("there is no resource %q; there are: %s", ref.Kind, strings.Join(slices.Sorted(maps.Keys(resources)), ", "))
		}
		path, err := fill(r.path, ref)
		if err != nil {
			return nil, err
		}
		res, err := s.call(ctx, httpx.Request{URL: s.base + path, Template: template + r.path})
		if err != nil {
			return nil, httpx.Missing(err)
		}
		if r.list {
			return res.Body, nil
		}
		return alone(res.Body, r.path)
	}), nil
}

// fill puts identifiers into a path.
func fill(path string, ref sdk.Ref) (string, error) {
	id := ref.ID
	if strings.Contains(path, "{patient}") {
		patient, own, both := strings.Cut(id, "/")
		if !both || !fits(patient) {
			return "", sdk.Permanent("GET %s: the identifier is that of the patient and that of the record, with a slash between them", template+path)
		}
		path, id = strings.Replace(path, "{patient}", url.PathEscape(patient), 1), own
	}
	if !fits(id) || ref.Args != "" {
		return "", sdk.Permanent("GET %s: the identifier is empty or not fit for a path", template+path)
	}
	return strings.Replace(path, "{id}", url.PathEscape(id), 1), nil
}

// fits says whether a step of a path stays one.
func fits(id string) bool { return id != "" && id != "." && id != ".." }

// alone takes a record out of the list in which it is alone.
func alone(body []byte, path string) (json.RawMessage, error) {
	if !bytes.HasPrefix(bytes.TrimSpace(body), []byte("[")) {
		return body, nil
	}
	items := slices.Collect(rawjson.Elements(body))
	switch len(items) {
	case 0:
		return nil, sdk.NotFound("GET %s: the answer is an empty list", template+path)
	case 1:
		return items[0], nil
	}
	return nil, sdk.Permanent("GET %s: the answer has several records", template+path)
}
