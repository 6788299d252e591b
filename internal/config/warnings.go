package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
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
	for _, f := range c.Fronts {
		if w, ok := f.Settings.(warner); ok {
			list = append(list, w.Warnings()...)
		}
	}
	return slices.Concat(list, c.boundWarnings(), c.fileWarnings())
}

// warner are settings of a front that can be without faults and nevertheless not what their author expects.
type warner interface {
	Warnings() []string // each begins with the key
}

// Bound returns the warning about a bound per peer that is more than that of all peers, nil where it is not. The
// standard was not chosen, and is not worth one. key is that of the bound for all.
func Bound(key string, peer, all, standard int) []string {
	if peer <= all || peer == standard {
		return nil
	}
	return []string{fmt.Sprintf("%s-per-peer: %d is more than %s, which is %d: one peer can take every place", key, peer, key, all)}
}

// boundWarnings are about bounds that others make void.
func (c *Config) boundWarnings() []string {
	var list []string
	if c.Limits.QueuesMiB < c.Limits.QueueMiB {
		list = append(list, fmt.Sprintf("limits.queues-mib: %d for all clients is less than limits.queue-mib, which gives %d to each: no client can use what it may", c.Limits.QueuesMiB, c.Limits.QueueMiB))
	}
	return list
}

// fileWarnings are about files that cannot be made, or that too many or too few may write to.
func (c *Config) fileWarnings() []string {
	var list []string
	for key, file := range map[string]string{"audit.file": c.Audit.File, "admin.socket": c.Admin.Socket} {
		if file == "" {
			continue
		}
		if _, err := os.Stat(filepath.Dir(file)); errors.Is(err, os.ErrNotExist) {
			list = append(list, fmt.Sprintf("%s: there is no directory %s; the proxy does not start without it", key, filepath.Dir(file)))
		}
	}
	if info, err := os.Stat(c.Audit.File); err == nil && !info.Mode().IsRegular() {
		list = append(list, fmt.Sprintf("audit.file: %s is no regular file", c.Audit.File))
	}
	if c.Admin.Socket != "" {
		switch mode, _ := strconv.ParseUint(c.Admin.Mode, 8, 32); { // checked
		case mode&0o222 == 0:
			list = append(list, fmt.Sprintf("admin.mode: with %s nobody but root may write to the socket; write 0600 for the user of the proxy, 0660 for its group", c.Admin.Mode))
		case mode&0o002 != 0:
			list = append(list, fmt.Sprintf("admin.mode: with %s every user of the machine administers the proxy; write 0600 for the user of the proxy, 0660 for its group", c.Admin.Mode))
		}
	}
	slices.Sort(list)
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
