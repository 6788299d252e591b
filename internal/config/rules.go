package config

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/tr87proxy/tr87proxy/policy"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// elementName matches names of XML elements that pass-through can name.
var elementName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.-]{0,63}$`)

// checkRules checks groups, lines and rules.
func (c *Config) checkRules(d *document) {
	identities, devices, classes := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for i, g := range c.Groups {
		key := fmt.Sprintf("groups[%d]", i)
		d.name(key, g.Name, identities)
		for j, member := range g.Members {
			if !policy.ValidPattern(member) {
				d.fault(fmt.Sprintf("%s.members[%d]", key, j), "must be an identity or a pattern with *; write for example sip:alice@contoso.com or sip:*@contoso.com")
			}
		}
	}
	for kind, list := range map[string][]DeviceGroup{"device-groups": c.DeviceGroups, "destinations": c.Destinations} {
		for i, g := range list {
			key := fmt.Sprintf("%s[%d]", kind, i)
			d.name(key, g.Name, map[string]map[string]bool{"device-groups": devices, "destinations": classes}[kind])
			d.devices(key+".devices", g.Devices, nil)
		}
	}
	for i, l := range c.Lines.Own {
		key := fmt.Sprintf("lines.own[%d]", i)
		if l.Who == "" {
			d.fault(key+".who", "must be an identity; write for example sip:alice@contoso.com")
		}
		for j, device := range l.Devices {
			if device == "" || strings.ContainsAny(device, "*?") {
				d.fault(fmt.Sprintf("%s.devices[%d]", key, j), "must be one device; write for example \"100\" or \"+14255550100\"")
			}
		}
	}
	if l := c.Lines.LDAP; l.URL != "" {
		scheme, _, _ := strings.Cut(l.URL, "://")
		if secure := scheme == "ldaps" && !l.StartTLS || scheme == "ldap" && l.StartTLS; !secure {
			d.fault("lines.ldap.url", "would send the password unencrypted; write ldaps://host, or ldap://host with start-tls: true")
		}
		if l.User == "" || (l.Password == "") == (l.PasswordFile == "") || l.Base == "" {
			d.fault("lines.ldap", "is incomplete; write user, base, and either password or password-file")
		}
		if l.Refresh < 0 {
			d.fault("lines.ldap.refresh", "must not be negative")
		}
	}
	names := map[string]bool{}
	for i, r := range c.Rules {
		key := fmt.Sprintf("rules[%d]", i)
		d.name(key, r.Name, names)
		for j, who := range r.Who {
			group, isGroup := strings.CutPrefix(who, "group:")
			switch {
			case isGroup && !identities[group]:
				d.fault(fmt.Sprintf("%s.who[%d]", key, j), "names a group that is not in groups; write the name of one")
			case !isGroup && !policy.ValidPattern(who):
				d.fault(fmt.Sprintf("%s.who[%d]", key, j), "must be an identity, a pattern with *, or a group; write for example sip:alice@contoso.com or group:NAME")
			}
		}
		for j, what := range r.May {
			name, passes := strings.CutPrefix(what, policy.PassThrough)
			switch {
			case passes && (uacsta.IsRequest(name) || !elementName.MatchString(name)):
				d.fault(fmt.Sprintf("%s.may[%d]", key, j), "must name a message that CSTA does not have; write for example pass-through:RegisterTerminalRequest")
			case !passes && !slices.Contains(policy.Classes(), what) && !uacsta.IsRequest(what):
				d.fault(fmt.Sprintf("%s.may[%d]", key, j), "is not a service or a class of services; write a service such as MakeCall, one of: "+strings.Join(policy.Classes(), ", ")+"; or pass-through:NAME for a message that CSTA does not have")
			}
		}
		if len(r.Devices) > 0 && !slices.Contains(r.Devices, "*") && slices.ContainsFunc(r.May, func(what string) bool { return strings.HasPrefix(what, policy.PassThrough) }) {
			d.fault(key+".devices", "cannot limit pass-through, because the proxy does not know which device such a message is about; write [\"*\"] or leave it out")
		}
		d.devices(key+".devices", r.Devices, func(word string) (string, bool) {
			group, isGroup := strings.CutPrefix(word, "group:")
			if isGroup && !devices[group] {
				return "names a group that is not in device-groups; write the name of one", true
			}
			return "", isGroup || word == "own"
		})
		d.devices(key+".destinations", r.Destinations, func(word string) (string, bool) {
			group, isGroup := strings.CutPrefix(word, "group:")
			class, isClass := strings.CutPrefix(word, "class:")
			switch {
			case isGroup && !devices[group]:
				return "names a group that is not in device-groups; write the name of one", true
			case isClass && !classes[class]:
				return "names a class that is not in destinations; write the name of one", true
			}
			return "", isGroup || isClass || word == "own" || word == "internal"
		})
		for j, front := range r.Fronts {
			d.oneOf(fmt.Sprintf("%s.fronts[%d]", key, j), front, d.kinds.FrontNames()...)
		}
		for j, hours := range r.Hours {
			if _, err := policy.ParseHours(hours); err != nil {
				d.fault(fmt.Sprintf("%s.hours[%d]", key, j), err.Error())
			}
		}
		if r.Rate != "" {
			if _, err := policy.ParseRate(r.Rate); err != nil {
				d.fault(key+".rate", err.Error())
			}
		}
	}
}

// name checks that an entry has a name that no other entry has.
func (d *document) name(key, name string, taken map[string]bool) {
	if name == "" || strings.ContainsAny(name, "\n\r\t") || taken[name] {
		d.fault(key+".name", "must be a name that no other entry has; write for example agents")
	}
	taken[name] = true
}

// devices checks patterns of device numbers. word, if not nil, reports whether an entry is a
// word instead, such as group:NAME, and returns its fault.
func (d *document) devices(key string, patterns []string, word func(string) (fault string, ok bool)) {
	for i, pattern := range patterns {
		at := fmt.Sprintf("%s[%d]", key, i)
		if word != nil {
			if fault, ok := word(pattern); fault != "" {
				d.fault(at, fault)
				continue
			} else if ok {
				continue
			}
		}
		if !policy.ValidDevices(pattern) {
			d.fault(at, "is not a valid pattern; write for example 10?, *, 200-299, or a regular expression such as /2[0-4]\\d/")
		}
	}
}

// numberRules checks rules for numbers.
func (d *document) numberRules(key string, rules []NumberRule) {
	for i, r := range rules {
		if _, err := policy.ParseNumberRule(r.Match, r.Strip, r.Add, r.Replace); err != nil {
			d.fault(fmt.Sprintf("%s[%d]", key, i), err.Error())
		}
	}
}
