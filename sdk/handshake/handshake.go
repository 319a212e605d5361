// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

// Package handshake is how a program that starts adapters, the engine or the conformance kit, comes to speak to one whose line of
// greeting it has: TLS with both sides' certificates, and words for what stands in the way. Adapters have no use for it.
// docs/adapter-protocol.md has the other side.
package handshake

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/rounds-engine/rounds/sdk"
	"github.com/rounds-engine/rounds/sdk/internal/identity"
)

// Identity is what go-plugin's AutoMTLS does for the engine, with a key that every TLS library takes: theirs is on P-521, which
// adapters with BoringSSL (gRPC's C core and what is built on it: Python, Ruby, …) refused for years (grpc/grpc#23235). The environment has the
// certificate for the adapter; the adapter's own comes with its handshake line, and until then nobody is trusted.
func Identity() (c *tls.Config, environment string, err error) {
	own, err := identity.New()
	if err != nil {
		return nil, "", err
	}
	return &tls.Config{
		Certificates: []tls.Certificate{own},
		RootCAs:      x509.NewCertPool(),
		MinVersion:   tls.VersionTLS12,
		ServerName:   identity.ServerName,
	}, "PLUGIN_CLIENT_CERT=" + string(identity.PEM(own)), nil
}

// Greeting keeps the first line that is written to it, by which an adapter says hello on its stdout.
type Greeting struct {
	mu   sync.Mutex
	line []byte
	full bool
}

const maxGreeting = 8 << 10 // it holds a certificate

// Write implements io.Writer; it never fails.
func (g *Greeting) Write(b []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, c := range b {
		if g.full = g.full || c == '\n' || len(g.line) == maxGreeting; g.full {
			break
		}
		g.line = append(g.line, c)
	}
	return len(b), nil
}

// In gives go-plugin what an adapter prints, and keeps the first line of it.
func (g *Greeting) In(stdout io.Reader) io.Reader { return io.TeeReader(&firstLine{from: stdout}, g) }

// firstLine ends with what it reads from, as go-plugin waits for that, and keeps back what follows the line: go-plugin stops to read at a
// line of 64 KiB, and a program that prints what nobody reads stands still.
type firstLine struct {
	from io.Reader
	past bool
}

func (f *firstLine) Read(b []byte) (int, error) {
	for {
		n, err := f.from.Read(b)
		switch end := bytes.IndexByte(b[:n], '\n'); {
		case !f.past && end >= 0:
			f.past = true
			return end + 1, nil // an error comes again
		case !f.past:
			return n, err
		case err != nil:
			return 0, err
		}
	}
}

// Parts gives the fields of the line, nil if it is no adapter's, and whether there was any output.
func (g *Greeting) Parts() (parts []string, output bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	parts = strings.Split(strings.TrimSpace(string(g.line)), "|")
	if len(parts) < 4 {
		return nil, len(g.line) > 0
	}
	for _, number := range parts[:2] {
		if _, err := strconv.Atoi(number); err != nil {
			return nil, true
		}
	}
	return parts, true
}

// Problem says what is wrong with the line, in words that follow the program's name; "" if nothing is, or nothing was written.
func (g *Greeting) Problem() string {
	switch parts, output := g.Parts(); {
	case parts == nil && output:
		return "is not an adapter: its first output is not an adapter's handshake"
	case parts == nil:
		return ""
	case parts[0] != "1":
		return fmt.Sprintf("speaks version %s of go-plugin's own protocol, this engine speaks 1", parts[0])
	case parts[1] != strconv.Itoa(sdk.ProtocolVersion):
		return fmt.Sprintf("speaks version %s of the adapter protocol, this engine speaks %d: use an adapter and an engine of the same version",
			parts[1], sdk.ProtocolVersion)
	case unreadable(parts) != "":
		return noConnection + unreadable(parts)
	}
	return ""
}

const noConnection = "said hello, and then no connection came about: "

// unreadable says what is wrong with the fields behind the versions.
func unreadable(parts []string) string {
	switch {
	case len(parts) < 5 || parts[4] != "grpc":
		return "it does not speak gRPC: the fifth field of its handshake line must be grpc"
	case parts[2] != "unix" && parts[2] != "tcp":
		return "the third field of its handshake line must be unix or tcp"
	case len(parts) < 6 || parts[5] == "":
		return "its handshake line has no certificate: the sixth field must be its server's, for " +
			"TLS that verifies the certificate in PLUGIN_CLIENT_CERT"
	}
	der, err := base64.RawStdEncoding.DecodeString(parts[5])
	if err != nil {
		return "the certificate in its handshake line is not base64 without padding"
	}
	if _, err := x509.ParseCertificate(der); err != nil {
		return "the certificate in its handshake line is not a single one in DER"
	}
	return ""
}

// contactTime bounds a look at why an adapter can't be spoken to.
const contactTime = 2 * time.Second

// Unreachable is Problem, and when the line has none it connects to where it leads and says in which step that fails. It takes some
// seconds at most. gRPC's own errors may quote whatever the other side sent.
func (g *Greeting) Unreachable(c *tls.Config) string {
	parts, _ := g.Parts()
	if problem := g.Problem(); problem != "" || parts == nil {
		return problem
	}
	if why := unreachable(parts, c); why != "" {
		return noConnection + why
	}
	return ""
}

func unreachable(parts []string, c *tls.Config) string {
	conn, err := net.DialTimeout(parts[2], parts[3], contactTime)
	if err != nil {
		return "nobody listens at the address in its handshake line, which must be printed after the server has begun to listen"
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(contactTime)) // else the next call fails
	c = c.Clone()
	c.NextProtos = []string{"h2"}
	secure := tls.Client(conn, c)
	err = secure.Handshake()
	var name x509.HostnameError
	var authority x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	var plain tls.RecordHeaderError
	var alert tls.AlertError
	switch {
	case err == nil:
	case errors.As(err, &name):
		return "its certificate must have the DNS name " + identity.ServerName + " as a subject alternative name"
	case errors.As(err, &authority):
		return "its server shows another certificate than its handshake line gave"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "its certificate is not valid at this time"
	case errors.As(err, &invalid):
		return "its certificate is not one for a server"
	case errors.As(err, &plain):
		return "its server does not speak TLS"
	case errors.As(err, &alert):
		return "its server ended the TLS handshake: " + alert.Error()
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "its server did not answer the TLS handshake"
	case errors.Is(err, io.EOF):
		return "its server closed the connection in the TLS handshake"
	default:
		return "the TLS handshake failed"
	}
	if secure.ConnectionState().NegotiatedProtocol != "h2" {
		return "its server does not offer HTTP/2 (h2) by ALPN"
	}
	// With TLS 1.3 a server judges the client's certificate after the client's part of the handshake.
	_, err = secure.Read(make([]byte, 1))
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		return "its server does not take the engine's certificate, which is its own authority and in PLUGIN_CLIENT_CERT"
	}
	return ""
}
