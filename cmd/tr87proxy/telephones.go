package main

import (
	"net/netip"
	"regexp"

	"github.com/tr87proxy/tr87proxy/config"
	"github.com/tr87proxy/tr87proxy/media"
	"github.com/tr87proxy/tr87proxy/phones"
	"github.com/tr87proxy/tr87proxy/tls"
)

// telephones makes the server of real telephones and trunks, nil where there are none.
func (n *node) telephones(cfg *config.Config) (*phones.Server, error) {
	t := &cfg.Telephones
	if len(t.Listen) == 0 {
		return nil, nil //nolint:nilnil // none is no fault
	}
	first, last, err := t.Media.PortRange()
	if err != nil {
		return nil, err
	}
	out := phones.Config{
		Switch: n.sw, Realm: t.Realm, Digest: t.Digest, Advertise: t.Advertise, Log: n.log,
		Admits:     func(addr netip.Addr) bool { return n.rules.Load().Admits(addr) },
		MinExpires: t.MinExpires, MaxExpires: t.MaxExpires, Qualify: t.Qualify, MaxContacts: t.MaxContacts, State: t.State,
		Music: t.Music, Messages: t.Messages, MaxRecorded: t.MaxRecording,
		Media: media.Config{MinPort: first, MaxPort: last, Timeout: t.Media.Timeout},
	}
	out.Media.Address, _ = netip.ParseAddr(t.Media.Address) // checked by config; none: as the listeners
	out.Media.Advertise, _ = netip.ParseAddr(t.Media.Advertise)
	if !out.Media.Address.IsValid() {
		out.Media.Address = mediaAddress(t.Listen)
	}
	models, err := config.Models(t.Models)
	if err != nil {
		return nil, err
	}
	for _, m := range models {
		out.Models = append(out.Models, phones.Model{
			Name: m.Name, Agent: regexp.MustCompile(m.Agent), Answer: (*phones.Notify)(m.Answer), Resume: (*phones.Notify)(m.Resume), // checked by config
		})
	}
	for _, e := range cfg.Switch.Extensions {
		if e.SIP == nil {
			continue
		}
		password, err := secret(e.SIP.Password, e.SIP.PasswordFile)
		if err != nil {
			return nil, err
		}
		out.Users = append(out.Users, phones.User{Number: e.Number, Name: e.SIP.User, Password: password, Talks: e.SIP.Talk, UACSTA: e.SIP.UACSTA})
	}
	for _, trunk := range cfg.Switch.Trunks {
		p := trunk.SIP
		if p == nil {
			continue
		}
		password, err := secret(p.Password, p.PasswordFile)
		if err != nil {
			return nil, err
		}
		out.Trunks = append(out.Trunks, phones.Trunk{Number: trunk.Number, Peer: p.URI, Name: p.User, Password: password, Register: p.Register, From: p.From})
	}
	if out.TLSClient, err = tls.Client(tls.Files{Log: n.log}); err != nil {
		return nil, err
	}
	return phones.New(out)
}

// mediaAddress is where voice goes when nothing is said: the first listener's address.
func mediaAddress(listeners []config.Listener) netip.Addr {
	address, err := netip.ParseAddrPort(listeners[0].Address)
	if err != nil { // all addresses, or a name
		return netip.IPv4Unspecified()
	}
	return address.Addr()
}
