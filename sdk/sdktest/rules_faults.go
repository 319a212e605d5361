// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package sdktest

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/rounds-engine/rounds/sdk"
	pb "github.com/rounds-engine/rounds/sdk/proto"
)

// What an EHR does on a bad day, and calls that have to end early.

// status answers with a status, and with values in body and headers that nobody may repeat.
func (k *kit) status(status int, header ...string) *fault {
	return &fault{answer: func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("X-Request-Id", k.watch.canary+"header")
		w.Header().Set("WWW-Authenticate", `Bearer realm="`+k.watch.canary+`header", error_description="`+k.watch.canary+`header"`)
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(status)
		_, _ = w.Write([]byte(`{"error": "` + k.watch.canary + `body", "message": "` + k.watch.canary + `body"}`)) // or nobody listens
	}}
}

// body answers with status 200.
func (k *kit) body(contentType, body string) *fault {
	return &fault{answer: func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		_, _ = w.Write([]byte(body)) // or nobody listens
	}}
}

// calls are what a source is asked for while its EHR fails: a page of each feed, a record of each resource.
type call struct {
	name string
	do   func(context.Context, *source) error // of Fetch, the first result's error if the call has none
	page bool
	refs []sdk.Ref
}

func (k *kit) calls() (calls []call) {
	feeds := k.harmless()
	if k.o.Consume {
		feeds = append(k.ordinary(), k.feeds(sdk.Queue)...)
	}
	for _, f := range feeds {
		q := k.query(f)
		if f.Class == sdk.Queue && !f.Peeks {
			q = taking(f, k.o.Start)
		}
		q.Limit = 10 // one page will do
		calls = append(calls, call{name: "Poll of feed " + f.Name, page: true, do: func(ctx context.Context, s *source) error {
			_, err := s.Poll(ctx, q)
			return err
		}})
	}
	seen := map[string]bool{}
	for _, ref := range k.refs {
		if seen[ref.Kind] {
			continue
		}
		seen[ref.Kind] = true
		calls = append(calls, call{name: "Fetch of resource " + ref.Kind, refs: []sdk.Ref{ref}, do: func(ctx context.Context, s *source) error {
			results, err := s.Fetch(ctx, []sdk.Ref{ref})
			if err == nil && len(results) == 1 {
				err = results[0].Err
			}
			return err
		}})
	}
	return calls
}

// through opens a source with a lane of its own and makes one good call, so that what a source does once is done.
func (k *kit) through(o *outcome, p *Process, c call, test func(*source, *lane)) {
	l, err := k.lane()
	if err != nil {
		o.fail("no server can be started on this machine: %v", err)
		return
	}
	defer l.close()
	s, err := k.open(p, l)
	if err != nil {
		o.fail("Open: %s", k.watch.shown(err))
		return
	}
	defer func() {
		l.fault.Store(nil)
		_ = s.close() // rule open looks at it
	}()
	k.turns <- struct{}{}
	ctx, cancel := k.timeout()
	err = c.do(ctx, s)
	cancel()
	<-k.turns
	if err != nil {
		o.fail("%s: %s", c.name, k.watch.shown(err))
		return
	}
	test(s, l)
}

// eachCall tests all calls side by side, as they mostly wait.
func (k *kit) eachCall(test func(call)) {
	var testing sync.WaitGroup
	for _, c := range k.calls() {
		testing.Go(func() { test(c) })
	}
	testing.Wait()
}

// failing has each call fail by a fault and looks at the error.
func (k *kit) failing(o *outcome, what string, make func() *fault, wrong func(error) string) {
	p, _ := k.shared()
	k.eachCall(func(c call) {
		k.through(o, p, c, func(s *source, l *lane) {
			f := make()
			l.fault.Store(f)
			ctx, cancel := k.timeout()
			defer cancel()
			err := c.do(ctx, s)
			if f.hits.Load() == 0 {
				o.unchecked("%s asked nothing of the EHR", c.name)
				return
			}
			o.checked()
			if err == nil {
				o.fail("%s, answered by %s, has no error", c.name, what)
			} else if problem := wrong(err); problem != "" {
				o.fail("%s, answered by %s, %s: %s", c.name, what, problem, k.watch.shown(err))
			}
		})
	})
	k.opening(o, p, what, make(), wrong)
}

