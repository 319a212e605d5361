// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package badgerstore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/engine/store"
	"github.com/rounds-engine/rounds/engine/store/badgerstore"
)

func backup(t testing.TB, s *badgerstore.Store) []byte {
	t.Helper()
	var b bytes.Buffer
	must(t, s.Admin().Backup(t.Context(), &b))
	return b.Bytes()
}

func restored(t testing.TB, backup []byte, o badgerstore.Options) *badgerstore.Store {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "restored")
	must(t, badgerstore.Restore(dir, bytes.NewReader(backup), o))
	return open(t, dir, o)
}

// everything gives a state that holds some of all that is kept, each with content in it, large values among it.
func everything(t testing.TB, s *badgerstore.Store, content string) {
	t.Helper()
	f, o := claim(t, s), attach(t, s)
	b := batchOf(f, 0, 30, 1, true)
	for i := range b.Entries {
		b.Rows[i].Snapshot = []byte(content)
		b.Entries[i].Body = fmt.Appendf(nil, `{"n":%d,"text":%q}`, i, content)
		b.Entries[i].Record = []byte(content)
	}
	b.Entries[7].Body = append([]byte(content), noise(700_000)...)
	b.Dead = []record.DeadLetter{{
		ID: "dead", Pipeline: "p", Ref: appointment(1), Cause: record.Cause{Code: "x", Detail: content}, Previous: []byte(content),
	}}
	b.Position.Cursor = []byte(content)
	must(t, f.Commit(t.Context(), b))
	must(t, s.SaveState(t.Context(), "rest.clinic", bytes.Repeat([]byte(content), 600_000/len(content))))
	must(t, s.Admin().Pause(t.Context(), store.Pause{Kind: store.Pipeline, Name: "p", Since: instant, Why: content}))
	ids := oldest(t, o, 10)
	must(t, o.Ack(t.Context(), done(ids[:8]...)...))
	must(t, o.Bury(t.Context(), ids[8], record.Cause{Code: "http_422", Detail: content}, instant))
	must(t, o.Defer(t.Context(), ids[9], store.Attempt{Attempts: 1, At: instant, Next: instant, Code: "network"}))
}

// contents is all that can be seen of a state.
func contents(t testing.TB, s *badgerstore.Store) map[string]any {
	t.Helper()
	ctx, a, all := context.Background(), s.Admin(), map[string]any{"secret": s.Secret()}
	add := func(name string, what any, next []byte, err error) {
		t.Helper()
		if err != nil || next != nil {
			t.Fatalf("%s: %v, or more than a page", name, err)
		}
		all[name] = what
	}
	dead, next, err := a.Dead(ctx, store.Filter{}, nil, 1000)
	add("dead letters", dead, next, err)
	waiting, next, err := a.Waiting(ctx, store.Filter{}, nil, 1000)
	add("waiting", waiting, next, err)
	delivered, next, err := a.Delivered(ctx, store.Filter{}, false, nil, 1000)
	add("delivered", delivered, next, err)
	rows, next, err := a.Rows(ctx, "p", nil, 1000)
	add("rows", rows, next, err)
	row, found, err := a.Row(ctx, "p", appointment(3))
	add("row", []any{row, found}, nil, err)
	pending, err := a.Pending(ctx)
	add("pending", pending, nil, err)
	counts, err := a.DeadCount(ctx)
	add("count of dead letters", counts, nil, err)
	positions, err := a.Positions(ctx)
	add("positions", positions, nil, err)
	pauses, err := a.Pauses(ctx)
	add("pauses", pauses, nil, err)
	saved, err := s.LoadState(ctx, "rest.clinic")
	add("saved state", saved, nil, err)
	return all
}

var keyed = badgerstore.Options{Keep: time.Hour, EncryptionKey: bytes.Repeat([]byte("k"), 32)}

