// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package memstore_test

import (
	"testing"
	"time"

	"github.com/rounds-engine/rounds/engine/store"
	"github.com/rounds-engine/rounds/engine/store/memstore"
	"github.com/rounds-engine/rounds/engine/store/storetest"
)

func TestKeepsThePromisesOfAStore(t *testing.T) {
	storetest.Run(t, func(*testing.T) storetest.Open {
		m := memstore.Memory{Keep: 24 * time.Hour}
		return func(_ *testing.T, limits store.Limits) store.Store { return m.Open(limits) }
	})
}
