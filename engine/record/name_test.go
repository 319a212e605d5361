// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package record_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/sdk"
)

func TestInvariant6NameHidesTheRecord(t *testing.T) {
	secret := []byte("0123456789abcdef0123456789abcdef")
	ref := sdk.Ref{Kind: "appointment", ID: "MRN-12345"}
	name := record.Name(secret, "appointments", ref)
	if !regexp.MustCompile(`^[0-9a-f]{16}$`).MatchString(name) {
		t.Fatalf("name %q is not 16 hexadecimal digits", name)
	}
	if strings.Contains(name, "12345") {
		t.Fatalf("name %q holds the identifier", name)
	}
	if again := record.Name(secret, "appointments", ref); again != name {
		t.Fatalf("the same record is called %q and %q", name, again)
	}
}

func TestNameTellsRecordsApart(t *testing.T) {
	secret := []byte("secret")
	names := map[string]string{}
	for what, name := range map[string]string{
		"base":           record.Name(secret, "p", sdk.Ref{Kind: "ab", ID: "c"}),
		"other secret":   record.Name([]byte("secret2"), "p", sdk.Ref{Kind: "ab", ID: "c"}),
		"other pipeline": record.Name(secret, "q", sdk.Ref{Kind: "ab", ID: "c"}),
		"moved border":   record.Name(secret, "p", sdk.Ref{Kind: "a", ID: "bc"}),
		"other args":     record.Name(secret, "p", sdk.Ref{Kind: "ab", ID: "c", Args: "d"}),
		"args for id":    record.Name(secret, "p", sdk.Ref{Kind: "ab", Args: "c"}),
	} {
		if other, taken := names[name]; taken {
			t.Errorf("%s and %s are both called %s", what, other, name)
		}
		names[name] = what
	}
}
