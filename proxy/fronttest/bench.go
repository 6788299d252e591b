package fronttest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/wait"
	"github.com/tr87proxy/tr87proxy/policy"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// bench is a front with a proxy and the built-in switch behind it.
type bench struct {
	kit     Kit
	bubble  bool
	core    *proxy.Proxy
	numbers *policy.Numbers
	sw      *behind
	front   Front
	clients []*client
	before  map[string]bool // goroutines that are not the bench's
	halt    context.CancelFunc
	halted  chan struct{}
	stopped sync.Once
}

// linkName is the name of the switching function.
const linkName = "switch"

func newBench(kit Kit, bubble bool, linger time.Duration) (*bench, error) {
	if kit.Mark == nil {
		kit.Mark, kit.Marked = delivered, calling
	}
	if kit.Patience == 0 {
		kit.Patience = wait.Limit
	}
	b := &bench{kit: kit, bubble: bubble, before: map[string]bool{}, halted: make(chan struct{})}
	for id := range goroutines() {
		b.before[id] = true
	}
	var err error
	if b.sw, err = newSwitch(); err != nil {
		return nil, err
	}
	log := slog.New(slog.DiscardHandler)
	b.numbers = &policy.Numbers{Extensions: func(number string) bool {
		if number == poison {
			panic("the suite's poison")
		}
		return len(number) < 5
	}}
	b.core = proxy.New(proxy.Config{
		Policy: &policy.Policy{Demo: true}, Numbers: b.numbers, Log: log,
		BackOff: time.Millisecond, Retry: 10 * time.Millisecond, Limits: proxy.Limits{Linger: linger},
	})
	b.core.AddLink(linkName, b.sw, func(string) bool { return true })
	ctx, halt := context.WithCancel(context.Background())
	b.halt = halt
	go func() { defer close(b.halted); b.core.Run(ctx) }()
	await, cancel := context.WithTimeout(ctx, kit.Patience)
	defer cancel()
	if err = b.core.Await(await, linkName); err == nil {
		listen := Sockets
		if bubble {
			listen = inProcess
		}
		b.front, err = kit.Start(b.core, log, listen)
	}
	if err != nil {
		halt()
		<-b.halted
	}
	return b, err
}

// delivered makes a mark as an event that every CSTA protocol can express.
func delivered(ref, device string, n int) any {
	return uacsta.DeliveredEvent{
		MonitorCrossRefID: ref, Connection: uacsta.Conn("mark"+strconv.Itoa(n), device), AlertingDevice: uacsta.Ext(device),
		CallingDevice: uacsta.Ext(strconv.Itoa(firstMark + n)), CalledDevice: uacsta.Ext(device), LastRedirectionDevice: uacsta.RedirectionDeviceID{Other: "notRequired"},
		LocalConnectionInfo: uacsta.Alerting, Cause: uacsta.CauseNewCall,
	}
}

const firstMark = 50000

func calling(ev *uacsta.Message) (int, bool) {
	n, err := strconv.Atoi(ev.Text("callingDevice/deviceIdentifier"))
	return n - firstMark, err == nil && n >= firstMark
}

// await waits for a condition.
func (b *bench) await(what string, so func() bool) {
	b.awaitOr(so, func() string { return what + ": not" })
}

// awaitOr waits for a condition; the failure includes the result of instead.
func (b *bench) awaitOr(so func() bool, instead func() string) {
	for end := time.Now().Add(b.kit.Patience); !so(); {
		if time.Now().After(end) {
			fail("%s within %s", instead(), b.kit.Patience)
		}
		time.Sleep(time.Millisecond)
	}
}

// within runs a function that must return in time.
func (b *bench) within(what string, f func()) {
	done := make(chan struct{})
	go func() { defer close(done); f() }()
	select {
	case <-done:
	case <-time.After(b.kit.Patience):
		fail("%s: not within %s", what, b.kit.Patience)
	}
}

// stop stops the front.
func (b *bench) stop() { b.stopped.Do(func() { b.within("the front stops", b.front.Stop) }) }

// end ends everything that a check has started, and checks that nothing of it is left.
func (b *bench) end() {
	err := errors.Join(
		try(func() {
			for _, c := range b.clients {
				_ = c.nc.Close()
			}
			b.sw.release(false)
			b.sessions(0)
			b.await("no monitor is left", func() bool { _, n := b.sw.Counts(); return n == 0 && b.core.Status().Monitors == 0 })
		}),
		try(b.stop),
	)
	b.halt()
	err = errors.Join(err, try(func() { b.within("the proxy ends", func() { <-b.halted }) }))
	if err != nil {
		fail("%w", err)
	}
	left := b.left()
	for pause := time.Millisecond; left != "" && pause < b.kit.Patience; pause *= 2 {
		time.Sleep(pause)
		left = b.left()
	}
	if left != "" {
		fail("goroutines are left:\n%s", left)
	}
}

