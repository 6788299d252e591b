package fronttest

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// actor runs programs at a device, one after another.
type actor struct {
	w      *world
	device string
	now    *program
}

// step makes the program act, or starts another one in its place.
func (a *actor) step(what, arg int) {
	p := a.now
	if p == nil || p.hasLeft() || p.isOver() {
		a.now = a.w.connect(a.device)
		return
	}
	device := Devices[arg%len(Devices)]
	switch what {
	case 0, 1, 2:
		if !a.w.kit.Watched {
			p.ask(start(device), asked{device: device})
		}
	case 3:
		p.unwatch(arg)
	case 4, 5, 6:
		p.ask(question(arg), asked{order: true, disturbed: arg/2%2 == 1})
	case 7:
		if !a.w.kit.Watched { // in such a protocol, marks before the response are kept for the next request
			p.ask(call(a.device, device), asked{})
		}
	case 8:
		p.hangUp()
	case 9, 10:
		p.read(p.isSlow())
	case 11:
		p.leave()
	case 12:
		p.breakOff(arg % 60)
	case 13:
		if arg%4 == 0 && !a.w.kit.Watched && (p.settled() || !p.oneAtATime()) {
			p.goes()
			p.ask(uacsta.GetDoNotDisturb{Device: uacsta.Dev(poison)}, asked{})
		}
	case 14:
		if !p.isSlow() {
			p.settle()
		}
	default:
		a.w.pause(arg)
	}
}

// program is one association of a client with everything that it has heard.
type program struct {
	w                           *world
	device                      string
	nc                          *frayed
	wire                        Wire
	disturbed, purged           int64 // the world's, when it connected
	wasDisturbed, wasBeingEnded bool

	mu       sync.Mutex
	changed  *sync.Cond
	deaf     bool // it does not read
	slow     bool // it has not been reading for a while
	left     bool // its association must end
	over     bool // it has ended
	heard    bool // it has heard something
	last     int  // number of its last request
	asked    map[int]asked
	answered int               // the last ordered request with a response
	watches  map[string]*watch // by cross reference
	watching []*watch          // all so far
	calls    map[string]bool   // named by events
	own      []uacsta.ConnectionID
}

// asked is a request without a response.
type asked struct {
	name      string
	device    string // to be monitored
	watch     *watch // to be stopped
	order     bool   // such requests are answered in their order
	disturbed bool   // the expected DoNotDisturb state of the device
}

// watch is a monitor and the marks that it got.
type watch struct {
	device string
	over   bool
	got    []int
}

// connect starts a program; nil if the front refuses it.
func (w *world) connect(device string) *program {
	p := &program{
		w: w, device: device, disturbed: w.disturbed.Load(), purged: w.purged.Load(), wasDisturbed: w.disturbs.Load(), wasBeingEnded: w.purges.Load(),
		asked: map[int]asked{}, watches: map[string]*watch{}, calls: map[string]bool{},
	}
	p.changed = sync.NewCond(&p.mu)
	nc, err := w.front.Dial(device)
	if err != nil {
		if !w.over.Load() {
			w.breach(fmt.Errorf("the front accepts no connection: %w", err))
		}
		return nil
	}
	p.nc = &frayed{Conn: nc, left: -1}
	p.wire = w.kit.Wire(p.nc, device)
	if w.kit.Watched {
		p.watches[""] = &watch{device: device}
		p.watching = append(p.watching, p.watches[""])
	}
	_ = nc.SetDeadline(time.Now().Add(w.kit.Patience))
	if err := p.wire.Open(); err != nil {
		_ = nc.Close()
		if !p.excused() {
			w.breach(fmt.Errorf("the association of %s: %w", device, err))
		}
		return nil
	}
	_ = nc.SetDeadline(time.Time{})
	w.mu.Lock()
	w.people = append(w.people, p)
	w.mu.Unlock()
	go p.listen() // it ends with the connection
	return p
}

// excused reports whether the association may have ended, or failed to start, without the program's
// doing.
func (p *program) excused() bool {
	w := p.w
	p.mu.Lock()
	defer p.mu.Unlock()
	disturbed := p.wasDisturbed || w.disturbed.Load() != p.disturbed
	return p.left || p.slow || w.over.Load() || p.wasBeingEnded || w.purged.Load() != p.purged || disturbed && (!p.heard || w.kit.Watched)
}

