package config

import (
	"fmt"
	"slices"
	"strings"
)

// Warnings names what a configuration without faults does not do although its author may
// expect it: one line for each, beginning with the key.
func (c *Config) Warnings() []string {
	var list []string
	for i, t := range c.Switch.Trunks {
		if t.Inward == nil {
			list = append(list, fmt.Sprintf("switch.trunks[%d].inward: calls that come in over trunk %s reach nothing; list the numbers that they may reach, or write inward: [] for none", i, t.Number))
		}
	}
	for i, q := range c.Switch.Queues {
		if c.Switch.leadsOutside(q.Overflow) {
			list = append(list, fmt.Sprintf("switch.queues[%d].overflow: %s leads outside, where calls that come in over a trunk are not sent", i, q.Overflow))
		}
	}
	for i, r := range c.Switch.Routeing {
		if c.Switch.leadsOutside(r.Default) {
			list = append(list, fmt.Sprintf("switch.routeing[%d].default: %s leads outside, where calls that come in over a trunk are not sent", i, r.Default))
		}
	}
	return list
}

// leadsOutside reports whether a number goes out over a trunk.
func (s *Switch) leadsOutside(number string) bool {
	own := slices.ContainsFunc(s.Extensions, func(e Extension) bool { return e.Number == number }) ||
		slices.ContainsFunc(s.HuntGroups, func(g HuntGroup) bool { return g.Number == number }) ||
		slices.ContainsFunc(s.Queues, func(q Queue) bool { return q.Number == number }) ||
		slices.ContainsFunc(s.Routeing, func(r RouteingDevice) bool { return r.Number == number })
	return !own && slices.ContainsFunc(s.Trunks, func(t Trunk) bool {
		return slices.ContainsFunc(t.Prefixes, func(prefix string) bool { return strings.HasPrefix(number, prefix) })
	})
}
