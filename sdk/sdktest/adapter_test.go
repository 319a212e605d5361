// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package sdktest_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/sdk"
	"github.com/rounds-engine/rounds/sdk/httpx"
	"github.com/rounds-engine/rounds/sdk/sdktest"
	"github.com/rounds-engine/rounds/sdk/window"
)

func TestMain(m *testing.M) { sdktest.Main(m, serve) }

// serve is an adapter that keeps to the contract, but for the one promise that its configuration, or its command line, names.
func serve() {
	info := sdk.Info{Name: "clinic", Version: "1.0.0", Doc: "For tests."}
	if slices.Contains(os.Args, "describe") {
		info.Doc = fmt.Sprint("Process ", os.Getpid())
	}
	sdk.Serve(info, open)
}

type clinicConfig struct {
	BaseURL string   `hcl:"base_url"`
	Token   string   `hcl:"token,sensitive"`
	Break   string   `hcl:"break,optional" doc:"The promise to break."`
	Queue   bool     `hcl:"queue,optional"`
	Sort    string   `hcl:"sort,optional" values:"asc,desc"`
	Limits  *limits  `hcl:"limits,block"`
	Groups  []groups `hcl:"group,block"`
}

type limits struct {
	PerSecond float64 `hcl:"per_second"`
}

type groups struct {
	Name string `hcl:"name,label"`
	Size int    `hcl:"size"`
}

func (c clinicConfig) Validate() error {
	if c.Break == "offline" {
		answer, err := http.Get(c.BaseURL + "/log")
		if err != nil {
			return sdk.Misconfigured("base_url", "nobody answers")
		}
		return answer.Body.Close()
	}
	if c.Break == "http" && !strings.HasPrefix(c.BaseURL, "https://") || c.Break == "elsewhere" && strings.Contains(c.BaseURL, "127.0.0.1") {
		return sdk.Misconfigured("base_url", "must begin with https:// and lead to the vendor")
	}
	return nil
}

type clinic struct {
	clinicConfig
	env     sdk.Env
	client  *httpx.Client
	polling atomic.Int32
	begun   string // by the break "resume"
}

// What breaks keep.
var (
	leaked [][]byte
	files  []*os.File
)

func open(_ context.Context, c clinicConfig, env sdk.Env) (sdk.Source, error) {
	switch c.Break {
	case "open":
		return nil, sdk.Retryable("GET /: 503 Service Unavailable")
	case "leak-files":
		file, err := os.Open(os.Args[0])
		if err != nil {
			return nil, sdk.Retryable("the program can't be read")
		}
		files = append(files, file)
	case "leak-memory":
		kept := make([]byte, 1<<20)
		for i := range kept {
			kept[i] = byte(i)
		}
		leaked = append(leaked, kept)
	case "secrets-log":
		env.Logger.Info("opened", "authorization", "Bearer "+c.Token)
	}
	client, err := httpx.New(httpx.Config{Attempts: 2})
	return &clinic{clinicConfig: c, env: env, client: client}, err
}

func (c *clinic) Catalog() sdk.Catalog {
	catalog := sdk.Catalog{
		Feeds: []sdk.Feed{
			{Name: "visits", Kind: "visit", Class: sdk.Timestamp, Version: sdk.Coarse, Precision: time.Second, Ignore: []string{"views"}},
			{Name: "log", Kind: "visit", Class: sdk.Sequence, Version: sdk.Exact},
			{Name: "all", Kind: "visit", Class: sdk.Scan, Version: sdk.None},
		},
		Resources: []sdk.Resource{{Name: "patient"}, {Name: "visit"}},
	}
	if c.Queue {
		catalog.Feeds = append(catalog.Feeds, sdk.Feed{Name: "queue", Kind: "order", Class: sdk.Queue, Version: sdk.None, Peeks: true})
	}
	if c.Break == "describe" {
		catalog.Resources[0].Why = strconv.Itoa(rand.Int())
	}
	return catalog
}

// url is where the EHR is; the configuration may leave out the scheme.
func (c *clinic) url() string {
	if strings.Contains(c.BaseURL, "://") {
		return c.BaseURL
	}
	return "http://" + c.BaseURL
}

