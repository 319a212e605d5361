// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package pipeline

import (
	"context"
	"fmt"

	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/engine/store"
	"github.com/rounds-engine/rounds/sdk"
)

// Every change passes the same steps: it is read from the page, enriched by each fetch, mapped by each deliver block. They
// are numbered in this order.
const pollStep = 0

func (p *Pipeline) fetchStep(i int) int { return 1 + i }
func (p *Pipeline) expandStep() int     { return 1 + len(p.Fetches) } // of parents, which pass no other but the first
func (p *Pipeline) mapStep(i int) int   { return 1 + p.fetching() + i }

// fetching is the number of steps in which something is fetched.
func (p *Pipeline) fetching() int {
	if p.Expand != nil {
		return len(p.Fetches) + 1
	}
	return len(p.Fetches)
}

func (p *Pipeline) stepName(step int) string {
	switch {
	case step == pollStep:
		return "reading the page"
	case p.Expand != nil && step == p.expandStep():
		return fmt.Sprintf("expand %q", p.Expand.Name)
	case step < p.mapStep(0):
		return fmt.Sprintf("fetch %q", p.Fetches[step-1].Name)
	}
	return fmt.Sprintf("deliver %q", p.Delivers[step-p.mapStep(0)].Name)
}

func (p *Pipeline) stage(step int) record.Stage {
	switch {
	case step == pollStep:
		return record.StagePoll
	case step < p.mapStep(0):
		return record.StageFetch
	}
	return record.StageMap
}

func (it *item) pass(step int) { it.steps[step] = passed }
func (it *item) fail(step int) { it.steps[step] = failed }

// miss notes that what was to be fetched is not there, which is as good as it gets and tells nothing of the step; unless
// something else was found by it.
func (it *item) miss(step int) {
	if it.steps[step] == notTried {
		it.steps[step] = missed
	}
}

type result uint8

const (
	notTried result = iota
	missed
	passed
	failed
)

// pageVerdict gathers, batch by batch, how the new changes of one page fare. It tells a broken pipeline from a broken record.
type pageVerdict struct {
	passed, failed []int            // per step
	waits          []int            // per step: those that may pass it later
	missed         []int            // per fetch: those for which nothing was found
	waiting        error            // some changes have to be tried again: why
	hopeless       bool             // so much is in vain now that the rest of the page can wait
	refs           map[sdk.Ref]bool // the records that wait
	works          map[int]bool     // by step: it works for others, as far as that was asked
	known          []int            // by step: changes of the page that were seen and pass it again; nil: not tried
}

func newVerdict(steps int) *pageVerdict {
	return &pageVerdict{passed: make([]int, steps), failed: make([]int, steps), waits: make([]int, steps), missed: make([]int, steps), refs: map[sdk.Ref]bool{}, works: map[int]bool{}}
}

// count adds how a batch fared.
func (v *pageVerdict) count(w *window, batch []*item) {
	for _, it := range batch {
		if it.waits != nil {
			v.waits[it.waitStep]++
		}
		for step, r := range it.steps {
			switch r {
			case passed:
				v.passed[step]++
				if step != pollStep && step < w.mapStep(0) {
					w.witness[step-w.fetchStep(0)] = it.asked[step-w.fetchStep(0)]
				}
			case failed:
				v.failed[step]++
			case missed:
				v.missed[step]++
			}
		}
	}
}

// remark says aloud when a fetch found nothing for any change of a page and nothing since the start: then it may be the
// configuration that is wrong, not the records.
func (v *pageVerdict) remark(w *window) {
	for step, n := range v.missed {
		if n > 1 && v.passed[step] == 0 && !w.worked[step] {
			w.log.Warn("the server has nothing of what is fetched, for no change of the page; is the resource's path right?",
				"step", w.stepName(step), "changes", n)
		}
	}
}

// fails says whether every change failed in a step that came to it. A change that fails alone, in a step that worked since the
// start, is to blame itself.
func (v *pageVerdict) fails(w *window, step int) bool {
	alone := v.failed[step] == 1 && w.worked[step]
	return v.failed[step] > 0 && v.passed[step] == 0 && !alone
}

// broken says whether there is a step in which every change failed.
func (v *pageVerdict) broken(w *window) bool {
	for step := range v.failed {
		if v.fails(w, step) {
			return true
		}
	}
	return false
}

// few is how many changes, one after the other and with none between that passed, may fail in a step that works for others
// before the step is to blame all the same.
const few = 10

// excused says whether a few changes that failed in a step may become dead letters although no other new change of their page
// passed it: when further pages wait behind them, the step works for others, and they had their attempts. Two records that fail
// must not hold all that comes after them.
func (w *window) excused(ctx context.Context, v *pageVerdict, step int, batch []*item) bool {
	if !w.more || w.failing[step]+v.failed[step] > few || !w.works(ctx, v, step) {
		return false
	}
	attempts := maxAttempts
	for _, it := range batch {
		if it.steps[step] == failed {
			w.attempts[it.row.Ref]++
			attempts = min(attempts, w.attempts[it.row.Ref])
		}
	}
	return attempts == maxAttempts
}

