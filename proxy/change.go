package proxy

import (
	"crypto/tls"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/tr87proxy/tr87proxy/policy"
)

// Change is everything that a reload changes in the core.
type Change struct {
	Policy  *policy.Policy
	Numbers *policy.Numbers
	Secrets map[string]Secret      // secrets of digest users, by identity
	Modes   map[string]SessionMode // session modes, by front
	Limits  Limits
	Links   []NamedLink // as for [Proxy.SetLinks]; nil leaves them as they are
	// Closing returns why the listener closes at which clients of a front connect, or "" if it stays open. The caller
	// closes listeners.
	Closing func(front string, at Place) string
}

// Place is the transport and the local address at which a client connects.
type Place struct {
	Transport string // udp, tcp, tls or dtls
	Addr      netip.AddrPort
}

// PlaceOf returns a function that returns the place of a TCP or TLS connection, for [Opening].
func PlaceOf(nc net.Conn) func() Place {
	at := Place{Transport: "tcp"}
	if _, secure := nc.(*tls.Conn); secure {
		at.Transport = "tls"
	}
	if local, ok := nc.LocalAddr().(*net.TCPAddr); ok {
		at.Addr = netip.AddrPortFrom(local.AddrPort().Addr().Unmap(), local.AddrPort().Port())
	}
	return func() Place { return at }
}

// Ending describes something that a change ends: a session, or what a client has opened in it.
type Ending struct {
	Kind     string `json:"kind"` // session, application session, monitor, route registration, service under a reference
	Identity string `json:"identity"`
	Peer     string `json:"peer"`
	Device   string `json:"device,omitempty"` // for a session, its line
	Reason   string `json:"reason"`

	done     func() bool
	carryOut func() // nil if the end of something else ends it
}

// Done reports whether it has ended.
func (e Ending) Done() bool { return e.done() }

func (c *Change) rules() *rules {
	return &rules{policy: c.Policy, numbers: c.Numbers, secrets: c.Secrets, modes: c.Modes}
}

// Foresee returns what a change would end, ordered by client and device. It decides as
// [Proxy.Change] does, and changes nothing.
func (p *Proxy) Foresee(c Change) []Ending {
	v := &view{before: p.rules.Load(), rules: c.rules(), closing: c.Closing}
	if c.Links != nil {
		v.routes = p.planned(c.Links)
	}
	sessions := p.sessionList()
	slices.SortFunc(sessions, func(a, b *Session) int { return a.since.Compare(b.since) })
	var list []Ending
	for _, s := range sessions {
		endings := s.judge(v)
		slices.SortStableFunc(endings, func(a, b Ending) int { return strings.Compare(a.order(), b.order()) })
		list = append(list, endings...)
	}
	return list
}

// order returns the sort key of an ending. Sessions come before what they have opened.
func (e *Ending) order() string {
	if strings.HasSuffix(e.Kind, "session") {
		return ""
	}
	return e.Kind + " " + e.Device
}

// Change applies a change, and ends what clients may not keep. It closes no listener.
func (p *Proxy) Change(c Change) {
	c.Limits.setDefaults()
	p.bounds.Store(&c.Limits)
	if c.Links != nil {
		p.SetLinks(c.Links)
	}
	p.replace(c.rules())
}

func (s *Session) ending(kind string, device policy.Number, reason string, done func() bool) Ending {
	e := Ending{Kind: kind, Identity: s.Identity().String(), Peer: s.peer, Reason: reason, done: done}
	if !device.IsZero() {
		e.Device = device.String()
	}
	return e
}

// route is a link and its devices.
type route struct {
	link *managedLink // nil for a link that the change opens
	has  func(device string) bool
}

// planned returns the routes after SetLinks.
func (p *Proxy) planned(links []NamedLink) []route {
	old := p.list()
	routes := make([]route, 0, len(links))
	for _, l := range links {
		routes = append(routes, route{stays(old, l), l.Devices})
	}
	return routes
}

// stays returns the link of old that stays for l, or nil if l is a new one.
func stays(old []*managedLink, l NamedLink) *managedLink {
	i := slices.IndexFunc(old, func(t *managedLink) bool { return t.name == l.Name && l.Link == nil })
	if i < 0 {
		return nil
	}
	return old[i]
}

// leaves reports whether a change of links ends something that a session has opened for a device at a
// link: because the link closes, or because the device now belongs to another one. If the device is
// Whole, the session's line counts.
func (v *view) leaves(s *Session, t *managedLink, device policy.Number) bool {
	if v.routes == nil {
		return false
	}
	if !slices.ContainsFunc(v.routes, func(r route) bool { return r.link == t }) {
		return true
	}
	if device == policy.Whole {
		device = s.line
	}
	if device.IsZero() {
		return false
	}
	for _, r := range v.routes {
		if r.has(device.String()) {
			return r.link != t
		}
	}
	return true
}
