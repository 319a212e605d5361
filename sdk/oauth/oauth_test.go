// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package oauth

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/rounds-engine/rounds/sdk"
	"github.com/rounds-engine/rounds/sdk/httpx"
)

func TestAConfigurationIsBlamedByAttributeAndNotShown(t *testing.T) {
	good := Config{TokenURL: "https://id.invalid/token", ClientID: "poller", ClientSecret: "c4n4ry"}
	ec := pemOf(t, newEC(t, elliptic.P384()))
	for _, tt := range []struct {
		change     func(*Config)
		path, text string
	}{
		{func(c *Config) { c.TokenURL = "c4n4ry" }, "token_url", "is not an address"},
		{func(c *Config) { c.TokenURL = "https://u:c4n4ry@id.invalid/token" }, "token_url", "is not an address"},
		{func(c *Config) { c.ClientID = "" }, "client_id", "must be given"},
		{func(c *Config) { c.ClientSecret = "" }, "client_secret", "must be given, or private_key, or refresh_token"},
		{func(c *Config) { c.PrivateKey = ec }, "private_key", "give one of them"},
		{func(c *Config) { c.ClientSecret, c.PrivateKey = "", "c4n4ry" }, "private_key", "is neither a private JWK nor"},
		{func(c *Config) { c.ClientSecret, c.PrivateKey = "", `{"kty": "c4n4ry"}` }, "private_key", "is neither a private JWK nor"},
		{func(c *Config) { c.ClientSecret, c.PrivateKey = "", ec[:len(ec)/2] }, "private_key", "is neither a private JWK nor"},
		{func(c *Config) { c.ClientSecret, c.PrivateKey = "", publicJWK(t) }, "private_key", "is neither a private JWK nor"},
		{func(c *Config) { c.ClientSecret, c.PrivateKey, c.Algorithm = "", ec, "RS384" }, "key_algorithm", "signatures are ES384"},
		{func(c *Config) { c.ClientSecret, c.PrivateKey = "", pemOf(t, newEC(t, elliptic.P224())) }, "private_key", "is neither an RSA key nor"},
		{func(c *Config) { c.Params = map[string]string{"scope": "c4n4ry"} }, "params", "scope is made of the other attributes"},
		{func(c *Config) { c.Params = map[string]string{"client_assertion": "c4n4ry"} }, "params", "client_assertion is made of"},
	} {
		c := good
		tt.change(&c)
		_, err := New(c)
		var e *sdk.Error
		if !errors.As(err, &e) || e.Code != sdk.CodeMisconfigured || e.Path != tt.path || !strings.Contains(e.Text, tt.text) || strings.Contains(e.Text, "c4n4ry") {
			t.Errorf("got %v, want %s: %s", err, tt.path, tt.text)
		}
	}
}

func newEC(t *testing.T, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func pemOf(t *testing.T, key crypto.PrivateKey) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

func jwkOf(t *testing.T, key any, id, algorithm string) string {
	t.Helper()
	text, err := json.Marshal(jose.JSONWebKey{Key: key, KeyID: id, Algorithm: algorithm})
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func publicJWK(t *testing.T) string {
	return jwkOf(t, newEC(t, elliptic.P384()).Public(), "c4n4ry", "")
}

// ask has one token issued, and gives the form that was asked with.
func ask(t *testing.T, c Config, answer string) (form url.Values, authorization string) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.ParseForm()
		form, authorization = r.PostForm, r.Header.Get("Authorization")
		io.WriteString(w, answer)
	}))
	defer server.Close()
	c.TokenURL, c.ClientID = server.URL+"/token", "poller"
	tokens, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	client, err := httpx.New(httpx.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if token, err := tokens.get(t.Context(), client, ""); err != nil || token != "tok3n" {
		t.Fatalf("%q, %v", token, err)
	}
	return form, authorization
}

const issued = `{"access_token": "tok3n", "expires_in": 300}`

