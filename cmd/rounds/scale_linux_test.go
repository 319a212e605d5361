// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// bounds are what an engine has to keep to at a scale.
type bounds struct {
	start, reload time.Duration
	late          time.Duration // of polls, at the 99th percentile
	memory        int64         // of all processes, sum of their peaks (VmHWM)
}

// TestManyPipelinesOnOneEngine: thousands of sources, all of one adapter's process, with thousands of pipelines. The form for CI is small,
// and shares its cores with other tests.
func TestManyPipelinesOnOneEngine(t *testing.T) {
	withoutRace(t)
	s := size{Sources: 50, Pipelines: 120, Every: 3 * time.Second, Period: 5 * time.Second}
	most := bounds{start: 15 * time.Second, reload: 5 * time.Second, late: 2 * time.Second, memory: 250 << 20}
	long := os.Getenv("ROUNDS_LONG") != ""
	if long {
		s = size{Sources: 2000, Pipelines: 5000, Every: time.Minute, Period: 50 * time.Second}
		most = bounds{start: 20 * time.Second, reload: time.Second, late: 500 * time.Millisecond, memory: 600 << 20}
	} else {
		t.Parallel()
		t.Log("the long form: ROUNDS_LONG=1 go test -count=1 -v -timeout 30m -run TestManyPipelinesOnOneEngine ./cmd/rounds")
	}
	m := &atScale{T: t, clinics: newClinics(t, s), most: most}
	m.dir = write(t, m.config("web {\n  listen = \"127.0.0.1:0\"\n}\n"))
	m.timed("validate", func() {
		if code, _, stderr := rounds(t, nil, "validate", m.dir); code != 0 || stderr != "" {
			t.Errorf("exit code %d\n%s", code, stderr)
		}
	})

	m.starts("first start")
	m.allPolled()
	sleepUntil(time.Now().Add(s.Every)) // what follows is regular
	if long {
		m.watch(2*s.Every, "at rest", func() {})
		m.memory("so far")
		m.watch(s.Every, "while looked at", m.look)
	} else {
		m.look()
	}
	m.watch(s.Every, "around a reload", m.reload)
	m.memory("so far")
	m.timed("stop", func() { m.stop() })

	sleepUntil(time.Now().Add(s.Every)) // so that all are overdue
	m.starts("second start, all polls overdue")
	m.allPolled()
	sleepUntil(time.Now().Add(s.Every))
	m.watch(s.Every, "at rest again", func() {})
	m.memory("after the second start")
	m.stop()
	arrived, lost, repeated := m.lost(time.Now().Add(-2 * s.Every))
	m.says("%d notifications arrived; %d lost, %d repeated", arrived, lost, repeated)
	if arrived < s.Pipelines || lost > 0 || repeated > 0 {
		t.Errorf("%d notifications arrived, %d are missing between others, %d came twice", arrived, lost, repeated)
	}
}

// atScale measures one engine.
type atScale struct {
	*testing.T
	*clinics
	*process
	most  bounds
	dir   string
	url   string
	began time.Time // the process
}

func sleepUntil(t time.Time) { time.Sleep(time.Until(t)) }

// says tells a figure, with how busy the machine is.
func (m *atScale) says(format string, args ...any) {
	m.Helper()
	load, _, _ := strings.Cut(func() string { b, _ := os.ReadFile("/proc/loadavg"); return string(b) }(), " ")
	m.Logf("%s (load %s)", fmt.Sprintf(format, args...), load)
}

func (m *atScale) timed(what string, do func()) time.Duration {
	m.Helper()
	began := time.Now()
	do()
	took := time.Since(began)
	m.says("%s: %v", what, took.Round(time.Millisecond))
	return took
}

var listeningAt = regexp.MustCompile(`msg=listening address=(\S+)`)

// starts starts the engine and waits until all pipelines have begun their work.
func (m *atScale) starts(what string) {
	m.Helper()
	m.began = time.Now()
	m.process = start(m.T, nil, "run", "--state", filepath.Join(m.dir, "state"), m.dir)
	var address []string
	m.eventually(time.Minute, "listening", func() bool {
		address = listeningAt.FindStringSubmatch(m.log.String())
		return address != nil
	})
	m.url = address[1]
	for {
		if code, _ := m.get("/readyz"); code == http.StatusOK {
			break
		}
		if time.Since(m.began) > 5*time.Minute {
			m.Fatalf("%s: not ready", what)
		}
		time.Sleep(100 * time.Millisecond) // each question looks at all pipelines
	}
	took := time.Since(m.began)
	m.says("%s: all pipelines run after %v, %v of CPU", what, took.Round(time.Millisecond), m.cpu())
	if took > m.most.start {
		m.Errorf("%s took %v, more than %v", what, took, m.most.start)
	}
}

func (m *atScale) get(path string) (int, []byte) {
	m.Helper()
	answer, err := http.Get(m.url + path)
	if err != nil {
		m.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		m.Fatal(err)
	}
	return answer.StatusCode, body
}

