// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/cmd/internal/receiver"
	"github.com/rounds-engine/rounds/cmd/internal/sampleehr"
	"github.com/rounds-engine/rounds/engine/operate"
)

const webToken = "correct-horse-battery-staple"

// webAt is where a run with a web block listens, by its log.
func (p *process) webAt(n int) string {
	p.t.Helper()
	at := regexp.MustCompile(`msg=listening address=(\S+)`)
	p.eventually(20*time.Second, "listening", func() bool { return len(at.FindAllString(p.log.String(), -1)) >= n })
	return at.FindAllStringSubmatch(p.log.String(), -1)[n-1][1]
}

// ask gets a page, with the token if there is one.
func ask(t *testing.T, c *http.Client, url, token string) (status int, page string) {
	t.Helper()
	r, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := c.Do(r)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func TestTheWebPageIsOpenedByTokenOrLinkAndLooksAreWrittenDown(t *testing.T) {
	t.Parallel()
	c := newClinic(t, sampleehr.Options{Seed: 7}, receiver.Options{})
	dir := write(t, map[string]string{
		"main.hcl": pipelineHCL + "\nweb {\n  listen = \"127.0.0.1:0\"\n  token  = \"" + webToken + "\"\n}\n", "mapping.js": tellAll,
	})
	p := startRun(t, dir, c.env())
	at := p.webAt(1)
	p.eventually(20*time.Second, "ready", func() bool {
		status, _ := ask(t, http.DefaultClient, at+"/readyz", "")
		return status == http.StatusOK
	})
	for path, want := range map[string]string{"/healthz": "state: ok", "/metrics": "rounds_build_info", "/": "Token of this engine"} {
		if status, page := ask(t, http.DefaultClient, at+path, ""); status != http.StatusOK || !strings.Contains(page, want) {
			t.Errorf("%s answers nobody in particular by %d: %s", path, status, page)
		}
	}
	p.eventually(20*time.Second, "polled", func() bool { return c.polls() > 0 })
	if err := c.Step(); err != nil {
		t.Fatal(err)
	}
	p.eventually(20*time.Second, "a notification arrived", func() bool { return len(c.Received(0)) > 0 })

	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	browser := &http.Client{Jar: jar}
	code, link, stderr := rounds(t, nil, "web", "--state", filepath.Join(dir, "state"))
	opens, err := url.Parse(strings.TrimSpace(link))
	if code != 0 || err != nil || !strings.HasPrefix(link, at+"/open?code=") {
		t.Fatalf("rounds web (%d) prints %q: %s", code, link, stderr)
	}
	for i, want := range []int{http.StatusOK, http.StatusNotFound} {
		resp, err := browser.PostForm(at+"/open", url.Values{"code": {opens.Query().Get("code")}})
		if err != nil {
			t.Fatal(err)
		}
		if resp.Body.Close(); resp.StatusCode != want {
			t.Errorf("use %d of the link is answered by %d", i, resp.StatusCode)
		}
	}
	id := ""
	p.eventually(20*time.Second, "the notification is listed", func() bool {
		_, page := ask(t, browser, at+"/notifications", "")
		if m := regexp.MustCompile(`href="/notifications/([0-9a-f]+)"`).FindStringSubmatch(page); m != nil {
			id = m[1]
		}
		return id != ""
	})
	patient := c.Received(0)[0].Patient
	for who, token := range map[string]string{"link for admin socket": "", "token without a session": webToken} {
		with := browser
		if token != "" {
			with = http.DefaultClient
		}
		if status, page := ask(t, with, at+"/notifications/"+id, token); status != http.StatusOK || !strings.Contains(page, patient) {
			t.Errorf("%s gets %d: %s", who, status, page)
		}
		audit, err := os.ReadFile(filepath.Join(dir, "state", "audit.log"))
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(string(audit), "\n")
		if !slices.ContainsFunc(lines, func(l string) bool {
			return strings.Contains(l, `"web page, `+who) && strings.Contains(l, `"at":"notification"`)
		}) {
			t.Errorf("the audit log does not tell of the look by %s:\n%s", who, audit)
		}
	}
	if code := p.stop(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	for _, never := range []string{webToken, opens.Query().Get("code")} {
		if strings.Contains(p.log.String(), never) {
			t.Errorf("the log holds %s", never)
		}
	}
}

func TestTheWebAddressFollowsReloads(t *testing.T) {
	t.Parallel()
	c := newClinic(t, sampleehr.Options{Seed: 7}, receiver.Options{})
	config := func(web string) string { return pipelineHCL + web }
	block := func(listen, token string) string {
		return "\nweb {\n  listen = \"" + listen + "\"\n  token  = \"" + token + "\"\n}\n"
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	dir := write(t, map[string]string{"main.hcl": config(block("127.0.0.1:0", webToken)), "mapping.js": tellAll})
	p := startRun(t, dir, c.env())
	at := p.webAt(1)
	p.logged("msg=running")
	reload := func(web string, want int) string {
		t.Helper()
		overwrite(t, dir, "main.hcl", config(web))
		code, stdout, stderr := rounds(t, nil, "reload", "--state", filepath.Join(dir, "state"))
		if code != want {
			t.Fatalf("rounds reload ends with %d: %s %s", code, stdout, stderr)
		}
		return stdout + stderr
	}
	answers := func(at, token string, want int) {
		t.Helper()
		if status, page := ask(t, http.DefaultClient, at+"/dead", token); status != want {
			t.Errorf("%s answers by %d, want %d: %s", at, status, want, page)
		}
	}
	answers(at, webToken, http.StatusOK)

	// An address that can't be had changes nothing, and what was asked for its schema ends.
	const unused = "source \"couchdb\" \"ward\" {\n  base_url = \"https://couch.example\"\n}\n"
	if said := reload(block(taken.Addr().String(), webToken)+unused, 1); !strings.Contains(said, taken.Addr().String()+" can't be listened on") {
		t.Errorf("it says: %s", said)
	}
	answers(at, webToken, http.StatusOK)
	for _, a := range asked[[]operate.Adapter](t, dir, 0, "adapter", "list") {
		if a.Name == "couchdb" {
			t.Errorf("nothing uses %+v", a)
		}
	}

	// Another token at the same address.
	reload(block("127.0.0.1:0", "another-token-of-enough-length"), 0)
	if again := p.webAt(2); again != at {
		t.Errorf("the address became %s", again)
	}
	answers(at, webToken, http.StatusUnauthorized)
	answers(at, "another-token-of-enough-length", http.StatusOK)

	// The page itself asks for the reload that ends it, and gets its answer.
	overwrite(t, dir, "main.hcl", config(block("localhost:0", webToken)))
	r, err := http.NewRequest(http.MethodPost, at+"/reload", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer another-token-of-enough-length")
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	if resp.Body.Close(); resp.StatusCode != http.StatusSeeOther {
		t.Errorf("the reload is answered by %d", resp.StatusCode)
	}
	moved := p.webAt(3)
	answers(moved, webToken, http.StatusOK)
	answers(at, webToken, 0)

	// Without the block nothing listens.
	reload("", 0)
	answers(moved, webToken, 0)
	if code, _, stderr := rounds(t, nil, "web", "--state", filepath.Join(dir, "state")); code != 1 || !strings.Contains(stderr, "add a web block") {
		t.Errorf("rounds web ends with %d: %s", code, stderr)
	}
	if code := p.stop(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

func TestAWebAddressThatIsTakenFailsTheStart(t *testing.T) {
	t.Parallel()
	c := newClinic(t, sampleehr.Options{Seed: 7}, receiver.Options{})
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	dir := write(t, map[string]string{"main.hcl": pipelineHCL + "\nweb {\n  listen = \"" + taken.Addr().String() + "\"\n}\n", "mapping.js": tellAll})
	p := startRun(t, dir, c.env())
	if code := p.wait(20 * time.Second); code != 1 {
		t.Errorf("exit code %d", code)
	}
	p.logged("Error: web: "+taken.Addr().String()+" can't be listened on", "address already in use")
}

func TestOtherMachinesGetThePageByTLSOnly(t *testing.T) {
	t.Parallel()
	c := newClinic(t, sampleehr.Options{Seed: 7}, receiver.Options{})
	cert, key := certificate(t, "rounds.clinic.example")
	dir := write(t, map[string]string{
		"main.hcl": pipelineHCL + "\nweb {\n  listen = \"0.0.0.0:0\"\n}\n", "mapping.js": tellAll, "cert": string(cert), "key": string(key),
	})
	p := startRun(t, dir, append(c.env(), "CREDENTIALS_DIRECTORY="+dir))
	at := p.webAt(1)
	p.logged("msg=running")
	if status, _ := ask(t, http.DefaultClient, at+"/healthz", ""); status != http.StatusOK {
		t.Errorf("health is answered by %d", status)
	}
	if status, page := ask(t, http.DefaultClient, at+"/login", ""); status != http.StatusNotFound {
		t.Errorf("the page is answered by %d without TLS: %s", status, page)
	}
	state := filepath.Join(dir, "state")
	if code, _, stderr := rounds(t, nil, "web", "--state", state); code != 1 || !strings.Contains(stderr, "add a tls block") {
		t.Errorf("rounds web ends with %d: %s", code, stderr)
	}
	overwrite(t, dir, "main.hcl", pipelineHCL+"\nweb {\n  listen = \"0.0.0.0:0\"\n  token  = secret(\"token\")\n  tls {\n    cert = file(\"cert\")\n    key  = secret(\"key\")\n  }\n}\n")
	overwrite(t, dir, "token", webToken)
	if code, stdout, stderr := rounds(t, nil, "reload", "--state", state); code != 0 {
		t.Fatalf("rounds reload ends with %d: %s %s", code, stdout, stderr)
	}
	secure, err := url.Parse(p.webAt(2))
	if err != nil || secure.Scheme != "https" || secure.Hostname() != "rounds.clinic.example" {
		t.Fatalf("it listens at %v (%v)", secure, err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(cert)
	dial := func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, "127.0.0.1:"+secure.Port())
	}
	browser := &http.Client{Transport: &http.Transport{DialContext: dial, TLSClientConfig: &tls.Config{RootCAs: roots}}}
	if status, page := ask(t, browser, secure.String()+"/dead", webToken); status != http.StatusOK {
		t.Errorf("the page is answered by %d: %s", status, page)
	}
	if status, _ := ask(t, http.DefaultClient, "http://127.0.0.1:"+secure.Port()+"/healthz", ""); status == http.StatusOK {
		t.Error("it is answered without TLS, too")
	}
	if code := p.stop(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// certificate makes one for a name, signed by itself.
func certificate(t *testing.T, name string) (cert, key []byte) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})
}
