package share

import (
	"container/heap"
	"container/list"
	"errors"
	"net/netip"
	"sync"
)

// Limits says how many entries a table takes. 0 is no limit, but for Most.
type Limits struct {
	Most     int // in all
	Reserve  int // of these, for proved entries only
	Unproved int // of one peer, that are not proved
	Peer     int // of one peer, proved or not
}

// Why there is no place.
var (
	ErrFull = errors.New("the table is full")
	ErrPeer = errors.New("the peer has its share already")
)

// Table counts the entries of a table, which its owner keeps. An entry is proved when its peer is
// trusted, or has shown that it may be here: a session, a dialog, a login. Where there is no
// place, the oldest unproved entry of the peer that has most of them gives way.
type Table struct {
	limits Limits

	mu        sync.Mutex
	entered   uint64 // entries, ever
	total     int
	unproved  int
	peers     map[netip.Prefix]*peer
	offenders offenders // peers with unproved entries
}

// peer is what one peer has in a table.
type peer struct {
	key      netip.Prefix
	total    int
	unproved list.List // of *Entry, the oldest first
	place    int       // among the offenders
}

// Entry is a place in a table. The methods of nil do nothing.
type Entry struct {
	table  *Table
	peer   *peer
	number uint64
	evict  func(why error)
	among  *list.Element // of the unproved; nil: it is proved
	gone   bool
}

// New makes a table.
func New(limits Limits) *Table {
	return &Table{limits: limits, peers: map[netip.Prefix]*peer{}}
}

// Enter takes a place for an entry of the peer at an address, or says ErrFull or ErrPeer. evict
// is called if the entry has to give way to another: once, when it has left the table, by the
// goroutine that enters the other. It is told ErrPeer if the other is of the same peer, which has
// its share already, and ErrFull if the table is full.
func (t *Table) Enter(addr netip.Addr, proved bool, evict func(why error)) (*Entry, error) {
	return t.enter(addr, proved, false, evict)
}

// EnterTrusted takes a place for a proved entry of a peer that may have any number of them, as
// one has that carries all its users; ErrFull is the only error.
func (t *Table) EnterTrusted(addr netip.Addr) (*Entry, error) { return t.enter(addr, true, true, nil) }

func (t *Table) enter(addr netip.Addr, proved, trusted bool, evict func(why error)) (*Entry, error) {
	t.mu.Lock()
	p := t.peers[Of(addr)]
	if p == nil {
		p = &peer{key: Of(addr)}
	}
	victim, why := t.room(p, proved, trusted)
	if victim == nil && why != nil {
		t.mu.Unlock()
		return nil, why
	}
	if victim != nil {
		victim.leave()
	}
	t.entered++
	e := &Entry{table: t, peer: p, number: t.entered, evict: evict}
	t.peers[p.key] = p
	t.total++
	p.total++
	if !proved {
		t.unproved++
		e.among = p.unproved.PushBack(e)
		if p.unproved.Len() == 1 {
			heap.Push(&t.offenders, p)
		} else {
			heap.Fix(&t.offenders, p.place)
		}
	}
	t.mu.Unlock()
	if victim != nil {
		victim.evict(why)
	}
	return e, nil
}

// room finds the entry that has to give way to another, nil where there is room or nothing gives
// way. The error is what there is too much of, nil where there is room. Callers hold t.mu.
func (t *Table) room(p *peer, proved, trusted bool) (*Entry, error) {
	l := t.limits
	if l.Peer > 0 && p.total >= l.Peer && !trusted || !proved && l.Unproved > 0 && p.unproved.Len() >= l.Unproved {
		return p.oldest(), ErrPeer
	}
	if t.total < l.Most && (proved || t.unproved < l.Most-l.Reserve) {
		return nil, nil
	}
	if len(t.offenders) == 0 {
		return nil, ErrFull
	}
	return t.offenders[0].oldest(), ErrFull
}

func (p *peer) oldest() *Entry {
	if first := p.unproved.Front(); first != nil {
		return first.Value.(*Entry)
	}
	return nil
}

// Prove says that the entry's peer may be here: from now on it does not give way.
func (e *Entry) Prove() {
	if e == nil {
		return
	}
	e.table.mu.Lock()
	defer e.table.mu.Unlock()
	if !e.gone {
		e.prove()
	}
}

func (e *Entry) prove() {
	t, p := e.table, e.peer
	if e.among == nil {
		return
	}
	p.unproved.Remove(e.among)
	e.among = nil
	t.unproved--
	if p.unproved.Len() == 0 {
		heap.Remove(&t.offenders, p.place)
	} else {
		heap.Fix(&t.offenders, p.place)
	}
}

// Leave gives the place back. Calls after the first, or after the entry gave way, do nothing.
func (e *Entry) Leave() {
	if e == nil {
		return
	}
	e.table.mu.Lock()
	defer e.table.mu.Unlock()
	if !e.gone {
		e.leave()
	}
}

func (e *Entry) leave() {
	e.prove() // it is among the unproved no more
	e.gone = true
	e.table.total--
	if e.peer.total--; e.peer.total == 0 {
		delete(e.table.peers, e.peer.key)
	}
}

// Counts returns how many entries there are, and how many of them are not proved.
func (t *Table) Counts() (total, unproved int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.total, t.unproved
}

// offenders is a heap of peers: on top is the one with most unproved entries, among equals the
// one with the oldest.
type offenders []*peer

func (o offenders) Len() int { return len(o) }

func (o offenders) Less(i, j int) bool {
	if a, b := o[i].unproved.Len(), o[j].unproved.Len(); a != b {
		return a > b
	}
	return o[i].oldest().number < o[j].oldest().number
}

func (o offenders) Swap(i, j int) {
	o[i], o[j] = o[j], o[i]
	o[i].place, o[j].place = i, j
}

func (o *offenders) Push(x any) {
	p := x.(*peer)
	p.place = len(*o)
	*o = append(*o, p)
}

func (o *offenders) Pop() any {
	last := len(*o) - 1
	p := (*o)[last]
	(*o)[last] = nil
	*o = (*o)[:last]
	return p
}
