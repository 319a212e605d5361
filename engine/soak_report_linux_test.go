// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// What the long form measured once an hour, and a picture of it.
const (
	soakTable = "../docs/soak.csv"
	soakChart = "../docs/soak.svg"
)

var soakColumns = []string{"hour", "changes", "delivered", "waiting", "rows", "heap", "state", "bound", "goroutines", "descriptors", "cpu"}

func (is sample) write(w io.Writer) {
	if is.hour == 1 {
		fmt.Fprintln(w, strings.Join(soakColumns, ","))
	}
	fmt.Fprintf(w, "%d,%d,%d,%d,%d,%d,%d,%d,%d,%d,%.3f\n", is.hour, is.changes, is.delivered, is.waiting, is.rows, is.heap, is.state, is.bound,
		is.goroutines, is.descriptors, is.cpu.Seconds())
}

// judge holds the last day against one in the middle of those after the outage: nothing grows. The state does, by its rows, of which each table
// is an open file.
func (s *soak) judge() {
	day := func(n int) []sample { return s.samples[24*n : 24*n+24] }
	middle, last := day((3+s.days-1)/2), day(s.days-1)
	most := func(of []sample, value func(sample) int64) (n int64) {
		for _, is := range of {
			n = max(n, value(is))
		}
		return n
	}
	for _, x := range []struct {
		what  string
		value func(sample) int64
		more  int64 // percent that it may be
		plus  int64
	}{
		{"bytes of memory", func(is sample) int64 { return is.heap }, 15, 0},
		{"goroutines", func(is sample) int64 { return int64(is.goroutines) }, 0, 2},
		{"descriptors", func(is sample) int64 { return int64(is.descriptors) }, 30, 6},
		{"waiting notifications", func(is sample) int64 { return int64(is.waiting) }, 50, 50},
	} {
		before, now := most(middle, x.value), most(last, x.value)
		s.Logf("at most %d %s on one day, %d on the last", before, x.what, now)
		if now > before+before*x.more/100+x.plus {
			s.Errorf("there were %d %s on the last day, and %d on one before", now, x.what, before)
		}
	}
	for _, is := range s.samples {
		if is.state > is.bound {
			s.Errorf("after %d hours the state takes %d KiB, and the bound is %d", is.hour, is.state>>10, is.bound>>10)
		}
	}
	if fmt.Sprint(s.oncall.alerts) != "[firing resolved]" {
		s.Errorf("the outage was told as %v", s.oncall.alerts)
	}
	h := s.world
	left := 0
	for i := range h.slots {
		left += h.slots[i].state - h.slots[i].told
	}
	if left > 0 || len(h.past) > 0 || h.delivered+h.skipped != h.changes || h.skipped > h.changes/100 {
		s.Errorf("of %d changes %d were told, %d gave way to others at once, and %d states, of %d that are past, were not told", h.changes,
			h.delivered, h.skipped, left, len(h.past))
	}
}

func (s *soak) report() {
	last := s.samples[len(s.samples)-1]
	s.Logf("%d changes, %d notifications, %d states that gave way to others at once; %d rows; at the end %d KiB of memory, a state of %d KiB, "+
		"%d goroutines, %d descriptors", last.changes, last.delivered, s.world.skipped, last.rows, last.heap>>10, last.state>>10, last.goroutines,
		last.descriptors)
	if s.table != nil {
		s.must(os.WriteFile(soakChart, drawSoak(s.samples), 0o600))
	}
}

