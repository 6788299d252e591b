package linktest

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/gate"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// plain is a link to a PBX in the same process. It keeps the contract, but for one fault.
type plain struct {
	pbx   PBX
	fault string

	mu    sync.Mutex
	line  *Line
	tasks chan func()
	last  *uacsta.Message
	late  proxy.Upcalls
}

func (p *plain) Run(ctx context.Context, up proxy.Upcalls) error {
	tasks := make(chan func(), 1<<16)
	line := p.pbx.Connect(func(ev *uacsta.Message) {
		tasks <- func() { p.event(up, ev) }
	})
	if p.fault == "an Upcall before Ready" {
		_ = up.Request(uacsta.Encode(uacsta.SystemStatus{SystemStatus: uacsta.StatusNormal}, uacsta.Edition3))
	}
	p.mu.Lock()
	p.line, p.tasks = line, tasks
	p.mu.Unlock()
	var err error
	func() {
		defer func() {
			if x := recover(); x != nil {
				err = fmt.Errorf("%v", x)
			}
		}()
		up.Ready()
		for err == nil {
			select {
			case what := <-tasks:
				what()
			case <-ctx.Done():
				err = ctx.Err()
			}
		}
	}()
	p.mu.Lock()
	if p.fault != "requests after Run" {
		p.line = nil
	}
	p.mu.Unlock()
	line.Close()
	if p.late != nil {
		p.late.Event(uacsta.Encode(uacsta.DoNotDisturbEvent{MonitorCrossRefID: "0001"}, uacsta.Edition3))
	}
	if p.fault == "an Upcall after Run" {
		p.late = up // for the end of the next life
	}
	if p.fault == "a goroutine is left" {
		go func() { select {} }()
	}
	for p.fault != "no reply at the end" {
		select {
		case what := <-tasks:
			func() {
				defer func() { _ = recover() }()
				what()
			}()
			continue
		default:
		}
		break
	}
	return err
}

func (p *plain) event(up proxy.Upcalls, ev *uacsta.Message) {
	switch p.fault {
	case "a message is given twice":
		if p.last != nil && p.last.Name() == ev.Name() {
			ref := ev.CrossRef()
			ev = p.last
			ev.SetCrossRef(ref)
		}
		p.last = ev
	case "an event is told twice":
		up.Event(ev.Clone())
	case "events at the same time":
		done := make(chan struct{})
		again := ev.Clone()
		go func() { up.Event(again); close(done) }()
		up.Event(ev)
		<-done
		return
	}
	up.Event(ev)
}

func (p *plain) Request(req *uacsta.Message, reply func(*uacsta.Message, error)) {
	answer := func(res *uacsta.Message) {
		if refusal := res.Err(); refusal != nil {
			reply(nil, refusal)
		} else {
			reply(res, nil)
		}
	}
	p.mu.Lock()
	line, tasks := p.line, p.tasks
	if line == nil {
		p.mu.Unlock()
		if p.fault != "requests before Run are left alone" {
			reply(nil, proxy.Refusal(gate.ErrClosed))
		}
		return
	}
	defer p.mu.Unlock()
	switch p.fault {
	case "no reply":
	case "a goroutine for each request":
		go func() {
			runtime.Gosched()
			line.Request(req, func(res *uacsta.Message) { tasks <- func() { answer(res) } })
		}()
	case "two replies":
		line.Request(req, func(res *uacsta.Message) { tasks <- func() { answer(res.Clone()); answer(res) } })
	case "events before the reply":
		line.Request(req, func(res *uacsta.Message) {
			tasks <- func() {
				tasks <- func() { answer(res) } // behind the events
			}
		})
	case "a lock is held in Upcalls":
		line.Request(req, answer)
	default:
		line.Request(req, func(res *uacsta.Message) { tasks <- func() { answer(res) } })
	}
}

// verdict takes what a check complains about.
type verdict struct {
	testing.TB
	mu   sync.Mutex
	said []string
}

func (v *verdict) Helper() {}
func (v *verdict) Errorf(format string, args ...any) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.said = append(v.said, fmt.Sprintf(format, args...))
}
func (v *verdict) Error(args ...any) { v.Errorf("%s", fmt.Sprint(args...)) }
func (v *verdict) Fatalf(format string, args ...any) {
	v.Errorf(format, args...)
	runtime.Goexit()
}
func (v *verdict) Fatal(args ...any) { v.Fatalf("%s", fmt.Sprint(args...)) }

func rigOf(p *plain) *Rig {
	return &Rig{Link: p, Device: "100", Called: "101", Heard: p.pbx.Heard, Tell: func() { p.pbx.Ring("100") }}
}

// A link that keeps the contract passes.
func TestGood(t *testing.T) {
	const nobody = "there is no wire"
	Test(t, Kit{New: func(testing.TB) *Rig { return rigOf(&plain{}) }, Without: map[string]string{
		"RefusedWhileDialling": nobody, "CutRequest": nobody, "CutAnswer": nobody, "SilentSwitch": nobody, "Garbage": nobody,
	}})
}

// A link that breaks it is found out, by what is named.
func TestFaults(t *testing.T) {
	for fault, found := range map[string]string{
		"an Upcall before Ready":             "RunAgain",
		"an Upcall after Run":                "RunAgain",
		"requests after Run":                 "RefusedAfterRun",
		"requests before Run are left alone": "RefusedBeforeReady",
		"a goroutine is left":                "RunAgain",
		"no reply at the end":                "NothingAfterRun",
		"a message is given twice":           "EveryMonitor",
		"an event is told twice":             "EveryMonitor",
		"events at the same time":            "EveryMonitor",
		"a lock is held in Upcalls":          "Reentry",
		"a goroutine for each request":       "OrderOfRequests",
		"two replies":                        "Services",
		"events before the reply":            "ReplyBeforeEvents",
	} {
		t.Run(fault, func(t *testing.T) {
			v := &verdict{TB: t}
			done := make(chan struct{})
			go func() {
				defer close(done)
				b := &bench{t: v, rig: rigOf(&plain{fault: fault}), limit: time.Second, fail: v.Errorf, news: make(chan struct{}), label: fmt.Sprint(benches.Add(1))}
				checks[found].run(b)
				b.over()
			}()
			<-done
			v.mu.Lock()
			defer v.mu.Unlock()
			if len(v.said) == 0 {
				t.Errorf("%s does not find it", found)
			}
			t.Log(strings.Join(v.said, "\n"))
		})
	}
}

// Where a life outlasts its connection, a cut must bring the replies to all that was asked.
func TestOutlasts(t *testing.T) {
	for fault, wrong := range map[string]bool{"": false, "no reply": true} {
		v := &verdict{TB: t}
		done := make(chan struct{})
		go func() {
			defer close(done)
			b := &bench{t: v, lasts: true, rig: rigOf(&plain{fault: fault}), limit: time.Second, fail: v.Errorf, news: make(chan struct{}), label: fmt.Sprint(benches.Add(1))}
			l := b.up()
			defer func() { l.end(); <-l.ended }()
			l.ask(l.snapshot())
			l.lost()
		}()
		<-done
		if strings.Contains(strings.Join(v.said, "\n"), "all replies when the connection is cut: not in") != wrong {
			t.Errorf("%q: %q", fault, v.said)
		}
	}
}