// allPolled waits until each pipeline was polled since the start: that takes no longer than they are to wait between polls.
func (m *atScale) allPolled() {
	m.Helper()
	m.eventually(10*time.Minute, "all polled", func() bool { return m.unpolled(m.began) == 0 })
	took := time.Since(m.began)
	m.says("all were polled within %v of the start, %v of CPU", took.Round(time.Millisecond), m.cpu())
	if took > m.most.start+m.Every {
		m.Errorf("the first polls took %v", took)
	}
}

// watch does something a third into a while, and looks at all polls of that while. It gives how late they were.
func (m *atScale) watch(d time.Duration, what string, do func()) {
	m.Helper()
	from, cpu := time.Now(), m.cpu()
	sleepUntil(from.Add(d / 3))
	do()
	to := from.Add(d)
	sleepUntil(to.Add(m.Every / 10)) // the last poll may be late
	cpu, took := m.cpu()-cpu, time.Since(from)

	var late []time.Duration
	missed := 0
	for n, polls := range m.pollsBetween(from, time.Now()) {
		for due := m.tick(n, from).Add(m.Every); due.Before(to); due = due.Add(m.Every) {
			i := slices.IndexFunc(polls, func(at time.Time) bool { return !at.Before(due) })
			if i < 0 || polls[i].Sub(due) >= m.Every {
				missed++
				continue
			}
			late = append(late, polls[i].Sub(due))
		}
	}
	slices.Sort(late)
	if len(late) == 0 {
		m.Fatalf("%s: there was no poll", what)
	}
	at := func(share float64) time.Duration {
		return late[int(share*float64(len(late)-1))].Round(time.Millisecond / 10)
	}
	m.says("%s: %d polls, late by %v (median), %v (99 %%), %v (the most); %d missed; %.1f %% of one CPU",
		what, len(late), at(0.5), at(0.99), at(1), missed, 100*cpu.Seconds()/took.Seconds())
	if at(0.99) > m.most.late || missed > 0 {
		m.Errorf("%s: of %d polls the 99th percentile was late by %v, at most %v is allowed; %d were missed", what, len(late), at(0.99), m.most.late, missed)
	}
}

// look asks for what a person and Prometheus look at.
func (m *atScale) look() {
	m.Helper()
	for range 2 {
		var body []byte
		m.timed("scrape of the metrics", func() { _, body = m.get("/metrics") })
		m.says("the metrics have %d bytes", len(body))
	}
	m.timed("status", func() { command(m.T, m.dir, 0, "status") })
}

// reload changes one pipeline.
func (m *atScale) reload() {
	m.Helper()
	adapters := children(m.T, m.cmd.Process.Pid)
	const of, name = 7, "clinics000.hcl"
	text, err := os.ReadFile(filepath.Join(m.dir, name))
	if err != nil {
		m.Fatal(err)
	}
	pipeline := fmt.Sprintf("pipeline %q", m.name(of))
	before, after, found := strings.Cut(string(text), pipeline)
	if !found {
		m.Fatal("there is no such pipeline")
	}
	after = strings.Replace(after, "order_by = change.id", "order_by = change.data.Patient", 1)
	overwrite(m.T, m.dir, name, before+pipeline+after)
	cpu := m.cpu()
	var got reloaded
	took := m.timed("reload of one pipeline", func() { got = asked[reloaded](m.T, m.dir, 0, "reload") })
	m.says("it took %v of CPU", m.cpu()-cpu)
	if took > m.most.reload {
		m.Errorf("the reload took %v, more than %v", took, m.most.reload)
	}
	if !slices.Equal(got.Restarted, []string{"pipeline." + m.name(of)}) || len(got.Started)+len(got.Stopped) > 0 {
		m.Errorf("the reload did %+v", got)
	}
	if now := children(m.T, m.cmd.Process.Pid); !slices.Equal(now, adapters) {
		m.Errorf("the reload disturbed the adapter: %v, and then %v", adapters, now)
	}
}

// cpu is what the engine and its adapter have used.
func (m *atScale) cpu() (sum time.Duration) {
	for _, pid := range m.processes() {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			m.Fatal(err)
		}
		fields := strings.Fields(string(data)[strings.LastIndexByte(string(data), ')')+1:])
		for _, i := range []int{11, 12} {
			ticks, err := strconv.Atoi(fields[i])
			if err != nil {
				m.Fatal(err)
			}
			sum += time.Duration(ticks) * time.Second / 100
		}
	}
	return sum
}

func (m *atScale) processes() []int {
	pid := m.cmd.Process.Pid
	return append([]int{pid}, children(m.T, pid)...)
}

// memory holds the peaks of all processes against the bound.
func (m *atScale) memory(when string) {
	m.Helper()
	var sum int64
	for i, pid := range m.processes() {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			m.Fatal(err)
		}
		of := func(field string) int64 {
			_, rest, _ := strings.Cut(string(data), "\n"+field+":")
			kib, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			if err != nil {
				m.Fatal(err)
			}
			return kib << 10
		}
		peak := of("VmHWM")
		sum += peak
		m.says("memory "+when+", of process %d: peak %d MiB, now %d MiB", i, peak>>20, of("VmRSS")>>20)
	}
	m.says("memory "+when+", of all at their peaks: %d MiB", sum>>20)
	if sum > m.most.memory {
		m.Errorf("the processes took %d MiB, more than %d MiB", sum>>20, m.most.memory>>20)
	}
}
