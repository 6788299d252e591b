package linktest

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/gate"
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

// KeepsConnections implements proxy.ConnectionKeeper.
func (*plain) KeepsConnections() {}

func (p *plain) Run(ctx context.Context, up proxy.Upcalls) error {
	tasks := make(chan func(), 1<<16)
	line := p.pbx.Connect(func(ev *uacsta.Message) {
		tasks <- func() { p.event(up, ev) }
	})
	if p.fault == "an Upcall before Ready" {
		_ = up.Request(uacsta.Encode(uacsta.SystemStatus{SystemStatus: uacsta.StatusNormal}, uacsta.Edition3))
	}
	if p.fault == "Run panics" {
		panic("of its own")
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
		if p.fault == "Ready twice" {
			up.Ready()
		}
		for err == nil {
			select {
			case what := <-tasks:
				what()
			case <-ctx.Done():
				if p.fault == "a Run that does not end" {
					select {}
				}
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
	if p.careless(req, reply, tasks) {
		return
	}
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

// careless does what is wrong with one service, and reports whether it did.
func (p *plain) careless(req *uacsta.Message, reply func(*uacsta.Message, error), tasks chan func()) bool {
	give := func(res any) bool {
		tasks <- func() { reply(uacsta.Encode(res, uacsta.Edition3), nil) }
		return true
	}
	list := &uacsta.SnapshotDeviceDataList{}
	switch name := req.Name(); {
	case p.fault == "snapshots without states" && name == uacsta.NameSnapshotDevice:
		list.SnapshotDeviceResponseInfo = []uacsta.SnapshotDeviceResponseInfo{{ConnectionIdentifier: uacsta.Conn("0001", "100")}}
		return give(uacsta.SnapshotDeviceResponse{CrossRefIDorSnapshotData: uacsta.CrossRefIDorSnapshotDeviceData{SnapshotData: list}})
	case p.fault == "empty snapshots" && name == uacsta.NameSnapshotDevice:
		return give(uacsta.SnapshotDeviceResponse{CrossRefIDorSnapshotData: uacsta.CrossRefIDorSnapshotDeviceData{SnapshotData: list}})
	case (p.fault == "calls that do not end" || p.fault == "connections that are not looked at") && name == uacsta.NameClearConnection:
		return give(uacsta.ClearConnectionResponse{})
	case p.fault == "no reply of a silent switching function" && name == uacsta.NameMakeCall:
		return true
	case p.fault == "a dead peer that is not noticed" && name == uacsta.NameMakeCall:
		tasks <- func() { reply(nil, proxy.Refusal(gate.ErrTimeout)) }
		return true
	}
	return false
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

// The documentation of the package lists the checks, in their order.
func TestListed(t *testing.T) {
	doc, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	var listed, played []string
	for _, line := range regexp.MustCompile(`(?m)^//   - (\w+): \S`).FindAllStringSubmatch(string(doc), -1) {
		listed = append(listed, line[1])
	}
	for _, c := range checks {
		played = append(played, c.name)
	}
	if !slices.Equal(listed, played) {
		t.Errorf("doc.go lists\n%v, played are\n%v", listed, played)
	}
}

// A link that breaks it is found out, by what is named.
func TestFaults(t *testing.T) {
	for fault, found := range map[string]struct{ by, says string }{
		"Ready twice":                             {"Ready", "life 1: Ready was called twice"},
		"Run panics":                              {"Ready", "life 1: Run panicked: of its own"},
		"a Run that does not end":                 {"Ready", "life 1: Run returns after ctx has ended: not within 1s\ngoroutines of the link:"},
		"an Upcall before Ready":                  {"RunAgain", "life 1: an Upcall before Ready: "},
		"an Upcall after Run":                     {"RunAgain", "life 1: an Upcall after Run had returned: "},
		"requests after Run":                      {"RefusedAfterRun", "after Run: MonitorStart 2 is not refused at once"},
		"requests before Run are left alone":      {"RefusedBeforeReady", "before Run: MonitorStart 1 is not refused at once"},
		"a goroutine is left":                     {"RunAgain", "goroutines of the link are left after Run:"},
		"no reply at the end":                     {"NothingAfterRun", "no reply when Run returns (context canceled): "},
		"a message is given twice":                {"EveryMonitor", "spoilt"},
		"an event is told twice":                  {"EveryMonitor", "is told twice"},
		"events at the same time":                 {"EveryMonitor", ""}, // or that they are told twice,
		"a lock is held in Upcalls":               {"Reentry", "a request in a reply: not within 1s"},
		"a goroutine for each request":            {"OrderOfRequests", "the switching function is asked for "},
		"two replies":                             {"Services", "a second reply"},
		"events before the reply":                 {"ReplyBeforeEvents", "before the reply to MakeCall"},
		"empty snapshots":                         {"Snapshot", "after MakeCall: a snapshot of 100 has the connection 0001@100, with its state: not within 1s\nthe last answer is <SnapshotDeviceResponse"},
		"snapshots without states":                {"Snapshot", "after MakeCall: a snapshot of 100 has the connection 0001@100, with its state"},
		"calls that do not end":                   {"Snapshot", "after ClearConnection: a snapshot of 100 does not have the connection 0001@100"},
		"connections that are not looked at":      {"Connections", "ClearConnection with unknown call as active"},
		"no reply of a silent switching function": {"SilentSwitch", "a reply to MakeCall 2 while the switching function is silent: not within 1s"},
		"a dead peer that is not noticed":         {"SilentSwitch", "life 1: Run returns when the switching function is silent: not within 1s"},
	} {
		t.Run(fault, func(t *testing.T) {
			v := &verdict{TB: t}
			done := make(chan struct{})
			go func() {
				defer close(done)
				b := &bench{t: v, rig: rigOf(&plain{fault: fault}), limit: time.Second, fail: v.Errorf, news: make(chan struct{}), label: fmt.Sprint(benches.Add(1))}
				c, _ := named(found.by)
				if c.wire { // which the link does not use
					b.rig.Relay = NewRelay(t, "127.0.0.1:1")
				}
				c.run(b)
				b.over()
			}()
			<-done
			v.mu.Lock()
			defer v.mu.Unlock()
			if said := strings.Join(v.said, "\n"); said == "" || !strings.Contains(said, found.says) {
				t.Errorf("%s does not say %q, but %q", found.by, found.says, said)
			}
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
		if strings.Contains(strings.Join(v.said, "\n"), "all replies when the connection is cut: not within") != wrong {
			t.Errorf("%q: %q", fault, v.said)
		}
	}
}