func TestARestoredStateIsTheSame(t *testing.T) {
	for name, o := range map[string]badgerstore.Options{"plain": {Keep: time.Hour}, "encrypted": keyed} {
		t.Run(name, func(t *testing.T) {
			s := open(t, t.TempDir(), o)
			everything(t, s, "some content")
			want := contents(t, s)
			if len(want["delivered"].([]store.Delivered)) != 8 || len(want["dead letters"].([]record.DeadLetter)) != 2 {
				t.Fatal("the state holds less than it should")
			}
			copied := backup(t, s)
			// What is acknowledged after the backup comes again with its id; the rest is as it was.
			out := attach(t, s)
			must(t, out.Ack(t.Context(), done(oldest(t, out, 5)...)...))
			again := restored(t, copied, o)
			if got := contents(t, again); !reflect.DeepEqual(got, want) {
				for what := range want {
					if !reflect.DeepEqual(got[what], want[what]) {
						t.Errorf("%s: %.2000v, want %.2000v", what, got[what], want[what])
					}
				}
			}
			// It goes on: numbers are given that were not given before.
			f := claim(t, again)
			must(t, f.Commit(t.Context(), batchOf(f, 100, 10, 1, true)))
			if n := len(oldest(t, attach(t, again), 100)); n != 31 {
				t.Errorf("%d wait, want 31", n)
			}
			// A backup of one that is read only is the same.
			dir := t.TempDir()
			must(t, badgerstore.Restore(dir, bytes.NewReader(copied), o))
			o.ReadOnly = true
			if n := len(backup(t, open(t, dir, o))); n != len(copied) {
				t.Errorf("%d bytes, want %d", n, len(copied))
			}
		})
	}
}

