// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package host_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/rounds-engine/rounds/engine/host"
	"github.com/rounds-engine/rounds/sdk"
	pb "github.com/rounds-engine/rounds/sdk/proto"
)

// byHand is an adapter that was written without sdk and go-plugin: it describes itself and has nothing else.
type byHand struct {
	pb.UnimplementedAdapterServer
	fail bool
}

func (b byHand) Describe(context.Context, *pb.DescribeRequest) (*pb.DescribeResponse, error) {
	if b.fail {
		return nil, os.ErrInvalid
	}
	return &pb.DescribeResponse{Info: &pb.Info{Name: "by hand", Version: "4.5.6"}}, nil
}

// certificate makes one that is its own authority.
func certificate(dnsName string, until time.Time, usage x509.ExtKeyUsage) tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{dnsName}, NotBefore: until.Add(-time.Hour), NotAfter: until,
		ExtKeyUsage: []x509.ExtKeyUsage{usage}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		panic(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// beByHand is a program that says hello itself, with the mistake that its name tells.
func beByHand(name string) {
	address := filepath.Join(os.Getenv("PLUGIN_UNIX_SOCKET_DIR"), "own.sock")
	network, dnsName, until, usage := "unix", "localhost", time.Now().Add(time.Minute), x509.ExtKeyUsageServerAuth
	switch name {
	case "other name":
		dnsName = "elsewhere"
	case "expired":
		until = time.Now().Add(-time.Minute)
	case "no server's":
		usage = x509.ExtKeyUsageClientAuth
	}
	if name == "tcp" {
		network, address = "tcp", "127.0.0.1:0"
	}
	own := certificate(dnsName, until, usage)
	clients := x509.NewCertPool()
	if name != "refuses the engine" {
		clients.AppendCertsFromPEM([]byte(os.Getenv("PLUGIN_CLIENT_CERT")))
	}
	mutual := &tls.Config{Certificates: []tls.Certificate{own}, ClientCAs: clients, ClientAuth: tls.RequireAndVerifyClientCert,
		NextProtos: []string{"h2"}, MinVersion: tls.VersionTLS12}
	told := base64.RawStdEncoding.EncodeToString(own.Certificate[0])
	switch name {
	case "no certificate":
		told = ""
	case "PEM":
		told = base64.RawStdEncoding.EncodeToString(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: own.Certificate[0]}))
	case "padding":
		told += "="
	case "other certificate":
		told = base64.RawStdEncoding.EncodeToString(certificate("localhost", until, usage).Certificate[0])
	case "ends":
		defer os.Exit(5)
	}
	listener, err := net.Listen(network, address)
	if err != nil {
		panic(err)
	}
	defer listener.Close()
	address = listener.Addr().String()
	switch name {
	case "nobody listens":
		address += "x"
	case "network":
		network = "pipe"
	}
	hello := fmt.Sprintf("1|1|%s|%s|grpc|%s\n", network, address, told)
	switch name {
	case "plain":
		fmt.Print(hello)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
		}
	case "not HTTP/2":
		mutual.NextProtos = nil
		fmt.Print(hello)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() { _ = tls.Server(conn, mutual).Handshake() }()
		}
	case "ends":
		fmt.Print(hello)
		return
	}
	server := grpc.NewServer(grpc.Creds(credentials.NewTLS(mutual)))
	pb.RegisterAdapterServer(server, byHand{fail: name == "fails"})
	fmt.Print(hello)
	if name == "prints" { // and what reads a pipe by lines has had enough
		fmt.Print(strings.Repeat("c4n4ry ", 100_000))
	}
	_ = server.Serve(listener)
}

// TestAnAdapterNeedsNoServiceButItsOwn: health, shutdown and go-plugin's other services may be missing.
func TestAnAdapterNeedsNoServiceButItsOwn(t *testing.T) {
	for _, name := range []string{"by hand", "tcp", "prints"} {
		h, l, _ := newHost(t)
		host.Hurry(h, 10*time.Second, 10*time.Millisecond, time.Minute)
		a := host.Adapter{Name: name}
		for range 5 {
			d, err := h.Describe(within(t, 10*time.Second), a)
			if err != nil || d.Info.Version != "4.5.6" {
				t.Fatalf("%s: got %v, %v", name, d, err)
			}
			time.Sleep(100 * time.Millisecond) // several pings, and a second after the first would be the end
		}
		time.Sleep(time.Second)
		if strings.Contains(l.String(), "ended by itself") {
			t.Errorf("%s was given up: %s", name, l)
		}
	}
}

// TestTheEnginesCertificateIsOneThatEveryLibraryTakes: some know no other curve than P-256.
func TestTheEnginesCertificateIsOneThatEveryLibraryTakes(t *testing.T) {
	h, _, _ := newHost(t)
	s := h.Open(test, "test.one", []byte(`{}`), false)
	_, text, _ := strings.Cut(ask(t, s, "environment"), "PLUGIN_CLIENT_CERT=")
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		t.Fatal("no certificate")
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	if key, ok := c.PublicKey.(*ecdsa.PublicKey); !ok || key.Curve != elliptic.P256() || !c.IsCA {
		t.Errorf("got a key of type %T", c.PublicKey)
	}
}

func TestAHandshakeThatLeadsNowhereSaysWhatIsWrong(t *testing.T) {
	for name, want := range map[string]string{
		"no certificate":     "the sixth field must be its server's",
		"PEM":                "is not a single one in DER",
		"padding":            "is not base64 without padding",
		"network":            "must be unix or tcp",
		"nobody listens":     "nobody listens at the address in its handshake line, which must be printed after the server has begun to listen",
		"other name":         "must have the DNS name localhost as a subject alternative name",
		"expired":            "is not valid at this time",
		"no server's":        "its certificate is not one for a server",
		"other certificate":  "its server shows another certificate than its handshake line gave",
		"plain":              "its server does not speak TLS",
		"not HTTP/2":         "its server does not offer HTTP/2 (h2) by ALPN",
		"refuses the engine": "its server does not take the engine's certificate",
		"ends":               "said hello and ended (exit status 5, 0 lines on stderr)",
		"fails":              "Describe: the adapter failed and did not say how: status Unknown without an Error in its details",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h, _, _ := newHost(t)
			host.Hurry(h, 5*time.Second, time.Minute, time.Minute)
			_, err := h.Describe(t.Context(), host.Adapter{Name: name})
			if err == nil || !strings.Contains(err.Error(), want) || sdk.CodeOf(err) != sdk.CodeRetryable {
				t.Errorf("got\n%v, want\n%s", err, want)
			}
		})
	}
}
