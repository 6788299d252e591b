package proxy

import "github.com/tr87proxy/tr87proxy/policy"

// Reach limits what a session may do, beside policy.
type Reach int

// The reaches.
const (
	ReachPolicy  Reach = iota // all that policy allows
	ReachObserve              // of what policy allows, the services that observe
	// ReachOwn is for a session of the proxy itself: it observes every device, and controls none. Its front checks who
	// may observe a device before it passes on what the session hears.
	ReachOwn
)

// decide asks the rules about a request of this session, within its reach.
func (s *Session) decide(rules *policy.Policy, ask policy.Request) policy.Decision {
	if d, fixed := s.reach.Decide(ask.Action); fixed {
		return d
	}
	return rules.Decide(ask)
}

// explain is decide, and also returns the rules that were tried before.
func (s *Session) explain(rules *policy.Policy, ask policy.Request) (policy.Decision, []policy.Trial) {
	if d, fixed := s.reach.Decide(ask.Action); fixed {
		return d, nil
	}
	return rules.Explain(ask)
}

// Decide returns the decision that follows from the reach alone, if one does.
func (r Reach) Decide(action policy.Action) (d policy.Decision, fixed bool) {
	switch {
	case r != ReachPolicy && action != policy.Observe:
		return policy.Decision{Reason: "this client may only observe"}, true
	case r == ReachOwn:
		return policy.Decision{Allowed: true, Reason: "the proxy itself observes every device"}, true
	}
	return policy.Decision{}, false
}

// known reports whether a rule names the identity of the session.
func (s *Session) known(rules *policy.Policy) bool {
	return s.reach == ReachOwn || rules.Known(s.Identity())
}
