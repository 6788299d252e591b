// Package share divides limited tables and rates among peers, so that strangers cannot exhaust
// them: each peer has a maximum, authenticated peers have a reserve, and the peer with the most
// entries loses its oldest first. It also limits log lines and recovers from panics. It knows
// no protocol.
package share

import (
	"net/netip"
)

// Of returns the prefix that counts as one peer: an IPv4 address, or the /64 of an IPv6
// address, since one host may have all of it. The zero address counts as a peer, too.
func Of(addr netip.Addr) netip.Prefix {
	addr = addr.Unmap().WithZone("")
	bits := addr.BitLen()
	if addr.Is6() {
		bits = 64
	}
	prefix, _ := addr.Prefix(bits) // fails only for the zero address, whose prefix is zero
	return prefix
}
