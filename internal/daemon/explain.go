package daemon

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/tr87proxy/tr87proxy/api"
	"github.com/tr87proxy/tr87proxy/internal/config"
	"github.com/tr87proxy/tr87proxy/internal/share"
	"github.com/tr87proxy/tr87proxy/internal/tokens"
	"github.com/tr87proxy/tr87proxy/policy"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// Question is what an administrator wants to know of policy: whether an identity may do something.
type Question struct {
	Identity     string // however somebody writes it
	Front        string // "": the first one
	Scope        string // of its token, with the front api; "": control
	Service      string // of CSTA, such as MakeCall, or an action of the HTTP interface, such as call
	Device       string // as a client writes it; "": the request names none
	Destinations []string
	At           time.Time
}

// Explanation says how policy decides, and why.
type Explanation struct {
	Identity     string      `json:"identity"`
	Front        string      `json:"front"`
	When         time.Time   `json:"when"`
	Service      string      `json:"service"`
	Device       string      `json:"device,omitempty"` // the canonical form, also of destinations
	Destinations []string    `json:"destinations,omitempty"`
	Allowed      bool        `json:"allowed"`
	Reason       string      `json:"reason"`
	Rule         string      `json:"rule,omitempty"` // that decided; "": none did
	At           string      `json:"at,omitempty"`   // its file and line, if that is known
	Steps        []TriedRule `json:"steps"`          // in order; the one that decided is the last
}

// TriedRule is a rule that was tried.
type TriedRule struct {
	Rule    string `json:"rule"`
	At      string `json:"at,omitempty"`
	Why     string `json:"why"`
	Decides bool   `json:"decides"`
}

// Check fills in what a question leaves out, and returns what is wrong with it.
func (q *Question) Check() error {
	fronts := Kinds().FrontNames()
	q.Identity, q.Front, q.Scope = identityOf(q.Identity), cmp.Or(q.Front, fronts[0]), cmp.Or(q.Scope, string(tokens.Control))
	asked := q.Service
	q.Service = cmp.Or(api.Service(asked), asked)
	switch {
	case q.Identity == "":
		return errors.New("name an identity, such as sip:alice@contoso.com or crm")
	case !uacsta.IsRequest(q.Service):
		return fmt.Errorf("%.64q is not a service; write for example MakeCall or MonitorStart, or an action of the HTTP interface: call, answer, set-forwarding", asked)
	case !slices.Contains(fronts, q.Front):
		return fmt.Errorf("--front %.64q: write one of: %s", q.Front, strings.Join(fronts, ", "))
	case q.Scope != string(tokens.Observe) && q.Scope != string(tokens.Control):
		return fmt.Errorf("--scope %.64q: write observe or control", q.Scope)
	case q.Scope == string(tokens.Observe) && q.Front != api.Kind.Name():
		return fmt.Errorf("--scope: only tokens have one; write --front %s", api.Kind.Name())
	}
	return nil
}

// Explain answers a question as the policy of a configuration decides.
func Explain(cfg *config.Config, rules *policy.Policy, numbers *policy.Numbers, q Question) (*Explanation, error) {
	if err := q.Check(); err != nil {
		return nil, err
	}
	ask := policy.Request{Who: policy.Identity{Name: q.Identity}, Front: q.Front, Service: q.Service, Action: proxy.ActionOf(q.Service), At: q.At}
	e := &Explanation{Identity: ask.Who.Name, Front: q.Front, When: q.At, Service: q.Service, Steps: []TriedRule{}}
	for i, written := range append([]string{q.Device}, q.Destinations...) {
		if i == 0 && written == "" {
			continue
		}
		number, err := numbers.Parse(written, "")
		if err != nil {
			return nil, fmt.Errorf("%.64q %w", written, err)
		}
		if i == 0 {
			ask.Device, e.Device = number, number.String()
			continue
		}
		ask.Destinations, e.Destinations = append(ask.Destinations, number), append(e.Destinations, number.String())
	}
	reach := proxy.ReachPolicy
	if q.Scope == string(tokens.Observe) {
		reach = proxy.ReachObserve
	}
	decision, fixed := reach.Decide(ask.Action)
	var trials []policy.Trial
	if !fixed {
		decision, trials = rules.Explain(ask)
	}
	e.Allowed, e.Reason = decision.Allowed, decision.Reason
	for _, t := range trials {
		e.Steps = append(e.Steps, TriedRule{Rule: t.Rule, At: placeOf(cfg, t.Rule), Why: t.Why})
	}
	if decision.Rule != nil {
		e.Rule, e.At = decision.Rule.Name, placeOf(cfg, decision.Rule.Name)
		e.Steps = append(e.Steps, TriedRule{Rule: e.Rule, At: e.At, Why: e.Reason, Decides: true})
	}
	return e, nil
}

