package proxy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tr87proxy/tr87proxy/policy"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// desk records clients' requests that wait for their turn, and their outcomes.
type desk struct {
	*turns

	out  map[string]*question // that are out, by name
	sent []string

	guard sync.Mutex
	lost  []string // that were refused, and why
}

func newDesk(most int) *desk {
	return &desk{turns: newTurns(most, 5*time.Second), out: map[string]*question{}}
}

// somebody returns a session of an identity.
func somebody(name string) *Session {
	s := &Session{}
	s.who.Store(&policy.Identity{Name: name})
	return s
}

// put asks for a turn for a client's request.
func (d *desk) put(by *Session, name string) {
	d.ask(by, func(q *question) {
		d.out[name] = q
		d.sent = append(d.sent, name)
	}, func(err error) {
		d.guard.Lock()
		defer d.guard.Unlock()
		d.lost = append(d.lost, name+" "+reasonOf(err))
	})
}

// refused returns the refused requests in alphabetical order.
func (d *desk) refused() []string {
	d.guard.Lock()
	defer d.guard.Unlock()
	return slices.Sorted(slices.Values(d.lost))
}

func reasonOf(err error) string {
	var refusal *uacsta.Error
	if errors.As(err, &refusal) {
		return refusal.Value
	}
	return fmt.Sprint(err)
}

var errFull = uacsta.Refuse(uacsta.SubscribedResourceAvailability, uacsta.OutstandingReqLimitExceeded)

// answer answers a request and reports whether the response counts.
func (d *desk) answer(name string, err error) bool {
	q := d.out[name]
	delete(d.out, name)
	counts := d.answered(q, err)
	d.hand()
	return counts
}

func (d *desk) expect(t *testing.T, want string) {
	t.Helper()
	if got := strings.Join(d.sent, " "); got != want {
		t.Errorf("sent: %s; want %s", got, want)
	}
	d.sent = nil
}

// A limited number of requests is out at a time. The others come in the turn of their clients, each
// client's in order, and nothing is left afterwards.
func TestTurnsInOrder(t *testing.T) {
	a, b, c := somebody("a"), somebody("b"), somebody("c")
	d := newDesk(2)
	for _, name := range []string{"a1", "a2", "a3", "a4"} {
		d.put(a, name)
	}
	d.put(b, "b1")
	d.put(b, "b2")
	d.put(c, "c1")
	d.expect(t, "a1 a2")
	for _, name := range []string{"a1", "a2", "a3", "b1", "c1", "a4", "b2"} {
		if !d.answer(name, nil) {
			t.Errorf("the answer to %s does not count", name)
		}
	}
	d.expect(t, "a3 b1 c1 a4 b2")
	if len(d.lines) != 0 || len(d.next) != 0 || d.turns.out != 0 {
		t.Errorf("%d lines are left, %d turns, %d questions", len(d.lines), len(d.next), d.turns.out)
	}
	d.put(a, "again")
	d.expect(t, "again")
	q := d.out["again"]
	if !d.answer("again", nil) || d.answered(q, nil) {
		t.Error("a question is answered twice")
	}
}

// A switching function that accepts fewer requests than assumed gets fewer. Those that it had no room
// for are sent again in order, unless it has accepted a later one. After a while it gets more, up to
// the configured number.
func TestRoomOfASwitch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := somebody("a"), somebody("b")
		d := newDesk(8)
		d.put(b, "b")
		for _, name := range []string{"1", "2", "3", "4", "5"} {
			d.put(a, name)
		}
		d.expect(t, "b 1 2 3 4 5")
		d.put(a, "6")
		for _, name := range []string{"3", "5", "4"} { // it had room for three
			if d.answer(name, errFull) {
				t.Errorf("%s is answered, and could be asked again", name)
			}
		}
		if d.room.now != 3 {
			t.Errorf("it takes %d at a time, after it had no room for a fourth", d.room.now)
		}
		d.expect(t, "")
		for _, name := range []string{"1", "2", "3"} {
			d.answer(name, nil)
		}
		d.expect(t, "3 4 5")
		d.answer("4", nil)
		d.answer("5", nil)
		d.answer("6", nil)
		d.answer("b", nil)
		d.expect(t, "6")

		d.put(b, "b1")
		d.put(b, "b2")
		d.put(a, "1")
		d.expect(t, "b1 b2 1")
		d.answer("b1", nil)
		d.put(a, "2")
		if d.answer("1", errFull) {
			t.Error("1 is answered while it is open whether 2 is taken")
		}
		d.answer("2", nil)
		if got := d.refused(); !slices.Equal(got, []string{"1 " + uacsta.OutstandingReqLimitExceeded}) {
			t.Errorf("2 was taken, and 1 stood before it: %v", got)
		}
		d.answer("b2", nil)
		for range 4000 {
			d.put(a, "x")
			d.answer("x", nil)
		}
		if d.room.now != 8 {
			t.Errorf("it takes %d at a time, after it has answered for a while", d.room.now)
		}
		if len(d.lines) != 0 || len(d.groups) != 0 || d.turns.out != 0 {
			t.Errorf("%d lines are left, %d identities, %d questions", len(d.lines), len(d.groups), d.turns.out)
		}
	})
}

