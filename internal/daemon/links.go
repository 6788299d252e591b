package daemon

import (
	cryptotls "crypto/tls"
	"fmt"
	"log/slog"
	"reflect"
	"slices"

	"github.com/tr87proxy/tr87proxy/config"
	"github.com/tr87proxy/tr87proxy/cstaxml"
	"github.com/tr87proxy/tr87proxy/gate"
	"github.com/tr87proxy/tr87proxy/policy"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/share"
	"github.com/tr87proxy/tr87proxy/softswitch"
	"github.com/tr87proxy/tr87proxy/tls"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// links are the core's links, in the order in which they are asked for a device. The
// built-in switch has what no other link names; without other links, it has everything.
// Those that are the same in an older configuration go on running.
func (n *Node) links(cfg, old *config.Config) ([]proxy.NamedLink, error) {
	var list []proxy.NamedLink
	for i, l := range cfg.Links {
		named := proxy.NamedLink{Name: l.Name, Devices: func(device string) bool { return policy.MatchDevice(l.Devices, device) }, Numbers: translation(l)}
		if !slices.ContainsFunc(old.Links, func(o config.Link) bool { return sameLink(o, l) }) {
			link, err := n.link(l)
			if err != nil {
				return nil, fmt.Errorf("links[%d]: %w", i, err)
			}
			named.Link = link
		}
		list = append(list, named)
	}
	builtIn := proxy.NamedLink{Name: "switch", Devices: func(device string) bool { return len(cfg.Links) == 0 || n.sw.Has(device) }}
	if n.cfg == cfg { // the first time
		builtIn.Link = n.sw
	}
	return append(list, builtIn), nil
}

func translation(l config.Link) proxy.Translation {
	return proxy.Translation{Out: numberRules(l.Numbers.Out), In: numberRules(l.Numbers.In)}
}

// numberRules makes rules of the configuration, which has been checked.
func numberRules(list []config.NumberRule) policy.NumberRules {
	rules := make(policy.NumberRules, len(list))
	for i, r := range list {
		rules[i], _ = policy.ParseNumberRule(r.Match, r.Strip, r.Add, r.Replace)
	}
	return rules
}

// sameLink reports whether two entries differ in nothing but their devices and numbers, and
// the passwords of telephones' accounts.
func sameLink(a, b config.Link) bool {
	a.Devices, b.Devices, a.Numbers, b.Numbers = nil, nil, config.LinkNumbers{}, config.LinkNumbers{}
	for _, l := range []*config.Link{&a, &b} {
		l.Accounts = slices.Clone(l.Accounts)
		for i := range l.Accounts {
			l.Accounts[i].Password, l.Accounts[i].PasswordFile = "", ""
		}
	}
	return reflect.DeepEqual(a, b)
}

func (n *Node) link(l config.Link) (proxy.Link, error) {
	switch l.Type {
	case "phones":
		return n.desk(l)
	case "csta-asn1":
		return n.asn1Link(l)
	case "ctserver":
		return n.cards(l), nil
	case "freeswitch":
		return n.freeSWITCH(l)
	}
	password, secure, err := n.opening(l)
	if err != nil {
		return nil, err
	}
	dialect, _ := cstaxml.DialectOf(l.Dialect) // checked by config; the plain one where it says nothing
	cfg := cstaxml.LinkConfig{
		Addresses: l.Addresses, TLS: secure, Dialect: dialect, Edition: uacsta.Edition(l.Edition), Heartbeat: l.Heartbeat,
		Session: cstaxml.Session{
			Application: l.Session.Application, Login: uacsta.Login{User: l.Session.User, Password: password},
			Duration: l.Session.Duration, Switch: l.Session.Switch,
		},
		Conn: gate.Limits{Timeout: l.Timeout}, Log: n.linkLog(l.Name),
	}
	return cstaxml.NewLink(cfg), nil
}

// linkLog is where a link logs: what its switching function can make it say as often as it likes is
// said once a second.
func (n *Node) linkLog(name string) *slog.Logger { return share.Quiet(n.log.With("link", name)) }

// opening is what a link opens its connections with: the password of its session, and TLS where it
// has it.
func (n *Node) opening(l config.Link) (password string, secure *cryptotls.Config, err error) {
	if password, err = secret(l.Session.Password, l.Session.PasswordFile); err != nil {
		return "", nil, fmt.Errorf("session: %w", err)
	}
	if l.TLS {
		secure, err = tls.Client(linkFiles(l, n.log))
	}
	return password, secure, err
}

func linkFiles(l config.Link, log *slog.Logger) tls.Files {
	return tls.Files{Certificate: l.Certificate, Key: l.Key, CA: l.CA, CRL: l.CRL, Pins: l.Pins, Legacy: l.Legacy, Log: log}
}

// known says which numbers are devices of ours: those that a grant without dial may
// call. A pattern with * in it, or a regular expression, says where numbers are carried,
// not that all of them are inside.
func known(cfg *config.Config, sw *softswitch.Switch) func(string) bool {
	return func(number string) bool {
		for _, l := range cfg.Links {
			for _, pattern := range l.Devices {
				if policy.Finite(pattern) && policy.MatchDevice([]string{pattern}, number) {
					return true
				}
			}
		}
		return sw.Has(number)
	}
}
