// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package orthanc

import (
	"context"
	"encoding/json"
	"strings"

	"github.com/rounds-engine/rounds/sdk"
)

// paths of what can be fetched, by name.
var paths = map[string]string{
	"patient":          "/patients/{id}",
	"study":            "/studies/{id}",
	"study_statistics": "/studies/{id}/statistics",
	"series":           "/series/{id}",
	"instance":         "/instances/{id}",
	"instance_tags":    "/instances/{id}/simplified-tags",
}

func resources() []sdk.Resource {
	var all []sdk.Resource
	for _, name := range []string{"patient", "study", "study_statistics", "series", "instance", "instance_tags"} {
		all = append(all, sdk.Resource{Name: name, Why: "one GET " + paths[name] + " for each identifier"})
	}
	return all
}

// Fetch calls once for each ref, side by side within the source's limits.
func (s *source) Fetch(ctx context.Context, refs []sdk.Ref) ([]sdk.Result, error) {
	return sdk.Each(refs, s.client.Concurrency(), func(r sdk.Ref) (json.RawMessage, error) {
		path := paths[r.Kind]
		switch {
		case path == "":
			return nil, sdk.Permanent("there is no resource %q; there are patient, study, study_statistics, series, instance and instance_tags", r.Kind)
		case !identifier(r.ID):
			return nil, sdk.NotFound("GET %s: not called, as Orthanc has no identifiers of this form; a PatientID or a StudyInstanceUID is not one", path)
		}
		return (&caller{source: s}).get(ctx, strings.Replace(path, "{id}", r.ID, 1), path)
	}), nil
}

// identifier says whether a text can be an identifier of Orthanc's: hexadecimal digits in groups, as in
// 784028ce-129a6701-b691e9c7-e62c179a-67fbd1e5. Orthanc goes up from dots in paths, so that ../system would be another resource.
func identifier(id string) bool {
	return id != "" && len(id) <= 64 && strings.Trim(id, "0123456789abcdef-") == ""
}
