// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"bufio"
	"cmp"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
)

// family is one metric with all its series, written in Prometheus' text format. The library's own keep the labels of each series as
// objects and make objects of all series for each scrape: with 5,000 pipelines, of which each has 80, that took more than the rest of
// the engine.
type family struct {
	name, help, kind string
	labels           []string  // in the order in which their values are given
	order            []int     // of the labels by name, in which they are written
	bounds           []float64 // of a histogram's buckets

	mu     sync.RWMutex
	series map[string]*series // by their labels, as they are written
	sorted []*series          // as of the last scrape
}

// series is one number, or one histogram, of a family.
type series struct {
	labels  string
	value   atomic.Uint64 // bits of a float64; of a histogram: the sum
	buckets *buckets      // of a histogram
}

type buckets struct {
	bounds []float64
	counts []atomic.Uint64 // up to each bound, and beyond the last
}

func newFamily(name, help, kind string, bounds []float64, labels ...string) *family {
	f := &family{name: name, help: help, kind: kind, labels: labels, bounds: bounds, series: map[string]*series{}}
	for i := range labels {
		f.order = append(f.order, i)
	}
	slices.SortFunc(f.order, func(a, b int) int { return cmp.Compare(labels[a], labels[b]) })
	return f
}

// of gives the series with these labels.
func (f *family) of(values ...string) *series {
	var room [256]byte
	text := room[:0]
	for _, i := range f.order {
		if len(text) > 0 {
			text = append(text, ',')
		}
		text = append(append(text, f.labels[i]...), '=', '"')
		text = append(appendEscaped(text, values[i]), '"')
	}
	f.mu.RLock()
	s := f.series[string(text)]
	f.mu.RUnlock()
	if s != nil {
		return s
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if s := f.series[string(text)]; s != nil {
		return s
	}
	s = &series{labels: string(text)}
	if f.bounds != nil {
		s.buckets = &buckets{f.bounds, make([]atomic.Uint64, len(f.bounds)+1)}
	}
	f.series[s.labels] = s
	return s
}

func appendEscaped(text []byte, value string) []byte {
	if !strings.ContainsAny(value, "\\\n\"") {
		return append(text, value...)
	}
	return append(text, strings.NewReplacer(`\`, `\\`, "\n", `\n`, `"`, `\"`).Replace(value)...)
}

func (s *series) set(v float64) { s.value.Store(math.Float64bits(v)) }

func (s *series) add(v float64) {
	for {
		old := s.value.Load()
		if s.value.CompareAndSwap(old, math.Float64bits(math.Float64frombits(old)+v)) {
			return
		}
	}
}

func (s *series) inc() { s.add(1) }

// observe counts a value of a histogram.
func (s *series) observe(v float64) {
	i, _ := slices.BinarySearch(s.buckets.bounds, v) // a bound belongs to the bucket below it
	s.buckets.counts[i].Add(1)
	s.add(v)
}

// all gives the series in the order of their labels.
func (f *family) all() []*series {
	f.mu.RLock()
	sorted := f.sorted
	missing := len(sorted) != len(f.series)
	f.mu.RUnlock()
	if !missing {
		return sorted
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sorted = make([]*series, 0, len(f.series))
	for _, s := range f.series {
		f.sorted = append(f.sorted, s)
	}
	slices.SortFunc(f.sorted, func(a, b *series) int { return cmp.Compare(a.labels, b.labels) })
	return f.sorted
}

// write writes the family. A failure stays with w.
func (f *family) write(w *bufio.Writer) {
	all := f.all()
	if len(all) == 0 {
		return
	}
	for _, s := range []string{"# HELP ", f.name, " ", f.help, "\n# TYPE ", f.name, " ", f.kind, "\n"} {
		_, _ = w.WriteString(s)
	}
	for _, s := range all {
		if s.buckets == nil {
			f.line(w, "", s.labels, "", math.Float64frombits(s.value.Load()))
			continue
		}
		n := uint64(0)
		for i, bound := range s.buckets.bounds {
			n += s.buckets.counts[i].Load()
			f.line(w, "_bucket", s.labels, strconv.FormatFloat(bound, 'g', -1, 64), float64(n))
		}
		n += s.buckets.counts[len(s.buckets.bounds)].Load()
		f.line(w, "_bucket", s.labels, "+Inf", float64(n))
		f.line(w, "_sum", s.labels, "", math.Float64frombits(s.value.Load()))
		f.line(w, "_count", s.labels, "", float64(n))
	}
}

func (f *family) line(w *bufio.Writer, suffix, labels, le string, v float64) {
	_, _ = w.WriteString(f.name)
	_, _ = w.WriteString(suffix)
	if labels != "" || le != "" {
		_ = w.WriteByte('{')
		_, _ = w.WriteString(labels)
		if le != "" {
			if labels != "" {
				_ = w.WriteByte(',')
			}
			_, _ = w.WriteString(`le="`)
			_, _ = w.WriteString(le)
			_ = w.WriteByte('"')
		}
		_ = w.WriteByte('}')
	}
	_ = w.WriteByte(' ')
	_, _ = w.Write(strconv.AppendFloat(w.AvailableBuffer(), v, 'g', -1, 64))
	_ = w.WriteByte('\n')
}
