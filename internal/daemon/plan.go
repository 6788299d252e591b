package daemon

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"

	"github.com/tr87proxy/tr87proxy/internal/audit"
	"github.com/tr87proxy/tr87proxy/internal/config"
	"github.com/tr87proxy/tr87proxy/internal/kind"
	"github.com/tr87proxy/tr87proxy/policy"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/sip/registrar"
)

// plan lists everything that a reload will do. Making a plan reads files, opens none for writing, and changes nothing. A
// dry run makes the plan only.
type plan struct {
	report     ReloadReport
	applied    *config.Config // the configuration after the reload
	change     proxy.Change
	rules      *policy.Policy
	users      map[string]string // passwords of digest users
	extensions []registrar.User
	live       map[string]any // live settings of links, by name
	updates    []func()       // hand live settings to links and telephones
	audit      audit.Config
	exchanges  []func()  // replace certificates
	servers    []*server // in the order of the file
	closing    []*server
	opening    []*server
	renewed    map[*server]config.Listener // listeners that stay open, with their new entries
	endings    []proxy.Ending
}

// plan makes the plan of a reload to cfg. The caller holds n.reloading. plan returns an error if files that cfg names
// cannot be used.
func (n *Node) plan(cfg *config.Config) (*plan, error) {
	old := n.cfg
	p := &plan{report: ReloadReport{Changed: []string{}, Listeners: []ListenerChange{}, Links: []LinkChange{}, Certificates: []string{}, Failures: []string{}, Ended: Ended{List: []proxy.Ending{}}}}
	applied := *cfg
	p.report.Restart = n.keep(&applied, old)
	p.applied = &applied
	p.report.Changed = changedKeys(old, &applied)
	var err error
	var numbers *policy.Numbers
	if p.rules, numbers, err = n.policyOf(&applied); err != nil {
		return nil, err
	}
	if p.users, err = passwords(&applied); err != nil {
		return nil, err
	}
	if !slices.Contains(p.report.Changed, "digest.users") && !reflect.DeepEqual(*n.users.Load(), p.users) { // a password file has changed
		p.report.Changed = append(p.report.Changed, "digest.users")
	}
	if err := n.planTelephones(p, cfg); err != nil {
		return nil, err
	}
	if p.audit, err = n.auditConfig(&applied); err != nil {
		return nil, err
	}
	p.change = proxy.Change{Policy: p.rules, Numbers: numbers, Secrets: secrets(p.users), Modes: modesOf(&applied), Limits: limitsOf(&applied)}
	if err := n.planLinks(p); err != nil {
		return nil, err
	}
	if err := n.planServers(p); err != nil {
		return nil, err
	}
	p.change.Closing = p.closes
	p.endings = append(p.endings, n.core.Foresee(p.change)...)
	return p, nil
}

// planTelephones plans new passwords of telephones. A reload applies them although other keys of the switch need a
// restart.
func (n *Node) planTelephones(p *plan, cfg *config.Config) (err error) {
	if p.extensions, err = telephoneUsers(cfg); err != nil || n.phones == nil {
		return err
	}
	changed := n.phones.OtherPasswords(p.extensions)
	if len(changed) == 0 {
		return nil
	}
	p.report.Changed = append(p.report.Changed, "switch.extensions")
	p.updates = append(p.updates, func() { n.phones.SetPasswords(p.extensions) })
	for _, t := range n.phones.Status(true).Telephones {
		if slices.Contains(changed, t.Number) {
			p.endings = append(p.endings, proxy.Ending{Kind: telephoneRegistration, Device: t.Number, Peer: t.Peer, Reason: "its account has another password"})
		}
	}
	return nil
}

// planLinks plans which links open, close and stay, and the live settings of those that stay.
func (n *Node) planLinks(p *plan) error {
	links, err := n.linksOf(p.applied, n.cfg)
	if err != nil {
		return err
	}
	p.live = map[string]any{}
	differ := len(p.applied.Links) != len(n.cfg.Links)
	for i := range p.applied.Links {
		l := &p.applied.Links[i]
		key := fmt.Sprintf("links[%d]", i)
		live, update, err := linkKind(l).Live(l.Settings, n.environment(l))
		if err != nil {
			return atKey(p.applied, key, err)
		}
		p.live[l.Name] = live
		at := slices.IndexFunc(n.cfg.Links, func(o config.Link) bool { return o.Name == l.Name })
		if at < 0 {
			p.report.Links, differ = append(p.report.Links, LinkChange{Name: l.Name, Change: "opened"}), true
			continue
		}
		before := &n.cfg.Links[at]
		differ = differ || at != i
		keys := config.Changed(l, before)
		if l.Type != before.Type {
			p.report.Links, differ = append(p.report.Links, LinkChange{Name: l.Name, Change: "reopened", Keys: keys}), true
			continue
		}
		keys = append(keys, config.Changed(l.Settings, before.Settings)...)
		if !sameLink(*before, *l) {
			p.report.Links, differ = append(p.report.Links, LinkChange{Name: l.Name, Change: "reopened", Keys: keys}), true
			continue
		}
		exchanges, err := kind.Exchanges(before.Settings, l.Settings, n.log)
		if err != nil {
			return atKey(p.applied, key, err)
		}
		for _, x := range exchanges {
			p.exchanges = append(p.exchanges, x.Use)
		}
		if len(exchanges) > 0 {
			p.report.Certificates = append(p.report.Certificates, "link "+l.Name)
		}
		if update != nil && !reflect.DeepEqual(live, n.live[l.Name]) {
			if len(keys) == 0 {
				keys = []string{"password-file"} // the content of the file has changed
			}
			link := n.links[l.Name]
			p.updates = append(p.updates, func() { update(link) })
		}
		if len(keys) > 0 {
			p.report.Links, differ = append(p.report.Links, LinkChange{Name: l.Name, Change: "changed", Keys: keys}), true
		}
	}
	for _, l := range n.cfg.Links {
		if !slices.ContainsFunc(p.applied.Links, func(now config.Link) bool { return now.Name == l.Name }) {
			p.report.Links = append(p.report.Links, LinkChange{Name: l.Name, Change: "closed"})
		}
	}
	if differ {
		p.change.Links = links
		p.report.Changed = append(p.report.Changed, "links")
	}
	return nil
}

