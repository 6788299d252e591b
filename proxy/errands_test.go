package proxy_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/tr87proxy/tr87proxy/policy"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// holdup is a client that blocks in an event until released.
type holdup struct {
	closed chan error
	goOn   chan struct{}
	inside atomic.Int32
}

func (h *holdup) Event(*uacsta.Message) {
	h.inside.Add(1)
	defer h.inside.Add(-1)
	<-h.goOn
}

func (h *holdup) Closed(err error) { h.closed <- err }

// Run waits for a client that is receiving an event.
func TestRunWaitsForClients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &flaky{lose: make(chan error)}
		p := proxy.New(proxy.Config{Policy: demo, Numbers: &policy.Numbers{Extensions: func(n string) bool { return len(n) == 3 }}})
		p.AddLink("flaky", f, func(string) bool { return true })
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		done := make(chan struct{})
		go func() { p.Run(ctx); close(done) }()
		synctest.Wait()
		h := &holdup{closed: make(chan error, 1), goOn: make(chan struct{})}
		s, err := p.Open(proxy.Opening{Identity: policy.Identity{Name: "a"}}, h)
		if err != nil {
			t.Fatal(err)
		}
		request(s, monitorOf("100"))
		f.event()
		synctest.Wait()
		cancel()
		if err := <-h.closed; err == nil {
			t.Error("the session ends without a reason")
		}
		synctest.Wait()
		select {
		case <-done:
			t.Errorf("Run has returned while %d events are being told", h.inside.Load())
		default:
		}
		close(h.goOn)
		<-done
		if n := h.inside.Load(); n != 0 {
			t.Errorf("%d events are being told", n)
		}
	})
}

// A request after Run has returned is refused, before Request returns.
func TestRequestAfterRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := proxy.New(proxy.Config{Policy: demo, Numbers: &policy.Numbers{Extensions: func(n string) bool { return len(n) == 3 }}})
		p.AddLink("flaky", &flaky{lose: make(chan error)}, func(string) bool { return true })
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { p.Run(ctx); close(done) }()
		synctest.Wait()
		s, err := p.Open(proxy.Opening{Identity: policy.Identity{Name: "a"}}, &listener{})
		if err != nil {
			t.Fatal(err)
		}
		cancel()
		<-done
		for _, req := range []any{monitorOf("100"), uacsta.GetMonitors{}, uacsta.SnapshotDevice{SnapshotObject: uacsta.Dev("100")}} {
			var replies []*uacsta.Message
			s.Request(uacsta.Encode(req, uacsta.Edition3), func(m *uacsta.Message) { replies = append(replies, m) })
			if len(replies) != 1 || !errors.Is(replies[0].Err(), uacsta.Refuse(uacsta.SystemResourceAvailability, uacsta.ResourceOutOfService)) {
				t.Errorf("%T: %v", req, replies)
			}
		}
	})
}

// Requests during a shutdown have their replies by the time Run and Request have returned.
func TestRequestsWhileRunEnds(t *testing.T) {
	for range 50 {
		p := proxy.New(proxy.Config{Policy: demo, Numbers: &policy.Numbers{Extensions: func(n string) bool { return len(n) == 3 }}})
		p.AddLink("flaky", &flaky{lose: make(chan error)}, func(string) bool { return true })
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { p.Run(ctx); close(done) }()
		if err := p.Await(t.Context(), "flaky"); err != nil {
			t.Fatal(err)
		}
		s, err := p.Open(proxy.Opening{Identity: policy.Identity{Name: "a"}}, &listener{})
		if err != nil {
			t.Fatal(err)
		}
		var group sync.WaitGroup
		var asked, replied atomic.Int32
		for _, req := range []any{monitorOf("100"), uacsta.SnapshotDevice{SnapshotObject: uacsta.Dev("100")}} {
			group.Go(func() {
				for asked.Load() < 100 {
					asked.Add(1)
					s.Request(uacsta.Encode(req, uacsta.Edition3), func(*uacsta.Message) { replied.Add(1) })
					select {
					case <-done:
						return
					default:
					}
				}
			})
		}
		cancel()
		<-done
		group.Wait()
		if asked.Load() != replied.Load() {
			t.Fatalf("%d requests, %d replies", asked.Load(), replied.Load())
		}
	}
}
