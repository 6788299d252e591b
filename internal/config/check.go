package config

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/tr87proxy/tr87proxy/policy"
)

// checkNames checks the names of listeners: no two listeners may have the same one.
func (c *Config) checkNames(d *document) {
	seen := map[string]bool{}
	all := map[string][]Listener{"telephones": c.Telephones.Listen}
	for _, f := range c.Fronts {
		all[f.Name] = f.Listeners()
	}
	for protocol, listeners := range all {
		for i, l := range listeners {
			switch key := fmt.Sprintf("%s.listen[%d].name", protocol, i); {
			case l.Name == "":
			case seen[l.Name]:
				d.fault(key, "is the name of another listener; write another one")
			case strings.ContainsAny(l.Name, "/ ?#%"):
				d.fault(key, "must not contain a space or any of / ? # %; write for example office-tls")
			}
			seen[l.Name] = true
		}
	}
}

// checkSessions checks application-sessions. It sets modes that the file leaves out: optional with an accounts file, off
// without.
func (c *Config) checkSessions(d *document) {
	for _, k := range d.kinds.Fronts {
		if k.Listens().NoLogin {
			continue
		}
		name := k.Name()
		mode, given := c.Sessions.Modes[name]
		switch {
		case !given && c.Sessions.Accounts == "":
			mode = "off"
		case !given:
			mode = "optional"
		}
		c.Sessions.Modes[name] = mode
		d.oneOf("application-sessions."+name, mode, "off", "optional", "mandatory")
		if mode != "off" && c.Sessions.Accounts == "" {
			d.fault("application-sessions."+name, "needs application-sessions.accounts, a file made with: tr87proxy accounts add")
		}
	}
}

// numbers checks patterns for device numbers.
func (d *document) numbers(key string, patterns []string) {
	for i, pattern := range patterns {
		if !policy.ValidDevices(pattern) {
			d.fault(fmt.Sprintf("%s[%d]", key, i), "is not a valid pattern; write for example 2??, +1425*, 200-299, or a regular expression such as /2[0-4]\\d/")
		}
	}
}

// withPort returns the address of a listener, with the default port if it has none.
func withPort(l Listener, plain, secure string) string {
	if _, _, err := net.SplitHostPort(l.Address); err == nil {
		return l.Address
	}
	host := strings.Trim(l.Address, "[]")
	if _, err := netip.ParseAddr(host); err != nil && host != "" && host != "localhost" {
		return l.Address
	}
	if l.Transport == "tls" || l.Transport == "dtls" {
		return net.JoinHostPort(host, secure)
	}
	return net.JoinHostPort(host, plain)
}

// open reports a fault if another listener has the address.
func (d *document) open(key string, l Listener) {
	at := "tcp " + l.Address
	if l.Transport == "udp" || l.Transport == "dtls" {
		at = "udp " + l.Address
	}
	if other := d.opened[at]; other != "" && other != key {
		d.fault(key, "is that of "+other+", too; write another port")
		return
	}
	d.opened[at] = key
}

func (c *Config) checkListener(d *document, key string, l Listener, listens Listens) {
	d.oneOf(key+".transport", l.Transport, listens.Transports...)
	if l.Dialect != "" && !listens.Dialect {
		d.fault(key+".dialect", d.listening(func(other Listens) bool { return other.Dialect }))
	}
	if l.Notify != 0 && !listens.Notify {
		d.fault(key+".notify", d.listening(func(other Listens) bool { return other.Notify }))
	}
	if l.Originate != "" && !listens.Originate {
		d.fault(key+".auto-originate", d.listening(func(other Listens) bool { return other.Originate }))
	}
	host, port, err := net.SplitHostPort(l.Address)
	number, wrong := strconv.ParseUint(port, 10, 16)
	switch {
	case err != nil:
		d.fault(key+".address", "is neither host:port nor an address; write for example 0.0.0.0:5062 or [::]:5062")
	case wrong != nil:
		d.fault(key+".address", "has a port that is no number from 0 to 65535")
	case c.Demo && !Loopback(host):
		d.fault(key+".address", "must be on loopback, because demo mode lets everybody do everything; write 127.0.0.1 or remove demo")
	}
	if number != 0 {
		d.open(key+".address", l)
	}
	if l.Transport != "tls" && l.Transport != "dtls" {
		for name, set := range map[string]bool{
			"certificate": l.Certificate != "", "key": l.Key != "", "client-ca": l.ClientCA != "", "client-auth": l.ClientAuth != "", "more-certificates": len(l.More) > 0,
			"ocsp": l.OCSP != "", "crl": l.CRL != "", "pins": len(l.Pins) > 0, "legacy-tls": l.Legacy,
		} {
			if set {
				d.fault(key+"."+name, "is for transports tls and dtls only")
			}
		}
		return
	}
	for i, p := range l.More {
		if p.Certificate == "" || p.Key == "" {
			d.fault(fmt.Sprintf("%s.more-certificates[%d]", key, i), "needs certificate and key, both PEM files")
		}
	}
	if (l.CRL != "" || len(l.Pins) > 0) && (l.ClientAuth == "" || l.ClientAuth == "off") {
		d.fault(key, "has crl or pins, which need client certificates; write client-auth: optional or client-auth: required")
	}
	if l.Certificate == "" || l.Key == "" {
		d.fault(key, "transport "+l.Transport+" needs certificate and key, both PEM files")
	}
	if l.ClientAuth != "" {
		d.oneOf(key+".client-auth", l.ClientAuth, "off", "optional", "required")
	}
	if l.ClientAuth != "" && l.ClientAuth != "off" && l.ClientCA == "" {
		d.fault(key+".client-auth", "needs client-ca, a PEM file of the authorities that sign the clients' certificates")
	}
}