func (p *program) is(what *bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return *what
}

func (p *program) hasLeft() bool { return p.is(&p.left) }
func (p *program) isOver() bool  { return p.is(&p.over) }
func (p *program) isSlow() bool  { return p.is(&p.deaf) }

// goes records that the association must end.
func (p *program) goes() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.left, p.deaf = true, false
	p.changed.Broadcast()
}

// read starts or stops the program's reading.
func (p *program) read(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.deaf = !on
	p.slow = p.slow || p.deaf
	p.changed.Broadcast()
}

// oneAtATime reports whether the program must wait for a response before its next request.
func (p *program) oneAtATime() bool { return p.w.kit.Without["answers out of order"] != "" }

// ask sends a request.
func (p *program) ask(service any, q asked) {
	req := uacsta.Encode(service, uacsta.Edition3)
	q.name = req.Name()
	p.mu.Lock()
	if p.oneAtATime() && len(p.asked) > 0 {
		p.mu.Unlock()
		return
	}
	p.last++
	n := p.last
	p.asked[n] = q
	p.mu.Unlock()
	_ = p.nc.SetWriteDeadline(time.Now().Add(p.w.kit.Patience))
	if err := p.wire.Request(n, req); errors.Is(err, os.ErrDeadlineExceeded) { // other errors mean that the association has ended
		p.w.breach(fmt.Errorf("the front does not read what %s writes", p.device))
	}
	if p.oneAtATime() && !p.isSlow() && !p.hasLeft() {
		p.settle()
	}
}

// unwatch stops one of the monitors.
func (p *program) unwatch(which int) {
	p.mu.Lock()
	var refs []string
	for ref, w := range p.watches {
		if !w.over && ref != "" {
			refs = append(refs, ref)
		}
	}
	slices.Sort(refs)
	if len(refs) == 0 {
		p.mu.Unlock()
		return
	}
	ref := refs[which%len(refs)]
	w := p.watches[ref]
	p.mu.Unlock()
	p.ask(uacsta.MonitorStop{MonitorCrossRefID: ref}, asked{watch: w})
}

// hangUp clears one of its calls.
func (p *program) hangUp() {
	p.mu.Lock()
	if len(p.own) == 0 {
		p.mu.Unlock()
		return
	}
	own := p.own[0]
	p.own = p.own[1:]
	p.mu.Unlock()
	p.ask(hangUp(own), asked{})
}

// leave ends the association properly.
func (p *program) leave() {
	p.goes()
	_ = p.nc.SetWriteDeadline(time.Now().Add(p.w.kit.Patience))
	if err := p.wire.Leave(); errors.Is(err, os.ErrDeadlineExceeded) {
		p.w.breach(fmt.Errorf("the front does not read that %s leaves", p.device))
	}
}

// breakOff closes the connection after some octets of a request.
func (p *program) breakOff(octets int) {
	p.goes()
	p.nc.fray(octets)
	_ = p.nc.SetWriteDeadline(time.Now().Add(p.w.kit.Patience))
	p.ask(question(0), asked{})
	_ = p.nc.Close()
}

// settled reports whether all requests are answered.
func (p *program) settled() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.asked) == 0 || p.over
}

// settle waits until all requests are answered.
func (p *program) settle() { p.w.await("requests of "+p.device+" are answered", p.settled) }

// watched returns the devices that it monitors.
func (p *program) watched() (devices []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, w := range p.watching {
		if !w.over && p.steady() {
			devices = append(devices, w.device)
		}
	}
	return devices
}

// steady reports whether monitors have lasted: in a protocol without monitors, a disturbance may have
// ended that of a device. The caller holds p.mu.
func (p *program) steady() bool {
	return !p.w.kit.Watched || !p.wasDisturbed && p.w.disturbed.Load() == p.disturbed
}

// hasAll reports whether each monitor has the last mark of its device.
func (p *program) hasAll() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, w := range p.watching {
		if !w.over && p.steady() && !p.w.run(w, true) {
			return false
		}
	}
	return true
}

// verify checks that each monitor got all marks of its device from its time, in order.
func (p *program) verify() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, w := range p.watching {
		if !p.w.run(w, false) {
			p.w.breach(fmt.Errorf("%s got the marks %v of %s, which had %v", p.device, w.got, w.device, p.w.told[w.device]))
		}
	}
}

