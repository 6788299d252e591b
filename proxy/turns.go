package proxy

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/gate"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// turns decides the order in which clients' requests reach a link. A limited number is out at a time;
// the others wait. Identities take turns, and so do the sessions of one identity; the requests of a
// session keep their order. None waits longer than wait. An identity with many requests leaves room
// for others (see may). A switch that accepts fewer requests than assumed says so and gets fewer until
// it has responded for a while.
type turns struct {
	wait time.Duration // the longest time for which a client's request waits

	mu      lock
	closed  bool
	room    roomAtLink
	out     int // requests without a response
	groups  map[string]*group
	lines   map[*Session]*line
	next    []*group      // groups with waiting requests, in the order of their turns
	handing bool          // a goroutine is in hand
	calm    chan struct{} // closed when few requests of the core wait; nil: nobody waits for that
}

// group holds the requests of one identity, or of the core.
type group struct {
	identity string // "": the core
	lines    int
	out      int
	next     []*line // lines with waiting requests, in the order of their turns
}

// line holds the requests of one session, or of the core.
type line struct {
	group   *group
	by      *Session // nil: the core, whose requests do not expire and have no order
	waiting []*question
	sent    []*question // in order: requests without a response, and requests refused for want of room while such follow them
	sending bool        // a request is being passed to the link; none overtakes it
	queued  bool        // it is in group.next
}

// question is a request that waits for its turn or for its response.
type question struct {
	line   *line
	send   func(*question)
	refuse func(error)
	since  time.Time
	limit  *time.Timer // ends the wait for a turn; nil: none
	others int         // requests that were out when it was sent
	noRoom error       // the link's refusal for want of room; requests behind it decide whether it is sent again
}

func newTurns(most int, wait time.Duration) *turns {
	return &turns{mu: lock{rank: ofLife}, wait: wait, room: roomAtLink{now: most, most: most}, groups: map[string]*group{}, lines: map[*Session]*line{}}
}

// begin takes over the room that the previous life has found out.
func (t *turns) begin(before *turns) {
	before.mu.Lock()
	room := before.room.now
	before.mu.Unlock()
	t.mu.Lock()
	t.room.now = room
	t.mu.Unlock()
}

// ask has a request sent when its turn comes; by is the client, nil the core. It calls either send,
// whose caller must call answered or withdraw with the same question, or refuse. That happens once,
// but a request that the switch had no room for is sent again.
func (t *turns) ask(by *Session, send func(*question), refuse func(error)) {
	q := &question{send: send, refuse: refuse, since: time.Now()}
	identity := ""
	if by != nil {
		identity = "of " + by.Identity().Name
	}
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		refuse(errLinkDown)
		return
	}
	l := t.lineOf(by, identity)
	q.line = l
	if len(t.next) == 0 && !l.blocked() && len(l.waiting) == 0 && t.may(l.group) {
		t.give(q)
		t.mu.Unlock()
		t.hand()
		return
	}
	l.waiting = append(l.waiting, q)
	t.await(q)
	t.queue(l)
	t.mu.Unlock()
	t.hand() // a response may have made room just now
}

// lineOf returns the line of a session and adds it if necessary. The caller holds t.mu.
func (t *turns) lineOf(by *Session, identity string) *line {
	l := t.lines[by]
	if l == nil {
		g := t.groups[identity]
		if g == nil {
			g = &group{identity: identity}
			t.groups[identity] = g
		}
		g.lines++
		l = &line{group: g, by: by}
		t.lines[by] = l
	}
	return l
}

// forget removes an empty line. The caller holds t.mu.
func (t *turns) forget(l *line) {
	if len(l.sent) == 0 && len(l.waiting) == 0 && !l.sending && t.lines[l.by] == l {
		delete(t.lines, l.by)
		if l.group.lines--; l.group.lines == 0 {
			delete(t.groups, l.group.identity)
		}
	}
}

// blocked reports whether the next request of a line must wait for earlier ones.
func (l *line) blocked() bool {
	return l.sending || l.by != nil && slices.ContainsFunc(l.sent, func(q *question) bool { return q.noRoom != nil })
}

// may reports whether a group may have another request out: the more it has, the more room must remain
// for others.
func (t *turns) may(g *group) bool {
	left := t.room.now - t.out
	return left > 0 && g.out < 2*left
}

