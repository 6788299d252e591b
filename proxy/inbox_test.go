package proxy_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/tr87proxy/tr87proxy/internal/gate"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// An inbox runs tasks in order, accepts a limited number, and none before Open or after Run. Tasks
// that it has accepted run.
func TestInbox(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var box proxy.Inbox
		var done []int
		var refused []error
		give := func(n int) {
			box.Do(func() { done = append(done, n) }, func(err error) { refused = append(refused, err) })
		}
		give(-1)
		if len(refused) != 1 || !errors.Is(refused[0], gate.ErrClosed) {
			t.Fatalf("before it is open: %v", refused)
		}
		box.Open()
		box.Post(func() { done = append(done, 0) })
		for n := 1; n < 1024; n++ {
			give(n)
		}
		give(1024)
		if len(refused) != 2 || !errors.Is(refused[1], gate.ErrTooManyWaiting) || len(done) != 0 {
			t.Fatalf("one too many: %v", refused)
		}
		deliver := box.Deliverer()
		delivered := false
		go func() {
			deliver(func() { done = append(done, 1024) })
			delivered = true
		}()
		synctest.Wait()
		if delivered {
			t.Error("there was no room, and it was taken")
		}
		ended, over := make(chan error), make(chan error, 1)
		go func() { over <- box.Run(ended) }()
		synctest.Wait()
		if !delivered || len(done) != 1025 || !slices.IsSorted(done) {
			t.Errorf("%d are done, in order: %v", len(done), slices.IsSorted(done))
		}
		block := make(chan struct{})
		box.Post(func() { <-block })
		give(1025)
		synctest.Wait()
		why := errors.New("the end")
		go func() { ended <- why }()
		close(block)
		if err := <-over; !errors.Is(err, why) {
			t.Errorf("it ended with %v", err)
		}
		give(1026)
		if last := done[len(done)-1] - 1024; last < 0 || last > 1 || last+len(refused) != 4 || !errors.Is(refused[2], gate.ErrClosed) { // the one that came with the end: either
			t.Errorf("the last that is done is %d; after the end: %v", done[len(done)-1], refused)
		}
	})
}

// A panic in a task goes to the guard, and the other tasks run, also those before the end.
func TestInboxGuarded(t *testing.T) {
	for _, late := range []bool{false, true} {
		var box proxy.Inbox
		var failures []string
		deliver := box.Open()
		box.Guard(func(err error) { failures = append(failures, err.Error()) })
		ended := make(chan error, 1)
		after := false
		if late {
			box.Post(func() { ended <- nil })
		}
		deliver(func() { panic("a fault") })
		deliver(func() { after = true })
		if !late {
			box.Post(func() { ended <- nil })
		}
		if err := box.Run(ended); err != nil || !after || len(failures) != 1 || !strings.Contains(failures[0], "a fault") {
			t.Errorf("%v, %v, %q", err, after, failures)
		}
	}
}

// Without a guard, a panic in a task is a panic of Run.
func TestInboxUnguarded(t *testing.T) {
	defer func() {
		if why := recover(); why != "a fault" {
			t.Errorf("%v", why)
		}
	}()
	var box proxy.Inbox
	box.Open()
	box.Post(func() { panic("a fault") })
	_ = box.Run(make(chan error))
}

