// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
)

// The canaries stand for what must not get out: they are in records, in secrets, and in what servers
// answer. None is a word that anything else could hold.
const (
	canaryID       = "CanaryRecordId7151"
	canaryPatient  = "CanaryPatientId7152"
	canaryName     = "CanaryLastName7153"
	canaryVersion  = "CanaryVersion7154"
	canaryToken    = "CanaryToken7155"
	canaryPassword = "CanaryPassword7156"
	canaryHeader   = "CanaryHeader7157"
	canaryURL      = "CanaryNotifyPath7158"
	canarySecret   = "CanarySigningSecret7159xx"
	canaryQuery    = "CanaryQueryKey7160"
	canaryAnswer   = "CanaryAnswer7161"
)

var canaries = []string{canaryID, canaryPatient, canaryName, canaryVersion, canaryToken, canaryPassword, canaryHeader, canaryURL,
	canarySecret, canaryQuery, canaryAnswer}

const canaryItem = `{"id": "` + canaryID + `", "patientID": "` + canaryPatient + `", "version": "` + canaryVersion +
	`", "lastUpdated": "2026-05-10T10:00:00", "name": "` + canaryName + `"}`

// forms are the ways in which a canary may be written: as it is, and what each of the three alignments of base64 makes of its
// inner letters.
func forms(canary string) []string {
	all := []string{strings.ToLower(canary), fmt.Sprintf("%x", canary)}
	for skip := range 3 {
		inner := canary[skip:]
		all = append(all, strings.ToLower(base64.StdEncoding.EncodeToString([]byte(inner[:len(inner)/3*3]))))
	}
	return all
}

// noCanary checks a text for canaries; a copy in lower case is what is looked at.
func noCanary(t *testing.T, where, text string) {
	t.Helper()
	lower := strings.ToLower(text)
	for _, canary := range canaries {
		for _, form := range forms(canary) {
			if i := strings.Index(lower, form); i >= 0 {
				t.Errorf("%s holds %s: …%s…", where, canary, text[max(0, i-200):min(len(text), i+60)])
			}
		}
	}
}

// TestInvariant6MistakesOfAConfigurationShowNoSecret uses secrets where they can't be used.
func TestInvariant6MistakesOfAConfigurationShowNoSecret(t *testing.T) {
	t.Parallel()
	for i, attribute := range []string{
		`base_url = env("EHR_URL")`, `zone   = "America/New_York"`, `format = "2006-01-02T15:04:05"`, `path    = "/appointments"`,
		`url = env("NOTIFY_URL")`, `every   = "1s"`, `overlap = "10s"`, `start   = "now"`, `map      = "mapping.js"`,
		`feed    = source.rest.clinic.feed.appointments`, `to       = destination.webhook.scheduling`,
	} {
		name, _, _ := strings.Cut(attribute, " ")
		hcl := replaced(t, pipelineHCL, attribute, name+` = "${secret("token")}/${env("TOKEN")}"`)
		dir := write(t, map[string]string{"main.hcl": hcl, "mapping.js": tellAll, "token": canaryToken + "\n%zz"})
		code, stdout, stderr := rounds(t, []string{"EHR_URL=http://localhost", "NOTIFY_URL=http://localhost", "TOKEN=" + canaryToken,
			"CREDENTIALS_DIRECTORY=" + dir}, "validate", fmt.Sprintf("--json=%v", i%2 == 0), dir)
		if code != 1 {
			t.Errorf("%s: a secret is taken there: exit code %d", attribute, code)
		}
		noCanary(t, attribute, stdout+stderr)
	}
}
