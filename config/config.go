// Package config is the configuration file: its keys, their defaults, and checks
// whose faults name file, line and key and say what to write instead.
package config

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/tr87proxy/tr87proxy/policy"
)

// Config is the whole file. The yaml tags are the keys; config.example.yaml
// explains each.
type Config struct {
	Log        Log           `yaml:"log"`
	SIP        SIP           `yaml:"sip"`
	XML        XML           `yaml:"xml"`
	Sessions   Sessions      `yaml:"application-sessions"`
	Operations Operations    `yaml:"operations"`
	Demo       bool          `yaml:"demo"`
	Trusted    []Peer        `yaml:"trusted"`
	Digest     Digest        `yaml:"digest"`
	Grants     []Grant       `yaml:"grants"`
	Numbers    Numbers       `yaml:"numbers"`
	Limits     Limits        `yaml:"limits"`
	Links      []Link        `yaml:"links"`
	Heartbeat  time.Duration `yaml:"heartbeat"`
	Switch     Switch        `yaml:"switch"`
}

// Log is the key log.
type Log struct {
	Level  string `yaml:"level"`
	Format string `yaml:"format"`
}

// SIP is the key sip.
type SIP struct {
	Listen           []Listener    `yaml:"listen"`
	Advertise        string        `yaml:"advertise"`
	SessionExpires   time.Duration `yaml:"session-expires"`
	MinSE            time.Duration `yaml:"min-se"`
	ConnectionGrace  time.Duration `yaml:"connection-grace"`
	EventWait        time.Duration `yaml:"event-wait"`
	T1               time.Duration `yaml:"t1"`
	AnswerInInfo     bool          `yaml:"answer-in-info"`
	MaxDialogs       int           `yaml:"max-dialogs"`
	MaxDialogsPeer   int           `yaml:"max-dialogs-per-peer"`
	MaxConnections   int           `yaml:"max-connections"`
	MaxTransactions  int           `yaml:"max-transactions"`
	ShutdownPatience time.Duration `yaml:"shutdown-patience"`
}

// XML is the key xml.
type XML struct {
	Listen         []Listener `yaml:"listen"`
	MaxConnections int        `yaml:"max-connections"`
	MaxPeer        int        `yaml:"max-connections-per-peer"`
}

// Listener is an entry of sip.listen, or of xml.listen.
type Listener struct {
	Transport   string `yaml:"transport"`
	Address     string `yaml:"address"`
	Certificate string `yaml:"certificate"`
	Key         string `yaml:"key"`
	ClientCA    string `yaml:"client-ca"`
	ClientAuth  string `yaml:"client-auth"`
}

// Sessions is the key application-sessions.
type Sessions struct {
	XML           string        `yaml:"xml"`
	SIP           string        `yaml:"sip"`
	Accounts      string        `yaml:"accounts"`
	Duration      time.Duration `yaml:"duration"`
	MaxDuration   time.Duration `yaml:"max-duration"`
	Max           int           `yaml:"max"`
	MaxPerAccount int           `yaml:"max-per-account"`
	Tries         int           `yaml:"tries"`
	LoginTime     time.Duration `yaml:"login-time"`
	LockAfter     int           `yaml:"lock-after"`
	LockTime      time.Duration `yaml:"lock-time"`
}

// Operations is the key operations.
type Operations struct {
	Address string `yaml:"address"`
	Pprof   bool   `yaml:"pprof"`
}

// Peer is an entry of trusted.
type Peer struct {
	Address     string `yaml:"address"`
	Certificate string `yaml:"certificate"`
}

// Digest is the key digest.
type Digest struct {
	Realm string `yaml:"realm"`
	MD5   bool   `yaml:"md5"`
	Users []User `yaml:"users"`
}

// User is an entry of digest.users.
type User struct {
	Name         string `yaml:"name"`
	Password     string `yaml:"password"`
	PasswordFile string `yaml:"password-file"`
}

