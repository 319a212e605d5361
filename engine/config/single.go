// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"crypto/tls"
	"net"
	"strconv"
	"time"

	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// Web is where the engine answers over HTTP: its page, health, metrics.
type Web struct {
	Listen string // host:port
	Token  string // that opens the page; empty: only rounds web does
	Cert   string // PEM; empty: no TLS
	Key    string // PEM
}

// History says what is kept of notifications that were delivered.
type History struct {
	Keep  time.Duration // 0: nothing is kept
	Bytes int64         // what all of it may take at most
}

// single returns the one block of a type of which there can be one.
func (l *loader) single(kind string) *hclsyntax.Block {
	blocks := l.of(kind)
	if len(blocks) == 0 {
		return nil
	}
	for _, b := range blocks[1:] {
		l.hide(b)
		l.errorf(b.DefRange(), "Duplicate block", "There is another %s block at %s:%d; an engine has one.", kind, blocks[0].TypeRange.Filename,
			blocks[0].TypeRange.Start.Line)
	}
	return blocks[0]
}

func (l *loader) web() {
	block := l.single("web")
	if block == nil {
		return
	}
	o, ok := l.decode(block, webSchema)
	if !ok {
		return
	}
	w := &Web{}
	listen, at := take(o, "listen", defaultListen)
	w.Listen = listen
	host, port, err := net.SplitHostPort(listen)
	if n, bad := strconv.Atoi(port); err != nil || bad != nil || n < 0 || n > 65535 {
		l.errorf(at, "Wrong value", `"listen" is HOST:PORT, such as %q; without a host it is all addresses of this machine.`, defaultListen)
		return
	}
	token, tokenAt := take(o, "token", "")
	if w.Token = token; tokenAt != o.header && len(token) < leastToken {
		l.errorf(tokenAt, "Wrong value", `"token" has at least %d characters: whoever has it sees patients' data.`, leastToken)
	}
	for _, t := range o.blocks["tls"] {
		w.Cert, _ = take(t, "cert", "")
		w.Key, _ = take(t, "key", "")
		if _, err := tls.X509KeyPair([]byte(w.Cert), []byte(w.Key)); err != nil {
			l.errorf(t.header, "Wrong value", `"cert" and "key" are not a certificate with its chain and its private key, both in PEM.`)
		}
	}
	if ip := net.ParseIP(host); w.Cert == "" && w.Token != "" && host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		l.errorf(at, "Unencrypted", `The page is reached from other machines here, and its token would travel unencrypted: add a tls block, listen on `+
			`127.0.0.1, or leave "token" out, so that there are health and metrics only.`)
	}
	l.config.Web = w
}

func (l *loader) history() {
	l.config.History = History{Keep: defaultHistory, Bytes: defaultHistoryMiB << 20}
	block := l.single("history")
	if block == nil {
		return
	}
	o, ok := l.decode(block, historySchema)
	if !ok {
		return
	}
	l.config.History.Keep = l.duration(o, "keep", "168h", 0, &ok)
	mib, at := take(o, "max_size", int64(defaultHistoryMiB))
	if mib < 1 || mib > 1<<30 {
		l.errorf(at, "Wrong value", `"max_size" is a number of MiB, at least 1.`)
	}
	l.config.History.Bytes = mib << 20
}