// opening opens a source whose EHR fails already. It need not ask it.
func (k *kit) opening(o *outcome, p *Process, what string, f *fault, wrong func(error) string) {
	l, err := k.lane()
	if err != nil {
		return // through has said so
	}
	defer l.close()
	l.fault.Store(f)
	s, err := k.open(p, l)
	if err == nil {
		_ = s.close() // it was not to be opened
		return
	}
	if problem := wrong(err); problem != "" {
		o.fail("Open, answered by %s, %s: %s", what, problem, k.watch.shown(err))
	}
}

// coded says what is wrong with the code of an error.
func coded(want ...sdk.Code) func(error) string {
	return func(err error) string {
		if errors.Is(err, sdk.ErrNoAnswer) {
			return "has no answer"
		}
		for _, code := range want {
			if sdk.CodeOf(err) == code {
				return ""
			}
		}
		return "is " + string(sdk.CodeOf(err)) + " and not " + string(want[0])
	}
}

// pause is what the kit asks for as the EHR: longer than an adapter may wait for by itself.
const pause = 600 * time.Second

func checkRateLimited(k *kit, o *outcome) {
	k.failing(o, "429 with Retry-After: 600", func() *fault { return k.status(http.StatusTooManyRequests, "Retry-After", "600") },
		func(err error) string {
			if problem := coded(sdk.CodeRateLimited)(err); problem != "" {
				return problem
			}
			var e *sdk.Error
			if errors.As(err, &e) && (e.After < pause-time.Minute || e.After > pause) {
				return "is RateLimited with a pause of " + e.After.Round(time.Second).String() + " and not of 10m0s"
			}
			return ""
		})
}

func checkUnauthorized(k *kit, o *outcome) {
	k.failing(o, "401", func() *fault { return k.status(http.StatusUnauthorized) }, coded(sdk.CodeUnauthorized))
}

func checkForbidden(k *kit, o *outcome) {
	k.failing(o, "403", func() *fault { return k.status(http.StatusForbidden) }, coded(sdk.CodeForbidden))
}

func checkServerError(k *kit, o *outcome) {
	var testing sync.WaitGroup
	for _, status := range []int{http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable} {
		testing.Go(func() {
			k.failing(o, strconv.Itoa(status), func() *fault { return k.status(status) }, coded(sdk.CodeRetryable, sdk.CodeRateLimited))
		})
	}
	testing.Wait()
}

func checkNotData(k *kit, o *outcome) {
	garbage := []struct{ what, contentType, body string }{
		{"a page of HTML with status 200", "text/html; charset=utf-8", "<!doctype html><html><body><p>Please sign in, " + k.watch.canary + "body</p></body></html>"},
		{"cut JSON", "application/json", `{"` + k.watch.canary + `body": [{"id": "` + k.watch.canary + `body`},
		{"nothing, with status 200", "application/json", ""},
		{"an error in JSON with status 200", "application/json", `{"error": {"message": "` + k.watch.canary + `body"}}`},
	}
	_, p := k.shared() // the second, which may end by what it gets: the other rules with faults have the first
	k.eachCall(func(c call) {
		for i, g := range garbage {
			if !c.page && i == len(garbage)-1 {
				continue // it may be a record
			}
			k.through(o, p, c, func(s *source, l *lane) {
				f := k.body(g.contentType, g.body)
				l.fault.Store(f)
				ctx, cancel := k.timeout()
				defer cancel()
				var reply proto.Message
				err := c.do(onWire(ctx, &reply), s)
				if f.hits.Load() == 0 {
					o.unchecked("%s asked nothing of the EHR", c.name)
					return
				}
				o.checked()
				if errors.Is(err, sdk.ErrNoAnswer) {
					o.fail("%s, answered by %s, has no answer", c.name, g.what)
				}
				page, ok := reply.(*pb.PollResponse)
				switch {
				case err != nil:
				case ok && len(page.GetChanges()) > 0: // of which each has an error, or else rule pages has something to say
				case ok:
					o.fail("%s, answered by %s, is taken for an empty page", c.name, g.what)
				default:
					o.fail("%s, answered by %s, has no error", c.name, g.what)
				}
			})
		}
		k.garbled(o, p, c)
	})
}