// Grant is an entry of grants.
type Grant struct {
	Who     string   `yaml:"who"`
	Observe []string `yaml:"observe"`
	Control []string `yaml:"control"`
	Dial    []string `yaml:"dial"`
}

// Numbers is the key numbers.
type Numbers struct {
	Main string `yaml:"main"`
}

// Link is an entry of links.
type Link struct {
	Name        string        `yaml:"name"`
	Addresses   []string      `yaml:"addresses"`
	Devices     []string      `yaml:"devices"`
	Edition     int           `yaml:"edition"`
	ASCII       bool          `yaml:"ascii"`
	TLS         bool          `yaml:"tls"`
	CA          string        `yaml:"ca"`
	Certificate string        `yaml:"certificate"`
	Key         string        `yaml:"key"`
	Heartbeat   time.Duration `yaml:"heartbeat"`
	Timeout     time.Duration `yaml:"timeout"`
}

// Limits is the key limits.
type Limits struct {
	Sessions            int `yaml:"sessions"`
	MonitorsPerSession  int `yaml:"monitors-per-session"`
	RequestsOutstanding int `yaml:"requests-outstanding"`
	Queue               int `yaml:"queue"`
}

// Default returns what holds where the file says nothing.
func Default() *Config {
	return &Config{
		Log: Log{Level: "info", Format: "text"},
		SIP: SIP{
			Listen:         []Listener{{Transport: "udp", Address: ":5062"}, {Transport: "tcp", Address: ":5062"}},
			SessionExpires: 30 * time.Minute, MinSE: 90 * time.Second, ConnectionGrace: 32 * time.Second, EventWait: 2 * time.Second,
			T1: 500 * time.Millisecond, MaxDialogs: 20000, MaxDialogsPeer: 5000, MaxConnections: 2000, MaxTransactions: 100000,
			ShutdownPatience: 5 * time.Second,
		},
		XML: XML{MaxConnections: 2000, MaxPeer: 500},
		Sessions: Sessions{
			Duration: time.Hour, MaxDuration: 24 * time.Hour, Max: 2000, MaxPerAccount: 500, Tries: 5, LoginTime: 30 * time.Second,
			LockAfter: 5, LockTime: 5 * time.Minute,
		},
		Operations: Operations{Address: "127.0.0.1:9062"},
		Digest:     Digest{Realm: "tr87proxy", MD5: true},
		Limits:     Limits{Sessions: 20000, MonitorsPerSession: 500, RequestsOutstanding: 64, Queue: 1024},
		Heartbeat:  time.Minute,
		Switch: Switch{
			RingCycle: 5 * time.Second, AlertTime: 3 * time.Minute, PromptTime: 30 * time.Second, FailTime: 30 * time.Second, ParkTime: 2 * time.Minute,
		},
	}
}

// Fault is one thing wrong with the file.
type Fault struct {
	File string
	Line int
	Key  string // path of keys, such as sip.listen[0].address
	Text string // what is wrong, and what to write instead
}

func (f Fault) Error() string { return fmt.Sprintf("%s:%d: %s: %s", f.File, f.Line, f.Key, f.Text) }

// Faults is everything wrong with the file.
type Faults []Fault

func (f Faults) Error() string {
	lines := make([]string, len(f))
	for i := range f {
		lines[i] = f[i].Error()
	}
	return strings.Join(lines, "\n")
}

// Load reads and checks a file. What is wrong with its content comes as [Faults].
func Load(file string) (*Config, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	return Parse(file, data)
}

// Parse reads and checks the content of a file.
func Parse(file string, data []byte) (*Config, error) {
	c := Default()
	d := decode(file, data, c)
	if len(d.faults) == 0 {
		c.check(d)
	}
	if len(d.faults) > 0 {
		return nil, d.faults
	}
	return c, nil
}

