// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package sdktest

import (
	"fmt"
	"time"

	"github.com/rounds-engine/rounds/sdk"
)

// What is left behind, and what was said.

func checkLeaks(k *kit, o *outcome, secrets bool) {
	o.checked()
	if secrets {
		k.watch.mu.Lock()
		none := len(k.watch.secrets) == 0
		k.watch.mu.Unlock()
		if none {
			o.unchecked("the configuration has no secret; only the kit's own, in bad configurations, were looked for")
		}
	}
	if k.direct != "" {
		o.unchecked("no values could be planted in answers: %s", k.direct)
	}
	for _, finding := range k.watch.leaks(secrets) {
		o.fail("%s", finding)
	}
}

const (
	cycles    = 20               // openings and closings between two measurements
	groups    = 3                // measurements after the first
	suspect   = 6                // groups of a process that seems to leak
	leakTime  = 30 * time.Second // after which no further group is begun
	memoryPer = 4 << 20          // bytes by which a group may grow memory over and over
)

// measure is what a process holds while no source is open.
type measure struct {
	memory      int64 // bytes, without what it shares with files; 0: unknown
	files       int   // 0: unknown
	connections int   // to the kit
}

func checkLeak(k *kit, o *outcome) {
	p, err := k.start()
	if err != nil {
		o.fail("another process does not start: %v", err)
		return
	}
	defer p.End()
	l, err := k.lane()
	if err != nil {
		o.fail("no server can be started on this machine: %v", err)
		return
	}
	defer l.close()
	switch m := readMeasure(p.PID); {
	case m == (measure{}):
		o.unchecked("memory and files of the process can't be read on this system")
		if len(l.gates) == 0 {
			return
		}
	case m.files == 0:
		o.unchecked("the files that the process has open can't be counted on this system")
	}
	deadline := time.Now().Add(leakTime)
	var all []measure
	for n := 0; n <= suspect; n++ {
		if len(all) > groups && leaked(all) == "" {
			break
		}
		if time.Now().After(deadline) {
			break
		}
		for range cycles {
			if err := k.cycle(p, l); err != nil {
				o.fail("opening, reading and closing over and over fails %s", k.watch.shown(err))
				return
			}
		}
		all = append(all, settled(p, l))
	}
	if len(all) <= groups {
		o.unchecked("%d openings took more than %s", cycles*(groups+1), leakTime)
		return
	}
	o.checked()
	if what := leaked(all); what != "" {
		o.fail("%s", what)
	}
}

// cycle is one life of a source.
func (k *kit) cycle(p *Process, l *lane) error {
	s, err := k.open(p, l)
	if err != nil {
		return fmt.Errorf("to open: %w", err)
	}
	ctx, cancel := k.timeout()
	defer cancel()
	for _, f := range k.harmless() {
		q := k.query(f)
		q.Limit = 10
		if _, err := s.Poll(ctx, q); err != nil {
			return fmt.Errorf("to poll: %w", err)
		}
	}
	if len(k.refs) > 0 {
		if _, err := s.Fetch(ctx, k.refs[:1]); err != nil {
			return fmt.Errorf("to fetch: %w", err)
		}
	}
	_, _ = s.Poll(ctx, sdk.Query{Feed: "kit-no-such-feed"}) // what fails must leave nothing either
	if err := s.close(); err != nil {
		return fmt.Errorf("to close: %w", err)
	}
	return nil
}

// settled measures a process that may need a moment to let go.
func settled(p *Process, l *lane) measure {
	var m measure
	for range 20 {
		m = readMeasure(p.PID)
		if m.connections = l.open(); m.connections == 0 {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	return m
}

// leaked says what grows without end: from each measurement to the next, by more than what can be chance.
func leaked(all []measure) string {
	last := all[len(all)-groups-1:]
	memory, files, connections := true, true, true
	for i := 1; i < len(last); i++ {
		memory = memory && last[i].memory-last[i-1].memory > memoryPer
		files = files && last[i].files-last[i-1].files >= cycles/2
		connections = connections && last[i].connections-last[i-1].connections >= cycles/2
	}
	from, to, n := last[0], last[len(last)-1], groups*cycles
	switch {
	case connections:
		return fmt.Sprintf("%d sources, opened and closed, leave %d connections to the EHR open", n, to.connections-from.connections)
	case files:
		return fmt.Sprintf("%d sources, opened and closed, leave %d files or sockets open", n, to.files-from.files)
	case memory:
		return fmt.Sprintf("%d sources, opened and closed, leave %.1f MiB of memory in use", n, float64(to.memory-from.memory)/(1<<20))
	}
	return ""
}
