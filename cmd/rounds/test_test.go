// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"maps"
	"path/filepath"
	"strings"
	"testing"
)

const (
	tryOne = "tests/appointments/one/"
	tryTwo = "tests/appointments/two/"
	golden = `{"now": "2026-05-10T14:00:00.000Z", "name": "Ana <Lee>", "id": "A1"}` // in another order than the mapping's
)

// testFiles are a configuration with three tests that pass, and more files.
func testFiles(t *testing.T, more map[string]string) map[string]string {
	t.Helper()
	files := tryFiles()
	maps.Copy(files, map[string]string{
		tryOne + "usual.record.json": tryRecord, tryOne + "usual.golden.json": golden,
		tryTwo + "urgent.record.json": tryRecord, tryTwo + "urgent.golden.json": `{"id": "A1"}`,
		tryTwo + "draft.record.json": replaced(t, tryRecord, "booked", "draft"), tryTwo + "draft.golden.json": "null\n",
		"tests/README.md": "not a test",
	})
	maps.Copy(files, more)
	return files
}

func TestTestsThatPassSayHowManyRan(t *testing.T) {
	t.Parallel()
	dir := write(t, testFiles(t, nil))
	for args, want := range map[string]string{
		"":                        "ok    appointments/one  1 passed\nok    appointments/two  2 passed\n3 tests ran, all passed\n",
		"--run two/dra":           "ok    appointments/two  1 passed\n1 tests ran, all passed\n",
		"--run ^appointments/one": "ok    appointments/one  1 passed\n1 tests ran, all passed\n",
	} {
		code, stdout, stderr := rounds(t, nil, append(append([]string{"test"}, strings.Fields(args)...), dir)...)
		if code != 0 || stdout != want || stderr != "" {
			t.Errorf("%s: exit code %d\n%s%s", args, code, stdout, stderr)
		}
	}
	code, stdout, _ := rounds(t, nil, "test", filepath.Join(dir, "main.hcl"))
	if code != 0 || !strings.Contains(stdout, "3 tests ran") {
		t.Errorf("of a file: exit code %d\n%s", code, stdout)
	}
}

func TestATestThatFailsSaysWhy(t *testing.T) {
	t.Parallel()
	const passed = "ok    appointments/two  2 passed\n4 tests ran, 1 failed\n"
	for name, x := range map[string]struct {
		files map[string]string
		want  []string
	}{
		"differs": {map[string]string{tryOne + "x.record.json": tryRecord, tryOne + "x.golden.json": `{"id": 1, "name": "Ana <Lee>", "now": "2026-05-10T14:00:00.000Z"}`},
			[]string{"--- FAIL: appointments/one/x\n", "    -  \"id\": 1,\n    +  \"id\": \"A1\",\n       \"name\": \"Ana <Lee>\",\n", passed}},
		"lacks": {map[string]string{tryTwo + "x.record.json": tryRecord, tryTwo + "x.golden.json": `{"id": "A1", "n": 1}`},
			[]string{"-  \"n\": 1\n", "FAIL  appointments/two  1 of 3 failed\n4 tests ran, 1 failed"}},
		"filtered": {map[string]string{tryTwo + "x.record.json": tryRecord, tryTwo + "x.golden.json": "null"},
			[]string{"-null\n", "+  \"id\": \"A1\"\n"}},
		"throws": {map[string]string{tryOne + "x.record.json": `{"change": {}}`, tryOne + "x.golden.json": "null"},
			[]string{`deliver "one": names.js:1:33: TypeError`, "Cannot read property 'name' of", passed}},
		"bad record": {map[string]string{tryOne + "x.record.json": "{", tryOne + "x.golden.json": "null"},
			[]string{"x.record.json: line 1, column 1: this is not valid JSON", passed}},
		"bad golden": {map[string]string{tryOne + "x.record.json": tryRecord, tryOne + "x.golden.json": golden + "{}"},
			[]string{"x.golden.json is not valid JSON", passed}},
		"no golden": {map[string]string{tryOne + "x.record.json": tryRecord}, []string{"x.golden.json; --update writes it", passed}},
		"no record": {map[string]string{tryOne + "x.golden.json": golden}, []string{"there is no record for it: ", passed}},
		"no block": {map[string]string{"tests/appointments/three/x.record.json": tryRecord},
			[]string{`--- FAIL: appointments/three` + "\n", `no deliver block "three"; it has: one, two`, "3 tests ran, 1 failed"}},
		"no pipeline": {map[string]string{"tests/orders/one/x.record.json": tryRecord}, []string{`no pipeline "orders"; it has: appointments`, "3 tests ran, 1 failed"}},
		"stray":       {map[string]string{tryOne + "x.record.jsn.json": tryRecord}, []string{"x.record.jsn.json\n    not a test", "3 tests ran, 1 failed"}},
		"too deep":    {map[string]string{tryOne + "more/x.record.json": tryRecord}, []string{"more/x.record.json\n    not a test", "3 tests ran, 1 failed"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := write(t, testFiles(t, x.files))
			code, stdout, stderr := rounds(t, nil, "test", dir)
			if code != 1 || stderr != "" {
				t.Errorf("exit code %d\n%s", code, stderr)
			}
			for _, want := range x.want {
				if !strings.Contains(stdout, want) {
					t.Errorf("it does not say %q:\n%s", want, stdout)
				}
			}
		})
	}
}

