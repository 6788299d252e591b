package sip

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/share"
)

// standing says what we know about a peer, and so what it may take: in tables that are full,
// strangers give way to peers that are known.
type standing int32

const (
	stranger standing = iota
	known             // the peer has authenticated, or its dialog's handler vouches for it
	trusted           // the configuration names it
)

// standingOf returns what we know about whoever is at the end of a hop.
func (ua *UA) standingOf(h hop) standing {
	if c, ok := h.conn.(*streamConn); ok {
		return standing(c.standing.Load())
	}
	switch {
	case ua.cfg.Known(h.peer()):
		return trusted
	case ua.met.knows(h.addr, time.Now()):
		return known
	}
	return stranger
}

// meet notes that the peer at the end of a hop has shown who it is.
func (ua *UA) meet(h hop) {
	if c, ok := h.conn.(*streamConn); ok {
		c.raise(known)
		return
	}
	ua.met.meet(h.addr, time.Now())
}

// authenticated notes that whoever sent the request has shown who it is.
func (r *Request) authenticated() {
	r.standing.CompareAndSwap(int32(stranger), int32(known))
	r.credit.lift()
	r.tx.entry.Raise(share.Known)
	r.ua.meet(r.hop)
}

// known reports whether we know who sent the request.
func (r *Request) known() bool { return standing(r.standing.Load()) >= known }

// Trust tells the stack that the handler knows by now who the peer is: the dialog, what comes
// in it and the connection that it uses do not give way to strangers any more.
func (d *Dialog) Trust() {
	if !d.standing.CompareAndSwap(int32(stranger), int32(known)) {
		return
	}
	d.ua.mu.Lock()
	d.entry.Prove()
	d.ua.mu.Unlock()
	d.mu.Lock()
	h := d.hop
	d.mu.Unlock()
	d.ua.meet(h)
}

// strange reports whether a request comes from nobody that we know, and is in no dialog.
func (r *Request) strange() bool { return !r.known() && r.dialog == nil }

// fleeting reports whether nothing is kept of a request outside dialogs once it is answered with a
// code. The answer, which may go to an address that is forged, is not repeated on our own; a peer
// that repeats the request gets it again. That holds for all that strangers send, and for what
// does no harm when it is handled twice.
func (r *Request) fleeting(code int) bool {
	if r.dialog != nil || r.Method() == "INVITE" {
		return r.strange()
	}
	return !r.known() || r.Method() == "OPTIONS" || code >= 300
}

// show notes that the peer has named our tag, and so gets what is sent to its address. From now
// on the dialog of a known peer does not give way, and nothing bounds what goes there.
func (d *Dialog) show() {
	s := standing(d.standing.Load())
	if s < known || !d.credit.bounded() {
		return
	}
	d.credit.lift()
	d.ua.mu.Lock()
	defer d.ua.mu.Unlock()
	d.entry.Prove()
	d.entry.Raise(share.Class(s))
}

// acquaintances are the UDP addresses of peers that have shown who they are not long ago: an
// address with its port, since a site may have one address, and not all who use it are known.
type acquaintances struct {
	table *share.Table

	mu    sync.Mutex
	peers map[netip.AddrPort]*acquaintance
}

type acquaintance struct {
	until   time.Time
	evicted bool
}

const (
	acquainted       = time.Hour
	maxAcquaintances = 50000
)

func newAcquaintances() *acquaintances {
	return &acquaintances{
		table: share.New(share.Limits{Most: maxAcquaintances, Unproved: maxAcquaintances / 10}), peers: map[netip.AddrPort]*acquaintance{},
	}
}

func (m *acquaintances) meet(addr netip.AddrPort, now time.Time) {
	m.mu.Lock()
	if a := m.peers[addr]; a != nil {
		a.until = now.Add(acquainted)
		m.mu.Unlock()
		return
	}
	m.mu.Unlock()
	a := &acquaintance{until: now.Add(acquainted)}
	if _, err := m.table.Enter(addr.Addr(), false, func(error) { m.forget(addr, a) }); err != nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if !a.evicted {
		m.peers[addr] = a
	}
}

func (m *acquaintances) forget(addr netip.AddrPort, a *acquaintance) {
	m.mu.Lock()
	defer m.mu.Unlock()
	a.evicted = true
	if m.peers[addr] == a {
		delete(m.peers, addr)
	}
}

func (m *acquaintances) knows(addr netip.AddrPort, now time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	a := m.peers[addr]
	return a != nil && now.Before(a.until)
}

// credit is what may still be sent to an address from which nothing of ours has come back:
// whoever has written that address into a datagram may be somebody else, so it gets no more
// than three times what came (the factor is that of RFC 9000 8.1), or ten times where we know the
// address: that is enough to repeat an answer, and one BYE goes out beside. nil has no bound.
type credit struct {
	factor int64
	octets atomic.Int64
	lifted atomic.Bool
}

const (
	creditFactor      = 3
	knownCreditFactor = 10
)

// creditFor returns the credit for a message that came over a hop.
func (ua *UA) creditFor(h hop, size int, s standing) *credit {
	if h.conn.transport() != "UDP" { // a connection shows that its peer is there, DTLS by its cookie
		return nil
	}
	c := &credit{factor: creditFactor}
	if s >= known {
		c.factor = knownCreditFactor
	}
	c.earn(size)
	return c
}

// bounded reports whether the address is still unproved.
func (c *credit) bounded() bool { return c != nil && !c.lifted.Load() }

// limited reports whether the address is still unproved, and a stranger's: it gets nothing but
// one answer for each request.
func (c *credit) limited() bool { return c.bounded() && c.factor == creditFactor }

// earn counts octets that have come.
func (c *credit) earn(received int) {
	if c != nil {
		c.octets.Add(c.factor * int64(received))
	}
}

// covers reports whether so many octets may be sent.
func (c *credit) covers(n int) bool { return !c.bounded() || c.octets.Load() >= int64(n) }

// spend takes octets off; false: they must not be sent.
func (c *credit) spend(n int) bool {
	if !c.bounded() || c.octets.Add(-int64(n)) >= 0 {
		return true
	}
	c.octets.Add(int64(n))
	return false
}

// lift ends the bound: the peer is there.
func (c *credit) lift() {
	if c != nil {
		c.lifted.Store(true)
	}
}

// strange is a kind of thing that strangers can cause, and a peer that did.
type strange struct {
	what string
	peer netip.Prefix
}

const (
	hushPeer = 10 * time.Second       // between equal lines about one peer
	hushAll  = 100 * time.Millisecond // and about all
)

// warn says in the log what strangers can cause as often as they like: not for each time, or
// they fill the disk.
func (ua *UA) warn(what string, peer netip.AddrPort, args ...any) {
	now := time.Now()
	tell, untold := ua.hush.Tell(strange{what, share.Of(peer.Addr())}, now)
	if !tell {
		return
	}
	tell, others := ua.hushAll.Tell(what, now)
	if tell {
		ua.log.Warn(what, append([]any{"peer", peer.String(), "untold", untold + others}, args...)...)
	}
}