// TestTheSoaksChartIsOfItsTable: docs/soak.svg shows what docs/soak.csv says.
func TestTheSoaksChartIsOfItsTable(t *testing.T) {
	table, err := os.Open(soakTable)
	if err != nil {
		t.Fatal(err)
	}
	defer table.Close()
	lines, err := csv.NewReader(table).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(lines[0], soakColumns) {
		t.Fatalf("the columns are %q", lines[0])
	}
	var all []sample
	for _, line := range lines[1:] {
		var n [11]float64
		for i := range n {
			if n[i], err = strconv.ParseFloat(line[i], 64); err != nil {
				t.Fatal(err)
			}
		}
		all = append(all, sample{int(n[0]), int(n[1]), int(n[2]), int(n[3]), int(n[4]), int64(n[5]), int64(n[6]), int64(n[7]), int(n[8]), int(n[9]),
			time.Duration(n[10] * float64(time.Second))})
	}
	want := drawSoak(all)
	if os.Getenv("ROUNDS_UPDATE") != "" {
		if err := os.WriteFile(soakChart, want, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(soakChart); err != nil || !bytes.Equal(got, want) {
		t.Errorf("docs/soak.svg shows something else than docs/soak.csv (%v): ROUNDS_UPDATE=1 draws it anew", err)
	}
}

// panel is one of the charts, over the same days: lines of one unit.
type panel struct {
	title string
	lines []line
}

type line struct {
	name, color string
	of          func(sample) float64
}

// drawSoak makes an SVG of samples, each panel from zero to what is highest in it.
func drawSoak(all []sample) []byte {
	const left, width, height, gap = 60.0, 660.0, 90.0, 42.0
	mib := func(n int64) float64 { return float64(n) / (1 << 20) }
	cost := map[int]float64{} // by hour; that of the hour before in one in which next to nothing happens
	done := 0
	for _, is := range all {
		cost[is.hour] = cost[is.hour-1]
		if now := is.changes + is.delivered; now > done+1000 {
			cost[is.hour], done = is.cpu.Seconds()*2e6/float64(now-done), now
		}
	}
	const blue, red, green = "#1f5fa8", "#c0392b", "#2e8b57"
	panels := []panel{
		{"notifications that wait, thousands", []line{{"", blue, func(is sample) float64 { return float64(is.waiting) / 1000 }}}},
		{"state on disk, MiB", []line{
			{"bound", red, func(is sample) float64 { return mib(is.bound) }}, {"state", blue, func(is sample) float64 { return mib(is.state) }},
			{"rows alone", green, func(is sample) float64 { return mib(int64(is.rows) * 100) }},
		}},
		{"live heap, MiB", []line{{"", blue, func(is sample) float64 { return mib(is.heap) }}}},
		{"goroutines and file descriptors", []line{
			{"descriptors", green, func(is sample) float64 { return float64(is.descriptors) }},
			{"goroutines", blue, func(is sample) float64 { return float64(is.goroutines) }},
		}},
		{"CPU for a change and its delivery, with the EHR and the receiver of the test, µs", []line{{"", blue, func(is sample) float64 { return cost[is.hour] }}}},
	}
	days := float64(len(all)) / 24
	var b bytes.Buffer
	total := float64(len(panels))*(height+gap) + 30
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %.0f %.0f" font-family="sans-serif" font-size="11">`+"\n", left+width+20, total)
	fmt.Fprintf(&b, "<rect width=\"100%%\" height=\"100%%\" fill=\"#fff\"/>\n")
	for n, p := range panels {
		top, most := 24+float64(n)*(height+gap), 0.0
		for _, is := range all {
			for _, l := range p.lines {
				most = max(most, l.of(is))
			}
		}
		unit := math.Pow(10, math.Floor(math.Log10(max(most, 1))))
		most = max(math.Ceil(most/unit)*unit, 1)
		fmt.Fprintf(&b, `<text x="%.0f" y="%.0f" font-weight="bold">%s</text>`+"\n", left, top-6, p.title)
		fmt.Fprintf(&b, `<rect x="%.0f" y="%.0f" width="%.0f" height="%.0f" fill="none" stroke="#bbb"/>`+"\n", left, top, width, height)
		fmt.Fprintf(&b, `<text x="%.0f" y="%.0f" text-anchor="end">%g</text><text x="%.0f" y="%.0f" text-anchor="end">0</text>`+"\n",
			left-4, top+8, most, left-4, top+height)
		for i, l := range p.lines {
			if l.name != "" {
				fmt.Fprintf(&b, `<text x="%.0f" y="%.0f" text-anchor="end" fill="%s">%s</text>`+"\n", left+width-float64(i)*80, top-6, l.color, l.name)
			}
			var points strings.Builder
			for _, is := range all {
				fmt.Fprintf(&points, "%.1f,%.1f ", left+float64(is.hour)/24/days*width, top+height-l.of(is)/most*height)
			}
			fmt.Fprintf(&b, `<polyline fill="none" stroke="%s" points="%s"/>`+"\n", l.color, strings.TrimSpace(points.String()))
		}
		for day := 0.0; day <= days; day += max(math.Round(days/10), 1) {
			fmt.Fprintf(&b, `<text x="%.0f" y="%.0f" text-anchor="middle">%g</text>`+"\n", left+day/days*width, top+height+13, day)
		}
	}
	fmt.Fprintf(&b, `<text x="%.0f" y="%.0f" text-anchor="middle">days</text>`+"\n</svg>\n", left+width/2, total-4)
	return b.Bytes()
}