// judgeBatch decides what becomes of the failures of a batch that was counted.
//
// When every new change fails in one step, the configuration, the script or the server is to blame: an error, and nothing
// of the batch is committed. One that fails alone, or some among many, become dead letters.
//
// A fetch that may succeed later leaves its change uncommitted, to be tried with the next reading of the page. If others
// succeed meanwhile it gets maxAttempts, then it becomes a dead letter, so that one record can't hold the watermark. So does
// one for which the credentials are refused while they are good for others: some servers say so of a restricted record.
func (w *window) judgeBatch(ctx context.Context, v *pageVerdict, batch []*item) error {
	for step := range v.failed {
		if v.fails(w, step) && !w.excused(ctx, v, step, batch) {
			return failf("every new change failed at %s, nothing of the page was committed (%d changes): %s",
				w.stepName(step), v.failed[step], w.firstCause(batch, step))
		}
	}
	for step := range v.passed {
		if v.passed[step] > 0 {
			w.worked[step], w.failing[step] = true, 0
			continue
		}
		for _, it := range batch {
			if it.steps[step] == failed {
				w.failing[step]++
			}
		}
	}
	var dead *item
	deadCount := 0
	for _, it := range batch {
		w.settle(ctx, v, it)
		if it.waits == nil && it.lost() {
			deadCount++
			if dead == nil {
				dead = it
			}
		}
	}
	if dead != nil {
		w.log.Error("changes became dead letters", "count", deadCount, "first", dead.firstCause().Text,
			"record", w.Names.Of(w.Name, dead.row.Ref))
	}
	return nil
}

// settle decides about an item that could not be read, fetched or mapped this time.
func (w *window) settle(ctx context.Context, v *pageVerdict, it *item) {
	ref := it.row.Ref
	if v.refs[ref] {
		// An earlier state of the same record waits; this one may not overtake it, not as a dead letter either: its row would
		// make the earlier one look stale.
		if it.waits == nil {
			it.waits = v.waiting
		}
		return
	}
	if it.waits == nil {
		delete(w.attempts, ref)
		return
	}
	code := sdk.CodeOf(it.waits)
	others := code != sdk.CodeRateLimited && w.works(ctx, v, it.waitStep)
	if others {
		w.attempts[ref]++
		if w.attempts[ref] >= maxAttempts {
			it.cause = &record.Cause{
				Stage: w.stage(it.waitStep), Code: string(code), Attempts: maxAttempts,
				Text: fmt.Sprintf("%s: %s", w.stepName(it.waitStep), sdk.Safe(it.waits).Error()),
			}
			it.waits = nil
			delete(w.attempts, ref)
			return
		}
	}
	v.refs[ref] = true
	v.hopeless = v.hopeless || !others
	if v.waiting == nil || code != sdk.CodeRetryable {
		v.waiting = fmt.Errorf("%s: %w", w.stepName(it.waitStep), sdk.Safe(it.waits))
	}
}

// works says whether a step that failed for some records works for others, so that the records are to blame: on this page;
// or since the start, of reading and mapping, unless it is many that wait; or when what could be fetched last is fetched again;
// or when changes of the page pass it again that were seen before.
func (w *window) works(ctx context.Context, v *pageVerdict, step int) bool {
	fetched := step != pollStep && step < w.mapStep(0)
	switch {
	case v.passed[step] > 0:
		return true
	case !fetched && v.waits[step] > few:
		return false
	}
	if _, asked := v.works[step]; !asked {
		worked := w.worked[step]
		if fetched {
			worked = w.answers(ctx, w.witness[step-w.fetchStep(0)])
		}
		v.works[step] = worked || w.passAgain(ctx, v, step)
	}
	return v.works[step]
}

// passAgain takes some of the page's seen changes through the steps.
func (w *window) passAgain(ctx context.Context, v *pageVerdict, step int) bool {
	if v.known == nil {
		v.known = make([]int, len(v.passed))
		items := make([]*item, len(w.known))
		for i, c := range w.known {
			items[i] = w.item(c, store.Row{Ref: c.Ref})
		}
		w.sample(ctx, v.known, items)
	}
	return v.known[step] > 0
}

func (w *window) answers(ctx context.Context, ref sdk.Ref) bool {
	if ref == (sdk.Ref{}) {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, w.Timeout)
	defer cancel()
	results, err := w.Source.Fetch(ctx, []sdk.Ref{ref})
	return err == nil && len(results) == 1 && (results[0].Err == nil || definitive(sdk.CodeOf(results[0].Err)))
}

// lost says whether something of the item becomes a dead letter.
func (it *item) lost() bool { return it.firstCause() != nil }

func (it *item) firstCause() *record.Cause {
	if it.cause != nil {
		return it.cause
	}
	for i := range it.outcomes {
		if it.outcomes[i].cause != nil {
			return it.outcomes[i].cause
		}
	}
	return nil
}

// firstCause is the text of the first failure in a step.
func (w *window) firstCause(batch []*item, step int) string {
	for _, it := range batch {
		if it.steps[step] != failed {
			continue
		}
		if i := step - w.mapStep(0); i >= 0 && it.cause == nil {
			return it.outcomes[i].cause.Text
		}
		return it.firstCause().Text
	}
	return ""
}
