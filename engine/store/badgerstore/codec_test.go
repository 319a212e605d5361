// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package badgerstore

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"io"
	"reflect"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/engine/store"
	"github.com/rounds-engine/rounds/sdk"
)

// Whatever is on disk is decoded or refused, and what is decoded is what was encoded.
func FuzzDecode(f *testing.F) {
	ref := sdk.Ref{Kind: "k", ID: "i", Args: "a"}
	entry := record.Entry{
		ID: "n", Key: "x", Ref: ref, Body: []byte("b"), Record: []byte("r"), Previous: []byte("p"), Committed: time.Unix(1, 2),
		Time: time.Unix(3, 4), Trace: "00-1-2-01", Tries: []record.Try{{At: time.Unix(5, 6), Code: "http_503"}},
	}
	first, err := hex.DecodeString("010000070176000000000000000000000000")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(first)
	f.Add(encodeRow(&store.Row{Ref: ref, Generation: 3, Hash: [16]byte{1}, Time: time.Unix(5, 6), Recent: []uint64{1, 2}}))
	f.Add(encodeRow(&store.Row{Ref: ref, Generation: 3, Key: "x", Snapshot: []byte(`{"change":{}}`)}))
	f.Add(encodeEntry(&entry, 7))
	f.Add(encodeEntryApart(&entry, 7, 1000))
	f.Add(encodeContent(&entry))
	f.Add(encodeDead(&record.DeadLetter{ID: "d", Ref: ref, Entry: &entry}, 1, 2))
	f.Add(encodeDone(&store.Done{At: time.Unix(7, 8), Code: "c"}, time.Unix(9, 0), 3, encodeEntry(&entry, 7)))
	f.Add(encodeDone(&store.Done{At: time.Unix(7, 8), Code: "c"}, time.Unix(9, 0), 3, encodeEntryApart(&entry, 7, 1000)))
	f.Add(encodePause(&store.Pause{Since: time.Unix(7, 8), Why: "why"}))
	f.Add(encodePosition(&store.Position{Watermark: []byte("w"), Started: true, Commit: 9}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := decodeRow(b); err == nil {
			again, err := decodeRow(encodeRow(&r))
			if err != nil || !reflect.DeepEqual(r, again) {
				t.Errorf("row %+v became %+v, %v", r, again, err)
			}
			if s, err := decodeSnapshot(b); err == nil {
				r.Snapshot = s
				if again, err := decodeSnapshot(encodeRow(&r)); err != nil || !bytes.Equal(s, again) {
					t.Errorf("snapshot %q became %q, %v", s, again, err)
				}
			}
		}
		encode := func(e *record.Entry, pipeline uint32, apart int) []byte {
			if apart > 0 {
				return encodeEntryApart(e, pipeline, apart)
			}
			return encodeEntry(e, pipeline)
		}
		if e, p, apart, err := decodeEntry(b); err == nil {
			again, q, also, err := decodeEntry(encode(&e, p, apart))
			if err != nil || p != q || apart != also || !reflect.DeepEqual(e, again) {
				t.Errorf("entry %+v became %+v, %v", e, again, err)
			}
			if apart > 0 && (e.Body != nil || e.Record != nil || e.Previous != nil) {
				t.Errorf("entry %+v has its content apart", e)
			}
			head, q, also, err := decodeEntryHead(b)
			if err != nil || p != q || apart != also || head.Ref != e.Ref || head.ID != e.ID || !head.Committed.Equal(e.Committed) {
				t.Errorf("entry %+v has the head %+v, %v", e, head, err)
			}
		}
		var content record.Entry
		if decodeContent(b, &content) == nil {
			var again record.Entry
			if err := decodeContent(encodeContent(&content), &again); err != nil || !reflect.DeepEqual(content, again) {
				t.Errorf("content %+v became %+v, %v", content, again, err)
			}
		}
		if l, p, d, err := decodeDead(b); err == nil {
			again, q, c, err := decodeDead(encodeDead(&l, p, d))
			if err != nil || p != q || d != c || !reflect.DeepEqual(l, again) {
				t.Errorf("dead letter %+v became %+v, %v", l, again, err)
			}
		}
		if p, err := decodePosition(b); err == nil {
			again, err := decodePosition(encodePosition(&p))
			if err != nil || !reflect.DeepEqual(p, again) {
				t.Errorf("position %+v became %+v, %v", p, again, err)
			}
		}
		if d, h, err := decodeDone(b); err == nil {
			var head doneHead
			if err := head.decode(b); err != nil || head.pipeline != h.pipeline || head.destination != h.destination || head.apart != h.apart ||
				head.entry.Ref != d.Ref || head.entry.ID != d.ID || !head.at.Equal(d.At) {
				t.Errorf("delivered %+v has the head %+v, %v", d, head, err)
			}
			done := store.Done{At: d.At, Code: d.Code}
			again, also, err := decodeDone(encodeDone(&done, head.until, h.destination, encode(&d.Entry, h.pipeline, h.apart)))
			if err != nil || !reflect.DeepEqual(h, also) || !reflect.DeepEqual(d, again) {
				t.Errorf("delivered %+v became %+v, %v", d, again, err)
			}
		}
		if e, _, _, err := decodeEntry(b); err == nil {
			if committed, err := entryCommitted(b); err != nil || !committed.Equal(e.Committed) {
				t.Errorf("committed at %v, %v, want %v", committed, err, e.Committed)
			}
		}
		if p, err := decodePause(b); err == nil {
			if again, err := decodePause(encodePause(&p)); err != nil || p != again {
				t.Errorf("pause %+v became %+v, %v", p, again, err)
			}
		}
		if l, p, _, err := decodeDead(b); err == nil {
			if of, err := deadPipeline(b); err != nil || of != p {
				t.Errorf("dead letter %q of pipeline %d is counted for %d, %v", l.ID, p, of, err)
			}
		}
		_, _, _ = readStub(b)
	})
}

