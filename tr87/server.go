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

// ContentType is the media type of CSTA-XML messages.
const ContentType = "application/csta+xml"

// disposition makes a peer that does not know the type refuse (TR/87).
var disposition = sip.Header{Name: "Content-Disposition", Value: "signal;handling=required"}

// Dialect is what a family of clients wants that TR/87 does not say.
type Dialect interface {
	// Name names it in the log.
	Name() string
	// Speaks reports whether a client is one of the family, by its header User-Agent and by
	// the message in its INVITE, nil for none.
	Speaks(userAgent string, opening *uacsta.Message) bool
	// Refusal is the answer to an INVITE whose session is not opened for a reason; false for
	// the usual one.
	Refusal(err error) (sip.Answer, bool)
}

// ServerConfig says whom a server believes and how it answers.
type ServerConfig struct {
	Proxy  *proxy.Proxy
	Digest *sip.Digest // authenticates clients that are not trusted; nil refuses them
	// Trusts reports whether a peer's From header is believed.
	Trusts func(addr netip.Addr, certificateNames []string) bool
	// Anybody is the identity of every client, whoever it is: for demonstrations
	// on loopback. The zero value is nobody.
	Anybody policy.Identity
	// Sessions is whether clients open application sessions. Unless it is SessionsOff,
	// an INVITE of nobody that is trusted opens a dialog in which to open one, where
	// there is no Digest to ask for a password.
	Sessions proxy.SessionMode
	// AnswerInInfo sends the answer to a request in an INFO of its own instead of
	// the 200 OK, for peers that want it so.
	AnswerInInfo bool
	// Dialects are tried in turn, unless Spoken says what is spoken where an INVITE has come
	// in: the name of one, plain for none, "" for whatever the client speaks.
	Dialects []Dialect
	Spoken   func(sip.Peer) string
	// MaxGuests is how many dialogs there are of clients that have not logged in; where there are
	// more, the oldest gives way of the peer that has most of them. 4096.
	MaxGuests int
	Log       *slog.Logger
}

// Server is the switching function's side of TR/87 for clients that dial in; it
// is a sip.Handler.
type Server struct {
	cfg       ServerConfig
	strangers proxy.Strangers
	// knocks counts INVITEs of clients that are to open an application session.
	knocks     share.Meter[knock]
	datagrams  *rate.Limiter // of those over UDP, from all addresses
	guests     *share.Table  // dialogs of clients that have not logged in
	complaints share.Complaints[complainant]
}

// knock is who sends INVITEs before a login. Anybody can write any address into a datagram, so
// INVITEs over UDP use up nothing of what the same address may send over connections.
type knock struct {
	peer   netip.Prefix
	proved bool
}

const (
	knocks   = 100   // INVITEs in a second that are looked at from a peer that nobody knows
	maxPeers = 50000 // whose INVITEs are counted
	// allKnocks is how many INVITEs in a second of such peers are looked at over UDP, where one
	// sender can write very many addresses. sipgo keeps the 200 of each for 32 s, also when the
	// dialog has ended before: at most 6 KiB each, 100 MiB in all.
	allKnocks = 500
)

// The bounds of clients that have not logged in. sip limits their requests to 4 KiB of headers
// and 4 KiB of body, and the answers that a dialog keeps. A dialog takes less than 64 KiB: the
// headers, the body until the ACK comes, and copies of a few answers, which repeat headers. So all
// of them together take at most 256 MiB, and a fifth of that where the answers are not as large as
// they can be.
const (
	maxGuests        = 4096
	maxPending       = 4   // requests of one that wait for their answers
	strangerElements = 128 // of a document
)

// NewServer makes a server.
func NewServer(cfg ServerConfig) *Server {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.MaxGuests == 0 {
		cfg.MaxGuests = maxGuests
	}
	return &Server{cfg: cfg, knocks: share.Meter[knock]{Most: maxPeers}, datagrams: rate.NewLimiter(allKnocks, allKnocks), guests: share.New(share.Limits{Most: cfg.MaxGuests})}
}