// Perform decodes a request and encodes its response. It refuses a request that it cannot decode, and
// converts errors to CSTA errors.
func TestPerform(t *testing.T) {
	for name, tt := range map[string]struct {
		req  *uacsta.Message
		res  any
		err  error
		want string // that is answered: a name, or why not
		done bool
	}{
		"a service":             {req: uacsta.Encode(uacsta.HoldCall{CallToBeHeld: uacsta.Conn("1", "100")}, uacsta.Edition3), res: uacsta.HoldCallResponse{}, want: "HoldCallResponse", done: true},
		"an unknown one":        {req: uacsta.NewMessage(uacsta.NamespaceED3, "WashDishes"), want: uacsta.ServiceNotSupported},
		"one that misses a bit": {req: uacsta.NewMessage(uacsta.NamespaceED3, "HoldCall"), want: "callToBeHeld"},
		"a refusal":             {req: uacsta.Encode(uacsta.HoldCall{CallToBeHeld: uacsta.Conn("1", "100")}, uacsta.Edition3), err: uacsta.Refuse(uacsta.Operation, uacsta.InvalidConnectionID), want: uacsta.InvalidConnectionID, done: true},
		"a failure":             {req: uacsta.Encode(uacsta.HoldCall{CallToBeHeld: uacsta.Conn("1", "100")}, uacsta.Edition3), err: gate.ErrClosed, want: uacsta.ResourceOutOfService, done: true},
	} {
		done, answers := false, 0
		proxy.Perform(tt.req, func(res *uacsta.Message, err error) {
			answers++
			got := whyOf(err)
			if err == nil {
				got = res.Name()
			}
			if !strings.Contains(got, tt.want) {
				t.Errorf("%s is answered with %s, want %s", name, got, tt.want)
			}
		}, func(service any, answer proxy.Answer) {
			done = true
			if hold, ok := service.(*uacsta.HoldCall); !ok || hold.CallToBeHeld.DeviceID.ID != "100" {
				t.Errorf("%s: %+v", name, service)
			}
			answer(tt.res, tt.err)
		})
		if done != tt.done || answers != 1 {
			t.Errorf("%s is carried out: %v; %d answers", name, done, answers)
		}
	}
}

// Refusal converts the errors of a connection, also wrapped ones.
func TestRefusal(t *testing.T) {
	other := errors.New("something else")
	for why, want := range map[error]error{
		gate.ErrClosed:         uacsta.Refuse(uacsta.SystemResourceAvailability, uacsta.ResourceOutOfService),
		gate.ErrTimeout:        uacsta.Refuse(uacsta.SystemResourceAvailability, uacsta.Generic),
		gate.ErrTooManyWaiting: uacsta.Refuse(uacsta.SubscribedResourceAvailability, uacsta.OutstandingReqLimitExceeded),
		gate.ErrSlow:           uacsta.Refuse(uacsta.SystemResourceAvailability, uacsta.ResourceLimitExceeded),
		other:                  other,
	} {
		if got := proxy.Refusal(fmt.Errorf("wrapped: %w", why)); !errors.Is(got, want) {
			t.Errorf("%v is said as %v, want %v", why, got, want)
		}
	}
}

// An outbox calls functions in order and one at a time, whichever goroutine posts them. Drain returns
// when all have run.
func TestOutbox(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var box proxy.Outbox
		var mu sync.Mutex
		var told []string
		say := func(what string) func() {
			return func() {
				mu.Lock()
				defer mu.Unlock()
				told = append(told, what)
			}
		}
		block := make(chan struct{})
		box.Post(func() {
			say("first")()
			box.Post(say("of the first"))
			box.Flush() // who tells goes on with what it is doing
			say("first's end")()
			<-block
		})
		box.Post(say("second"))
		over := make(chan struct{})
		go func() { box.Flush(); close(over) }()
		synctest.Wait()
		box.Post(say("third"))
		box.Flush() // another does
		mu.Lock()
		if got := strings.Join(told, ", "); got != "first, first's end" {
			t.Errorf("told: %s", got)
		}
		mu.Unlock()
		finished := false
		go func() { box.Drain(); finished = true }()
		synctest.Wait()
		if finished {
			t.Error("it is finished while something is told")
		}
		close(block)
		<-over
		synctest.Wait()
		if got := strings.Join(told, ", "); !finished || got != "first, first's end, second, of the first, third" {
			t.Errorf("finished: %v; told: %s", finished, got)
		}
		box.Post(say("last"))
		box.Drain()
		if told[len(told)-1] != "last" {
			t.Error("what was to be told is not")
		}
	})
}

// A panic in a function goes to the guard, and the others run.
func TestOutboxGuarded(t *testing.T) {
	var box proxy.Outbox
	var failures []string
	box.Guard(func(err error) { failures = append(failures, err.Error()) })
	after := false
	box.Post(func() { panic("a fault") })
	box.Post(func() { after = true })
	box.Flush()
	if !after || len(failures) != 1 || !strings.Contains(failures[0], "a fault") {
		t.Errorf("%v, %q", after, failures)
	}
}
