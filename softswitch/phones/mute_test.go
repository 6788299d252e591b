package phones

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// watching is a request for a monitor on the telephone 100.
func watching() *uacsta.Message {
	object := uacsta.Dev("100")
	return uacsta.Encode(uacsta.MonitorStart{MonitorObject: uacsta.MonitorObject{DeviceObject: &object}}, uacsta.Edition3)
}

func stopping(ref string) *uacsta.Message {
	return uacsta.Encode(uacsta.MonitorStop{MonitorCrossRefID: ref}, uacsta.Edition3)
}

// disturbed is an event under a reference of the telephone.
func disturbed(local string) *uacsta.Message {
	return uacsta.Encode(uacsta.DoNotDisturbEvent{MonitorCrossRefID: local, Device: uacsta.Ext("100")}, uacsta.Edition3)
}

// started answers MonitorStart with a reference.
func started(local string) (*uacsta.Message, error) {
	return uacsta.Encode(uacsta.MonitorStartResponse{MonitorCrossRefID: local}, uacsta.Edition3), nil
}

// must has a request answered, and returns the answer.
func must(t *testing.T, d *Desk, req *uacsta.Message) *uacsta.Message {
	t.Helper()
	answers := make(chan *uacsta.Message, 1)
	d.Request(req, func(res *uacsta.Message, err error) {
		if err != nil {
			t.Errorf("%s: %v", req.Name(), err)
		}
		answers <- res
	})
	return next(t, answers, "the answer to "+req.Name())
}

// The events of a telephone wait for the answer to a request, but not for long, and hardly at all when
// it has not answered such a request before. They come behind the answer, and in their order.
func TestEventsOfAMuteTelephone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answersIn := time.Duration(-1) // it never does
		d, l, _, up, _ := aDesk(t, func(ctx context.Context, req *uacsta.Message) (*uacsta.Message, error) {
			switch {
			case req.Name() == uacsta.NameMonitorStart:
				return started("7")
			case req.Name() == uacsta.NameMakeCall && answersIn < 0:
				<-ctx.Done()
				return nil, ctx.Err()
			case req.Name() == uacsta.NameMakeCall:
				time.Sleep(answersIn)
			}
			return accept(ctx, req)
		})
		ref := must(t, d, watching()).CrossRef()
		for n, tt := range []struct {
			answersIn time.Duration
			service   *uacsta.Message
			waits     time.Duration
			answered  bool
		}{
			{-1, dialling("1"), tellPatience, false},
			{-1, dialling("2"), mutePatience, false},
			{-1, dialling("3"), mutePatience, false},
			{0, uacsta.Encode(uacsta.SnapshotDevice{SnapshotObject: uacsta.Dev("100")}, uacsta.Edition3), 0, true}, // says nothing of MakeCall
			{-1, dialling("4"), mutePatience, false},
			{50 * time.Millisecond, dialling("5"), 50 * time.Millisecond, true},
			{time.Second, dialling("6"), time.Second, true}, // it has answered the last one
			{-1, dialling("7"), tellPatience, false},
		} {
			answersIn = tt.answersIn
			start := time.Now()
			d.Request(tt.service, func(_ *uacsta.Message, err error) {
				if (err == nil) != tt.answered || err != nil && !errors.Is(err, errTelephone) {
					t.Errorf("%d: %v", n, err)
				}
				up.heard <- "answer"
			})
			synctest.Wait() // the telephone has it
			l.event(l.server.users["100"], disturbed("7"))
			l.event(l.server.users["100"], uacsta.Encode(uacsta.BackInServiceEvent{MonitorCrossRefID: "7", Device: uacsta.Ext("100")}, uacsta.Edition3))
			var heard []string
			for range 3 {
				heard = append(heard, next(t, up.heard, "the answer and two events"))
			}
			if want := []string{"answer", "DoNotDisturbEvent " + ref, "BackInServiceEvent " + ref}; !slices.Equal(heard, want) {
				t.Errorf("%d: %q, want %q", n, heard, want)
			}
			if waited := time.Since(start); waited != tt.waits {
				t.Errorf("%d: the events come after %s, want %s", n, waited, tt.waits)
			}
		}
		answersIn = -1
		start := time.Now()
		refused := make(chan error, 1)
		d.Request(dialling("8"), func(_ *uacsta.Message, err error) { refused <- err })
		if err := next(t, refused, "the refusal"); !errors.Is(err, errTelephone) || time.Since(start) != cstaPatience {
			t.Errorf("without events: %v after %s", err, time.Since(start))
		}
	})
}

