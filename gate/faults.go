package gate

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"github.com/tr87proxy/tr87proxy/share"
)

// faults says in a log what peers do wrong: of each kind and peer one line a second, with how
// many were not told.
type faults struct {
	log  *slog.Logger
	hush share.Hush[fault]
}

type fault struct {
	peer netip.Prefix
	what string
}

func newFaults(log *slog.Logger) *faults {
	return &faults{log: log, hush: share.Hush[fault]{Most: manyPeers}}
}

func (f *faults) tell(level slog.Level, peer net.Conn, what string, args ...any) {
	if !f.log.Enabled(context.Background(), level) {
		return
	}
	tell, untold := f.hush.Tell(fault{share.Of(AddrOf(peer)), what}, time.Now())
	if !tell {
		return
	}
	if untold > 0 {
		args = append(args, "untold", untold)
	}
	f.log.Log(context.Background(), level, what, append([]any{"peer", peer.RemoteAddr().String()}, args...)...)
}