// A backup is of one instant, while pipelines commit and destinations acknowledge.
func TestABackupIsConsistent(t *testing.T) {
	s := open(t, t.TempDir(), badgerstore.Options{Keep: time.Hour})
	f, o := claim(t, s), attach(t, s)
	stop, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for i := 0; ; i += 20 {
			select {
			case <-stop:
				return
			default:
			}
			if err := f.Commit(context.Background(), batchOf(f, i, 20, 1, true)); err != nil {
				t.Error(err)
				return
			}
			if err := o.Ack(context.Background(), done(oldest(t, o, 10)...)...); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	var backups [][]byte
	for range 5 {
		backups = append(backups, backup(t, s))
		time.Sleep(20 * time.Millisecond)
	}
	close(stop)
	<-ended
	commits := uint64(0)
	for _, b := range backups {
		got := contentsOfMany(t, restored(t, b, badgerstore.Options{Keep: time.Hour}))
		if n := int(got.commits) * 20; got.rows != n || got.waiting+got.delivered != n {
			t.Errorf("%d commits, %d rows, %d waiting, %d delivered", got.commits, got.rows, got.waiting, got.delivered)
		}
		commits = max(commits, got.commits)
	}
	if commits == 0 {
		t.Error("nothing was committed while backups were taken")
	}
}

type amounts struct {
	commits                  uint64
	rows, waiting, delivered int
}

func contentsOfMany(t testing.TB, s *badgerstore.Store) (n amounts) {
	t.Helper()
	a, ctx := s.Admin(), context.Background()
	positions, err := a.Positions(ctx)
	must(t, err)
	rows, _, err := a.Rows(ctx, "p", nil, 1<<30)
	must(t, err)
	waiting, _, err := a.Waiting(ctx, store.Filter{}, nil, 1<<30)
	must(t, err)
	delivered, _, err := a.Delivered(ctx, store.Filter{}, false, nil, 1<<30)
	must(t, err)
	return amounts{positions["p"].Commit, len(rows), len(waiting), len(delivered)}
}

// Whatever is missing or changed, the backup is refused, and nothing is left.
func TestADamagedBackupIsRefused(t *testing.T) {
	for name, o := range map[string]badgerstore.Options{"plain": {Keep: time.Hour}, "encrypted": keyed} {
		t.Run(name, func(t *testing.T) {
			s := open(t, t.TempDir(), o)
			everything(t, s, "some content")
			good := backup(t, s)
			dir := t.TempDir()
			refused := func(what string, bad []byte) {
				t.Helper()
				if err := badgerstore.Restore(dir, bytes.NewReader(bad), o); err == nil {
					t.Fatalf("%s: it was taken", what)
				} else if strings.Contains(err.Error(), "some content") {
					t.Errorf("%s: %v quotes content", what, err)
				}
				if files, err := os.ReadDir(dir); err != nil || len(files) > 0 {
					t.Fatalf("%s: %d files are left, %v", what, len(files), err)
				}
			}
			chunks := chunkEnds(good)
			if len(chunks) < 3 {
				t.Fatalf("%d bytes are one chunk", len(good))
			}
			at := append([]int{0, 10, 40, 60, 90, len(good) / 3, len(good) / 2, len(good) - 40, len(good) - 1}, chunks[:len(chunks)-1]...)
			for _, n := range at {
				refused(fmt.Sprint("cut off at ", n), good[:n])
				bad := bytes.Clone(good)
				bad[n] ^= 4
				refused(fmt.Sprint("changed at ", n), bad)
			}
			refused("something follows", append(bytes.Clone(good), 0))
			first, second := chunks[0], chunks[1]
			refused("a chunk is missing", append(bytes.Clone(good[:first]), good[second:]...))
			refused("a chunk came twice", append(bytes.Clone(good[:second]), good[first:]...))
			must(t, badgerstore.Restore(dir, bytes.NewReader(good), o))
		})
	}
}

// chunkEnds finds where each chunk of a backup ends; the first is where they begin.
func chunkEnds(backup []byte) (ends []int) {
	at := bytes.IndexByte(backup, '\n') + 1 + 32
	for ends = []int{at}; at < len(backup); ends = append(ends, at) {
		at += 4 + int(backup[at])<<24 + int(backup[at+1])<<16 + int(backup[at+2])<<8 + int(backup[at+3])
	}
	return ends
}

func TestRestoreTakesOnlyAFreeDirectory(t *testing.T) {
	s := open(t, t.TempDir(), badgerstore.Options{})
	everything(t, s, "x")
	good := backup(t, s)
	must(t, s.Close())

	taken := t.TempDir()
	must(t, os.WriteFile(filepath.Join(taken, "notes"), nil, 0o600))
	with := t.TempDir()
	must(t, open(t, with, badgerstore.Options{}).Close())
	for name, dir := range map[string]string{"files of others": taken, "a state": with} {
		before, _ := os.ReadDir(dir)
		err := badgerstore.Restore(dir, bytes.NewReader(good), badgerstore.Options{})
		if err == nil || !strings.Contains(err.Error(), "an empty or a new directory") {
			t.Errorf("%s: %v", name, err)
		}
		if after, _ := os.ReadDir(dir); len(after) != len(before) {
			t.Errorf("%s: %d files became %d", name, len(before), len(after))
		}
	}
	must(t, open(t, with, badgerstore.Options{}).Close())

	// What a crash left of a restore is no state, and is restored over.
	begun := t.TempDir()
	must(t, os.CopyFS(filepath.Join(begun, "state"), os.DirFS(with)))
	begun = filepath.Join(begun, "state")
	must(t, os.Rename(filepath.Join(begun, "FORMAT"), filepath.Join(begun, "RESTORING")))
	if _, err := badgerstore.Open(begun, badgerstore.Options{}); err == nil || !strings.Contains(err.Error(), "not finished") {
		t.Errorf("a half-restored state was opened: %v", err)
	}
	must(t, badgerstore.Restore(begun, bytes.NewReader(good), badgerstore.Options{}))
	if n := len(oldest(t, attach(t, open(t, begun, badgerstore.Options{})), 100)); n != 21 {
		t.Errorf("%d wait, want 21", n)
	}

	full := badgerstore.Options{FreeSpace: func(string) (uint64, error) { return 0, nil }}
	dir := t.TempDir()
	if err := badgerstore.Restore(dir, bytes.NewReader(good), full); !errors.Is(err, store.ErrFull) {
		t.Errorf("on a full disk: %v", err)
	}
	if files, _ := os.ReadDir(dir); len(files) > 0 {
		t.Errorf("%d files are left", len(files))
	}
	if info, err := os.Stat(begun); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

// TestInvariant3ABackupThatTakesLongKeepsNoLogs: see backupPart.
func TestInvariant3ABackupThatTakesLongKeepsNoLogs(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, badgerstore.Options{})
	fill(t, s, 1000)
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() {
		err := s.Admin().Backup(t.Context(), w)
		done <- errors.Join(err, w.Close())
	}()
	begin := make([]byte, 1000)
	_, err := io.ReadFull(r, begin) // it stands now
	must(t, err)
	must(t, badgerstore.Flatten(s))
	if logs, err := filepath.Glob(filepath.Join(dir, "*.mem")); err != nil || len(logs) > 1 {
		t.Errorf("%d logs are there beside the one in use (%v)", len(logs)-1, err)
	}
	rest, err := io.ReadAll(r)
	must(t, err)
	must(t, <-done)
	if n := contentsOfMany(t, restored(t, append(begin, rest...), badgerstore.Options{})); n.rows != 1000 {
		t.Errorf("%d rows were restored, not 1000", n.rows)
	}
}

func TestABackupThatCanNotBeWrittenFails(t *testing.T) {
	s := open(t, t.TempDir(), badgerstore.Options{})
	everything(t, s, "x")
	if err := s.Admin().Backup(t.Context(), &short{left: 1 << 20}); !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("backup to a full disk: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Admin().Backup(ctx, io.Discard); !errors.Is(err, context.Canceled) {
		t.Errorf("given up: %v", err)
	}
}

// TestADamagedStateHasNoBackup: a backup from which something was left out would be found out when it is needed.
func TestADamagedStateHasNoBackup(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, badgerstore.Options{})
	fill(t, s, 12_000) // more than the cache holds
	must(t, s.Close())
	s = open(t, dir, badgerstore.Options{})
	backup(t, s)
	names, err := filepath.Glob(filepath.Join(dir, "*.sst"))
	must(t, err)
	for _, name := range names {
		f, err := os.OpenFile(name, os.O_RDWR, 0)
		must(t, err)
		info, err := f.Stat()
		must(t, err)
		for at := int64(100); at < info.Size()*9/10; at += 64 << 10 {
			_, err = f.WriteAt([]byte("damaged"), at)
			must(t, err)
		}
		must(t, f.Close())
	}
	if err := s.Admin().Backup(t.Context(), io.Discard); err == nil || !strings.Contains(err.Error(), "from an earlier backup") {
		t.Errorf("backup of a damaged state: %v", err)
	}
}

