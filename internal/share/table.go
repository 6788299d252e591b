package share

import (
	"container/heap"
	"container/list"
	"errors"
	"net/netip"
	"sync"
)

// Limits configures a [Table]. 0 means no limit, except for Most.
type Limits struct {
	Most     int // entries in all
	Reserve  int // of Most, not available to strangers
	Trusted  int // of Reserve, for trusted entries only
	Strange  int // strangers' entries for which Known ones are evicted when the table is full
	Unproved int // strangers' entries of one peer
	Peer     int // entries of one peer
}

// Errors of [Table.Enter].
var (
	ErrFull = errors.New("the table is full")
	ErrPeer = errors.New("the peer has reached its limit")
)

// Class is how far the peer of an entry is identified.
type Class int

// The classes, from lowest to highest.
const (
	Stranger Class = iota // neither authenticated nor trusted
	Known                 // authenticated: it has a session, a dialog or a login
	Trusted               // named by the configuration, and its address is validated
)

// Table accounts for the entries of a bounded table that its owner keeps. When the table is
// full, the oldest stranger's entry of the peer with the most of them is evicted. If there is
// none, and the new entry is no stranger's, the oldest entry that EnterAs made Known is evicted
// instead. A few of these are evicted for strangers, too (Limits.Strange), so that newcomers
// can log in. It is safe for concurrent use.
type Table struct {
	limits Limits

	mu        sync.Mutex
	entered   uint64 // evictable entries so far
	total     int
	counts    [Trusted + 1]int
	peers     map[netip.Prefix]*peer
	offenders [Trusted]offenders // heaps of peers with evictable entries, by class
}

// peer is the share of one peer in a table.
type peer struct {
	key   netip.Prefix
	total int
	yield [Trusted]list.List // of evictable *Entry, the oldest first
	place [Trusted]int       // index in Table.offenders
}

// Entry is one entry of a [Table]. The methods do nothing on a nil Entry.
type Entry struct {
	table  *Table
	peer   *peer
	class  Class
	number uint64
	evict  func(why error)
	among  *list.Element // position in peer.yield; nil: not evictable
	left   bool
}

// New returns an empty table.
func New(limits Limits) *Table {
	t := &Table{limits: limits, peers: map[netip.Prefix]*peer{}}
	for class := range t.offenders {
		t.offenders[class].class = Class(class)
	}
	return t
}

// Enter reserves an entry for the peer at an address. It returns [ErrFull] or [ErrPeer] if
// there is no room. proved makes the entry Known and not evictable. Otherwise it is a
// stranger's, and evict is called at most once if it is evicted: after the entry has left the
// table, on the goroutine that enters another one. why is ErrPeer if the other entry is of the
// same peer and that has reached its limit, and ErrFull if the table is full.
func (t *Table) Enter(addr netip.Addr, proved bool, evict func(why error)) (*Entry, error) {
	if proved {
		return t.enter(addr, Known, false, nil)
	}
	return t.enter(addr, Stranger, false, evict)
}

// EnterAs reserves an entry of a class. A Known entry with evict is evictable once strangers
// have no entries. A Trusted entry is not evictable.
func (t *Table) EnterAs(addr netip.Addr, class Class, evict func(why error)) (*Entry, error) {
	return t.enter(addr, class, false, evict)
}

// EnterTrusted reserves a Trusted entry without a limit for its peer, which may carry many
// users. The only error is [ErrFull].
func (t *Table) EnterTrusted(addr netip.Addr) (*Entry, error) {
	return t.enter(addr, Trusted, true, nil)
}

func (t *Table) enter(addr netip.Addr, class Class, unlimited bool, evict func(why error)) (*Entry, error) {
	t.mu.Lock()
	p := t.peers[Of(addr)]
	if p == nil {
		p = &peer{key: Of(addr)}
	}
	victim, why := t.room(p, class, unlimited)
	if victim == nil && why != nil {
		t.mu.Unlock()
		return nil, why
	}
	if victim != nil {
		victim.leave()
	}
	e := &Entry{table: t, peer: p, class: class, evict: evict}
	t.peers[p.key] = p
	t.total++
	p.total++
	t.counts[class]++
	if class < Trusted && evict != nil {
		e.join()
	}
	t.mu.Unlock()
	if victim != nil {
		victim.evict(why)
	}
	return e, nil
}

