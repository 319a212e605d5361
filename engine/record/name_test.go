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

func TestInvariant6NamesHideTheRecordUnlessTold(t *testing.T) {
	ref, secret := sdk.Ref{Kind: "appointment", ID: "12345"}, []byte("secret")
	withArgs := ref
	withArgs.Args = "part=2"
	for _, c := range []struct {
		what  string
		names record.Names
		ref   sdk.Ref
		want  string
	}{
		{"by default", record.Names{Secret: secret}, ref, record.Name(secret, "p", ref)},
		{"without a secret", record.Names{}, ref, ""},
		{"clear", record.Names{Secret: secret, Clear: true}, ref, "appointment/12345"},
		{"clear, with arguments", record.Names{Clear: true}, withArgs, "appointment/12345?part=2"},
	} {
		if got := c.names.Of("p", c.ref); got != c.want {
			t.Errorf("%s: %q, want %q", c.what, got, c.want)
		}
	}
}
