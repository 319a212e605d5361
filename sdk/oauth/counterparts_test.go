// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

//go:build counterparts

package oauth

import (
	"bufio"
	"bytes"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/rounds-engine/rounds/sdk"
	"github.com/rounds-engine/rounds/sdk/httpx"
)

// provider is a token server that nobody here wrote: oidc-provider.
type provider struct {
	t     *testing.T
	url   string // of its token endpoint
	lines *bufio.Scanner
}

// told is what it says of a request.
type told struct {
	Issued  string
	Refused string
	Why     string
	Refresh string `json:"refresh_token"`
}

// startProvider gives the refresh token of a person's login too.
func startProvider(t *testing.T, keys ...jose.JSONWebKey) (*provider, string) {
	modules := os.Getenv("ROUNDS_NODE_MODULES")
	if modules == "" {
		t.Fatal("ROUNDS_NODE_MODULES does not say where the packages of npm are; run .ci/counterparts")
	}
	public, err := json.Marshal(jose.JSONWebKeySet{Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "jwks.json")
	if err := os.WriteFile(file, public, 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	l.Close()
	c := exec.Command("node", "../../.ci/token-server.mjs", port, file)
	c.Env = append(os.Environ(), "NODE_PATH="+modules)
	var stderr bytes.Buffer
	c.Stderr = &stderr
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Process.Kill()
		_ = c.Wait()
		if t.Failed() {
			t.Log(stderr.String())
		}
	})
	p := &provider{t, "http://127.0.0.1:" + port + "/token", bufio.NewScanner(out)}
	return p, p.says().Refresh
}

func (p *provider) says() told {
	p.t.Helper()
	for p.lines.Scan() {
		var line told
		if json.Unmarshal(p.lines.Bytes(), &line) == nil { // others are the library's own
			return line
		}
	}
	p.t.Fatal("the token server has ended")
	return told{}
}

// recorder keeps the body of the last request.
type recorder struct{ body []byte }

func (r *recorder) RoundTrip(q *http.Request) (*http.Response, error) {
	var err error
	if r.body, err = io.ReadAll(q.Body); err != nil {
		return nil, err
	}
	q.Body = io.NopCloser(bytes.NewReader(r.body))
	return http.DefaultTransport.RoundTrip(q)
}

func (p *provider) ask(c Config) (token string, sent []byte, err error) {
	p.t.Helper()
	c.TokenURL = p.url
	tokens, err := New(c)
	if err != nil {
		p.t.Fatal(err)
	}
	sends := &recorder{}
	client, err := httpx.New(httpx.Config{Transport: sends})
	if err != nil {
		p.t.Fatal(err)
	}
	defer client.Close()
	token, err = tokens.get(p.t.Context(), client, "")
	return token, sends.body, err
}

func TestCounterpartTokensOfAnotherServer(t *testing.T) {
	es, strange := newEC(t, elliptic.P384()), newEC(t, elliptic.P384())
	rs, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	p, login := startProvider(t, jose.JSONWebKey{Key: es.Public(), KeyID: "es", Algorithm: "ES384", Use: "sig"},
		jose.JSONWebKey{Key: rs.Public(), KeyID: "rs", Algorithm: "RS384", Use: "sig"})
	scopes := []string{"system/Patient.rs"}

	for name, c := range map[string]Config{
		"ES384, PEM": {ClientID: "poller", PrivateKey: pemOf(t, es), KeyID: "es"},
		"ES384, JWK": {ClientID: "poller", PrivateKey: jwkOf(t, es, "es", "ES384")},
		"RS384, PEM": {ClientID: "poller", PrivateKey: pemOf(t, rs), KeyID: "rs"},
		"RS384, JWK": {ClientID: "poller", PrivateKey: jwkOf(t, rs, "rs", "RS384")},
		"issuer":     {ClientID: "poller", PrivateKey: jwkOf(t, es, "es", ""), Audience: strings.TrimSuffix(p.url, "/token")},
		"basic":      {ClientID: "basic:1", ClientSecret: "s/cret &1"},
		"post":       {ClientID: "post", ClientSecret: "s/cret &2", SecretInBody: true},
	} {
		c.Scopes = scopes
		token, sent, err := p.ask(c)
		if line := p.says(); err != nil || token == "" || line.Issued != c.ClientID {
			t.Errorf("%s: %v, the server says %+v", name, err, line)
		}
		if c.PrivateKey == "" {
			continue
		}
		// The same assertion again is taken for a stolen one.
		res, err := http.Post(p.url, "application/x-www-form-urlencoded", bytes.NewReader(sent))
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if line := p.says(); res.StatusCode != http.StatusUnauthorized || line.Refused != "invalid_client" || !strings.Contains(line.Why, "only be used once") {
			t.Errorf("%s: a replay is answered by %s, %+v", name, res.Status, line)
		}
		if _, _, err := p.ask(c); err != nil {
			t.Errorf("%s: the next token: %v", name, err)
		}
		p.says()
	}

	for reason, c := range map[string]Config{
		"unknown key":    {ClientID: "poller", PrivateKey: pemOf(t, strange), KeyID: "es"},
		"unknown kid":    {ClientID: "poller", PrivateKey: pemOf(t, es), KeyID: "other"},
		"wrong audience": {ClientID: "poller", PrivateKey: pemOf(t, es), KeyID: "es", Audience: "https://other.invalid"},
		"wrong secret":   {ClientID: "basic:1", ClientSecret: "c4n4ry"},
	} {
		_, _, err := p.ask(c)
		if line := p.says(); sdk.CodeOf(err) != sdk.CodeUnauthorized || err.Error() != "no token: POST /token: 401 Unauthorized (invalid_client)" {
			t.Errorf("%s: %v, the server says %+v", reason, err, line)
		}
	}
	// It takes the second use of a refresh token for theft, and revokes all that came of it: a restart that went on with an older one
	// than the last would end the login.
	d := &disk{}
	for n := range 3 {
		c := Config{ClientID: "person", ClientSecret: "s/cret &3", RefreshToken: login, Saved: d.section()}
		if token, _, err := p.ask(c); err != nil || token == "" {
			t.Errorf("process %d: %v, the server says %+v", n, err, p.says())
			continue
		}
		p.says()
	}
	_, _, err = p.ask(Config{ClientID: "person", ClientSecret: "s/cret &3", RefreshToken: login})
	if line := p.says(); err == nil || err.Error() != "no token: POST /token: 400 Bad Request (invalid_grant)" {
		t.Errorf("the first refresh token is still good, so that this test shows nothing: %v, %+v", err, line)
	}
}