func TestAClientProvesWhoItIs(t *testing.T) {
	for _, tt := range []struct {
		config              Config
		form, authorization string
	}{
		{Config{ClientSecret: "s/c4n4ry&"}, "grant_type=client_credentials", "Basic cG9sbGVyOnMlMkZjNG40cnklMjY="},
		{Config{ClientSecret: "s&", SecretInBody: true, Scopes: []string{"a", "b"}, Params: map[string]string{"audience": "x"}},
			"audience=x&client_id=poller&client_secret=s%26&grant_type=client_credentials&scope=a+b", ""},
		{Config{RefreshToken: "r"}, "client_id=poller&grant_type=refresh_token&refresh_token=r", ""},
		{Config{RefreshToken: "r", ClientSecret: "s"}, "grant_type=refresh_token&refresh_token=r", "Basic cG9sbGVyOnM="},
	} {
		if form, authorization := ask(t, tt.config, issued); form.Encode() != tt.form || authorization != tt.authorization {
			t.Errorf("%s with %q", form.Encode(), authorization)
		}
	}
}

func TestAnAssertionIsSignedAsTheKeyIs(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	p256, p384, p521 := newEC(t, elliptic.P256()), newEC(t, elliptic.P384()), newEC(t, elliptic.P521())
	der, err := x509.MarshalECPrivateKey(p384)
	if err != nil {
		t.Fatal(err)
	}
	sec1 := string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}))
	pkcs1 := string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(rsaKey)}))
	for _, tt := range []struct {
		config         Config
		public         crypto.PublicKey
		algorithm, kid string
	}{
		{Config{PrivateKey: pemOf(t, rsaKey), KeyID: "k"}, rsaKey.Public(), "RS384", "k"},
		{Config{PrivateKey: pkcs1, Algorithm: "RS256"}, rsaKey.Public(), "RS256", ""},
		{Config{PrivateKey: pemOf(t, p384), KeyID: "k"}, p384.Public(), "ES384", "k"},
		{Config{PrivateKey: sec1, KeyID: "k"}, p384.Public(), "ES384", "k"},
		{Config{PrivateKey: pemOf(t, p256)}, p256.Public(), "ES256", ""},
		{Config{PrivateKey: jwkOf(t, p521, "own", "")}, p521.Public(), "ES512", "own"},
		{Config{PrivateKey: " \n" + jwkOf(t, rsaKey, "own", "RS512")}, rsaKey.Public(), "RS512", "own"},
		{Config{PrivateKey: jwkOf(t, rsaKey, "own", "RS512"), KeyID: "k", Algorithm: "PS384", Audience: "https://ehr.example"}, rsaKey.Public(), "PS384", "k"},
	} {
		form, authorization := ask(t, tt.config, issued)
		if authorization != "" || form.Get("client_id") != "" || form.Get("grant_type") != "client_credentials" ||
			form.Get("client_assertion_type") != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" {
			t.Errorf("%s: %v", tt.algorithm, form)
		}
		signed, err := jose.ParseSignedCompact(form.Get("client_assertion"), []jose.SignatureAlgorithm{jose.SignatureAlgorithm(tt.algorithm)})
		if err != nil {
			t.Fatalf("%s: %v", tt.algorithm, err)
		}
		text, err := signed.Verify(tt.public)
		if err != nil {
			t.Fatalf("%s: %v", tt.algorithm, err)
		}
		var claims struct {
			Iss, Sub, Aud, Jti string
			Iat, Exp           int64
		}
		h := signed.Signatures[0].Header
		if err := json.Unmarshal(text, &claims); err != nil || h.KeyID != tt.kid || h.ExtraHeaders["typ"] != "JWT" {
			t.Errorf("%s: %v, %+v", tt.algorithm, err, h)
		}
		now := time.Now().Unix()
		if claims.Iss != "poller" || claims.Sub != "poller" || len(claims.Jti) < 20 || claims.Iat > now || claims.Exp < now+60 || claims.Exp-claims.Iat > 300 {
			t.Errorf("%s: %s", tt.algorithm, text)
		}
		if claims.Aud != tt.config.Audience && (tt.config.Audience != "" || !strings.HasSuffix(claims.Aud, "/token")) {
			t.Errorf("%s: aud %q", tt.algorithm, claims.Aud)
		}
	}
}

// vault issues access tokens for refresh tokens, each of which is good once.
type vault struct {
	*httptest.Server
	mu     sync.Mutex
	valid  string
	issued int
	keeps  bool          // the refresh token stays the same
	hold   chan struct{} // until it is closed an answer, whose token is good already, does not get through
	down   bool          // once: it rotates, and its answer is lost
}

