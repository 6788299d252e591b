package proxy

import (
	"errors"
	"maps"
	"slices"

	"github.com/tr87proxy/tr87proxy/policy"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// Why a session is closed that would not be opened under the new configuration.
var (
	errRights  = errors.New("the configuration no longer admits this identity")
	errAddress = errors.New("the configuration no longer admits this address")
)

// rules is what decides who clients are and what they may do. A reload replaces it as a whole.
type rules struct {
	policy  *policy.Policy
	numbers *policy.Numbers
	secrets map[string]Secret      // of digest users, by identity; nil: not known here
	modes   map[string]SessionMode // by front; one that is missing says it itself, in Opening.Sessions
}

// Secret differs when a password differs. It does not tell the password.
type Secret [32]byte

// SetRules says who may do what, and how numbers are written, from now on. It ends what clients
// have and may not have any more: sessions, monitors, registrations.
func (p *Proxy) SetRules(rights *policy.Policy, numbers *policy.Numbers) {
	now := *p.rules.Load()
	now.policy, now.numbers = rights, numbers
	p.replace(&now)
}

// replace makes rules hold, and ends what they do not allow.
func (p *Proxy) replace(now *rules) {
	p.recheck(&view{before: p.rules.Swap(now), rules: now})
}

// Recheck ends what clients have and may not have any more, after something changed that the rules
// look at.
func (p *Proxy) Recheck() {
	p.recheck(p.holding())
}

func (p *Proxy) recheck(v *view) {
	for _, s := range p.sessionList() {
		s.recheck(v)
	}
}

// recheck ends what the client has and may not have.
func (s *Session) recheck(v *view) {
	s.recheckAccount()
	for _, e := range s.judge(v) {
		if e.carryOut != nil {
			e.carryOut()
		}
	}
}

// holding is the view of the rules that hold.
func (p *Proxy) holding() *view {
	now := p.rules.Load()
	return &view{before: now, rules: now}
}

// view is what sessions are judged by: what holds, or what a change would make hold.
type view struct {
	before, rules *rules
	routes        []route                                   // of a change of links; nil: they stay
	closing       func(front string, at Place) (why string) // listeners that close; nil: none
}

// judge returns what the client has and may not keep. It changes nothing: [Proxy.Recheck] carries
// it out, and [Proxy.Foresee] only tells it.
func (s *Session) judge(v *view) []Ending {
	if why := s.barred(v); why != nil {
		e := s.ending("session", s.line, why.Error(), s.ended)
		if v.closing == nil {
			e.carryOut = func() { s.disconnect(why) }
		}
		return append([]Ending{e}, s.holdings(why.Error(), nil)...)
	}
	s.mu.Lock()
	app := s.app
	s.mu.Unlock()
	if app != nil && app.account.Name != "" && !s.proxy.cfg.Accounts.Holds(app.account) {
		e := s.ending("application session", policy.Number{}, accountGone, func() bool { return s.application() != app })
		return append([]Ending{e}, s.holdings(accountGone, nil)...) // recheckAccount ends it
	}
	return s.holdings("", v)
}

// barred returns why the session may not go on; nil if it may.
func (s *Session) barred(v *view) error {
	if v.closing != nil && s.place != nil {
		if why := v.closing(s.front, s.place()); why != "" {
			return errors.New(why)
		}
	}
	if s.addr.IsValid() && !v.rules.policy.Admits(s.addr) {
		return errAddress
	}
	if s.still != nil && !s.still() || !s.believed(v.before, v.rules) {
		return errRights
	}
	if err := s.fits(v.before, v.rules); err != nil {
		return err
	}
	app := s.application()
	if s.boundBy(v.rules) && app == nil {
		return nil // it may do nothing yet but open an application session
	}
	account := app != nil && app.account.Name != "" // the line was opened by the connection's own identity
	if account && !s.proxy.cfg.Accounts.Holds(app.account) {
		return nil // that ends its application session first
	}
	if !v.rules.policy.Known(s.Identity()) || !account && !s.line.IsZero() && !s.mayBy(v.rules, policy.Observe, s.line) {
		return errRights
	}
	return nil
}

// believed reports whether what the configuration says of the client's peer, or of its password, is
// what it was.
func (s *Session) believed(before, now *rules) bool {
	if s.own.How == "digest" {
		a, known := before.secrets[s.own.Name]
		b, still := now.secrets[s.own.Name]
		return !known || still && a == b
	}
	trusted, trusts := before.policy.Trusts(s.addr, s.names), now.policy.Trusts(s.addr, s.names)
	if s.own.Name == "" { // a peer that is trusted now is somebody, where its front tells it
		return s.still == nil || trusted || !trusts
	}
	if s.own.How != "trusted-peer" && s.own.How != "address" && s.own.How != "certificate" {
		return true
	}
	return trusts || !trusted
}

// holdings returns what the client has opened: all of it, for a reason, or, with a view, what it may
// not keep.
func (s *Session) holdings(why string, v *view) []Ending {
	if v != nil && s.boundBy(v.rules) && s.application() == nil {
		return nil // it has nothing
	}
	s.mu.Lock()
	monitors, routers := slices.Collect(maps.Values(s.monitors)), slices.Collect(maps.Values(s.routers))
	associations := slices.Collect(maps.Values(s.associations))
	s.mu.Unlock()
	var list []Ending
	add := func(kind string, device policy.Number, at *managedLink, action policy.Action, moves bool, there func() bool, carryOut func()) {
		reason := why
		switch {
		case v == nil:
			carryOut = nil // with what it belongs to
		case !s.mayBy(v.rules, action, device):
			reason = "the configuration does not let this identity have it any more"
		case moves && v.leaves(s, at, device):
			reason, carryOut = "link "+at.name+" does not have the device any more", nil // SetLinks does
		default:
			return
		}
		e := s.ending(kind, device, reason, func() bool {
			s.mu.Lock()
			defer s.mu.Unlock()
			return !there()
		})
		e.carryOut = carryOut
		list = append(list, e)
	}
	for _, cm := range monitors {
		there := func() bool { return s.monitors[cm.ref] == cm }
		add("monitor", cm.monitor.device, cm.monitor.managed, policy.Observe, true, there, func() {
			if s.forgetMonitor(cm) {
				cm.monitor.remove(cm, false)
				s.send(uacsta.MonitorStop{MonitorCrossRefID: cm.ref})
			}
		})
	}
	for _, r := range routers {
		add("route registration", r.device, r.managed, policy.Control, true, func() bool { return s.routers[r.ref] == r }, r.withdraw)
	}
	for _, a := range associations {
		add("service under a reference", a.device, a.life.managed, a.action, a.kind.cancel != nil, func() bool { return s.associations[a.ref] == a }, a.withdraw)
	}
	return list
}