// ask is how all calls are made.
func (c *clinic) ask(ctx context.Context, method, path, template string, values url.Values) (answer *httpx.Response, err error) {
	ctx, cancel := c.context(ctx)
	defer cancel()
	request := httpx.Request{Method: method, URL: c.url() + path + "?" + values.Encode(), Template: template,
		Header: http.Header{"Authorization": {"Bearer " + c.Token}}, Repeat: true}
	if c.Break == "cancel-request" { // it goes on when nobody waits for it
		done := make(chan struct{})
		go func() {
			defer close(done)
			answer, err = c.client.Do(context.WithoutCancel(ctx), request)
		}()
		select {
		case <-done:
		case <-ctx.Done():
			return nil, sdk.Retryable("%s: canceled", template)
		}
	} else {
		answer, err = c.client.Do(ctx, request)
	}
	var status *httpx.StatusError
	if errors.As(err, &status) {
		switch {
		case c.Break == "rate-limited-type" && status.Status == http.StatusTooManyRequests:
			return nil, sdk.Retryable("%s: 429 Too Many Requests", template)
		case c.Break == "rate-limited" && status.Status == http.StatusTooManyRequests:
			return nil, sdk.RateLimited(0, "%s: 429 Too Many Requests", template)
		case c.Break == "unauthorized" && status.Status == http.StatusUnauthorized:
			return nil, sdk.Forbidden("%s: 401 Unauthorized", template)
		case c.Break == "forbidden" && status.Status == http.StatusForbidden:
			return nil, sdk.Retryable("%s: 403 Forbidden", template)
		case c.Break == "server-error" && status.Status >= 500:
			return nil, sdk.Permanent("%s: 5xx", template)
		case c.Break == "not-found" && status.Status == http.StatusNotFound:
			return nil, sdk.Retryable("%s: 404 Not Found", template)
		case c.Break == "secrets" && status.Status == http.StatusUnauthorized:
			return nil, sdk.Unauthorized("%s: 401 with %s", template, c.Token)
		case c.Break == "content" && status.Status == http.StatusNotFound:
			return nil, sdk.NotFound("GET %s: 404 Not Found", path)
		}
	}
	return answer, err
}

// context is that of the call, unless the break is that it does not end as it should.
func (c *clinic) context(ctx context.Context) (context.Context, context.CancelFunc) {
	switch c.Break {
	case "cancel":
		deadline, ok := ctx.Deadline()
		if !ok {
			deadline = time.Now().Add(time.Minute)
		}
		return context.WithDeadline(context.WithoutCancel(ctx), deadline)
	case "deadline":
		longer, cancel := context.WithCancel(context.WithoutCancel(ctx))
		context.AfterFunc(ctx, func() {
			if errors.Is(ctx.Err(), context.Canceled) {
				cancel()
				return
			}
			time.AfterFunc(5*time.Second, cancel)
		})
		return longer, cancel
	}
	return ctx, func() {}
}

func (c *clinic) Poll(ctx context.Context, q sdk.Query) (page sdk.Page, err error) {
	switch q.Feed {
	case "visits":
		page, err = c.visits(ctx, q)
	case "log":
		page, err = c.log(ctx, q)
	case "all":
		page, err = c.all(ctx, q)
	case "queue":
		page, err = c.queue(ctx, q)
	default:
		if c.Break != "unknown-feed" {
			return page, sdk.Permanent("there is no such feed")
		}
		page.Watermark = []byte(`{}`)
	}
	if c.Break == "pages" && page.Cursor != nil {
		page.Watermark = []byte(`{}`)
	}
	for i := range page.Changes {
		change := &page.Changes[i]
		switch {
		case change.Ref.ID != "V-7013":
		case c.Break == "pages-id":
			change.Ref.ID = ""
		case c.Break == "pages-json":
			change.Data = []byte(`{"id": "V-7013"`)
		case c.Break == "content-note":
			page.Notes = []sdk.Note{{Code: "seen", Text: "seen was " + change.Ref.ID}}
		}
	}
	return page, err
}

// place is the cursor of the visits.
type place struct {
	Since   string
	Offset  int
	Reading window.Reading
}

type visit struct {
	ID      string
	Updated time.Time
}

