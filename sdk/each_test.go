// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package sdk_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rounds-engine/rounds/sdk"
)

func TestEachAnswersEveryRefInOrderWithinItsLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		refs := make([]sdk.Ref, 20)
		for i := range refs {
			refs[i] = sdk.Ref{Kind: "patient", ID: fmt.Sprint(i)}
		}
		var running, most atomic.Int64
		results := sdk.Each(refs, 4, func(r sdk.Ref) (json.RawMessage, error) {
			most.Store(max(most.Load(), running.Add(1)))
			defer running.Add(-1)
			time.Sleep(time.Second)
			switch r.ID {
			case "7":
				return nil, sdk.NotFound("GET /patient/{id}: status 404")
			case "8":
				panic("canary")
			}
			return json.RawMessage(r.ID), nil
		})
		if most.Load() != 4 {
			t.Errorf("%d at a time", most.Load())
		}
		for i, r := range results {
			switch {
			case r.Ref != refs[i]:
				t.Errorf("%d: answers %v", i, r.Ref)
			case i == 7 && sdk.CodeOf(r.Err) != sdk.CodeNotFound:
				t.Errorf("7: %v", r.Err)
			case i == 8 && (sdk.CodeOf(r.Err) != sdk.CodeRetryable || !strings.Contains(r.Err.Error(), "TestEach") ||
				strings.Contains(r.Err.Error(), "canary")):
				t.Errorf("8: %v", r.Err)
			case i != 7 && i != 8 && (r.Err != nil || string(r.Data) != r.Ref.ID):
				t.Errorf("%d: %s, %v", i, r.Data, r.Err)
			}
		}
	})
}
