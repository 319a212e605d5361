// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

// Package storetest holds every implementation of store.Store to the promises of package store. It knows nothing of an
// implementation but the interface.
package storetest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/engine/store"
	"github.com/rounds-engine/rounds/sdk"
)

// Open opens a state that keeps delivered notifications for a day or longer, and 1 MiB of them or more, with limits not above the
// given ones; zero fields leave the implementation's own. The state of one
// Open is the same each time that it is called; a call comes only when the store of the call before is closed.
type Open func(t *testing.T, limits store.Limits) store.Store

// Run runs the suite. Each call of state begins an empty state.
func Run(t *testing.T, state func(t *testing.T) Open) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, Open)
	}{
		{"CommitIsAllOrNothing", commitIsAllOrNothing},
		{"CommitIsThereAfterReopening", commitSurvives},
		{"CommitOnOldPositionIsRefused", commitOnOldPosition},
		{"CommitBeyondLimitsIsRefused", commitBeyondLimits},
		{"CommitOfTheLargestBatch", commitLargest},
		{"CommitKeepsPositionWithoutOne", commitKeepsPosition},
		{"ClaimFencesTheOwnerBefore", claimFences},
		{"ClaimsAreIndependent", claimsAreIndependent},
		{"ReleasedHandleIsFenced", releasedIsFenced},
		{"GivenUpBeforeTheCommit", givenUp},
		{"SeenGivesWhatWasCommitted", seen},
		{"SeenKeepsRefsApart", seenRefs},
		{"SnapshotsAreThoseOfTheRows", snapshots},
		{"Invariant7UnmarkedIsWhatNoScanSaw", unmarked},
		{"UnmarkedIsPagedCompletely", unmarkedPaged},
		{"UnmarkedIsOfOnePipelineAndItsOwner", unmarkedOwned},
		{"AttachFencesTheOwnerBefore", attachFences},
		{"LaneKeepsTheOrderOfCommit", laneOrder},
		{"LanesAreExact", lanesExact},
		{"LanesArePagedCompletely", lanesPaged},
		{"AckIsExactAndIdempotent", ackExact},
		{"AckSurvivesReopening", ackSurvives},
		{"DeferKeepsTheAttempt", deferKeeps},
		{"WakeTellsOfEntries", wake},
		{"Invariant3EntryLeavesByAckOrBury", entryLeaves},
		{"Invariant3BuriedEntryIsKeptWithItsCause", buryKeeps},
		{"Invariant4RetryOfSupersededNeedsForce", retrySuperseded},
		{"RetryGoesToTheEndOfTheLane", retryGoesLast},
		{"RetryOfWhatWasMappedAgain", retryMapped},
		{"RetryRefusedChangesNothing", retryRefused},
		{"DiscardRemovesForGood", discard},
		{"DeadLettersArePagedOldestFirst", deadPaged},
		{"DeadLetterIsKeptWhole", deadWhole},
		{"PositionsOfAllPipelines", positions},
		{"AcknowledgedIsDelivered", acknowledgedIsDelivered},
		{"DeliveredIsPagedByTime", deliveredPaged},
		{"DeliveredIsFiltered", deliveredFiltered},
		{"WaitingIsFilteredAndPaged", waitingFiltered},
		{"DeadLettersAreFilteredAndCounted", deadFiltered},
		{"PendingTellsCountAndAge", pendingDepth},
		{"ReplayGoesToTheEndsOfTheLanes", replay},
		{"Invariant4WhatWasSupersededMeanwhileIsNotReplayed", replaySuperseded},
		{"Invariant3WhatTwoDestinationsRefuseAreTwoDeadLetters", replayRefused},
		{"RowsAreListed", rowsListed},
		{"PausesAreKept", pauses},
		{"RenameOfAPipelineMovesAllOfIt", renamePipeline},
		{"RenameOfADestinationMovesAllOfIt", renameDestination},
		{"RenameOfASourceMovesWhatItSaved", renameSource},
		{"RenameRefusedChangesNothing", renameRefused},
		{"SavedStateIsKept", savedState},
		{"SecretIsStable", secret},
		{"ConcurrentPipelinesAndDestinations", concurrent},
		{"ClosedStoreRefuses", closed},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, state(t)) })
	}
}

var instant = time.Date(2026, 3, 4, 5, 6, 7, 89_000_000, time.UTC)

// The suite's stores fail the test on errors, so that a test reads as what it promises.

type testStore struct {
	store.Store
	t *testing.T
}

func open(t *testing.T, o Open) testStore { return openWith(t, o, store.Limits{}) }

func openWith(t *testing.T, o Open, l store.Limits) testStore {
	t.Helper()
	s := testStore{o(t, l), t}
	t.Cleanup(func() { _ = s.Store.Close() })
	return s
}

func (s testStore) close() {
	s.t.Helper()
	must(s.t, s.Store.Close())
}

