package accounts

import (
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/share"
)

// Guard slows whoever guesses passwords down. Some wrong passwords for a name from a peer (an
// IPv4 address, an IPv6 /64) lock that name for that peer, and nothing else: no stranger shuts
// out a name elsewhere, nor the other names of an address. Who tries many names, or one name
// from many addresses, meets a rate instead. Names that have proved their password from a peer
// before do not meet it there.
//
// Only what came from where it says may be told to a guard: over UDP, whoever writes
// somebody else's address into a datagram would have that peer locked.
type Guard struct {
	cfg   GuardConfig
	peers *share.Rates        // wrong passwords from a peer
	names share.Meter[string] // wrong passwords for a name
	table *share.Table        // of wrongs
	wrong atomic.Int64

	mu     sync.Mutex
	wrongs map[guess]*wrong
	good   map[string][]netip.Prefix // where a name has proved its password from, lately last; there are no more names than accounts
}

// GuardConfig says how patient a guard is. Zero values take defaults.
type GuardConfig struct {
	Of     string        // whose passwords it guards, for the log and for administrators
	After  int           // wrong passwords for one name from one peer that lock it there; 5
	For    time.Duration // how long; 5 min. After this time without another, a wrong one is forgotten
	Pause  time.Duration // before the answer to the first wrong one, doubled with each; 500 ms
	Locked func(Lock)    // is told of each lock that begins; may be nil
	Log    *slog.Logger
}

// guess is whose password is tried from where.
type guess struct {
	name string
	from netip.Prefix
}

type wrong struct {
	count int
	last  time.Time
	place *share.Entry
}

const (
	maxGuesses  = 50000 // that are remembered
	peerGuesses = 1000  // of one peer
	maxPause    = 8 * time.Second
	maxGood     = 16 // peers that are remembered of a name

	// Names are tried from one peer once in a second, and those of a site that comes up after
	// its passwords were changed at once.
	peerRate  = 1
	peerBurst = 100
	// A name is tried once in a second from all peers that it is not known at.
	nameRate  = 1
	nameBurst = 300
)

// NewGuard makes a guard.
func NewGuard(cfg GuardConfig) *Guard {
	if cfg.After <= 0 {
		cfg.After = 5
	}
	if cfg.For <= 0 {
		cfg.For = 5 * time.Minute
	}
	if cfg.Pause <= 0 {
		cfg.Pause = 500 * time.Millisecond
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Guard{
		cfg: cfg, peers: share.NewRates(peerRate, peerBurst, maxGuesses), table: share.New(share.Limits{Most: maxGuesses, Unproved: peerGuesses}),
		wrongs: map[guess]*wrong{}, good: map[string][]netip.Prefix{},
	}
}

// guessOf is what a try counts as. A name of a stranger may be as long as a message.
func guessOf(name string, from netip.Addr) guess {
	if len(name) > maxName {
		name = name[:maxName]
	}
	return guess{strings.ToLower(strings.Clone(name)), share.Of(from)}
}

// Admit reports whether to look at a password: ErrLocked or an ErrBusy, which says which rate is
// exceeded, if not.
func (g *Guard) Admit(name string, from netip.Addr) error {
	now, key := time.Now(), guessOf(name, from)
	g.mu.Lock()
	w := g.wrongs[key]
	locked := w != nil && w.count >= g.cfg.After && now.Sub(w.last) < g.cfg.For
	known := slices.Contains(g.good[key.name], key.from)
	g.mu.Unlock()
	switch {
	case locked:
		return ErrLocked
	case !known && !g.peers.Left(from, now):
		return errPeerRate
	case !known && !g.names.Left(key.name, now):
		return errNameRate
	}
	return nil
}

// Knows reports whether a name has proved its password from a peer before.
func (g *Guard) Knows(name string, from netip.Addr) bool {
	key := guessOf(name, from)
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Contains(g.good[key.name], key.from)
}

// Failed counts a wrong password and returns how long to wait before saying so.
func (g *Guard) Failed(name string, from netip.Addr) time.Duration {
	now, key := time.Now(), guessOf(name, from)
	g.wrong.Add(1)
	g.peers.Allow(from, now)
	g.names.Take(key.name, nameRate, nameBurst, now)
	g.mu.Lock()
	w := g.wrongs[key]
	fresh := w == nil
	if fresh {
		w = &wrong{}
		g.wrongs[key] = w
	}
	if now.Sub(w.last) >= g.cfg.For {
		w.count = 0
	}
	w.count++
	w.last = now
	count := w.count
	g.mu.Unlock()
	if fresh {
		g.enter(key, w, from)
	}
	if count == g.cfg.After {
		l := Lock{Of: g.cfg.Of, Name: key.name, Address: addressOf(key.from), Wrong: count, Until: now.Add(g.cfg.For)}
		g.cfg.Log.Warn("a name is locked at an address after too many wrong passwords", "of", l.Of, "name", l.Name, "address", l.Address, "until", l.Until.Format(time.RFC3339), "unlock", l.remedy())
		if g.cfg.Locked != nil {
			g.cfg.Locked(l)
		}
	}
	pause := g.cfg.Pause
	for range min(count-1, 10) {
		pause *= 2
	}
	return min(pause, maxPause)
}

// enter takes a place in the table for wrong passwords that were just noted. It may be needed
// for others before they have it.
func (g *Guard) enter(key guess, w *wrong, from netip.Addr) {
	forget := func(error) {
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.wrongs[key] == w {
			delete(g.wrongs, key)
		}
	}
	place, err := g.table.Enter(from, false, forget)
	if err != nil {
		forget(err)
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if w.place = place; g.wrongs[key] != w {
		place.Leave()
	}
}

// forget gives up what is known of a guess. Callers hold g.mu.
func (g *Guard) forget(key guess) {
	if w := g.wrongs[key]; w != nil {
		delete(g.wrongs, key)
		w.place.Leave()
	}
}

// Succeeded forgets the wrong passwords for a name from a peer, which knows the right one.
func (g *Guard) Succeeded(name string, from netip.Addr) {
	key := guessOf(name, from)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.forget(key)
	good := g.good[key.name]
	if n := len(good); n > 0 && good[n-1] == key.from {
		return
	}
	good = append(slices.DeleteFunc(good, func(p netip.Prefix) bool { return p == key.from }), key.from)
	g.good[key.name] = good[max(0, len(good)-maxGood):]
}
