// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package destination

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/textproto"
	"net/url"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/rounds-engine/rounds/engine/delivery"
	"github.com/rounds-engine/rounds/engine/record"
)

type webhookConfig struct {
	_              struct{}          `doc:"POSTs each notification as JSON, signed as Standard Webhooks 1.0."`
	URL            string            `hcl:"url,sensitive" doc:"Where to; http or https, without user and password."`
	SigningSecrets []string          `hcl:"signing_secrets,optional,sensitive" doc:"Keys of the signatures as in Standard Webhooks, whsec_ and base64 of at least 24 bytes; several while rotating."`
	Headers        map[string]string `hcl:"headers,optional,sensitive" doc:"Further headers of every request, such as Authorization."`

	target *url.URL // set by check, as the next
	keys   [][]byte
}

const (
	minSecret = 24          // bytes, says the standard
	maxDetail = 2 << 10     // of an answer that are kept
	maxAnswer = 64 << 10    // bytes that are read so that the connection can be used again
	tidyTime  = time.Second // how long that may take
)

// keptHeaders are set for each request and can't be configured.
var keptHeaders = []string{
	"Connection", "Content-Length", "Host", "Te", "Trailer", "Transfer-Encoding", "Upgrade",
	"Webhook-Id", "Webhook-Signature", "Webhook-Timestamp",
}

func (c *webhookConfig) check() (err error) {
	if c.target, err = parseTarget(c.URL); err != nil {
		return err
	}
	if c.keys, err = parseKeys(c.SigningSecrets); err != nil {
		return err
	}
	for name, value := range c.Headers {
		switch canonical := textproto.CanonicalMIMEHeaderKey(name); {
		case !isToken(name):
			return blame("headers", "has a name that is not a header's name")
		case slices.Contains(keptHeaders, canonical):
			return blame("headers", "can't set %s", canonical)
		case strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }):
			return blame("headers", "the value of %s has control characters, such as a line break", canonical)
		}
	}
	return nil
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