// garbled answers with the EHR's own answers in which each value is another: what the adapter says of that shows whether it
// repeats values, which rule content looks at.
func (k *kit) garbled(o *outcome, p *Process, c call) {
	k.through(o, p, c, func(s *source, l *lane) {
		l.fault.Store(&fault{change: func(body []byte) []byte {
			return replaceLeaves(body, k.watch.canary+"record")
		}})
		ctx, cancel := k.timeout()
		defer cancel()
		if err := c.do(ctx, s); errors.Is(err, sdk.ErrNoAnswer) {
			o.fail("%s, answered with records whose values can't be read, has no answer: %s", c.name, k.watch.shown(err))
		}
	})
}

const (
	limit       = time.Second            // in which a cancelled call has to end
	closeMargin = 200 * time.Millisecond // by which an adapter answers before its deadline
)

func checkCancel(k *kit, o *outcome) {
	k.eachCall(func(c call) {
		var problem string
		// A machine under load may be late once.
		for range 3 {
			if problem = k.cancelled(o, c); problem == "" {
				return
			}
		}
		o.fail("%s, cancelled while the EHR does not answer, %s", c.name, problem)
	})
}

// hang is a fault that never answers, until it ends.
func hang() (f *fault, end func()) {
	f = &fault{begun: make(chan struct{}, 64), left: make(chan struct{}, 64)}
	over, end := context.WithCancel(context.Background())
	f.answer = func(w http.ResponseWriter, r *http.Request) {
		tell(f.begun)
		select {
		case <-r.Context().Done():
			tell(f.left)
		case <-over.Done():
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}
	return f, end
}

func tell(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// cancelled says what is wrong with the end of a call that is cancelled.
func (k *kit) cancelled(o *outcome, c call) (problem string) {
	p, _ := k.shared()
	k.through(o, p, c, func(s *source, l *lane) {
		f, end := hang()
		defer end()
		l.fault.Store(f)
		ctx, cancel := context.WithCancel(k.ctx)
		defer cancel()
		ended := make(chan error, 1)
		go func() { ended <- c.do(ctx, s) }()
		select {
		case <-f.begun:
		case err := <-ended:
			if f.hits.Load() == 0 {
				o.unchecked("%s asked nothing of the EHR", c.name)
			} else {
				problem = "ended before it was cancelled: " + k.watch.shown(err)
			}
			return
		}
		o.checked()
		cancel()
		// Close waits for calls under way, so it tells when the adapter's side of the call has ended.
		closing, done := context.WithTimeout(k.ctx, limit+closeMargin)
		defer done()
		if err := s.Close(closing); err != nil {
			problem = "is still under way in the adapter after a second"
			return
		}
		select {
		case <-f.left:
		case <-time.After(limit):
			problem = "ends, and its request to the EHR goes on"
		}
	})
	return problem
}

func checkDeadline(k *kit, o *outcome) {
	const deadline = 4 * time.Second
	p, _ := k.shared()
	k.eachCall(func(c call) {
		var err error
		for range 2 { // a machine under load may be late once
			k.through(o, p, c, func(s *source, l *lane) {
				f, end := hang()
				defer end()
				l.fault.Store(f)
				ctx, cancel := context.WithTimeout(k.ctx, deadline)
				defer cancel()
				if err = c.do(ctx, s); f.hits.Load() == 0 {
					o.unchecked("%s asked nothing of the EHR", c.name)
				} else {
					o.checked()
				}
			})
			if !errors.Is(err, sdk.ErrNoAnswer) {
				break
			}
		}
		switch {
		case errors.Is(err, sdk.ErrNoAnswer):
			o.fail("%s, with a deadline of %s and an EHR that does not answer, has no answer from the adapter", c.name, deadline)
		case err == nil:
			o.unchecked("%s asked nothing of the EHR", c.name)
		}
	})
}