// left returns the stacks of the goroutines that the bench has started.
func (b *bench) left() string {
	var stacks []string
	for id, stack := range goroutines() {
		if !b.before[id] && strings.Contains(stack, "tr87proxy/") {
			stacks = append(stacks, stack)
		}
	}
	return strings.Join(stacks, "\n\n")
}

// goroutines returns the stacks of all goroutines, by their numbers.
func goroutines() map[string]string {
	buf := make([]byte, 1<<20)
	for {
		n := runtime.Stack(buf, true)
		if n < len(buf) {
			buf = buf[:n]
			break
		}
		buf = make([]byte, 2*len(buf))
	}
	all := map[string]string{}
	for _, stack := range bytes.Split(buf, []byte("\n\n")) {
		id, _, _ := strings.Cut(strings.TrimPrefix(string(stack), "goroutine "), " ")
		all[id] = string(stack)
	}
	return all
}

// mark sends the marks from one number up to before another to the monitors of a device.
func (b *bench) mark(device string, from, to int) {
	b.await("the core knows its monitors", func() bool { return b.sw.told(device) })
	for n := from; n < to; n++ {
		b.sw.tellAll(device, func(ref string) any { return b.kit.Mark(ref, device, n) })
	}
}

// client is a computing function on a wire.
type client struct {
	b      *bench
	device string
	nc     net.Conn
	wire   Wire
	heard  chan Heard // closed when the association has ended

	asked    map[int]string // unanswered requests, by number: their names
	last     int
	monitors map[string]bool // by cross reference; false: stopped
	calls    map[string]bool // named by events
	events   []*uacsta.Message
	count    int // events so far
	base     int // events of the device before the client monitored it
}

// dial connects a client; its wire is not open yet.
func (b *bench) dial(device string) *client {
	nc, err := b.front.Dial(device)
	if err != nil {
		fail("the front accepts no connection: %w", err)
	}
	return b.clientOn(nc, device)
}

// clientOn returns a client on a connection; its wire is not open yet.
func (b *bench) clientOn(nc net.Conn, device string) *client {
	c := &client{b: b, device: device, nc: nc, wire: b.kit.Wire(nc, device), asked: map[int]string{}, monitors: map[string]bool{}, calls: map[string]bool{}}
	b.clients = append(b.clients, c)
	return c
}

// open opens the client's association.
func (c *client) open() {
	_ = c.nc.SetReadDeadline(time.Now().Add(c.b.kit.Patience))
	if err := c.wire.Open(); err != nil {
		fail("the association of %s: %w", c.device, err)
	}
	_ = c.nc.SetReadDeadline(time.Time{})
}

// listen starts to read.
func (c *client) listen() {
	c.heard = make(chan Heard, 4096)
	go func() { // it ends with the connection
		defer close(c.heard)
		for {
			h, err := c.wire.Read()
			if err != nil {
				return
			}
			c.heard <- h
		}
	}()
}

// client returns a client that reads.
func (b *bench) client(device string) *client {
	c := b.dial(device)
	c.open()
	c.listen()
	return c
}

// oldest returns the oldest unanswered request, or 0.
func (c *client) oldest() int {
	n := 0
	for waits := range c.asked {
		if n == 0 || waits < n {
			n = waits
		}
	}
	return n
}

// send sends a request.
func (c *client) send(service any) int {
	req := uacsta.Encode(service, uacsta.Edition3)
	c.last++
	c.asked[c.last] = req.Name()
	if err := c.wire.Request(c.last, req); err != nil {
		fail("the %s of %s: %w", req.Name(), c.device, err)
	}
	return c.last
}

// hear returns the next message that the client reads, after checking it.
func (c *client) hear() Heard {
	select {
	case h, ok := <-c.heard:
		if !ok {
			fail("the association of %s has ended", c.device)
		}
		c.check(h)
		return h
	case <-time.After(c.b.kit.Patience):
		if n := c.oldest(); n > 0 {
			fail("%s: no response to request %d (%s) within %s", c.device, n, c.asked[n], c.b.kit.Patience)
		}
		fail("%s: no event within %s", c.device, c.b.kit.Patience)
	}
	return Heard{}
}