// Invite implements sip.Handler: it opens a session. Whoever gets one is known by
// then, and may use the line named.
func (s *Server) Invite(in *sip.Invitation) {
	d := &session{server: s}
	defer share.Survive(s.cfg.Log, "an INVITE", func(err error) {
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
	core, err := s.cfg.Proxy.Open(proxy.Opening{Identity: who, Line: line, Named: line != "", Peer: in.Peer().String(), Front: "sip", Addr: in.Peer().Addr.Addr(), Names: in.Peer().Names, Sessions: s.cfg.Sessions, Place: func() proxy.Place { return d.place(in.Peer()) }, Still: still}, d)
	if err != nil {
		in.Reject(s.refuse(in, opening, err))
		return
	}
	d.core = core
	if who.Name == "" {
		// It cannot fail: every entry gives way to a newer one.
		d.guest, _ = s.guests.Enter(in.Peer().Addr.Addr(), false, func(error) { d.crowded() })
	}
	request := opening
	switch {
	case request == nil: // an INVITE without body is answered like one with RequestSystemStatus
		request = uacsta.Encode(uacsta.RequestSystemStatus{}, uacsta.Edition3)
	case !proved(in.Peer()) && request.Name() != uacsta.NameRequestSystemStatus:
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

// proved reports whether an INVITE shows that its sender is where it says: whoever sends a
// datagram can write any address into it, and hears nothing of the answer. What comes in the
// dialog later, its ACK first, names our tag and so shows it.
func proved(p sip.Peer) bool { return p.Transport != "UDP" }

// admits counts an INVITE of a client that has not logged in, and reports whether to look at it.
func (s *Server) admits(p sip.Peer) bool {
	now := time.Now()
	return s.knocks.Take(knock{share.Of(p.Addr.Addr()), proved(p)}, knocks, knocks, now) && (proved(p) || s.datagrams.AllowN(now, 1))
}

// later is the answer to a client that asks for too much at a time.
var later = sip.Answer{Code: 503, Headers: []sip.Header{{Name: "Retry-After", Value: "10"}}}

// accept answers an INVITE with 200.
func (s *Server) accept(in *sip.Invitation, d *session, answer sip.Answer) {
	dialog, err := in.Accept(d, answer)
	if err != nil {
		d.core.Close(err)
		d.guest.Leave()
		return
	}
	d.open(dialog)
}

// identify finds out who a client is, and how to find out whether it would be once more;
// default deny. When it returns false the INVITE is answered.
func (s *Server) identify(in *sip.Invitation) (who policy.Identity, still func() bool, ok bool) {
	peer := in.Peer()
	addr := peer.Addr.Addr()
	switch {
	case s.cfg.Anybody.Name != "":
		return s.cfg.Anybody, nil, true
	case s.cfg.Trusts != nil && s.cfg.Trusts(peer.Addr.Addr(), peer.Names):
		still = func() bool { return s.cfg.Trusts(peer.Addr.Addr(), peer.Names) }
		return policy.Identity{Name: policy.IdentityOf(asserted(in)), How: "trusted-peer"}, still, true
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
			if s.strangers.News(addr, time.Now()) {
				s.cfg.Log.Warn("authentication refused after too many wrong passwords", "peer", peer.String(), "user", share.Clip(user), "err", err, "silent", proxy.StrangerPause)
			}
			return policy.Identity{}, nil, false
		}
		return policy.Identity{Name: strings.ToLower(user), How: "digest"}, func() bool { return s.cfg.Digest.Holds(user, seal) }, true
	}
	if s.cfg.Proxy.Mode("sip", s.cfg.Sessions) != proxy.SessionsOff {
		// Not before: a challenge costs little, and over UDP others could use up the rate of an
		// address that they forge, so that its client would not even be asked.
		if ok = s.admits(peer); !ok {
			in.Reject(later)
		}
		return policy.Identity{}, nil, ok
	}
	s.cfg.Proxy.Refused("sip", peer.String(), policy.IdentityOf(in.From().URI), "the peer is not trusted")
	if s.strangers.News(peer.Addr.Addr(), time.Now()) {
		s.cfg.Log.Warn("INVITEs refused: the peer is not trusted and no digest users are configured", "peer", peer.String(), "silent", proxy.StrangerPause)
	}
	in.Reject(sip.Answer{Code: 403})
	return policy.Identity{}, nil, false
}

// asserted is who a trusted peer says that the user is: P-Asserted-Identity (RFC 3325), or
// else From.
func asserted(in *sip.Invitation) string {
	if uri := in.Asserted().URI; uri != "" {
		return uri
	}
	return in.From().URI
}

// readOpening reads the body of an INVITE or INFO; nil for none. Where it is no message, or
// larger than the client may send, the refusal is the answer; one that can be read in two ways is
// unclear, too.
func readOpening(r *sip.Request) (m *uacsta.Message, unclear *uacsta.Unclear, refusal *sip.Answer) {
	if r.Oversized() {
		return nil, nil, &sip.Answer{Code: 513}
	}
	if len(r.Body()) == 0 {
		return nil, nil, nil
	}
	if r.ContentType() != ContentType {
		return nil, nil, &sip.Answer{Code: 415, Headers: []sip.Header{{Name: "Accept", Value: ContentType}}}
	}
	elements := uacsta.MaxElements
	if !r.Known() {
		elements = strangerElements
	}
	m, err := uacsta.ParseWithin(r.Body(), elements)
	switch {
	case errors.As(err, &unclear):
		return nil, unclear, &sip.Answer{Code: 400, Reason: "Body Can Be Read In Two Ways"}
	case errors.Is(err, uacsta.ErrTooManyElements) && !r.Known():
		return nil, nil, &sip.Answer{Code: 513}
	case err != nil:
		return nil, nil, &sip.Answer{Code: 400, Reason: "Body Is Not CSTA-XML"}
	}
	return m, nil, nil
}

// refuse is the SIP answer for a session that is not opened, as the client's dialect has it.
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

// refuse is the SIP answer for a session that is not opened.
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
