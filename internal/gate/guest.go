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

// Guest is a connection that a [Gate] has accepted. Its peer is a stranger until it is trusted
// or has logged in (Prove): until then the connection may be closed to make room, and may use
// little memory. A nil Guest stands for a peer that we dialled, which is no stranger.
type Guest struct {
	Conn  net.Conn
	Names []string // in the peer's verified certificate

	gate   *Gate
	peer   netip.Prefix
	place  *share.Entry
	end    context.CancelCauseFunc
	proved atomic.Bool

	strikes            atomic.Int64
	stranger, familiar *rate.Limiter // limit strikes: of a stranger, and of others

	number uint64        // sequence number; guarded by Strangers
	taken  int           // octets; guarded by Strangers
	among  *list.Element // position among the peer's connections; nil if not counted; guarded by Strangers
}

// Rates of strikes: of strangers, and of others.
const (
	strangerPause   = 3 * time.Second // mean time between strikes
	strangerStrikes = 20              // burst
	familiarPause   = 100 * time.Millisecond
	familiarStrikes = 200
)

// Why a gate closes a connection.
var (
	ErrStrikes = errors.New("too many protocol errors")
	errPlace   = errors.New("closed to make room for others: too many connections")
	errShare   = errors.New("closed to make room for a newer connection of the peer: it has reached its limit")
	errMemory  = errors.New("closed to make room for others: too much memory for peers that have not logged in")
)

// Evicted reports whether reason means that a gate closed a connection to make room.
func Evicted(reason error) bool {
	return errors.Is(reason, errPlace) || errors.Is(reason, errShare) || errors.Is(reason, errMemory)
}

func newGuest(g *Gate, nc net.Conn, addr netip.Addr, end context.CancelCauseFunc) *Guest {
	return &Guest{
		Conn: nc, gate: g, peer: share.Of(addr), end: end,
		stranger: rate.NewLimiter(rate.Every(strangerPause), strangerStrikes), familiar: rate.NewLimiter(rate.Every(familiarPause), familiarStrikes),
	}
}

// Prove records that the peer is trusted or has logged in.
func (g *Guest) Prove() {
	if g.Proved() || g.proved.Swap(true) {
		return
	}
	g.place.Prove()
	g.gate.cfg.Strangers.leave(g)
}

// Proved reports whether the peer is trusted or has logged in.
func (g *Guest) Proved() bool { return g == nil || g.proved.Load() }

// Take counts memory that is about to be allocated for a stranger, until Give. If all strangers
// together exceed the limit, the oldest connection of the one with the most memory is closed;
// among those with little memory, the oldest connection.
func (g *Guest) Take(octets int) {
	if !g.Proved() {
		g.gate.cfg.Strangers.take(g, octets)
	}
}

// Give returns memory counted by Take.
func (g *Guest) Give(octets int) {
	if !g.Proved() {
		g.gate.cfg.Strangers.give(g, octets)
	}
}

// Strike logs that the peer sent something it should not have, at most one line a second for
// each message. If that happens too often, it returns an error that wraps [ErrStrikes], with
// which the caller must close the connection.
func (g *Guest) Strike(level slog.Level, what string, args ...any) error {
	g.gate.faults.report(level, g.Conn, what, args...)
	n := g.strikes.Add(1)
	allowed := g.stranger
	if g.Proved() {
		allowed = g.familiar
	}
	if allowed.Allow() {
		return nil
	}
	g.gate.cfg.Strangers.Struck.Add(1)
	g.gate.faults.report(slog.LevelWarn, g.Conn, "connection closed: too many protocol errors", "count", n)
	return fmt.Errorf("%w: %d times", ErrStrikes, n)
}

// makeRoom closes the connection because the table, or the peer's share, is full.
func (g *Guest) makeRoom(why error) {
	closed := errPlace
	if errors.Is(why, share.ErrPeer) {
		closed = errShare
	}
	g.evict(closed, g.gate.key(why))
}

// evict closes the connection to make room. key names the limit reached, if any.
func (g *Guest) evict(why error, key string) {
	what := "connection closed to make room for others"
	if errors.Is(why, errShare) {
		what = "connection closed to make room for a newer one of its peer"
	}
	g.gate.cfg.Strangers.Evicted.Add(1)
	g.gate.faults.report(slog.LevelWarn, g.Conn, what, "err", why.Error()+key)
	g.end(why)
}

// leave releases all that the connection holds.
func (g *Guest) leave() {
	g.gate.cfg.Strangers.leave(g)
	g.place.Leave()
}
