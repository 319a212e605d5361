// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/rounds-engine/rounds/cmd/internal/listen"
	"github.com/rounds-engine/rounds/cmd/internal/receiver"
	"github.com/rounds-engine/rounds/cmd/internal/sampleehr"
)

// load is the EHR's data; the same for the same numbers, but for their times.
func load(appointments, patients int) sampleehr.Options {
	return sampleehr.Options{Seed: seed, Load: sampleehr.Load{Appointments: appointments, Patients: patients}}
}

// serveEHR is the EHR's process. To the sample EHR's own control it adds when the first request came since it was told to begin, and
// changes at an even pace.
func serveEHR(ctx context.Context, args []string) error {
	f := flag.NewFlagSet("ehr", flag.ContinueOnError)
	appointments, patients := f.Int("appointments", 0, ""), f.Int("patients", 0, "")
	if err := f.Parse(args); err != nil {
		return err
	}
	ehr, err := sampleehr.New(load(*appointments, *patients))
	if err != nil {
		return err
	}
	var first atomic.Pointer[time.Time]
	control := http.NewServeMux()
	control.Handle("/", ehr.Control())
	control.HandleFunc("POST /begin", func(http.ResponseWriter, *http.Request) { first.Store(nil) })
	control.HandleFunc("GET /begin", func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(first.Load()) })
	control.HandleFunc("POST /trickle", func(w http.ResponseWriter, r *http.Request) {
		n, err := strconv.Atoi(r.URL.Query().Get("n"))
		if err != nil || n > *appointments {
			http.Error(w, "n has to be a number of appointments", http.StatusBadRequest)
			return
		}
		go trickle(ctx, ehr, n)
	})
	control.HandleFunc("GET /visible", func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(visible(ehr)) })
	return serve(ctx, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if first.Load() == nil {
			now := time.Now()
			first.CompareAndSwap(nil, &now)
		}
		ehr.ServeHTTP(w, r)
	}), control)
}

// trickle changes n appointments, each once, changesPerSecond of them in each second.
func trickle(ctx context.Context, ehr *sampleehr.EHR, n int) {
	begin := time.Now()
	for i, id := range ehr.IDs()[:n] {
		if sleep(ctx, time.Until(begin.Add(time.Duration(i)*time.Second/changesPerSecond))) != nil {
			return
		}
		if err := ehr.Update(id, time.Time{}, func(a *sampleehr.Appointment) { a.Comment = fmt.Sprintf("Change %d", i) }); err != nil {
			fmt.Fprintln(os.Stderr, "a change failed:", err) // and the bench will miss it
			return
		}
	}
}

// visible tells when each appointment that was changed after its making was to be seen so, by visit number.
func visible(ehr *sampleehr.EHR) map[string]time.Time {
	since := map[string]time.Time{}
	for _, versions := range ehr.History("") {
		if len(versions) < 2 {
			continue
		}
		var a sampleehr.Appointment
		if json.Unmarshal(versions[1].JSON, &a) == nil {
			since[a.VisitNumber] = versions[1].Written
		}
	}
	return since
}

func serveReceiver(ctx context.Context) error {
	r, err := receiver.New(receiver.Options{})
	if err != nil {
		return err
	}
	return serve(ctx, r, r.Control())
}

// serve says where it listens, and ends when ctx is done or when its standard input is closed: it does not outlive the bench.
func serve(ctx context.Context, h, control http.Handler) error {
	mux := http.NewServeMux()
	mux.Handle("/", h)
	mux.Handle("/_control/", http.StripPrefix("/_control", control))
	s, err := listen.Serve("127.0.0.1:0", mux)
	if err != nil {
		return err
	}
	fmt.Println(s.URL)
	ctx, stop := context.WithCancel(ctx)
	go func() {
		_, _ = bufio.NewReader(os.Stdin).ReadByte()
		stop()
	}()
	<-ctx.Done()
	return s.Close()
}
