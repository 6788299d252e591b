package config

import (
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/tr87proxy/tr87proxy/policy"
)

// checkNames tests that no two listeners have the same name.
func (c *Config) checkNames(d *document) {
	seen := map[string]bool{}
	for protocol, listeners := range map[string][]Listener{"sip": c.SIP.Listen, "xml": c.XML.Listen, "asn1": c.ASN1.Listen, "telephones": c.Telephones.Listen} {
		for i, l := range listeners {
			switch key := fmt.Sprintf("%s.listen[%d].name", protocol, i); {
			case l.Name == "":
			case seen[l.Name]:
				d.fault(key, "is the name of another listener")
			case strings.ContainsAny(l.Name, "/ ?#%"):
				d.fault(key, "must be a name without blanks and slashes")
			}
			seen[l.Name] = true
		}
	}
}

// checkSessions also fills in what follows from the accounts file.
func (c *Config) checkSessions(d *document) {
	for name, mode := range map[string]*string{"xml": &c.Sessions.XML, "asn1": &c.Sessions.ASN1, "sip": &c.Sessions.SIP} {
		switch {
		case *mode == "" && c.Sessions.Accounts == "":
			*mode = "off"
		case *mode == "":
			*mode = "optional"
		}
		d.oneOf("application-sessions."+name, *mode, "off", "optional", "mandatory")
		if *mode != "off" && c.Sessions.Accounts == "" {
			d.fault("application-sessions."+name, "needs application-sessions.accounts, a file made with: tr87proxy accounts add")
		}
	}
}

func (c *Config) checkLinks(d *document) {
	for i, l := range c.Links {
		key := fmt.Sprintf("links[%d]", i)
		if l.Name == "" || l.Name == "switch" || slices.ContainsFunc(c.Links[:i], func(other Link) bool { return other.Name == l.Name }) {
			d.fault(key+".name", "must be there, once only, and not be switch, which is the built-in one")
		}
		if l.Type == "phones" {
			c.checkDesk(d, key, &c.Links[i])
			continue
		}
		if l.Type == "ctserver" {
			c.checkCards(d, key, &c.Links[i])
			continue
		}
		if l.Type != "" {
			d.oneOf(key+".type", l.Type, "csta-xml", "csta-asn1", "freeswitch", "ctserver", "phones")
		}
		if len(l.Ports) > 0 || l.Manager != "" || l.Flash != (CardFlash{}) || l.AnswerTime != 0 || l.RingTime != 0 && l.Type != "freeswitch" || l.CallerTime != 0 {
			d.fault(key+".ports", "ports, manager, flash and their times are for type ctserver only")
		}
		c.checkFreeSWITCH(d, key, l)
		if len(l.Addresses) == 0 {
			d.fault(key+".addresses", "must name one at least, such as \"10.1.1.1:8882\"")
		}
		for j, address := range l.Addresses {
			if host, port, err := net.SplitHostPort(address); err == nil && (host == "" || port == "") || err != nil && !plainHost(address) {
				d.fault(fmt.Sprintf("%s.addresses[%d]", key, j), "is neither host nor host:port; write for example \"10.1.1.1:8882\"")
			}
		}
		if len(l.Devices) == 0 {
			d.fault(key+".devices", "must say which devices are there, such as [\"2??\"], or [\"*\"] for all")
		}
		d.numbers(key+".devices", l.Devices)
		if l.Edition != 0 && (l.Edition < 2 || l.Edition > 9) {
			d.fault(key+".edition", "must be 2 to 9")
		}
		d.numberRules(key+".numbers.out", l.Numbers.Out)
		d.numberRules(key+".numbers.in", l.Numbers.In)
		c.checkDialect(d, key, &c.Links[i])
		if (l.Session.Password != "" || l.Session.PasswordFile != "") && l.Session.User == "" && l.Type != "freeswitch" || l.Session.Password != "" && l.Session.PasswordFile != "" {
			d.fault(key+".session", "write user, and password or password-file with it")
		}
		for name, v := range map[string]time.Duration{"heartbeat": l.Heartbeat, "timeout": l.Timeout, "session.duration": l.Session.Duration} {
			if v < 0 {
				d.fault(key+"."+name, "must not be negative")
			}
		}
		for name, set := range map[string]bool{
			"ca": l.CA != "", "certificate": l.Certificate != "", "key": l.Key != "", "crl": l.CRL != "", "pins": len(l.Pins) > 0, "legacy-tls": l.Legacy,
		} {
			if set && !l.TLS {
				d.fault(key+"."+name, "is for tls: true only")
			}
		}
	}
}

