package daemon

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/tr87proxy/tr87proxy/internal/accounts"
	"github.com/tr87proxy/tr87proxy/internal/config"
	"github.com/tr87proxy/tr87proxy/internal/share"
	"github.com/tr87proxy/tr87proxy/internal/tokens"
	"github.com/tr87proxy/tr87proxy/policy"
	"github.com/tr87proxy/tr87proxy/proxy"
)

var modes = map[string]proxy.SessionMode{"off": proxy.SessionsOff, "optional": proxy.SessionsOptional, "mandatory": proxy.SessionsMandatory}

// keeper makes an accounts file a proxy.Accounts.
type keeper struct{ *accounts.Keeper }

// Check implements proxy.Accounts.
func (k keeper) Check(ctx context.Context, application, name, password string, from netip.Addr) (proxy.Account, error) {
	login, err := k.Keeper.Check(ctx, application, name, password, from)
	if errors.Is(err, accounts.ErrBusy) {
		err = fmt.Errorf("%w: %w", proxy.ErrBusy, err)
	}
	return proxy.Account(login), err
}

// Holds implements proxy.Accounts.
func (k keeper) Holds(a proxy.Account) bool { return k.Keeper.Holds(accounts.Login(a)) }

// accounts opens the accounts file, or returns nil if none is configured.
func (n *Node) accounts() (proxy.Accounts, error) {
	c := n.cfg.Sessions
	if c.Accounts == "" {
		return nil, nil //nolint:nilnil // none is no fault
	}
	k, err := accounts.Open(c.Accounts, n.guards.of(accounts.GuardConfig{Of: "accounts", After: c.LockAfter, For: c.LockTime, Log: n.log}), n.log)
	if errors.Is(err, os.ErrNotExist) {
		err = fmt.Errorf("%w; make it with: tr87proxy accounts add NAME --accounts %s", err, c.Accounts)
	}
	if err != nil {
		return nil, fmt.Errorf("application-sessions.accounts: %w", err)
	}
	n.keeper = k
	return keeper{k}, nil
}

// openTokens opens the tokens file, or returns nil if none is configured.
func (n *Node) openTokens() (*tokens.Keeper, error) {
	path := n.cfg.Sessions.Tokens
	if path == "" {
		return nil, nil //nolint:nilnil // none is no fault
	}
	k, err := tokens.Open(path, n.log)
	if errors.Is(err, os.ErrNotExist) {
		err = fmt.Errorf("%w; make it with: tr87proxy tokens add NAME --tokens %s", err, path)
	}
	if err != nil {
		return nil, fmt.Errorf("application-sessions.tokens-file: %w", err)
	}
	return k, nil
}

// Warnings returns the warnings of a checked configuration, and those for a console that nobody can log in to, and for tokens that
// their names make useless.
func Warnings(cfg *config.Config) []string {
	list := append(cfg.Warnings(), consoleWarnings(cfg)...)
	if cfg.Sessions.Tokens == "" {
		return list
	}
	all, _ := tokens.Read(cfg.Sessions.Tokens) // Check reports a file that cannot be read
	known := rules(cfg)
	var unnamed []string
	for _, t := range all {
		if !known.Known(policy.Identity{Name: strings.ToLower(t.Name), How: "token"}) && !slices.Contains(unnamed, t.Name) {
			unnamed = append(unnamed, t.Name)
		}
	}
	if len(unnamed) > 0 {
		list = append(list, fmt.Sprintf("application-sessions.tokens-file: no rule and no grant names %s, so tokens with this name are refused; name it under grants", share.Clip(strings.Join(unnamed, ", "))))
	}
	return list
}
