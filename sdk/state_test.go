// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package sdk_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/rounds-engine/rounds/sdk"
)

// kept is an engine that keeps what a State stores.
type kept struct {
	mu     sync.Mutex
	stored []byte
	times  int
	fail   error
	hold   chan struct{} // until it is closed nothing is stored; nil: at once
}

func (k *kept) store(ctx context.Context, stored []byte) error {
	if k.hold != nil {
		select {
		case <-k.hold:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.fail != nil {
		return k.fail
	}
	k.stored, k.times = bytes.Clone(stored), k.times+1
	return nil
}

func save(t *testing.T, s *sdk.Section, data string) {
	t.Helper()
	if err := s.Save(t.Context(), []byte(data)); err != nil {
		t.Error(err)
	}
}

func TestSectionsDoNotOverwriteOneAnother(t *testing.T) {
	k := &kept{}
	s := sdk.NewState(nil, k.store)
	save(t, s.Section("budget"), `{"day": 7}`)
	save(t, s.Section("token"), "\x00\xff rotated")
	save(t, s.Section("budget"), `{"day": 8}`)
	again := sdk.NewState(k.stored, nil)
	for name, want := range map[string]string{"budget": `{"day": 8}`, "token": "\x00\xff rotated", "": "", "other": ""} {
		if got := again.Section(name).Load(); string(got) != want || want == "" && got != nil {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
	save(t, s.Section("token"), "")
	save(t, s.Section("budget"), "")
	if len(k.stored) != 0 {
		t.Errorf("nothing is left, and stored is %q", k.stored)
	}
}

func TestWhatAnotherProgramSavedIsTheSectionWithoutAName(t *testing.T) {
	for _, old := range []string{"token", "{}", "rounds-sections-1\nbroken", "rounds-sections-1\nnull", "rounds-sections-2\n{}", "\x00"} {
		k := &kept{stored: []byte(old)}
		s := sdk.NewState(k.stored, k.store)
		save(t, s.Section("budget"), "1")
		s = sdk.NewState(k.stored, k.store)
		if got := string(s.Section("").Load()); got != old || string(s.Section("budget").Load()) != "1" {
			t.Errorf("%q became %q beside a section", old, got)
		}
		save(t, s.Section("budget"), "")
		if s = sdk.NewState(k.stored, k.store); string(s.Section("").Load()) != old {
			t.Errorf("%q became %q without others", old, k.stored)
		}
		if !strings.HasPrefix(old, "rounds-sections-1") && string(k.stored) != old {
			t.Errorf("alone it is stored as %q, want %q as it was", k.stored, old)
		}
	}
}

func TestSavesOfManyAreAllStored(t *testing.T) {
	k := &kept{}
	s := sdk.NewState(nil, k.store)
	var wg sync.WaitGroup
	for i := range 10 {
		wg.Go(func() {
			for n := range 50 {
				section := s.Section(fmt.Sprint(i))
				if err := section.Save(t.Context(), []byte(fmt.Sprint(n))); err != nil {
					t.Error(err)
				}
				k.mu.Lock()
				stored := k.stored
				k.mu.Unlock()
				if got := string(sdk.NewState(stored, nil).Section(fmt.Sprint(i)).Load()); got != fmt.Sprint(n) {
					t.Errorf("section %d was said to be stored as %d, and is %s", i, n, got)
				}
			}
		})
	}
	wg.Wait()
}

func TestSavesThatWaitAreStoredTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := &kept{hold: make(chan struct{})}
		s := sdk.NewState(nil, k.store)
		var wg sync.WaitGroup
		for i := range 10 {
			wg.Go(func() { save(t, s.Section(fmt.Sprint(i)), "x") })
		}
		synctest.Wait()
		close(k.hold)
		wg.Wait()
		if k.times != 2 {
			t.Errorf("stored %d times: the first, and the others together", k.times)
		}
	})
}

// A failed save may have been stored: what another section saves then must not put the old value back.
func TestASaveThatFailedIsMadeUpForByTheNext(t *testing.T) {
	k := &kept{}
	s := sdk.NewState(nil, k.store)
	token := s.Section("token")
	save(t, token, "old")
	k.fail = errors.New("no space")
	if err := token.Save(t.Context(), []byte("rotated")); !errors.Is(err, k.fail) {
		t.Errorf("got %v", err)
	}
	if got := string(token.Load()); got != "rotated" {
		t.Errorf("in the process it is %q", got)
	}
	k.fail = nil
	save(t, s.Section("budget"), "1")
	if got := string(sdk.NewState(k.stored, nil).Section("token").Load()); got != "rotated" {
		t.Errorf("stored is %q", got)
	}
}

func TestASaveEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := &kept{hold: make(chan struct{})}
		s := sdk.NewState(nil, k.store)
		go s.Section("a").Save(t.Context(), []byte("1"))
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := s.Section("b").Save(ctx, []byte("1")); !errors.Is(err, context.Canceled) || sdk.CodeOf(err) != sdk.CodeRetryable {
			t.Errorf("got %v", err)
		}
		close(k.hold)
	})
}

func TestWithoutAnEngineStateIsKeptInMemory(t *testing.T) {
	var env sdk.Env
	s := env.State.Section("a")
	save(t, s, "1")
	if string(s.Load()) != "1" {
		t.Error("not kept")
	}
}

func FuzzState(f *testing.F) {
	for _, s := range []string{"", "x", "rounds-sections-1\n", "rounds-sections-1\n{\"a\": \"AAE=\"}", "rounds-sections-1\n{\"\": null}"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, stored []byte) {
		k := &kept{stored: stored}
		s := sdk.NewState(k.stored, k.store)
		unnamed := s.Section("").Load()
		save(t, s.Section("a"), "1")
		again := sdk.NewState(k.stored, nil)
		if string(again.Section("a").Load()) != "1" || !bytes.Equal(again.Section("").Load(), unnamed) {
			t.Errorf("%q became %q", stored, k.stored)
		}
	})
}
