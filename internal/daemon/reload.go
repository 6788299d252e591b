package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"

	"github.com/tr87proxy/tr87proxy/config"
	"github.com/tr87proxy/tr87proxy/phones"
	"github.com/tr87proxy/tr87proxy/proxy"
)

// ReloadReport says what a reload did.
type ReloadReport struct {
	Changed []string `json:"changed"` // keys whose new values hold now
	Restart []string `json:"restart"` // keys whose new values hold after a restart
}

// reload reads the configuration again and applies what can be changed while the proxy
// runs. A file that has faults changes nothing.
func (n *Node) reload() (any, error) {
	n.reloading.Lock()
	defer n.reloading.Unlock()
	cfg, err := config.Load(n.file)
	if err != nil {
		n.log.Error("not reloaded", "err", err)
		return nil, err
	}
	report, err := n.apply(cfg)
	if report == nil {
		n.log.Error("not reloaded", "err", err)
		return nil, err
	}
	if err != nil {
		n.log.Error("reloaded, but for a listener", "err", err)
		return nil, fmt.Errorf("reloaded, but for a listener: %w", err)
	}
	n.log.Info("reloaded", "changed", strings.Join(report.Changed, " "), "restart", strings.Join(report.Restart, " "))
	return report, nil
}

// apply makes what it can of a configuration hold. Without a report nothing has changed; an
// error beside one is about listeners.
func (n *Node) apply(cfg *config.Config) (*ReloadReport, error) {
	report := &ReloadReport{Changed: []string{}, Restart: []string{}}
	old := n.cfg
	users, err := passwords(cfg.Digest)
	if err != nil {
		return nil, err
	}
	rules, numbers, err := n.policyOf(cfg)
	if err != nil {
		return nil, err
	}
	accounts, err := n.passwordsOf(cfg)
	if err != nil {
		return nil, err
	}
	links, err := n.links(cfg, old)
	if err != nil {
		return nil, err
	}
	changed := func(key string, a, b any) bool {
		if reflect.DeepEqual(a, b) {
			return false
		}
		report.Changed = append(report.Changed, key)
		return true
	}
	if changed("log.level", old.Log.Level, cfg.Log.Level) {
		_ = n.level.UnmarshalText([]byte(cfg.Log.Level)) // checked by config
	}
	if n.digest || len(users) == 0 {
		changed("digest.users", *n.users.Load(), users) // a password file may have changed, too
		n.users.Store(&users)
	}
	changed("addresses", old.Addresses, cfg.Addresses)
	changed("trusted", old.Trusted, cfg.Trusted)
	changed("groups", old.Groups, cfg.Groups)
	changed("device-groups", old.DeviceGroups, cfg.DeviceGroups)
	changed("destinations", old.Destinations, cfg.Destinations)
	if !changedLDAP(old, cfg) {
		changed("lines", old.Lines, cfg.Lines)
	}
	changed("rules", old.Rules, cfg.Rules)
	changed("grants", old.Grants, cfg.Grants)
	changed("numbers", old.Numbers, cfg.Numbers)
	if changed("links", old.Links, cfg.Links) {
		n.core.SetLinks(links)
		n.linkConfigs.Store(&cfg.Links)
		n.setDesks(links)
	}
	report.Changed = append(report.Changed, n.setPasswords(accounts, report.Changed)...)
	applied := *cfg // what holds from now on: the new where it could be applied
	n.keep(&applied, old, report)
	n.cfg = &applied
	n.rules.Store(rules)
	n.core.SetRules(rules, numbers) // last: it ends what is not allowed any more
	n.spoken.Store(spokenAt(applied.SIP.Listen))
	return report, n.setServers(&applied)
}

// changedLDAP reports whether another directory is to be asked, which takes a restart.
func changedLDAP(old, cfg *config.Config) bool { return old.Lines.LDAP != cfg.Lines.LDAP }