// numbers checks patterns of device numbers.
func (d *document) numbers(key string, patterns []string) {
	for i, pattern := range patterns {
		if !policy.ValidDevices(pattern) {
			d.fault(fmt.Sprintf("%s[%d]", key, i), "is not usable; write for example 2??, +1425*, 200-299, or a regular expression such as /2[0-4]\\d/")
		}
	}
}

// word is what may stand in a command of FreeSWITCH.
var word = regexp.MustCompile(`^[A-Za-z0-9*#+_.-]{1,64}$`)

// checkMessages checks what is told to a FreeSWITCH, in commands whose words are parted by blanks.
func checkMessages(d *document, key string, m LinkMessages) {
	for name, value := range map[string]string{"folder": m.Folder, "recordings": m.Recordings} {
		if value != "" && (!strings.HasPrefix(value, "/") || strings.ContainsAny(value, " \r\n")) {
			d.fault(key+"."+name, "must be a path on FreeSWITCH's machine, from / on and without blanks")
		}
	}
	for i, message := range m.Named {
		if message.Name == "" || message.Play == "" || strings.ContainsAny(message.Play, " \r\n") {
			d.fault(fmt.Sprintf("%s.named[%d]", key, i), "must have a name, and play, without blanks: a file, or a stream such as tone_stream://%(1000,0,440)")
		}
	}
}

// checkFreeSWITCH checks what only a link of type freeswitch has, and must have.
func (c *Config) checkFreeSWITCH(d *document, key string, l Link) {
	if l.Type != "freeswitch" {
		for name, set := range map[string]bool{
			"domain": l.Domain != "", "context": l.Context != "", "auto-answer": l.AutoAnswer != "", "answer": l.Answer != "", "profile": l.Profile != "", "outside": l.Outside != "",
			"queues": l.Queues.Prefix != "" || len(l.Queues.Numbers) > 0, "trunk-prefix": l.TrunkPrefix != "", "park-lot": l.ParkLot != "",
			"messages": l.Messages.Folder != "" || l.Messages.Recordings != "" || len(l.Messages.Named) > 0,
		} {
			if set {
				d.fault(key+"."+name, "is for type freeswitch only")
			}
		}
		return
	}
	if !word.MatchString(l.Domain) {
		d.fault(key+".domain", "must be the domain of its directory, such as \"pbx.example.com\": what stands behind the @ of its telephones")
	}
	for name, value := range map[string]string{"session.user": l.Session.User, "context": l.Context, "profile": l.Profile, "park-lot": l.ParkLot, "queues.prefix": l.Queues.Prefix, "trunk-prefix": l.TrunkPrefix} {
		if value != "" && !word.MatchString(value) {
			d.fault(key+"."+name, "must be one word of letters, digits and . _ - + * #")
		}
	}
	if l.Answer != "" {
		d.oneOf(key+".answer", l.Answer, "talk", "keys", "auto-answer")
	}
	if l.Outside != "" && (!strings.Contains(l.Outside, "{number}") || strings.ContainsAny(l.Outside, " \r\n")) {
		d.fault(key+".outside", "must be a dial string with {number} in it, such as \"sofia/gateway/trunk1/{number}\"")
	}
	d.numbers(key+".queues.numbers", l.Queues.Numbers)
	checkMessages(d, key+".messages", l.Messages)
	if strings.ContainsAny(l.AutoAnswer, "{}\r\n") {
		d.fault(key+".auto-answer", "must be channel variables, such as sip_auto_answer=true")
	}
	if l.Session.Password == "" && l.Session.PasswordFile == "" {
		d.fault(key+".session", "must have password or password-file: that of its event socket")
	}
	if l.RingTime < 0 {
		d.fault(key+".ring-time", "must not be negative")
	}
	for name, set := range map[string]bool{
		"dialect": l.Dialect != "", "edition": l.Edition != 0, "session.application": l.Session.Application != "",
		"session.duration": l.Session.Duration != 0, "session.switch": l.Session.Switch != "",
	} {
		if set {
			d.fault(key+"."+name, "is not for type freeswitch")
		}
	}
}