// placeOf returns file and line of a rule, or of the only grant that is called so; "" if that is not known.
func placeOf(cfg *config.Config, rule string) string {
	var keys []string
	for i, r := range cfg.Rules {
		if r.Name == rule {
			keys = append(keys, fmt.Sprintf("rules[%d]", i))
		}
	}
	for i, g := range cfg.Grants {
		if of := policy.FromGrants(nil, policy.Grant(g)).Rules; slices.ContainsFunc(of, func(r policy.Rule) bool { return r.Name == rule }) {
			keys = append(keys, fmt.Sprintf("grants[%d]", i))
		}
	}
	if len(keys) != 1 || !cfg.FromFile() {
		return ""
	}
	at := cfg.At(keys[0], "")
	return fmt.Sprintf("%s:%d", at.File, at.Line)
}

// identityOf returns the name by which rules know an identity, however somebody writes it.
func identityOf(as string) string {
	switch _, err := netip.ParseAddr(as); {
	case err == nil: // a trusted peer; one of IPv6 is no URI
		return as
	case strings.Contains(as, ":"):
		as = policy.IdentityOf(as)
	case strings.Contains(as, "@"):
		as = policy.IdentityOf("sip:" + as)
	}
	return strings.ToLower(as)
}

// Translation says what becomes of a number.
type Translation struct {
	Written   string       `json:"written"`
	Inward    []NumberStep `json:"inward"` // the rules that were tried for the canonical form
	Canonical string       `json:"canonical,omitempty"`
	Link      string       `json:"link,omitempty"`
	Outward   []NumberStep `json:"outward"` // the rules of the link that were tried
	Sent      string       `json:"sent,omitempty"`
	Shown     string       `json:"shown,omitempty"` // to clients that write tel:
}

// NumberStep is a rule for numbers that was tried.
type NumberStep struct {
	Rule   string `json:"rule"`
	Fits   bool   `json:"fits"`
	Number string `json:"number,omitempty"` // after the rule, if it fits
}

func stepsOf(list []policy.Step) []NumberStep {
	steps := make([]NumberStep, 0, len(list))
	for _, s := range list {
		step := NumberStep{Rule: s.Rule, Fits: s.Fits}
		if s.Fits {
			step.Number = s.Number
		}
		steps = append(steps, step)
	}
	return steps
}

// Translate shows what becomes of a number that a client writes, or, with the name of a link as from, that its switch writes. link
// is where it is sent; "": to the one that has the number. With an error, the translation has the rules that were tried for
// a number that cannot be read, or is nil if there is no such link.
func Translate(cfg *config.Config, numbers *policy.Numbers, written, from, link string) (*Translation, error) {
	for _, name := range []string{from, link} {
		if name != "" && !slices.ContainsFunc(cfg.Links, func(l config.Link) bool { return l.Name == name }) {
			return nil, fmt.Errorf("no link %q", share.Clip(name))
		}
	}
	t := &Translation{Written: written, Inward: []NumberStep{}, Outward: []NumberStep{}}
	if from != "" {
		i := slices.IndexFunc(cfg.Links, func(l config.Link) bool { return l.Name == from })
		canonical, tried := numberRules(cfg.Links[i].Numbers.In).Trace(written)
		t.Canonical, t.Inward = canonical, stepsOf(tried)
	} else {
		number, tried, err := numbers.Trace(written)
		t.Inward = stepsOf(tried)
		if err != nil {
			return t, fmt.Errorf("%.64q %w", written, err)
		}
		t.Canonical = number.String()
	}
	name, rules := LinkOf(cfg, link, t.Canonical)
	sent, tried := rules.Trace(t.Canonical)
	t.Link, t.Outward, t.Sent, t.Shown = name, stepsOf(tried), sent, numbers.Client(t.Canonical)
	return t, nil
}

// configuration returns the current configuration.
func (n *Node) configuration() *config.Config {
	n.reloading.Lock()
	defer n.reloading.Unlock()
	return n.cfg
}

// explain answers a question by the rules that hold.
func (n *Node) explain(q Question) (*Explanation, error) {
	q.At = time.Now()
	return Explain(n.configuration(), n.rules.Load(), n.numbers.Load(), q)
}

// translate shows what becomes of a number by the rules that hold.
func (n *Node) translate(written, from, link string) (*Translation, error) {
	t, err := Translate(n.configuration(), n.numbers.Load(), written, from, link)
	if err != nil {
		return nil, err
	}
	return t, nil
}
