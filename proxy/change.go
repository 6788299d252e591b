package proxy

import (
	"crypto/tls"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/tr87proxy/tr87proxy/policy"
)

// Change is what a reload makes of the core. All of it holds from then on.
type Change struct {
	Policy  *policy.Policy
	Numbers *policy.Numbers
	Secrets map[string]Secret      // of digest users, by identity
	Modes   map[string]SessionMode // by front
	Limits  Limits
	Links   []NamedLink // as for [Proxy.SetLinks]; nil: they stay as they are
	// Closing returns why a listener closes, "" for one that stays, by the front and the place where its clients come
	// in. The caller closes them.
	Closing func(front string, at Place) string
}

// Place is where a client comes in.
type Place struct {
	Transport string // udp, tcp, tls or dtls
	Addr      netip.AddrPort
}

// PlaceOf returns where the client of a TCP connection comes in, for [Opening].
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

// Ending is something of a client that a change ends.
type Ending struct {
	Kind     string `json:"kind"` // session, application session, monitor, route registration, service under a reference
	Identity string `json:"identity"`
	Peer     string `json:"peer"`
	Device   string `json:"device,omitempty"` // of a session: its line
	Reason   string `json:"reason"`

	done     func() bool
	carryOut func() // nil: something else carries it out
}

// Done reports whether it has ended.
func (e Ending) Done() bool { return e.done() }

func (c *Change) rules() *rules {
	return &rules{policy: c.Policy, numbers: c.Numbers, secrets: c.Secrets, modes: c.Modes}
}

// Foresee returns what a change would end, by client and device, and changes nothing. It judges as
// [Proxy.Change] does.
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

// order puts a session before what it has.
func (e *Ending) order() string {
	if strings.HasSuffix(e.Kind, "session") {
		return ""
	}
	return e.Kind + " " + e.Device
}

// Change makes what a reload says hold, and ends what clients have and may not have any more. It closes no
// listener.
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

// route is a link and what devices it has.
type route struct {
	link *managedLink // nil: it would be made anew
	has  func(device string) bool
}

// planned returns the links as SetLinks would make them.
func (p *Proxy) planned(links []NamedLink) []route {
	old := p.list()
	routes := make([]route, 0, len(links))
	for _, l := range links {
		routes = append(routes, route{stays(old, l), l.Devices})
	}
	return routes
}

// stays returns the link that goes on as l; nil if l is another one.
func stays(old []*managedLink, l NamedLink) *managedLink {
	i := slices.IndexFunc(old, func(t *managedLink) bool { return t.name == l.Name && l.Link == nil })
	if i < 0 {
		return nil
	}
	return old[i]
}

// leaves reports whether something at a link, about a device, ends with a change of links: the link
// closes, or another one has the device, or, where the device is Whole, the session's line.
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
