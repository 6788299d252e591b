package config

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Telephones is the key telephones: how the built-in switch serves real telephones and trunks.
type Telephones struct {
	Listen       []Listener    `yaml:"listen"`
	Realm        string        `yaml:"realm"`
	Digest       []string      `yaml:"digest"`
	Advertise    string        `yaml:"advertise"`
	MinExpires   time.Duration `yaml:"min-expires"`
	MaxExpires   time.Duration `yaml:"max-expires"`
	MaxContacts  int           `yaml:"max-contacts"`
	DeclineAll   bool          `yaml:"decline-all"`
	Qualify      time.Duration `yaml:"qualify"`
	State        string        `yaml:"state"`
	Music        string        `yaml:"music"`
	Announcement string        `yaml:"announcement"`
	Messages     string        `yaml:"messages"`
	Models       string        `yaml:"models"`
	MaxRecording time.Duration `yaml:"max-recording"`
	Media        Media         `yaml:"media"`
	// ShutdownPatience is how long telephones get to answer when their listener closes.
	ShutdownPatience time.Duration `yaml:"shutdown-patience"`
}

// Media is the key telephones.media.
type Media struct {
	Address   string        `yaml:"address"`
	Advertise string        `yaml:"advertise"`
	Elsewhere []string      `yaml:"elsewhere"`
	Ports     string        `yaml:"ports"`
	Timeout   time.Duration `yaml:"timeout"`
}

// Networks parses the networks that voice may go to, in addition to the peer's own address.
func (m Media) Networks() ([]netip.Prefix, error) {
	var networks []netip.Prefix
	for _, text := range m.Elsewhere {
		network, err := ParseNetwork(text)
		if err != nil {
			return nil, err
		}
		networks = append(networks, network.Masked())
	}
	return networks, nil
}

// PortRange parses the first and the last port.
func (m Media) PortRange() (first, last int, err error) {
	a, b, ok := strings.Cut(m.Ports, "-")
	first, err1 := strconv.Atoi(strings.TrimSpace(a))
	last, err2 := strconv.Atoi(strings.TrimSpace(b))
	if !ok || err1 != nil || err2 != nil || first < 1024 || last > 65535 || last-first < 3 {
		return 0, 0, fmt.Errorf("%q is not a range of ports", m.Ports)
	}
	return first, last, nil
}

// Telephone is the key sip of an extension: the account that its telephones register with.
type Telephone struct {
	User         string `yaml:"user"`
	Password     string `yaml:"password"`
	PasswordFile string `yaml:"password-file"`
	Talk         bool   `yaml:"talk"`
	UACSTA       string `yaml:"uacsta"`
	SRTP         string `yaml:"srtp"`
}

// NetworkPeer is the key sip of a trunk: the peer that its calls go to and come from.
type NetworkPeer struct {
	URI          string        `yaml:"uri"`
	From         string        `yaml:"from"`
	User         string        `yaml:"user"`
	Password     string        `yaml:"password"`
	PasswordFile string        `yaml:"password-file"`
	Register     bool          `yaml:"register"`
	Qualify      time.Duration `yaml:"qualify"` // 0: that of telephones
	SRTP         string        `yaml:"srtp"`
	// CalledFrom and CallerFrom are where a call of the peer has its numbers; "" and nil for the defaults.
	CalledFrom string   `yaml:"called-from"`
	CallerFrom []string `yaml:"caller-from"`
	// Shows lists the headers in which calls to the peer show who calls; nil for the default.
	Shows      []string `yaml:"shows"`
	SiteNumber string   `yaml:"site-number"`
}

// Real reports whether the switch has real telephones or trunks.
func (s *Switch) Real() bool {
	return slices.ContainsFunc(s.Extensions, func(e Extension) bool { return e.SIP != nil }) ||
		slices.ContainsFunc(s.Trunks, func(t Trunk) bool { return t.SIP != nil })
}