// checkDialect checks what a link speaks.
func (c *Config) checkDialect(d *document, key string, l *Link) {
	if l.Type != "csta-asn1" {
		if l.Dialect != "" {
			d.oneOf(key+".dialect", l.Dialect, Dialects...)
		}
		if l.Notifications != "" {
			d.fault(key+".notifications", "is for type csta-asn1 and dialect phase1 only")
		}
		return
	}
	d.oneOf(key+".dialect", l.Dialect, Flavours...)
	for name, set := range map[string]bool{"edition": l.Edition != 0, "session.application": l.Session.Application != "", "session.duration": l.Session.Duration != 0, "session.switch": l.Session.Switch != ""} {
		if set {
			d.fault(key+"."+name, "is not for type csta-asn1")
		}
	}
	if l.Dialect == "phase1" && l.Session.User != "" {
		d.fault(key+".session", "is not for dialect phase1, which knows no login")
	}
	if l.Notifications == "" {
		return
	}
	if l.Dialect != "phase1" {
		d.fault(key+".notifications", "is for type csta-asn1 and dialect phase1 only")
	} else if _, _, err := net.SplitHostPort(l.Notifications); err != nil {
		d.fault(key+".notifications", "is not host:port; write for example 0.0.0.0:3333")
	}
}

// checkASN1 checks an entry of asn1.listen.
func (c *Config) checkASN1(d *document, key string, l *Listener) {
	d.oneOf(key+".dialect", l.Dialect, Flavours...)
	port := "18000"
	if l.Dialect == "phase1" {
		port = "2555"
	}
	l.Address = withPort(*l, port, port)
	c.checkListener(d, key, *l, "tcp", "tls")
	if l.Notify != 0 && (l.Dialect != "phase1" || l.Notify < 1 || l.Notify > 65535) {
		d.fault(key+".notify", "is a UDP port, for dialect phase1 only; write for example 3333")
	}
}

// plainHost reports whether an address is a name or an IP address without port.
func plainHost(address string) bool {
	if _, err := netip.ParseAddr(strings.Trim(address, "[]")); err == nil {
		return true
	}
	return address != "" && !strings.ContainsAny(address, ":[]/ ")
}

// checkDesk checks a link of type phones; its devices are the numbers of its accounts, unless
// it says otherwise.
func (c *Config) checkDesk(d *document, key string, l *Link) {
	if len(l.Addresses) > 0 {
		d.fault(key+".addresses", "is not for type phones: telephones come to listen")
	}
	if len(l.Listen) == 0 {
		d.fault(key+".listen", "must say where telephones register, for example [{transport: udp, address: \"0.0.0.0:6060\"}]")
	}
	for i := range l.Listen {
		l.Listen[i].Address = withPort(l.Listen[i], "6060", "6061")
		c.checkListener(d, fmt.Sprintf("%s.listen[%d]", key, i), l.Listen[i], "udp", "tcp", "tls")
	}
	numbers := make([]string, 0, len(l.Accounts))
	for i, a := range l.Accounts {
		account := fmt.Sprintf("%s.accounts[%d]", key, i)
		switch {
		case !deviceNumber.MatchString(a.Number) || slices.Contains(numbers, a.Number):
			d.fault(account+".number", "must be 1 to 20 digits, * or #, and there once only")
		case a.Contact != "" && !strings.HasPrefix(a.Contact, "sip:") && !strings.HasPrefix(a.Contact, "sips:"):
			d.fault(account+".contact", "must be where the telephone is, such as sip:201@192.0.2.7:5060;transport=udp")
		case a.Password != "" && a.PasswordFile != "", a.Password == "" && a.PasswordFile == "" && a.Contact == "":
			d.fault(account, "write either password or password-file; or contact, of a telephone that does not register")
		}
		numbers = append(numbers, a.Number)
	}
	if len(numbers) == 0 {
		d.fault(key+".accounts", "no telephone can register; write for example [{number: \"201\", password-file: 201.password}]")
	}
	if len(l.Devices) == 0 {
		l.Devices = numbers
	}
}

var flashCode = regexp.MustCompile(`^[&,0-9*#]{0,20}$`)