func (c *clinic) visits(ctx context.Context, q sdk.Query) (page sdk.Page, err error) {
	if c.Break == "repeats" {
		if c.polling.Add(1) > 1 {
			page.Watermark = []byte(`{}`)
		}
		time.Sleep(50 * time.Millisecond)
		c.polling.Add(-1)
		if page.Watermark != nil {
			return page, nil
		}
	}
	foreign := func(err error) error {
		if c.Break == "foreign" {
			return nil
		}
		return err
	}
	mark, err := window.ParseMark(q)
	if err = foreign(err); err != nil {
		return page, err
	}
	overlap := q.Overlap
	if c.Break == "ties-overlap" {
		overlap = 0
	}
	at := place{Since: mark.Since(overlap, time.Second).Format(time.RFC3339)}
	if c.Break == "ties-start" && q.Watermark == nil && !q.Start.At.IsZero() {
		at.Since = q.Start.At.Add(time.Second).Format(time.RFC3339)
	}
	if c.Break == "ties" && !mark.T.IsZero() {
		at.Since = mark.T.Add(time.Second).Format(time.RFC3339) // as a server that takes only what is later
	}
	if q.Cursor != nil {
		at = place{}
		if json.Unmarshal(q.Cursor, &at) != nil || at.Since == "" {
			if err := foreign(sdk.CursorExpired("the cursor can't be read")); err != nil {
				return page, err
			}
		}
	}
	size := cmp.Or(q.Limit, 10)
	begun := time.Now()
	answer, err := c.ask(ctx, http.MethodGet, "/visits", "/visits", url.Values{"since": {at.Since}, "offset": {strconv.Itoa(at.Offset)}, "limit": {strconv.Itoa(size)}})
	if err != nil {
		return page, err
	}
	var items []json.RawMessage
	if json.Unmarshal(answer.Body, &items) != nil && c.Break != "not-data" {
		return page, sdk.Retryable("GET /visits: the answer is not a list")
	}
	if q.Cursor == nil {
		at.Reading = window.Begin(answer.Asked, begun)
		c.begun = at.Since
	}
	for _, item := range items {
		var v visit
		change := sdk.Change{Data: item}
		if err := json.Unmarshal(item, &v); err != nil || v.ID == "" {
			change.Err = sdk.Permanent("GET /visits: an item without a usable id or time")
			if c.Break == "not-data-crash" {
				os.Exit(3)
			}
			if c.Break == "content-error" && err != nil {
				change.Err = sdk.Permanent("GET /visits: %v", err)
			}
		}
		change.Ref, change.Version, change.Time = sdk.Ref{Kind: "visit", ID: v.ID}, v.Updated.Format(time.RFC3339), v.Updated
		at.Reading.Saw(v.Updated)
		page.Changes = append(page.Changes, change)
	}
	page.Now, page.Calls = answer.Date, answer.Calls
	if len(items) == size {
		at.Offset += size
		if c.Break == "ties-page" { // goes on behind the last time that it saw
			at.Offset, at.Since = 0, page.Changes[size-1].Time.Add(time.Second).Format(time.RFC3339)
		}
		page.Cursor, err = json.Marshal(at)
		return page, err
	}
	page.Watermark = mark.After(at.Reading).Bytes()
	if c.Break == "resume" && c.begun == "" {
		page.Watermark = []byte(`{}`) // what it knew of the window was in the process that read its first page
	}
	return page, nil
}

// all is a scan. Its watermark says nothing.
func (c *clinic) all(ctx context.Context, q sdk.Query) (page sdk.Page, err error) {
	if q.Cursor != nil {
		return page, sdk.CursorExpired("there are no pages")
	}
	if q.Watermark != nil && string(q.Watermark) != "true" && c.Break != "foreign" {
		return page, sdk.WatermarkExpired("the watermark was written by another kind of feed")
	}
	page.Watermark, page.Complete = []byte("true"), true
	if c.Break == "watermark-scan" && q.Watermark != nil {
		return page, nil // as if it were a list of changes
	}
	answer, err := c.ask(ctx, http.MethodGet, "/visits", "/visits", url.Values{"since": {time.Time{}.Format(time.RFC3339)}, "limit": {"1000"}})
	if err != nil {
		return page, err
	}
	var items []json.RawMessage
	if c.Break == "not-data-cut" {
		d := json.NewDecoder(bytes.NewReader(answer.Body))
		for _, err := d.Token(); err == nil && d.More(); { // as far as it goes
			var item json.RawMessage
			if err = d.Decode(&item); err == nil && item[0] == '{' {
				items = append(items, item)
			}
		}
	} else if json.Unmarshal(answer.Body, &items) != nil && c.Break != "not-data" {
		return page, sdk.Retryable("GET /visits: the answer is not a list")
	}
	for _, item := range items {
		var v visit
		change := sdk.Change{Data: item}
		if json.Unmarshal(item, &v) != nil {
			change.Err = sdk.Permanent("GET /visits: an item without a usable id or time")
		}
		change.Ref = sdk.Ref{Kind: "visit", ID: v.ID}
		page.Changes = append(page.Changes, change)
	}
	return page, nil
}

