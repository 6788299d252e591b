package registrar

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/tr87proxy/tr87proxy/internal/tasks"
	"github.com/tr87proxy/tr87proxy/internal/wait"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// Requests reach a telephone in the order of the calls.
func TestOrderOfRequests(t *testing.T) {
	var mu sync.Mutex
	var got []string
	s, _, _, _ := inSession(t, func(ctx context.Context, req *uacsta.Message) (*uacsta.Message, error) {
		mu.Lock()
		defer mu.Unlock()
		got = append(got, req.Text("calledDirectoryNumber"))
		return accept(ctx, req)
	})
	for round := range 200 {
		got = nil
		var group sync.WaitGroup
		var want []string
		for n := range 5 {
			group.Add(1)
			want = append(want, fmt.Sprint(n))
			s.request(dialling(fmt.Sprint(n)), func(_ *uacsta.Message, err error) {
				if err != nil {
					t.Error(err)
				}
				group.Done()
			})
		}
		group.Wait()
		if !slices.Equal(got, want) {
			t.Fatalf("round %d: %v", round, got)
		}
	}
}

// Whatever a telephone sends before its response is told after it, and one after the other.
func TestEventsBehindTheResponse(t *testing.T) {
	var s *Server
	var u *user
	made := make(chan struct{})
	s, u, _, o := inSession(t, func(ctx context.Context, req *uacsta.Message) (*uacsta.Message, error) {
		<-made
		s.event(u, uacsta.Encode(uacsta.BackInServiceEvent{MonitorCrossRefID: req.Text("calledDirectoryNumber"), Device: uacsta.Ext("100")}, uacsta.Edition3))
		return accept(ctx, req)
	})
	close(made)
	for n := range 20 {
		s.request(dialling(fmt.Sprint(n)), func(_ *uacsta.Message, err error) { o.heard <- fmt.Sprint("response ", err) })
		for _, want := range []string{"response <nil>", fmt.Sprint("BackInServiceEvent ", n)} {
			if got := wait.Next(t, o.heard, want); got != want {
				t.Errorf("%q, want %q", got, want)
			}
		}
	}
}

// Events, and what becomes of the session, are told one after the other: owner checks it.
func TestUpcallsAreSerial(t *testing.T) {
	s, u, _, o := inSession(t, accept)
	u.served = nil
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for range 50 {
				s.event(u, disturbed("8"))
			}
		})
	}
	await := func(what string) {
		for wait.Next(t, o.heard, what) != what {
		}
	}
	s.conversed(u)
	await("open")
	s.hangUp(u, nil)
	await("closed")
	group.Wait()
}

// Each request is answered once, at the latest before Close returns, whatever the telephone does.
func TestAnswersAtTheEnd(t *testing.T) {
	asked := make(chan struct{}, 100)
	s, _, _, _ := inSession(t, func(ctx context.Context, _ *uacsta.Message) (*uacsta.Message, error) {
		asked <- struct{}{}
		<-ctx.Done()
		return nil, ctx.Err()
	})
	answers := make([]atomic.Int32, 50)
	ask := func(n int) {
		s.request(dialling("1"), func(_ *uacsta.Message, err error) {
			answers[n].Add(1)
			if !errors.Is(err, ErrTelephone) {
				t.Errorf("request %d: %v", n, err)
			}
		})
	}
	for n := range 40 {
		ask(n)
	}
	wait.Next(t, asked, "the first request")
	s.Close()
	for n := range 10 {
		ask(40 + n)
	}
	for n := range answers {
		if got := answers[n].Load(); got != 1 {
			t.Errorf("request %d has %d responses", n, got)
		}
	}
	if len(asked) > 0 {
		t.Errorf("the telephone was asked %d more while it had not answered", len(asked))
	}
}

// A telephone is asked no more than so much at a time.
func TestManyRequests(t *testing.T) {
	release := make(chan struct{})
	s, _, _, _ := inSession(t, func(ctx context.Context, req *uacsta.Message) (*uacsta.Message, error) {
		<-release
		return accept(ctx, req)
	})
	answers := make(chan error, 2*tasks.Most)
	for range tasks.Most + 2 { // one of which has begun
		s.request(dialling("1"), func(_ *uacsta.Message, err error) { answers <- err })
	}
	if err := wait.Next(t, answers, "a refusal"); !errors.Is(err, ErrBusy) {
		t.Errorf("one request too many: %v", err)
	}
	close(release)
	for range tasks.Most + 1 {
		if err := wait.Next(t, answers, "a response"); err != nil && !errors.Is(err, ErrBusy) {
			t.Error(err)
		}
	}
}

// A telephone that sends more events than can be passed on loses its session.
func TestManyEvents(t *testing.T) {
	began, release := make(chan struct{}), make(chan struct{})
	s, u, phone, _ := inSession(t, func(ctx context.Context, req *uacsta.Message) (*uacsta.Message, error) {
		close(began)
		<-release
		return accept(ctx, req)
	})
	defer close(release)
	s.request(dialling("1"), func(*uacsta.Message, error) {})
	wait.Next(t, began, "the request")
	for range tasks.Most + 10 {
		s.event(u, dialling("1"))
	}
	wait.Next(t, phone.closed, "the end of the session")
}

// A panic in asking a telephone is answered, and closes the session; others go on.
func TestPanicOfATelephone(t *testing.T) {
	s, _, phone, _ := inSession(t, func(context.Context, *uacsta.Message) (*uacsta.Message, error) { panic("as told") })
	answers := make(chan error, 10)
	s.request(dialling("1"), func(_ *uacsta.Message, err error) { answers <- err })
	if err := wait.Next(t, answers, "the refusal"); !errors.Is(err, ErrTelephone) {
		t.Error(err)
	}
	wait.Next(t, phone.closed, "the end of the session")
	s.request(dialling("1"), func(_ *uacsta.Message, err error) { answers <- err })
	if err := wait.Next(t, answers, "the refusal"); !errors.Is(err, ErrTelephone) || len(answers) > 0 {
		t.Error(err, len(answers))
	}
}
