// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package badgerstore_test

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/engine/store"
	"github.com/rounds-engine/rounds/engine/store/badgerstore"
	"github.com/rounds-engine/rounds/engine/store/storetest"
)

func TestSuite(t *testing.T) {
	for name, o := range map[string]badgerstore.Options{
		"InMemoryLanes": {Keep: 24 * time.Hour},
		"OnDiskLanes":   {Indexed: 2, Keep: 24 * time.Hour}, // most of the time beyond the bound
		"Encrypted":     {EncryptionKey: []byte("0123456789abcdef"), Keep: 24 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			storetest.Run(t, func(t *testing.T) storetest.Open {
				dir := filepath.Join(t.TempDir(), "state")
				return func(t *testing.T, l store.Limits) store.Store {
					t.Helper()
					o := o
					o.Limits = l
					return open(t, dir, o)
				}
			})
		})
	}
}

func open(t testing.TB, dir string, o badgerstore.Options) *badgerstore.Store {
	t.Helper()
	s, err := badgerstore.Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}
