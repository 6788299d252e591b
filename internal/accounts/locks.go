package accounts

import (
	"cmp"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Lock is a name whose password is not looked at, at one peer, for a while.
type Lock struct {
	Of      string    `json:"of"`   // whose passwords they are
	Name    string    `json:"name"` // in small letters
	Address string    `json:"address"`
	Wrong   int       `json:"wrong"` // passwords
	Until   time.Time `json:"until"`
}

// plainName is a name that means nothing else to a shell.
var plainName = regexp.MustCompile(`^[A-Za-z0-9_.@+][A-Za-z0-9_.@+-]*$`)

// remedy is the command that ends the lock. Strangers choose names, so one that a shell could
// read as something else is left out: the command then unlocks every name at the address.
func (l Lock) remedy() string {
	if !plainName.MatchString(l.Name) {
		return "tr87proxy unlock --from " + l.Address
	}
	return "tr87proxy unlock " + l.Name + " --from " + l.Address
}

// addressOf writes a peer as people do: an IPv4 address, or an IPv6 network.
func addressOf(peer netip.Prefix) string {
	if peer.IsSingleIP() {
		return peer.Addr().String()
	}
	return peer.String()
}

// Of says whose passwords the guard guards.
func (g *Guard) Of() string { return g.cfg.Of }

// Wrong returns how many wrong passwords there were, ever.
func (g *Guard) Wrong() int64 { return g.wrong.Load() }

// Locks returns what is locked, by name and address.
func (g *Guard) Locks() []Lock { return g.list(guess{}, false) }

// Unlock forgets the wrong passwords for a name, "" for every one, from a peer, the zero prefix
// for every one, and returns what was locked of that.
func (g *Guard) Unlock(name string, from netip.Prefix) []Lock {
	return g.list(guess{strings.ToLower(name), from}, true)
}

// list returns what is locked of what a guess means, and forgets it if it is to.
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
