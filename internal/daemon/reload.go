package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"

	"github.com/tr87proxy/tr87proxy/internal/config"
	"github.com/tr87proxy/tr87proxy/internal/kind"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/sip/registrar"
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
	cfg, err := Load(n.file)
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
	live, err := n.liveOf(cfg)
	if err != nil {
		return nil, err
	}
	links, err := n.linksOf(cfg, old)
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
		n.noteLinks(links)
	}
	report.Changed = append(report.Changed, n.give(live, report.Changed)...)
	applied := *cfg // what holds from now on: the new where it could be applied
	n.keep(&applied, old, report)
	n.cfg = &applied
	n.rules.Store(rules)
	n.core.SetRules(rules, numbers) // last: it ends what is not allowed any more
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
		case "-":
			for i, f := range applied.Fronts {
				for _, kept := range config.Keep(f.Settings, old.Fronts[i].Settings, "listen") {
					report.Restart = append(report.Restart, f.Name+"."+kept)
				}
			}
			continue
		case "log", "digest":
			for j := range a.NumField() {
				sub := a.Type().Field(j).Tag.Get("yaml")
				if live := key + "." + sub; live == "log.level" || live == "digest.users" && (n.digest || a.Field(j).Len() == 0) {
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

// live is what a configuration gives to those that run.
type live struct {
	extensions []registrar.User
	links      map[string]func(proxy.Link) bool // by name; those that take something
}

// liveOf reads what a configuration gives to those that run.
func (n *Node) liveOf(cfg *config.Config) (l live, err error) {
	if l.extensions, err = telephoneUsers(&cfg.Switch); err != nil {
		return l, err
	}
	l.links = map[string]func(proxy.Link) bool{}
	for i := range cfg.Links {
		entry := &cfg.Links[i]
		give, err := linkKind(entry).Live(entry.Settings, n.environment(entry))
		if err != nil {
			return l, fmt.Errorf("links[%d]: %w", i, err)
		}
		if give != nil {
			l.links[entry.Name] = give
		}
	}
	return l, nil
}

// give gives telephones and links what they take while they run. It returns the keys that changed by it, without
// those that are known to have.
func (n *Node) give(l live, known []string) []string {
	var changed []string
	if n.phones != nil && len(n.phones.SetPasswords(l.extensions)) > 0 {
		changed = append(changed, "switch.extensions")
	}
	for name, give := range l.links {
		if give(n.links[name]) && !slices.Contains(append(known, changed...), "links") {
			changed = append(changed, "links")
		}
	}
	return changed
}

// noteLinks notes which links there are; those that are none any more are forgotten.
func (n *Node) noteLinks(links []proxy.NamedLink) {
	now := map[string]proxy.Link{}
	for _, l := range links {
		if now[l.Name] = l.Link; l.Link == nil { // it goes on
			now[l.Name] = n.links[l.Name]
		}
	}
	n.links = now
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
			_ = s.end(kind.ErrStopped) // it may have been stopped already
		}
	}
	var faults []error
	for _, s := range now {
		if !slices.Contains(old, s) {
			faults = append(faults, s.start(n.running))
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
			return s.start(n.running)
		}
		return s.end(kind.ErrStopped)
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
