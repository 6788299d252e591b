package tr87

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tr87proxy/tr87proxy/sip"
)

// Of each kind of line there is one a second for each client, and ten a second in all.
func TestComplaints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		s := NewServer(ServerConfig{Log: slog.New(slog.NewTextHandler(&log, nil))})
		lines := func() int { defer log.Reset(); return bytes.Count(log.Bytes(), []byte("\n")) }
		peer := func(n int) sip.Peer {
			return sip.Peer{Transport: "UDP", Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(n)}), uint16(1000+n))}
		}
		for range 1000 {
			s.warn("bad", "crm", peer(1))
		}
		s.warn("worse", "crm", peer(1))
		if got := lines(); got != 2 {
			t.Errorf("%d lines about one identity", got)
		}
		time.Sleep(time.Second)
		s.warn("bad", "crm", peer(1))
		if !strings.Contains(log.String(), "suppressed=999") {
			t.Error(log.String())
		}
		time.Sleep(time.Second)
		log.Reset()
		for n := range 1000 {
			s.warn("bad", "", peer(n%200))
			s.warn("bad", fmt.Sprint("user", n), peer(1))
		}
		if got := lines(); got != 10 {
			t.Errorf("%d lines at once about many clients", got)
		}
	})
}
