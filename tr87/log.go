package tr87

import (
	"log/slog"
	"net/netip"
	"strings"

	"github.com/tr87proxy/tr87proxy/internal/share"
	"github.com/tr87proxy/tr87proxy/sip"
)

// logSource is the source of log lines: a claimed identity and its peer.
type logSource struct {
	identity string
	peer     netip.Prefix
}

// warn logs something a client caused, at a limited rate for each identity and peer.
func (s *Server) warn(what, identity string, peer sip.Peer, args ...any) {
	who := logSource{strings.Clone(share.Clip(identity)), share.Of(peer.Addr.Addr())}
	s.complaints.Log(s.cfg.Log, slog.LevelWarn, who, what, append([]any{"peer", peer.String()}, args...)...)
}
