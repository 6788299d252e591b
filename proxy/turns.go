package proxy

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/gate"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// turns lets clients ask a link in turn. So many questions are out at a time; the others wait:
// identities have their turns one after the other, so have the sessions of one identity, and the
// questions of a session keep their order. None waits longer than it may, and an identity with many
// questions leaves room for others (may). A switching function that takes fewer questions at a time
// than was thought says so, and gets fewer, until it has answered for a while.
type turns struct {
	wait time.Duration // for a turn

	mu      lock
	closed  bool
	room    roomAtLink
	out     int // questions whose answers are due
	groups  map[string]*group
	lines   map[*Session]*line
	next    []*group      // those in which somebody waits, in the order of their turns
	handing bool          // somebody hands out turns
	calm    chan struct{} // closed when few of the core's questions wait; nil: nobody wants to know
}

// group is the questions of an identity, or of the core.
type group struct {
	identity string // "": the core
	lines    int
	out      int
	next     []*line // those in which somebody waits, in the order of their turns
}

// line is the questions of a session, or of the core.
type line struct {
	group   *group
	by      *Session // nil: the core, which waits as long as it takes, and has no order
	waiting []*question
	sent    []*question // in order: those whose answers are due, and those refused for want of room while such follow
	sending bool        // one is on its way to the link: none overtakes it
	queued  bool        // in group.next
}

// question is a request that waits for its turn, or for its answer.
type question struct {
	line   *line
	send   func(*question)
	refuse func(error)
	since  time.Time
	limit  *time.Timer // of its waiting; nil: none
	others int         // that were out when it was sent
	noRoom error       // the link had none; whether it can be sent again, those behind it decide
}

func newTurns(most int, wait time.Duration) *turns {
	return &turns{mu: lock{rank: ofLife}, wait: wait, room: roomAtLink{now: most, most: most}, groups: map[string]*group{}, lines: map[*Session]*line{}}
}

// begin has a new life begin with the room that the one before it has found.
func (t *turns) begin(before *turns) {
	before.mu.Lock()
	room := before.room.now
	before.mu.Unlock()
	t.mu.Lock()
	t.room.now = room
	t.mu.Unlock()
}

// ask has a question sent when its turn comes; by is the client, nil the core. Either send is called,
// and answered or withdraw is to be called with that question, or refuse: once in all, but for a
// question that the switching function had no room for, which is sent again.
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
	t.hand() // where an answer came just now
}

// lineOf returns the line of a session, and makes it where there is none. t.mu is held.
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

// forget drops a line with nothing in it; t.mu is held.
func (t *turns) forget(l *line) {
	if len(l.sent) == 0 && len(l.waiting) == 0 && !l.sending && t.lines[l.by] == l {
		delete(t.lines, l.by)
		if l.group.lines--; l.group.lines == 0 {
			delete(t.groups, l.group.identity)
		}
	}
}

// blocked reports whether the next of a line must not be sent yet.
func (l *line) blocked() bool {
	return l.sending || l.by != nil && slices.ContainsFunc(l.sent, func(q *question) bool { return q.noRoom != nil })
}

// may reports whether a group may have one more turn: the more it has, the more room must be left
// for others.
func (t *turns) may(g *group) bool {
	left := t.room.now - t.out
	return left > 0 && g.out < 2*left
}

// queue has a line wait for its turn, if it has something to send; t.mu is held.
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

// await begins the time in which a question must have its turn; t.mu is held.
func (t *turns) await(q *question) {
	if q.line.by != nil {
		q.limit = time.AfterFunc(time.Until(q.since.Add(t.wait)), func() { t.expire(q) })
	}
}

// give sends a question. t.mu is held, and let go meanwhile.
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

// hand gives turns to those that wait, as long as there is room.
func (t *turns) hand() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.handing { // whoever does it sees that there is room
		return
	}
	t.handing = true
	for q := t.pick(); q != nil; q = t.pick() {
		t.give(q)
	}
	t.handing = false
}

// pick takes out the question whose turn it is; nil when it is nobody's. t.mu is held.
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

// answered takes note that a question has its answer, and reports whether the answer counts: not
// when the life is over, and not when the question may be sent again. Once the answer has been
// passed on, hand must be called.
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
	// With nothing else out, it is not for want of room that a link has none.
	if refused && q.others > 0 && (l.by == nil || time.Since(q.since) < t.wait) {
		q.noRoom = err
		t.again(l)
		t.mu.Unlock()
		return false
	}
	var overtaken []*question
	if !refused { // those before it were not carried out, and cannot be any more
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

// withdraw takes back a question whose turn has come, and that is not sent.
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

// overtaken takes out the questions of a session that the link had no room for, and that stand
// before one that it took; t.mu is held.
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

// again has those questions wait once more that the link had no room for, and behind which it has
// taken none and can take none any more; t.mu is held.
func (t *turns) again(l *line) {
	from := len(l.sent)
	for from > 0 && l.sent[from-1].noRoom != nil {
		from--
	}
	back := slices.Clone(l.sent[from:])
	l.sent = l.sent[:from]
	if l.by == nil { // it has no order
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

// noRoom reports whether the switching function has refused a question because it has too many.
func noRoom(err error) bool {
	var refusal *uacsta.Error
	return errors.As(err, &refusal) && refusal.Value == uacsta.OutstandingReqLimitExceeded
}

// expire refuses a question that has waited too long for its turn.
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

// coreWaits is how many of the core's own questions wait for a turn before it asks no more.
const coreWaits = 16

// crowded reports whether many of the core's own questions wait; t.mu is held.
func (t *turns) crowded() bool {
	l := t.lines[nil]
	return l != nil && len(l.waiting) >= coreWaits && !t.closed
}

// calmDown tells those that wait for it that few of the core's questions wait; t.mu is held.
func (t *turns) calmDown() {
	if t.calm != nil && !t.crowded() {
		close(t.calm)
		t.calm = nil
	}
}

// quiet waits until few of the core's own questions wait for their turn.
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

// finish refuses all questions, those that are out, too: their answers do not count any more.
func (t *turns) close() {
	t.mu.Lock()
	t.closed = true
	var all []*question
	for _, l := range t.lines {
		all = append(append(all, l.sent...), l.waiting...)
		l.sent, l.waiting, l.queued = nil, nil, false
	}
	clear(t.lines)
	clear(t.groups)
	t.next = nil
	t.calmDown()
	t.mu.Unlock()
	for _, q := range all {
		if q.limit != nil {
			q.limit.Stop()
		}
		q.refuse(errLinkDown)
	}
}

// roomAtLink is how many questions a switching function takes at a time, as far as its answers have shown.
type roomAtLink struct {
	now, most int
	good      int // questions that were taken since it changed
	proved    int // most others that were out beside one that was taken
	doubted   int // others that were out beside one that was refused though more had been taken
	doubts    int // such refusals one after the other
}

// maxDoubts is how often a refusal is taken to be about something else than room.
const maxDoubts = 8

// learn takes note of what became of a question that was sent while so many others were out.
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
	case others == 0: // which says nothing of room
	case others < r.proved && r.doubts < maxDoubts: // it has taken more: the device that was asked about has none
		r.doubts++
		r.doubted = others
	default:
		r.now, r.good, r.doubts, r.proved = max(1, min(r.now, others)), 0, 0, min(r.proved, others)
	}
}
