// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"cmp"
	"net/netip"
	"slices"
	"time"
)

// Process is what one adapter's process is doing, for a person.
type Process struct {
	Adapter  Adapter
	Isolated string         // the one source that it serves; empty: it serves all that are not isolated
	Sources  int            // open, or to be opened when they are first used
	Attached netip.AddrPort // where a person debugs it; not valid: it is the engine's own
	PID      int            // 0: it does not run, or is attached
	Memory   int64          // bytes that it takes; 0: not known
	Since    time.Time      // begin of its life; zero: it does not run
	Starts   int            // lives that were begun
	Ends     int            // in a row, of lives that were short
	Why      string         // why its last life ended by itself, while Ends is not 0; may be logged
}

// Processes tells of all processes, by name.
func (h *Host) Processes() []Process {
	h.mu.Lock()
	list := make([]Process, 0, len(h.processes))
	all := make([]*process, 0, len(h.processes))
	for k, p := range h.processes {
		list = append(list, Process{
			Adapter: k.adapter, Isolated: k.source, Sources: p.sources, Attached: p.at,
		})
		all = append(all, p)
	}
	h.mu.Unlock()
	for i, p := range all {
		p.mu.Lock()
		list[i].Starts, list[i].Ends = p.starts, p.ends
		if p.ends > 0 && p.lastEnd != nil {
			list[i].Why = p.lastEnd.Error()
		}
		if a := p.alive; a != nil && !a.hasEnded() {
			list[i].PID, list[i].Since, list[i].Memory = a.pid, a.begun, a.life.memory()
		}
		p.mu.Unlock()
	}
	slices.SortFunc(list, func(a, b Process) int {
		return cmp.Or(cmp.Compare(a.Adapter.Name, b.Adapter.Name), cmp.Compare(a.Isolated, b.Isolated))
	})
	return list
}

// Status says whether a source is open, and if not, why the last attempt to open it failed. It asks nobody.
func (s *Source) Status() (open bool, why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.at != nil && !s.at.hasEnded(), s.why
}
