// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package sdktest_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/rounds-engine/rounds/sdk"
	pb "github.com/rounds-engine/rounds/sdk/proto"
	"github.com/rounds-engine/rounds/sdk/sdktest"
)

const token = "a-token-that-nobody-may-see"

// ehr is a server of visits, of which several have the same time, a log, a queue and patients.
func ehr(t *testing.T) *httptest.Server {
	s := httptest.NewServer(records(t))
	t.Cleanup(s.Close)
	return s
}

func records(t *testing.T) http.Handler {
	begin := time.Date(2023, 3, 1, 9, 0, 0, 0, time.UTC)
	type item struct {
		ID      string    `json:"id"`
		Updated time.Time `json:"updated"`
		Patient string    `json:"patient"`
		Note    string    `json:"note"`
	}
	var visits []item
	for i := range 20 {
		visits = append(visits, item{fmt.Sprint("V-70", 10+i), begin.Add(time.Duration(i/2) * time.Hour), fmt.Sprint("P-81", 10+i%4), fmt.Sprint("Complains of cough, day ", i)})
	}
	answer := func(w http.ResponseWriter, v any) {
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(v); err != nil {
			t.Error(err)
		}
	}
	number := func(r *http.Request, name string) int {
		n, _ := strconv.Atoi(r.URL.Query().Get(name))
		return n
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /visits", func(w http.ResponseWriter, r *http.Request) {
		since, err := time.Parse(time.RFC3339, r.URL.Query().Get("since"))
		if err != nil {
			since = time.Time{}
		}
		found := slices.DeleteFunc(slices.Clone(visits), func(v item) bool { return v.Updated.Before(since) })
		from := min(number(r, "offset"), len(found))
		answer(w, found[from:min(from+number(r, "limit"), len(found))])
	})
	mux.HandleFunc("GET /log", func(w http.ResponseWriter, r *http.Request) {
		entries := []map[string]any{}
		after, limit := number(r, "after"), number(r, "limit")
		for n := after + 1; n <= 12 && len(entries) < limit; n++ {
			entries = append(entries, map[string]any{"n": n, "id": visits[n].ID})
		}
		answer(w, map[string]any{"entries": entries, "done": after+len(entries) >= 12})
	})
	var mu sync.Mutex
	unread, unacknowledged := []map[string]string{{"id": "O-551"}, {"id": "O-552"}, {"id": "O-553"}}, []map[string]string{}
	mux.HandleFunc("GET /queue", func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		given := unread
		if r.URL.Query().Get("peek") == "true" {
			answer(w, given)
			return
		}
		unacknowledged, unread = append(unacknowledged, unread...), []map[string]string{}
		if r.URL.Query().Get("again") == "true" {
			given = unacknowledged
		}
		answer(w, given)
	})
	mux.HandleFunc("POST /queue/ack", func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		unacknowledged = []map[string]string{}
		answer(w, true)
	})
	mux.HandleFunc("GET /patient/{id}", func(w http.ResponseWriter, r *http.Request) {
		if id := r.PathValue("id"); slices.ContainsFunc(visits, func(v item) bool { return v.Patient == id }) {
			answer(w, map[string]string{"id": id, "name": "Nicole Surname-" + id})
			return
		}
		w.WriteHeader(http.StatusNotFound)
	})
	mux.HandleFunc("GET /patient/{$}", func(w http.ResponseWriter, _ *http.Request) { answer(w, []string{}) })
	mux.HandleFunc("GET /visit/{id}", func(w http.ResponseWriter, r *http.Request) {
		for _, v := range visits {
			if v.ID == r.PathValue("id") {
				answer(w, v)
				return
			}
		}
		w.WriteHeader(http.StatusNotFound)
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+token {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

func options(t *testing.T, breaks string, queue bool) sdktest.Options {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return sdktest.Options{
		Launch:  sdktest.Program(path),
		Consume: true,
		Config: map[string]any{"base_url": ehr(t).URL, "token": token, "break": breaks, "queue": queue,
			"limits": map[string]any{"per_second": 5}, "group": []any{map[string]any{"name": "a", "size": 3}, map[string]any{"name": "b", "size": 3}}},
		Refs: func(c sdk.Change) []sdk.Ref {
			var v struct{ Patient string }
			if json.Unmarshal(c.Data, &v) != nil || v.Patient == "" {
				return nil
			}
			return []sdk.Ref{{Kind: "patient", ID: v.Patient}, {Kind: "visit", ID: c.Ref.ID}}
		},
	}
}

func TestAnAdapterThatKeepsToTheContractPassesEveryRule(t *testing.T) {
	o := options(t, "", true)
	report := sdktest.Check(t.Context(), o)
	for _, r := range report.Rules {
		if r.State != sdktest.Passed || r.Reason != "" && r.Rule != "resume" { // a scan in one page can't be resumed
			t.Errorf("%s: %s %s\n%s", r.Rule, r.State, r.Reason, strings.Join(r.Seen, "\n"))
		}
	}
	if len(report.Rules) != len(sdktest.Rules()) {
		t.Errorf("%d outcomes of %d rules", len(report.Rules), len(sdktest.Rules()))
	}
	t.Log(report.Facts)
}

func TestWhatCanNotBeCheckedIsSaid(t *testing.T) {
	o := options(t, "", false)
	// Nothing to stand before, nothing to fetch, and of the log no times.
	o.Config.(map[string]any)["base_url"] = strings.TrimPrefix(o.Config.(map[string]any)["base_url"].(string), "http://")
	o.Refs, o.Feeds = func(sdk.Change) []sdk.Ref { return nil }, []string{"log"}
	report := sdktest.Check(t.Context(), o)
	const noWay = "the configuration names no http address, so the kit can't stand between the adapter and its EHR"
	reasons := map[string]string{"offline": noWay, "cancel": noWay, "deadline": noWay, "rate-limited": noWay, "unauthorized": noWay, "forbidden": noWay,
		"server-error": noWay, "not-data": noWay,
		"order": "no identifier of a record is known; say by Options.Refs, or by the fetch blocks of a pipeline, what is fetched for a change"}
	for _, r := range report.Rules {
		want := sdktest.Passed
		reason, isUnchecked := reasons[r.Rule]
		switch {
		case isUnchecked:
			want = sdktest.Unchecked
		case r.Rule == "queue":
			want, reason = sdktest.Inapplicable, "the source has no feed of class queue"
		case r.Rule == "secrets" || r.Rule == "content":
			reason = "no values could be planted in answers: " + noWay
		}
		if r.State != want || r.Reason != reason {
			t.Errorf("%s: %s, %q %v\nwant %s, %q", r.Rule, r.State, r.Reason, r.Seen, want, reason)
		}
	}
}

func TestAnAdapterThatRefusesHTTPIsGivenHTTPS(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("elsewhere Go asks the system whom to trust, not SSL_CERT_FILE")
	}
	o := options(t, "http", false)
	server := httptest.NewTLSServer(records(t))
	defer server.Close()
	sdktest.Trust(server.Certificate())
	o.Config.(map[string]any)["base_url"] = server.URL
	sdktest.Skip(&o, "leak")
	for _, r := range sdktest.Check(t.Context(), o).Rules {
		if r.State != sdktest.Passed && r.Rule != "queue" && r.Rule != "leak" {
			t.Errorf("%s: %s %s\n%s", r.Rule, r.State, r.Reason, strings.Join(r.Seen, "\n"))
		}
	}
}

func TestAnAdapterThatTakesNoOtherAddressIsTestedAsFarAsCanBe(t *testing.T) {
	o := options(t, "elsewhere", false)
	o.Config.(map[string]any)["base_url"] = strings.Replace(o.Config.(map[string]any)["base_url"].(string), "127.0.0.1", "localhost", 1)
	sdktest.Skip(&o, "leak")
	checked := map[sdktest.State]int{}
	for _, r := range sdktest.Check(t.Context(), o).Rules {
		checked[r.State]++
		if r.State == sdktest.Failed || r.Rule == "rate-limited" && r.Reason != "the adapter refuses an address on this machine" {
			t.Errorf("%s: %s %s\n%s", r.Rule, r.State, r.Reason, strings.Join(r.Seen, "\n"))
		}
	}
	if checked[sdktest.Passed] < 14 {
		t.Errorf("%v", checked)
	}
}

func TestAProgramThatIsNoAdapterIsToldApart(t *testing.T) {
	o := options(t, "", false)
	o.Launch = sdktest.Program("/bin/ls")
	if runtime.GOOS == "windows" {
		t.Skip("no /bin/ls")
	}
	report := sdktest.Check(t.Context(), o)
	if len(report.Rules) != 1 || !report.Failed() || !strings.Contains(report.Rules[0].Seen[0], "/bin/ls is not an adapter") {
		t.Errorf("%+v", report)
	}
}

// onTheWire gives a launch of the same program, whose calls end otherwise than sdk.Serve lets them.
func onTheWire(launch sdktest.Launch, broken func() func(method string, req any, err error) error) sdktest.Launch {
	return func(ctx context.Context, start sdktest.Start) (*sdktest.Process, error) {
		change, tap := broken(), start.Tap
		start.Tap = func(ctx context.Context, method string, req, reply any, conn *grpc.ClientConn, call grpc.UnaryInvoker, o ...grpc.CallOption) error {
			return tap(ctx, method, req, reply, conn, func(ctx context.Context, method string, req, reply any, conn *grpc.ClientConn, o ...grpc.CallOption) error {
				return change(method, req, call(ctx, method, req, reply, conn, o...))
			}, o...)
		}
		return launch(ctx, start)
	}
}

// blamesNobody is an adapter whose Validate says that something is wrong, and not what.
func blamesNobody() func(string, any, error) error {
	return func(method string, _ any, err error) error {
		if err == nil || !strings.HasSuffix(method, "/Validate") {
			return err
		}
		s, failed := status.New(codes.Unknown, "misconfigured").WithDetails(&pb.Error{Code: "misconfigured", Text: "the configuration is wrong"})
		if failed != nil {
			return failed
		}
		return s.Err()
	}
}

// closesOnce is an adapter that takes a second Close for a mistake.
func closesOnce() func(string, any, error) error {
	var mu sync.Mutex
	closed := map[uint64]bool{}
	return func(_ string, req any, err error) error {
		r, ok := req.(*pb.CloseRequest)
		if !ok {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		if closed[r.GetHandle()] {
			return status.Error(codes.InvalidArgument, "no such handle")
		}
		closed[r.GetHandle()] = true
		return err
	}
}

// skipped are the rules that are left out. That no other rule fails is shown by one breach of each, which has its name. Leak and deadline take
// the most of a run, and have nothing to do with most of the others.
func skipped(rule, breaks string) (names []string) {
	for _, r := range sdktest.Rules() {
		skip := false
		switch {
		case r.Name == rule || r.Name == "open":
		case breaks != rule && breaks != "": // what others rest on or hear the most of stays
			skip = r.Name != "not-found" && r.Name != "not-data" && r.Name != "unauthorized"
		case r.Name == "leak":
			skip = rule != "handles"
		case r.Name == "deadline":
			skip = rule != "cancel" && rule != "server-error"
		}
		if skip {
			names = append(names, r.Name)
		}
	}
	return names
}

// Each rule is kept by an adapter that breaks this one promise.
func TestABrokenAdapterFailsByItsRule(t *testing.T) {
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		breaks string // configured
		rule   string
		says   string
		queue  bool
		launch sdktest.Launch
	}{
		{breaks: "describe", rule: "describe", says: "the catalog differs from one opening to the next"},
		{rule: "describe", says: "differs from one call of Describe to the next", launch: sdktest.Program(path, "describe")},
		{rule: "config", says: `no base_url: the error blames "" and not "base_url"`, launch: onTheWire(sdktest.Program(path), blamesNobody)},
		{breaks: "offline", rule: "offline", says: "Validate made 1 calls"},
		{breaks: "open", rule: "open", says: "Open: GET /: 503 Service Unavailable"},
		{rule: "handles", says: "Close of a handle that is closed fails", launch: onTheWire(sdktest.Program(path), closesOnce)},
		{breaks: "queue", rule: "queue", says: "3 of 3 changes that were never acknowledged are missing", queue: true},
		{breaks: "queue-peek", rule: "repeats", says: "feed queue: page 1, asked for again: 0 changes instead of 3", queue: true},
		{breaks: "pages", rule: "pages", says: "a page that has a cursor carries a watermark as well"},
		{breaks: "pages-id", rule: "pages", says: "a change without error has no id"},
		{breaks: "pages-json", rule: "pages", says: "a change has data that are not valid JSON"},
		{breaks: "repeats", rule: "repeats", says: "page 1, asked for four times at once"},
		{breaks: "resume", rule: "resume", says: "watermarks that give different next windows"},
		{breaks: "watermark", rule: "watermark", says: "feed log: an empty window gives another watermark than it was asked with"},
		{breaks: "watermark-scan", rule: "watermark", says: "feed all: a scan lists everything each time: 0 changes instead of 20"},
		{breaks: "ties-page", rule: "ties", says: "changes are missing and 0 are new"},
		{breaks: "ties-start", rule: "ties", says: "in a window that starts at the instant of a change, 2 of"},
		{breaks: "ties-overlap", rule: "ties", says: "with an overlap that reaches back to a change"},
		{breaks: "ties", rule: "ties", says: "in the window after the first, without overlap, 2 of 2 changes that belong to the window are missing"},
		{breaks: "foreign", rule: "foreign", says: "it is read from a watermark that the adapter did not write"},
		{breaks: "unknown-feed", rule: "unknown-feed", says: "a feed that there is not gives a page"},
		{breaks: "not-found", rule: "not-found", says: "an identifier that the EHR does not know is retryable"},
		{breaks: "paths", rule: "paths", says: `resource patient: the identifier "" gives a result without an error`},
		{breaks: "paths-escape", rule: "paths", says: "a known identifier behind ./ gives a result without an error"},
		{breaks: "order", rule: "order", says: "results for"},
		{breaks: "order-data", rule: "order", says: "holds something else than when the same ref is fetched alone"},
		{breaks: "cancel", rule: "cancel", says: "is still under way in the adapter after a second"},
		{breaks: "cancel-request", rule: "cancel", says: "ends, and its request to the EHR goes on"},
		{breaks: "deadline", rule: "deadline", says: "has no answer from the adapter"},
		{breaks: "rate-limited", rule: "rate-limited", says: "with a pause of 0s and not of 10m0s"},
		{breaks: "rate-limited-type", rule: "rate-limited", says: "is retryable and not rate_limited"},
		{breaks: "unauthorized", rule: "unauthorized", says: "is forbidden and not unauthorized"},
		{breaks: "forbidden", rule: "forbidden", says: "is retryable and not forbidden"},
		{breaks: "server-error", rule: "server-error", says: "is permanent and not retryable"},
		{breaks: "not-data", rule: "not-data", says: "Poll of feed visits, answered by a page of HTML with status 200, is taken for an empty page"},
		{breaks: "not-data-cut", rule: "not-data", says: "Poll of feed all, answered by cut JSON, is taken for an empty page"},
		{breaks: "not-data-crash", rule: "not-data", says: "whose values can't be read, has no answer: Poll: the adapter's process ended"},
		{breaks: "leak", rule: "leak", says: "connections to the EHR open"},
		{breaks: "leak-files", rule: "leak", says: "files or sockets open"},
		{breaks: "leak-memory", rule: "leak", says: "MiB of memory in use"},
		{breaks: "secrets", rule: "secrets", says: "{id}: 401 with […]"},
		{breaks: "secrets-log", rule: "secrets", says: "a line on stderr or stdout holds"},
		{breaks: "content", rule: "content", says: "the error of a result holds the identifier of a record of kind patient: GET /patient/[…]: 404 Not Found"},
		{breaks: "content-note", rule: "content", says: "a note holds the identifier of a record"},
		{breaks: "content-error", rule: "content", says: "a value that the kit planted in a record"},
		{breaks: "content-log", rule: "content", says: "a line on stderr or stdout holds the identifier of a record"},
	}
	tested := map[string]bool{}
	for _, tt := range tests {
		tested[tt.rule] = true
	}
	for _, rule := range sdktest.Rules() {
		if !tested[rule.Name] {
			t.Errorf("no adapter breaks rule %s", rule.Name)
		}
	}
	turns := make(chan struct{}, 6) // side by side: most of the time of a run is waiting
	t.Run("each", func(t *testing.T) {
		for _, tt := range tests {
			t.Run(tt.rule+" "+tt.breaks, func(t *testing.T) {
				t.Parallel()
				turns <- struct{}{}
				defer func() { <-turns }()
				o := options(t, tt.breaks, tt.queue)
				if tt.launch != nil {
					o.Launch = tt.launch
				}
				sdktest.Skip(&o, skipped(tt.rule, tt.breaks)...)
				report := sdktest.Check(t.Context(), o)
				for _, r := range report.Rules {
					seen := strings.Join(r.Seen, "\n")
					switch {
					case r.Rule == tt.rule && (r.State != sdktest.Failed || !strings.Contains(seen, tt.says)):
						t.Errorf("%s: %s\ngot  %s\nwant %s", r.Rule, r.State, seen, tt.says)
					case r.Rule == tt.rule && r.Advice == "":
						t.Errorf("%s: no advice", r.Rule)
					case r.Rule != tt.rule && r.State == sdktest.Failed:
						t.Errorf("%s fails as well:\n%s", r.Rule, seen)
					}
					if strings.Contains(seen, token) || strings.Contains(seen, "P-81") || strings.Contains(seen, "V-70") {
						t.Errorf("%s: the report says what it must not: %s", r.Rule, seen)
					}
				}
			})
		}
	})
}
