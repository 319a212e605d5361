// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package badgerstore

import (
	"bytes"
	"encoding/hex"
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
	entry := record.Entry{ID: "n", Key: "x", Ref: ref, Body: []byte("b"), Record: []byte("r"), Committed: time.Unix(1, 2)}
	f.Add(encodeRow(&store.Row{Ref: ref, Generation: 3, Hash: [16]byte{1}, Time: time.Unix(5, 6), Recent: []uint64{1, 2}}))
	f.Add(encodeRow(&store.Row{Ref: ref, Generation: 3, Key: "x", Snapshot: []byte(`{"change":{}}`)}))
	f.Add(encodeEntry(&entry, 7))
	f.Add(encodeDead(&record.DeadLetter{ID: "d", Ref: ref, Entry: &entry}, 1, 2))
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
		if e, p, err := decodeEntry(b); err == nil {
			again, q, err := decodeEntry(encodeEntry(&e, p))
			if err != nil || p != q || !reflect.DeepEqual(e, again) {
				t.Errorf("entry %+v became %+v, %v", e, again, err)
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
	whole := encodeEntry(&e, 7)
	for n := range whole {
		if _, _, err := decodeEntry(whole[:n]); err == nil {
			t.Errorf("%d bytes of %d were taken", n, len(whole))
		}
	}
	if _, _, err := decodeEntry(append(whole, 0)); err == nil {
		t.Error("a byte too many was taken")
	}
}
