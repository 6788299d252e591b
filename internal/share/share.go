// Package share divides what strangers can fill among peers: each has its part, those who have
// proved who they are have a reserve, and whoever takes most gives way first. It knows no
// protocol.
package share

import (
	"net/netip"
)

// Of returns who counts as one peer: an IPv4 address, or the /64 of an IPv6 address, which one
// host may have as a whole. The zero address is a peer, too.
func Of(addr netip.Addr) netip.Prefix {
	addr = addr.Unmap().WithZone("")
	bits := addr.BitLen()
	if addr.Is6() {
		bits = 64
	}
	prefix, _ := addr.Prefix(bits) // fails for the zero address only, and is the zero prefix then
	return prefix
}