// A device without room says nothing about a switching function that has accepted more. Repeated
// refusals do.
func TestRoomOfADevice(t *testing.T) {
	r := roomAtLink{now: 256, most: 256}
	r.learn(0, true)
	for others := range 100 {
		r.learn(others, false)
	}
	for range 1000 {
		r.learn(2, true)
		for range 30 {
			r.learn(50, false)
		}
	}
	if r.now != 256 {
		t.Errorf("one device in trouble leaves room for %d", r.now)
	}
	for range maxDoubts + 1 {
		r.learn(5, true)
	}
	if r.now != 5 {
		t.Errorf("the switching function takes 5, it gets %d", r.now)
	}
	for answers := range 10000 {
		if r.learn(r.now-1, false); r.now == 256 {
			t.Logf("after %d answers there is all the room again", answers)
			return
		}
	}
	t.Errorf("after 10000 answers there is room for %d", r.now)
}

// However many requests and sessions an identity has, it leaves room for others, and its sessions
// share one turn.
func TestRoomForOthers(t *testing.T) {
	d := newDesk(12)
	for n := range 10 {
		s := somebody("greedy")
		for i := range 10 {
			d.put(s, fmt.Sprintf("%d.%d", n, i))
		}
	}
	if len(d.sent) != 8 {
		t.Errorf("%d of 12 turns are those of one identity", len(d.sent))
	}
	d.sent = nil
	d.put(somebody("modest"), "modest")
	d.expect(t, "modest")
	d.put(somebody("greedy too"), "too")
	d.expect(t, "too")
	d.put(nil, "the core's")
	d.put(somebody("last"), "last")
	d.expect(t, "the core's last")
	d.put(somebody("one more"), "waits")
	d.expect(t, "")
	d.answer("0.0", nil)
	d.expect(t, "waits")
	d.answer("0.1", nil)
	d.answer("0.2", nil)
	d.expect(t, "")
	d.answer("0.3", nil)
	d.expect(t, "0.8")
}

// A request that is withdrawn at its turn leaves nothing behind.
func TestWithdraw(t *testing.T) {
	a := somebody("a")
	d := newDesk(1)
	d.put(a, "out")
	withdrawn := false
	d.ask(a, func(q *question) { withdrawn = d.withdraw(q) }, func(err error) { t.Error(err) })
	d.put(a, "next")
	d.answer("out", nil)
	d.expect(t, "out next")
	d.answer("next", nil)
	if !withdrawn || len(d.lines) != 0 || len(d.groups) != 0 || d.turns.out != 0 {
		t.Errorf("%v, %d lines are left, %d identities, %d questions", withdrawn, len(d.lines), len(d.groups), d.turns.out)
	}
}

// The core sends no more requests of its own while many of them wait.
func TestQuiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(1)
		d.put(somebody("a"), "out")
		for n := range coreWaits {
			if err := d.quiet(t.Context()); err != nil {
				t.Fatal(err)
			}
			d.put(nil, fmt.Sprint(n))
		}
		calm := make(chan error, 2)
		go func() { calm <- d.quiet(t.Context()) }()
		ctx, cancel := context.WithCancel(t.Context())
		go func() { calm <- d.quiet(ctx) }()
		synctest.Wait()
		if len(calm) != 0 {
			t.Fatal("it asks more")
		}
		cancel()
		if err := <-calm; err == nil {
			t.Fatal("it asks more after its end")
		}
		d.answer("out", nil)
		if err := <-calm; err != nil {
			t.Error(err)
		}
	})
}

// A refusal for want of room is passed on if no other request is out that could make room. It says
// nothing about the room.
func TestNoRoomAtAll(t *testing.T) {
	a, b := somebody("a"), somebody("b")
	d := newDesk(4)
	d.put(a, "only")
	if !d.answer("only", errFull) {
		t.Error("it would be asked again at once, for ever")
	}
	d.put(b, "other")
	d.put(a, "first")
	d.put(a, "second")
	d.expect(t, "only other first second")
	for _, name := range []string{"first", "second"} {
		if d.answer(name, errFull) {
			t.Errorf("%s could be asked again, and is answered", name)
		}
	}
	d.expect(t, "")
	d.answer("other", nil)
	d.expect(t, "first")
	d.answer("first", nil)
	d.expect(t, "second")
}

