// Package config reads and checks the configuration file. Each fault names file, line and
// key, and says what to write instead.
package config

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/tr87proxy/tr87proxy/tls"
)

// Config is the whole file. The yaml tags are the keys; config.example.yaml
// explains each.
type Config struct {
	Log          Log           `yaml:"log"`
	Sessions     Sessions      `yaml:"application-sessions"`
	Audit        Audit         `yaml:"audit"`
	Addresses    Addresses     `yaml:"addresses"`
	Operations   Operations    `yaml:"operations"`
	Admin        Admin         `yaml:"admin"`
	Trace        Trace         `yaml:"trace"`
	Demo         bool          `yaml:"demo"`
	Names        []string      `yaml:"certificate-names"`
	Trusted      []Peer        `yaml:"trusted"`
	Digest       Digest        `yaml:"digest"`
	Groups       []Group       `yaml:"groups"`
	DeviceGroups []DeviceGroup `yaml:"device-groups"`
	Destinations []DeviceGroup `yaml:"destinations"`
	Lines        Lines         `yaml:"lines"`
	Rules        []Rule        `yaml:"rules"`
	Grants       []Grant       `yaml:"grants"`
	Numbers      Numbers       `yaml:"numbers"`
	Limits       Limits        `yaml:"limits"`
	Links        []Link        `yaml:"links"`
	Heartbeat    time.Duration `yaml:"heartbeat"`
	Linger       time.Duration `yaml:"monitor-linger"`
	Switch       Switch        `yaml:"switch"`
	Telephones   Telephones    `yaml:"telephones"`
	// Fronts has the settings of each kind of front, in the order of [Kinds]. The key of each is the name of its kind.
	Fronts []Front `yaml:"-"`

	source *document // the file; nil if the configuration does not come from one
}

// At returns a fault at a key, for errors that appear only when the configuration is used, such as a certificate file
// that cannot be read.
func (c *Config) At(key, text string) Fault {
	if c.source == nil {
		return Fault{File: "(configuration)", Line: 1, Key: key, Text: text}
	}
	return c.source.at(key, text)
}

// FromFile reports whether the configuration comes from a file, so that At knows lines.
func (c *Config) FromFile() bool { return c.source != nil }

// Log is the key log.
type Log struct {
	Level          string        `yaml:"level"`
	Format         string        `yaml:"format"`
	StatusInterval time.Duration `yaml:"status-interval"`
}

// Listener is an entry of the list listen of a front, of telephones, or of a link that peers connect to.
type Listener struct {
	Name        string   `yaml:"name"`
	Transport   string   `yaml:"transport"`
	Address     string   `yaml:"address"`
	Certificate string   `yaml:"certificate"`
	Key         string   `yaml:"key"`
	More        []Pair   `yaml:"more-certificates"`
	OCSP        string   `yaml:"ocsp"`
	ClientCA    string   `yaml:"client-ca"`
	ClientAuth  string   `yaml:"client-auth"`
	CRL         string   `yaml:"crl"`
	Pins        []string `yaml:"pins"`
	Legacy      bool     `yaml:"legacy-tls"`
	Dialect     string   `yaml:"dialect"`
	Notify      int      `yaml:"notify"`
	Originate   string   `yaml:"auto-originate"`

	// Source is the source of its certificates, once the listener has opened.
	Source *tls.Source `yaml:"-"`
}

// WithoutCertificates returns the listener without the keys that a reload changes while the listener stays open.
func (l Listener) WithoutCertificates() Listener {
	l.Certificate, l.Key, l.More, l.OCSP, l.ClientCA, l.CRL, l.Pins, l.Legacy, l.Source = "", "", nil, "", "", "", nil, false, nil
	if l.Transport == "tls" { // DTLS reads it only when the listener opens
		l.ClientAuth = ""
	}
	return l
}

// Pair is an entry of more-certificates.
type Pair struct {
	Certificate string `yaml:"certificate"`
	Key         string `yaml:"key"`
}

// Sessions is the key application-sessions.
type Sessions struct {
	Accounts      string        `yaml:"accounts"`
	Tokens        string        `yaml:"tokens-file"`
	Duration      time.Duration `yaml:"duration"`
	MaxDuration   time.Duration `yaml:"max-duration"`
	Max           int           `yaml:"max"`
	MaxPerAccount int           `yaml:"max-per-account"`
	Tries         int           `yaml:"tries"`
	LoginTime     time.Duration `yaml:"login-time"`
	LockAfter     int           `yaml:"lock-after"`
	LockTime      time.Duration `yaml:"lock-time"`
	// Modes has the mode of each front, by its name: off, optional or mandatory.
	Modes map[string]string `yaml:"-"`
}

// Addresses is the key addresses: the addresses from which peers may connect at all.
type Addresses struct {
	Allow []string `yaml:"allow"`
	Deny  []string `yaml:"deny"`
}

// Audit is the key audit.
type Audit struct {
	File    string `yaml:"file"`
	KeyFile string `yaml:"key-file"`
	MaxMiB  int    `yaml:"max-mib"`
	Keep    int    `yaml:"keep"`
}

