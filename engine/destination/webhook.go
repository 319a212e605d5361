// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package destination

import (
	"cmp"
	"crypto/tls"
	"encoding/base64"
	"net"
	"net/http"
	"net/textproto"
	"net/url"
	"runtime/debug"
	"slices"
	"strings"
)

type webhookConfig struct {
	_                 struct{}          `doc:"POSTs each notification as JSON, signed as Standard Webhooks 1.0."`
	URL               string            `hcl:"url,sensitive" doc:"Where to; http or https, without user and password."`
	AllowPrivate      bool              `hcl:"allow_private,optional" doc:"The receiver may stand on this machine or in a private network, or be reached by a proxy that the environment names. Otherwise only addresses of the public internet are spoken to."`
	SigningSecrets    []string          `hcl:"signing_secrets,optional,sensitive" doc:"Keys of the signatures as in Standard Webhooks, whsec_ and base64 of at least 24 bytes; several while rotating."`
	VerificationToken string            `hcl:"verification_token,optional,sensitive" doc:"Sent as the header verification-token of every request, as Redox does."`
	Challenge         string            `hcl:"challenge,optional" values:"POST,GET" doc:"Before the first notification after each start, the receiver is asked in this way, as by Redox, to return a challenge. Needs verification_token."`
	Headers           map[string]string `hcl:"headers,optional,sensitive" doc:"Further headers of every request. Not Host, Content-Length, those of the signature and others that are made here."`
	Auth              *webhookAuth      `hcl:"auth,block"`
	TLS               *tlsConfig        `hcl:"tls,block"`

	target *url.URL // set by check, as the next
	keys   [][]byte
	header http.Header // of every request
	secure *tls.Config
}

// webhookAuth has the labels and attributes of the same block of a source.
type webhookAuth struct {
	_        struct{} `doc:"How requests prove who makes them: basic or bearer."`
	Kind     string   `hcl:"kind,label"`
	Username string   `hcl:"username,optional" doc:"For basic."`
	Password string   `hcl:"password,optional,sensitive" doc:"For basic."`
	Token    string   `hcl:"token,optional,sensitive" doc:"For bearer."`
}

const minSecret = 24 // bytes, says the standard

// keptHeaders are set for each request and can't be configured.
var keptHeaders = []string{
	"Connection", "Content-Length", "Host", "Te", "Trailer", "Transfer-Encoding", "Upgrade",
	"Webhook-Id", "Webhook-Signature", "Webhook-Timestamp",
}

const tokenHeader = "Verification-Token"

func (c *webhookConfig) check() (err error) {
	if c.target, err = parseTarget(c.URL); err != nil {
		return err
	}
	if !c.AllowPrivate && isPrivateHost(c.target.Hostname()) {
		return blame("url", "leads to this machine or a private network, which is refused; %s", allowPrivate)
	}
	if c.keys, err = parseKeys(c.SigningSecrets); err != nil {
		return err
	}
	if c.header, err = c.headers(); err != nil {
		return err
	}
	if c.Challenge != "" && c.VerificationToken == "" {
		return blame("challenge", "needs verification_token, by which the receiver knows who asks")
	}
	if c.TLS != nil && c.target.Scheme != "https" {
		return blame("tls", "has no meaning where url begins with http://; use https://")
	}
	c.secure, err = c.TLS.compile()
	return err
}

// headers are those of every request.
func (c *webhookConfig) headers() (http.Header, error) {
	h := http.Header{"Content-Type": {"application/json"}, "User-Agent": {"Rounds/" + version()}}
	for name, value := range c.Headers {
		switch canonical := textproto.CanonicalMIMEHeaderKey(name); {
		case !isToken(name):
			return nil, blame("headers", "has a name that is not a header's name")
		case slices.Contains(keptHeaders, canonical):
			return nil, blame("headers", "can't set %s", canonical)
		case canonical == "Authorization" && c.Auth != nil:
			return nil, blame("headers", "can't set Authorization, as there is an auth block")
		case canonical == tokenHeader && c.VerificationToken != "":
			return nil, blame("headers", "can't set %s, as there is verification_token", canonical)
		case !isFieldValue(value):
			return nil, blame("headers", "the value of %s has control characters, such as a line break", canonical)
		default:
			h[canonical] = []string{value}
		}
	}
	if c.VerificationToken != "" {
		if !isFieldValue(c.VerificationToken) {
			return nil, blame("verification_token", "has control characters, such as a line break")
		}
		h[tokenHeader] = []string{c.VerificationToken}
	}
	if c.Auth != nil {
		value, err := c.Auth.authorization()
		if err != nil {
			return nil, err
		}
		h["Authorization"] = []string{value}
	}
	return h, nil
}

