// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/rounds-engine/rounds/cmd/internal/sampleehr"
)

// bare is the bare Go loop that Rounds is compared with: it asks for the changes, gets each patient once, maps natively and
// sends, 16 calls at a time. It repeats nothing and keeps nothing.
func bare(ctx context.Context) error {
	ehr, notify := os.Getenv("EHR_URL"), os.Getenv("NOTIFY_URL")
	zone, err := time.LoadLocation(zoneName)
	if err != nil {
		return err
	}
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: parallel, MaxConnsPerHost: parallel}}

	next := ehr + "/appointments?changedsince=2020-01-01T00:00:00"
	if page := os.Getenv("PAGE"); page != "" && page != "0" {
		next += "&limit=" + page
	}
	var appointments []sampleehr.Appointment
	for next != "" {
		var page []sampleehr.Appointment
		header, err := get(ctx, client, next, &page)
		if err != nil {
			return err
		}
		appointments = append(appointments, page...)
		next, _, _ = strings.Cut(strings.TrimPrefix(header.Get("Link"), "<"), ">")
	}

	patients := map[string]*sampleehr.Patient{}
	for i := range appointments {
		patients[appointments[i].PatientID] = new(sampleehr.Patient)
	}
	g, ctx2 := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for id, into := range patients {
		g.Go(func() error {
			_, err := get(ctx2, client, ehr+"/patient/"+url.PathEscape(id), into)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}

	g, ctx2 = errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for i := range appointments {
		g.Go(func() error {
			a := &appointments[i]
			changed, err := time.ParseInLocation(sampleehr.Layout, a.LastUpdated, zone)
			if err != nil {
				return err
			}
			return post(ctx2, client, notify, mapNatively(a, patients[a.PatientID], changed))
		})
	}
	return g.Wait()
}

func get(ctx context.Context, c *http.Client, target string, into any) (http.Header, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return nil, err
	}
	res, err := c.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("status %d", res.StatusCode)
	}
	data, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, err
	}
	return res.Header, json.Unmarshal(data, into)
}

func post(ctx context.Context, c *http.Client, target string, n scheduling) error {
	body, err := encode(n)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := c.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		return err
	}
	if res.StatusCode/100 != 2 {
		return errors.New("status " + strconv.Itoa(res.StatusCode))
	}
	return nil
}

// encode writes JSON as JavaScript's JSON.stringify does.
func encode(n scheduling) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(n)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}
