// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package destination

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/rounds-engine/rounds/engine/delivery"
	"github.com/rounds-engine/rounds/engine/record"
)

const (
	maxHeaders = 64 << 10    // bytes of an answer's headers
	maxDetail  = 2 << 10     // bytes of an answer that are kept
	maxAnswer  = 64 << 10    // bytes that are read so that the connection can be used again
	tidyTime   = time.Second // how long that may take
)

// webhook POSTs. It uses a transport without a client, which would follow redirects.
type webhook struct {
	url       *url.URL
	keys      [][]byte
	header    http.Header // of every request
	challenge *challenge  // nil: the receiver is not asked for one
	transport transport
}

// transport is a *direct, or an *http.Transport where that can't do.
type transport interface {
	http.RoundTripper
	CloseIdleConnections()
}

// Send makes one attempt. A status of 2xx is the receiver's word that it took the notification over, even if it was given
// before the body was read or if the rest of the answer never comes.
func (w *webhook) Send(ctx context.Context, n delivery.Notification) error {
	if err := w.challenge.pass(ctx, w); err != nil {
		return err
	}
	header := make(http.Header, len(w.header)+4)
	maps.Copy(header, w.header)
	w.sign(header, n, time.Now())
	if n.Trace != "" {
		header["Traceparent"] = []string{n.Trace}
	}
	_, err := w.request(ctx, http.MethodPost, w.url, header, n.Body)
	return err
}

// request makes one call and returns the beginning of the answer, if its status is 2xx.
func (w *webhook) request(ctx context.Context, method string, to *url.URL, header http.Header, body []byte) ([]byte, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	req := (&http.Request{
		Method: method, URL: to, Host: to.Host, Header: header,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}).WithContext(ctx)
	if body != nil {
		req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
		req.Body, req.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	}
	resp, err := w.transport.RoundTrip(req)
	if err != nil {
		if ctx.Err() != nil {
			return nil, canceled(ctx)
		}
		if e := guardError(err); e != nil {
			return nil, e
		}
		return nil, networkError(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode == http.StatusSwitchingProtocols { // nobody asked for that; the body is the connection, which heeds no context
		return nil, statusError(resp.StatusCode)
	}
	if resp.ContentLength != 0 { // an endless answer must not hold up the lane
		defer time.AfterFunc(tidyTime, cancel).Stop()
	}
	answer, _ := io.ReadAll(io.LimitReader(resp.Body, maxDetail))
	_, _ = io.CopyN(io.Discard, resp.Body, maxAnswer)
	if resp.StatusCode >= 200 && resp.StatusCode < 300 {
		return answer, nil
	}
	e := statusError(resp.StatusCode)
	e.Detail = strings.ToValidUTF8(string(answer), "\uFFFD")
	e.After = retryAfter(resp.Header, time.Now())
	return nil, e
}

// Probe asks for the challenge, where there is one; else it asks what may be sent, which changes nothing. Any answer shows that the
// receiver is reached: what it says of a request that is no notification tells nothing of one.
func (w *webhook) Probe(ctx context.Context) error {
	if w.challenge != nil {
		return w.challenge.ask(ctx, w)
	}
	_, err := w.request(ctx, http.MethodOptions, w.url, http.Header{"User-Agent": w.header["User-Agent"]}, nil)
	var e *record.SendError
	if errors.As(err, &e) && strings.HasPrefix(e.Code, "http_") {
		return nil
	}
	return err
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