// queue makes a line wait for its turn if it has a request to send. The caller holds t.mu.
func (t *turns) queue(l *line) {
	if l.queued || len(l.waiting) == 0 || l.blocked() {
		return
	}
	l.queued = true
	if g := l.group; len(g.next) == 0 {
		t.next = append(t.next, g)
	}
	l.group.next = append(l.group.next, l)
}

// await starts the timeout of a waiting request. The caller holds t.mu.
func (t *turns) await(q *question) {
	if q.line.by != nil {
		q.limit = time.AfterFunc(time.Until(q.since.Add(t.wait)), func() { t.expire(q) })
	}
}

// give sends a request. The caller holds t.mu, which is released meanwhile.
func (t *turns) give(q *question) {
	l := q.line
	if q.limit != nil {
		q.limit.Stop()
	}
	q.others = t.out
	t.out++
	l.group.out++
	l.sent, l.sending = append(l.sent, q), true
	t.mu.Unlock()
	q.send(q)
	t.mu.Lock()
	l.sending = false
	t.queue(l)
	t.forget(l)
}

// hand sends waiting requests while there is room.
func (t *turns) hand() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.handing { // the other goroutine sees the room
		return
	}
	t.handing = true
	for q := t.pick(); q != nil; q = t.pick() {
		t.give(q)
	}
	t.handing = false
}

// pick removes and returns the request whose turn it is, or nil. The caller holds t.mu.
func (t *turns) pick() *question {
	i := slices.IndexFunc(t.next, t.may)
	if i < 0 {
		return nil
	}
	g := t.next[i]
	t.next = slices.Delete(t.next, i, i+1)
	l := g.next[0]
	if g.next = g.next[1:]; len(g.next) > 0 {
		t.next = append(t.next, g)
	}
	l.queued = false
	q := l.waiting[0]
	l.waiting = l.waiting[1:]
	t.calmDown()
	return q
}

// answered records a response and reports whether it counts. It does not if the life has ended or the
// request will be sent again. The caller must call hand once it has passed the response on.
func (t *turns) answered(q *question, err error) bool {
	refused := noRoom(err)
	t.mu.Lock()
	l := q.line
	if t.closed || !slices.Contains(l.sent, q) || q.noRoom != nil {
		t.mu.Unlock()
		return false
	}
	t.out--
	l.group.out--
	t.room.learn(q.others, refused)
	// With no other request out, the refusal is not for want of room.
	if refused && q.others > 0 && (l.by == nil || time.Since(q.since) < t.wait) {
		q.noRoom = err
		t.again(l)
		t.mu.Unlock()
		return false
	}
	var overtaken []*question
	if !refused { // earlier ones were not carried out and must not be any more
		overtaken = t.overtaken(l, q)
	}
	l.sent = slices.DeleteFunc(l.sent, func(other *question) bool { return other == q })
	t.again(l)
	t.forget(l)
	t.mu.Unlock()
	for _, late := range overtaken {
		late.refuse(late.noRoom)
	}
	return true
}

// withdraw takes back a request that was given its turn and is not sent.
func (t *turns) withdraw(q *question) (was bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	l := q.line
	if t.closed || !slices.Contains(l.sent, q) {
		return false
	}
	t.out--
	l.group.out--
	l.sent = slices.DeleteFunc(l.sent, func(other *question) bool { return other == q })
	t.again(l)
	t.forget(l)
	return true
}

// overtaken removes and returns the session's requests that the link had no room for and that precede
// one that it has accepted. The caller holds t.mu.
func (t *turns) overtaken(l *line, taken *question) (late []*question) {
	if l.by == nil {
		return nil
	}
	at := slices.Index(l.sent, taken)
	kept := slices.Clone(l.sent[at:])
	for i := at - 1; i >= 0; i-- {
		if q := l.sent[i]; q.noRoom != nil {
			late = append([]*question{q}, late...)
		} else {
			kept = append([]*question{q}, kept...)
		}
	}
	l.sent = kept
	return late
}

