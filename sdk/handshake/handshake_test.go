// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package handshake_test

import (
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/rounds-engine/rounds/sdk/handshake"
)

// TestAServerThatSaysNothingIsNotWaitedForForEver has one that accepts and does not answer. What else can go wrong is tested in engine/host,
// with real programs.
func TestAServerThatSaysNothingIsNotWaitedForForEver(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	mutual, environment, err := handshake.Identity()
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode([]byte(strings.TrimPrefix(environment, "PLUGIN_CLIENT_CERT=")))
	if block == nil {
		t.Fatal("the environment has no certificate")
	}
	var g handshake.Greeting
	fmt.Fprintf(&g, "1|1|tcp|%s|grpc|%s\nmore", listener.Addr(), base64.RawStdEncoding.EncodeToString(block.Bytes))
	if problem := g.Problem(); problem != "" {
		t.Errorf("a good line: %s", problem)
	}
	if why := g.Unreachable(mutual); why != "said hello, and then no connection came about: its server did not answer the TLS handshake" {
		t.Errorf("got %q", why)
	}
}

func FuzzGreeting(f *testing.F) {
	f.Add([]byte("1|1|unix|/tmp/x|grpc|MIIB"))
	f.Add([]byte("hello\n1|1"))
	f.Fuzz(func(t *testing.T, line []byte) {
		var g handshake.Greeting
		_, _ = g.Write(line)
		parts, output := g.Parts()
		if (parts != nil || g.Problem() != "") && !output {
			t.Error("nothing was written, and something is wrong with it")
		}
		if parts != nil && len(parts) < 4 {
			t.Error("a line with too few fields")
		}
	})
}
