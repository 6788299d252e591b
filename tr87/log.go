package tr87

import (
	"net/netip"
	"strings"
	"time"

	"github.com/tr87proxy/tr87proxy/share"
	"github.com/tr87proxy/tr87proxy/sip"
)

const (
	hushAll = 100 * time.Millisecond // between lines of one kind about all clients
	maxText = 256                    // octets of a client's text in a line
)

// complaint is a kind of line in the log, and the client that caused it.
type complaint struct {
	what     string
	identity string
	peer     netip.Prefix // of clients without an identity
}

// complaints limits lines that clients cause as often as they like: of each kind one a second
// for each client, and ten a second in all.
type complaints struct {
	each share.Hush[complaint]
	all  share.Hush[string]
}

// warn writes a line about what a client sent, unless there are too many of its kind.
func (s *Server) warn(what, identity string, peer sip.Peer, args ...any) {
	c := complaint{what: what, identity: clip(identity)}
	if identity == "" {
		c.peer = share.Of(peer.Addr.Addr())
	}
	now := time.Now()
	tell, untold := s.complaints.each.Tell(c, now)
	if !tell {
		return
	}
	tell, others := s.complaints.all.Tell(what, now)
	if !tell {
		return
	}
	if untold += others; untold > 0 {
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