// again puts requests that the link had no room for back into the queue, if no later one was accepted
// or can be. The caller holds t.mu.
func (t *turns) again(l *line) {
	from := len(l.sent)
	for from > 0 && l.sent[from-1].noRoom != nil {
		from--
	}
	back := slices.Clone(l.sent[from:])
	l.sent = l.sent[:from]
	if l.by == nil { // the core's requests have no order
		for _, q := range l.sent {
			if q.noRoom != nil {
				back = append(back, q)
			}
		}
		l.sent = slices.DeleteFunc(l.sent, func(q *question) bool { return q.noRoom != nil })
	}
	for _, q := range back {
		q.noRoom = nil
		t.await(q)
	}
	l.waiting = append(back, l.waiting...)
	t.queue(l)
}

// noRoom reports whether the switch refused a request because too many are out.
func noRoom(err error) bool {
	var refusal *uacsta.Error
	return errors.As(err, &refusal) && refusal.Value == uacsta.OutstandingReqLimitExceeded
}

// expire refuses a request that has waited too long for its turn.
func (t *turns) expire(q *question) {
	t.mu.Lock()
	l := q.line
	i := slices.Index(l.waiting, q)
	if i >= 0 {
		l.waiting = slices.Delete(l.waiting, i, i+1)
		if g := l.group; len(l.waiting) == 0 && l.queued {
			l.queued = false
			g.next = slices.DeleteFunc(g.next, func(other *line) bool { return other == l })
			if len(g.next) == 0 {
				t.next = slices.DeleteFunc(t.next, func(other *group) bool { return other == g })
			}
		}
		t.forget(l)
	}
	t.mu.Unlock()
	if i >= 0 {
		q.refuse(Refusal(gate.ErrTooManyWaiting))
	}
}

// coreWaits is how many requests of the core may wait before it sends no more.
const coreWaits = 16

// crowded reports whether many requests of the core wait. The caller holds t.mu.
func (t *turns) crowded() bool {
	l := t.lines[nil]
	return l != nil && len(l.waiting) >= coreWaits && !t.closed
}

// calmDown wakes those in quiet once few requests of the core wait. The caller holds t.mu.
func (t *turns) calmDown() {
	if t.calm != nil && !t.crowded() {
		close(t.calm)
		t.calm = nil
	}
}

// quiet waits until few requests of the core wait for their turn.
func (t *turns) quiet(ctx context.Context) error {
	for {
		t.mu.Lock()
		if !t.crowded() {
			t.mu.Unlock()
			return ctx.Err()
		}
		if t.calm == nil {
			t.calm = make(chan struct{})
		}
		calm := t.calm
		t.mu.Unlock()
		select {
		case <-calm:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// close refuses all requests, also those that are out: their responses do not count any more.
func (t *turns) close() {
	t.mu.Lock()
	t.closed = true
	var sent, waiting []*question
	for _, l := range t.lines {
		sent, waiting = append(sent, l.sent...), append(waiting, l.waiting...)
		l.sent, l.waiting, l.queued = nil, nil, false
	}
	clear(t.lines)
	clear(t.groups)
	t.next = nil
	t.calmDown()
	t.mu.Unlock()
	for _, q := range sent {
		if q.noRoom != nil {
			q.refuse(errLinkDown) // which the switch has refused
		} else {
			q.refuse(errCut)
		}
	}
	for _, q := range waiting {
		if q.limit != nil {
			q.limit.Stop()
		}
		q.refuse(errLinkDown)
	}
}

// roomAtLink is how many requests a switch accepts at a time, as its responses have shown.
type roomAtLink struct {
	now, most int
	good      int // requests accepted since now changed
	proved    int // most other requests out beside an accepted one
	doubted   int // other requests out beside one that was refused although more had been accepted
	doubts    int // consecutive refusals of that kind
}

// maxDoubts is how many refusals in a row are taken to have another reason than room.
const maxDoubts = 8

// learn records the outcome of a request that was sent while others were out.
func (r *roomAtLink) learn(others int, refused bool) {
	switch {
	case !refused:
		r.proved = max(r.proved, others)
		if others >= r.doubted {
			r.doubts = 0
		}
		if r.good++; r.now < r.most && r.good >= 4*r.now {
			r.now, r.good = min(r.most, r.now+max(1, r.now/4)), 0
		}
	case others == 0: // room cannot be the reason
	case others < r.proved && r.doubts < maxDoubts: // it has accepted more: the device of the request has no room
		r.doubts++
		r.doubted = others
	default:
		r.now, r.good, r.doubts, r.proved = max(1, min(r.now, others)), 0, 0, min(r.proved, others)
	}
}
