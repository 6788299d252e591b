package config

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// Warnings returns a line for each setting that is valid but may not do what its author expects.
// Each line begins with the key.
func (c *Config) Warnings() []string {
	var list []string
	for i, t := range c.Switch.Trunks {
		if t.Inward == nil {
			list = append(list, fmt.Sprintf("switch.trunks[%d].inward: incoming calls of trunk %s reach no device; list the numbers that they may call, or write inward: [] for none", i, t.Number))
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
		if w, ok := f.Settings.(interface{ Warnings() []string }); ok {
			list = append(list, w.Warnings()...)
		}
	}
	if key := c.forgeable(); key != "" {
		list = append(list, key+": required, but no listener of telephones has transport tls, so this telephone needs DTLS-SRTP, and an attacker who can change its SIP can hear its calls; add one to telephones.listen")
	}
	if c.source != nil {
		list = append(list, c.listenerWarnings()...)
	}
	return slices.Concat(list, c.limitWarnings(), c.fileWarnings())
}

// listenerWarnings returns warnings about listeners that the file does not name, beside those that it names, and about a
// file that leaves no listener to clients, or no devices. c comes from a file.
func (c *Config) listenerWarnings() []string {
	var list, unasked []string
	named, open := false, false
	for _, f := range c.Fronts {
		listeners := f.Listeners()
		open = open || len(listeners) > 0
		if _, ok := c.source.lines[f.Name]; ok {
			named = named || len(listeners) > 0
			continue
		}
		var at []string
		for _, l := range listeners {
			at = append(at, l.Transport+" "+l.Address)
		}
		if at != nil {
			unasked = append(unasked, fmt.Sprintf("%s: the file does not have this key, so its default listens at %s; write %s: {listen: []} if you do not want it", f.Name, strings.Join(at, " and "), f.Name))
		}
	}
	if named {
		list = append(list, unasked...)
	}
	if !open {
		list = append(list, "sip.listen: no front has a listener, so no client can connect; write for example sip: {listen: [{transport: tcp, address: \"127.0.0.1:5062\"}]}")
	}
	if len(c.Links) == 0 && c.Switch.empty() {
		list = append(list, "switch: there are neither devices here nor links, so there is nothing to control; name the devices of the built-in switch, or your switch under links")
	}
	return list
}

// empty reports whether the built-in switch has no devices.
func (s *Switch) empty() bool {
	return len(s.Extensions)+len(s.HuntGroups)+len(s.Queues)+len(s.Trunks)+len(s.Park)+len(s.PickupGroups)+len(s.Routeing) == 0
}

// forgeable returns the key of the first extension that requires encrypted voice where no telephone can register over
// TLS, so that keys are agreed on by DTLS with fingerprints that are not protected, or "".
func (c *Config) forgeable() string {
	if slices.ContainsFunc(c.Telephones.Listen, func(l Listener) bool { return l.Transport == "tls" }) {
		return ""
	}
	for i, e := range c.Switch.Extensions {
		if e.SIP != nil && e.SIP.SRTP == "required" {
			return fmt.Sprintf("switch.extensions[%d].sip.srtp", i)
		}
	}
	return ""
}

// Bound returns a warning if the limit for each peer is above the limit for all peers, else nil. It ignores a limit for
// each peer that is the default, which nobody has chosen. key is the key of the limit for all peers.
func Bound(key string, peer, all, standard int) []string {
	if peer <= all || peer == standard {
		return nil
	}
	return []string{fmt.Sprintf("%s-per-peer: %d is more than %s, which is %d: one peer can use up the limit for all", key, peer, key, all)}
}

// Overheard returns warnings about listeners that others can reach without TLS. harm says what can be done then: read passwords.
func Overheard(key string, listen []Listener, harm string) []string {
	var list []string
	for i, l := range listen {
		if host, _, err := net.SplitHostPort(l.Address); err == nil && l.Transport == "tcp" && !Loopback(host) {
			list = append(list, fmt.Sprintf("%s[%d].transport: tcp at %s: everybody on the way can %s; write tls, or an address of this machine behind a reverse proxy", key, i, l.Address, harm))
		}
	}
	return list
}

// limitWarnings returns warnings about limits that have no effect because of others.
func (c *Config) limitWarnings() []string {
	var list []string
	if c.Limits.QueuesMiB < c.Limits.QueueMiB {
		list = append(list, fmt.Sprintf("limits.queues-mib: %d for all clients is less than limits.queue-mib, which gives %d to each: no client can use its limit", c.Limits.QueuesMiB, c.Limits.QueueMiB))
	}
	return list
}

// fileWarnings returns warnings about files that the proxy cannot create, or that too many or too few users may write.
func (c *Config) fileWarnings() []string {
	var list []string
	for key, file := range map[string]string{"audit.file": c.Audit.File, "admin.socket": c.Admin.Socket, "telephones.state": c.Telephones.State, "trace.file": c.Trace.File} {
		list = append(list, NoFolder(key, file)...)
	}
	if info, err := os.Stat(c.Audit.File); err == nil && !info.Mode().IsRegular() {
		list = append(list, fmt.Sprintf("audit.file: %s is not a regular file", c.Audit.File))
	}
	if c.Admin.Socket != "" {
		switch mode, _ := strconv.ParseUint(c.Admin.Mode, 8, 32); { // checked
		case mode&0o222 == 0:
			list = append(list, fmt.Sprintf("admin.mode: with %s only root may use the socket; write 0600 for the user of the proxy, 0660 for its group", c.Admin.Mode))
		case mode&0o002 != 0:
			list = append(list, fmt.Sprintf("admin.mode: with %s every user of the machine may administer the proxy; write 0600 for the user of the proxy, 0660 for its group", c.Admin.Mode))
		}
	}
	slices.Sort(list)
	return list
}

// NoFolder returns a warning if the proxy cannot create a file because of its folder, else nil. "" names no file.
func NoFolder(key, file string) []string {
	if file == "" {
		return nil
	}
	folder := filepath.Dir(file)
	if info, err := os.Stat(folder); errors.Is(err, os.ErrNotExist) || err == nil && !info.IsDir() {
		return []string{fmt.Sprintf("%s: directory %s does not exist; the proxy does not start without it", key, folder)}
	}
	const writeAndSearch = 2 | 1 // of access(2)
	if err := syscall.Access(folder, writeAndSearch); err != nil {
		return []string{fmt.Sprintf("%s: you cannot create files in directory %s (%v); the proxy does not start if its user cannot", key, folder, err)}
	}
	return nil
}

// leadsOutside reports whether calls to a number leave over a trunk.
func (s *Switch) leadsOutside(number string) bool {
	own := slices.ContainsFunc(s.Extensions, func(e Extension) bool { return e.Number == number }) ||
		slices.ContainsFunc(s.HuntGroups, func(g HuntGroup) bool { return g.Number == number }) ||
		slices.ContainsFunc(s.Queues, func(q Queue) bool { return q.Number == number }) ||
		slices.ContainsFunc(s.Routeing, func(r RouteingDevice) bool { return r.Number == number })
	return !own && slices.ContainsFunc(s.Trunks, func(t Trunk) bool {
		return slices.ContainsFunc(t.Prefixes, func(prefix string) bool { return strings.HasPrefix(number, prefix) })
	})
}
