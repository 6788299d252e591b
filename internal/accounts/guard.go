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

// Guard protects passwords against guessing. Several wrong passwords for a name from one peer
// (an IPv4 address or IPv6 /64) lock that name at that peer only, so a stranger can lock out
// neither the name elsewhere nor other names. Guessing many names, or one name from many
// addresses, is limited by rates; they do not apply where the name has proved its password from
// that peer before.
//
// Use only validated addresses: a forged source address would lock out somebody else.
type Guard struct {
	cfg   GuardConfig
	peers *share.Rates        // wrong passwords from a peer
	names share.Meter[string] // wrong passwords for a name
	table *share.Table        // accounts for wrongs
	wrong atomic.Int64

	mu     sync.Mutex
	wrongs map[guess]*wrong
	good   map[string][]netip.Prefix // peers from which each name has proved its password, the latest last; bounded by the number of accounts
}

// GuardConfig configures a [Guard]. Zero fields take the defaults in the comments.
type GuardConfig struct {
	Of     string        // whose passwords these are, for the log and for administrators
	After  int           // wrong passwords for a name from a peer that lock it; default 5
	For    time.Duration // duration of a lock, and time after which a wrong password is forgotten; default 5 min
	Pause  time.Duration // delay of the first failure, doubled with each; default 500 ms
	Locked func(Lock)    // called for each new lock; may be nil
	Log    *slog.Logger
}

// guess identifies a name tried from a peer.
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
	maxGuesses  = 50000 // guesses remembered
	peerGuesses = 1000  // guesses remembered of one peer
	maxPause    = 8 * time.Second
	maxGood     = 16 // peers remembered for a name

	// One name a second from a peer. The burst is for a site that comes back after its
	// passwords changed.
	peerRate  = 1
	peerBurst = 100
	// One try a second of a name from peers where it has not proved its password.
	nameRate  = 1
	nameBurst = 300
)

// NewGuard returns a guard.
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

// guessOf returns the key of a try. It shortens long names, which strangers choose.
func guessOf(name string, from netip.Addr) guess {
	if len(name) > maxName {
		name = name[:maxName]
	}
	return guess{strings.ToLower(strings.Clone(name)), share.Of(from)}
}

// Admit reports whether a password may be checked: nil, a [*LockedError], or an error that is
// [ErrBusy] and says which rate is exceeded.
func (g *Guard) Admit(name string, from netip.Addr) error {
	now, key := time.Now(), guessOf(name, from)
	g.mu.Lock()
	w := g.wrongs[key]
	var locked error
	if w != nil && w.count >= g.cfg.After && now.Sub(w.last) < g.cfg.For {
		locked = &LockedError{w.last.Add(g.cfg.For)}
	}
	known := slices.Contains(g.good[key.name], key.from)
	g.mu.Unlock()
	switch {
	case locked != nil:
		return locked
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

// Failed counts a wrong password and returns for how long to delay the response.
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
		g.cfg.Log.Warn("name locked at an address: too many wrong passwords", "of", l.Of, "name", l.Name, "address", l.Address, "until", l.Until.Format(time.RFC3339), "unlock", l.remedy())
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

// enter reserves an entry for wrong passwords. It may be evicted before that is recorded.
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

// forget forgets a guess. Callers hold g.mu.
func (g *Guard) forget(key guess) {
	if w := g.wrongs[key]; w != nil {
		delete(g.wrongs, key)
		w.place.Leave()
	}
}

// Succeeded forgets the wrong passwords for a name from a peer after a right one.
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