// checkCards checks a link of type ctserver; its devices are the numbers of its ports, unless
// it says otherwise.
func (c *Config) checkCards(d *document, key string, l *Link) {
	if len(l.Addresses) != 1 || !plainHost(l.Addresses[0]) {
		d.fault(key+".addresses", "must name one host, without port, such as [\"10.1.1.9\"]: card port n is reached at TCP 1199+n")
	}
	numbers := make([]string, 0, len(l.Ports))
	for i, p := range l.Ports {
		port := fmt.Sprintf("%s.ports[%d]", key, i)
		if !deviceNumber.MatchString(p.Number) || slices.Contains(numbers, p.Number) {
			d.fault(port+".number", "must be 1 to 20 digits, * or #, and there once only")
		}
		if p.Port < 1 || p.Port > 1000 {
			d.fault(port+".port", "must be the number of the card port, from 1 on")
		}
		if p.Address != "" && !plainHost(p.Address) {
			if _, _, err := net.SplitHostPort(p.Address); err != nil {
				d.fault(port+".address", "is neither host nor host:port; write for example 10.1.1.10")
			}
		}
		numbers = append(numbers, p.Number)
	}
	if len(numbers) == 0 {
		d.fault(key+".ports", "must say which card ports there are, such as [{number: \"201\", port: 1}]")
	}
	if l.Manager != "" && !plainHost(l.Manager) {
		if _, _, err := net.SplitHostPort(l.Manager); err != nil {
			d.fault(key+".manager", "is neither host nor host:port; write for example 10.1.1.9:1198")
		}
	}
	for name, code := range map[string]string{"hold": l.Flash.Hold, "retrieve": l.Flash.Retrieve, "consult": l.Flash.Consult, "alternate": l.Flash.Alternate, "reconnect": l.Flash.Reconnect, "conference": l.Flash.Conference} {
		if !flashCode.MatchString(code) {
			d.fault(key+".flash."+name, "may hold digits, * and #, & for a hook flash and , for a pause; write for example \"&2\"")
		}
	}
	for name, v := range map[string]time.Duration{"answer-time": l.AnswerTime, "ring-time": l.RingTime, "caller-id-time": l.CallerTime, "timeout": l.Timeout, "heartbeat": l.Heartbeat} {
		if v < 0 {
			d.fault(key+"."+name, "must not be negative")
		}
	}
	if len(l.Devices) == 0 {
		l.Devices = numbers
	}
}

// Dialects are the values of links.dialect.
var Dialects = []string{"plain", "mx-one", "openscape", "freeswitch", "dmcc"}

// Flavours are the values of asn1.listen.dialect, and of links.dialect where the type is
// csta-asn1.
var Flavours = []string{"phase3", "hipath", "phase1"}

// withPort adds the usual port to an address without one.
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

func (c *Config) checkListener(d *document, key string, l Listener, transports ...string) {
	d.oneOf(key+".transport", l.Transport, transports...)
	if l.Dialect != "" && !strings.HasPrefix(key, "sip.") && !strings.HasPrefix(key, "asn1.") {
		d.fault(key+".dialect", "is for sip.listen and asn1.listen only")
	}
	if l.Notify != 0 && !strings.HasPrefix(key, "asn1.") {
		d.fault(key+".notify", "is for asn1.listen only")
	}
	host, _, err := net.SplitHostPort(l.Address)
	switch {
	case err != nil:
		d.fault(key+".address", "is neither host:port nor an address; write for example 0.0.0.0:5062 or [::]:5062")
	case c.Demo && !loopback(host):
		d.fault(key+".address", "demo mode lets everybody do everything and is refused except on loopback; write 127.0.0.1 or take demo out")
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
		d.fault(key, "crl and pins are about the clients' certificates: client-auth must be optional or required")
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
			d.fault(key+".certificate", "is not a usable pattern")
		case p.Address != "":
			if _, err := ParseNetwork(p.Address); err != nil {
				d.fault(key+".address", "is neither an address nor a network; write for example 10.1.1.5 or 10.1.1.0/24")
			}
		}
	}
	for i, u := range c.Digest.Users {
		key := fmt.Sprintf("digest.users[%d]", i)
		if u.Name == "" || strings.ContainsAny(u.Name, "\":") {
			d.fault(key+".name", "must be a name without quotes and colons")
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
		if len(g.Dial) > 0 && len(g.Control) == 0 {
			d.fault(key+".dial", "says where calls of the devices in control may go, and there are none; write control beside it")
		}
		for name, list := range map[string][]string{"observe": g.Observe, "control": g.Control, "dial": g.Dial} {
			for j, pattern := range list {
				if !policy.ValidDevices(pattern) {
					d.fault(fmt.Sprintf("%s.%s[%d]", key, name, j), "is not usable; write for example 10?, *, 200-299, or a regular expression such as /2[0-4]\\d/")
				}
			}
		}
	}
	d.numberRules("numbers.rules", c.Numbers.Rules)
	for i, e := range c.Numbers.Examples {
		key := fmt.Sprintf("numbers.examples[%d]", i)
		if e.Written == "" || e.Canonical == "" {
			d.fault(key, "write written and canonical")
		}
		if (e.Link == "") != (e.Sent == "") || e.Link != "" && !slices.ContainsFunc(c.Links, func(l Link) bool { return l.Name == e.Link }) {
			d.fault(key, "write link, the name of one in links, and sent together, or neither")
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
	if !c.Demo && len(c.Grants) == 0 && len(c.Rules) == 0 && !c.Switch.Real() { // people may want to telephone, and nothing else
		d.fault("grants", "nobody may do anything; write for example: grants: [{who: \"sip:alice@contoso.com\", control: [\"100\"]}]")
	}
}
