package tr87

import (
	"log/slog"
	"net/netip"
	"strings"

	"github.com/tr87proxy/tr87proxy/internal/share"
	"github.com/tr87proxy/tr87proxy/sip"
)

// complainant is a client that makes the log say something: who it is, or claims to be, and where.
type complainant struct {
	identity string
	peer     netip.Prefix
}

// warn writes a line about what a client sent, unless there are too many of its kind.
func (s *Server) warn(what, identity string, peer sip.Peer, args ...any) {
	who := complainant{strings.Clone(share.Clip(identity)), share.Of(peer.Addr.Addr())}
	s.complaints.Log(s.cfg.Log, slog.LevelWarn, who, what, append([]any{"peer", peer.String()}, args...)...)
}
