// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package httpx

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/rounds-engine/rounds/sdk"
)

// named is how errors name the call.
func (r *Request) named() string { return r.method() + " " + r.Template }

// interrupted is the error of a call whose context ended, or will end before it can go on.
func interrupted(ctx context.Context, named string) *sdk.Error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return sdk.Retryable("%s: canceled", named).Because(ctx.Err())
	}
	return sdk.Retryable("%s: deadline exceeded", named).Because(context.DeadlineExceeded)
}

// uncalled is the error of an attempt whose turn did not come. When it was the first, there were more calls to make than the
// limits allow in the time given, which is not the fault of what would have been asked for, as a Retryable may be.
func uncalled(ctx context.Context, named string, calls int) *sdk.Error {
	if calls > 0 || errors.Is(ctx.Err(), context.Canceled) {
		return interrupted(ctx, named)
	}
	return sdk.RateLimited(0, "%s: not called, the limits of the source left no time for it before the deadline", named)
}

// untaken is the error of an attempt for which there was no room in the budget.
func untaken(ctx context.Context, err error, named string, calls int) *sdk.Error {
	e := sdk.Safe(err)
	switch {
	case e.Code == sdk.CodeRateLimited && e.After > 0:
		return sdk.RateLimited(e.After, "%s: not called, %s", named, e.Text)
	case e.Code == sdk.CodeRateLimited || ctx.Err() != nil:
		return uncalled(ctx, named, calls)
	}
	return sdk.Retryable("%s: not called, %s", named, e.Text).Because(err)
}

// networkFailure names the class of a network error. The error itself is kept as the cause only: it quotes the URL.
func (c *Client) networkFailure(parent, ctx context.Context, named string, err error) *failure {
	var noRoom *sdk.Error
	switch {
	case parent.Err() != nil:
		return &failure{err: interrupted(parent, named)}
	case errors.Is(err, errOrigin):
		return &failure{err: sdk.Permanent("%s: redirected to another scheme, host or port, where the credentials would leak; "+
			"if that is where the API lives, configure it as the base URL", named)}
	case errors.Is(err, errRedirect):
		return &failure{err: sdk.Permanent("%s: redirected, which only GET and HEAD follow", named)}
	case errors.Is(err, errOnce):
		return &failure{err: sdk.Permanent("%s: redirected, which a call that takes something away does not follow; "+
			"if that is where the API lives, configure it as the base URL", named)}
	case errors.Is(err, errRedirects):
		return &failure{err: sdk.Permanent("%s: redirected more than %d times", named, maxRedirects)}
	case ctx.Err() != nil:
		return &failure{err: sdk.Retryable("%s: timed out after %s", named, c.timeout).Because(err), again: true}
	case errors.As(err, &noRoom): // for a redirect
		return &failure{err: untaken(ctx, noRoom, named, 1)}
	}
	if tunnel := (*tunnelError)(nil); errors.As(err, &tunnel) && tunnel.status == http.StatusProxyAuthRequired {
		return &failure{err: sdk.Unauthorized("%s: %s", named, tunnel).Because(err)}
	}
	class, again := classify(err)
	return &failure{err: sdk.Retryable("%s: %s", named, class).Because(err), again: again}
}

// tunnelError is the refusal of a proxy to connect to the server.
type tunnelError struct{ status int }

func (e *tunnelError) Error() string { return "the proxy did not connect: " + statusText(e.status) }

