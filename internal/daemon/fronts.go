package daemon

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/accounts"
	"github.com/tr87proxy/tr87proxy/internal/config"
	"github.com/tr87proxy/tr87proxy/internal/kind"
	"github.com/tr87proxy/tr87proxy/internal/share"
	"github.com/tr87proxy/tr87proxy/softswitch/phones"
)

// frontEnv returns the environment of a front.
func (n *Node) frontEnv(cfg *config.Config, name string) *kind.FrontEnv {
	env := &kind.FrontEnv{
		Proxy: n.core, Config: cfg, Log: n.log, Sessions: modes[cfg.Sessions.Modes[name]], Strangers: n.strangers, Octets: n.octets,
		Admits: n.admits, Trusts: n.trusts, Guard: n.guard, Tokens: n.tokens, Accounts: n.keeper,
	}
	if n.digest {
		env.Password = func(user string) (string, bool) { p, ok := (*n.users.Load())[user]; return p, ok }
	}
	return env
}

// startFronts attaches the console to what it shows, and starts the fronts that open more than listeners.
func (n *Node) startFronts() error {
	n.attach()
	for i, f := range n.fronts {
		if s, ok := f.(kind.Starter); ok {
			if err := s.Start(); err != nil {
				return atKey(n.cfg, frontKinds[i].Name(), err)
			}
		}
	}
	return nil
}

// closeFronts has every front say goodbye to its clients, all at the same time: each waits for clients that say nothing.
func (n *Node) closeFronts(ctx context.Context) {
	var group sync.WaitGroup
	for _, f := range n.fronts {
		group.Go(func() {
			defer share.Survive(n.log, "closing a front", nil)
			f.Close(ctx)
		})
	}
	group.Wait()
}

// guard returns the guard of a kind of passwords, with the default limits.
func (n *Node) guard(of string) *accounts.Guard {
	return n.guards.of(accounts.GuardConfig{Of: of, Log: n.log})
}

// telephonesFront serves the listeners of real telephones, which are not clients.
type telephonesFront struct {
	*phones.Server

	node     *Node
	patience time.Duration // how long telephones may take to respond when their listener closes
}

// Serve implements kind.Front.
func (t telephonesFront) Serve(ctx context.Context, l *config.Listener, ready func(string)) error {
	return kind.ServeSIP(ctx, t.UA(), l, t.node.log, t.patience, func(address netip.AddrPort) { ready(address.String()) })
}

// Close implements kind.Front: the server ends with Run.
func (telephonesFront) Close(context.Context) {}
