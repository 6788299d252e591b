package gate

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"

	"github.com/tr87proxy/tr87proxy/internal/share"
)

// faults says in a log what peers do wrong, and not each time.
type faults struct {
	log        *slog.Logger
	complaints share.PeerLog[netip.Prefix]
}

func newFaults(log *slog.Logger) *faults {
	return &faults{log: log, complaints: share.PeerLog[netip.Prefix]{Most: manyPeers}}
}

// tell writes a line, if it is not one too many. Of texts, errors and lists of texts among args it
// writes as much as share.Clip leaves: they may be the peer's.
func (f *faults) tell(level slog.Level, peer net.Conn, what string, args ...any) {
	if !f.log.Enabled(context.Background(), level) {
		return
	}
	args = append([]any{"peer", peer.RemoteAddr().String()}, clipped(args)...)
	f.complaints.Log(f.log, level, share.Of(AddrOf(peer)), what, args...)
}

// clipped returns attributes for the log with what is too long in them cut off.
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
