// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package sdk

import (
	"encoding/json"
	"strings"
	"sync"
)

// Each fetches refs one by one, at most parallel at a time, for adapters whose server has no call for several. A panic is
// the error of its ref: in a goroutine of the adapter's own it would end the process.
func Each(refs []Ref, parallel int, fetch func(Ref) (json.RawMessage, error)) []Result {
	results := make([]Result, len(refs))
	slots := make(chan struct{}, max(parallel, 1))
	var wg sync.WaitGroup
	for i, ref := range refs {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() {
				if recover() != nil { // the value may quote the record
					results[i] = Result{Ref: ref, Err: Retryable("the adapter panicked: %s", strings.Join(stack(), " < "))}
				}
				<-slots
			}()
			data, err := fetch(ref)
			results[i] = Result{Ref: ref, Data: data, Err: err}
		})
	}
	wg.Wait()
	return results
}
