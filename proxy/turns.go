package proxy

import (
	"errors"
	"slices"
	"time"

	"github.com/tr87proxy/tr87proxy/gate"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// turns lets clients ask a link in turn. So many questions are out at a time; the others wait: those
// of one client in their order, clients one after the other, none longer than it may. A switching
// function that takes fewer questions at a time than was thought says so, and gets fewer, until it
// has answered for a while.
type turns struct {
	wait time.Duration // for a turn

	mu      lock
	over    bool
	room    int // questions that may be out
	most    int // of room
	good    int // answers since room changed
	out     map[*question]struct{}
	lines   map[*Session]*line
	next    []*line // those in which somebody waits, in the order of their turns
	handing bool    // somebody hands out turns
}

// line is one client's questions.
type line struct {
	by      *Session // nil: the core, which waits as long as it takes
	waiting []*question
	out     int
	sent    *question // the last that was
	sending bool      // it is on its way to the link: none overtakes it
}

// question is a request that waits for its turn, or for its answer.
type question struct {
	line   *line
	send   func(*question)
	refuse func(error)
	since  time.Time
	limit  *time.Timer // of its waiting; nil: none
}

func newTurns(most int, wait time.Duration) *turns {
	return &turns{mu: lock{rank: ofLife}, wait: wait, room: most, most: most, out: map[*question]struct{}{}, lines: map[*Session]*line{}}
}

// ask has a question sent when its turn comes; by is the client. Either send is called, and
// answered is to be called with that question, or refuse: once in all, but for a question that the
// switching function had no room for, which is sent again.
func (t *turns) ask(by *Session, send func(*question), refuse func(error)) {
	q := &question{send: send, refuse: refuse, since: time.Now()}
	t.mu.Lock()
	if t.over {
		t.mu.Unlock()
		refuse(errLinkDown)
		return
	}
	l := t.lines[by]
	if l == nil {
		l = &line{by: by}
		t.lines[by] = l
	}
	q.line = l
	if len(t.out) < t.room && len(t.next) == 0 && !l.sending {
		t.give(q)
		t.mu.Unlock()
		t.hand()
		return
	}
	l.waiting = append(l.waiting, q)
	t.await(q)
	if len(l.waiting) == 1 && !l.sending {
		t.next = append(t.next, l)
	}
	t.mu.Unlock()
	t.hand() // where an answer came just now
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
	t.out[q] = struct{}{}
	l.out++
	l.sent, l.sending = q, true
	t.mu.Unlock()
	q.send(q)
	t.mu.Lock()
	l.sending = false
	if len(l.waiting) > 0 {
		t.next = append(t.next, l)
	}
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
	for len(t.out) < t.room && len(t.next) > 0 {
		l := t.next[0]
		t.next = t.next[1:]
		q := l.waiting[0]
		l.waiting = l.waiting[1:]
		t.give(q)
	}
	t.handing = false
}

// forget drops a line with nothing in it; t.mu is held.
func (t *turns) forget(l *line) {
	if l.out == 0 && len(l.waiting) == 0 && !l.sending && t.lines[l.by] == l {
		delete(t.lines, l.by)
	}
}

// answered takes note that a question has its answer, and reports whether the answer counts: not
// when the life is over, and not when the question is sent again. Once the answer has been passed
// on, hand must be called.
func (t *turns) answered(q *question, err error) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, waits := t.out[q]; !waits {
		return false
	}
	delete(t.out, q)
	l := q.line
	l.out--
	if !noRoom(err) {
		if t.good++; t.room < t.most && t.good >= 16*t.room {
			t.room++
			t.good = 0
		}
		t.forget(l)
		return true
	}
	t.room, t.good = max(1, min(t.room, len(t.out))), 0
	// A question that others of its client have followed would come after them.
	if len(t.out) == 0 || l.sent != q || l.by != nil && time.Since(q.since) >= t.wait {
		t.forget(l)
		return true
	}
	l.waiting = slices.Insert(l.waiting, 0, q)
	t.await(q)
	if len(l.waiting) == 1 && !l.sending {
		t.next = append(t.next, l)
	}
	return false
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
		if len(l.waiting) == 0 {
			t.next = slices.DeleteFunc(t.next, func(other *line) bool { return other == l })
		}
		t.forget(l)
	}
	t.mu.Unlock()
	if i >= 0 {
		q.refuse(Refusal(gate.ErrTooManyWaiting))
	}
}

// finish refuses all questions, those that are out, too: their answers do not count any more.
func (t *turns) finish() {
	t.mu.Lock()
	t.over = true
	var all []*question
	for q := range t.out {
		all = append(all, q)
	}
	for _, l := range t.lines {
		all = append(all, l.waiting...)
		l.waiting = nil
	}
	clear(t.out)
	clear(t.lines)
	t.next = nil
	t.mu.Unlock()
	for _, q := range all {
		if q.limit != nil {
			q.limit.Stop()
		}
		q.refuse(errLinkDown)
	}
}
