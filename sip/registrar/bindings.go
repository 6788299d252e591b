package registrar

import (
	"net/netip"
	"slices"
	"time"

	"github.com/tr87proxy/tr87proxy/sip"
)

// binding is one telephone that has registered (RFC 3261 10), or that the configuration names. The
// server's lock guards what changes.
type binding struct {
	contact  string // URI
	instance string // +sip.instance and reg-id (RFC 5626), "" for none
	flow     sip.Flow
	callID   string // Call-ID of its REGISTER
	cseq     uint32
	expires  time.Time
	seen     time.Time // time of its last REGISTER; zero if that was before a restart
	talks    bool      // it says that it obeys NOTIFY talk
	missed   int       // successive OPTIONS without response
	asking   bool      // an OPTIONS is outstanding
	csta     csta
	static   bool   // it comes from the configuration and does not register
	agent    string // its header User-Agent
	model    *Model // nil if it is not in the table
}

// reachable reports whether calls can be sent to the telephone.
func (b *binding) reachable(now time.Time) bool {
	return now.Before(b.expires) && b.missed < 2 && (b.static || b.flow.Alive())
}

// peer returns the address of the telephone as text.
func (b *binding) peer() string {
	if b.static {
		return b.contact
	}
	return b.flow.Peer().String()
}

// Contact is a telephone that requests can be sent to.
type Contact struct {
	URI  string   // that it registered
	Flow sip.Flow // the flow that it opened; zero to use the URI
	host string   // the host by which it knows us
}

// Address returns the URI of a number at this server, with the host by which the telephone knows it.
func (c Contact) Address(number string) string { return sip.UserURI(number, c.host) }

// at returns the contact of a telephone. The telephone knows us by the configured host, or by the address
// to which it has registered, or, if it does not register, by its own host.
func (s *Server) at(b *binding) Contact {
	c := Contact{URI: b.contact, Flow: b.flow, host: s.cfg.Advertise}
	switch {
	case b.static:
		c.host = sip.ParseURI(b.contact).Host
	case c.host == "":
		c.host = b.flow.Peer().Local.Addr().String()
	}
	return c
}

// Contacts returns the telephones of an extension that calls can be sent to.
func (s *Server) Contacts(number string) []Contact {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []Contact
	if u := s.users[number]; u != nil {
		for _, b := range u.bindings {
			if b.reachable(now) {
				list = append(list, s.at(b))
			}
		}
	}
	return list
}

// Addr returns the address from which the signalling of an extension's telephones comes. It returns the zero
// address if none is reachable, or none has registered.
func (s *Server) Addr(number string) netip.Addr {
	for _, c := range s.Contacts(number) {
		if c.Flow.Alive() {
			return c.Flow.Peer().Addr.Addr()
		}
	}
	return netip.Addr{}
}

// restand reports the standing of a user's telephones to the owner, if it has changed.
func (s *Server) restand(u *user) {
	u.telling.Lock()
	defer u.telling.Unlock()
	now := time.Now()
	next := Standing{Talks: u.Talks}
	s.mu.Lock()
	for _, b := range u.bindings {
		if b.reachable(now) {
			session := b.csta.client != nil
			next.Reachable = true
			next.Physical = next.Physical || session
			next.Talks = next.Talks || b.talks || session || b.model != nil && b.model.Answer != nil
		}
	}
	last := u.standing
	u.standing = next
	s.mu.Unlock()
	if next.Reachable != last.Reachable {
		s.log.Info("telephone", "device", u.Number, "reachable", next.Reachable)
	}
	if next != last {
		s.up.Standing(u.Number, next)
	}
}

// expire removes registrations that have expired.
func (s *Server) expire(now time.Time) {
	for _, u := range s.users {
		s.remove(u, func(b *binding) bool { return !now.Before(b.expires) }, true)
	}
}

// remove removes the bindings of a user for which gone returns true. With forget it removes them from the
// state file, too.
func (s *Server) remove(u *user, gone func(*binding) bool, forget bool) {
	s.mu.Lock()
	if !slices.ContainsFunc(u.bindings, gone) { // mostly: this is asked of every user each second
		s.mu.Unlock()
		return
	}
	before := slices.Clone(u.bindings)
	u.bindings = slices.DeleteFunc(u.bindings, gone)
	stored := s.stored(u)
	s.mu.Unlock()
	if forget {
		s.keep(u, stored, true)
	}
	s.left(u, before)
	s.restand(u)
}

// flows has the users that have registered over each connection, until it is lost. The server's lock
// guards it.
type flows map[sip.Flow]map[*user]struct{}

// note stores that a user has registered over a flow. Flows over UDP are never lost.
func (f flows) note(flow sip.Flow, u *user) {
	if flow.Peer().Transport == "UDP" || !slices.ContainsFunc(u.bindings, func(b *binding) bool { return b.flow == flow }) {
		return
	}
	if f[flow] == nil {
		f[flow] = map[*user]struct{}{}
	}
	f[flow][u] = struct{}{}
}

// lost removes registrations whose connection is lost (RFC 5626 5.3). They are not in the state file: after a
// restart there is no connection to their telephones.
func (s *Server) lost(f sip.Flow) {
	s.mu.Lock()
	users := s.flows[f]
	delete(s.flows, f)
	s.mu.Unlock()
	if len(users) == 0 {
		return
	}
	s.spawn(func() {
		for u := range users {
			s.remove(u, func(b *binding) bool { return b.flow == f }, false)
		}
	})
}
