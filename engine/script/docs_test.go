// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package script_test

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/rounds-engine/rounds/engine/script"
)

var (
	fence     = regexp.MustCompile("(?ms)^```(js|ts|json|text)\n(.*?)^```$")
	firstName = regexp.MustCompile(`^// (\S+\.[jt]s)\n`)
)

// The guide's first JSON block is the record; a block of a script is followed by what it makes of the record, a
// notification (json) or an error (text). A script that begins with a comment that names a file is there for those after it.
func TestTheGuidesExamplesDoWhatItSays(t *testing.T) {
	blocks := fence.FindAllStringSubmatch(string(read(t, "../../docs/scripts.md")), -1)
	if len(blocks) < 10 {
		t.Fatalf("only %d blocks found", len(blocks))
	}
	path := filepath.Join(t.TempDir(), "record.json")
	if err := os.WriteFile(path, []byte(blocks[0][2]), 0o600); err != nil {
		t.Fatal(err)
	}
	r := recordFile(t, path)
	files := map[string]string{}
	for i, block := range blocks[1:] {
		kind, source := block[1], block[2]
		if kind != "js" && kind != "ts" {
			continue
		}
		if m := firstName.FindStringSubmatch(source); m != nil {
			files[m[1]] = source
		}
		if !strings.Contains(source, "export default") {
			continue
		}
		here := maps.Clone(files)
		here["map."+kind] = source
		if i+2 >= len(blocks) {
			t.Fatalf("nothing says what this makes:\n%s", source)
		}
		want := blocks[i+2]
		s, err := script.Compile(write(t, here), script.Options{})
		if err != nil {
			t.Errorf("%v\n%s", err, source)
			continue
		}
		body, err := mapRecord(t, s, r)
		switch want[1] {
		case "json":
			if err != nil || !sameJSON(t, body, want[2]) {
				t.Errorf("got %s, %v\nwant %s\nof\n%s", body, err, want[2], source)
			}
		case "text":
			if err == nil || err.Error() != strings.TrimSpace(want[2]) {
				t.Errorf("got %s, %v\nwant %s\nof\n%s", body, err, want[2], source)
			}
		default:
			t.Errorf("nothing says what this makes:\n%s", source)
		}
	}
}

func sameJSON(t *testing.T, a, b string) bool {
	t.Helper()
	var x, y any
	if err := json.Unmarshal([]byte(a), &x); err != nil {
		t.Error(err)
	}
	if err := json.Unmarshal([]byte(b), &y); err != nil {
		t.Error(err)
	}
	return reflect.DeepEqual(x, y)
}