// run reports whether a monitor got consecutive marks, up to the last ones if so required.
func (w *world) run(m *watch, last bool) bool {
	told := w.told[m.device]
	if last && len(m.got) < min(lastMarks, len(told)) {
		return false
	}
	for i := len(told) - len(m.got); i >= 0; i-- {
		if slices.EqualFunc(told[i:i+len(m.got)], m.got, func(mark, got int) bool { return w.shown(mark) == got }) {
			return true
		}
		if last {
			return false
		}
	}
	return false
}

// shown returns what a client sees of a mark.
func (w *world) shown(mark int) int {
	if w.kit.Marks > 0 {
		return mark % w.kit.Marks
	}
	return mark
}

// listen reads until the connection ends.
func (p *program) listen() {
	for {
		p.mu.Lock()
		for p.deaf {
			p.changed.Wait()
		}
		p.mu.Unlock()
		h, err := p.wire.Read()
		if err != nil {
			if !p.excused() {
				p.w.breach(fmt.Errorf("the association of %s has ended: %w", p.device, err))
			}
			break
		}
		if err := p.hear(h); err != nil {
			p.w.breach(fmt.Errorf("%s: %w", p.device, err))
		}
	}
	p.mu.Lock()
	p.over = true
	p.mu.Unlock()
	for {
		h, err := p.wire.Read()
		switch {
		case err != nil:
			return
		case h.Answer == 0: // responses may still come
			err = fmt.Errorf("%s after its association had ended", h.Message)
		default:
			err = p.hear(h)
		}
		if err != nil {
			p.w.breach(fmt.Errorf("%s got %w", p.device, err))
		}
	}
}

// hear handles a message and returns what is wrong with it.
func (p *program) hear(h Heard) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.heard = true
	m := h.Message
	switch {
	case h.Answer != 0:
		return p.answer(h.Answer, m)
	case m.Kind() == uacsta.Event:
		return p.event(m)
	case m.Name() == uacsta.NameMonitorStop:
		if w := p.watches[m.CrossRef()]; w != nil {
			w.over = true
		}
	}
	return nil
}

// answer handles a response. The caller holds p.mu.
func (p *program) answer(n int, m *uacsta.Message) error {
	q, waits := p.asked[n]
	if !waits {
		return fmt.Errorf("a response to request %d, which does not wait for one: %s", n, m)
	}
	delete(p.asked, n)
	if m.Kind() == uacsta.ErrorCode {
		return nil
	}
	ref, call := m.CrossRef(), m.Text("callingDevice/callID")
	switch {
	case m.Name() != q.name+"Response":
		return fmt.Errorf("the response to %s is %s", q.name, m)
	case q.order && n < p.answered && !p.w.disorder.Load():
		return fmt.Errorf("the response to request %d comes after that to %d", n, p.answered)
	case q.name == uacsta.NameGetDoNotDisturb && !p.w.kit.Watched && (m.Text("doNotDisturbOn") == "true") != q.disturbed:
		return fmt.Errorf("the response to request %d is that of another: %s", n, m)
	case q.name == uacsta.NameMonitorStart && (ref == "" || p.watches[ref] != nil && !p.watches[ref].over):
		return fmt.Errorf("the reference %q is that of another monitor", ref)
	case call != "" && p.calls[call]:
		return fmt.Errorf("an event of call %s came before the response to its MakeCall", call)
	}
	switch q.name {
	case uacsta.NameMonitorStart:
		p.watches[ref] = &watch{device: q.device}
		p.watching = append(p.watching, p.watches[ref])
	case uacsta.NameMonitorStop:
		q.watch.over = true
	case uacsta.NameMakeCall:
		p.own = append(p.own, made(m, p.device))
	}
	if q.order {
		p.answered = n
	}
	return nil
}

// event handles an event. The caller holds p.mu.
func (p *program) event(m *uacsta.Message) error {
	for _, c := range m.Connections() {
		p.calls[c.CallID()] = true
	}
	ref := m.CrossRef()
	if p.w.kit.Watched {
		ref = ""
	}
	w := p.watches[ref]
	if w == nil || w.over {
		return fmt.Errorf("an event under the reference %q, where there is no monitor: %s", ref, m)
	}
	if mark, is := p.w.kit.Marked(m); is {
		w.got = append(w.got, mark)
	}
	return nil
}