func (c *Config) checkAccess(d *document) {
	for i, p := range c.Trusted {
		key := fmt.Sprintf("trusted[%d]", i)
		switch {
		case (p.Address == "") == (p.Certificate == ""):
			d.fault(key, "write either address or certificate")
		case p.Certificate != "" && !policy.ValidPattern(p.Certificate):
			d.fault(key+".certificate", "is not a valid pattern; write for example sbc.contoso.com, or *.contoso.com")
		case p.Address != "":
			if _, err := ParseNetwork(p.Address); err != nil {
				d.fault(key+".address", "is neither an address nor a network; write for example 10.1.1.5 or 10.1.1.0/24")
			}
		}
	}
	for i, u := range c.Digest.Users {
		key := fmt.Sprintf("digest.users[%d]", i)
		if u.Name == "" || strings.ContainsAny(u.Name, "\":") {
			d.fault(key+".name", "must be a name without quotes and colons; write for example alice")
		}
		if (u.Password == "") == (u.PasswordFile == "") {
			d.fault(key, "write either password or password-file")
		}
	}
	for i, g := range c.Grants {
		key := fmt.Sprintf("grants[%d]", i)
		if !policy.ValidPattern(g.Who) {
			d.fault(key+".who", "must name an identity such as sip:alice@contoso.com, a digest user, or a pattern with * in it")
		}
		if g.Administer && strings.Trim(g.Who, "*?") == "" {
			d.fault(key+".administer", "would let everybody administer the proxy; write the identity under who")
		}
		if len(g.Dial) > 0 && len(g.Control) == 0 {
			d.fault(key+".dial", "limits where devices in control may call, but this grant has no control; write control beside it")
		}
		for name, list := range map[string][]string{"observe": g.Observe, "control": g.Control, "dial": g.Dial} {
			for j, pattern := range list {
				if !policy.ValidDevices(pattern) {
					d.fault(fmt.Sprintf("%s.%s[%d]", key, name, j), "is not a valid pattern; write for example 10?, *, 200-299, or a regular expression such as /2[0-4]\\d/")
				}
			}
		}
	}
	d.numberRules("numbers.rules", c.Numbers.Rules)
	for i, e := range c.Numbers.Examples {
		key := fmt.Sprintf("numbers.examples[%d]", i)
		if e.Written == "" || e.Canonical == "" {
			d.fault(key, "has no written or no canonical; write both")
		}
		if (e.Link == "") != (e.Sent == "") || e.Link != "" && !slices.ContainsFunc(c.Links, func(l Link) bool { return l.Name == e.Link }) {
			d.fault(key, "must have both link and sent, or neither, and link must be in links; write for example link: pbx and sent: \"100\"")
		}
	}
	for i, kind := range c.Names {
		d.oneOf(fmt.Sprintf("certificate-names[%d]", i), kind, "dns", "uri", "cn")
	}
	for kind, list := range map[string][]string{"allow": c.Addresses.Allow, "deny": c.Addresses.Deny} {
		for i, a := range list {
			if _, err := ParseNetwork(a); err != nil {
				d.fault(fmt.Sprintf("addresses.%s[%d]", kind, i), "is neither an address nor a network; write for example 10.1.1.5 or 10.1.1.0/24")
			}
		}
	}
	c.checkRules(d)
	if !c.Demo && len(c.Grants) == 0 && len(c.Rules) == 0 && !c.Switch.Real() { // telephones need no rights
		d.fault("grants", "is empty, and so is rules: no client may do anything; write for example grants: [{who: \"sip:alice@contoso.com\", control: [\"100\"]}]")
	}
}
