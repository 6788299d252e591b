package proxy

import (
	"errors"
	"maps"
	"slices"

	"github.com/tr87proxy/tr87proxy/policy"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// These errors close sessions that could not be opened under the new configuration.
var (
	errRights  = errors.New("the configuration no longer admits this identity")
	errAddress = errors.New("the configuration no longer admits this address")
)

// rules decide who clients are and what they may do. A reload replaces them as a whole.
type rules struct {
	policy  *policy.Policy
	numbers *policy.Numbers
	secrets map[string]Secret      // secrets of digest users, by identity; nil if they are not known
	modes   map[string]SessionMode // session modes, by front; for other fronts Opening.Sessions counts
}

// Secret is a hash of passwords. Different passwords have different secrets.
type Secret [32]byte

// SetRules replaces the policy and the numbering. It ends what clients may not keep: sessions,
// monitors, registrations.
func (p *Proxy) SetRules(rights *policy.Policy, numbers *policy.Numbers) {
	now := *p.rules.Load()
	now.policy, now.numbers = rights, numbers
	p.replace(&now)
}

// replace replaces the rules, and ends what the new ones do not allow.
func (p *Proxy) replace(now *rules) {
	p.recheck(&view{before: p.rules.Swap(now), rules: now})
}

// Recheck ends what clients may not keep, after a change of something that the rules depend on, such
// as the accounts file.
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

// view is the state by which sessions are judged: the current one, or the one after a change.
type view struct {
	before, rules *rules
	routes        []route                                   // routes after a change of links; nil if links stay
	closing       func(front string, at Place) (why string) // as Change.Closing; nil if no listener closes
}

// judge returns what the client may not keep. It changes nothing: [Proxy.Recheck] carries that out, and
// [Proxy.Foresee] only reports it.
func (s *Session) judge(v *view) []Ending {
	if why := s.barred(v); why != nil {
		e := s.ending("session", s.line, why.Error(), s.ended)
		if v.closing == nil {
			e.carryOut = func() { s.disconnect(why) }
		}
		return append([]Ending{e}, s.holdings(why.Error(), nil)...)
	}
	if app := s.withoutAccount(); app != nil {
		e := s.ending("application session", policy.Number{}, accountGone, func() bool { return s.application() != app })
		return append([]Ending{e}, s.holdings(accountGone, nil)...) // recheckAccount ends it
	}
	return s.holdings("", v)
}

// barred returns why the session must close, or nil if it may stay open.
func (s *Session) barred(v *view) error {
	if v.closing != nil && s.place != nil {
		if why := v.closing(s.front, s.place()); why != "" {
			return errors.New(why)
		}
	}
	if s.addr.IsValid() && !v.rules.policy.Admits(s.addr) {
		return errAddress
	}
	if s.still != nil && !s.still() {
		return lapse(s.own.How, s.until)
	}
	if !s.believed(v.before, v.rules) {
		return errRights
	}
	if err := s.fits(v.before, v.rules); err != nil {
		return err
	}
	app := s.application()
	if s.boundBy(v.rules) && app == nil {
		return nil // it can only open an application session so far
	}
	account := app != nil && app.account.Name != "" // then its own identity, not the account, opened the line
	if account && !s.proxy.cfg.Accounts.Holds(app.account) {
		return nil // the application session ends first
	}
	if !s.known(v.rules.policy) || !account && !s.line.IsZero() && !s.mayBy(v.rules, policy.Observe, s.line) {
		return errRights
	}
	return nil
}

// believed reports whether the grounds on which the client was identified still hold: its digest
// password, or the trust in its peer.
func (s *Session) believed(before, now *rules) bool {
	if s.own.How == "digest" {
		a, known := before.secrets[s.own.Name]
		b, still := now.secrets[s.own.Name]
		return !known || still && a == b
	}
	trusted, trusts := before.policy.Trusts(s.addr, s.names), now.policy.Trusts(s.addr, s.names)
	if s.own.Name == "" { // a peer that is now trusted has an identity, if its front identifies peers
		return s.still == nil || trusted || !trusts
	}
	if s.own.How != "trusted-peer" && s.own.How != "address" && s.own.How != "certificate" {
		return true
	}
	return trusts || !trusted
}

// holdings returns what the client has opened: everything, with a reason, or, with a view, what it
// may not keep.
func (s *Session) holdings(why string, v *view) []Ending {
	if v != nil && s.boundBy(v.rules) && s.application() == nil {
		return nil // it has opened nothing
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
			carryOut = nil // it ends with its session or application session
		case !s.mayBy(v.rules, action, device):
			reason = "the configuration does not let this identity have it any more"
		case moves && v.leaves(s, at, device):
			reason, carryOut = "link "+at.name+" does not have the device any more", nil // SetLinks ends it
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