// planServers plans which listeners open, close and stay open, and the new certificates of those that stay open.
func (n *Node) planServers(p *plan) error {
	n.serversMu.Lock()
	defer n.serversMu.Unlock()
	old, now := n.servers, n.listeners(p.applied)
	p.renewed = map[*server]config.Listener{}
	staying := matchServers(old, now)
	for _, s := range old {
		if !slices.Contains(staying, s) {
			p.closing = append(p.closing, s)
		}
	}
	for i, s := range now {
		before := staying[i]
		if before == nil {
			if err := n.planOpening(p, s); err != nil {
				return err
			}
			continue
		}
		now[i] = before
		l := s.cfg
		if l.Source = before.cfg.Source; l.Source != nil {
			use, err := kind.Exchanged(l.Source, kind.ServerFiles(&l, n.log))
			if err != nil {
				return atKey(p.applied, s.key, kind.OfListener(err))
			}
			if use != nil {
				p.exchanges = append(p.exchanges, use)
				p.report.Certificates = append(p.report.Certificates, l.Name)
			}
		}
		p.renewed[before] = l
		st := before.status()
		switch keys := s.differs(before); {
		case st.Failure != "": // try again
			p.opening = append(p.opening, before)
			p.report.Listeners = append(p.report.Listeners, ListenerChange{Name: l.Name, Protocol: s.protocol, Transport: l.Transport, Address: l.Address, Change: "opened"})
		case len(keys) > 0:
			p.report.Listeners = append(p.report.Listeners, ListenerChange{Name: l.Name, Protocol: s.protocol, Transport: l.Transport, Address: st.Address, Change: "changed", Keys: keys})
		}
	}
	for _, s := range p.closing {
		if slices.ContainsFunc(p.opening, s.succeededBy) {
			continue // planOpening has reported it as reopened
		}
		st := s.status()
		p.report.Listeners = append(p.report.Listeners, ListenerChange{Name: st.Name, Protocol: st.Protocol, Transport: st.Transport, Address: st.Address, Change: "closed"})
	}
	p.servers = now
	return nil
}

// matchServers returns, for each listener of now, the listener of old that stays open for it, or nil. It prefers one of
// the same name.
func matchServers(old, now []*server) []*server {
	list := make([]*server, len(now))
	for _, named := range []bool{true, false} {
		for i, s := range now {
			for _, o := range old {
				if list[i] == nil && !slices.Contains(list, o) && o.canStayAs(s) && (!named || o.cfg.Name == s.cfg.Name) {
					list[i] = o
				}
			}
		}
	}
	return list
}

// planOpening plans a listener that opens.
func (n *Node) planOpening(p *plan, s *server) error {
	if err := s.certify(); err != nil {
		return atKey(p.applied, s.key, err)
	}
	c := ListenerChange{Name: s.cfg.Name, Protocol: s.protocol, Transport: s.cfg.Transport, Address: s.cfg.Address, Change: "opened"}
	for _, before := range p.closing {
		if before.succeededBy(s) {
			c.Change, c.Keys = "reopened", s.differs(before)
		}
	}
	p.opening = append(p.opening, s)
	p.report.Listeners = append(p.report.Listeners, c)
	return nil
}

// closes returns why the listener that serves a place closes, or "" if it stays open.
func (p *plan) closes(front string, at proxy.Place) string {
	for _, s := range p.closing {
		if st := s.status(); front == s.protocol && st.Serves && serves(st, at) {
			return "listener " + st.Name + " closes"
		}
	}
	return ""
}

// serves reports whether a place is at a listener.
func serves(st ServerStatus, at proxy.Place) bool {
	address, err := netip.ParseAddrPort(st.Address)
	if err != nil || st.Transport != at.Transport || address.Port() != at.Addr.Port() {
		return false
	}
	own := address.Addr().Unmap()
	return own.IsUnspecified() || at.Addr.Addr().Unmap() == own || at.Addr.Addr().IsUnspecified()
}

// secrets returns a hash of the digest passwords of each identity, which shows when one of them changes. Several digest
// users can have the same identity.
func secrets(users map[string]string) map[string]proxy.Secret {
	passwords := map[string][]string{}
	for name, password := range users {
		who := strings.ToLower(name)
		passwords[who] = append(passwords[who], fmt.Sprintf("%q %q", name, password))
	}
	list := map[string]proxy.Secret{}
	for who, of := range passwords {
		slices.Sort(of)
		list[who] = sha256.Sum256([]byte(strings.Join(of, "\n")))
	}
	return list
}

// atKey returns err as a fault at a key, or at the key below it that a [kind.KeyError] names.
func atKey(cfg *config.Config, key string, err error) error {
	if below := (*kind.KeyError)(nil); errors.As(err, &below) {
		if below.Key != "" {
			key += "." + below.Key
		}
		err = below.Err
	}
	return config.Faults{cfg.At(strings.TrimPrefix(key, "."), err.Error())}
}
