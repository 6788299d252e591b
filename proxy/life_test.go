package proxy_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tr87proxy/tr87proxy/policy"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// numbering numbers its monitors from 1 in each life, as real ones do.
type numbering struct {
	mu     sync.Mutex
	up     proxy.Upcalls
	lose   chan error
	last   int
	active map[string]string // ref -> device
	hook   func(req *uacsta.Message)
	refuse map[string]bool
}

func (f *numbering) Run(ctx context.Context, up proxy.Upcalls) error {
	f.mu.Lock()
	f.up, f.last, f.active = up, 0, map[string]string{}
	f.mu.Unlock()
	up.Ready()
	select {
	case err := <-f.lose:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (f *numbering) Request(req *uacsta.Message, reply func(*uacsta.Message, error)) {
	f.mu.Lock()
	hook := f.hook
	switch req.Name() {
	case "MonitorStart":
		device := req.Text("monitorObject/deviceObject")
		if f.refuse[device] {
			f.mu.Unlock()
			reply(nil, uacsta.Refuse(uacsta.SystemResourceAvailability, uacsta.Generic))
			break
		}
		f.last++
		ref := fmt.Sprint(f.last)
		f.active[ref] = device
		f.mu.Unlock()
		reply(uacsta.Encode(uacsta.MonitorStartResponse{MonitorCrossRefID: ref}, uacsta.Edition3), nil)
	case "MonitorStop":
		_, known := f.active[req.CrossRef()]
		delete(f.active, req.CrossRef())
		f.mu.Unlock()
		if known {
			reply(uacsta.Encode(uacsta.MonitorStopResponse{}, uacsta.Edition3), nil)
		} else {
			reply(nil, uacsta.Refuse(uacsta.Operation, uacsta.InvalidMonitorCrossRefID))
		}
	default:
		f.mu.Unlock()
		reply(uacsta.Encode(uacsta.SnapshotDeviceResponse{}, uacsta.Edition3), nil)
	}
	if hook != nil {
		hook(req)
	}
}

func (f *numbering) of(device string) (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, d := range f.active {
		if d == device {
			n++
		}
	}
	return n
}

// A client that leaves while Ready restarts monitors must not stop another's monitor.
func TestStaleStop(t *testing.T) {
	for range 20 {
		synctest.Test(t, func(t *testing.T) {
			f := &numbering{lose: make(chan error)}
			p := start(t, f, demo, nil)
			open := func(name, device string) *proxy.Session {
				s, err := p.Open(proxy.Opening{Identity: policy.Identity{Name: name}}, &listener{})
				if err != nil {
					t.Fatal(err)
				}
				request(s, monitorOf(device))
				return s
			}
			sessions := map[string]*proxy.Session{"101": open("a", "101"), "102": open("b", "102")} // refs 1 and 2
			var once sync.Once
			left := ""
			f.hook = func(req *uacsta.Message) {
				if req.Name() != "MonitorStart" {
					return
				}
				once.Do(func() { // the first restart got the new life's "1"
					left = map[string]string{"101": "102", "102": "101"}[req.Text("monitorObject/deviceObject")]
					done := make(chan struct{})
					go func() { sessions[left].Close(errors.New("bye")); close(done) }()
					<-done
				})
			}
			f.lose <- errors.New("lost")
			time.Sleep(5 * time.Second)
			synctest.Wait()
			stays := map[string]string{"101": "102", "102": "101"}[left]
			if n := f.of(stays); n != 1 {
				t.Errorf("%s left; the switch has %d monitors on %s, want 1", left, n, stays)
			}
		})
	}
}

// A monitor that is tried again while Ready restarts monitors must not be started twice.
func TestDoubleStart(t *testing.T) {
	for range 20 {
		synctest.Test(t, func(t *testing.T) {
			f := &numbering{lose: make(chan error), refuse: map[string]bool{}}
			p := start(t, f, demo, func(c *proxy.Config) { c.Retry = 20 * time.Second })
			l := &listener{}
			for name, device := range map[string]string{"a": "101", "b": "102"} {
				s, err := p.Open(proxy.Opening{Identity: policy.Identity{Name: name}}, l)
				if err != nil {
					t.Fatal(err)
				}
				request(s, monitorOf(device))
			}
			f.refuse["101"], f.refuse["102"] = true, true
			f.lose <- errors.New("lost")
			time.Sleep(2 * time.Second) // up again, both refused: tried again in 10..30 s
			f.mu.Lock()
			f.refuse = map[string]bool{}
			f.mu.Unlock()
			var slow atomic.Bool
			f.hook = func(req *uacsta.Message) {
				if req.Name() == "MonitorStart" && !slow.Swap(true) {
					time.Sleep(40 * time.Second) // a slow Ready
				}
			}
			f.lose <- errors.New("lost again")
			time.Sleep(2 * time.Minute)
			synctest.Wait()
			for _, device := range []string{"101", "102"} {
				if n := f.of(device); n != 1 {
					t.Errorf("the switch has %d monitors on %s, want 1", n, device)
				}
			}
		})
	}
}

// A device moves to another link by a reload while the old link still thinks about MonitorStart.
func TestReloadWhileStarting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &flaky{lose: make(chan error)}
		p := start(t, f, demo, nil)
		l := &listener{}
		s, _ := p.Open(proxy.Opening{Identity: policy.Identity{Name: "a"}}, l)
		f.mu.Lock()
		f.hold = true
		f.mu.Unlock()
		var res *uacsta.Message
		s.Request(uacsta.Encode(monitorOf("100"), uacsta.Edition3), func(m *uacsta.Message) { res = m })
		synctest.Wait()
		g := &flaky{lose: make(chan error)}
		p.SetLinks([]proxy.NamedLink{{Name: "new", Link: g, Devices: func(d string) bool { return d == "100" }}, {Name: "flaky", Devices: func(d string) bool { return d != "100" }}})
		synctest.Wait()
		f.mu.Lock()
		f.hold = false
		holding := f.holding
		f.mu.Unlock()
		holding[0](uacsta.Encode(uacsta.MonitorStartResponse{MonitorCrossRefID: "late"}, uacsta.Edition3), nil)
		time.Sleep(time.Second)
		synctest.Wait()
		t.Logf("answer: %v", res)
		for _, d := range p.DeviceList() {
			t.Logf("monitor on %s at %s", d.Device, d.Link)
		}
		if res != nil && res.CrossRef() != "" && len(p.DeviceList()) == 0 {
			t.Errorf("the client was given monitor %s, which is in no table: its device belongs to another link now", res.CrossRef())
		}
		for _, m := range f.asked {
			if m.Name() == "MonitorStop" {
				t.Logf("asked the old link to stop %q", m.CrossRef())
			}
		}
	})
}
