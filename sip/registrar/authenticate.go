package registrar

import (
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/accounts"
	"github.com/tr87proxy/tr87proxy/internal/share"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/sip"
)

// Authenticate returns the extension of the user that sends a request under an address. If it returns false,
// it has refused the request: with a challenge, or with 403 if the address belongs to another user. The zero Address is
// that of a user who wants to be anonymous.
func (s *Server) Authenticate(r *sip.Request, as sip.Address) (number string, ok bool) {
	if u := s.authenticate(r, as); u != nil {
		return u.Number, true
	}
	return "", false
}

// authenticate implements Authenticate. It returns nil if it has refused the request.
func (s *Server) authenticate(r *sip.Request, as sip.Address) *user {
	name, err := s.digest.Check(r)
	switch {
	case errors.Is(err, accounts.ErrWrong):
		s.cfg.Refused(r.Peer().String(), name, "wrong password")
		s.warnWrong(name, r.Peer())
		return nil
	case errors.Is(err, sip.ErrChallenged):
		return nil
	case err != nil:
		s.cfg.Refused(r.Peer().String(), name, err.Error())
		if s.strangers.ShouldLog(r.Peer().Addr.Addr(), "locked", time.Now()) {
			s.log.Warn("refused a telephone after too many wrong passwords", "user", name, "peer", r.Peer().String(), "err", err, "silent", proxy.StrangerPause)
		}
		return nil
	}
	u := s.accounts[name]
	if named := UserOf(as.URI); as != (sip.Address{}) && named != u.Number && named != u.Name {
		if s.paced(u, r) {
			s.Report(slog.LevelWarn, u.Number, "refused a telephone that uses another's number", "user", name, "as", share.Clip(named), "peer", r.Peer().String())
			r.Respond(sip.Answer{Code: 403})
		}
		return nil
	}
	return u
}

// Owner is implemented by handlers of dialogs of a user's telephone.
type Owner interface {
	// Owner returns the number of the user, or "" if there is none.
	Owner() string
}

// follows implements Follows of [sip.Config]: a telephone that moves to another address in a dialog proves by digest
// that it is still one of the same user.
func (s *Server) follows(d *sip.Dialog, r *sip.Request) bool {
	number := ""
	if o, ok := d.Handler().(Owner); ok {
		number = o.Owner()
	}
	if number == "" {
		r.Respond(sip.Answer{Code: 481})
		return false
	}
	u := s.authenticate(r, r.From())
	if u != nil && u.Number != number {
		r.Respond(sip.Answer{Code: 481})
		return false
	}
	return u != nil
}

// guess is a user and the address from which a wrong password came.
type guess struct {
	user string
	from netip.Prefix
}

// warnWrong logs a wrong password, once a second for each user and address.
func (s *Server) warnWrong(user string, peer sip.Peer) {
	s.wrong.Log(s.log, slog.LevelWarn, guess{strings.Clone(user), share.Of(peer.Addr.Addr())}, "wrong password of a telephone", "user", user, "peer", peer.String())
}

// knows reports whether a request came from where a telephone of the user has registered.
func (s *Server) knows(name string, r *sip.Request) bool {
	u := s.accounts[name]
	if u == nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.ContainsFunc(u.bindings, func(b *binding) bool { return !b.static && b.flow == r.Flow() })
}

// The rate of REGISTER and SUBSCRIBE, for each extension from each peer.
const (
	paceRate  = 10 // in a second
	paceBurst = 100
)

// pace is an extension at a peer.
type pace struct {
	number string
	from   netip.Prefix
}

// paced reports whether a user's REGISTER or SUBSCRIBE is within the rate, and refuses it otherwise. Call
// it after the password is proved, so that others do not use up the rate of a user.
func (s *Server) paced(u *user, r *sip.Request) bool {
	now, from := time.Now(), r.Peer().Addr.Addr()
	if s.paces.Take(pace{u.Number, share.Of(from)}, paceRate, paceBurst, now) {
		return true
	}
	if s.strangers.ShouldLog(from, "rate", now) {
		s.log.Warn("refused a telephone that registers or subscribes too often", "device", u.Number, "peer", r.Peer().String(), "silent", proxy.StrangerPause)
	}
	r.Respond(sip.Answer{Code: 503, Headers: []sip.Header{{Name: "Retry-After", Value: "10"}}})
	return false
}
