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

// plan is what a reload does. Making it reads files, opens none for writing, and changes nothing; a dry run ends there.
type plan struct {
	report     ReloadReport
	applied    *config.Config // what holds afterwards
	change     proxy.Change
	rules      *policy.Policy
	users      map[string]string // of digest
	extensions []registrar.User
	given      map[string]any // what links have taken, by their names
	gives      []func()
	audit      audit.Config
	exchanges  []func()  // of certificates
	servers    []*server // in the order of the file
	closing    []*server
	opening    []*server
	renewed    map[*server]config.Listener // those that stay, as the file has them now
	endings    []proxy.Ending
}

// plan makes the plan of a reload to cfg; n.reloading is held. It fails where the files that cfg names cannot be used.
func (n *Node) plan(cfg *config.Config) (*plan, error) {
	old := n.cfg
	p := &plan{report: ReloadReport{Changed: []string{}, Listeners: []ListenerChange{}, Links: []LinkChange{}, Certificates: []string{}, Failures: []string{}, Ended: Ended{List: []proxy.Ending{}}}}
	applied := *cfg
	p.report.Restart = n.keep(&applied, old, nil)
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

// planTelephones finds the accounts of telephones that have another password. They take it although other keys of the
// switch wait for a restart.
func (n *Node) planTelephones(p *plan, cfg *config.Config) (err error) {
	if p.extensions, err = telephoneUsers(cfg); err != nil || n.phones == nil {
		return err
	}
	changed := n.phones.OtherPasswords(p.extensions)
	if len(changed) == 0 {
		return nil
	}
	p.report.Changed = append(p.report.Changed, "switch.extensions")
	p.gives = append(p.gives, func() { n.phones.SetPasswords(p.extensions) })
	for _, t := range n.phones.Status(true).Telephones {
		if slices.Contains(changed, t.Number) {
			p.endings = append(p.endings, proxy.Ending{Kind: telephoneRegistration, Device: t.Number, Peer: t.Peer, Reason: "its account has another password"})
		}
	}
	return nil
}

// planLinks finds which links open, close, and go on, and what those take.
func (n *Node) planLinks(p *plan) error {
	links, err := n.linksOf(p.applied, n.cfg)
	if err != nil {
		return err
	}
	p.given = map[string]any{}
	differ := len(p.applied.Links) != len(n.cfg.Links)
	for i := range p.applied.Links {
		l := &p.applied.Links[i]
		key := fmt.Sprintf("links[%d]", i)
		what, give, err := linkKind(l).Live(l.Settings, n.environment(l))
		if err != nil {
			return atKey(p.applied, key, err)
		}
		p.given[l.Name] = what
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
		if give != nil && !reflect.DeepEqual(what, n.given[l.Name]) {
			if len(keys) == 0 {
				keys = []string{"password-file"} // what is in a file that it names
			}
			link := n.links[l.Name]
			p.gives = append(p.gives, func() { give(link) })
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

// planServers finds which listeners open, close, and go on, and which of these take other certificates.
func (n *Node) planServers(p *plan) error {
	n.serversMu.Lock()
	defer n.serversMu.Unlock()
	old, now := n.servers, n.listeners(p.applied)
	p.renewed = map[*server]config.Listener{}
	goesOn := predecessors(old, now)
	for _, s := range old {
		if !slices.Contains(goesOn, s) {
			p.closing = append(p.closing, s)
		}
	}
	for i, s := range now {
		before := goesOn[i]
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
		case st.Failure != "": // it is tried again
			p.opening = append(p.opening, before)
			p.report.Listeners = append(p.report.Listeners, ListenerChange{Name: l.Name, Protocol: s.protocol, Transport: l.Transport, Address: l.Address, Change: "opened"})
		case len(keys) > 0:
			p.report.Listeners = append(p.report.Listeners, ListenerChange{Name: l.Name, Protocol: s.protocol, Transport: l.Transport, Address: st.Address, Change: "changed", Keys: keys})
		}
	}
	for _, s := range p.closing {
		if slices.ContainsFunc(p.opening, s.succeededBy) {
			continue // it is reported as reopened
		}
		st := s.status()
		p.report.Listeners = append(p.report.Listeners, ListenerChange{Name: st.Name, Protocol: st.Protocol, Transport: st.Transport, Address: st.Address, Change: "closed"})
	}
	p.servers = now
	return nil
}

// predecessors returns, for each listener of now, the one of old that goes on as it; nil where there is none. The same
// name goes before the same place alone.
func predecessors(old, now []*server) []*server {
	list := make([]*server, len(now))
	for _, named := range []bool{true, false} {
		for i, s := range now {
			for _, o := range old {
				if list[i] == nil && !slices.Contains(list, o) && o.goesOnAs(s) && (!named || o.cfg.Name == s.cfg.Name) {
					list[i] = o
				}
			}
		}
	}
	return list
}

// planOpening plans a listener that there was not.
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

// closes returns why the listener closes that serves a place of a front; "" for one that stays.
func (p *plan) closes(front string, at proxy.Place) string {
	for _, s := range p.closing {
		if st := s.status(); front == s.protocol && st.Serves && serves(st, at) {
			return "listener " + st.Name + " closes"
		}
	}
	return ""
}

// serves reports whether a listener serves a place.
func serves(st ServerStatus, at proxy.Place) bool {
	address, err := netip.ParseAddrPort(st.Address)
	if err != nil || st.Transport != at.Transport || address.Port() != at.Addr.Port() {
		return false
	}
	own := address.Addr().Unmap()
	return own.IsUnspecified() || at.Addr.Addr().Unmap() == own || at.Addr.Addr().IsUnspecified()
}

// secrets tell when the password of a digest user changes, by the identity that the user has. Several users can have one.
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

// atKey puts the place in the file to an error about a key, or about something below it.
func atKey(cfg *config.Config, key string, err error) error {
	if below := (*kind.KeyError)(nil); errors.As(err, &below) {
		if below.Key != "" {
			key += "." + below.Key
		}
		err = below.Err
	}
	return config.Faults{cfg.At(strings.TrimPrefix(key, "."), err.Error())}
}
