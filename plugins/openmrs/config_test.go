// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package openmrs_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/rounds-engine/rounds/plugins/openmrs"
	"github.com/rounds-engine/rounds/sdk"
	"github.com/rounds-engine/rounds/sdk/schema"
)

func TestAMistakeNamesItsAttribute(t *testing.T) {
	for path, config := range map[string]string{
		"":                        `{"base_url": "https://emr.invalid/openmrs/", "feed": [{"name": "drug_order"}], "resource": [{"name": "p", "path": "/ws/fhir2/R4/Patient/{id}"}]}`,
		"base_url":                `{"base_url": "emr.invalid"}`,
		"timeout":                 `{"base_url": "https://emr.invalid", "timeout": "0s"}`,
		"limits.concurrency":      `{"base_url": "https://emr.invalid", "limits": {"concurrency": 0}}`,
		"limits.per_second":       `{"base_url": "https://emr.invalid", "limits": {"per_second": -1}}`,
		"auth.bearer":             `{"base_url": "https://emr.invalid", "auth": {"kind": "bearer"}}`,
		"auth.basic.username":     `{"base_url": "https://emr.invalid", "auth": {"kind": "basic", "username": "a:b"}}`,
		"feed.visits.category":    `{"base_url": "https://emr.invalid", "feed": [{"name": "visits", "category": "../rest"}]}`,
		"resource.patient.path":   `{"base_url": "https://emr.invalid", "resource": [{"name": "patient", "path": "ws/{id}"}]}`,
		"resource.encounter.path": `{"base_url": "https://emr.invalid", "resource": [{"name": "encounter", "path": "/ws/encounter?id={id}"}]}`,
	} {
		if !json.Valid([]byte(config)) {
			t.Fatal(config)
		}
		var c openmrs.Config
		if err := schema.Decode([]byte(config), &c); err != nil {
			t.Fatal(err)
		}
		err := c.Validate()
		var e *sdk.Error
		switch {
		case path == "" && err == nil:
		case !errors.As(err, &e) || e.Code != sdk.CodeMisconfigured || e.Path != path:
			t.Errorf("%s: %v", path, err)
		}
	}
	for _, address := range []string{"https://rounds:c4n4ry@emr.invalid", "https://emr.invalid?a=c4n4ry", "ftp://c4n4ry", "https://c4n4ry\n"} {
		if err := (openmrs.Config{BaseURL: address, Timeout: 1}).Validate(); err == nil || strings.Contains(err.Error(), "c4n4ry") {
			t.Errorf("%s: %v", address, err)
		}
	}
}

func TestTheCatalogIsTheConfiguration(t *testing.T) {
	c := open(t, "https://emr.invalid").Catalog()
	if len(c.Feeds) != 2 || len(c.Resources) != 1 {
		t.Fatalf("%+v", c)
	}
	if f := c.Feeds[1]; f.Name != "visits" || f.Kind != "visits" || f.Class != sdk.Sequence || f.Version != sdk.Exact || !f.History ||
		!strings.Contains(f.Why, "/ws/atomfeed/visit/{n}") {
		t.Errorf("%+v", f)
	}
}
