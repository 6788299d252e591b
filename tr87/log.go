package tr87

import (
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"github.com/tr87proxy/tr87proxy/share"
	"github.com/tr87proxy/tr87proxy/sip"
)

const (
	allLines = 10  // of one kind in a second, about all clients
	maxText  = 256 // octets of a client's text in a line
)

// complaint is a kind of line in the log, and the client that caused it.
type complaint struct {
	what     string
	identity string // or the user that it claims to be
	peer     netip.Prefix
}

// complaints limits lines that clients cause as often as they like: of each kind one a second
// for each client, and ten a second in all.
type complaints struct {
	each   share.Hush[complaint]
	all    share.Meter[string]
	others atomic.Int64 // lines that all did not permit
}

// warn writes a line about what a client sent, unless there are too many of its kind.
func (s *Server) warn(what, identity string, peer sip.Peer, args ...any) {
	now := time.Now()
	tell, untold := s.complaints.each.Tell(complaint{what, clip(identity), share.Of(peer.Addr.Addr())}, now)
	if !tell {
		return
	}
	if !s.complaints.all.Take(what, allLines, allLines, now) {
		s.complaints.others.Add(int64(untold) + 1)
		return
	}
	if untold += int(s.complaints.others.Swap(0)); untold > 0 {
		args = append(args, "untold", untold)
	}
	s.cfg.Log.Warn(what, append([]any{"peer", peer.String()}, args...)...)
}

// clip shortens a client's text, and keeps a copy only of what is left.
func clip(text string) string {
	if len(text) <= maxText {
		return text
	}
	return strings.ToValidUTF8(strings.Clone(text[:maxText]), "") + "..."
}