// keep puts back what cannot be changed while the proxy runs, and notes it.
func (n *Node) keep(applied, old *config.Config, report *ReloadReport) {
	now, before := reflect.ValueOf(applied).Elem(), reflect.ValueOf(old).Elem()
	for i := range now.NumField() {
		key := now.Type().Field(i).Tag.Get("yaml")
		a, b := now.Field(i), before.Field(i)
		switch key {
		case "lines":
			if changedLDAP(old, applied) {
				report.Restart = append(report.Restart, "lines.ldap")
				applied.Lines.LDAP = old.Lines.LDAP
			}
			continue
		case "addresses", "trusted", "groups", "device-groups", "destinations", "rules", "grants", "numbers", "links":
			continue
		case "switch":
			if reflect.DeepEqual(withoutPasswords(applied.Switch), withoutPasswords(old.Switch)) {
				continue
			}
		case "log", "digest", "sip", "xml", "asn1":
			for j := range a.NumField() {
				sub := a.Type().Field(j).Tag.Get("yaml")
				if live := key + "." + sub; live == "log.level" || live == "digest.users" && (n.digest || a.Field(j).Len() == 0) || live == "sip.listen" || live == "xml.listen" || live == "asn1.listen" {
					continue
				}
				if !reflect.DeepEqual(a.Field(j).Interface(), b.Field(j).Interface()) {
					report.Restart = append(report.Restart, key+"."+sub)
					a.Field(j).Set(b.Field(j))
				}
			}
			continue
		}
		if !reflect.DeepEqual(a.Interface(), b.Interface()) {
			report.Restart = append(report.Restart, key)
			a.Set(b)
		}
	}
}

// telephonePasswords are the accounts of telephones that a configuration has.
type telephonePasswords struct {
	extensions []phones.User
	desks      map[string][]phones.User // by link
}

func (n *Node) passwordsOf(cfg *config.Config) (p telephonePasswords, err error) {
	if p.extensions, err = telephoneUsers(&cfg.Switch); err != nil {
		return p, err
	}
	p.desks = map[string][]phones.User{}
	for i, l := range cfg.Links {
		if l.Type != "phones" {
			continue
		}
		if p.desks[l.Name], err = deskUsers(l); err != nil {
			return p, fmt.Errorf("links[%d]: %w", i, err)
		}
	}
	return p, nil
}

// setPasswords gives telephones' accounts their passwords; what was opened with others ends.
// It returns the keys that changed by it, without those that are known to have.
func (n *Node) setPasswords(p telephonePasswords, known []string) []string {
	var changed []string
	if n.phones != nil && len(n.phones.SetPasswords(p.extensions)) > 0 {
		changed = append(changed, "switch.extensions")
	}
	for name, desk := range n.desks {
		if len(desk.SetPasswords(p.desks[name])) > 0 && !slices.Contains(append(known, changed...), "links") {
			changed = append(changed, "links")
		}
	}
	return changed
}

// setDesks notes which links have telephones of their own; those that are none of them any
// more are forgotten.
func (n *Node) setDesks(links []proxy.NamedLink) {
	desks := map[string]*phones.Desk{}
	for _, l := range links {
		desk, made := l.Link.(*phones.Desk)
		if !made && l.Link == nil {
			desk = n.desks[l.Name] // it goes on
		}
		if desk != nil {
			desks[l.Name] = desk
		}
	}
	n.desks = desks
}

// setServers starts and ends servers so that there are those of the configuration. What
// an administrator has stopped stays so.
func (n *Node) setServers(cfg *config.Config) error {
	n.serversMu.Lock()
	defer n.serversMu.Unlock()
	old, now := n.servers, n.listeners(cfg)
	same := func(a, b *server) bool { return a.protocol == b.protocol && reflect.DeepEqual(a.cfg, b.cfg) }
	for i, s := range now {
		if j := slices.IndexFunc(old, func(o *server) bool { return same(o, s) }); j >= 0 {
			now[i] = old[j]
		}
	}
	n.servers = now
	for _, s := range old {
		if !slices.Contains(now, s) {
			_ = s.end(n.running) // it may have been stopped already
		}
	}
	var faults []error
	for _, s := range now {
		if !slices.Contains(old, s) {
			faults = append(faults, s.start(n.running, n.failed))
		}
	}
	return errors.Join(faults...)
}

// server starts or ends a server by its name.
func (n *Node) server(name string, start bool) error {
	n.serversMu.Lock()
	defer n.serversMu.Unlock()
	var names []string
	for _, s := range n.servers {
		if s.cfg.Name != name {
			names = append(names, s.cfg.Name)
			continue
		}
		if start {
			return s.start(n.running, n.failed)
		}
		return s.end(n.running)
	}
	return fmt.Errorf("there is no server %q; there are: %s", name, strings.Join(names, ", "))
}

// onHangUp reloads at SIGHUP until ctx ends.
func (n *Node) onHangUp(ctx context.Context, hangUps <-chan os.Signal) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-hangUps:
			_, _ = n.reload() // it has logged what was wrong
		}
	}
}