// authorization is the value of the header of that name.
func (a *webhookAuth) authorization() (string, error) {
	at := "auth." + a.Kind
	switch a.Kind {
	case "basic":
		switch {
		case a.Token != "":
			return "", blame(at+".token", `is for auth "bearer"`)
		case a.Username == "" || strings.Contains(a.Username, ":"):
			return "", blame(at+".username", "must be given, without a colon")
		}
		return "Basic " + base64.StdEncoding.EncodeToString([]byte(a.Username+":"+a.Password)), nil
	case "bearer":
		switch {
		case a.Username != "":
			return "", blame(at+".username", `is for auth "basic"`)
		case a.Password != "":
			return "", blame(at+".password", `is for auth "basic"`)
		case a.Token == "" || strings.ContainsFunc(a.Token, func(r rune) bool { return r <= ' ' || r > '~' }):
			return "", blame(at+".token", "must be given, of printable ASCII without blanks")
		}
		return "Bearer " + a.Token, nil
	}
	return "", blame(at, "is not a way to authenticate; there are basic and bearer")
}

func parseTarget(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return nil, blame("url", "is not a URL")
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, blame("url", "must begin with https:// or http://")
	case u.Hostname() == "":
		return nil, blame("url", "names no host")
	case u.User != nil:
		return nil, blame("url", "must not hold user and password; use headers")
	case u.Fragment != "":
		return nil, blame("url", "must not have a fragment (#…)")
	}
	return u, nil
}

func parseKeys(secrets []string) ([][]byte, error) {
	var keys [][]byte
	for i, secret := range secrets {
		text, ok := strings.CutPrefix(secret, "whsec_")
		key, err := base64.StdEncoding.DecodeString(text)
		if !ok || err != nil {
			return nil, blame("signing_secrets", "number %d is not whsec_ followed by base64", i+1)
		}
		if len(key) < minSecret {
			return nil, blame("signing_secrets", "number %d has %d bytes; Standard Webhooks asks for %d at least", i+1, len(key), minSecret)
		}
		keys = append(keys, key)
	}
	return keys, nil
}

func isToken(s string) bool {
	for _, c := range []byte(s) {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !letter && !strings.ContainsRune("!#$%&'*+-.^_`|~", rune(c)) {
			return false
		}
	}
	return s != ""
}

// isFieldValue reports whether a text can be the value of a header.
func isFieldValue(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f })
}

func (c *webhookConfig) open() Destination {
	w := &webhook{url: c.target, keys: c.keys, header: c.header}
	if c.Challenge != "" {
		w.challenge = newChallenge(c.Challenge, c.VerificationToken)
	}
	w.transport = c.transport()
	return w
}

// transport leads to the receiver, by a proxy where the environment names one for it.
func (c *webhookConfig) transport() transport {
	special := strings.ContainsFunc(c.target.Host, func(r rune) bool { return r > '~' || r == '%' }) // written otherwise on the wire
	if proxy, err := http.ProxyFromEnvironment(&http.Request{URL: c.target}); special || proxy != nil || err != nil {
		return c.proxied(http.ProxyFromEnvironment)
	}
	d := &direct{dial: guardedDial(c.AllowPrivate), resting: resting{time: restTime}}
	port := c.target.Port()
	if c.target.Scheme == "https" {
		port = cmp.Or(port, "443")
		d.secure = c.secure.Clone()
		d.secure.ServerName = cmp.Or(d.secure.ServerName, c.target.Hostname())
		d.secure.NextProtos = []string{"http/1.1"}
	}
	d.address = net.JoinHostPort(c.target.Hostname(), cmp.Or(port, "80"))
	return d
}

// proxied is a transport that goes by the proxy that is named, and that knows names in other scripts.
func (c *webhookConfig) proxied(proxy func(*http.Request) (*url.URL, error)) transport {
	var http1 http.Protocols
	http1.SetHTTP1(true)
	return &http.Transport{
		Proxy:               guardedProxy(c.AllowPrivate, proxy),
		DialContext:         guardedDial(c.AllowPrivate),
		TLSClientConfig:     c.secure,
		TLSHandshakeTimeout: connectTime,
		// One connection per lane in flight, kept: the loop bounds their number.
		MaxIdleConnsPerHost:    1 << 10,
		IdleConnTimeout:        restTime,
		DisableCompression:     true,
		MaxResponseHeaderBytes: maxHeaders,
		Protocols:              &http1,
	}
}

// version is that of the running program.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if v := ""; ok {
		if v = strings.Trim(info.Main.Version, "()"); v != "" {
			return v
		}
	}
	return "devel"
}
