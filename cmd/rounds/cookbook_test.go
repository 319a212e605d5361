// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/cmd/internal/receiver"
)

// dish is how a recipe of the cookbook is tried, where it differs from the others.
type dish struct {
	unit  time.Duration // of the times of its dialect; a second if not given
	args  []string      // of the run
	tls   bool
	scan  bool               // it lists everything, and deletes are told
	leaf  bool               // its changes are children, of which the parent's time is that of the newest
	drift bool               // pages shift while they are read
	tells func(v visit) bool // whether a change is told; nil: each is
	name  func(v visit) string
}

var dishes = map[string]dish{
	"changed-since":  {},
	"next-address":   {tells: func(v visit) bool { return v.number%7 != 6 }},
	"page-numbers":   {drift: true},
	"link-header":    {unit: time.Millisecond, tells: func(v visit) bool { return v.number%5 != 4 }},
	"search-by-post": {unit: time.Millisecond},
	"graphql":        {},
	"scan":           {scan: true},
	"parents":        {leaf: true},
	"login": {
		args:  []string{"-var", "clinic=0042"},
		tells: func(v visit) bool { return v.number%6 != 5 },
		name: func(v visit) string {
			if v.number%11 == 10 {
				return "<nil>"
			}
			return nameOf(v.patient())
		},
	},
	"thin-list": {unit: time.Millisecond, tls: true},
}

func runCookbook(t *testing.T, dir string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != len(dishes) {
		t.Errorf("%d recipes, and %d that are tried", len(entries), len(dishes))
	}
	for _, e := range entries {
		t.Run(e.Name(), func(t *testing.T) {
			t.Parallel()
			d, known := dishes[e.Name()]
			if !known {
				t.Fatal("nobody tries this recipe")
			}
			cook(t, filepath.Join(dir, e.Name()), d)
		})
	}
}

// cook runs a recipe against an API of its dialect: what changes while it runs arrives once, also what changes a second time
// within the precision of the API's clock, and what becomes visible late; what there was before does not.
func cook(t *testing.T, recipe string, d dish) {
	if d.unit == 0 {
		d.unit = time.Second
	}
	o := newOffice(t, d.unit)
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(recipe)); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"ehr_token", "ehr_client", "ehr_key", "ehr_password"} {
		put(t, dir, name, "c4n4ry-secret\n")
	}
	put(t, dir, "notify", signingKey)
	var ehr string
	if api := dialects[filepath.Base(recipe)](o); d.tls {
		ehr = serveTLS(t, dir, api)
	} else {
		ehr = serve(t, api)
	}
	to, err := receiver.New(receiver.Options{Secret: signingKey})
	if err != nil {
		t.Fatal(err)
	}
	env := []string{"EHR_URL=" + ehr, "NOTIFY_URL=https://receiver.example", "CREDENTIALS_DIRECTORY=" + dir}
	if code, _, stderr := rounds(t, env, append([]string{"validate", dir}, d.args...)...); code != 0 {
		t.Fatal(stderr)
	}
	if code, stdout, stderr := rounds(t, env, "fmt", "--check", dir); code != 0 {
		t.Errorf("not as rounds fmt writes it: %s%s", stdout, stderr)
	}
	hcl, err := os.ReadFile(filepath.Join(dir, "main.hcl"))
	if err != nil {
		t.Fatal(err)
	}
	every := regexp.MustCompile(`every( +)= "\w+"`)
	if !every.Match(hcl) {
		t.Fatal("the recipe does not say how often")
	}
	put(t, dir, "main.hcl", replaced(t, every.ReplaceAllString(string(hcl), `every$1= "1s"`),
		`env("NOTIFY_URL")`, "env(\"NOTIFY_URL\")\n  allow_private = true"))

	env[1] = "NOTIFY_URL=" + serve(t, to) // which is on this machine
	p := startRun(t, dir, env, d.args...)
	var want []string // notifications
	expect := func(v visit, op string) {
		if d.tells != nil && !d.tells(v) {
			return
		}
		name := nameOf(v.patient())
		if d.name != nil {
			name = d.name(v)
		}
		want = append(want, fmt.Sprintf("%s %s %s %s", v.id(), op, v.reason(), name))
	}
	seen := func() {
		t.Helper()
		var was int
		o.do(func() { was = o.lists })
		p.eventually(30*time.Second, "listed again", func() (again bool) {
			o.do(func() { again = o.lists > was+1 })
			return again
		})
	}
	arrived := func() {
		t.Helper()
		p.eventually(30*time.Second, "all arrived", func() (all bool) {
			o.do(func() { all = to.Accepted() >= len(want) })
			return all
		})
	}
	first, again := "created", "updated"
	if d.scan {
		first = again // the first list was remembered
	}
	seen()

	// All at once, some of them within one unit of the clock.
	o.do(func() {
		o.ahead = time.Minute // so that what is late below is not from before the start
		for n := range o.visits {
			o.touch(n, o.now().Add(-d.unit*time.Duration((officeVisits-n)/3)))
			expect(o.visits[n], first)
		}
		if d.drift {
			o.onPage = func(from int) {
				if from == 0 {
					return
				}
				o.onPage = nil // what was on the first page goes to the end, and the others move up by one
				o.touch(0, o.now())
				expect(o.visits[0], again)
			}
		}
	})
	arrived()

	// Again, without a new time; and one that was made before the last, and becomes visible after it.
	o.do(func() {
		at := o.visits[5].updated
		if d.leaf {
			at = o.now()
		}
		o.touch(5, at)
		expect(o.visits[5], again)
		at = o.now().Add(-30 * time.Second)
		if d.leaf {
			at = o.now()
		}
		o.visits = append(o.visits, visit{number: len(o.visits), updated: at.Truncate(d.unit)})
		expect(o.visits[officeVisits], "created")
	})
	arrived()
	if d.scan {
		o.do(func() {
			o.visits[3].gone = true
			want = append(want, o.visits[3].id()+" deleted <nil> <nil>")
		})
		arrived()
	}
	seen()
	if code := p.stop(); code != 0 {
		t.Errorf("exit code %d after SIGTERM", code)
	}

	var told []string
	for _, r := range to.Received(0) {
		var n struct{ ID, Op, Reason, Patient any }
		if err := json.Unmarshal(r.Body, &n); err != nil || r.Signature != "valid" {
			t.Errorf("a notification with %s signature, %v", r.Signature, err)
		}
		told = append(told, fmt.Sprintf("%v %v %v %v", n.ID, n.Op, n.Reason, n.Patient))
	}
	slices.Sort(told)
	slices.Sort(want)
	if !slices.Equal(told, want) {
		t.Errorf("told\n%s\nwant\n%s", strings.Join(told, "\n"), strings.Join(want, "\n"))
	}
	if strings.Contains(p.log.String(), "c4n4ry") {
		t.Error("a secret or an identifier is in the log")
	}
	if strings.Contains(p.log.String(), "dead letter") {
		t.Error("there are dead letters")
	}
}

func put(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// serveTLS serves to whoever has the certificate that it writes into dir, beside the key and that of the server.
func serveTLS(t *testing.T, dir string, h http.Handler) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "rounds"}, NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(cert)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(h)
	clients := x509.NewCertPool()
	clients.AddCert(parsed)
	s.TLS = &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: clients, MinVersion: tls.VersionTLS13}
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	text := func(kind string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	put(t, dir, "client.pem", text("CERTIFICATE", cert))
	put(t, dir, "client_key", text("PRIVATE KEY", private))
	put(t, dir, "ca.pem", text("CERTIFICATE", s.Certificate().Raw))
	return s.URL
}
