// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package destination

import (
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

	"github.com/rounds-engine/rounds/engine/record"
)

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
	case 407: // which no notification is to blame for
		e.Verdict = record.Pause
		e.Text += ": a proxy on the way wants credentials, which stand in HTTP_PROXY"
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
		op        *net.OpError
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
	case errors.As(err, &op) && op.Op == "remote error": // an alert of TLS; its type is not exported
		e.Code, e.Text = "tls", "the receiver refused the TLS handshake; it may want a client certificate, or another one"
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
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		e.Text = "no connection can be opened here: the limit on open files is reached, raise it (ulimit -n, LimitNOFILE=)"
	case errors.Is(err, errNotHTTP), strings.Contains(err.Error(), "transport connection broken"): // of net/http: its type is not exported, and its text quotes the answer
		e.Text = fmt.Sprintf("no usable answer from the receiver: it is not HTTP/1.1, or its headers are longer than %d KiB", maxHeaders>>10)
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
