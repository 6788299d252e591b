package accounts

import (
	"net/netip"
	"sync"
	"time"
)

// Guard slows whoever guesses passwords down, and shuts the door for a while. The zero
// value takes the defaults.
type Guard struct {
	After int           // wrong passwords for one name from one address that lock it there; 5
	For   time.Duration // how long; 5 min. After this time without another, a wrong one is forgotten
	Pause time.Duration // before the answer to the first wrong one, doubled with each; 500 ms

	mu     sync.Mutex
	wrongs map[guess]*wrong
}

// guess is whose password is tried from where. One of the two may be missing: all names
// from an address, and a name from all addresses, are counted too.
type guess struct {
	name string
	from netip.Addr
}

type wrong struct {
	count int
	last  time.Time
}

const (
	maxGuesses = 50000 // that are remembered
	maxPause   = 8 * time.Second
	namesShare = 4  // an address is locked after so many times After, whatever the names
	fromsShare = 20 // a name is locked after so many times After, wherever from
)

func (g *Guard) after() int {
	if g.After > 0 {
		return g.After
	}
	return 5
}

func (g *Guard) span() time.Duration {
	if g.For > 0 {
		return g.For
	}
	return 5 * time.Minute
}

// kinds are what a guess is counted as, and how many lock.
func (g *Guard) kinds(name string, from netip.Addr) map[guess]int {
	return map[guess]int{{name, from}: g.after(), {"", from}: g.after() * namesShare, {name, netip.Addr{}}: g.after() * fromsShare}
}

// Locked reports whether no password is looked at now.
func (g *Guard) Locked(name string, from netip.Addr, now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	for kind, limit := range g.kinds(name, from) {
		if w := g.wrongs[kind]; w != nil && w.count >= limit && now.Sub(w.last) < g.span() {
			return true
		}
	}
	return false
}

// Failed counts a wrong password and returns how long to wait before saying so.
func (g *Guard) Failed(name string, from netip.Addr, now time.Time) time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.wrongs) >= maxGuesses {
		g.forget(now)
	}
	if g.wrongs == nil {
		g.wrongs = map[guess]*wrong{}
	}
	for kind := range g.kinds(name, from) {
		w := g.wrongs[kind]
		if w == nil || now.Sub(w.last) >= g.span() {
			w = &wrong{}
			g.wrongs[kind] = w
		}
		w.count++
		w.last = now
	}
	pause := g.Pause
	if pause == 0 {
		pause = 500 * time.Millisecond
	}
	for range min(g.wrongs[guess{name, from}].count-1, 10) {
		pause *= 2
	}
	return min(pause, maxPause)
}

// forget drops what is old, and if that is not half of all, what locks nothing.
func (g *Guard) forget(now time.Time) {
	for kind, w := range g.wrongs {
		if now.Sub(w.last) >= g.span() {
			delete(g.wrongs, kind)
		}
	}
	for kind, w := range g.wrongs {
		if len(g.wrongs) <= maxGuesses/2 {
			return
		}
		if w.count < g.after() {
			delete(g.wrongs, kind)
		}
	}
	if len(g.wrongs) > maxGuesses/2 { // so many locks: it is all an attack
		clear(g.wrongs)
	}
}

// Succeeded forgets the wrong passwords for a name from an address.
func (g *Guard) Succeeded(name string, from netip.Addr) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.wrongs, guess{name, from})
}
