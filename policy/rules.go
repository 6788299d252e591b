package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// Rule allows or denies identities something. An empty field matches everything, except Destinations:
// empty, it matches no destination.
type Rule struct {
	Name         string   // for logs and explanations
	Deny         bool     // deny what matches
	Who          []string // identities, with wildcards, or group:NAME
	May          []string // observe, control, classes of services, names of services, or pass-through:NAME
	Devices      []string // patterns as in CompileDevices, own, or group:NAME
	Destinations []string // where calls may go: as Devices, or internal, or class:NAME
	Fronts       []string // kinds of fronts
	Hours        []Hours
	Rate         Rate
}

// Request is what policy decides on: one action of a client on one device.
type Request struct {
	Who          Identity
	Front        string
	Service      string // "": any service of Action
	PassThrough  bool   // Service is a message that the standard does not define
	Action       Action // Observe or Control
	Device       Number // the device acted on; the zero value: none
	Destinations []Number
	At           time.Time
}

// Trial is a rule that was tried and did not decide.
type Trial struct {
	Rule string
	Why  string // why it did not apply
}

// OtherIdentities is why a rule did not apply that is not for the identity of the request at all.
const OtherIdentities = "it names other identities"

// PassThrough is the prefix, in Rule.May, of the name of a message that the standard does not define.
// Such a message passes only where a rule names exactly it.
const PassThrough = "pass-through:"

// Decide decides on a request: the first rule that applies decides, and nothing is allowed that no
// rule allows.
func (p *Policy) Decide(a Request) Decision {
	d, _ := p.decide(a, false)
	return d
}

// Explain is Decide, and also returns the rules that were tried before.
func (p *Policy) Explain(a Request) (Decision, []Trial) { return p.decide(a, true) }

func (p *Policy) decide(a Request, explain bool) (Decision, []Trial) {
	switch {
	case p.Demo && !a.PassThrough:
		return Decision{Allowed: true, Reason: "demo mode"}, nil
	case a.Who.Name == "":
		return Decision{Reason: "the client is not identified"}, nil
	}
	var trials []Trial
	known, reached := false, false
	badDestination := ""
	for i := range p.Rules {
		r := &p.Rules[i]
		why, destination := p.misfit(r, a)
		if why == "" {
			if r.Deny {
				return Decision{Reason: "denied by " + r.Name, Rule: r, Destination: destination}, trials
			}
			return Decision{Allowed: true, Reason: "allowed by " + r.Name, Rule: r}, trials
		}
		known = known || p.isWho(r.Who, a.Who.Name)
		if destination != "" {
			reached, badDestination = true, destination
		}
		if explain {
			trials = append(trials, Trial{r.Name, why})
		}
	}
	device := cmp.Or(a.Device.String(), "a device that the request does not name")
	switch {
	case reached:
		return Decision{Reason: fmt.Sprintf("no rule allows %s to send calls from %s to %s", a.Who.Name, device, badDestination), Destination: badDestination}, trials
	case !known:
		return Decision{Reason: "no rule names " + a.Who.Name}, trials
	}
	return Decision{Reason: fmt.Sprintf("no rule allows %s to %s %s", a.Who.Name, a.verb(), device)}, trials
}

func (a *Request) verb() string {
	if a.Service != "" {
		return "use " + a.Service + " on"
	}
	return a.Action.String()
}

// misfit returns why a rule does not apply, or "". destination is the destination that an allowing
// rule does not include, or the one that a denying rule includes.
func (p *Policy) misfit(r *Rule, a Request) (why, destination string) {
	switch {
	case !p.isWho(r.Who, a.Who.Name):
		return OtherIdentities, ""
	case len(r.Fronts) > 0 && !slices.Contains(r.Fronts, a.Front):
		return "it names other fronts", ""
	case len(r.Hours) > 0 && !slices.ContainsFunc(r.Hours, func(h Hours) bool { return h.Contains(a.At) }):
		return "it does not apply at this hour", ""
	case a.PassThrough && !r.Deny && !slices.Contains(r.May, PassThrough+a.Service):
		return "it does not name the message", ""
	case !r.mayService(a.Service, a.Action):
		return "it names other services", ""
	case !p.isDevice(r.Devices, a.Who, a.Device):
		return "it names other devices", ""
	}
	if r.Deny {
		if len(r.Destinations) == 0 {
			return "", ""
		}
		for _, d := range a.Destinations {
			if d == Whole || p.isDestination(r.Destinations, a.Who, d) { // it may be the denied one
				return "", d.text
			}
		}
		return "it names other destinations", ""
	}
	for _, d := range a.Destinations {
		if !p.isDestination(r.Destinations, a.Who, d) {
			return "it does not allow calls to " + d.text, d.text
		}
	}
	return "", ""
}

