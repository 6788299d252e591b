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
	Trusted  int // of the reserve, for trusted entries only
	Strange  int // that entries that are not proved find in a table full of Known ones
	Unproved int // of one peer, that are not proved
	Peer     int // of one peer, proved or not
}

// Why there is no place.
var (
	ErrFull = errors.New("the table is full")
	ErrPeer = errors.New("the peer has its share already")
)

// Class says what is known about the peer of an entry.
type Class int

// The classes, the lowest first.
const (
	Stranger Class = iota // nothing is known: the entry is not proved
	Known                 // the peer has shown that it may be here: a session, a dialog, a login
	Trusted               // the configuration names the peer, and the peer has proved its address
)

// Table counts the entries of a table, which its owner keeps. Where there is no place, the oldest
// unproved entry of the peer that has most of them gives way. Where there is none of these, and the
// new entry is proved, so does the oldest of the entries that EnterAs has made Known; a few of these
// give way to entries that are not proved, too, so that newcomers can become known.
type Table struct {
	limits Limits

	mu        sync.Mutex
	entered   uint64 // entries that may have to give way, ever
	total     int
	counts    [Trusted + 1]int
	peers     map[netip.Prefix]*peer
	offenders [Trusted]offenders // peers with entries that may have to give way, by class
}

// peer is what one peer has in a table.
type peer struct {
	key   netip.Prefix
	total int
	yield [Trusted]list.List // of *Entry that may have to give way, the oldest first
	place [Trusted]int       // among the offenders
}

// Entry is a place in a table. The methods of nil do nothing.
type Entry struct {
	table  *Table
	peer   *peer
	class  Class
	number uint64
	evict  func(why error)
	among  *list.Element // of those that may have to give way; nil: it does not
	gone   bool
}

// New makes a table.
func New(limits Limits) *Table {
	t := &Table{limits: limits, peers: map[netip.Prefix]*peer{}}
	for class := range t.offenders {
		t.offenders[class].class = Class(class)
	}
	return t
}

// Enter takes a place for an entry of the peer at an address, or says ErrFull or ErrPeer. evict
// is called if the entry has to give way to another: once, when it has left the table, by the
// goroutine that enters the other. It is told ErrPeer if the other is of the same peer, which has
// its share already, and ErrFull if the table is full. A proved entry is Known and does not give
// way.
func (t *Table) Enter(addr netip.Addr, proved bool, evict func(why error)) (*Entry, error) {
	if proved {
		return t.enter(addr, Known, false, nil)
	}
	return t.enter(addr, Stranger, false, evict)
}

// EnterAs is Enter for an entry of a class. One that is Known gives way to another proved entry
// where there is no stranger's. One that is Trusted does not give way.
func (t *Table) EnterAs(addr netip.Addr, class Class, evict func(why error)) (*Entry, error) {
	return t.enter(addr, class, false, evict)
}

// EnterTrusted takes a place for a trusted entry of a peer that may have any number of them, as
// one has that carries all its users; ErrFull is the only error.
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

// room finds the entry that has to give way to another, nil where there is room or nothing gives
// way. The error is what there is too much of, nil where there is room. Callers hold t.mu.
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

// Prove says that the entry's peer may be here: from now on it does not give way.
func (e *Entry) Prove() { e.raise(Known, false) }

// Raise says that the entry is of a higher class by now, as if EnterAs had made it.
func (e *Entry) Raise(class Class) { e.raise(class, class < Trusted) }

func (e *Entry) raise(class Class, yields bool) {
	if e == nil {
		return
	}
	t := e.table
	t.mu.Lock()
	defer t.mu.Unlock()
	if e.gone || yields && class <= e.class {
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

// join puts the entry among those that may have to give way. Callers hold t.mu.
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

// part takes the entry away from there. Callers hold t.mu.
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
	e.part()
	e.gone = true
	e.table.total--
	e.table.counts[e.class]--
	if e.peer.total--; e.peer.total == 0 {
		delete(e.table.peers, e.peer.key)
	}
}

// Counts returns how many entries there are, and how many of them are not proved.
func (t *Table) Counts() (total, unproved int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.total, t.counts[Stranger]
}

// offenders is a heap of peers: on top is the one with most entries of a class that may have to
// give way, among equals the one with the oldest.
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
