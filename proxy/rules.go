package proxy

import (
	"errors"
	"maps"
	"slices"

	"github.com/tr87proxy/tr87proxy/policy"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// errRights ends a session that would not be opened any more.
var errRights = errors.New("the configuration no longer admits this identity")

// SetRules says who may do what, and how numbers are written, from now on. What a client
// has and may not have any more ends: its session, its monitors, its registrations.
func (p *Proxy) SetRules(rights *policy.Policy, numbers *policy.Numbers) {
	p.rules.Store(&rules{rights, numbers})
	p.Recheck()
}

// Recheck ends what clients have and may not have any more: what the rules look at has
// changed.
func (p *Proxy) Recheck() {
	for _, s := range p.sessionList() {
		s.recheck()
	}
}

// recheck takes away what the rules do not give any more.
func (s *Session) recheck() {
	if s.still != nil && !s.still() {
		s.disconnect(errRights)
		return
	}
	app := s.recheckAccount()
	if s.locked() {
		return
	}
	account := app != nil && app.account.Name != "" // the line was opened by the connection's own identity
	if !s.proxy.policy().Known(s.Identity()) || !account && !s.line.IsZero() && !s.may(policy.Observe, s.line) {
		s.disconnect(errRights)
		return
	}
	s.mu.Lock()
	monitors, routers := slices.Collect(maps.Values(s.monitors)), slices.Collect(maps.Values(s.routers))
	associations := slices.Collect(maps.Values(s.associations))
	s.mu.Unlock()
	for _, cm := range monitors {
		if !cm.monitor.allowed(s) && s.forgetMonitor(cm) {
			cm.monitor.remove(cm, false)
			s.send(uacsta.MonitorStop{MonitorCrossRefID: cm.ref})
		}
	}
	for _, r := range routers {
		if !r.allowed() {
			r.withdraw()
		}
	}
	for _, a := range associations {
		if !s.may(a.action, a.device) {
			a.withdraw()
		}
	}
}
