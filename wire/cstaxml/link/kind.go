package link

import (
	"time"

	"github.com/tr87proxy/tr87proxy/internal/config"
	"github.com/tr87proxy/tr87proxy/internal/kind"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// Kind is the kind of link to switching functions that speak CSTA-XML.
var Kind = kind.LinkOf[Settings]{Type: "csta-xml", Check: check, Build: build}.Kind()

// Settings are the settings of an entry under links, beside those of config.Link.
type Settings struct {
	kind.Peer
	kind.Secure
	kind.Times

	Dialect string `yaml:"dialect"`
	Edition int    `yaml:"edition"`
	Session struct {
		kind.Login

		Application string        `yaml:"application"`
		Duration    time.Duration `yaml:"duration"`
		Switch      string        `yaml:"switch"`
	} `yaml:"session"`
}

func check(l *Settings, s *config.Section) {
	l.Peer.Check(s)
	if l.Edition != 0 && (l.Edition < 2 || l.Edition > 9) {
		s.Fault("edition", "must be 2 to 9")
	}
	if l.Dialect != "" {
		s.OneOf("dialect", l.Dialect, DialectNames()...)
	}
	l.Session.Check(s, "session")
	l.Times.Check(s)
	s.NotNegative(map[string]time.Duration{"session.duration": l.Session.Duration})
	l.Secure.Check(s)
}

func build(l *Settings, env *kind.Env) (proxy.Link, error) {
	dialling, password, err := env.Dialling(&l.Peer, &l.Secure, &l.Times, &l.Session.Login)
	if err != nil {
		return nil, err
	}
	dialect, _ := DialectOf(l.Dialect) // check has found it; "" is the plain one
	return New(Config{
		Dialling: dialling, Dialect: dialect, Edition: uacsta.Edition(l.Edition),
		Session: Session{
			Application: l.Session.Application, Login: uacsta.Login{User: l.Session.User, Password: password},
			Duration: l.Session.Duration, Switch: l.Session.Switch,
		},
	}), nil
}
