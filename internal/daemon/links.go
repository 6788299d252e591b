package daemon

import (
	"fmt"
	"slices"

	"github.com/tr87proxy/tr87proxy/internal/config"
	"github.com/tr87proxy/tr87proxy/internal/kind"
	"github.com/tr87proxy/tr87proxy/policy"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/softswitch"
)

// linksOf returns the links of the core, in the order in which the core searches them for a device. The
// built-in switch comes last; without other links, every device is routed to it. A link that stays since
// the old configuration has no Link.
func (n *Node) linksOf(cfg, old *config.Config) ([]proxy.NamedLink, error) {
	var list []proxy.NamedLink
	for i, l := range cfg.Links {
		named := proxy.NamedLink{Name: l.Name, Devices: policy.CompileDevices(l.Devices).Match, Numbers: translation(l)}
		if !slices.ContainsFunc(old.Links, func(o config.Link) bool { return sameLink(o, l) }) {
			link, err := linkKind(&l).Build(l.Settings, n.environment(&l))
			if err != nil {
				return nil, atKey(cfg, fmt.Sprintf("links[%d]", i), err)
			}
			named.Link = link
		}
		list = append(list, named)
	}
	builtIn := proxy.NamedLink{Name: "switch", Devices: func(device string) bool { return len(cfg.Links) == 0 || n.sw.Has(device) }}
	if n.cfg == cfg { // at the start
		builtIn.Link = n.sw
	}
	return append(list, builtIn), nil
}

func translation(l config.Link) proxy.Translation {
	return proxy.Translation{Out: numberRules(l.Numbers.Out), In: numberRules(l.Numbers.In)}
}

// numberRules converts rules of a configuration that has been checked.
func numberRules(list []config.NumberRule) policy.NumberRules {
	rules := make(policy.NumberRules, len(list))
	for i, r := range list {
		rules[i], _ = policy.ParseNumberRule(r.Match, r.Strip, r.Add, r.Replace)
	}
	return rules
}

// sameLink reports whether the link of an old entry can stay for a new one.
func sameLink(old, now config.Link) bool {
	return old.Name == now.Name && old.Type == now.Type && linkKind(&now).Same(old.Settings, now.Settings)
}

// environment returns the environment of a link.
func (n *Node) environment(l *config.Link) *kind.Env {
	return &kind.Env{
		Name: l.Name, Log: n.log.With("link", l.Name), Admits: n.admits, Octets: n.octets, Refused: n.notBelieved, Guard: n.guard,
		Models: func() ([]config.Model, error) { return config.Models(n.cfg.Telephones.Models) },
	}
}

// known returns a function that reports whether a number is a device of ours, which a grant without dial may call.
// Patterns with * and regular expressions route numbers to a link; they do not make every number that matches a device.
func known(cfg *config.Config, sw *softswitch.Switch) func(string) bool {
	var finite []string
	for _, l := range cfg.Links {
		for _, pattern := range l.Devices {
			if policy.Finite(pattern) {
				finite = append(finite, pattern)
			}
		}
	}
	devices := policy.CompileDevices(finite)
	return func(number string) bool { return devices.Match(number) || sw.Has(number) }
}