func (c *Config) checkTelephones(d *document) {
	t := &c.Telephones
	if len(t.Listen) == 0 && c.Switch.Real() {
		t.Listen = []Listener{{Transport: "udp", Address: ":5060"}, {Transport: "tcp", Address: ":5060"}}
	}
	c.checkListeners(d, "telephones.listen", t.Listen, Listens{Transports: []string{"udp", "tcp", "tls"}, Port: "5060", TLSPort: "5061"})
	for key, v := range map[string]string{"media.address": t.Media.Address, "media.advertise": t.Media.Advertise} {
		if _, err := netip.ParseAddr(v); v != "" && err != nil {
			d.fault("telephones."+key, "must be an IP address; write for example 192.0.2.5")
		}
	}
	for i, text := range t.Media.Elsewhere {
		if _, err := ParseNetwork(text); err != nil {
			d.fault(fmt.Sprintf("telephones.media.elsewhere[%d]", i), "must be a network or an address; write for example 198.51.100.0/24")
		}
	}
	if _, _, err := t.Media.PortRange(); err != nil {
		d.fault("telephones.media.ports", "must be a range of four ports or more, 1024 to 65535; write for example 16384-32767")
	}
	for key, v := range map[string]time.Duration{
		"min-expires": t.MinExpires, "max-expires": t.MaxExpires, "max-recording": t.MaxRecording, "media.timeout": t.Media.Timeout, "shutdown-patience": t.ShutdownPatience,
	} {
		if v < time.Second {
			d.fault("telephones."+key, "must be 1s or more; write for example 5s")
		}
	}
	for i, algorithm := range t.Digest {
		d.oneOf(fmt.Sprintf("telephones.digest[%d]", i), algorithm, "SHA-256", "MD5")
	}
	if t.MaxExpires < t.MinExpires {
		d.fault("telephones.max-expires", "must not be shorter than min-expires")
	}
	if t.Qualify < 0 || t.Qualify > 0 && t.Qualify < time.Second {
		d.fault("telephones.qualify", "must be 1s or more; write 0s for never")
	}
	if t.MaxContacts < 1 {
		d.fault("telephones.max-contacts", "must be 1 or more")
	}
	users := map[string]bool{}
	for i, e := range c.Switch.Extensions {
		key := fmt.Sprintf("switch.extensions[%d]", i)
		for j, prefix := range e.Outside {
			if prefix != "+" && !networkNumber.MatchString(prefix) {
				d.fault(fmt.Sprintf("%s.outside[%d]", key, j), "must be digits, perhaps with + before them")
			}
		}
		if e.SIP == nil {
			continue
		}
		user := e.SIP.User
		if user == "" {
			user = e.Number
		}
		switch {
		case e.Kind == "virtual" || e.Kind == "remote":
			d.fault(key+".sip", "is not for kind "+e.Kind+", which has no telephone here; remove sip, or write another kind")
		case (e.SIP.Password == "") == (e.SIP.PasswordFile == ""):
			d.fault(key+".sip", "write either password or password-file")
		case users[user]:
			d.fault(key+".sip.user", "is the user of another extension; write another name")
		case strings.ContainsAny(user, " @<>\":;"):
			d.fault(key+".sip.user", "must not contain a space or any of @ < > \" : or ;; write for example \"100\"")
		case e.Answer > 0 || e.Busy:
			d.fault(key, "has answer-after or busy, which are for virtual phones; remove them, or remove sip")
		}
		users[user] = true
		if e.SIP.UACSTA != "" {
			d.oneOf(key+".sip.uacsta", e.SIP.UACSTA, "never", "always", "monitored")
		}
		d.encryption(key+".sip.srtp", e.SIP.SRTP)
	}
	for i, trunk := range c.Switch.Trunks {
		key := fmt.Sprintf("switch.trunks[%d].sip", i)
		switch {
		case trunk.SIP == nil:
		case !strings.HasPrefix(trunk.SIP.URI, "sip:") && !strings.HasPrefix(trunk.SIP.URI, "sips:") || strings.Contains(trunk.SIP.URI, "@"):
			d.fault(key+".uri", "must be the address of the peer; write for example sip:192.0.2.9:5060;transport=udp")
		case trunk.SIP.Register && trunk.SIP.User == "":
			d.fault(key, "has register, which needs an account; write user, and password or password-file")
		case trunk.SIP.Password != "" && trunk.SIP.PasswordFile != "":
			d.fault(key, "has both password and password-file; write one of them")
		case trunk.SIP.Qualify != 0 && trunk.SIP.Qualify < time.Second:
			d.fault(key+".qualify", "must be 1s or more; leave it out for telephones.qualify")
		default:
			d.encryption(key+".srtp", trunk.SIP.SRTP)
			d.identities(key, trunk.SIP)
		}
	}
}

var headerName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9-]{0,63}$`)

// identities checks where calls of a trunk's peer, and to it, have their numbers.
func (d *document) identities(key string, p *NetworkPeer) {
	if p.CalledFrom != "" && !headerName.MatchString(p.CalledFrom) {
		d.fault(key+".called-from", "must be request-uri, to, p-called-party-id or the name of another header; write for example to")
	}
	if p.SiteNumber != "" && !networkNumber.MatchString(p.SiteNumber) {
		d.fault(key+".site-number", "must be digits, perhaps with + before them")
	}
	d.each(key+".caller-from", p.CallerFrom, "p-asserted-identity", "remote-party-id", "from")
	d.each(key+".shows", p.Shows, "from", "p-asserted-identity", "remote-party-id", "diversion")
}

// each checks a list of which each value may be there once.
func (d *document) each(key string, list []string, allowed ...string) {
	for i, value := range list {
		at := fmt.Sprintf("%s[%d]", key, i)
		d.oneOf(at, value, allowed...)
		if slices.Contains(list[:i], value) {
			d.fault(at, "is there twice; write it once")
		}
	}
}

// encryption checks a key srtp.
func (d *document) encryption(key, value string) {
	if value != "" {
		d.oneOf(key, value, "accepted", "preferred", "required", "dtls")
	}
}