func TestNoTestIsAFailure(t *testing.T) {
	t.Parallel()
	dir := write(t, tryFiles())
	code, stdout, stderr := rounds(t, nil, "test", dir)
	if code != 1 || stdout != "" || !strings.Contains(stderr, "there are no tests: a test is a pair of files "+filepath.Join(dir, "tests/PIPELINE/DELIVER/NAME.record.json")) {
		t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
	}
	dir = write(t, testFiles(t, nil))
	if code, _, stderr := rounds(t, nil, "test", "--run", "^one", dir); code != 1 || !strings.Contains(stderr, "no test has such a name") {
		t.Errorf("no name: exit code %d\n%s", code, stderr)
	}
}

func TestUpdateWritesWhatDiffersAndNothingElse(t *testing.T) {
	t.Parallel()
	dir := write(t, testFiles(t, map[string]string{
		tryOne + "wrong.record.json": replaced(t, tryRecord, "Ana", "Bea"), tryOne + "wrong.golden.json": golden,
		tryOne + "fresh.record.json": tryRecord,
		tryOne + "fails.record.json": `{"change": {}}`, tryOne + "fails.golden.json": golden,
		tryTwo + "null.record.json": replaced(t, tryRecord, "true", "false"),
	}))
	code, stdout, _ := rounds(t, nil, "test", "--update", dir)
	if code != 1 || strings.Count(stdout, "wrote ") != 3 || !strings.Contains(stdout, "7 tests ran, 1 failed") {
		t.Errorf("exit code %d\n%s", code, stdout)
	}
	for name, want := range map[string]string{
		tryOne + "usual": golden, tryOne + "fails": golden, tryTwo + "null": "null\n",
		tryOne + "wrong": "{\n  \"id\": \"A1\",\n  \"name\": \"Bea <Lee>\",\n  \"now\": \"2026-05-10T14:00:00.000Z\"\n}\n",
		tryOne + "fresh": "{\n  \"id\": \"A1\",\n  \"name\": \"Ana <Lee>\",\n  \"now\": \"2026-05-10T14:00:00.000Z\"\n}\n",
	} {
		if got := content(t, filepath.Join(dir, name+".golden.json")); got != want {
			t.Errorf("%s: %s", name, got)
		}
	}
	if code, stdout, _ := rounds(t, nil, "test", "--run", "wrong|fresh|null", dir); code != 0 {
		t.Errorf("after the update: exit code %d\n%s", code, stdout)
	}
}
