package proxy_test

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// keeps returns the octets that the core keeps after an action.
func keeps(happens func()) int64 {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	happens()
	synctest.Wait()
	runtime.GC()
	runtime.ReadMemStats(&after)
	return int64(after.HeapAlloc) - int64(before.HeapAlloc)
}

func lateAnswer(ref string) *uacsta.Message {
	return uacsta.Encode(uacsta.MonitorStartResponse{MonitorCrossRefID: ref}, uacsta.Edition3)
}

// A switch that keeps opening unwanted references without releasing them has its link reset: the
// core's memory for them is limited.
func TestTooManyLateResponses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		f := &flaky{lose: make(chan error), mute: "MonitorStop"}
		p := start(t, f, demo, func(c *proxy.Config) { c.Log = slog.New(slog.NewTextHandler(&log, nil)) })
		for n := range 1000 {
			f.up.Event(lateAnswer(fmt.Sprint(n)))
		}
		synctest.Wait()
		if status := p.Status().Links[0]; !status.Up || f.runs != 1 {
			t.Fatalf("with 1000: %+v", status)
		}
		pad := strings.Repeat("x", 1000)
		kept := keeps(func() {
			for n := range 5000 {
				f.up.Event(lateAnswer(fmt.Sprint(n, pad)))
			}
		})
		if status := p.Status().Links[0]; status.Up || kept > 4<<20 {
			t.Errorf("with more: %+v; %d MB are kept", status, kept>>20)
		}
		if why := "more than 1000 late responses from the switch hold references"; strings.Count(log.String(), `msg="link reset" link=flaky err="`+why) != 1 {
			t.Errorf("the log says %s", log.String())
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if status := p.Status().Links[0]; !status.Up || f.runs != 2 {
			t.Errorf("a new life: %+v", status)
		}
	})
}

// A switch that releases what its late responses opened may send any number of them.
func TestLateResponsesReleased(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &flaky{lose: make(chan error)}
		p := start(t, f, demo, nil)
		for n := range 1200 {
			f.up.Event(lateAnswer(fmt.Sprint(n)))
			f.up.Event(lateAnswer(""))
			f.up.Event(uacsta.Encode(uacsta.MakeCallResponse{CallingDevice: uacsta.Conn("c", "100")}, uacsta.Edition3))
		}
		synctest.Wait()
		if n := f.times("MonitorStop"); n != 1200 || !p.Status().Links[0].Up {
			t.Errorf("%d monitors were ended; the link: %+v", n, p.Status().Links[0])
		}
	})
}

// Of route requests without a client, a limited number get a RouteEnd while the switch does not
// respond; it is refused the others, and gets one RouteEnd for each.
func TestTooManyUndecidedCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &flaky{lose: make(chan error), mute: "RouteEnd"}
		p := start(t, f, demo, nil)
		for n := range 1000 {
			for range 2 {
				if err := f.route(fmt.Sprint(n), "none"); err != nil {
					t.Fatalf("call %d: %v", n, err)
				}
			}
		}
		pad := strings.Repeat("x", 1000)
		kept := keeps(func() {
			for n := range 5000 {
				var why *uacsta.Error
				if err := f.route(fmt.Sprint(n, pad), "none"); !errors.As(err, &why) || why.Value != uacsta.OutstandingReqLimitExceeded {
					t.Fatalf("one more: %v", err)
				}
			}
		})
		if kept > 4<<20 {
			t.Errorf("%d MB are kept", kept>>20)
		}
		f.mu.Lock()
		holding := len(f.holding)
		f.mu.Unlock()
		f.release(nil)
		synctest.Wait()
		if n := holding + f.times("RouteEnd"); n != 1000 {
			t.Errorf("%d RouteEnds", n)
		}
		if err := f.route("another", "none"); err != nil || !p.Status().Links[0].Up {
			t.Errorf("after answers: %v", err)
		}
		synctest.Wait()
		if end := f.last("RouteEnd"); end.Text("crossRefIdentifier") != "another" {
			t.Errorf("%s", end)
		}
		for _, ref := range []string{"", strings.Repeat("x", 1025)} { // nobody could answer
			var why *uacsta.Error
			if err := f.route(ref, "none"); !errors.As(err, &why) || why.Value != uacsta.InvalidRouteingCrossRefID {
				t.Errorf("a reference of %d octets: %v", len(ref), err)
			}
		}
	})
}

// A switch that does not respond to the RouteEnds of expired dialogues has its link reset when they
// reach the limit of dialogues.
func TestRouteEndsWithoutAnswer(t *testing.T) {
	if !*exhaustive {
		t.Skip("-exhaustive is not set: 10000 dialogues take a while")
	}
	synctest.Test(t, func(t *testing.T) {
		f := registers()
		p := start(t, f, demo, func(c *proxy.Config) { c.QueueLength, c.QueueOctets = 20000, 64<<20 })
		s, l := open(t, p, "a")
		for range 10 {
			request(s, routesOf("101"))
		}
		f.mu.Lock()
		f.mute = "RouteEnd"
		f.mu.Unlock()
		for n := range 10000 {
			if err := f.route(fmt.Sprint(n), fmt.Sprint("r", 1+n/1000)); err != nil {
				t.Fatal(err)
			}
			if n%500 == 0 {
				synctest.Wait()
			}
		}
		synctest.Wait()
		if n := len(l.take()); n != 10000 {
			t.Fatalf("%d dialogues", n)
		}
		time.Sleep(3 * time.Minute)
		synctest.Wait()
		if f.runs != 1 {
			t.Fatal("with 10000 the link is cut")
		}
		if err := f.route("more", "r1"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Minute)
		synctest.Wait()
		if f.runs != 2 {
			t.Error("the link is not cut")
		}
	})
}
