package daemon

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"

	"github.com/tr87proxy/tr87proxy/internal/accounts"
	"github.com/tr87proxy/tr87proxy/internal/audit"
	"github.com/tr87proxy/tr87proxy/internal/share"
)

// guards has a guard for each kind of passwords. A guard outlives a link that a reload reopens.
type guards struct {
	locked func(accounts.Lock) // called for each new lock

	mu   sync.Mutex
	list []*accounts.Guard
}

// of returns the guard of a kind of passwords. The first call makes it.
func (g *guards) of(cfg accounts.GuardConfig) *accounts.Guard {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, guard := range g.list {
		if guard.Of() == cfg.Of {
			return guard
		}
	}
	cfg.Locked = g.locked
	guard := accounts.NewGuard(cfg)
	g.list = append(g.list, guard)
	return guard
}

func (g *guards) all() []*accounts.Guard {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.list)
}

// noteLock records a new lock in the strangers' audit file, because strangers can cause locks.
func (n *Node) noteLock(l accounts.Lock) {
	n.tally.Note(l.Address, audit.Entry{Kind: "locked", Who: l.Name, Front: l.Of, Peer: l.Address})
}

// notBelieved returns a function that records telephones that failed to authenticate in the strangers' audit file.
func (n *Node) notBelieved(of string) func(peer, user, why string) {
	return func(peer, user, why string) { n.core.Refused(of, peer, user, why) }
}

// locks lists all locked names.
func (n *Node) locks() []accounts.Lock {
	list := []accounts.Lock{}
	for _, g := range n.guards.all() {
		list = append(list, g.Locks()...)
	}
	return list
}

// unlock removes the locks of a name at an address, and returns them. "" stands for every name or every
// address. all must be true if both are "", and false otherwise. by says for the audit file how the administrator comes.
func (n *Node) unlock(by, name, from string, all bool) (any, error) {
	var peer netip.Prefix
	if all != (name == "" && from == "") {
		return nil, errors.New("name a user, an address, or all")
	}
	if from != "" {
		addr, err := netip.ParseAddr(from)
		if err != nil {
			return nil, fmt.Errorf("%q is no address: %w", from, err)
		}
		peer = share.Of(addr)
	}
	list := []accounts.Lock{}
	for _, g := range n.guards.all() {
		list = append(list, g.Unlock(name, peer)...)
	}
	for _, l := range list {
		n.audit.Note(audit.Entry{Kind: "unlocked", Front: by, Reason: fmt.Sprintf("the lock of %s at %s (%s)", l.Name, l.Address, l.Of)})
		n.log.Info("unlocked", "of", l.Of, "name", l.Name, "address", l.Address)
	}
	return list, nil
}
