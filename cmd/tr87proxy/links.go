package main

import (
	cryptotls "crypto/tls"
	"fmt"

	"github.com/tr87proxy/tr87proxy/config"
	"github.com/tr87proxy/tr87proxy/cstaxml"
	"github.com/tr87proxy/tr87proxy/policy"
	"github.com/tr87proxy/tr87proxy/softswitch"
	"github.com/tr87proxy/tr87proxy/tls"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// addLinks gives the core its links, in the order in which they are asked for a
// device. The built-in switch has what no other link names; without other links, it
// has everything.
func (n *node) addLinks() error {
	for i, l := range n.cfg.Links {
		password, err := secret(l.Session.Password, l.Session.PasswordFile)
		if err != nil {
			return fmt.Errorf("links[%d].session: %w", i, err)
		}
		dialect, _ := cstaxml.DialectOf(l.Dialect) // checked by config; the plain one where it says nothing
		link := cstaxml.LinkConfig{
			Addresses: l.Addresses, Dialect: dialect, Edition: uacsta.Edition(l.Edition), Heartbeat: l.Heartbeat,
			Session: cstaxml.Session{
				Application: l.Session.Application, Login: uacsta.Login{User: l.Session.User, Password: password},
				Duration: l.Session.Duration, Switch: l.Session.Switch,
			},
			Conn: cstaxml.Config{Timeout: l.Timeout}, Log: n.log.With("link", l.Name),
		}
		if l.TLS {
			if link.TLS, err = linkTLS(l); err != nil {
				return fmt.Errorf("links[%d]: %w", i, err)
			}
		}
		n.core.AddLink(l.Name, cstaxml.NewLink(link), func(device string) bool { return policy.MatchDevice(l.Devices, device) })
	}
	n.core.AddLink("switch", n.sw, func(device string) bool { return len(n.cfg.Links) == 0 || n.sw.Has(device) })
	return nil
}

func linkTLS(l config.Link) (*cryptotls.Config, error) {
	return tls.Client(tls.Files{Certificate: l.Certificate, Key: l.Key, CA: l.CA})
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