// room returns the entry to evict for a new one, and why. Both are nil if there is room; a nil
// entry with an error means that there is none. Callers hold t.mu.
func (t *Table) room(p *peer, class Class, unlimited bool) (*Entry, error) {
	l := t.limits
	if l.Peer > 0 && p.total >= l.Peer && !unlimited || class == Stranger && l.Unproved > 0 && p.yield[Stranger].Len() >= l.Unproved {
		for c := Stranger; c <= min(class, Known); c++ {
			if oldest := p.oldest(c); oldest != nil {
				return oldest, ErrPeer
			}
		}
		return nil, ErrPeer
	}
	switch full := t.total >= l.Most; {
	case full:
	case class == Trusted,
		class == Known && t.total-t.counts[Trusted] < l.Most-l.Trusted,
		class == Stranger && t.counts[Stranger] < l.Most-l.Reserve && t.total-t.counts[Trusted] < l.Most-l.Trusted:
		return nil, nil
	}
	few := class == Stranger && t.counts[Stranger] < l.Strange
	if !few && t.offenders[Stranger].Len() > 0 {
		return t.offenders[Stranger].peers[0].oldest(Stranger), ErrFull
	}
	if (few || class > Stranger) && t.offenders[Known].Len() > 0 {
		return t.offenders[Known].peers[0].oldest(Known), ErrFull
	}
	if t.offenders[Stranger].Len() > 0 {
		return t.offenders[Stranger].peers[0].oldest(Stranger), ErrFull
	}
	return nil, ErrFull
}

func (p *peer) oldest(class Class) *Entry {
	if first := p.yield[class].Front(); first != nil {
		return first.Value.(*Entry)
	}
	return nil
}

// Prove makes the entry Known and not evictable.
func (e *Entry) Prove() { e.raise(Known, false) }

// Raise raises the class of the entry, as if EnterAs had created it with that class.
func (e *Entry) Raise(class Class) { e.raise(class, class < Trusted) }

func (e *Entry) raise(class Class, yields bool) {
	if e == nil {
		return
	}
	t := e.table
	t.mu.Lock()
	defer t.mu.Unlock()
	if e.left || yields && class <= e.class {
		return
	}
	e.part()
	t.counts[e.class]--
	e.class = max(e.class, class)
	t.counts[e.class]++
	if yields {
		e.join()
	}
}

// join makes the entry evictable. Callers hold t.mu.
func (e *Entry) join() {
	t, p := e.table, e.peer
	o := &t.offenders[e.class]
	t.entered++
	e.number = t.entered
	e.among = p.yield[e.class].PushBack(e)
	if p.yield[e.class].Len() == 1 {
		heap.Push(o, p)
	} else {
		heap.Fix(o, p.place[e.class])
	}
}

// part makes the entry not evictable. Callers hold t.mu.
func (e *Entry) part() {
	if e.among == nil {
		return
	}
	p, o := e.peer, &e.table.offenders[e.class]
	p.yield[e.class].Remove(e.among)
	e.among = nil
	if p.yield[e.class].Len() == 0 {
		heap.Remove(o, p.place[e.class])
	} else {
		heap.Fix(o, p.place[e.class])
	}
}

// Leave releases the entry. It does nothing after the first call, or after eviction.
func (e *Entry) Leave() {
	if e == nil {
		return
	}
	e.table.mu.Lock()
	defer e.table.mu.Unlock()
	if !e.left {
		e.leave()
	}
}

func (e *Entry) leave() {
	e.part()
	e.left = true
	e.table.total--
	e.table.counts[e.class]--
	if e.peer.total--; e.peer.total == 0 {
		delete(e.table.peers, e.peer.key)
	}
}

// Counts returns the number of entries, and how many of them are strangers'.
func (t *Table) Counts() (total, unproved int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.total, t.counts[Stranger]
}

// offenders is a heap of peers: on top is the one with the most evictable entries of a class,
// and among equals the one with the oldest entry.
type offenders struct {
	class Class
	peers []*peer
}

func (o offenders) Len() int { return len(o.peers) }

func (o offenders) Less(i, j int) bool {
	p, q := o.peers[i], o.peers[j]
	if a, b := p.yield[o.class].Len(), q.yield[o.class].Len(); a != b {
		return a > b
	}
	return p.oldest(o.class).number < q.oldest(o.class).number
}

func (o offenders) Swap(i, j int) {
	o.peers[i], o.peers[j] = o.peers[j], o.peers[i]
	o.peers[i].place[o.class], o.peers[j].place[o.class] = i, j
}

func (o *offenders) Push(x any) {
	p := x.(*peer)
	p.place[o.class] = len(o.peers)
	o.peers = append(o.peers, p)
}

func (o *offenders) Pop() any {
	last := len(o.peers) - 1
	p := o.peers[last]
	o.peers[last] = nil
	o.peers = o.peers[:last]
	return p
}
