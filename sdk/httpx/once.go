// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package httpx

import (
	"context"
	"errors"
	"net/http/httptrace"
	"sync/atomic"
)

var errOnce = errors.New("a call that is made once only was redirected")

type onceKey struct{}

// once lets a call be counted as often as it is sent. net/http sends a GET again by itself when a connection that was used before
// breaks before the answer begins; what the server did on hearing it first is not known then.
func once(ctx context.Context) (_ context.Context, sent *atomic.Int32) {
	sent = new(atomic.Int32)
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteRequest: func(httptrace.WroteRequestInfo) { sent.Add(1) }})
	return context.WithValue(ctx, onceKey{}, sent), sent
}

func isOnce(ctx context.Context) bool { return ctx.Value(onceKey{}) != nil }
