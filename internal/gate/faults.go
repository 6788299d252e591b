package gate

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"

	"github.com/tr87proxy/tr87proxy/internal/share"
)

// faults logs misbehaviour of peers at a limited rate.
type faults struct {
	log        *slog.Logger
	complaints share.PeerLog[netip.Prefix]
}

func newFaults(log *slog.Logger) *faults {
	return &faults{log: log, complaints: share.PeerLog[netip.Prefix]{Most: manyPeers}}
}

// report logs a line unless that exceeds the rate. It clips strings, errors and lists of strings
// in args, which may come from the peer.
func (f *faults) report(level slog.Level, peer net.Conn, what string, args ...any) {
	if !f.log.Enabled(context.Background(), level) {
		return
	}
	args = append([]any{"peer", peer.RemoteAddr().String()}, clipped(args)...)
	f.complaints.Log(f.log, level, share.Of(AddrOf(peer)), what, args...)
}

// clipped returns log attributes with long values clipped.
func clipped(args []any) []any {
	short := make([]any, len(args))
	for i, arg := range args {
		switch value := arg.(type) {
		case string:
			arg = share.Clip(value)
		case error:
			arg = share.Clip(value.Error())
		case []string:
			arg = share.Clip(fmt.Sprint(value))
		}
		short[i] = arg
	}
	return short
}
