package fronttest

import (
	"net"
	"sync"
	"time"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// checks are the checks of the suite.
var checks = []check{
	{name: "answers come before events", run: answersFirst},
	{name: "many requests", run: manyRequests},
	{name: "an ambiguous request", run: ambiguous},
	{name: "answers out of order", run: outOfOrder},
	{name: "events in order", run: eventsInOrder},
	{name: "own references", run: ownReferences},
	{name: "monitors come and go", run: comeAndGo},
	{name: "two clients on one device", run: twoClients},
	{name: "taking leave", run: takingLeave},
	{name: "a lost client comes back", run: lostAndBack, linger: time.Minute},
	{name: "cut off at every octet", run: cutAtEveryOctet},
	{name: "gone while its requests are carried out", run: goneMeanwhile},
	{name: "a slow client", run: slowClient},
	{name: "the link is lost", run: linkLost},
	{name: "a panic", run: panics},
	{name: "the core ends the session", run: coreEnds},
	{name: "the front stops", run: frontStops},
	{name: "histories"},
}

func call(from, to string) uacsta.MakeCall {
	return uacsta.MakeCall{CallingDevice: uacsta.Dev(from), CalledDirectoryNumber: uacsta.Dev(to), AutoOriginate: uacsta.DoNotPrompt}
}

// made returns the connection of the caller from the response to a MakeCall.
func made(m *uacsta.Message, device string) uacsta.ConnectionID {
	return uacsta.Conn(m.Text("callingDevice/callID"), device)
}

func hangUp(own uacsta.ConnectionID) uacsta.ClearConnection {
	return uacsta.ClearConnection{ConnectionToBeCleared: own}
}

// directly waits for the response to a request, which nothing else may precede.
func (c *client) directly(n int) *uacsta.Message {
	h := c.hear()
	if h.Answer != n {
		fail("%s got %s before the response to its request", c.device, h.Message)
	}
	if err := h.Message.Err(); err != nil {
		fail("request %d of %s: %w", n, c.device, err)
	}
	return h.Message
}

// The response to a request comes before every event that it causes.
func answersFirst(b *bench) {
	a := b.client(Devices[0])
	a.watch(a.device)
	for range 20 {
		own := made(a.directly(a.send(call(a.device, Devices[1]))), a.device)
		a.caughtUp()
		a.directly(a.send(hangUp(own)))
		a.caughtUp()
	}
}

// question returns the nth of requests that change nothing: two kinds, about two devices.
func question(n int) any {
	device := uacsta.Dev(Devices[n/2%2])
	if n%2 == 0 {
		return uacsta.GetDoNotDisturb{Device: device}
	}
	return uacsta.GetForwarding{Device: device}
}

// manyAtOnce is how many requests the suite sends without waiting; a session may have more.
const manyAtOnce = 40

// Requests that are sent without waiting are answered once each, in order.
func manyRequests(b *bench) {
	a := b.client(Devices[0])
	for range 5 {
		for n := range manyAtOnce {
			a.send(question(n))
		}
		for n := range manyAtOnce {
			a.answer(a.last - manyAtOnce + 1 + n)
		}
	}
}

// A request that can be read in two ways is refused, and nothing of it is carried out. The
// association continues.
func ambiguous(b *bench) {
	a := b.client(Devices[0])
	wire, documents := a.wire.(DocumentWire)
	if !documents {
		fail("the wire is no DocumentWire, and Kit.Without does not name this check")
	}
	for range 3 {
		before := a.send(question(0))
		a.last++
		n := a.last
		a.asked[n] = uacsta.NameSetDoNotDisturb
		if err := wire.Document(n, []byte(`<SetDoNotDisturb xmlns="`+uacsta.NamespaceED3+`"><device>`+Devices[0]+`</device><device>`+Devices[1]+
			`</device><doNotDisturbOn>true</doNotDisturbOn></SetDoNotDisturb>`)); err != nil {
			fail("the ambiguous request of %s: %w", a.device, err)
		}
		behind := []int{a.send(question(0)), a.send(question(2))} // one for each device
		// the refusal is the front's own, and need not wait for what the switching function is asked
		if m := a.answers(before, n)[1]; m.Err() == nil {
			fail("%s asked for SetDoNotDisturb with two devices, and it succeeded: %s", a.device, m)
		}
		for _, n := range behind {
			if m := a.answer(n); m.Text("doNotDisturbOn") != "false" {
				fail("a request that can be read in two ways was carried out: %s", m)
			}
		}
	}
}

// Responses that the switching function sends in another order reach their requests.
func outOfOrder(b *bench) {
	a := b.client(Devices[0])
	if err := b.sw.Perform(uacsta.SetDoNotDisturb{Device: uacsta.Dev(Devices[1]), DoNotDisturbOn: true}); err != nil {
		fail("%w", err)
	}
	b.sw.hold()
	for n := range manyAtOnce {
		a.send(question(n))
	}
	b.await("the requests are at the switching function", func() bool { return b.sw.waiting() == manyAtOnce })
	b.sw.release(true)
	for range manyAtOnce {
		h := a.hear()
		disturbed := "false"
		if (h.Answer-1)/2%2 == 1 {
			disturbed = "true"
		}
		if got := h.Message.Text("doNotDisturbOn"); h.Message.Name() == uacsta.NameGetDoNotDisturbResponse && got != disturbed {
			fail("the response to request %d is that of another: %s", h.Answer, h.Message)
		}
	}
}

// Events come in order, each once, with requests between them.
func eventsInOrder(b *bench) {
	a := b.client(Devices[0])
	a.watch(a.device)
	const batch = 50
	for n := 0; n < 10*batch; n += batch {
		b.mark(a.device, n, n+batch)
		a.ask(question(n))
		a.marks(n, n+batch)
	}
}

// Events carry the reference of their own MonitorStart.
func ownReferences(b *bench) {
	a := b.client(Devices[0])
	first, second, again := a.watch(Devices[0]), a.watch(Devices[1]), a.watch(Devices[0])
	for n, tt := range []struct {
		device string
		refs   []string
	}{{Devices[0], []string{first, again}}, {Devices[1], []string{second}}} {
		b.mark(tt.device, n, n+1)
		got := map[string]bool{}
		for range tt.refs {
			m := a.next()
			if mark, is := b.kit.Marked(m); !is || mark != n {
				fail("an event of %s is %s", tt.device, m)
			}
			got[m.CrossRef()] = true
		}
		for _, ref := range tt.refs {
			if !got[ref] {
				fail("no event of %s came under %s, but under %v", tt.device, ref, got)
			}
		}
	}
}

// No event of a monitor comes before the response to its MonitorStart, or after that to its
// MonitorStop.
func comeAndGo(b *bench) {
	a := b.client(Devices[0])
	during := func(f func()) {
		told := make(chan struct{})
		go func() { defer close(told); b.mark(a.device, 0, 20) }()
		f()
		<-told
	}
	for range 30 {
		ref := ""
		during(func() { ref = a.watch(a.device) })
		during(func() { a.must(uacsta.MonitorStop{MonitorCrossRefID: ref}) })
		a.monitors[ref] = false
	}
	a.ask(question(0))
}

// Two clients get the events of one device, each its own; one leaves, the other stays.
func twoClients(b *bench) {
	a, other := b.client(Devices[0]), b.client(Devices[0])
	for _, c := range []*client{a, other} {
		c.watch(c.device)
		c.must(question(0)) // by now, a client without monitors receives the events of its device
	}
	b.sessions(2)
	if n := b.core.Status().Monitors; n != 1 {
		fail("the switching function has %d monitors of one device", n)
	}
	b.mark(a.device, 0, 50)
	a.marks(0, 50)
	other.marks(0, 50)
	_ = a.nc.Close()
	b.sessions(1)
	b.mark(a.device, 50, 100)
	other.marks(50, 100)
	other.must(question(0))
}

// After a client has left, nothing of it remains, and its association has ended.
func takingLeave(b *bench) {
	a := b.client(Devices[0])
	a.watch(a.device)
	a.must(question(0))
	if err := a.wire.Leave(); err != nil {
		fail("taking leave: %w", err)
	}
	a.ended()
	b.sessions(0)
}

// A client whose connection fails in the middle of a message finds its monitor when it returns: the
// switching function gets no second MonitorStart. A client that leaves properly leaves no monitor.
func lostAndBack(b *bench) {
	nc, err := b.front.Dial(Devices[0])
	if err != nil {
		fail("the front accepts no connection: %w", err)
	}
	f := &frayed{Conn: nc, left: -1}
	a := b.clientOn(f, Devices[0])
	a.open()
	a.listen()
	a.watch(a.device)
	f.fray(5)
	_ = a.wire.Request(a.last+1, uacsta.Encode(question(0), uacsta.Edition3)) // fails
	b.sessions(0)
	again := b.client(Devices[0])
	again.watch(again.device)
	b.mark(again.device, 0, 10)
	again.marks(0, 10)
	if n := b.sw.started(); n != 1 {
		fail("the switching function was asked for %d monitors", n)
	}
	if err := again.wire.Leave(); err != nil {
		fail("taking leave: %w", err)
	}
	again.ended()
	b.await("no monitor is left", func() bool { _, n := b.sw.Counts(); return n == 0 })
}

// frayed is a connection that fails after a number of written octets.
type frayed struct {
	net.Conn
	mu      sync.Mutex
	left    int // octets that will still be written; below 0: all
	written int
}

// fray sets the number of octets that will still be written.
func (f *frayed) fray(octets int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.left = octets
}

// take returns how many of a number of octets to write, and whether the connection fails then.
func (f *frayed) take(octets int) (n int, lost bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.left >= 0 && octets > f.left {
		octets, f.left = f.left, 0
		return octets, true
	}
	if f.left > 0 {
		f.left -= octets
	}
	f.written += octets
	return octets, false
}

// Write implements net.Conn.
func (f *frayed) Write(p []byte) (int, error) {
	n, lost := f.take(len(p))
	if !lost {
		return f.Conn.Write(p)
	}
	n, _ = f.Conn.Write(p[:n])
	_ = f.Close()
	return n, net.ErrClosed
}

// cutAfter has a client start a monitor and place a call, and fails its connection after a number of
// octets. It returns how many octets there were.
func (b *bench) cutAfter(octets int) int {
	nc, err := b.front.Dial(Devices[0])
	if err != nil {
		fail("the front accepts no connection: %w", err)
	}
	defer func() { _ = nc.Close() }()
	_ = nc.SetDeadline(time.Now().Add(b.kit.Patience))
	f := &frayed{Conn: nc, left: octets}
	wire := b.kit.Wire(f, Devices[0])
	if wire.Open() != nil {
		return f.written
	}
	for n, service := range []any{start(Devices[0]), call(Devices[0], Devices[1])} {
		if wire.Request(n+1, uacsta.Encode(service, uacsta.Edition3)) != nil {
			return f.written
		}
	}
	return f.written
}

// A client whose connection fails after any octet leaves nothing behind.
func cutAtEveryOctet(b *bench) {
	all := b.cutAfter(-1)
	for n := range all {
		b.cutAfter(n)
	}
	b.sessions(0)
	b.client(Devices[0]).must(question(0))
}

// The requests of a client that has left are carried out. Nobody gets their responses, and a monitor
// that starts too late is stopped again.
func goneMeanwhile(b *bench) {
	b.sw.hold()
	a, other := b.client(Devices[0]), b.client(Devices[1])
	requests := 2 * 2
	if b.kit.Watched {
		requests = 2 + 2 // the monitors exist already
	}
	for _, c := range []*client{a, other} {
		if !b.kit.Watched {
			c.send(start(c.device))
		}
		c.send(call(c.device, Devices[2]))
	}
	b.await("the requests are at the switching function", func() bool { return b.sw.waiting() == requests })
	_ = a.nc.Close()
	b.sessions(1)
	b.sw.release(false)
	for len(other.asked) > 0 {
		if m := other.hear().Message; m.Name() == uacsta.NameMonitorStartResponse {
			other.started(m)
		}
	}
	b.await("the unwanted monitor is stopped", func() bool { _, n := b.sw.Counts(); return n == 1 })
}

// A client that does not read is disconnected. The others do not notice.
func slowClient(b *bench) {
	slow := b.dial(Devices[0])
	if tcp, ok := slow.nc.(*net.TCPConn); ok {
		_ = tcp.SetReadBuffer(listenBuffer)
	}
	slow.open()
	if b.kit.Watched {
		slow.watch(slow.device)
	} else {
		slow.send(start(slow.device))
		b.await("the device is watched", func() bool { refs, _ := b.sw.watching(slow.device); return len(refs) > 0 })
	}
	other := b.client(Devices[1])
	other.watch(other.device)
	const many, few = 200, 10
	end := time.Now().Add(2 * b.kit.Patience)
	for n := 0; b.core.Status().Sessions == 2; n++ {
		if time.Now().After(end) {
			fail("%d events were sent, and the client that does not read is still connected", many*n)
		}
		b.mark(slow.device, many*n, many*(n+1))
		b.mark(other.device, few*n, few*(n+1))
		other.marks(few*n, few*(n+1))
	}
	other.must(question(0))
	_ = slow.nc.SetReadDeadline(time.Now().Add(b.kit.Patience))
	b.await("the association of the slow client ends", func() bool { _, err := slow.wire.Read(); return err != nil })
}

// Requests are refused while the link is down. When it is back, the client gets the events that it
// missed, and later ones.
func linkLost(b *bench) {
	a := b.client(Devices[0])
	ref := a.watch(a.device)
	own := made(a.must(call(a.device, Devices[1])), a.device)
	a.caughtUp()
	b.sw.lose()
	b.await("the link is down", func() bool { return !b.core.Status().Links[0].Up })
	if m := a.ask(call(a.device, Devices[1])); m.Err() == nil {
		fail("a call was made without a link: %s", m)
	}
	if err := b.sw.Perform(uacsta.ClearCall{CallToBeCleared: b.sw.own(a.device)}); err != nil {
		fail("%w", err)
	}
	b.sw.restore()
	m := a.event(uacsta.NameConnectionClearedEvent)
	if got := m.Connections(); own.CallID != "" && got[0].CallID() != own.CallID || m.CrossRef() != ref {
		fail("call %s under %s has ended, but the client got %s", own.CallID, ref, m)
	}
	b.await("the device is watched again", func() bool { refs, _ := b.sw.watching(a.device); return len(refs) == 1 })
	b.mark(a.device, 0, 10)
	a.marks(0, 10)
	a.must(question(0))
}

// A panic while a front serves a client closes that client's session and nothing else.
func panics(b *bench) {
	other := b.client(Devices[1])
	other.watch(other.device)
	for range 3 {
		a := b.client(Devices[0])
		a.watch(a.device)
		b.sessions(2)
		if b.kit.Watched {
			a.send(call(a.device, poison))
		} else {
			a.send(uacsta.GetDoNotDisturb{Device: uacsta.Dev(poison)})
		}
		a.ended()
		b.sessions(1)
		b.mark(other.device, 0, 10)
		other.marks(0, 10)
		other.must(question(0))
	}
}

// When the core closes a session, the association ends.
func coreEnds(b *bench) {
	a, other := b.client(Devices[0]), b.client(Devices[1])
	a.watch(a.device)
	b.sessions(2)
	b.halt()
	a.ended()
	other.ended()
}

// A front that stops ends its associations, also those with unanswered requests.
func frontStops(b *bench) {
	a, other := b.client(Devices[0]), b.client(Devices[1])
	a.watch(a.device)
	other.must(question(0))
	b.sw.hold()
	a.send(call(a.device, Devices[2]))
	b.await("the request is at the switching function", func() bool { return b.sw.waiting() == 1 })
	b.stop()
	a.ended()
	other.ended()
	b.sessions(0)
}