// check tests what the types alone do not say.
func (c *Config) check(d *document) {
	d.oneOf("log.level", c.Log.Level, "debug", "info", "warn", "error")
	d.oneOf("log.format", c.Log.Format, "text", "json")
	if len(c.SIP.Listen) == 0 {
		d.fault("sip.listen", "no listener; take the key out for the default, or write for example: listen: [{transport: tcp, address: \"127.0.0.1:5062\"}]")
	}
	for i := range c.SIP.Listen {
		c.SIP.Listen[i].Address = withPort(c.SIP.Listen[i], "5062", "5063")
		c.checkListener(d, fmt.Sprintf("sip.listen[%d]", i), c.SIP.Listen[i], "udp", "tcp", "tls")
	}
	for i := range c.XML.Listen {
		c.XML.Listen[i].Address = withPort(c.XML.Listen[i], "8882", "8883")
		c.checkListener(d, fmt.Sprintf("xml.listen[%d]", i), c.XML.Listen[i], "tcp", "tls")
	}
	if c.SIP.MinSE < 90*time.Second {
		d.fault("sip.min-se", "must be at least 90s (RFC 4028)")
	}
	if c.SIP.SessionExpires < c.SIP.MinSE {
		d.fault("sip.session-expires", "must not be shorter than sip.min-se ("+c.SIP.MinSE.String()+")")
	}
	for key, v := range map[string]time.Duration{
		"sip.connection-grace": c.SIP.ConnectionGrace, "sip.event-wait": c.SIP.EventWait, "sip.t1": c.SIP.T1, "sip.shutdown-patience": c.SIP.ShutdownPatience,
		"switch.ring-cycle": c.Switch.RingCycle, "switch.alert-time": c.Switch.AlertTime, "switch.prompt-time": c.Switch.PromptTime, "switch.fail-time": c.Switch.FailTime,
		"switch.park-time": c.Switch.ParkTime, "heartbeat": c.Heartbeat,
		"application-sessions.duration": c.Sessions.Duration, "application-sessions.max-duration": c.Sessions.MaxDuration,
		"application-sessions.login-time": c.Sessions.LoginTime, "application-sessions.lock-time": c.Sessions.LockTime,
	} {
		if v <= 0 {
			d.fault(key, "must be longer than nothing, for example 5s")
		}
	}
	for key, v := range map[string]int{
		"sip.max-dialogs": c.SIP.MaxDialogs, "sip.max-dialogs-per-peer": c.SIP.MaxDialogsPeer, "sip.max-connections": c.SIP.MaxConnections, "sip.max-transactions": c.SIP.MaxTransactions,
		"xml.max-connections": c.XML.MaxConnections, "xml.max-connections-per-peer": c.XML.MaxPeer,
		"application-sessions.max": c.Sessions.Max, "application-sessions.max-per-account": c.Sessions.MaxPerAccount,
		"application-sessions.tries": c.Sessions.Tries, "application-sessions.lock-after": c.Sessions.LockAfter,
		"limits.sessions": c.Limits.Sessions, "limits.monitors-per-session": c.Limits.MonitorsPerSession, "limits.requests-outstanding": c.Limits.RequestsOutstanding, "limits.queue": c.Limits.Queue,
	} {
		if v <= 0 {
			d.fault(key, "must be a number greater than 0")
		}
	}
	if c.Operations.Address != "" {
		if host, _, err := net.SplitHostPort(c.Operations.Address); err != nil {
			d.fault("operations.address", "is not host:port; write for example 127.0.0.1:9062, or \"\" for none")
		} else if !loopback(host) {
			d.fault("operations.address", "must be on loopback, it has no authentication; write for example 127.0.0.1:9062")
		}
	}
	c.checkSessions(d)
	c.checkAccess(d)
	c.checkLinks(d)
	c.checkSwitch(d)
}

