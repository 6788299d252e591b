package main

import (
	"fmt"

	"github.com/tr87proxy/tr87proxy/config"
	"github.com/tr87proxy/tr87proxy/freeswitch"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/tls"
)

// freeSWITCH makes a link to the event socket of a FreeSWITCH.
func (n *node) freeSWITCH(l config.Link) (proxy.Link, error) {
	password, err := secret(l.Session.Password, l.Session.PasswordFile)
	if err != nil {
		return nil, fmt.Errorf("session: %w", err)
	}
	cfg := freeswitch.LinkConfig{
		Addresses: l.Addresses, Password: password, Domain: l.Domain, Context: l.Context, AutoAnswer: l.AutoAnswer,
		RingTime: l.RingTime, Timeout: l.Timeout, Heartbeat: l.Heartbeat, Log: n.log.With("link", l.Name),
	}
	if l.TLS {
		if cfg.TLS, err = tls.Client(linkFiles(l, n.log)); err != nil {
			return nil, err
		}
	}
	return freeswitch.NewLink(cfg)
}