func newVault(t *testing.T) *vault {
	v := &vault{valid: "r0-c4n4ry"}
	v.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v.mu.Lock()
		defer v.mu.Unlock()
		if r.FormValue("refresh_token") != v.valid {
			w.WriteHeader(http.StatusBadRequest)
			io.WriteString(w, `{"error": "invalid_grant"}`)
			return
		}
		v.issued++
		rotated := ""
		if !v.keeps {
			v.valid = fmt.Sprintf("r%d-c4n4ry", v.issued)
			rotated = `, "refresh_token": "` + v.valid + `"`
		}
		if v.down {
			v.down = false
			panic(http.ErrAbortHandler)
		}
		if v.hold != nil {
			<-v.hold
		}
		fmt.Fprintf(w, `{"access_token": "a%d", "expires_in": 600%s}`, v.issued, rotated)
	}))
	v.Config.ErrorLog = nil
	t.Cleanup(v.Close)
	return v
}

// disk is where a source saves.
type disk struct {
	stored []byte
	fail   error
	during func()
}

func (d *disk) section() *sdk.Section {
	return sdk.NewState(d.stored, func(_ context.Context, stored []byte) error {
		if d.during != nil {
			d.during()
		}
		if d.fail != nil {
			return d.fail
		}
		d.stored = stored
		return nil
	}).Section("oauth2")
}

// start is a process that begins with what was saved.
func (v *vault) start(t *testing.T, d *disk, configured string) *user {
	t.Helper()
	c := &clinic{Server: v.Server}
	return c.openWith(t, Config{TokenURL: v.URL + "/token", ClientID: "a", RefreshToken: configured, Saved: d.section()})
}

func (u *user) wantToken(t *testing.T, want string) {
	t.Helper()
	token, err := u.get(t.Context(), u.client, "")
	if err != nil || token != want {
		t.Errorf("got %q, %v; want %q", token, err, want)
	}
}

func TestARotatedRefreshTokenOutlivesTheProcess(t *testing.T) {
	v, d := newVault(t), &disk{}
	u := v.start(t, d, "r0-c4n4ry")
	u.wantToken(t, "a1")
	u.now = u.now.Add(time.Hour)
	u.wantToken(t, "a2")
	u = v.start(t, d, "r0-c4n4ry")
	u.wantToken(t, "a3")
	v.keeps = true
	u.now = u.now.Add(time.Hour)
	u.wantToken(t, "a4")
	u = v.start(t, d, "r0-c4n4ry")
	u.wantToken(t, "a5")

	v.valid = "another-c4n4ry" // a person has logged in again
	u = v.start(t, d, "another-c4n4ry")
	u.wantToken(t, "a6")
	u = v.start(t, d, "r0-c4n4ry") // and took it back
	_, err := u.get(t.Context(), u.client, "")
	const want = "no token: POST /token: 400 Bad Request (invalid_grant)"
	if sdk.CodeOf(err) != sdk.CodeUnauthorized || err.Error() != want {
		t.Errorf("got %v", err)
	}
}

func TestAnAccessTokenIsNotUsedBeforeTheNewRefreshTokenIsDurable(t *testing.T) {
	v, d := newVault(t), &disk{}
	u := v.start(t, d, "r0-c4n4ry")
	u.wantToken(t, "a1")
	d.fail = errors.New("c4n4ry")
	u.now = u.now.Add(time.Hour)
	for range 3 {
		token, err := u.get(t.Context(), u.client, "")
		if sdk.CodeOf(err) != sdk.CodeRetryable || !strings.HasPrefix(err.Error(), "no token: the refresh token could not be saved") ||
			strings.Contains(err.Error(), "c4n4ry") || token != "" {
			t.Errorf("got %q, %v", token, err)
		}
	}
	v.mu.Lock()
	if v.issued != 2 {
		t.Errorf("%d tokens were asked for while none could be kept", v.issued)
	}
	v.mu.Unlock()
	d.fail = nil
	d.during = func() {
		u.mu.Lock()
		defer u.mu.Unlock()
		if u.token != "a1" {
			t.Errorf("%s is in use while its refresh token is being saved", u.token)
		}
	}
	u.wantToken(t, "a3")
	u = v.start(t, d, "r0-c4n4ry")
	d.during = nil
	u.wantToken(t, "a4")
}