// What a state holds from before there were snapshots is read, and a row without one is written as it was then.
func TestRowsFromBeforeSnapshots(t *testing.T) {
	want := store.Row{
		Ref: sdk.Ref{Kind: "k", ID: "i", Args: "a"}, Generation: 3, Epoch: 1, Version: "v", Hash: [16]byte{1},
		Time: time.Unix(5, 6).UTC(), Key: "x", Deleted: true, Recent: []uint64{1, 2},
	}
	old, err := hex.DecodeString("0103016b016901610301017601000000000000000000000000000000070a01780200000000000000010000000000000002")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := decodeRow(old); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("row %+v, %v, want %+v", got, err, want)
	}
	if got, err := decodeSnapshot(old); err != nil || got != nil {
		t.Errorf("snapshot %q, %v, want none", got, err)
	}
	if got := encodeRow(&want); !bytes.Equal(got, old) {
		t.Errorf("written as %x, want %x", got, old)
	}
}

// A value cut short anywhere is refused.
func TestCutValuesAreRefused(t *testing.T) {
	e := record.Entry{ID: "n", Key: "x", Body: bytes.Repeat([]byte("b"), 50), Committed: time.Unix(1, 2)}
	entry := func(b []byte) error {
		_, _, _, err := decodeEntry(b)
		return err
	}
	for what, x := range map[string]struct {
		whole  []byte
		decode func([]byte) error
	}{
		"an entry":                        {encodeEntry(&e, 7), entry},
		"an entry with its content apart": {encodeEntryApart(&e, 7, 1000), entry},
		"a content":                       {encodeContent(&e), func(b []byte) error { return decodeContent(b, &record.Entry{}) }},
	} {
		for n := range x.whole {
			if err := x.decode(x.whole[:n]); err == nil {
				t.Errorf("of %s %d bytes of %d were taken", what, n, len(x.whole))
			}
		}
		if err := x.decode(append(x.whole, 0)); err == nil {
			t.Errorf("of %s a byte too many was taken", what)
		}
	}
}

// Whatever is taken for a backup, it is one that was sealed, or it is refused; and what was sealed is read without a panic.
func FuzzBackup(f *testing.F) {
	seal := func(content []byte) []byte {
		var b bytes.Buffer
		w, err := beginBackup(&b, nil)
		if err != nil {
			f.Fatal(err)
		}
		if _, err := w.Write(content); err != nil || w.Close() != nil {
			f.Fatal(err)
		}
		return b.Bytes()
	}
	good := seal([]byte("\x02k1\x03v1v\x01k\x00"))
	f.Add(good)
	f.Add(good[:len(good)-1])
	f.Add([]byte("\x02k1\x03v1v\x01k\x00"))
	f.Add([]byte("rounds backup, format 1, of state format 2, not encrypted\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if stream, _, err := openBackup(bytes.NewReader(data), nil); err == nil {
			content, err := io.ReadAll(stream)
			if err == nil && !bytes.Equal(sealed(t, data, content), data) {
				t.Errorf("%d bytes were read from what was not sealed", len(content))
			}
		}
		for in := bufio.NewReader(bytes.NewReader(data)); ; {
			key, value, err := next(in)
			if err != nil {
				return
			}
			if len(key) == 0 || len(value) > 1<<20 {
				t.Fatalf("a key of %d bytes, a value of %d", len(key), len(value))
			}
		}
	})
}

// sealed writes content behind the head of a backup, cut as that is.
func sealed(t *testing.T, backup, content []byte) []byte {
	t.Helper()
	n := bytes.IndexByte(backup, '\n') + 1 + saltLen
	b := bytes.NewBuffer(bytes.Clone(backup[:n]))
	w, err := newSealer(b, nil, backup[:n])
	if err != nil {
		t.Fatal(err)
	}
	for rest, last := backup[n:], false; !last; {
		size := int(binary.BigEndian.Uint32(rest)) - sha256.Size
		rest = rest[4+size+sha256.Size:]
		last = len(rest) == 0
		w.buf, content = append(w.buf[:0], content[:size]...), content[size:]
		if err := w.flush(last); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}
