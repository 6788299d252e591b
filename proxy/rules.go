package proxy

import (
	"errors"
	"maps"
	"slices"

	"github.com/tr87proxy/tr87proxy/policy"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// errRights closes a session that would not be opened under the new configuration.
var errRights = errors.New("the configuration no longer admits this identity")

// SetRules replaces the policy and the translation of numbers. Sessions, monitors and registrations
// that the new policy does not allow end.
func (p *Proxy) SetRules(rights *policy.Policy, numbers *policy.Numbers) {
	p.rules.Store(&rules{rights, numbers})
	p.Recheck()
}

// Recheck closes the sessions, and stops the monitors and registrations, that the rules no longer
// allow. Call it when something that the rules refer to has changed.
func (p *Proxy) Recheck() {
	for _, s := range p.sessionList() {
		s.recheck()
	}
}

// recheck applies the current rules to the session.
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