// However many services a telephone does not answer, the link keeps no more than so many in mind.
func TestManyUnanswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, l, _, _, _ := aDesk(t, func(ctx context.Context, _ *uacsta.Message) (*uacsta.Message, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		})
		for n := range 2 * maxMute {
			refused := make(chan error, 1)
			req := uacsta.NewMessage(uacsta.NamespaceED3, fmt.Sprintf("WashDishes%d", n))
			req.SetText("device", "100")
			l.server.request(l.server.users["100"], func(string) (*uacsta.Message, error) { return req, nil }, func(_ *uacsta.Message, err error) { refused <- err })
			next(t, refused, "the refusal")
		}
		_ = d
		if n := len(l.server.users["100"].mute); n == 0 || n > maxMute {
			t.Errorf("%d services", n)
		}
	})
}

// A monitor that a telephone starts when nobody waits any more is stopped, unless another has its
// reference; its events go to nobody.
func TestLateMonitor(t *testing.T) {
	for local, want := range map[string]string{"8": "8", "7": ""} { // 7 is that of the other monitor
		synctest.Test(t, func(t *testing.T) {
			late := false
			stopped := make(chan string, 10)
			d, l, _, up, _ := aDesk(t, func(ctx context.Context, req *uacsta.Message) (*uacsta.Message, error) {
				switch {
				case req.Name() == uacsta.NameMonitorStart && late:
					time.Sleep(10 * time.Second)
					return started(local)
				case req.Name() == uacsta.NameMonitorStart:
					return started("7")
				case req.Name() == uacsta.NameMonitorStop:
					stopped <- req.CrossRef()
				}
				return accept(ctx, req)
			})
			ref := must(t, d, watching()).CrossRef()
			late = true
			refused := make(chan error, 1)
			d.Request(watching(), func(_ *uacsta.Message, err error) { refused <- err })
			if err := next(t, refused, "the refusal"); !errors.Is(err, errTelephone) {
				t.Error(err)
			}
			time.Sleep(20 * time.Second)
			synctest.Wait()
			got := ""
			if len(stopped) > 0 {
				got = <-stopped
			}
			if got != want || len(stopped) > 0 {
				t.Errorf("%q is stopped, want %q", got, want)
			}
			l.event(l.server.users["100"], disturbed("8"))
			l.event(l.server.users["100"], disturbed("7"))
			synctest.Wait()
			if got := next(t, up.heard, "an event"); got != "DoNotDisturbEvent "+ref || len(up.heard) > 0 {
				t.Errorf("%q, and %d more", got, len(up.heard))
			}
		})
	}
}

// The answer to one MonitorStart is waited for until the next: nobody would know whose it is.
func TestOneLateMonitor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var first context.Context
		d, _, _, _, _ := aDesk(t, func(ctx context.Context, _ *uacsta.Message) (*uacsta.Message, error) {
			if first == nil {
				first = ctx
			}
			<-ctx.Done()
			return nil, ctx.Err()
		})
		refused := make(chan error, 2)
		d.Request(watching(), func(_ *uacsta.Message, err error) { refused <- err })
		next(t, refused, "the refusal")
		synctest.Wait()
		if first.Err() != nil {
			t.Error("a late answer is not waited for")
		}
		d.Request(watching(), func(_ *uacsta.Message, err error) { refused <- err })
		synctest.Wait()
		if first.Err() == nil {
			t.Error("the answers to two are waited for")
		}
		next(t, refused, "the refusal")
	})
}

