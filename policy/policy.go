// Package policy decides who may do what, and how numbers are written on either
// side. Its functions are pure: they read configuration and nothing else.
package policy

import (
	"net/netip"
	"path"
	"slices"
	"strings"
)

// Identity is who a client is, and how that is known.
type Identity struct {
	Name string // SIP URI in small letters without parameters, digest user, account, name in a certificate, address, or "demo"; "" is nobody
	How  string // trusted-peer, digest, account, certificate, address, demo
}

func (i Identity) String() string {
	if i.Name == "" {
		return "nobody"
	}
	return i.Name + " (" + i.How + ")"
}

// Grant says what one identity may do. Devices are canonical, written in any way that
// MatchDevice understands. Whoever may control a device may also observe it.
type Grant struct {
	Who     string // identity, with wildcards
	Observe []string
	Control []string
	// Dial lists the destinations that calls may be sent to.
	// Empty means every device of the switch and nothing outside.
	Dial []string
}

// Policy is the whole decision table. The zero value denies everything.
type Policy struct {
	Demo         bool // everybody may do everything: refused except on loopback
	Trusted      []Peer
	Allow, Deny  []netip.Prefix      // who may speak to us at all; no Allow: everybody
	Rules        []Rule              // in order
	Groups       map[string][]string // identities, with wildcards
	DeviceGroups map[string][]string
	Destinations map[string][]string            // classes of numbers
	Lines        func(identity string) []string // the devices that are an identity's own; nil for none
	Internal     func(number string) bool       // whether a number is a device of ours; nil for none
}

// Peer is a front end whose From headers are believed. One of the two is set.
type Peer struct {
	Network     netip.Prefix
	Certificate string // name in its verified certificate, with wildcards
}

// Trusts reports whether a peer's From header is believed.
func (p *Policy) Trusts(addr netip.Addr, certificateNames []string) bool {
	for _, t := range p.Trusted {
		if t.Certificate == "" && t.Network.Contains(addr) {
			return true
		}
		if t.Certificate != "" && slices.ContainsFunc(certificateNames, func(n string) bool { return match(t.Certificate, strings.ToLower(n)) }) {
			return true
		}
	}
	return false
}

// Admits reports whether an address may speak to us at all.
func (p *Policy) Admits(addr netip.Addr) bool {
	contains := func(n netip.Prefix) bool { return n.Contains(addr) }
	return !slices.ContainsFunc(p.Deny, contains) && (len(p.Allow) == 0 || slices.ContainsFunc(p.Allow, contains))
}

// Action is a kind of use.
type Action int

// The actions.
const (
	Observe Action = iota
	Control
)

func (a Action) String() string { return [...]string{"observe", "control"}[a] }

// Decision is an answer with its reason, for logs and for those who ask why.
type Decision struct {
	Allowed     bool
	Reason      string
	Rule        *Rule  // that decided; nil when none did
	Destination string // that calls may not be sent to, if that is why not
}

// Known reports whether any rule lets the identity do anything at all.
func (p *Policy) Known(who Identity) bool {
	return p.Demo || who.Name != "" && slices.ContainsFunc(p.Rules, func(r Rule) bool { return !r.Deny && p.isWho(r.Who, who.Name) })
}

// match compares with * and ?, which the configuration's check has validated.
func match(pattern, s string) bool {
	pattern = strings.ToLower(pattern)
	if pattern == "*" {
		return true
	}
	// path.Match keeps * from crossing a slash; identities have none that counts.
	ok, _ := path.Match(strings.ReplaceAll(pattern, "/", "|"), strings.ReplaceAll(strings.ToLower(s), "/", "|"))
	return ok
}

// ValidPattern reports whether a pattern can be used.
func ValidPattern(pattern string) bool {
	_, err := path.Match(pattern, "")
	return err == nil && pattern != ""
}

// IdentityOf brings a SIP URI to the form that identities have: scheme, user and
// host in small letters, without port and parameters.
func IdentityOf(uri string) string {
	uri, _, _ = strings.Cut(strings.ToLower(strings.TrimSpace(uri)), ";")
	uri, _, _ = strings.Cut(uri, "?")
	scheme, rest, _ := strings.Cut(uri, ":")
	if i := strings.LastIndexByte(rest, ':'); i > strings.LastIndexAny(rest, "]@") {
		rest = rest[:i]
	}
	if scheme == "sips" {
		scheme = "sip"
	}
	return scheme + ":" + rest
}
