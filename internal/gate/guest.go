package gate

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/tr87proxy/tr87proxy/internal/share"
)

// Guest is a connection that a gate has taken. Its peer is proved once it is trusted or has
// logged in; until then the connection gives way to others, and may take little memory. nil is the
// peer of a connection of ours, which is proved.
type Guest struct {
	Conn  net.Conn
	Names []string // in the peer's verified certificate

	gate   *Gate
	peer   netip.Prefix
	place  *share.Entry
	end    context.CancelCauseFunc
	proved atomic.Bool

	strikes            atomic.Int64
	stranger, familiar *rate.Limiter // of strikes, before it is proved and after

	number uint64        // the later it came, the higher; guarded by Strangers
	taken  int           // octets; guarded by Strangers
	among  *list.Element // of the peer's; nil when it is proved or has left; guarded by Strangers
}

// How often a peer may send what it should not: before it is proved, and after.
const (
	strangerPause   = 3 * time.Second // between two strikes, in the long run
	strangerStrikes = 20              // at once
	familiarPause   = 100 * time.Millisecond
	familiarStrikes = 200
)

// Why a gate ends a connection.
var (
	ErrStrikes = errors.New("the peer sent too much that it should not")
	errPlace   = errors.New("closed to make room for others: too many connections")
	errShare   = errors.New("closed to make room for a newer connection of the peer: it has its share already")
	errMemory  = errors.New("closed to make room for others: too much memory for peers that have not logged in")
)

func newGuest(g *Gate, nc net.Conn, addr netip.Addr, end context.CancelCauseFunc) *Guest {
	return &Guest{
		Conn: nc, gate: g, peer: share.Of(addr), end: end,
		stranger: rate.NewLimiter(rate.Every(strangerPause), strangerStrikes), familiar: rate.NewLimiter(rate.Every(familiarPause), familiarStrikes),
	}
}

// Prove says that the peer is trusted, or has logged in.
func (g *Guest) Prove() {
	if g.Proved() || g.proved.Swap(true) {
		return
	}
	g.place.Prove()
	g.gate.cfg.Strangers.leave(g)
}

// Proved reports whether the peer is trusted, or has logged in.
func (g *Guest) Proved() bool { return g == nil || g.proved.Load() }

// Take counts memory that is about to be taken for the peer until Give is called, while it is not
// proved. Where all such peers take too much, the oldest connection of the one that takes most is
// closed; of peers that take little, the oldest connection.
func (g *Guest) Take(octets int) {
	if !g.Proved() {
		g.gate.cfg.Strangers.take(g, octets)
	}
}

// Give gives back what Take took.
func (g *Guest) Give(octets int) {
	if !g.Proved() {
		g.gate.cfg.Strangers.give(g, octets)
	}
}

// Strike says in the log that the peer has sent what it should not: of each kind one line a
// second, with how many were not told. Its error, when that happens too often, is to end the
// connection.
func (g *Guest) Strike(level slog.Level, what string, args ...any) error {
	g.gate.faults.tell(level, g.Conn, what, args...)
	n := g.strikes.Add(1)
	allowed := g.stranger
	if g.Proved() {
		allowed = g.familiar
	}
	if allowed.Allow() {
		return nil
	}
	g.gate.cfg.Strangers.Struck.Add(1)
	g.gate.faults.tell(slog.LevelWarn, g.Conn, "connection closed: the peer sent too much that it should not", "count", n)
	return fmt.Errorf("%w: %d times", ErrStrikes, n)
}

// makeRoom ends the connection because there are too many, in all or of its peer.
func (g *Guest) makeRoom(why error) {
	closed := errPlace
	if errors.Is(why, share.ErrPeer) {
		closed = errShare
	}
	g.evict(closed, g.gate.key(why))
}

// evict ends the connection to make room. key names the bound that is reached, if any.
func (g *Guest) evict(why error, key string) {
	what := "connection closed to make room for others"
	if errors.Is(why, errShare) {
		what = "connection closed to make room for a newer one of its peer"
	}
	g.gate.cfg.Strangers.Evicted.Add(1)
	g.gate.faults.tell(slog.LevelWarn, g.Conn, what, "err", why.Error()+key)
	g.end(why)
}

// leave gives back all that the connection has taken.
func (g *Guest) leave() {
	g.gate.cfg.Strangers.leave(g)
	g.place.Leave()
}