// checkSessions also fills in what follows from the accounts file.
func (c *Config) checkSessions(d *document) {
	for name, mode := range map[string]*string{"xml": &c.Sessions.XML, "sip": &c.Sessions.SIP} {
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
		if len(l.Addresses) == 0 {
			d.fault(key+".addresses", "must name one at least, such as \"10.1.1.1:8882\"")
		}
		for j, address := range l.Addresses {
			if host, port, err := net.SplitHostPort(address); err != nil || host == "" || port == "" {
				d.fault(fmt.Sprintf("%s.addresses[%d]", key, j), "is not host:port; write for example \"10.1.1.1:8882\"")
			}
		}
		if len(l.Devices) == 0 {
			d.fault(key+".devices", "must say which devices are there, such as [\"2??\"], or [\"*\"] for all")
		}
		for j, pattern := range l.Devices {
			if !policy.ValidDevices(pattern) {
				d.fault(fmt.Sprintf("%s.devices[%d]", key, j), "is not usable; write for example 2??, +1425*, 200-299, or a regular expression such as /2[0-4]\\d/")
			}
		}
		if l.Edition != 0 && (l.Edition < 2 || l.Edition > 9) {
			d.fault(key+".edition", "must be 2 to 9")
		}
		for name, v := range map[string]time.Duration{"heartbeat": l.Heartbeat, "timeout": l.Timeout} {
			if v < 0 {
				d.fault(key+"."+name, "must not be negative")
			}
		}
		for name, v := range map[string]string{"ca": l.CA, "certificate": l.Certificate, "key": l.Key} {
			if v != "" && !l.TLS {
				d.fault(key+"."+name, "is for tls: true only")
			}
		}
	}
}

// withPort adds the usual port to an address without one.
func withPort(l Listener, plain, secure string) string {
	if _, _, err := net.SplitHostPort(l.Address); err == nil {
		return l.Address
	}
	host := strings.Trim(l.Address, "[]")
	if _, err := netip.ParseAddr(host); err != nil && host != "" && host != "localhost" {
		return l.Address
	}
	if l.Transport == "tls" {
		return net.JoinHostPort(host, secure)
	}
	return net.JoinHostPort(host, plain)
}

func (c *Config) checkListener(d *document, key string, l Listener, transports ...string) {
	d.oneOf(key+".transport", l.Transport, transports...)
	host, _, err := net.SplitHostPort(l.Address)
	switch {
	case err != nil:
		d.fault(key+".address", "is neither host:port nor an address; write for example 0.0.0.0:5062 or [::]:5062")
	case c.Demo && !loopback(host):
		d.fault(key+".address", "demo mode lets everybody do everything and is refused except on loopback; write 127.0.0.1 or take demo out")
	}
	if l.Transport != "tls" {
		for name, v := range map[string]string{"certificate": l.Certificate, "key": l.Key, "client-ca": l.ClientCA, "client-auth": l.ClientAuth} {
			if v != "" {
				d.fault(key+"."+name, "is for transport tls only")
			}
		}
		return
	}
	if l.Certificate == "" || l.Key == "" {
		d.fault(key, "transport tls needs certificate and key, both PEM files")
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
		for name, list := range map[string][]string{"observe": g.Observe, "control": g.Control, "dial": g.Dial} {
			for j, pattern := range list {
				if !policy.ValidDevices(pattern) {
					d.fault(fmt.Sprintf("%s.%s[%d]", key, name, j), "is not usable; write for example 10?, *, 200-299, or a regular expression such as /2[0-4]\\d/")
				}
			}
		}
	}
	if !c.Demo && len(c.Grants) == 0 {
		d.fault("grants", "nobody may do anything; write for example: grants: [{who: \"sip:alice@contoso.com\", control: [\"100\"]}]")
	}
}

// ParseNetwork reads an address or a network.
func ParseNetwork(s string) (netip.Prefix, error) {
	if ip, err := netip.ParseAddr(s); err == nil {
		return netip.PrefixFrom(ip, ip.BitLen()), nil
	}
	return netip.ParsePrefix(s)
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}
