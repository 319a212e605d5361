// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package destination_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/rounds-engine/rounds/engine/delivery"
	"github.com/rounds-engine/rounds/engine/destination"
	"github.com/rounds-engine/rounds/engine/record"
)

type line struct {
	ID, Pipeline, Deliver string
	Body                  json.RawMessage
}

func readLines(t testing.TB, path string) []line {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var all []line
	in := bufio.NewScanner(f)
	in.Buffer(nil, 1<<20)
	for in.Scan() {
		var l line
		if err := json.Unmarshal(in.Bytes(), &l); err != nil {
			t.Errorf("line %d: %v", len(all)+1, err)
		}
		all = append(all, l)
	}
	return all
}

func TestFileAppendsOneLineEach(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out.ndjson")
	d := open(t, "file", map[string]any{"path": path})
	if _, err := os.Stat(path); err == nil {
		t.Error("the file stands before the first notification")
	}
	for i, body := range []string{`{"a":"ü"}`, "{\n \"a\": [1,\r\n2]\n}", `null`} {
		err := d.Send(t.Context(), delivery.Notification{ID: fmt.Sprint("n", i), Pipeline: `p"q`, Deliver: "d", Body: []byte(body)})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, broken := range []string{"", "{\n"} {
		if e := sendError(t, d.Send(t.Context(), delivery.Notification{Body: []byte(broken)})); e.Verdict != record.Reject {
			t.Errorf("%q: verdict %d", broken, e.Verdict)
		}
	}
	got := readLines(t, path)
	if len(got) != 3 || got[1].ID != "n1" || got[1].Pipeline != `p"q` || string(got[1].Body) != `{"a":[1,2]}` {
		t.Errorf("lines are %+v", got)
	}
	if info, _ := os.Stat(path); info.Mode().Perm() != 0o600 {
		t.Errorf("mode is %o", info.Mode().Perm())
	}
}

func TestFileIsReopenedWhenItWasMovedAway(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out.ndjson")
	d := open(t, "file", map[string]any{"path": path})
	send := func(n int) {
		t.Helper()
		for range n {
			if err := d.Send(t.Context(), note(`{}`)); err != nil {
				t.Fatal(err)
			}
		}
	}
	send(2)
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	send(3)
	if err := os.Truncate(path, 0); err != nil { // logrotate's copytruncate
		t.Fatal(err)
	}
	send(4)
	if old, now := len(readLines(t, path+".1")), len(readLines(t, path)); old != 2 || now != 4 {
		t.Errorf("%d lines in the old file, %d in the new, want 2 and 4", old, now)
	}
}

func TestFileMendsATornLastLine(t *testing.T) {
	whole := `{"id":"a","pipeline":"p","deliver":"d","body":{}}`
	for name, c := range map[string]struct {
		content string
		lines   int // whole ones, before the new
	}{
		"nothing torn":          {whole + "\n", 1},
		"torn":                  {whole + "\n" + whole[:20], 1},
		"torn at its first":     {whole + "\n{", 1},
		"torn, first line":      {whole[:len(whole)-1], 0},
		"zeros after a crash":   {whole + "\n" + whole[:20] + "\x00\x00\x00", 1},
		"long torn line":        {whole + "\n" + whole[:48] + strings.Repeat("x", 300_000), 1},
		"break lost, by editor": {whole + "\n" + whole, 2},
	} {
		path := filepath.Join(t.TempDir(), "out.ndjson")
		if err := os.WriteFile(path, []byte(c.content), 0o600); err != nil {
			t.Fatal(err)
		}
		d := open(t, "file", map[string]any{"path": path})
		if err := d.Send(t.Context(), note(`{"new":true}`)); err != nil {
			t.Fatal(err)
		}
		if got := readLines(t, path); len(got) != c.lines+1 || string(got[c.lines].Body) != `{"new":true}` {
			t.Errorf("%s: lines are %+v", name, got)
		}
	}
}

// TestFileBeginsItsOwnLineBehindWhatAnotherLeft, while it has the file open: another destination on a full disk, or a hand.
func TestFileBeginsItsOwnLineBehindWhatAnotherLeft(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out.ndjson")
	d := open(t, "file", map[string]any{"path": path})
	others, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer others.Close()
	want := ""
	for _, left := range []string{"", "", "{}\n", `{"id":"n","pipe`, "by hand", "{}\n", ""} {
		if _, err := others.WriteString(left); err != nil {
			t.Fatal(err)
		}
		if want += left; left != "" && left[len(left)-1] != '\n' {
			want += "\n"
		}
		if err := d.Send(t.Context(), delivery.Notification{ID: "n", Body: []byte("1")}); err != nil {
			t.Fatal(err)
		}
		want += `{"id":"n","pipeline":"","deliver":"","body":1}` + "\n"
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != want {
		t.Errorf("the file holds\n%s, want\n%s (%v)", got, want, err)
	}
}

func TestFileErrorsSayWhyAndPassByThemselves(t *testing.T) {
	dir := t.TempDir()
	sub := filepath.Join(dir, "hush")
	d := open(t, "file", map[string]any{"path": filepath.Join(sub, "out.ndjson")})
	e := sendError(t, d.Send(t.Context(), note(`{}`)))
	if e.Verdict != record.Retry || e.Text != "cannot open the file: no such file or directory" {
		t.Errorf("%+v", e)
	}
	if err := os.Mkdir(sub, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := d.Send(t.Context(), note(`{}`)); err != nil {
		t.Errorf("the directory is there: %v", err)
	}
	for _, path := range []string{dir, os.DevNull} {
		d := open(t, "file", map[string]any{"path": path})
		if e := sendError(t, d.Send(t.Context(), note(`{}`))); !strings.Contains(e.Text, "not a regular file") {
			t.Errorf("%s: %+v", path, e)
		}
	}
}

func TestFileIsProbedWithoutATrace(t *testing.T) {
	dir := t.TempDir()
	there := filepath.Join(dir, "there.jsonl")
	if err := os.WriteFile(there, []byte("{}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		there: "", filepath.Join(dir, "new.jsonl"): "", filepath.Join(dir, "no", "new.jsonl"): "cannot make the file: no such file or directory",
		dir: "not a regular file",
	} {
		err := open(t, "file", map[string]any{"path": path}).(destination.Prober).Probe(t.Context())
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("a probe left files: %v %v", left, err)
	}
	if data, err := os.ReadFile(there); err != nil || string(data) != "{}\n" {
		t.Errorf("a probe changed the file: %q %v", data, err)
	}
}

func TestFileTakesManyLanes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out.ndjson")
	d := open(t, "file", map[string]any{"path": path})
	var all sync.WaitGroup
	for i := range 16 {
		all.Go(func() {
			for j := range 20 {
				n := delivery.Notification{ID: fmt.Sprintf("%d.%02d", i, j), Body: []byte(`{"x":"` + strings.Repeat("y", 500) + `"}`)}
				if err := d.Send(t.Context(), n); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	last := map[string]string{}
	got := readLines(t, path)
	for _, l := range got {
		lane, _, _ := strings.Cut(l.ID, ".")
		if l.ID <= last[lane] {
			t.Errorf("%s comes after %s", l.ID, last[lane])
		}
		last[lane] = l.ID
	}
	if len(got) != 320 {
		t.Errorf("%d lines, want 320", len(got))
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	if err := d.Send(t.Context(), note(`{}`)); err == nil || errors.Is(err, context.Canceled) {
		t.Errorf("a send after Close: %v", err)
	}
}

func BenchmarkFile(b *testing.B) {
	d := open(b, "file", map[string]any{"path": filepath.Join(b.TempDir(), "out.ndjson")})
	n := note(`"` + strings.Repeat("x", 1500) + `"`)
	b.ReportAllocs()
	b.SetParallelism(8)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := d.Send(b.Context(), n); err != nil {
				b.Fatal(err)
			}
		}
	})
}