func (c *clinic) log(ctx context.Context, q sdk.Query) (page sdk.Page, err error) {
	from := cmp.Or(string(q.Cursor), string(q.Watermark), "0")
	after, err := strconv.Atoi(from)
	if err != nil && c.Break != "foreign" {
		return page, sdk.WatermarkExpired("the number was written by another kind of feed")
	}
	answer, err := c.ask(ctx, http.MethodGet, "/log", "/log", url.Values{"after": {strconv.Itoa(after)}, "limit": {strconv.Itoa(cmp.Or(q.Limit, 100))}})
	if err != nil {
		return page, err
	}
	var body struct {
		Entries []struct {
			N  int
			ID string
		}
		Done bool
	}
	if err := json.Unmarshal(answer.Body, &body); err != nil || body.Entries == nil {
		if c.Break != "not-data" {
			return page, sdk.Retryable("GET /log: the answer has another form than expected")
		}
		body.Done = true
	}
	for _, e := range body.Entries {
		page.Changes = append(page.Changes, sdk.Change{Ref: sdk.Ref{Kind: "visit", ID: e.ID}, Version: strconv.Itoa(e.N), Data: []byte(`{}`)})
		after = e.N
	}
	mark := []byte(strconv.Itoa(after))
	if c.Break == "watermark" && len(body.Entries) == 0 {
		mark = []byte("0")
	}
	if body.Done {
		page.Watermark = mark
	} else {
		page.Cursor = mark
	}
	return page, nil
}

func (c *clinic) queue(ctx context.Context, q sdk.Query) (page sdk.Page, err error) {
	if q.Watermark != nil && string(q.Watermark) != `"queue"` {
		return page, sdk.WatermarkExpired("the watermark was written by another kind of feed")
	}
	if q.Cursor != nil {
		return page, sdk.CursorExpired("there are no pages")
	}
	again := q.Recover && c.Break != "queue"
	peek := q.Peek && c.Break != "queue-peek"
	answer, err := c.ask(ctx, http.MethodGet, "/queue", "/queue", url.Values{"again": {strconv.FormatBool(again)}, "peek": {strconv.FormatBool(peek)}})
	if err != nil {
		return page, err
	}
	var orders []struct{ ID string }
	if json.Unmarshal(answer.Body, &orders) != nil && c.Break != "not-data" {
		return page, sdk.Retryable("GET /queue: the answer is not a list")
	}
	for _, o := range orders {
		page.Changes = append(page.Changes, sdk.Change{Ref: sdk.Ref{Kind: "order", ID: o.ID}, Data: []byte(`{}`)})
	}
	page.Watermark, page.Ack = []byte(`"queue"`), []byte(strconv.Itoa(len(orders)))
	return page, nil
}

func (c *clinic) Ack(ctx context.Context, _ string, _ []byte) error {
	_, err := c.ask(ctx, http.MethodPost, "/queue/ack", "/queue/ack", nil)
	return err
}

func (c *clinic) Fetch(ctx context.Context, refs []sdk.Ref) ([]sdk.Result, error) {
	if c.Break == "order" {
		refs = slices.Clone(refs)
		slices.SortFunc(refs, func(a, b sdk.Ref) int { return strings.Compare(a.ID, b.ID) })
		refs = slices.Compact(refs)
	}
	results := sdk.Each(refs, 4, func(ref sdk.Ref) (json.RawMessage, error) {
		if ref.Kind != "patient" && ref.Kind != "visit" {
			return nil, sdk.Permanent("there is no such resource")
		}
		if c.Break != "paths" && (ref.ID == "" || ref.ID == "." || ref.ID == "..") {
			return nil, sdk.Permanent("GET /%s/{id}: the identifier is not fit for a path", ref.Kind)
		}
		path := "/" + ref.Kind + "/" + url.PathEscape(ref.ID)
		if c.Break == "paths-escape" {
			path = "/" + ref.Kind + "/" + ref.ID
		}
		if c.Break == "content-log" {
			c.env.Logger.Debug("fetching", "path", path)
		}
		answer, err := c.ask(ctx, http.MethodGet, path, "/"+ref.Kind+"/{id}", nil)
		if err != nil {
			return nil, err
		}
		if !json.Valid(answer.Body) {
			return nil, sdk.Retryable("GET /%s/{id}: the answer is not JSON", ref.Kind)
		}
		return answer.Body, nil
	})
	if c.Break == "order-data" && len(results) > 2 && results[0].Err == nil && results[2].Err == nil {
		results[0].Data, results[2].Data = results[2].Data, results[0].Data
	}
	return results, nil
}

func (c *clinic) Close() error {
	if c.Break != "leak" {
		c.client.Close()
	}
	return nil
}