// short takes so many bytes and no more.
type short struct{ left int }

func (s *short) Write(b []byte) (int, error) {
	if s.left -= len(b); s.left < 0 {
		return 0, io.ErrShortWrite
	}
	return len(b), nil
}

func TestTheKeyOfABackupIsThatOfItsState(t *testing.T) {
	canary := "Canary-7f3a"
	sealed, plain := open(t, t.TempDir(), keyed), open(t, t.TempDir(), badgerstore.Options{Keep: time.Hour})
	everything(t, sealed, canary)
	everything(t, plain, canary)
	if !bytes.Contains(backup(t, plain), []byte(canary)) {
		t.Error("the canary is not in a plain backup, so that this test can't fail")
	}
	secret := backup(t, sealed)
	if bytes.Contains(secret, []byte(canary)) {
		t.Error("the canary is in an encrypted backup")
	}
	other := badgerstore.Options{EncryptionKey: bytes.Repeat([]byte("o"), 32)}
	for name, x := range map[string]struct {
		o    badgerstore.Options
		want string
	}{
		"without a key":    {badgerstore.Options{}, "the backup is encrypted: give the key"},
		"with another key": {other, "can't be read with this key"},
		"with no key":      {badgerstore.Options{EncryptionKey: []byte("short")}, "has 5 bytes"},
	} {
		if err := badgerstore.Restore(t.TempDir(), bytes.NewReader(secret), x.o); err == nil || !strings.Contains(err.Error(), x.want) {
			t.Errorf("%s: %v, want %q", name, err, x.want)
		}
	}
	// A plain backup is the way to encrypt a state.
	dir := t.TempDir()
	must(t, badgerstore.Restore(dir, bytes.NewReader(backup(t, plain)), keyed))
	s := open(t, dir, keyed)
	if got, want := contents(t, s), contents(t, plain); !reflect.DeepEqual(got, want) {
		t.Error("encrypted, it is another")
	}
	must(t, s.Close())
	if where := holders(t, dir, canary); len(where) > 0 {
		t.Errorf("the canary is in %v", where)
	}
}

func TestABackupOfANewerRoundsIsRefused(t *testing.T) {
	s := open(t, t.TempDir(), badgerstore.Options{})
	good := backup(t, s)
	for from, to := range map[string]string{"backup, format 1": "backup, format 2", "state format 3": "state format 4"} {
		bad := bytes.Replace(good, []byte(from), []byte(to), 1)
		if bytes.Equal(bad, good) {
			t.Fatalf("there is no %q", from)
		}
		err := badgerstore.Restore(t.TempDir(), bytes.NewReader(bad), badgerstore.Options{})
		if err == nil || !strings.Contains(err.Error(), "newer one") {
			t.Errorf("%s: %v", to, err)
		}
	}
}

// holders lists the files under dir that hold text.
func holders(t testing.TB, dir, text string) (names []string) {
	t.Helper()
	files, err := os.ReadDir(dir)
	must(t, err)
	for _, f := range files {
		data, err := os.ReadFile(filepath.Join(dir, f.Name()))
		must(t, err)
		if bytes.Contains(data, []byte(text)) {
			names = append(names, f.Name())
		}
	}
	slices.Sort(names)
	return names
}
