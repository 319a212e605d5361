// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

const megabyte = 1e6

// memory is resident memory of one process, in MB. What is mapped from files is the program itself and, in the engine, the files of the
// state: pages of the system's cache, which it takes back when it needs them.
type memory struct {
	Process string  `json:"process"`
	PeakMB  float64 `json:"peak_mb"` // VmHWM: of both kinds together
	AnonMB  float64 `json:"anon_mb"` // RssAnon
	FileMB  float64 `json:"file_mb"` // RssFile
	nowMB   float64 // VmRSS
}

// memoryOf reads what a process holds now.
func memoryOf(pid int) (m memory, err error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return m, err
	}
	for line := range strings.Lines(string(data)) {
		name, rest, _ := strings.Cut(line, ":")
		into := map[string]*float64{"VmHWM": &m.PeakMB, "VmRSS": &m.nowMB, "RssAnon": &m.AnonMB, "RssFile": &m.FileMB}[name]
		if into == nil {
			continue
		}
		kib, err := strconv.Atoi(strings.Fields(rest)[0])
		if err != nil {
			return m, err
		}
		*into = float64(kib<<10) / megabyte
	}
	return m, nil
}

// sharedOnce is what a process holds, in MB, with each page that several processes have counted in part (Pss), so that sums are right.
func sharedOnce(pid int) (float64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(line, "Pss:"); ok {
			kib, err := strconv.Atoi(strings.Fields(rest)[0])
			return float64(kib<<10) / megabyte, err
		}
	}
	return 0, errors.New("the system does not tell what processes share")
}

// watch samples the memory of the process and those under it until it ends, as the system keeps the peak of the sum only. It looks for
// new processes now and then: that costs more.
func (p *process) watch() {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for i := 0; ; i++ {
		if i%25 == 0 {
			_ = p.look() // where /proc can't be read, usage tells
		}
		p.sample()
		select {
		case <-p.done:
			return
		case <-tick.C:
		}
	}
}

// look finds out which processes there are.
func (p *process) look() error {
	family, err := descendants(p.cmd.Process.Pid)
	if err != nil {
		return err
	}
	p.sampling.Lock()
	defer p.sampling.Unlock()
	p.family = family
	return nil
}

// alive gives the processes that there were when somebody last looked, the first one first.
func (p *process) alive() []int {
	p.sampling.Lock()
	defer p.sampling.Unlock()
	return slices.Clone(p.family)
}

func (p *process) sample() {
	p.sampling.Lock()
	defer p.sampling.Unlock()
	for _, pid := range p.family {
		now, err := memoryOf(pid)
		if err != nil || now.PeakMB == 0 { // it has just ended
			continue
		}
		most := p.seen[pid]
		most.PeakMB, most.AnonMB, most.FileMB = max(most.PeakMB, now.PeakMB), max(most.AnonMB, now.AnonMB), max(most.FileMB, now.FileMB)
		p.seen[pid] = most
	}
}

// peaks gives what each process held at most so far: the program itself, then those that it started.
func (p *process) peaks() (all []memory) {
	p.sampling.Lock()
	defer p.sampling.Unlock()
	for i, pid := range p.family {
		m := p.seen[pid]
		m.Process = processName(i)
		all = append(all, m)
	}
	return all
}

// processName names the processes of Rounds.
func processName(i int) string {
	if i == 0 {
		return "engine"
	}
	return "adapter"
}
