// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package pipeline_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rounds-engine/rounds/engine/pipeline"
	"github.com/rounds-engine/rounds/engine/store"
	"github.com/rounds-engine/rounds/sdk"
)

func TestStatusTellsWhatThePipelineDoes(t *testing.T) {
	simulate(t, func(r *rig) {
		r.config.Every = time.Hour
		var fault error
		r.ehr.onPoll = func(_ int, q sdk.Query) (sdk.Page, error) { return r.ehr.page(q), fault }
		expect := func(when string, state pipeline.State, why string) pipeline.Status {
			t.Helper()
			synctest.Wait()
			st := r.loop.Status()
			if st.State != state || !strings.Contains(st.Why, why) || why == "" && st.Why != "" || st.Since.IsZero() {
				t.Errorf("%s: %+v", when, st)
			}
			if strings.Contains(fmt.Sprintf("%+v", st), canary) {
				t.Errorf("%s: content of a record: %+v", when, st)
			}
			return st
		}
		stop := r.start()
		begun := time.Now()
		if st := expect("after the first poll", pipeline.Waiting, ""); !st.Polled.Equal(begun) || st.Next.Sub(begun) > time.Hour || !st.Next.After(begun) {
			t.Errorf("polled %v, next %v", st.Polled, st.Next)
		}
		r.ehr.do(func() { fault = fmt.Errorf("%s: %w", canary, sdk.Retryable("GET /appointments: 503")) })
		pass(time.Until(r.loop.Status().Next))
		if st := expect("after a failure", pipeline.Failing, "503"); st.Failures != 1 || !st.Polled.Equal(begun) || st.Next.IsZero() {
			t.Errorf("%+v", st)
		}
		r.ehr.do(func() { fault = nil })
		pass(time.Minute)
		if st := expect("when it works again", pipeline.Waiting, ""); st.Failures != 0 || st.Polled.Equal(begun) {
			t.Errorf("%+v", st)
		}
		r.ehr.do(func() { fault = sdk.WatermarkExpired("GET /appointments: 410") })
		pass(time.Hour)
		if st := expect("in a gap", pipeline.Gap, "410"); !st.Next.IsZero() {
			t.Errorf("%+v", st)
		}
		stop()
		expect("at the end", pipeline.Stopped, "410")
	})
}

func TestStatusWhileTheStateIsHeldByAnother(t *testing.T) {
	simulate(t, func(r *rig) {
		r.onClaim = func(n int) error {
			if n < 3 {
				return store.ErrHeld
			}
			return nil
		}
		stop := r.start()
		defer stop()
		synctest.Wait()
		if st := r.loop.Status(); st.State != pipeline.Claiming || st.Why != store.ErrHeld.Error() || st.Failures != 1 {
			t.Errorf("%+v", st)
		}
		pass(time.Minute)
		if st := r.loop.Status(); st.State != pipeline.Waiting || st.Why != "" {
			t.Errorf("%+v", st)
		}
	})
}

func TestAPollThatIsAskedForIsMadeAtOnceAndTellsWhatCameOfIt(t *testing.T) {
	simulate(t, func(r *rig) {
		r.config.Every = 24 * time.Hour
		var fault error
		r.ehr.onPoll = func(_ int, q sdk.Query) (sdk.Page, error) { return r.ehr.page(q), fault }
		stop := r.start()
		synctest.Wait()
		next := r.loop.Status().Next
		r.ehr.set("1", "a", "p")
		if counts, err := r.loop.Poll(r.Context()); err != nil || counts.New != 1 || counts.Mapped != 1 {
			t.Errorf("%+v, %v", counts, err)
		}
		synctest.Wait()
		if st := r.loop.Status(); !st.Next.Equal(next) {
			t.Errorf("the next poll was due %v, and is now %v", next, st.Next)
		}
		r.expect("1@a")
		r.ehr.do(func() { fault = fmt.Errorf("%s: %w", canary, sdk.Retryable("GET /appointments: 503")) })
		if _, err := r.loop.Poll(r.Context()); err == nil || !strings.Contains(err.Error(), "503") || strings.Contains(err.Error(), canary) {
			t.Errorf("%v", err)
		}
		r.ehr.do(func() { fault = sdk.WatermarkExpired("GET /appointments: 410") })
		pass(time.Minute)
		for range 2 {
			if _, err := r.loop.Poll(r.Context()); err == nil || !strings.Contains(err.Error(), "410") {
				t.Errorf("in a gap: %v", err)
			}
		}
		stop()
	})
}

// TestAPollThatCannotBeMadeIsAnswered: whoever asks is not left waiting for what may take minutes, or never come.
func TestAPollThatCannotBeMadeIsAnswered(t *testing.T) {
	simulate(t, func(r *rig) {
		r.onClaim = func(int) error { return store.ErrHeld }
		stop := r.start()
		pass(10 * time.Minute) // into long pauses between the claims
		answers := make(chan error)
		ask := func() {
			go func() {
				_, err := r.loop.Poll(r.Context())
				answers <- err
			}()
			synctest.Wait()
		}
		begun := time.Now()
		ask()
		if err := <-answers; err == nil || !strings.Contains(err.Error(), store.ErrHeld.Error()) || time.Since(begun) > 0 {
			t.Errorf("while the state is another's, after %v: %v", time.Since(begun), err)
		}
		stop()
		ask()
		if err := <-answers; err == nil || !strings.Contains(err.Error(), "does not run") {
			t.Errorf("after the end: %v", err)
		}

		// A loop that ends while somebody waits for it.
		r.onClaim = nil
		answer := make(chan struct{})
		r.ehr.onPoll = func(int, sdk.Query) (sdk.Page, error) {
			<-answer
			return sdk.Page{}, sdk.Retryable("GET /appointments: 503")
		}
		stop = r.start()
		synctest.Wait()
		ask() // it waits for the poll that is under way
		go stop()
		synctest.Wait()
		close(answer)
		if err := <-answers; err == nil {
			t.Error("a pipeline that was stopped has polled")
		}
	})
}