// Operations is the key operations.
type Operations struct {
	Address string `yaml:"address"`
	Pprof   bool   `yaml:"pprof"`
}

// Admin is the key admin.
type Admin struct {
	Socket string `yaml:"socket"`
	Mode   string `yaml:"mode"`
}

// Numbers is the key numbers.
type Numbers struct {
	Main     string          `yaml:"main"`
	Rules    []NumberRule    `yaml:"rules"`
	Examples []NumberExample `yaml:"examples"`
}

// NumberRule is an entry of numbers.rules, and of a link's numbers.
type NumberRule struct {
	Match   string `yaml:"match"`
	Strip   int    `yaml:"strip"`
	Add     string `yaml:"add"`
	Replace string `yaml:"replace"`
}

// NumberExample is an entry of numbers.examples: a number as written, and what the rules must make of it.
type NumberExample struct {
	Written   string `yaml:"written"`
	Canonical string `yaml:"canonical"`
	Link      string `yaml:"link"`
	Sent      string `yaml:"sent"`
}

// LinkNumbers is the key numbers of an entry of links.
type LinkNumbers struct {
	Out []NumberRule `yaml:"out"`
	In  []NumberRule `yaml:"in"`
}

// Link is an entry of links.
type Link struct {
	Name    string      `yaml:"name"`
	Type    string      `yaml:"type"` // the name of its kind
	Devices []string    `yaml:"devices"`
	Numbers LinkNumbers `yaml:"numbers"`
	// Settings has the keys of its kind: a pointer to the struct that [LinkKind.Settings] returns.
	Settings any `yaml:"-"`
}

// Limits is the key limits.
type Limits struct {
	Sessions            int `yaml:"sessions"`
	SessionsPerIdentity int `yaml:"sessions-per-identity"`
	MonitorsPerIdentity int `yaml:"monitors-per-identity"`
	RequestsPerSecond   int `yaml:"requests-per-second"`
	CallsPerMinute      int `yaml:"calls-per-minute"`
	MonitorsPerSession  int `yaml:"monitors-per-session"`
	RequestsOutstanding int `yaml:"requests-outstanding"`
	Queue               int `yaml:"queue"`
	QueueMiB            int `yaml:"queue-mib"`
	QueuesMiB           int `yaml:"queues-mib"`
	StrangersMiB        int `yaml:"strangers-mib"`
}

// Default returns the configuration of an empty file.
func Default(kinds Kinds) *Config {
	c := &Config{
		Log: Log{Level: "info", Format: "text", StatusInterval: 10 * time.Minute},
		Sessions: Sessions{
			Duration: time.Hour, MaxDuration: 24 * time.Hour, Max: 2000, MaxPerAccount: 500, Tries: 5, LoginTime: 30 * time.Second,
			LockAfter: 5, LockTime: 5 * time.Minute,
		},
		Operations: Operations{Address: "127.0.0.1:9062"},
		Audit:      Audit{MaxMiB: 100, Keep: 10},
		Trace:      Trace{MaxMiB: 8, Records: 10000, HEP: HEP{ID: 2001}, FileMiB: 16, Keep: 5},
		Admin:      Admin{Mode: "0600"},
		Digest:     Digest{Realm: "tr87proxy", MD5: true},
		Limits:     Limits{Sessions: 20000, SessionsPerIdentity: 2000, MonitorsPerIdentity: 20000, RequestsPerSecond: 5000, CallsPerMinute: 3000, MonitorsPerSession: 500, RequestsOutstanding: 64, Queue: 1024, QueueMiB: 4, QueuesMiB: 256, StrangersMiB: 64},
		Heartbeat:  time.Minute,
		Linger:     30 * time.Second,
		Telephones: Telephones{
			Realm: "tr87proxy", Digest: []string{"MD5"}, MinExpires: time.Minute, MaxExpires: time.Hour, MaxContacts: 10, DeclineAll: true, Qualify: 30 * time.Second, MaxRecording: time.Hour, ShutdownPatience: 5 * time.Second,
			Media: Media{Ports: "16384-32767", Timeout: time.Minute},
		},
		Switch: Switch{
			RingCycle: 5 * time.Second, AlertTime: 3 * time.Minute, PromptTime: 30 * time.Second, FailTime: 30 * time.Second, ParkTime: 2 * time.Minute,
			CampOnTime: 3 * time.Minute,
		},
	}
	c.Sessions.Modes = map[string]string{}
	for _, k := range kinds.Fronts {
		c.Fronts = append(c.Fronts, Front{Name: k.Name(), Settings: k.Settings()})
	}
	return c
}

// Fault is one fault in the file.
type Fault struct {
	File string
	Line int
	Key  string // path of keys, such as sip.listen[0].address
	Text string // what is wrong, and what to write instead
}

func (f Fault) Error() string { return fmt.Sprintf("%s:%d: %s: %s", f.File, f.Line, f.Key, f.Text) }

// Faults is the list of all faults in the file.
type Faults []Fault

func (f Faults) Error() string {
	lines := make([]string, len(f))
	for i := range f {
		lines[i] = f[i].Error()
	}
	return strings.Join(lines, "\n")
}

