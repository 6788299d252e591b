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
	callID   string // of its REGISTER
	cseq     uint32
	expires  time.Time
	talks    bool // it says that it obeys NOTIFY talk
	missed   int  // OPTIONS in a row without response
	asking   bool // an OPTIONS is out
	csta     csta
	static   bool   // the configuration names it: it does not register
	agent    string // its header User-Agent
	model    *Model // nil: not in the table
}

// reachable reports whether calls can be sent to it.
func (b *binding) reachable(now time.Time) bool {
	return now.Before(b.expires) && b.missed < 2 && (b.static || b.flow.Alive())
}

// peer says where the telephone is.
func (b *binding) peer() string {
	if b.static {
		return b.contact
	}
	return b.flow.Peer().String()
}

// Contact is a telephone that requests can be sent to.
type Contact struct {
	URI  string   // that it registered
	Flow sip.Flow // the way that it opened; zero: as the URI says
	host string   // where it looks for us
}

// Address is the URI of a number at this server, as the telephone knows it; "" is an anonymous caller.
func (c Contact) Address(number string) string {
	if number == "" {
		number = "anonymous"
	}
	return sip.UserURI(number, c.host)
}

// at is where a telephone is. It knows us by the address that it has come to, or by the one that is
// configured, and where it does not register, by its own host.
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

// Addr returns the address that the signalling of an extension's telephones comes from; the zero address
// where none is reachable, or none has registered.
func (s *Server) Addr(number string) netip.Addr {
	for _, c := range s.Contacts(number) {
		if c.Flow.Alive() {
			return c.Flow.Peer().Addr.Addr()
		}
	}
	return netip.Addr{}
}

// restand tells the owner how a user's telephones stand, when that has changed.
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

// remove removes the bindings of a user that gone reports, from the state file, too, where forget says so.
func (s *Server) remove(u *user, gone func(*binding) bool, forget bool) {
	s.mu.Lock()
	before := slices.Clone(u.bindings)
	u.bindings = slices.DeleteFunc(u.bindings, gone)
	none := len(u.bindings) == len(before)
	stored := s.stored(u)
	s.mu.Unlock()
	if none {
		return
	}
	if forget {
		s.keep(u, stored, true)
	}
	s.left(u, before)
	s.restand(u)
}

// flows are the users who have registered over each connection, until it is lost. The server's lock
// guards it.
type flows map[sip.Flow]map[*user]struct{}

// note notes that a user has registered. The way of datagrams is never lost.
func (f flows) note(flow sip.Flow, u *user) {
	if flow.Peer().Transport == "UDP" || !slices.ContainsFunc(u.bindings, func(b *binding) bool { return b.flow == flow }) {
		return
	}
	if f[flow] == nil {
		f[flow] = map[*user]struct{}{}
	}
	f[flow][u] = struct{}{}
}

// lost removes registrations whose connection is lost (RFC 5626 5.3). The state file keeps none that came
// over a connection: it has no way to their telephones.
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
