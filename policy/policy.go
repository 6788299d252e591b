// Package policy decides who may do what with which devices, and translates numbers between clients,
// the core and links. It does no I/O: everything follows from its arguments and the time in them.
//
// A [Policy] holds [Rule] values in order. [Policy.Decide] answers a [Request] with a [Decision] and
// its reason; [Policy.Explain] also returns why earlier rules did not apply. Nothing is allowed that
// no rule allows.
//
// [Numbers] parses what a peer writes for a device into a [Number], the canonical form. Decide accepts
// nothing else, so a device has one spelling wherever it is compared. [NumberRules] translate numbers.
package policy

import (
	"net/netip"
	"path"
	"slices"
	"strings"
)

// Identity is a client's name and how it was established.
type Identity struct {
	Name string // a SIP URI in the form of IdentityOf, a digest user, an account, a token's name, a claim of OpenID, a name in a certificate, an address, or "demo"; "" means not identified
	How  string // trusted-peer, digest, account, token, openid, certificate, address, or demo
}

func (i Identity) String() string {
	if i.Name == "" {
		return "nobody"
	}
	return i.Name + " (" + i.How + ")"
}

// Grant is a short form of rules for one identity. Devices are patterns as in CompileDevices. The right
// to control a device includes the right to observe it.
type Grant struct {
	Who     string // identity, with wildcards
	Observe []string
	Control []string
	// Dial lists the destinations that calls may be sent to, as patterns. Empty means every device of
	// the switch and nothing outside.
	Dial []string
	// Administer is the right to administer the proxy.
	Administer bool
}

// Policy is the whole decision table. The zero value denies everything.
type Policy struct {
	Demo           bool // allow everything; the configuration permits this on loopback only
	Trusted        []Peer
	Allow, Deny    []netip.Prefix      // addresses that may connect; without Allow all may
	Rules          []Rule              // the first that applies decides
	Groups         map[string][]string // members: identities, with wildcards
	DeviceGroups   map[string][]string
	Destinations   map[string][]string            // the classes of class:NAME: patterns of numbers
	Lines          func(identity string) []string // returns the devices of "own"; nil: none
	Administrators []string                       // identities that may administer the proxy, with wildcards
	Internal       func(number string) bool       // reports whether a number is a device of the switch; nil: none is
}

// Peer is a front end whose From headers are trusted. Exactly one field is set.
type Peer struct {
	Network     netip.Prefix
	Certificate string // a name in its verified certificate, with wildcards
}

// Trusts reports whether a peer, by its address or certificate names, is trusted.
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

// Admits reports whether an address may connect.
func (p *Policy) Admits(addr netip.Addr) bool {
	contains := func(n netip.Prefix) bool { return n.Contains(addr) }
	return !slices.ContainsFunc(p.Deny, contains) && (len(p.Allow) == 0 || slices.ContainsFunc(p.Allow, contains))
}

// Action is a kind of use of a device.
type Action int

// The actions.
const (
	Observe Action = iota
	Control
)

func (a Action) String() string { return [...]string{"observe", "control"}[a] }

// Decision is the result of [Policy.Decide].
type Decision struct {
	Allowed     bool
	Reason      string
	Rule        *Rule  // the rule that decided; nil: none did
	Destination string // the refused destination, if that is the reason
}

// Administers reports whether an identity may administer the proxy.
func (p *Policy) Administers(who Identity) bool {
	return who.Name != "" && (p.Demo || slices.ContainsFunc(p.Administrators, func(pattern string) bool { return match(pattern, who.Name) }))
}

// Known reports whether any rule applies to the identity, or it may administer the proxy.
func (p *Policy) Known(who Identity) bool {
	return p.Demo || p.Administers(who) || who.Name != "" && slices.ContainsFunc(p.Rules, func(r Rule) bool { return !r.Deny && p.isWho(r.Who, who.Name) })
}

// match matches with * and ?; the configuration's check has validated the pattern.
func match(pattern, s string) bool {
	if pattern == "*" {
		return true
	}
	ok, _ := path.Match(folded(pattern), folded(s))
	return ok
}

// ValidPattern reports whether pattern is a valid pattern of identities.
func ValidPattern(pattern string) bool {
	_, err := path.Match(pattern, "")
	return err == nil && pattern != ""
}

// IdentityOf returns a SIP URI in the form of Identity.Name: scheme, user and host in small letters,
// without port and parameters.
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
