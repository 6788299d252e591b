package registrar

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/wait"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// The events of a telephone wait for the response to a request, but not for long, and hardly at all when
// it has not answered such a request before. They come behind the response, and in their order.
func TestEventsOfAMuteTelephone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answersIn := time.Duration(-1) // it never does
		s, u, _, o := inSession(t, func(ctx context.Context, req *uacsta.Message) (*uacsta.Message, error) {
			switch {
			case req.Name() == uacsta.NameMakeCall && answersIn < 0:
				<-ctx.Done()
				return nil, ctx.Err()
			case req.Name() == uacsta.NameMakeCall:
				time.Sleep(answersIn)
			}
			return accept(ctx, req)
		})
		for n, tt := range []struct {
			answersIn time.Duration
			service   *uacsta.Message
			waits     time.Duration
			answered  bool
		}{
			{-1, dialling("1"), eventWait, false},
			{-1, dialling("2"), muteWait, false},
			{-1, dialling("3"), muteWait, false},
			{0, uacsta.Encode(uacsta.SnapshotDevice{SnapshotObject: uacsta.Dev("100")}, uacsta.Edition3), 0, true}, // says nothing of MakeCall
			{-1, dialling("4"), muteWait, false},
			{50 * time.Millisecond, dialling("5"), 50 * time.Millisecond, true},
			{time.Second, dialling("6"), time.Second, true}, // it has answered the last one
			{-1, dialling("7"), eventWait, false},
		} {
			answersIn = tt.answersIn
			start := time.Now()
			s.request(tt.service, func(_ *uacsta.Message, err error) {
				if (err == nil) != tt.answered || err != nil && !errors.Is(err, ErrTelephone) {
					t.Errorf("%d: %v", n, err)
				}
				o.heard <- "response"
			})
			synctest.Wait() // the telephone has it
			s.event(u, disturbed("7"))
			s.event(u, uacsta.Encode(uacsta.BackInServiceEvent{MonitorCrossRefID: "7", Device: uacsta.Ext("100")}, uacsta.Edition3))
			var heard []string
			for range 3 {
				heard = append(heard, wait.Next(t, o.heard, "the response and two events"))
			}
			if want := []string{"response", "DoNotDisturbEvent 7", "BackInServiceEvent 7"}; !slices.Equal(heard, want) {
				t.Errorf("%d: %q, want %q", n, heard, want)
			}
			if waited := time.Since(start); waited != tt.waits {
				t.Errorf("%d: the events come after %s, want %s", n, waited, tt.waits)
			}
		}
		answersIn = -1
		start := time.Now()
		refused := make(chan error, 1)
		s.request(dialling("8"), func(_ *uacsta.Message, err error) { refused <- err })
		if err := wait.Next(t, refused, "the refusal"); !errors.Is(err, ErrTelephone) || time.Since(start) != cstaTimeout {
			t.Errorf("without events: %v after %s", err, time.Since(start))
		}
	})
}

// However many services a telephone does not answer, no more than so many are kept in mind.
func TestManyUnanswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, u, _, _ := inSession(t, func(ctx context.Context, _ *uacsta.Message) (*uacsta.Message, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		})
		for n := range 2 * maxMute {
			refused := make(chan error, 1)
			req := uacsta.NewMessage(uacsta.NamespaceED3, fmt.Sprintf("WashDishes%d", n))
			s.request(req, func(_ *uacsta.Message, err error) { refused <- err })
			wait.Next(t, refused, "the refusal")
		}
		if n := len(u.mute); n == 0 || n > maxMute {
			t.Errorf("%d services", n)
		}
	})
}

// The response to a MonitorStart that comes when nobody waits any more is told, and the telephone can be
// asked to stop the monitor; one that comes when its session is closed is not.
func TestLateMonitor(t *testing.T) {
	for _, closed := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			asked := make(chan string, 10)
			s, u, _, o := inSession(t, func(ctx context.Context, req *uacsta.Message) (*uacsta.Message, error) {
				asked <- req.Name() + " " + req.CrossRef()
				if req.Name() == uacsta.NameMonitorStart {
					time.Sleep(10 * time.Second)
					return started("8")
				}
				return accept(ctx, req)
			})
			o.late = func(n *Session, _, res *uacsta.Message) {
				if _, err := n.Ask(time.Second, uacsta.Encode(uacsta.MonitorStop{MonitorCrossRefID: res.CrossRef()}, uacsta.Edition3)); err != nil {
					t.Error(err)
				}
			}
			refused := make(chan error, 1)
			s.request(monitoring(), func(_ *uacsta.Message, err error) { refused <- err })
			if err := wait.Next(t, refused, "the refusal"); !errors.Is(err, ErrTelephone) {
				t.Error(err)
			}
			want := []string{"MonitorStart ", "MonitorStop 8"}
			if closed {
				s.hangUp(u, nil)
				want = want[:1]
			}
			time.Sleep(20 * time.Second)
			synctest.Wait()
			var got []string
			for len(asked) > 0 {
				got = append(got, <-asked)
			}
			if !slices.Equal(got, want) {
				t.Errorf("session closed: %v: %q, want %q", closed, got, want)
			}
		})
	}
}

// The response to one MonitorStart is waited for until the next: nobody would know whose it is.
func TestOneLateMonitor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var first context.Context
		s, _, _, _ := inSession(t, func(ctx context.Context, _ *uacsta.Message) (*uacsta.Message, error) {
			if first == nil {
				first = ctx
			}
			<-ctx.Done()
			return nil, ctx.Err()
		})
		refused := make(chan error, 2)
		s.request(monitoring(), func(_ *uacsta.Message, err error) { refused <- err })
		wait.Next(t, refused, "the refusal")
		synctest.Wait()
		if first.Err() != nil {
			t.Error("a late response is not waited for")
		}
		s.request(monitoring(), func(_ *uacsta.Message, err error) { refused <- err })
		synctest.Wait()
		if first.Err() == nil {
			t.Error("the responses to two are waited for")
		}
		wait.Next(t, refused, "the refusal")
	})
}

// A request waits for a session that is being opened, though others of the user cannot be.
func TestRequestAwaitsSession(t *testing.T) {
	s, u, phone, _ := inSession(t, accept)
	dead, alive := &binding{static: true, contact: "sip:100@127.0.0.2"}, u.bindings[0]
	s.mu.Lock()
	alive.csta.client, alive.csta.opening, dead.csta.opening = nil, true, true
	u.bindings = []*binding{dead, alive}
	s.mu.Unlock()
	answers := make(chan error, 1)
	s.request(dialling("1"), func(_ *uacsta.Message, err error) { answers <- err })
	s.mu.Lock()
	alive.csta.client = phone
	s.mu.Unlock()
	s.tried(u, alive)
	if err := wait.Next(t, answers, "the response"); err != nil {
		t.Error(err)
	}
	s.mu.Lock()
	alive.csta.client = nil
	s.mu.Unlock()
	s.request(dialling("2"), func(_ *uacsta.Message, err error) { answers <- err })
	s.tried(u, dead)
	if err := wait.Next(t, answers, "the refusal"); !errors.Is(err, ErrTelephone) {
		t.Error(err)
	}
}