func (s testStore) claim(pipeline string) store.Feed {
	s.t.Helper()
	f, err := s.Claim(s.t.Context(), pipeline)
	must(s.t, err)
	return f
}

func (s testStore) attach(destination string) store.Outbox {
	s.t.Helper()
	o, err := s.Attach(s.t.Context(), destination)
	must(s.t, err)
	return o
}

// commit commits a batch on the handle's own position.
func commit(t *testing.T, f store.Feed, b store.Batch) {
	t.Helper()
	b.Base = f.Position().Commit
	must(t, f.Commit(t.Context(), b))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func row(id string, generation uint64) store.Row {
	return store.Row{Ref: ref(id), Generation: generation, Version: fmt.Sprint("v", generation), Key: id, Time: instant}
}

func ref(id string) sdk.Ref { return sdk.Ref{Kind: "appointment", ID: id} }

// entry is a notification of pipeline "p" to destination "webhook.d".
func entry(id, key string) record.Entry {
	return record.Entry{
		ID: id, Pipeline: "p", Deliver: "scheduling", Destination: "webhook.d", Key: key, Ref: ref("of-" + id), Version: "v1",
		Generation: 1, Committed: instant, Body: []byte(`{"id":"` + id + `"}`),
	}
}

func entries(ids ...string) []record.Entry {
	var list []record.Entry
	for _, id := range ids {
		list = append(list, entry(id, "key"))
	}
	return list
}

// ids of the entries of all lanes, each lane in its order, lanes sorted by their first id.
func waiting(t *testing.T, o store.Outbox) []string {
	t.Helper()
	var all []string
	for _, lane := range allLanes(t, o, 100) {
		var list []string
		for _, e := range head(t, o, lane, 1_000_000) {
			list = append(list, e.ID)
		}
		all = append(all, strings.Join(list, " "))
	}
	slices.Sort(all)
	return all
}

func allLanes(t *testing.T, o store.Outbox, limit int) []string {
	t.Helper()
	var all []string
	var token []byte
	for {
		lanes, next, err := o.Lanes(t.Context(), token, limit)
		must(t, err)
		if len(lanes) > limit {
			t.Fatalf("%d lanes on a page of %d", len(lanes), limit)
		}
		all = append(all, lanes...)
		if next == nil {
			return all
		}
		token = next
	}
}

func head(t *testing.T, o store.Outbox, lane string, n int) []record.Entry {
	t.Helper()
	list, err := o.Head(t.Context(), lane, n)
	must(t, err)
	return list
}

// places finds where the entries lie, by id.
func places(t *testing.T, o store.Outbox) map[string]store.EntryID {
	t.Helper()
	found := map[string]store.EntryID{}
	for _, lane := range allLanes(t, o, 100) {
		for _, e := range head(t, o, lane, 1_000_000) {
			found[e.ID] = store.EntryID{Lane: lane, Seq: e.Seq, ID: e.ID}
		}
	}
	return found
}

func place(t *testing.T, o store.Outbox, id string) store.EntryID {
	t.Helper()
	p, ok := places(t, o)[id]
	if !ok {
		t.Fatalf("%s is not in the outbox", id)
	}
	return p
}

func pending(t *testing.T, s store.Store, destination string) int {
	t.Helper()
	n, err := s.Admin().Pending(t.Context())
	must(t, err)
	return n[destination].Count
}

// done says that entries were accepted just now.
func done(ids ...store.EntryID) (list []store.Done) {
	for _, id := range ids {
		list = append(list, store.Done{EntryID: id, At: time.Now().Round(0), Code: "accepted"})
	}
	return list
}

func allDead(t *testing.T, s store.Store, limit int) []record.DeadLetter {
	t.Helper()
	var all []record.DeadLetter
	var token []byte
	for {
		page, next, err := s.Admin().Dead(t.Context(), store.Filter{}, token, limit)
		must(t, err)
		if len(page) > limit {
			t.Fatalf("%d dead letters on a page of %d", len(page), limit)
		}
		all = append(all, page...)
		if next == nil {
			return all
		}
		token = next
	}
}

func deadIDs(t *testing.T, s store.Store) []string {
	t.Helper()
	var ids []string
	for _, l := range allDead(t, s, 7) {
		ids = append(ids, l.ID)
	}
	return ids
}

func rows(t *testing.T, f store.Feed, refs ...sdk.Ref) map[sdk.Ref]store.Row {
	t.Helper()
	list, err := f.Seen(t.Context(), refs)
	must(t, err)
	found := map[sdk.Ref]store.Row{}
	for _, r := range list {
		found[r.Ref] = r
	}
	return found
}

func same[T comparable](t *testing.T, what string, got, want []T) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Fatalf("%s: got %v, want %v", what, got, want)
	}
}

func isLost(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	case <-time.After(10 * time.Second):
		return false
	}
}

func isOpen(c <-chan struct{}) bool {
	select {
	case <-c:
		return false
	default:
		return true
	}
}

var background = context.Background()
