// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package destination

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/rounds-engine/rounds/engine/delivery"
	"github.com/rounds-engine/rounds/engine/record"
)

func TestOnlyAddressesOfThePublicInternetArePublic(t *testing.T) {
	for _, public := range []string{
		"1.1.1.1", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255", "128.0.0.0", "168.63.129.15",
		"169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0", "192.0.1.0", "192.167.255.255", "192.169.0.0", "198.17.255.255",
		"198.20.0.0", "223.255.255.255", "2000::1", "2001:200::1", "2001:4860:4860::8888", "2606:4700::1111", "2a00::1", "3ffe::1",
		"::ffff:1.1.1.1", "64:ff9b::1.1.1.1",
	} {
		if !isPublic(netip.MustParseAddr(public)) {
			t.Errorf("%s is refused", public)
		}
	}
	for _, private := range []string{
		"0.0.0.0", "0.1.2.3", "10.0.0.0", "10.255.255.255", "100.64.0.0", "100.100.100.200", "100.127.255.255", "127.0.0.1", "127.255.255.254",
		"168.63.129.16", "169.254.169.254", "169.254.0.1", "172.16.0.0", "172.31.255.255", "192.0.0.192", "192.0.2.1", "192.88.99.1",
		"192.168.0.1", "192.168.255.255", "198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255",
		"240.0.0.1", "255.255.255.255",
		"::", "::1", "::7f00:1", "::10.0.0.1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "::ffff:0:127.0.0.1", "100::1", "64:ff9b::10.0.0.1",
		"64:ff9b::169.254.169.254", "64:ff9b:1::1.1.1.1", "2001::1", "2001:0:7f00:1::1", "2001:db8::1", "2002:7f00:1::1", "2002:0a00:1::",
		"2002:101:101::1", "3fff::1", "4000::1", "5f00::1", "fc00::1", "fd00:ec2::254", "fdff::1", "fe80::1", "fe80::1%eth0", "2a00::1%eth0",
		"fec0::1", "ff02::1",
	} {
		if isPublic(netip.MustParseAddr(private)) {
			t.Errorf("%s is let through", private)
		}
	}
	if isPublic(netip.Addr{}) {
		t.Error("no address is let through")
	}
}

// TestTheAddressThatIsDialledDecides: what a name led to a moment ago, or what it looks like, does not.
func TestTheAddressThatIsDialledDecides(t *testing.T) {
	var calls atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { calls.Add(1) }))
	defer s.Close()
	c := &webhookConfig{URL: "http://receiver.example/hush"}
	if err := c.check(); err != nil {
		t.Fatal(err)
	}
	for name, dial := range map[string]func(context.Context, string, string) (net.Conn, error){
		// The name leads to a public address when it is checked, and to this machine when it is dialled.
		"rebinding": func(ctx context.Context, network, _ string) (net.Conn, error) {
			return guardedDial(false)(ctx, network, s.Listener.Addr().String())
		},
		"a name of this machine": func(ctx context.Context, network, _ string) (net.Conn, error) {
			_, port, _ := net.SplitHostPort(s.Listener.Addr().String())
			return guardedDial(false)(ctx, network, net.JoinHostPort("localhost", port))
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := c.open().(*webhook)
			defer w.Close()
			w.transport.(*direct).dial = dial
			err := w.Send(t.Context(), delivery.Notification{ID: "n", Body: []byte("{}")})
			var e *record.SendError
			if !errors.As(err, &e) || e.Verdict != record.Pause || e.Code != "private_address" || !strings.Contains(e.Text, "allow_private = true") {
				t.Fatalf("got %v", err)
			}
			for _, hidden := range []string{"hush", "receiver.example", "127.0.0.1"} {
				if strings.Contains(e.Text, hidden) {
					t.Errorf("the text shows %s: %s", hidden, e.Text)
				}
			}
		})
	}
	if n := calls.Load(); n != 0 {
		t.Errorf("%d requests reached this machine", n)
	}
}

// TestTheGuardDoesNotGoByAProxy: the proxy would look up the name, and nobody the address.
func TestTheGuardDoesNotGoByAProxy(t *testing.T) {
	var calls atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { calls.Add(1) }))
	defer s.Close()
	address, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	for _, all := range []bool{false, true} {
		c := &webhookConfig{URL: "http://receiver.example/hush", AllowPrivate: all}
		if err := c.check(); err != nil {
			t.Fatal(err)
		}
		w := c.open().(*webhook)
		defer w.Close()
		w.transport = c.proxied(http.ProxyURL(address))
		err := w.Send(t.Context(), delivery.Notification{ID: "n", Body: []byte("{}")})
		var e *record.SendError
		if all && (err != nil || calls.Load() != 1) {
			t.Errorf("allowed, and %d requests: %v", calls.Load(), err)
		} else if !all && (!errors.As(err, &e) || e.Verdict != record.Pause || e.Code != "proxied" ||
			!strings.Contains(e.Text, "allow_private = true") || calls.Load() != 0) {
			t.Errorf("got %v, %d requests", err, calls.Load())
		}
	}
}
