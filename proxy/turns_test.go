package proxy

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// desk is where questions of clients wait for their turn, and what became of them.
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

// put has a client's question sent when its turn comes.
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

// refused are the questions that were refused, in the order of the alphabet.
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

// answer answers a question, and reports whether the answer counts.
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

// So many questions are out at a time; the others come in the turn of their clients, each client's in
// order, and what nobody asks any more leaves nothing behind.
func TestTurnsInOrder(t *testing.T) {
	a, b, c := &Session{}, &Session{}, &Session{}
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
	if len(d.lines) != 0 || len(d.next) != 0 || len(d.turns.out) != 0 {
		t.Errorf("%d lines are left, %d turns, %d questions", len(d.lines), len(d.next), len(d.turns.out))
	}
	d.put(a, "again")
	d.expect(t, "again")
	q := d.out["again"]
	if !d.answer("again", nil) || d.answered(q, nil) {
		t.Error("a question is answered twice")
	}
}

// A switching function that takes fewer questions than was thought gets fewer; the one that it had no
// room for comes again, before others of its client. After it has answered for a while it gets more,
// up to what was thought.
func TestRoomOfASwitch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &Session{}
		d := newDesk(4)
		for _, name := range []string{"1", "2", "3", "4", "5", "6"} {
			d.put(a, name)
		}
		d.expect(t, "1 2 3 4")
		if d.answer("4", errFull) {
			t.Error("a question that is asked again is answered")
		}
		d.expect(t, "")
		d.answer("1", nil)
		d.expect(t, "4")
		for _, name := range []string{"2", "3", "4", "5", "6"} {
			d.answer(name, nil)
		}
		d.expect(t, "5 6")
		good := 6 // answers since
		most := func() (n int) {
			for n = range 10 {
				before := len(d.sent)
				d.put(a, fmt.Sprint("probe", n))
				if len(d.sent) == before {
					break
				}
			}
			for i := range n + 1 {
				d.answer(fmt.Sprint("probe", i), nil)
				good++
			}
			d.sent = nil
			return n
		}
		if n := most(); n != 3 {
			t.Errorf("it takes %d at a time, after it had no room for the fourth", n)
		}
		for ; good < 16*3; good++ {
			d.put(a, "x")
			d.answer("x", nil)
		}
		d.sent = nil
		if n := most(); n != 4 {
			t.Errorf("it takes %d at a time, after it has answered for a while", n)
		}
		for range 200 {
			d.put(a, "x")
			d.answer("x", nil)
		}
		d.sent = nil
		if n := most(); n != 4 {
			t.Errorf("it takes %d at a time, and four at most", n)
		}
		if len(d.refused()) != 0 {
			t.Error(d.refused())
		}
	})
}

// A switching function that has no room for anything is told one question at a time, and its refusal
// is the answer where there is nothing else out that could make room, or others of the client have
// followed.
func TestNoRoomAtAll(t *testing.T) {
	a, b := &Session{}, &Session{}
	d := newDesk(4)
	d.put(a, "only")
	if !d.answer("only", errFull) {
		t.Error("it would be asked again at once, for ever")
	}
	d.put(a, "1")
	d.put(b, "2")
	d.expect(t, "only 1")
	d.answer("1", nil)
	d.answer("2", nil)
	d = newDesk(4)
	d.put(b, "other")
	d.put(a, "first")
	d.put(a, "second")
	if !d.answer("first", errFull) {
		t.Error("a question that another of its client has passed is asked again")
	}
	if d.answer("second", errFull) {
		t.Error("a question that could be asked again is answered")
	}
	d.expect(t, "other first second")
	d.answer("other", nil)
	d.expect(t, "second")
}

// A client's question that has waited too long is refused, and those behind it have their turns; the
// core's own wait as long as it takes. A question that was sent once waits no longer in all.
func TestWaitingTooLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := &Session{}, &Session{}
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

// When a life ends all questions are refused, those that are out, too; what is answered later does
// not count, and later questions are refused at once.
func TestTurnsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := &Session{}, &Session{}
		d := newDesk(1)
		d.put(a, "out")
		d.put(a, "waits")
		d.put(b, "waits too")
		d.finish()
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

// A link that answers while it is asked hands the next turn out itself: no question overtakes another
// of its client.
func TestAnsweredAtOnce(t *testing.T) {
	a := &Session{}
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

// A switching function that has no room, and says so while it is asked, is asked again once others are
// answered, and once only.
func TestNoRoomAtOnce(t *testing.T) {
	a, b := &Session{}, &Session{}
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
	if tries != 3 || len(d.lines) != 0 || len(d.next) != 0 || len(d.turns.out) != 0 {
		t.Errorf("it is asked %d times; %d lines are left, %d turns, %d questions", tries, len(d.lines), len(d.next), len(d.turns.out))
	}
}
