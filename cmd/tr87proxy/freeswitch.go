package main

import (
	"github.com/tr87proxy/tr87proxy/config"
	"github.com/tr87proxy/tr87proxy/freeswitch"
	"github.com/tr87proxy/tr87proxy/proxy"
)

// freeSWITCH makes a link to the event socket of a FreeSWITCH.
func (n *node) freeSWITCH(l config.Link) (proxy.Link, error) {
	password, secure, err := n.opening(l)
	if err != nil {
		return nil, err
	}
	cfg := freeswitch.LinkConfig{
		Addresses: l.Addresses, TLS: secure, Password: password, Domain: l.Domain, Context: l.Context, AutoAnswer: l.AutoAnswer,
		RingTime: l.RingTime, Timeout: l.Timeout, Heartbeat: l.Heartbeat, Log: n.log.With("link", l.Name),
	}
	return freeswitch.NewLink(cfg)
}