// Load reads and checks a file. Faults in its content are returned as [Faults].
func Load(file string, kinds Kinds) (*Config, error) {
	data, err := readFile(file)
	if err != nil {
		return nil, err
	}
	return Parse(file, data, kinds)
}

// readFile reads a configuration file.
func readFile(file string) ([]byte, error) {
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w; name the configuration file with -c FILE", err)
	}
	return data, err
}

// AdminSocket returns the admin socket that a file names, "" if none. Faults of other keys do not matter: the
// administrator of a running proxy needs its socket most when the file has some.
func AdminSocket(file string, kinds Kinds) (string, error) {
	data, err := readFile(file)
	if err != nil {
		return "", err
	}
	c := Default(kinds)
	d := decode(file, data, c, kinds)
	if c.Admin.Socket == "" && len(d.faults) > 0 {
		return "", d.faults
	}
	return c.Admin.Socket, nil
}

// Parse reads and checks the content of a file. It returns [Faults] if there are any.
func Parse(file string, data []byte, kinds Kinds) (*Config, error) {
	c := Default(kinds)
	d := decode(file, data, c, kinds)
	if len(d.faults) == 0 {
		c.check(d)
	}
	if len(d.faults) > 0 {
		return nil, d.faults
	}
	c.source = d
	return c, nil
}

// maxMiB is the largest size that the file can set, in MiB: 1 TiB.
const maxMiB = 1 << 20

// check checks values. decode has checked keys and types.
func (c *Config) check(d *document) {
	d.oneOf("log.level", c.Log.Level, "debug", "info", "warn", "error")
	d.oneOf("log.format", c.Log.Format, "text", "json")
	for key, v := range map[string]time.Duration{
		"switch.ring-cycle": c.Switch.RingCycle, "switch.alert-time": c.Switch.AlertTime, "switch.prompt-time": c.Switch.PromptTime, "switch.fail-time": c.Switch.FailTime,
		"switch.park-time": c.Switch.ParkTime, "switch.camp-on-time": c.Switch.CampOnTime, "heartbeat": c.Heartbeat,
		"application-sessions.duration": c.Sessions.Duration, "application-sessions.max-duration": c.Sessions.MaxDuration,
		"application-sessions.login-time": c.Sessions.LoginTime, "application-sessions.lock-time": c.Sessions.LockTime,
	} {
		d.longer(key, v)
	}
	for key, v := range map[string]int{
		"application-sessions.max": c.Sessions.Max, "application-sessions.max-per-account": c.Sessions.MaxPerAccount,
		"application-sessions.tries": c.Sessions.Tries, "application-sessions.lock-after": c.Sessions.LockAfter,
		"audit.keep":      c.Audit.Keep,
		"limits.sessions": c.Limits.Sessions, "limits.sessions-per-identity": c.Limits.SessionsPerIdentity, "limits.monitors-per-identity": c.Limits.MonitorsPerIdentity, "limits.requests-per-second": c.Limits.RequestsPerSecond,
		"limits.calls-per-minute":     c.Limits.CallsPerMinute,
		"limits.monitors-per-session": c.Limits.MonitorsPerSession, "limits.requests-outstanding": c.Limits.RequestsOutstanding, "limits.queue": c.Limits.Queue,
	} {
		d.positive(key, v)
	}
	for key, v := range map[string]int{
		"audit.max-mib": c.Audit.MaxMiB, "limits.queue-mib": c.Limits.QueueMiB, "limits.queues-mib": c.Limits.QueuesMiB, "limits.strangers-mib": c.Limits.StrangersMiB,
	} {
		if v < 1 || v > maxMiB {
			d.fault(key, fmt.Sprintf("must be a number of MiB; write 1 to %d", maxMiB))
		}
	}
	c.Trace.check(d)
	if c.Operations.Address != "" {
		if host, _, err := net.SplitHostPort(c.Operations.Address); err != nil {
			d.fault("operations.address", "is not host:port; write for example 127.0.0.1:9062, or \"\" for none")
		} else if !Loopback(host) {
			d.fault("operations.address", "must be on loopback, because it has no authentication; write for example 127.0.0.1:9062")
		}
	}
	if mode, err := strconv.ParseUint(c.Admin.Mode, 8, 32); err != nil || mode > 0o777 {
		d.fault("admin.mode", "is not a file mode; write for example \"0600\" or \"0660\"")
	}
	if c.Log.StatusInterval < 0 {
		d.fault("log.status-interval", "must not be negative; write 0s for none")
	}
	c.checkFronts(d)
	c.checkNames(d)
	c.checkSessions(d)
	c.checkAccess(d)
	c.checkLinks(d)
	c.checkSwitch(d)
}

// ParseNetwork parses an address or a network. An address is a network with one member.
func ParseNetwork(s string) (netip.Prefix, error) {
	if ip, err := netip.ParseAddr(s); err == nil {
		return netip.PrefixFrom(ip, ip.BitLen()), nil
	}
	return netip.ParsePrefix(s)
}

// Loopback reports whether a host is this machine, by its name or address.
func Loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}
