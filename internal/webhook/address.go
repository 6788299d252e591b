package webhook

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// ErrAddress is the error for a receiver with an address that must not be reached.
var ErrAddress = errors.New("the receiver has an address that is not public")

// never are networks that no hook reaches: unspecified addresses, multicast, what is reserved, and addresses that
// contain others.
var never = prefixes("0.0.0.0/8", "224.0.0.0/3", "192.0.0.0/24", "192.88.99.0/24", "::/128", "ff00::/8",
	"::ffff:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48", "2001::/32", "2002::/16")

// private are networks that hooks reach only if they may: private, loopback, link-local, carrier-grade NAT, site-local,
// and those of documentation and benchmarks.
var private = prefixes("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "127.0.0.0/8", "169.254.0.0/16", "100.64.0.0/10", "192.0.2.0/24",
	"198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "::1/128", "fc00::/7", "fe80::/10", "fec0::/10", "2001:db8::/32", "3fff::/20")

// public is where all other IPv6 addresses are.
var public = netip.MustParsePrefix("2000::/3")

func prefixes(texts ...string) (list []netip.Prefix) {
	for _, text := range texts {
		list = append(list, netip.MustParsePrefix(text))
	}
	return list
}

// allowed reports whether a hook may send to an address.
func allowed(addr netip.Addr, alsoPrivate bool) bool {
	addr = addr.WithZone("")
	within := func(list []netip.Prefix) bool {
		return slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(addr) })
	}
	switch {
	case !addr.IsValid(), within(never):
		return false
	case within(private):
		return alsoPrivate
	}
	return addr.Is4() || public.Contains(addr)
}

// MayReach reports whether a client of [NewClient] may reach a host, as far as that can be seen before it is resolved.
func MayReach(host string, private func(netip.Addr) bool) bool {
	addr, err := netip.ParseAddr(host)
	return err != nil || allowed(addr, private(addr.Unmap()))
}

// forbidden returns why a hook may not send to a host as far as that can be seen before it is resolved; "" if it may.
func forbidden(host string, alsoPrivate bool) string {
	if addr, err := netip.ParseAddr(host); err == nil {
		if !allowed(addr, alsoPrivate) {
			return "has an address that is not public; private: true, in the configuration, allows private ones"
		}
		return ""
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if !alsoPrivate && (host == "localhost" || strings.HasSuffix(host, ".localhost")) {
		return "names this machine, whose address is not public; private: true, in the configuration, allows that"
	}
	last := host[strings.LastIndexByte(host, '.')+1:]
	if _, err := strconv.ParseUint(last, 0, 64); err == nil || host == "" { // some resolvers take 127.1, 0x7f000001 and 2130706433 for addresses
		return "has a host that is neither a name nor an address; write for example crm.example, or four numbers"
	}
	return ""
}

// NewClient returns a client for receivers at public addresses, and at those private ones that it may reach. It checks the
// address that it connects to, after names are resolved, follows no redirect, and uses no proxy.
func NewClient(private func(netip.Addr) bool) *http.Client {
	dialer := &net.Dialer{Timeout: 10 * time.Second, ControlContext: func(_ context.Context, _, address string, _ syscall.RawConn) error {
		at, err := netip.ParseAddrPort(address)
		if err != nil || !allowed(at.Addr(), private(at.Addr().Unmap())) {
			return ErrAddress
		}
		return nil
	}}
	return &http.Client{
		Transport: &http.Transport{
			DialContext: dialer.DialContext, ForceAttemptHTTP2: true, TLSHandshakeTimeout: 10 * time.Second, ResponseHeaderTimeout: 20 * time.Second,
			MaxResponseHeaderBytes: 64 << 10, DisableCompression: true, MaxIdleConns: 200, MaxIdleConnsPerHost: atATime, IdleConnTimeout: 90 * time.Second,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       30 * time.Second,
	}
}