func TestARefreshTokenThatIsUnderWayIsNotLostAtTheEnd(t *testing.T) {
	v, d := newVault(t), &disk{}
	v.hold = make(chan struct{})
	u := v.start(t, d, "r0-c4n4ry")
	ctx, cancel := context.WithCancel(t.Context())
	asked := make(chan error)
	go func() {
		_, err := u.get(ctx, u.client, "")
		asked <- err
	}()
	for v.mu.TryLock() { // until the vault has the question
		v.mu.Unlock()
		time.Sleep(time.Millisecond)
	}
	cancel()
	if err := <-asked; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	closed := make(chan error)
	go func() { closed <- u.Tokens.Close() }()
	close(v.hold)
	if err := <-closed; err != nil {
		t.Error(err)
	}
	u.now = u.now.Add(time.Hour)
	_, err, _ := u.flight.Do("", func() (any, error) { return nil, nil }) // that of the request ends a moment after what it waited for
	if err != nil {
		t.Error(err)
	}
	if token, err := u.get(t.Context(), u.client, ""); sdk.CodeOf(err) != sdk.CodeRetryable {
		t.Errorf("after the end it got %q, %v", token, err)
	}
	v.start(t, d, "r0-c4n4ry").wantToken(t, "a2") // with the one that was kept
}

func TestARefreshTokenThatCouldNotBeKeptIsKeptAtTheEnd(t *testing.T) {
	v, d := newVault(t), &disk{}
	u := v.start(t, d, "r0-c4n4ry")
	u.wantToken(t, "a1")
	d.fail = errors.New("c4n4ry")
	u.now = u.now.Add(time.Hour)
	if _, err := u.get(t.Context(), u.client, ""); err == nil {
		t.Fatal("it was used")
	}
	if err := u.Tokens.Close(); sdk.CodeOf(err) != sdk.CodeRetryable {
		t.Errorf("got %v", err)
	}
	d.fail = nil
	if err := u.Tokens.Close(); err != nil {
		t.Error(err)
	}
	v.start(t, d, "r0-c4n4ry").wantToken(t, "a3")
}

func TestARefreshTokenIsNotSpentWhereTheNextCantBeKept(t *testing.T) {
	v, d := newVault(t), &disk{fail: errors.New("c4n4ry")}
	u := v.start(t, d, "r0-c4n4ry")
	if _, err := u.get(t.Context(), u.client, ""); sdk.CodeOf(err) != sdk.CodeRetryable || v.issued != 0 {
		t.Errorf("%d were issued, %v", v.issued, err)
	}
	d.fail = nil
	u.wantToken(t, "a1")
}

// What a refresh token is good for once is not asked for twice by itself: the second would be taken for a thief.
func TestARequestWithARefreshTokenIsNotRepeated(t *testing.T) {
	v, d := newVault(t), &disk{}
	v.down = true
	u := v.start(t, d, "r0-c4n4ry")
	_, err := u.get(t.Context(), u.client, "")
	v.mu.Lock()
	defer v.mu.Unlock()
	if sdk.CodeOf(err) != sdk.CodeRetryable || v.issued != 1 {
		t.Errorf("%d were issued, %v", v.issued, err)
	}
}

func TestManyCallersShareOneRefresh(t *testing.T) {
	v, d := newVault(t), &disk{}
	u := v.start(t, d, "r0-c4n4ry")
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() { u.wantToken(t, "a1") })
	}
	wg.Wait()
}

func FuzzKey(f *testing.F) {
	for _, s := range []string{"", "{}", `{"kty": "RSA"}`, `{"kty": "EC", "crv": "P-384", "x": "", "y": "", "d": ""}`, `{"kty":"oct","k":"AAAA"}`,
		"-----BEGIN PRIVATE KEY-----\nMA==\n-----END PRIVATE KEY-----\n", "-----BEGIN RSA PRIVATE KEY-----\n\n-----END RSA PRIVATE KEY-----\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, key string) {
		s, err := newSigner(key, "", "", "a", "b")
		if e := sdk.Safe(err); err != nil && (e.Code != sdk.CodeMisconfigured || e.Path != "private_key") {
			t.Error(err)
		}
		if err == nil {
			if _, err := s.assertion(time.Now()); err != nil {
				t.Error(err)
			}
		}
	})
}

func FuzzKeptToken(f *testing.F) {
	for _, s := range []string{"", "{}", "null", `{"of": "", "token": "x"}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, kept []byte) {
		s := sdk.NewState(nil, nil).Section("oauth2")
		if err := s.Save(t.Context(), kept); err != nil {
			t.Fatal(err)
		}
		if r := newRefresh("configured", s); r.token == "" {
			t.Error("no token")
		}
	})
}