// A client's request that has waited too long is refused, and later ones get their turns; the core's
// own do not expire. A request that is sent again does not wait longer in all.
func TestWaitingTooLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := somebody("a"), somebody("b")
		d := newDesk(1)
		d.put(b, "out")
		d.put(a, "waits")
		d.put(nil, "core's")
		time.Sleep(3 * time.Second)
		d.put(a, "later")
		time.Sleep(2*time.Second - time.Millisecond)
		synctest.Wait()
		if len(d.refused()) != 0 {
			t.Errorf("refused too soon: %v", d.refused())
		}
		time.Sleep(time.Millisecond)
		synctest.Wait()
		if want := []string{"waits " + uacsta.OutstandingReqLimitExceeded}; !slices.Equal(d.refused(), want) {
			t.Errorf("refused: %v", d.refused())
		}
		d.answer("out", nil)
		d.expect(t, "out later")
		d.answer("later", nil)
		d.expect(t, "core's")
		d.put(a, "alone")
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if len(d.refused()) != 2 || len(d.next) != 0 {
			t.Errorf("refused: %v; %d clients have a turn", d.refused(), len(d.next))
		}
		time.Sleep(time.Hour)
		d.answer("core's", nil)
		d.expect(t, "")

		d = newDesk(2)
		d.put(nil, "core's")
		d.put(a, "again")
		time.Sleep(4 * time.Second)
		if d.answer("again", errFull) {
			t.Error("it is not asked again within its time")
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if want := []string{"again " + uacsta.OutstandingReqLimitExceeded}; !slices.Equal(d.refused(), want) {
			t.Errorf("refused after all its time: %v", d.refused())
		}
		d = newDesk(2)
		d.put(nil, "core's")
		d.put(a, "late")
		time.Sleep(5 * time.Second)
		if !d.answer("late", errFull) {
			t.Error("it is asked again after all its time")
		}
		d = newDesk(2)
		d.put(a, "out")
		d.put(nil, "core's")
		time.Sleep(time.Hour)
		if d.answer("core's", errFull) {
			t.Error("the core's question is given up")
		}
		d.answer("out", nil)
		d.expect(t, "out core's core's")
	})
}

// When a life ends, all requests are refused, also those that are out. Later responses do not count,
// and later requests are refused at once.
func TestTurnsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := somebody("a"), somebody("b")
		d := newDesk(1)
		d.put(a, "out")
		d.put(a, "waits")
		d.put(b, "waits too")
		d.close()
		d.put(b, "after")
		want := []string{"after " + reasonOf(errLinkDown), "out " + reasonOf(errLinkDown), "waits " + reasonOf(errLinkDown), "waits too " + reasonOf(errLinkDown)}
		if !slices.Equal(d.refused(), want) {
			t.Errorf("refused: %v", d.refused())
		}
		if d.answer("out", nil) {
			t.Error("an answer of a life that is over counts")
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if len(d.refused()) != 4 || len(d.lines) != 0 {
			t.Errorf("refused later: %v; %d lines", d.refused(), len(d.lines))
		}
		d.expect(t, "out")
	})
}

// A link that responds within Request gives the next turn itself, and no request overtakes another of
// its client.
func TestResponseWithinRequest(t *testing.T) {
	a := somebody("a")
	d := newDesk(1)
	var order []string
	put := func(name string, then func()) {
		d.ask(a, func(q *question) {
			order = append(order, name)
			if then != nil {
				then()
			}
			d.answered(q, nil)
			d.hand()
		}, func(err error) { t.Error(name, err) })
	}
	put("1", func() { // while the first is on its way, others come
		put("2", nil)
		put("3", nil)
	})
	put("4", nil)
	if got := strings.Join(order, " "); got != "1 2 3 4" {
		t.Error(got)
	}
	if len(d.lines) != 0 || len(d.next) != 0 || d.handing {
		t.Errorf("%d lines are left", len(d.lines))
	}
}

// A switching function that refuses for want of room within Request gets the request again once others
// are answered, and only once.
func TestNoRoomAtOnce(t *testing.T) {
	a, b := somebody("a"), somebody("b")
	d := newDesk(4)
	d.put(b, "out")
	d.put(b, "out too")
	tries := 0
	d.ask(a, func(q *question) {
		if tries++; tries < 3 {
			if d.answered(q, errFull) {
				t.Error("a question that could be asked again is answered")
			}
			return
		}
		d.answered(q, nil)
	}, func(err error) { t.Error(err) })
	d.put(a, "next")
	if tries != 1 {
		t.Errorf("it is asked %d times at once", tries)
	}
	d.answer("out", nil)
	if tries != 2 {
		t.Errorf("it is asked %d times after one was answered", tries)
	}
	d.answer("out too", nil)
	d.expect(t, "out out too next")
	d.answer("next", nil)
	if tries != 3 || len(d.lines) != 0 || len(d.next) != 0 || d.turns.out != 0 {
		t.Errorf("it is asked %d times; %d lines are left, %d turns, %d questions", tries, len(d.lines), len(d.next), d.turns.out)
	}
}

// A new life starts with the room that the previous one has found out.
func TestRoomOfANewLife(t *testing.T) {
	before, now := newTurns(8, time.Second), newTurns(8, time.Second)
	before.room.learn(3, true)
	now.begin(before)
	if now.room.now != 3 || now.room.most != 8 {
		t.Errorf("%+v", now.room)
	}
}
