package sip

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/share"
)

// standing is how far a peer has been identified. When a table is full, entries of strangers
// are evicted first.
type standing int32

const (
	stranger standing = iota
	known             // authenticated, or vouched for by its dialog's handler
	trusted           // named by the configuration
)

// standingOf returns the standing of the peer at the end of a hop.
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

// meet records that the peer at the end of a hop has identified itself.
func (ua *UA) meet(h hop) {
	if c, ok := h.conn.(*streamConn); ok {
		c.raise(known)
		return
	}
	ua.met.meet(h.addr, time.Now())
}

// authenticated records that the sender of the request has identified itself.
func (r *Request) authenticated() {
	r.standing.CompareAndSwap(int32(stranger), int32(known))
	r.credit.lift()
	r.tx.entry.Raise(share.Known)
	r.ua.meet(r.hop)
}

// known reports whether the sender is known or trusted.
func (r *Request) known() bool { return standing(r.standing.Load()) >= known }

// Trust records that the handler has identified the peer. From then on strangers cannot evict
// the dialog, its transactions, or its connection.
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

// strange reports whether the request comes from a stranger and is outside dialogs.
func (r *Request) strange() bool { return !r.known() && r.dialog == nil }

// fleeting reports whether nothing of a request outside dialogs is kept after a response with
// this code. The source address may be forged, so we do not repeat the response; a peer that
// repeats the request gets another one. This covers every request of a stranger, and requests
// that may safely be handled twice.
func (r *Request) fleeting(code int) bool {
	if r.dialog != nil || r.Method() == "INVITE" {
		return r.strange()
	}
	return !r.known() || r.Method() == "OPTIONS" || code >= 300
}

// show records that the peer knows our tag and so receives what we send to its address. From
// then on the address is validated, and the dialog of a known peer is not evicted.
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

// acquaintances are the UDP addresses of peers that identified themselves recently, with their
// ports: a site behind one address may also have users who did not.
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

// credit limits how many octets may be sent to an address that has not been validated: a forged
// source address gets at most three times what was received (the factor of RFC 9000 8.1), or
// ten times if the address is known, which is enough to repeat a response and send one BYE. A
// nil credit has no limit.
type credit struct {
	factor int64
	octets atomic.Int64
	lifted atomic.Bool
}

const (
	creditFactor      = 3
	knownCreditFactor = 10
)

// creditFor returns the credit for responses to a message of size octets.
func (ua *UA) creditFor(h hop, size int, s standing) *credit {
	if h.conn.transport() != "UDP" { // a connection validates the address; DTLS does it with its cookie
		return nil
	}
	c := &credit{factor: creditFactor}
	if s >= known {
		c.factor = knownCreditFactor
	}
	c.earn(size)
	return c
}

// bounded reports whether the address is not validated yet.
func (c *credit) bounded() bool { return c != nil && !c.lifted.Load() }

// limited reports whether the address is not validated yet and a stranger's: it gets one
// response for each request and nothing else.
func (c *credit) limited() bool { return c.bounded() && c.factor == creditFactor }

// earn adds credit for received octets.
func (c *credit) earn(received int) {
	if c != nil {
		c.octets.Add(c.factor * int64(received))
	}
}

// covers reports whether n octets may be sent.
func (c *credit) covers(n int) bool { return !c.bounded() || c.octets.Load() >= int64(n) }

// spend deducts n octets. It returns false if they must not be sent.
func (c *credit) spend(n int) bool {
	if !c.bounded() || c.octets.Add(-int64(n)) >= 0 {
		return true
	}
	c.octets.Add(int64(n))
	return false
}

// lift removes the limit: the address is validated.
func (c *credit) lift() {
	if c != nil {
		c.lifted.Store(true)
	}
}

// strange is a kind of log line that strangers can cause, with the peer that caused it.
type strange struct {
	what string
	peer netip.Prefix
}

const (
	hushPeer = 10 * time.Second       // between equal lines about one peer
	hushAll  = 100 * time.Millisecond // between equal lines about all peers
)

// warn logs something that strangers can cause at will, at a limited rate so that they cannot
// fill the disk.
func (ua *UA) warn(what string, peer netip.AddrPort, args ...any) {
	now := time.Now()
	tell, suppressed := ua.hush.Allow(strange{what, share.Of(peer.Addr())}, now)
	if !tell {
		return
	}
	tell, others := ua.hushAll.Allow(what, now)
	if tell {
		ua.log.Warn(what, append([]any{"peer", peer.String(), "suppressed", suppressed + others}, args...)...)
	}
}
