package tr87

import (
	"net/netip"
	"testing"
	"testing/synctest"

	"github.com/tr87proxy/tr87proxy/sip"
)

// INVITEs over UDP have a rate for each address, and one for all; others have a rate of their own.
func TestAdmits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewServer(ServerConfig{})
		admitted := func(transport string, addresses, each int) (n int) {
			for i := range addresses * each {
				if s.admits(sip.Peer{Transport: transport, Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i % addresses)}), 1000)}) {
					n++
				}
			}
			return n
		}
		if got := admitted("UDP", 1, 1000); got != inviteRate {
			t.Errorf("%d from one address over UDP", got)
		}
		if got := admitted("UDP", 200, 10); got != udpInviteRate-inviteRate {
			t.Errorf("%d more from all addresses over UDP", got)
		}
		if got := admitted("TCP", 200, 200); got != 200*inviteRate {
			t.Errorf("%d over TCP", got)
		}
	})
}
