package tr87

import (
	"bytes"
	"errors"
	"log/slog"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/time/rate"

	"github.com/tr87proxy/tr87proxy/internal/accounts"
	"github.com/tr87proxy/tr87proxy/internal/share"
	"github.com/tr87proxy/tr87proxy/policy"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/sip"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// Dialect adapts the server to a family of clients that deviates from TR/87.
type Dialect interface {
	// Name returns the name for configuration and log.
	Name() string
	// Speaks reports whether a client belongs to the family, judged by its User-Agent header
	// and the message in its INVITE (nil for none).
	Speaks(userAgent string, opening *uacsta.Message) bool
	// Refusal returns the response to an INVITE for which the core opened no session because of
	// err, or false for the default response.
	Refusal(err error) (sip.Answer, bool)
}

// ServerConfig configures a [Server].
type ServerConfig struct {
	Proxy  *proxy.Proxy
	Digest *sip.Digest // authenticates clients that are not trusted; nil refuses them
	// Trusts reports whether to believe the identity that a peer asserts in P-Asserted-Identity
	// or From. nil trusts nobody.
	Trusts func(addr netip.Addr, certificateNames []string) bool
	// Anybody is the identity of every client, without any check, for demonstrations on
	// loopback. The zero value disables this.
	Anybody policy.Identity
	// Sessions says whether clients open application sessions. Unless it is SessionsOff, and if
	// Digest is nil, an INVITE of a peer that is not trusted opens a dialog in which the client
	// can only open an application session.
	Sessions proxy.SessionMode
	// AnswerInInfo sends each response in an INFO of its own instead of in the 200 OK, for
	// clients that require it.
	AnswerInInfo bool
	// Dialects are tried in order, unless Spoken returns the dialect configured for the
	// listener: a name, "plain" for none, or "" to let Speaks decide.
	Dialects []Dialect
	Spoken   func(sip.Peer) string
	// MaxGuests bounds the dialogs of clients that have not logged in; default 4096. Above it,
	// the oldest dialog of the peer with the most is closed.
	MaxGuests int
	Log       *slog.Logger
}

// Server is the switching function's role of TR/87 for clients that dial in. It implements
// [sip.Handler].
type Server struct {
	cfg       ServerConfig
	strangers proxy.Strangers
	// invites limits the INVITEs of each stranger.
	invites    share.Meter[inviteSource]
	datagrams  *rate.Limiter // limits them over UDP, for all addresses together
	guests     *share.Table  // dialogs of clients that have not logged in
	complaints share.PeerLog[logSource]
}

// inviteSource is the source of INVITEs before a login. The source address of a datagram can be
// forged, so INVITEs over UDP do not count against connections from the same address.
type inviteSource struct {
	peer      netip.Prefix
	validated bool
}

const (
	inviteRate = 100   // INVITEs per second from one stranger
	maxPeers   = 50000 // strangers whose rate is tracked
	// udpInviteRate is the limit of INVITEs per second over UDP from all strangers together, since
	// one sender can forge many addresses. sipgo keeps each 200 for 32 s even after its dialog
	// has ended: at most 6 KiB each, 100 MiB in total.
	udpInviteRate = 500
)

// Limits of clients that have not logged in. Package sip limits their requests to 4 KiB of
// headers and 4 KiB of body, and the responses a dialog keeps. A dialog needs less than 64 KiB:
// headers, the body until the ACK arrives, and copies of a few responses, which repeat headers.
// All of them need at most 256 MiB, and a fifth of that with responses of usual size.
const (
	maxGuests        = 4096
	maxPending       = 4   // unanswered requests of one client
	strangerElements = 128 // in one document
)

// NewServer returns a server. Its Invite is called by the [sip.UA] it is the handler of.
func NewServer(cfg ServerConfig) *Server {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.MaxGuests == 0 {
		cfg.MaxGuests = maxGuests
	}
	return &Server{cfg: cfg, invites: share.Meter[inviteSource]{Most: maxPeers}, datagrams: rate.NewLimiter(udpInviteRate, udpInviteRate), guests: share.New(share.Limits{Most: cfg.MaxGuests})}
}

// Invite implements sip.Handler. It identifies the client, opens a session in the core and
// accepts the dialog.
func (s *Server) Invite(in *sip.Invitation) {
	d := &session{server: s}
	defer share.Survive(s.cfg.Log, "handling an INVITE", func(err error) {
		in.Reject(sip.Answer{Code: 500})
		if d.core != nil {
			d.core.Close(err)
			d.guest.Leave()
		}
	})
	who, still, ok := s.identify(in)
	if !ok {
		return
	}
	opening, _, refusal := readOpening(in.Request)
	if refusal != nil {
		s.warn("INVITE refused", who.Name, in.Peer(), "identity", share.Clip(who.String()), "code", refusal.Code)
		in.Reject(*refusal)
		return
	}
	line := ""
	if opening != nil {
		line = opening.PrivateText("line")
	}
	core, err := s.cfg.Proxy.Open(proxy.Opening{Identity: who, Line: line, Named: line != "", Peer: in.Peer().String(), Front: "sip", Addr: in.Peer().Addr.Addr(), Names: in.Peer().Names, Sessions: s.cfg.Sessions, Place: func() proxy.Place { return d.place(in.Peer()) }, Valid: still}, d)
	if err != nil {
		in.Reject(s.refuse(in, opening, err))
		return
	}
	d.core = core
	if who.Name == "" {
		// cannot fail: every entry is evicted for a newer one
		d.guest, _ = s.guests.Enter(in.Peer().Addr.Addr(), false, func(error) { d.evict() })
	}
	request := opening
	switch {
	case request == nil: // an INVITE without body counts as RequestSystemStatus
		request = uacsta.Encode(uacsta.RequestSystemStatus{}, uacsta.Edition3)
	case !addressValidated(in.Peer()) && request.Name() != uacsta.NameRequestSystemStatus:
		d.waits = bytes.Clone(in.Body())
		s.accept(in, d, sip.Answer{})
		return
	}
	core.Request(request, func(res *uacsta.Message) {
		answer := sip.Answer{Headers: []sip.Header{disposition}}
		if res != nil {
			answer.ContentType, answer.Body = ContentType, res.Bytes()
		}
		s.accept(in, d, answer)
	})
}

// addressValidated reports whether the transport validates the source address. A datagram's can be
// forged; there the first request with our tag, usually the ACK, validates it.
func addressValidated(p sip.Peer) bool { return p.Transport != "UDP" }

// admits counts an INVITE of a client that has not logged in. It returns false if it exceeds
// the rate.
func (s *Server) admits(p sip.Peer) bool {
	now := time.Now()
	return s.invites.Take(inviteSource{share.Of(p.Addr.Addr()), addressValidated(p)}, inviteRate, inviteRate, now) && (addressValidated(p) || s.datagrams.AllowN(now, 1))
}

// later is the response to a client that exceeds a limit.
var later = sip.Answer{Code: 503, Headers: []sip.Header{{Name: "Retry-After", Value: "10"}}}

// accept answers an INVITE with 200 and opens the dialog.
func (s *Server) accept(in *sip.Invitation, d *session, answer sip.Answer) {
	dialog, err := in.Accept(d, answer)
	if err != nil {
		d.core.Close(err)
		d.guest.Leave()
		return
	}
	d.open(dialog)
}

// identify returns the client's identity, and a function that reports whether the same
// identification would still succeed. If ok is false, the INVITE has been refused.
func (s *Server) identify(in *sip.Invitation) (who policy.Identity, still func() bool, ok bool) {
	peer := in.Peer()
	addr := peer.Addr.Addr()
	switch {
	case s.cfg.Anybody.Name != "":
		return s.cfg.Anybody, nil, true
	case s.trusts(peer):
		still = func() bool { return s.trusts(peer) }
		return policy.Identity{Name: policy.IdentityOf(assertedBy(in.Request)), How: "trusted-peer"}, still, true
	case s.cfg.Digest != nil:
		seal := s.cfg.Digest.Seal(in.Request)
		user, err := s.cfg.Digest.Check(in.Request)
		switch {
		case errors.Is(err, sip.ErrChallenged):
			return policy.Identity{}, nil, false
		case errors.Is(err, accounts.ErrWrong):
			s.cfg.Proxy.Refused("sip", peer.String(), user, "wrong password")
			s.warn("authentication failed", user, peer, "user", share.Clip(user))
			return policy.Identity{}, nil, false
		case err != nil:
			s.cfg.Proxy.Refused("sip", peer.String(), user, err.Error())
			if s.strangers.ShouldLog(addr, "locked", time.Now()) {
				s.cfg.Log.Warn("authentication refused: too many wrong passwords", "peer", peer.String(), "user", share.Clip(user), "err", err, "silent", proxy.StrangerPause)
			}
			return policy.Identity{}, nil, false
		}
		return policy.Identity{Name: strings.ToLower(user), How: "digest"}, func() bool { return s.cfg.Digest.Holds(user, seal) }, true
	}
	if s.cfg.Proxy.Mode("sip", s.cfg.Sessions) != proxy.SessionsOff {
		// Limit only INVITEs that are accepted: a challenge is cheap, and forged datagrams
		// could otherwise use up the rate of a client's address.
		if ok = s.admits(peer); !ok {
			in.Reject(later)
		}
		return policy.Identity{}, nil, ok
	}
	s.cfg.Proxy.Refused("sip", peer.String(), policy.IdentityOf(in.From().URI), "the peer is not trusted")
	if s.strangers.ShouldLog(peer.Addr.Addr(), "not trusted", time.Now()) {
		s.cfg.Log.Warn("INVITE refused: peer not trusted, and no digest users configured", "peer", peer.String(), "silent", proxy.StrangerPause)
	}
	in.Reject(sip.Answer{Code: 403})
	return policy.Identity{}, nil, false
}

// trusts reports whether to believe the identity that a peer asserts.
func (s *Server) trusts(peer sip.Peer) bool {
	return s.cfg.Trusts != nil && s.cfg.Trusts(peer.Addr.Addr(), peer.Names)
}

// assertedBy returns the user that a trusted peer asserts: P-Asserted-Identity (RFC 3325),
// otherwise From.
func assertedBy(r *sip.Request) string {
	if uri := r.Asserted().URI; uri != "" {
		return uri
	}
	return r.From().URI
}

// refuse returns the response for a session that the core did not open, in the client's
// dialect.
func (s *Server) refuse(in *sip.Invitation, opening *uacsta.Message, err error) sip.Answer {
	spoken := ""
	if s.cfg.Spoken != nil {
		spoken = s.cfg.Spoken(in.Peer())
	}
	for _, d := range s.cfg.Dialects {
		if spoken != d.Name() && (spoken != "" || !d.Speaks(in.Header("User-Agent"), opening)) {
			continue
		}
		if answer, own := d.Refusal(err); own {
			return answer
		}
	}
	return refuse(err)
}

// refuse returns the default response for a session that the core did not open.
func refuse(err error) sip.Answer {
	switch {
	case errors.Is(err, proxy.ErrForbidden):
		return sip.Answer{Code: 403}
	case errors.Is(err, proxy.ErrUnknownLine):
		return sip.Answer{Code: 404}
	case errors.Is(err, proxy.ErrTooMany):
		return sip.Answer{Code: 486, Headers: []sip.Header{{Name: "Retry-After", Value: "30"}}}
	}
	return sip.Answer{Code: 503, Headers: []sip.Header{{Name: "Retry-After", Value: "10"}}}
}
