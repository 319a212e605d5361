// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package destination

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/rounds-engine/rounds/engine/record"
)

// The guard keeps a webhook away from what is not of the public internet: whoever may choose a URL could otherwise have the
// engine speak to services that trust their neighbours, a cloud's metadata service above all. It looks at the address that
// is dialled, after the name was looked up, so that it does not matter what the name led to a moment ago.

const allowPrivate = "if the receiver is to be reached there, write allow_private = true in the destination's block"

var (
	errPrivate = errors.New("not an address of the public internet")
	errProxied = errors.New("a proxy hides the address")
)

// guardError gives the guard's refusals their meaning: only a person can change what is right here. Nil: it was not the guard.
func guardError(err error) *record.SendError {
	switch {
	case errors.Is(err, errPrivate):
		return &record.SendError{Verdict: record.Pause, Code: "private_address", Text: "the receiver's host leads to an address that is " +
			"loopback, private, link-local or otherwise not of the public internet, which is refused; " + allowPrivate}
	case errors.Is(err, errProxied):
		return &record.SendError{Verdict: record.Pause, Code: "proxied", Text: "HTTPS_PROXY or HTTP_PROXY of the environment names a proxy, " +
			"which would look up the receiver's host itself, so that its address can't be checked; write allow_private = true in the " +
			"destination's block to leave that to the proxy, or put the host into NO_PROXY"}
	}
	return nil
}

// guardedDial is a dial function that dials public addresses only, unless all are allowed.
func guardedDial(all bool) func(ctx context.Context, network, address string) (net.Conn, error) {
	d := &net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}
	if !all {
		d.ControlContext = func(_ context.Context, _, address string, _ syscall.RawConn) error {
			if at, err := netip.ParseAddrPort(address); err != nil || !isPublic(at.Addr()) {
				return errPrivate
			}
			return nil
		}
	}
	return d.DialContext
}

// guardedProxy heeds the proxies of the environment, as hospitals have outgoing ones. What goes by a proxy is not seen by the
// guard, so that both together are refused.
func guardedProxy(all bool, environment func(*http.Request) (*url.URL, error)) func(*http.Request) (*url.URL, error) {
	if all {
		return environment
	}
	return func(r *http.Request) (*url.URL, error) {
		proxy, err := environment(r)
		if proxy != nil {
			return nil, errProxied
		}
		return nil, err
	}
}

// isPrivateHost reports whether it can be told without a look-up that a host is not public.
func isPrivateHost(host string) bool {
	if at, err := netip.ParseAddr(host); err == nil {
		return !isPublic(at)
	}
	name := strings.ToLower(strings.TrimSuffix(host, "."))
	return name == "localhost" || strings.HasSuffix(name, ".localhost") // RFC 6761, section 6.3
}

// isPublic reports whether an address is one of the public internet, by the registries of special-purpose addresses of IANA
// (RFC 6890 and what came after). Forms of IPv6 that stand for an address of IPv4 are as public as that one. A network's own
// prefix of NAT64 can't be known here.
func isPublic(a netip.Addr) bool {
	a = a.Unmap()
	nets := specialNets()
	switch {
	case a.Is4():
		return !within(a, nets.not4)
	case nets.nat64.Contains(a):
		b := a.As16()
		return isPublic(netip.AddrFrom4([4]byte(b[12:])))
	}
	return within(a, nets.global6) && !within(a, nets.not6) // an address with a zone is in none
}

func within(a netip.Addr, all []netip.Prefix) bool {
	for _, p := range all {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

type special struct {
	not4, global6, not6 []netip.Prefix
	nat64               netip.Prefix
}

// specialNets is made when it is first asked for: the program is started often for other things.
var specialNets = sync.OnceValue(func() special {
	parse := func(texts ...string) (all []netip.Prefix) {
		for _, text := range texts {
			all = append(all, netip.MustParsePrefix(text))
		}
		return all
	}
	return special{
		not4: parse(
			"0.0.0.0/8",        // this network, the unspecified address
			"10.0.0.0/8",       // private
			"100.64.0.0/10",    // carrier-grade NAT, and the metadata service of Alibaba Cloud
			"127.0.0.0/8",      // loopback
			"168.63.129.16/32", // the platform's services in Azure, a public address that leads inside
			"169.254.0.0/16",   // link-local, and most clouds' metadata services
			"172.16.0.0/12",    // private
			"192.0.0.0/24",     // protocol assignments
			"192.0.2.0/24",     // documentation
			"192.88.99.0/24",   // relays of 6to4, deprecated
			"192.168.0.0/16",   // private
			"198.18.0.0/15",    // benchmarks
			"198.51.100.0/24",  // documentation
			"203.0.113.0/24",   // documentation
			"224.0.0.0/4",      // multicast
			"240.0.0.0/4",      // reserved, broadcast
		),
		// All other IPv6 is loopback, unspecified, unique local, link-local, site-local, multicast, discard-only or not assigned.
		global6: parse("2000::/3"),
		not6: parse(
			"2001::/23",     // protocol assignments: Teredo, ORCHID and others
			"2001:db8::/32", // documentation
			"2002::/16",     // 6to4, deprecated, holds an address of IPv4
			"3fff::/20",     // documentation
		),
		nat64: netip.MustParsePrefix("64:ff9b::/96"), // RFC 6052: the last four bytes are the address of IPv4
	}
})
