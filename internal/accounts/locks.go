package accounts

import (
	"cmp"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Lock is a name that is locked at one peer.
type Lock struct {
	Of      string    `json:"of"`   // whose passwords these are
	Name    string    `json:"name"` // in lower case
	Address string    `json:"address"`
	Wrong   int       `json:"wrong"` // wrong passwords
	Until   time.Time `json:"until"`
}

// plainName matches names without special meaning to a shell.
var plainName = regexp.MustCompile(`^[A-Za-z0-9_.@+][A-Za-z0-9_.@+-]*$`)

// remedy returns the command that ends the lock. It omits a name that a shell could interpret,
// since strangers choose names: the command then unlocks every name at the address.
func (l Lock) remedy() string {
	if !plainName.MatchString(l.Name) {
		return "tr87proxy unlock --from " + l.Address
	}
	return "tr87proxy unlock " + l.Name + " --from " + l.Address
}

// addressOf returns a peer in the usual notation: an IPv4 address or an IPv6 network.
func addressOf(peer netip.Prefix) string {
	if peer.IsSingleIP() {
		return peer.Addr().String()
	}
	return peer.String()
}

// Of returns whose passwords the guard protects.
func (g *Guard) Of() string { return g.cfg.Of }

// Wrong returns the total number of wrong passwords.
func (g *Guard) Wrong() int64 { return g.wrong.Load() }

// Locks returns the current locks, by name and address.
func (g *Guard) Locks() []Lock { return g.list(guess{}, false) }

// Unlock forgets the wrong passwords for a name from a peer and returns the locks that this
// ended. "" means every name, and the zero prefix every peer.
func (g *Guard) Unlock(name string, from netip.Prefix) []Lock {
	return g.list(guess{strings.ToLower(name), from}, true)
}

// list returns the locks that match of, and forgets them if forget is set.
func (g *Guard) list(of guess, forget bool) []Lock {
	now := time.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	list := []Lock{}
	for key, w := range g.wrongs {
		if now.Sub(w.last) >= g.cfg.For {
			g.forget(key)
			continue
		}
		if of.name != "" && of.name != key.name || of.from.IsValid() && of.from != key.from {
			continue
		}
		if w.count >= g.cfg.After {
			list = append(list, Lock{Of: g.cfg.Of, Name: key.name, Address: addressOf(key.from), Wrong: w.count, Until: w.last.Add(g.cfg.For)})
		}
		if forget {
			g.forget(key)
		}
	}
	slices.SortFunc(list, func(a, b Lock) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Address, b.Address)) })
	return list
}