// Counts reports whether a request that the rule allows counts against its rate. Observing under a
// rule about something else does not.
func (r *Rule) Counts(a Request) bool {
	return r.Rate.Count > 0 && (a.Action == Control || len(r.May) == 0 || slices.Contains(r.May, "observe") || slices.Contains(r.May, a.Service))
}

func (p *Policy) isWho(patterns []string, name string) bool {
	return len(patterns) == 0 || slices.ContainsFunc(patterns, func(pattern string) bool {
		if group, ok := strings.CutPrefix(pattern, "group:"); ok {
			return slices.ContainsFunc(p.Groups[group], func(member string) bool { return match(member, name) })
		}
		return match(pattern, name)
	})
}

func (p *Policy) isDevice(patterns []string, who Identity, device Number) bool {
	return len(patterns) == 0 || slices.ContainsFunc(patterns, func(pattern string) bool { return p.fitsDevice(pattern, who, device) })
}

func (p *Policy) fitsDevice(pattern string, who Identity, device Number) bool {
	if pattern == "own" {
		return p.Lines != nil && device != Whole && slices.Contains(p.Lines(who.Name), device.text)
	}
	patterns := []string{pattern}
	if group, ok := strings.CutPrefix(pattern, "group:"); ok {
		patterns = p.DeviceGroups[group]
	}
	if device == Whole {
		return slices.Contains(patterns, "*")
	}
	return matchDevice(patterns, device.text)
}

func (p *Policy) isDestination(patterns []string, who Identity, number Number) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		if number == Whole {
			return pattern == "*"
		}
		if pattern == "internal" {
			return p.Internal != nil && p.Internal(number.text)
		}
		if class, ok := strings.CutPrefix(pattern, "class:"); ok {
			return matchDevice(p.Destinations[class], number.text)
		}
		return p.fitsDevice(pattern, who, number)
	})
}

// Classes returns what Rule.May may contain besides names of services: observe, control, and the
// classes of services (uacsta/messages.txt).
func Classes() []string {
	names := append(uacsta.Classes(), "control")
	slices.Sort(names)
	return names
}

// mayService reports whether a rule applies to a service; "" is any service of the action. A rule that
// allows something on a device also allows to observe it; a rule that denies something applies to that
// alone.
func (r *Rule) mayService(service string, action Action) bool {
	return len(r.May) == 0 || slices.ContainsFunc(r.May, func(entry string) bool {
		switch {
		case entry == "observe":
			return action == Observe
		case entry == "control":
			return action == Control || !r.Deny
		case strings.HasPrefix(entry, PassThrough):
			return entry == PassThrough+service
		case entry == service || uacsta.InClass(service, entry):
			return true
		}
		return !r.Deny && (action == Observe || service == "")
	})
}

// rules returns the rules that a grant stands for: one to control, and one to observe.
func (g Grant) rules() []Rule {
	dial := g.Dial
	if len(dial) == 0 {
		dial = []string{"internal"}
	}
	var list []Rule
	if len(g.Control) > 0 {
		list = append(list, Rule{Name: "the grant to " + g.Who + " (control)", Who: []string{g.Who}, May: []string{"control"}, Devices: g.Control, Destinations: dial})
	}
	if len(g.Observe) > 0 {
		list = append(list, Rule{Name: "the grant to " + g.Who + " (observe)", Who: []string{g.Who}, May: []string{"observe"}, Devices: g.Observe})
	}
	return list
}

// FromGrants returns a policy of grants. internal reports whether a number is a device of the switch.
func FromGrants(internal func(number string) bool, grants ...Grant) *Policy {
	p := &Policy{Internal: internal}
	p.AddGrants(grants)
	return p
}

// AddGrants appends the rules and administrators that the grants stand for.
func (p *Policy) AddGrants(grants []Grant) {
	for _, g := range grants {
		p.Rules = append(p.Rules, g.rules()...)
		if g.Administer {
			p.Administrators = append(p.Administrators, g.Who)
		}
	}
}
