package daemon

import (
	"context"
	"errors"
	"fmt"

	"github.com/tr87proxy/tr87proxy/internal/config"
	"github.com/tr87proxy/tr87proxy/policy"
)

// policyOf returns the policy and the numbering of a configuration.
func (n *Node) policyOf(cfg *config.Config) (*policy.Policy, *policy.Numbers, error) {
	numbers := &policy.Numbers{Main: cfg.Numbers.Main, Extensions: known(cfg, n.sw), Rules: numberRules(cfg.Numbers.Rules)}
	rules := rules(cfg)
	rules.Demo = n.demo // a reload does not change it
	rules.Internal = numbers.Known
	var err error
	rules.Lines, err = ownLines(cfg.Lines, n.directory, numbers)
	return rules, numbers, err
}

func rules(cfg *config.Config) *policy.Policy {
	p := &policy.Policy{Demo: cfg.Demo}
	for _, t := range cfg.Trusted {
		network, _ := config.ParseNetwork(t.Address) // checked by config; empty for certificates
		p.Trusted = append(p.Trusted, policy.Peer{Network: network, Certificate: t.Certificate})
	}
	for _, a := range cfg.Addresses.Allow {
		network, _ := config.ParseNetwork(a) // checked by config
		p.Allow = append(p.Allow, network)
	}
	for _, a := range cfg.Addresses.Deny {
		network, _ := config.ParseNetwork(a)
		p.Deny = append(p.Deny, network)
	}
	p.Groups, p.DeviceGroups, p.Destinations = map[string][]string{}, map[string][]string{}, map[string][]string{}
	for _, g := range cfg.Groups {
		p.Groups[g.Name] = g.Members
	}
	for _, g := range cfg.DeviceGroups {
		p.DeviceGroups[g.Name] = g.Devices
	}
	for _, g := range cfg.Destinations {
		p.Destinations[g.Name] = g.Devices
	}
	for _, r := range cfg.Rules {
		rule := policy.Rule{Name: r.Name, Deny: r.Deny, Who: r.Who, May: r.May, Devices: r.Devices, Destinations: r.Destinations, Fronts: r.Fronts}
		for _, h := range r.Hours {
			hours, _ := policy.ParseHours(h) // checked by config
			rule.Hours = append(rule.Hours, hours)
		}
		if r.Rate != "" {
			rule.Rate, _ = policy.ParseRate(r.Rate)
		}
		p.Rules = append(p.Rules, rule)
	}
	for _, g := range cfg.Grants {
		p.AddGrants([]policy.Grant{policy.Grant(g)})
	}
	return p
}

// LinkOf returns the link that has a device, or the named one if name is not "", and the rules for
// numbers sent to it.
func LinkOf(cfg *config.Config, name, canonical string) (string, policy.NumberRules) {
	for _, l := range cfg.Links {
		if name == l.Name || name == "" && policy.CompileDevices(l.Devices).Match(canonical) {
			return l.Name, numberRules(l.Numbers.Out)
		}
	}
	return "switch", nil
}

// Decide returns the policy and the numbering of a configuration, after asking the directory that it names. If
// asking it fails, unasked says why. Decide opens nothing for writing.
func Decide(ctx context.Context, cfg *config.Config) (rules *policy.Policy, numbers *policy.Numbers, unasked, err error) {
	n, err := assemble(cfg, Options{}, true)
	if err != nil {
		return nil, nil, nil, err
	}
	defer n.discard()
	unasked = n.directory.Ask(ctx)
	rules, numbers, err = n.policyOf(cfg)
	return rules, numbers, unasked, err
}

// Check checks the files that a configuration names, and its examples of numbers. Check opens nothing for writing.
func Check(file string, cfg *config.Config) error {
	n, err := assemble(cfg, Options{}, true)
	if err != nil {
		return err
	}
	defer n.discard()
	if _, err := AuditConfig(cfg.Audit); err != nil { // its key
		return err
	}
	_, numbers, err := n.policyOf(cfg)
	if err != nil {
		return err
	}
	return checkExamples(file, cfg, numbers)
}

// checkExamples checks numbers.examples against the rules for numbers.
func checkExamples(file string, cfg *config.Config, numbers *policy.Numbers) error {
	var faults []error
	for i, e := range cfg.Numbers.Examples {
		number, err := numbers.Parse(e.Written, "")
		if err != nil {
			faults = append(faults, fmt.Errorf("%s: numbers.examples[%d]: %s %w", file, i, e.Written, err))
			continue
		}
		canonical := number.String()
		if canonical != e.Canonical {
			faults = append(faults, fmt.Errorf("%s: numbers.examples[%d]: %s becomes %s, not %s", file, i, e.Written, canonical, e.Canonical))
			continue
		}
		if again, err := numbers.Parse(canonical, ""); err != nil || again != number {
			faults = append(faults, fmt.Errorf("%s: numbers.examples[%d]: the rules change %s, which they made themselves, once more: clients that send it back would mean another number", file, i, canonical))
			continue
		}
		if e.Link == "" {
			continue
		}
		if _, rules := LinkOf(cfg, e.Link, canonical); rules.Apply(canonical) != e.Sent {
			faults = append(faults, fmt.Errorf("%s: numbers.examples[%d]: %s is sent to %s as %s, not %s", file, i, e.Written, e.Link, rules.Apply(canonical), e.Sent))
		}
	}
	return errors.Join(faults...)
}