// check checks a message against the earlier ones.
func (c *client) check(h Heard) {
	m := h.Message
	if h.Answer != 0 {
		name, is := c.asked[h.Answer]
		if !is {
			fail("%s got a response to its request %d, which does not wait for one: %s", c.device, h.Answer, m)
		}
		delete(c.asked, h.Answer)
		if m.Kind() != uacsta.ErrorCode && m.Name() != name+"Response" {
			fail("%s sent %s, the response is %s", c.device, name, m)
		}
		if call := m.Text("callingDevice/callID"); call != "" && c.calls[call] {
			fail("%s got an event of call %s before the response to its MakeCall", c.device, call)
		}
		return
	}
	if m.Kind() != uacsta.Event {
		return
	}
	c.count++
	c.events = append(c.events, m)
	for _, connection := range m.Connections() {
		c.calls[connection.CallID()] = true
	}
	if ref := m.CrossRef(); !c.b.kit.Watched && !c.monitors[ref] {
		fail("%s got an event under the reference %q, where it has no monitor: %s", c.device, ref, m)
	}
}

// answer waits for the response to a request.
func (c *client) answer(n int) *uacsta.Message { return c.answers(n)[0] }

// answers waits for the responses to several requests, in any order.
func (c *client) answers(numbers ...int) []*uacsta.Message {
	got := make([]*uacsta.Message, len(numbers))
	for slices.Contains(got, nil) {
		h := c.hear()
		switch i := slices.Index(numbers, h.Answer); {
		case i >= 0 && got[i] == nil:
			got[i] = h.Message
		case h.Answer != 0:
			fail("%s got the response to its request %d before that to %d", c.device, h.Answer, numbers[slices.Index(got, nil)])
		}
	}
	return got
}

// ask sends a request and waits for its response.
func (c *client) ask(service any) *uacsta.Message { return c.answer(c.send(service)) }

// must is ask for a request that must succeed.
func (c *client) must(service any) *uacsta.Message {
	m := c.ask(service)
	if err := m.Err(); err != nil {
		fail("the %T of %s: %w", service, c.device, err)
	}
	return m
}

// watch starts a monitor and returns its cross reference.
func (c *client) watch(device string) string {
	c.base = c.b.sw.events(device)
	if c.b.kit.Watched {
		c.b.await("the device is watched", func() bool { refs, _ := c.b.sw.watching(device); return len(refs) > 0 })
		return ""
	}
	return c.started(c.must(start(device)))
}

// started handles the response to a MonitorStart.
func (c *client) started(m *uacsta.Message) string {
	ref := m.CrossRef()
	if ref == "" || c.monitors[ref] {
		fail("%s got the reference %q for another monitor: %s", c.device, ref, m)
	}
	c.monitors[ref] = true
	return ref
}

func start(device string) uacsta.MonitorStart {
	object := uacsta.Dev(device)
	return uacsta.MonitorStart{MonitorObject: uacsta.MonitorObject{DeviceObject: &object}}
}

// next waits for an event.
func (c *client) next() *uacsta.Message {
	for len(c.events) == 0 {
		if h := c.hear(); h.Answer != 0 {
			fail("%s got a response instead of an event: %s", c.device, h.Message)
		}
	}
	m := c.events[0]
	c.events = c.events[1:]
	return m
}

// event waits for an event of this name.
func (c *client) event(name string) *uacsta.Message {
	for {
		if m := c.next(); m.Name() == name {
			return m
		}
	}
}

// marks waits for marks, in order and without a gap. Other events may come between them.
func (c *client) marks(from, to int) {
	for n := from; n < to; {
		due := n
		if c.b.kit.Marks > 0 {
			due %= c.b.kit.Marks
		}
		switch got, is := c.b.kit.Marked(c.next()); {
		case !is:
		case got != due:
			fail("%s got mark %d instead of %d", c.device, got, due)
		default:
			n++
		}
	}
}

// caughtUp waits until the client has every event of its device since it started to monitor it.
func (c *client) caughtUp() {
	c.b.sw.settled()
	for !c.b.kit.Watched && c.count < c.b.sw.events(c.device)-c.base {
		c.hear()
	}
	c.events = nil
}

// ended waits until the association has ended.
func (c *client) ended() {
	for {
		select {
		case h, ok := <-c.heard:
			if !ok {
				return
			}
			c.check(h)
		case <-time.After(c.b.kit.Patience):
			fail("the association of %s does not end within %s", c.device, c.b.kit.Patience)
		}
	}
}

// sessions waits until the core has n sessions.
func (b *bench) sessions(n int) {
	b.awaitOr(func() bool { return b.core.Status().Sessions == n }, func() string {
		now := b.core.Status().Sessions
		switch {
		case now < n:
			return fmt.Sprintf("%d sessions are open where %d clients are: not all", now, n)
		case now == 1:
			return "1 session is still open after the client left: call Session.Close or Session.Disconnected; it was not closed"
		default:
			return fmt.Sprintf("%d sessions are still open where %d clients are left: call Session.Close or Session.Disconnected; they were not closed", now, n)
		}
	})
}