// A telephone that has one monitor for all of ours has each of them told, and keeps it until the last
// one is stopped.
func TestOneReferenceForAll(t *testing.T) {
	stopped := make(chan string, 10)
	d, l, _, up, _ := aDesk(t, func(ctx context.Context, req *uacsta.Message) (*uacsta.Message, error) {
		switch req.Name() {
		case uacsta.NameMonitorStart:
			return started("7")
		case uacsta.NameMonitorStop:
			stopped <- req.CrossRef()
		}
		return accept(ctx, req)
	})
	first, second := must(t, d, watching()).CrossRef(), must(t, d, watching()).CrossRef()
	l.event(l.server.users["100"], disturbed("7"))
	heard := []string{next(t, up.heard, "an event"), next(t, up.heard, "another")}
	slices.Sort(heard)
	if want := []string{"DoNotDisturbEvent " + first, "DoNotDisturbEvent " + second}; first == second || !slices.Equal(heard, want) {
		t.Errorf("%q, want %q", heard, want)
	}
	must(t, d, stopping(first))
	if len(stopped) > 0 {
		t.Error("the telephone stops the monitor of both")
	}
	l.event(l.server.users["100"], disturbed("7"))
	if got := next(t, up.heard, "an event"); got != "DoNotDisturbEvent "+second || len(up.heard) > 0 {
		t.Errorf("%q, and %d more", got, len(up.heard))
	}
	must(t, d, stopping(second))
	if got := next(t, stopped, "the end of the monitor"); got != "7" {
		t.Errorf("%q is stopped", got)
	}
	d.Request(stopping(second), func(_ *uacsta.Message, err error) {
		if !errors.Is(err, errReference) {
			t.Errorf("a monitor that there is not: %v", err)
		}
	})
}

// A monitor can be stopped while its telephone is away, and is not started again when it is back.
func TestStopWhileAway(t *testing.T) {
	asked := make(chan string, 100)
	monitors := 0
	d, l, phone, up, _ := aDesk(t, func(ctx context.Context, req *uacsta.Message) (*uacsta.Message, error) {
		asked <- req.Name()
		if req.Name() == uacsta.NameMonitorStart {
			monitors++
			return started(fmt.Sprint(monitors))
		}
		return accept(ctx, req)
	})
	gone, kept := must(t, d, watching()).CrossRef(), must(t, d, watching()).CrossRef()
	u := l.server.users["100"]
	l.server.hangUp(u, nil)
	for _, ref := range []string{gone, kept} {
		if got := next(t, up.heard, "the loss"); got != "OutOfServiceEvent "+ref {
			t.Errorf("%q", got)
		}
	}
	must(t, d, stopping(gone))
	for len(asked) > 0 {
		<-asked
	}
	l.server.mu.Lock()
	u.bindings[0].csta.client = &telephone{phone.answer, make(chan struct{})}
	l.server.mu.Unlock()
	l.server.conversed(u)
	if got := next(t, up.heard, "the return"); got != "BackInServiceEvent "+kept {
		t.Errorf("%q", got)
	}
	must(t, d, dialling("1"))
	close(asked)
	if all := slices.Collect(func(yield func(string) bool) {
		for name := range asked {
			if !yield(name) {
				return
			}
		}
	}); !slices.Equal(all, []string{uacsta.NameGetCSTAFeatures, uacsta.NameMonitorStart, uacsta.NameMakeCall}) {
		t.Errorf("the telephone is asked for %v", all)
	}
}

// A request waits for a session that is being opened, though others of the user cannot be.
func TestRequestAwaitsSession(t *testing.T) {
	d, l, phone, _, _ := aDesk(t, accept)
	u := l.server.users["100"]
	dead, alive := &binding{static: true, contact: "sip:100@127.0.0.2"}, u.bindings[0]
	l.server.mu.Lock()
	alive.csta.client, alive.csta.opening, dead.csta.opening = nil, true, true
	u.bindings = []*binding{dead, alive}
	l.server.mu.Unlock()
	answers := make(chan error, 1)
	d.Request(dialling("1"), func(_ *uacsta.Message, err error) { answers <- err })
	l.server.mu.Lock()
	alive.csta.client = phone
	l.server.mu.Unlock()
	l.server.tried(u, alive)
	if err := next(t, answers, "the answer"); err != nil {
		t.Error(err)
	}
	l.server.mu.Lock()
	alive.csta.client = nil
	l.server.mu.Unlock()
	d.Request(dialling("2"), func(_ *uacsta.Message, err error) { answers <- err })
	l.server.tried(u, dead)
	if err := next(t, answers, "the answer"); !errors.Is(err, errTelephone) {
		t.Error(err)
	}
}
