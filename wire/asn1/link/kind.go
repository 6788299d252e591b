package link

import (
	"net"

	"github.com/tr87proxy/tr87proxy/internal/config"
	"github.com/tr87proxy/tr87proxy/internal/kind"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/wire/asn1"
)

// Kind is the kind of link to switching functions that speak CSTA in ASN.1.
var Kind = kind.LinkOf[Settings]{Type: "csta-asn1", Check: check, Build: build}.Kind()

// Settings are the settings of an entry under links, beside those of config.Link.
type Settings struct {
	kind.Peer
	kind.Secure
	kind.Times

	Dialect       string     `yaml:"dialect"`
	Session       kind.Login `yaml:"session"`
	Notifications string     `yaml:"notifications"` // the UDP address that an MD110 sends its events to
}

func check(l *Settings, s *config.Section) {
	l.Peer.Check(s)
	s.OneOf("dialect", l.Dialect, asn1.FlavourNames()...)
	if l.Dialect == asn1.Phase1.Name && l.Session.User != "" {
		s.Fault("session", "is not for dialect phase1, which knows no login")
	}
	if l.Notifications != "" && l.Dialect != asn1.Phase1.Name {
		s.Fault("notifications", "is for type csta-asn1 and dialect phase1 only")
	} else if _, _, err := net.SplitHostPort(l.Notifications); l.Notifications != "" && err != nil {
		s.Fault("notifications", "is not host:port; write for example 0.0.0.0:3333")
	}
	l.Session.Check(s, "session")
	l.Times.Check(s)
	l.Secure.Check(s)
}

func build(l *Settings, env *kind.Env) (proxy.Link, error) {
	dialling, password, err := env.Dialling(&l.Peer, &l.Secure, &l.Times, &l.Session)
	if err != nil {
		return nil, err
	}
	flavour, _ := asn1.FlavourOf(l.Dialect) // check has found it
	return New(Config{Dialling: dialling, Flavour: flavour, Name: l.Session.User, Password: password, Notifications: l.Notifications}), nil
}
