package daemon

import (
	"net/netip"
	"regexp"
	"slices"
	"time"

	"github.com/tr87proxy/tr87proxy/accounts"
	"github.com/tr87proxy/tr87proxy/config"
	"github.com/tr87proxy/tr87proxy/media"
	"github.com/tr87proxy/tr87proxy/phones"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/tls"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// telephones makes the server of real telephones and trunks, nil where there are none. That of a
// sketch keeps nothing.
func (n *Node) telephones(cfg *config.Config, sketch bool) (*phones.Server, error) {
	t := &cfg.Telephones
	if len(t.Listen) == 0 {
		return nil, nil //nolint:nilnil // none is no fault
	}
	first, last, err := t.Media.PortRange()
	if err != nil {
		return nil, err
	}
	elsewhere, err := t.Media.Networks()
	if err != nil {
		return nil, err
	}
	out := phones.Config{
		Switch: n.sw, Realm: t.Realm, Digest: t.Digest, Advertise: t.Advertise, Log: n.log,
		Guard:      n.guards.of(accounts.GuardConfig{Of: "telephones", Log: n.log}),
		Refused:    n.notBelieved("telephones"),
		Admits:     func(addr netip.Addr) bool { return n.rules.Load().Admits(addr) },
		MinExpires: t.MinExpires, MaxExpires: t.MaxExpires, Qualify: t.Qualify, MaxContacts: t.MaxContacts, State: t.State,
		Music: t.Music, Messages: t.Messages, MaxRecorded: t.MaxRecording,
		Media: media.Config{MinPort: first, MaxPort: last, Timeout: t.Media.Timeout, Elsewhere: elsewhere},
	}
	if sketch {
		out.State = ""
	}
	out.Media.Address, _ = netip.ParseAddr(t.Media.Address) // checked by config; none: as the listeners
	out.Media.Advertise, _ = netip.ParseAddr(t.Media.Advertise)
	if !out.Media.Address.IsValid() {
		out.Media.Address = mediaAddress(t.Listen)
	}
	if out.Models, err = telephoneModels(t.Models); err != nil {
		return nil, err
	}
	if out.Users, err = telephoneUsers(&cfg.Switch); err != nil {
		return nil, err
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

// telephoneUsers are the accounts of extensions, with their passwords.
func telephoneUsers(cfg *config.Switch) ([]phones.User, error) {
	var users []phones.User
	for _, e := range cfg.Extensions {
		if e.SIP == nil {
			continue
		}
		password, err := secret(e.SIP.Password, e.SIP.PasswordFile)
		if err != nil {
			return nil, err
		}
		users = append(users, phones.User{Number: e.Number, Name: e.SIP.User, Password: password, Talks: e.SIP.Talk, UACSTA: e.SIP.UACSTA})
	}
	return users, nil
}

// deskUsers are the accounts of a link of type phones, with their passwords.
func deskUsers(l config.Link) ([]phones.User, error) {
	var users []phones.User
	for _, a := range l.Accounts {
		password, err := secret(a.Password, a.PasswordFile)
		if err != nil {
			return nil, err
		}
		users = append(users, phones.User{Number: a.Number, Name: a.User, Password: password, Contact: a.Contact})
	}
	return users, nil
}

// withoutPasswords is a switch as it is but for the passwords of telephones' accounts.
func withoutPasswords(cfg config.Switch) config.Switch {
	cfg.Extensions = slices.Clone(cfg.Extensions)
	for i, e := range cfg.Extensions {
		if e.SIP != nil {
			account := *e.SIP
			account.Password, account.PasswordFile = "", ""
			cfg.Extensions[i].SIP = &account
		}
	}
	return cfg
}

// telephoneModels reads the table of telephones.
func telephoneModels(file string) ([]phones.Model, error) {
	list, err := config.Models(file)
	models := make([]phones.Model, 0, len(list))
	for _, m := range list {
		services := make([]string, 0, len(m.Services))
		for _, capability := range m.Services {
			services = append(services, uacsta.MessageOf(capability, false))
		}
		models = append(models, phones.Model{
			Name: m.Name, Agent: regexp.MustCompile(m.Agent), Services: services, CSTA: m.CSTA, // checked by config
			Answer: (*phones.Notify)(m.Answer), Resume: (*phones.Notify)(m.Resume),
		})
	}
	return models, err
}

// mediaAddress is where voice goes when nothing is said: the first listener's address.
func mediaAddress(listeners []config.Listener) netip.Addr {
	address, err := netip.ParseAddrPort(listeners[0].Address)
	if err != nil { // all addresses, or a name
		return netip.IPv4Unspecified()
	}
	return address.Addr()
}

// desk makes a link to desk phones that register a CSTA account of their own.
func (n *Node) desk(l config.Link) (proxy.Link, error) {
	cfg := phones.Config{
		Log: n.log.With("link", l.Name), Qualify: 30 * time.Second, Admits: n.admits,
		Guard: n.guards.of(accounts.GuardConfig{Of: "telephones of " + l.Name, Log: n.log}), Refused: n.notBelieved("telephones of " + l.Name),
	}
	var err error
	if cfg.Models, err = telephoneModels(n.cfg.Telephones.Models); err != nil {
		return nil, err
	}
	if cfg.Users, err = deskUsers(l); err != nil {
		return nil, err
	}
	var listen []phones.Listening
	for _, at := range l.Listen {
		one := phones.Listening{Transport: at.Transport, Address: at.Address}
		if at.Transport == "tls" {
			var err error
			if one.TLS, err = tls.Server(n.files(at)); err != nil {
				return nil, err
			}
		}
		listen = append(listen, one)
	}
	return phones.NewDesk(cfg, listen), nil
}
