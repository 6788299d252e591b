package asn1

import (
	"net"

	"github.com/tr87proxy/tr87proxy/config"
	"github.com/tr87proxy/tr87proxy/gate"
	kinds "github.com/tr87proxy/tr87proxy/internal/kind"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/share"
)

// LinkKind is the kind of links to what speaks CSTA in ASN.1.
var LinkKind = kinds.LinkOf[LinkSettings]{Type: "csta-asn1", Check: checkLink, Build: buildLink}.Kind()

// LinkSettings are the keys of an entry of links, beside those of config.Link.
type LinkSettings struct {
	kinds.Peer
	kinds.Secure
	kinds.Times

	Dialect       string      `yaml:"dialect"`
	Session       kinds.Login `yaml:"session"`
	Notifications string      `yaml:"notifications"` // where an MD110 sends its events to by UDP
}

func checkLink(l *LinkSettings, s *config.Section) {
	l.Peer.Check(s)
	s.OneOf("dialect", l.Dialect, FlavourNames()...)
	if l.Dialect == Phase1.Name && l.Session.User != "" {
		s.Fault("session", "is not for dialect phase1, which knows no login")
	}
	if l.Notifications != "" && l.Dialect != Phase1.Name {
		s.Fault("notifications", "is for type csta-asn1 and dialect phase1 only")
	} else if _, _, err := net.SplitHostPort(l.Notifications); l.Notifications != "" && err != nil {
		s.Fault("notifications", "is not host:port; write for example 0.0.0.0:3333")
	}
	l.Session.Check(s, "session")
	l.Times.Check(s)
	l.Secure.Check(s)
}

func buildLink(l *LinkSettings, env *kinds.Env) (proxy.Link, error) {
	password, secure, err := kinds.Opening(&l.Session, &l.Secure, env.Log)
	if err != nil {
		return nil, err
	}
	flavour, _ := FlavourOf(l.Dialect) // checked
	return NewLink(LinkConfig{
		Addresses: l.Addresses, TLS: secure, Flavour: flavour, Name: l.Session.User, Password: password, Notifications: l.Notifications,
		Heartbeat: l.Heartbeat, Conn: gate.Limits{Timeout: l.Timeout}, Log: share.Quiet(env.Log),
	}), nil
}
