package kind

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/config"
	"github.com/tr87proxy/tr87proxy/internal/gate"
	"github.com/tr87proxy/tr87proxy/tls"
)

// Peer has the addresses of a link that connects. Settings embed it.
type Peer struct {
	Addresses []string `yaml:"addresses"`
}

// Peers returns the addresses.
func (p *Peer) Peers() []string { return p.Addresses }

// Check reports a missing address, and addresses that are neither host nor host:port.
func (p *Peer) Check(s *config.Section) {
	if len(p.Addresses) == 0 {
		s.Fault("addresses", "must name at least one address; write for example [\"10.1.1.1:8882\"]")
	}
	for i, address := range p.Addresses {
		key := fmt.Sprintf("addresses[%d]", i)
		host, port, err := net.SplitHostPort(address)
		if err == nil && (host == "" || port == "") || err != nil && !PlainHost(address) {
			s.Fault(key, "is neither host nor host:port; write for example \"10.1.1.1:8882\"")
		} else if n, bad := strconv.Atoi(port); err == nil && bad == nil && (n < 1 || n > 65535) {
			s.Fault(key, fmt.Sprintf("has port %q; write one from 1 to 65535", port))
		}
	}
}

// PlainHost reports whether an address is a host name or an IP address, without port.
func PlainHost(address string) bool {
	if _, err := netip.ParseAddr(strings.Trim(address, "[]")); err == nil {
		return true
	}
	return address != "" && !strings.ContainsAny(address, ":[]/ ")
}

// HostPort reports whether an address is host or host:port.
func HostPort(address string) bool {
	_, _, err := net.SplitHostPort(address)
	return err == nil || PlainHost(address)
}

// Times has the intervals of a link that checks whether its peer responds. Settings embed it.
type Times struct {
	Heartbeat time.Duration `yaml:"heartbeat"` // 0 for the link's default
	Timeout   time.Duration `yaml:"timeout"`   // for a response; 0 for the link's default
}

// Check reports negative durations.
func (t *Times) Check(s *config.Section) {
	s.NotNegative(map[string]time.Duration{"heartbeat": t.Heartbeat, "timeout": t.Timeout})
}

// Secure has the TLS keys of a link that connects. Settings embed it.
type Secure struct {
	TLS         bool     `yaml:"tls"`
	CA          string   `yaml:"ca"`
	CRL         string   `yaml:"crl"`
	Pins        []string `yaml:"pins"`
	Legacy      bool     `yaml:"legacy-tls"`
	Certificate string   `yaml:"certificate"`
	Key         string   `yaml:"key"`

	source *tls.Source // of the link that was built with these settings
}

// Check reports keys that need tls: true, if it is not set.
func (t *Secure) Check(s *config.Section) {
	for key, set := range map[string]bool{
		"ca": t.CA != "", "certificate": t.Certificate != "", "key": t.Key != "", "crl": t.CRL != "", "pins": len(t.Pins) > 0, "legacy-tls": t.Legacy,
	} {
		if set && !t.TLS {
			s.Fault(key, "needs TLS; write tls: true beside it")
		}
	}
}

// Files returns the names of the files for package tls.
func (t *Secure) Files(log *slog.Logger) tls.Files {
	return tls.Files{Certificate: t.Certificate, Key: t.Key, CA: t.CA, CRL: t.CRL, Pins: t.Pins, Legacy: t.Legacy, Log: log}
}

// ClearCertificates implements [Certified].
func (t *Secure) ClearCertificates() { *t = Secure{TLS: t.TLS} }

func (t *Secure) secure() *Secure { return t }

// Login has the name and password of a link that logs in. Settings embed it.
type Login struct {
	User         string `yaml:"user"`
	Password     string `yaml:"password"`
	PasswordFile string `yaml:"password-file"`
}

// Check reports a password without user, and a password with two sources. key is the key of the login.
func (l *Login) Check(s *config.Section, key string) {
	if (l.Password != "" || l.PasswordFile != "") && l.User == "" || l.Password != "" && l.PasswordFile != "" {
		s.Fault(key, "has a password without user, or two passwords; write user, and either password or password-file")
	}
}

// Opening reads the files that settings name, and returns what a link needs to open its connections: the password of its
// login, and its TLS, or nil for TCP. A reload can change the certificate files while the link runs.
func Opening(l *Login, s *Secure, log *slog.Logger) (password string, secure gate.TLS, err error) {
	if password, err = Secret(l.Password, l.PasswordFile); err != nil {
		return "", nil, fmt.Errorf("session: %w", err)
	}
	if !s.TLS {
		return password, nil, nil
	}
	if s.source, err = tls.NewClient(s.Files(log)); err != nil {
		return "", nil, ofFile(err, "", "ca")
	}
	return password, s.source.Config, nil
}

// Secret returns a password of the configuration, or reads it from file if that is not "".
func Secret(password, file string) (string, error) {
	if file == "" {
		return password, nil
	}
	data, err := os.ReadFile(file)
	return strings.TrimSpace(string(data)), err
}