// classify gives a network error's class, and whether it is of the kind that passes within seconds.
func classify(err error) (class string, again bool) {
	var (
		dns         *net.DNSError
		authority   x509.UnknownAuthorityError
		hostname    x509.HostnameError
		certificate x509.CertificateInvalidError
		verify      *tls.CertificateVerificationError
		noTLS       tls.RecordHeaderError
		operation   *net.OpError
		timeout     net.Error
		tunnel      *tunnelError
		flated      flate.CorruptInputError
	)
	switch {
	case errors.Is(err, gzip.ErrHeader), errors.Is(err, gzip.ErrChecksum), errors.As(err, &flated):
		return "answered in a compression that is broken", true
	case errors.As(err, &tunnel):
		return tunnel.Error(), tunnel.status >= 500
	case errors.As(err, &operation) && operation.Op == "proxyconnect" && operation.Err != nil: // how net/http reports it
		class, again = classify(operation.Err)
		return "proxy: " + class, again
	case errors.As(err, &dns):
		if dns.IsNotFound {
			return "DNS lookup failed: no such host", true
		}
		return "DNS lookup failed", true
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused", true
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "connection reset", true
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return "host unreachable", true
	case errors.As(err, &hostname):
		return "TLS: certificate is for another host", false
	case errors.As(err, &certificate) && certificate.Reason == x509.Expired:
		return "TLS: certificate has expired or is not yet valid", false
	case errors.As(err, &authority), errors.As(err, &certificate), errors.As(err, &verify):
		return "TLS: certificate is not trusted", false
	case errors.As(err, &noTLS), errors.Is(err, http.ErrSchemeMismatch):
		return "TLS: the server does not speak it", false
	case errors.As(err, &operation) && operation.Op == "remote error": // how crypto/tls reports an alert of the other side
		return "TLS: handshake failed", false
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "connection closed before the answer was complete", true
	case errors.As(err, &timeout) && timeout.Timeout():
		return "timed out while connecting", true
	}
	return "network error", true
}

// statusFailure is the meaning of a status that is not one of the 200s.
func statusFailure(named string, answer *http.Response) *failure {
	status := answer.StatusCode
	text := named + ": " + statusText(status)
	f := &failure{status: &StatusError{Status: status}}
	switch status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests, http.StatusInternalServerError,
		http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		f.again = true
		if status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable {
			f.after = retryAfter(answer.Header)
		}
	}
	switch {
	case f.after > 0, status == http.StatusTooManyRequests:
		f.err = sdk.RateLimited(f.after, "%s", text)
	case status == http.StatusUnauthorized, status == http.StatusProxyAuthRequired: // the latter is of no record's making
		f.err = sdk.Unauthorized("%s", text)
	case status == http.StatusForbidden:
		f.err = sdk.Forbidden("%s", text)
	case status == http.StatusNotFound:
		f.err = sdk.NotFound("%s", text)
	case status == http.StatusGone:
		f.err = sdk.Gone("%s", text)
	case f.again, status >= 500:
		f.err = sdk.Retryable("%s", text)
	default:
		f.err = sdk.Permanent("%s", text)
	}
	f.err = f.err.Because(f.status)
	return f
}

// statusText is a status with our words for it, not the server's.
func statusText(status int) string {
	return strings.TrimSpace(strconv.Itoa(status) + " " + http.StatusText(status))
}

// StatusError is the cause of an error that a status made, for errors.As.
type StatusError struct {
	Status int
	Body   []byte // its first 4 KiB. The server's words may quote a record or a secret: they don't belong into texts
}

func (e *StatusError) Error() string { return fmt.Sprintf("status %d", e.Status) }

// Missing judges the error of a call to a server whose own answers are never pages of HTML, not even that there is nothing: a NotFound or
// Gone that came with one is the word of a proxy or an application server that can't reach it, and is Retryable. Other errors
// stay as they are.
func Missing(err error) error {
	var status *StatusError
	code := sdk.CodeOf(err)
	if code != sdk.CodeNotFound && code != sdk.CodeGone || !errors.As(err, &status) || !bytes.HasPrefix(bytes.TrimSpace(status.Body), []byte("<")) {
		return err
	}
	return sdk.Retryable("%s, on a page that is not of the API; is it up, and is base_url right?", err.Error()).Because(err)
}

// retryAfter reads the pause that the server asks for: seconds, or a date, which is compared with the server's own clock
// when it tells, as the two clocks may differ. Zero: none, or one that can't be read.
func retryAfter(h http.Header) time.Duration {
	v := strings.TrimSpace(h.Get("Retry-After"))
	if v == "" {
		return 0
	}
	if seconds, err := strconv.ParseUint(v, 10, 63); err == nil || errors.Is(err, strconv.ErrRange) {
		return time.Duration(min(seconds, uint64(maxPause/time.Second))) * time.Second
	}
	at, err := http.ParseTime(v)
	if err != nil {
		return 0
	}
	now, err := http.ParseTime(h.Get("Date"))
	if err != nil {
		now = time.Now()
	}
	return min(max(at.Sub(now), 0), maxPause)
}