func (c *webhookConfig) open() Destination {
	w := &webhook{url: c.target, keys: c.keys, header: http.Header{
		"Content-Type": {"application/json"},
		"User-Agent":   {"Rounds/" + version()},
	}}
	for name, value := range c.Headers {
		w.header[textproto.CanonicalMIMEHeaderKey(name)] = []string{value}
	}
	var http1 http.Protocols
	http1.SetHTTP1(true)
	w.transport = &http.Transport{
		// HTTPS_PROXY, HTTP_PROXY and NO_PROXY of the environment are heeded: hospitals have outgoing proxies.
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSClientConfig:     &tls.Config{MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout: 10 * time.Second,
		// One connection per lane in flight, kept: the loop bounds their number.
		MaxIdleConnsPerHost:    1 << 10,
		IdleConnTimeout:        50 * time.Second,
		DisableCompression:     true,
		MaxResponseHeaderBytes: 64 << 10,
		Protocols:              &http1,
	}
	return w
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

// webhook POSTs. It uses the transport without a client, which would follow redirects.
type webhook struct {
	url       *url.URL
	keys      [][]byte
	header    http.Header // of every request
	transport *http.Transport
}

// Send makes one attempt. A status of 2xx is the receiver's word that it took the notification over, even if it was given
// before the body was read or if the rest of the answer never comes.
func (w *webhook) Send(ctx context.Context, n delivery.Notification) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	header := make(http.Header, len(w.header)+4)
	for name, values := range w.header {
		header[name] = values
	}
	w.sign(header, n, time.Now())
	if n.Trace != "" {
		header["Traceparent"] = []string{n.Trace}
	}
	req := (&http.Request{
		Method: http.MethodPost, URL: w.url, Host: w.url.Host, Header: header,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Body:          io.NopCloser(bytes.NewReader(n.Body)),
		GetBody:       func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(n.Body)), nil },
		ContentLength: int64(len(n.Body)),
	}).WithContext(ctx)
	resp, err := w.transport.RoundTrip(req)
	if err != nil {
		if ctx.Err() != nil {
			return canceled(ctx)
		}
		return networkError(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.ContentLength != 0 { // an endless answer must not hold up the lane
		defer time.AfterFunc(tidyTime, cancel).Stop()
	}
	if resp.StatusCode >= 200 && resp.StatusCode < 300 {
		_, _ = io.CopyN(io.Discard, resp.Body, maxAnswer)
		return nil
	}
	detail, _ := io.ReadAll(io.LimitReader(resp.Body, maxDetail))
	_, _ = io.CopyN(io.Discard, resp.Body, maxAnswer)
	e := statusError(resp.StatusCode)
	e.Detail = strings.ToValidUTF8(string(detail), "\uFFFD")
	e.After = retryAfter(resp.Header, time.Now())
	return e
}

// sign sets the headers of Standard Webhooks 1.0. Without keys there is an id and a timestamp all the same.
func (w *webhook) sign(header http.Header, n delivery.Notification, now time.Time) {
	stamp := strconv.FormatInt(now.Unix(), 10)
	header["Webhook-Id"] = []string{n.ID}
	header["Webhook-Timestamp"] = []string{stamp}
	if len(w.keys) == 0 {
		return
	}
	var signatures []byte
	for i, key := range w.keys {
		if i > 0 {
			signatures = append(signatures, ' ')
		}
		h := hmac.New(sha256.New, key)
		h.Write([]byte(n.ID + "." + stamp + "."))
		h.Write(n.Body)
		signatures = append(signatures, "v1,"...)
		signatures = base64.StdEncoding.AppendEncode(signatures, h.Sum(nil))
	}
	header["Webhook-Signature"] = []string{string(signatures)}
}

func (w *webhook) Close() error {
	w.transport.CloseIdleConnections()
	return nil
}

// statusError gives a status that is not 2xx its meaning. Redirects are failures, says the standard: a permanent one needs
// somebody to correct the URL, any other may be a passing trouble of a proxy.
func statusError(status int) *record.SendError {
	e := &record.SendError{Code: "http_" + strconv.Itoa(status), Text: fmt.Sprintf("the receiver answered %d", status)}
	switch status {
	case 301, 308:
		e.Verdict = record.Pause
		e.Text += ": it has moved, its url must be corrected (redirects are not followed)"
	case 401, 403, 404, 410:
		e.Verdict = record.Pause
	case 408, 425, 429:
	default:
		if status >= 400 && status < 500 {
			e.Verdict = record.Reject
		}
	}
	return e
}

// networkError says why there was no answer. The texts of Go's errors hold addresses and URLs.
func networkError(err error) *record.SendError {
	e := &record.SendError{Code: "network"}
	var (
		dns       *net.DNSError
		timeout   net.Error
		untrusted x509.UnknownAuthorityError
		name      x509.HostnameError
		invalid   x509.CertificateInvalidError
		cert      *tls.CertificateVerificationError
		alert     tls.AlertError
		plain     tls.RecordHeaderError
	)
	switch {
	case errors.As(err, &untrusted):
		e.Code, e.Text = "tls", "the receiver's certificate is signed by an unknown authority"
	case errors.As(err, &name):
		e.Code, e.Text = "tls", "the receiver's certificate is for another name"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		e.Code, e.Text = "tls", "the receiver's certificate has expired or is not yet valid"
	case errors.As(err, &cert):
		e.Code, e.Text = "tls", "the receiver's certificate is not valid"
	case errors.As(err, &alert), errors.As(err, &plain):
		e.Code, e.Text = "tls", "the TLS handshake with the receiver failed"
	case errors.As(err, &dns) && dns.IsNotFound:
		e.Text = "the receiver's host name is not known"
	case errors.As(err, &dns):
		e.Text = "the receiver's host name could not be looked up"
	case errors.Is(err, syscall.ECONNREFUSED):
		e.Text = "connection refused"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, io.EOF),
		errors.Is(err, io.ErrUnexpectedEOF):
		e.Text = "the receiver closed the connection without an answer"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		e.Text = "the receiver's host can't be reached"
	case errors.As(err, &timeout) && timeout.Timeout():
		e.Text = "no connection to the receiver in time"
	default:
		e.Text = fmt.Sprintf("no answer from the receiver (%T)", err)
	}
	return e
}

// retryAfter is the pause that an answer asks for, zero if it does not: seconds, or a date, which is read against the
// receiver's own clock where the answer tells it.
func retryAfter(h http.Header, now time.Time) time.Duration {
	value := strings.TrimSpace(h.Get("Retry-After"))
	if value == "" {
		return 0
	}
	if strings.Trim(value, "0123456789") == "" {
		if len(value) > 9 { // beyond what fits; the loop bounds it further
			value = "999999999"
		}
		n, err := strconv.Atoi(value)
		if err != nil {
			return 0
		}
		return time.Duration(n) * time.Second
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	if date, err := http.ParseTime(h.Get("Date")); err == nil {
		now = date
	}
	return max(0, at.Sub(now))
}
