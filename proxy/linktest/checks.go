package linktest

import (
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// The link comes up, and its Run returns when ctx ends.
func ready(b *bench) {
	b.up().stop()
}

// Nothing comes before Ready: every life checks that.
func nothingBeforeReady(b *bench) {
	l := b.up()
	l.watch()
	l.stop()
}

// A link that has not run refuses requests at once.
func refusedBeforeReady(b *bench) {
	before := &life{b: b, name: "before the first life", open: map[*question]struct{}{}, monitors: map[string]*watched{}}
	b.refusedAtOnce(before, "before Run", before.start(), before.snapshot(), before.call(), uacsta.MonitorStop{MonitorCrossRefID: "1"})
	l := b.up()
	l.watch()
	l.stop()
}

// A link that is not ready refuses requests at once, and its Run returns when ctx ends.
func refusedWhileDialling(b *bench) {
	b.rig.Relay.stall(true)
	l := b.life()
	b.refusedAtOnce(l, "before Ready", l.start(), l.snapshot(), l.call())
	l.stop()
	b.rig.Relay.stall(false)
	b.up().stop()
}

// A link whose Run has returned refuses requests at once.
func refusedAfterRun(b *bench) {
	l := b.up()
	ref := l.watch()
	l.stop()
	b.refusedAtOnce(l, "after Run", l.start(), l.snapshot(), l.call(), uacsta.MonitorStop{MonitorCrossRefID: ref})
}

// A link carries out the mandatory services and refuses what it does not support.
func services(b *bench) {
	l := b.up()
	defer l.stop()
	ref := l.watch()
	l.must(l.snapshot())
	l.must(uacsta.MonitorStop{MonitorCrossRefID: ref})
	for _, req := range []*uacsta.Message{
		uacsta.Encode(uacsta.MonitorStop{MonitorCrossRefID: ref}, uacsta.Edition3),
		uacsta.Encode(uacsta.MonitorStop{}, uacsta.Edition3),
		uacsta.Encode(uacsta.MonitorStart{}, uacsta.Edition3),
		uacsta.Encode(uacsta.ClearConnection{ConnectionToBeCleared: uacsta.Conn("FFFE", b.rig.Device)}, uacsta.Edition3),
		uacsta.NewMessage(uacsta.NamespaceED3, "WashDishes"),
	} {
		q := l.send(req, nil)
		q.wait() // any outcome is good: reply checks it
		if q.name[0] == 'W' && q.err == nil {
			b.t.Errorf("%s: %s", q.name, q.res)
		}
	}
	l.must(l.snapshot())
}

// A link accepts requests in every edition.
func editions(b *bench) {
	l := b.up()
	defer l.stop()
	for edition := uacsta.Edition3; edition <= uacsta.Edition6; edition++ {
		for _, service := range []any{l.start(), l.snapshot()} {
			q := l.send(uacsta.Encode(service, edition), nil)
			if q.wait(); q.err != nil {
				b.t.Errorf("edition %d: %s: %v", edition, q.name, q.err)
			}
		}
	}
}

// manyRequests are sent without waiting for replies.
const manyRequests = 40

// Replies to requests about one device come in the order of the requests, if the switch responds in
// that order.
func orderOfReplies(b *bench) {
	l := b.up()
	defer l.stop()
	l.watch()
	var mu sync.Mutex
	var order []int
	all := make([]*question, 0, manyRequests)
	for n := range manyRequests {
		all = append(all, l.send(uacsta.Encode(l.snapshot(), uacsta.Edition3), func() {
			mu.Lock()
			defer mu.Unlock()
			order = append(order, n)
		}))
	}
	if refusals := refused(all); len(refusals) > 0 {
		b.t.Errorf("%d of %d requests are refused: %s", len(refusals), len(all), enumerate(refusals))
	}
	mu.Lock()
	defer mu.Unlock()
	if !slices.IsSorted(order) {
		b.t.Errorf("the replies come in the order %v", order)
	}
}

// Requests reach the switch in the order of the calls.
func orderOfRequests(b *bench) {
	l := b.up()
	defer l.stop()
	want, all := make([]string, 0, manyRequests), make([]*question, 0, manyRequests)
	for n := range manyRequests {
		call := l.call()
		call.CalledDirectoryNumber = uacsta.Dev(strconv.Itoa(100 + n))
		want = append(want, call.CalledDirectoryNumber.ID)
		all = append(all, l.ask(call))
	}
	refusals := refused(all)
	if heard := b.rig.Heard(); !slices.Equal(heard, want) {
		b.t.Errorf("the switching function was asked for %v, not %v\n%d of %d requests are refused: %s\n%s", heard, want, len(refusals), len(all), enumerate(refusals), l.state())
	}
}

// refused waits for the replies to requests and returns the refusals.
func refused(all []*question) (refusals []string) {
	for _, q := range all {
		if q.wait(); q.err != nil {
			refusals = append(refusals, fmt.Sprintf("%s: %v", q.name, q.err))
		}
	}
	return refusals
}

// A reply comes before the events of its request: those of a starting monitor, and those of a new
// call.
func replyBeforeEvents(b *bench) {
	l := b.up()
	defer l.stop()
	var telling sync.WaitGroup
	for range 30 {
		telling.Go(b.rig.Tell)
		q := l.ask(l.start()) // life reports an event without a monitor
		if q.wait(); q.err != nil {
			b.t.Fatalf("%s: %v", q.name, q.err)
		}
		ref := q.res.CrossRef()
		telling.Wait()
		if q = l.ask(uacsta.MonitorStop{MonitorCrossRefID: ref}); !q.ok() {
			b.t.Errorf("%s: %v", q.name, q.err)
		}
	}
	ref := l.watch()
	before := 0
	var q *question
	l.hears("a call", func() bool { // the device may still be busy with its previous call
		q = l.send(uacsta.Encode(l.call(), uacsta.Edition3), func() { before = len(l.told(ref)) })
		return q.ok()
	})
	l.hears("the events of the call", func() bool { return slices.ContainsFunc(l.told(ref), l.of(q)) })
	if told := l.told(ref)[:before]; slices.ContainsFunc(told, l.of(q)) {
		b.t.Errorf("before the reply to %s: %q", q.name, told)
	}
	l.hangUp(q)
}

// of returns a function that reports whether an event belongs to the call that a request has made.
func (l *life) of(q *question) func(told string) bool {
	named := " " + q.res.Text("callingDevice/callID") + "@"
	return func(told string) bool { return len(named) > 2 && contains(told, named) }
}

// hangUp clears the call that a request has made.
func (l *life) hangUp(q *question) {
	l.ask(uacsta.ClearConnection{ConnectionToBeCleared: uacsta.Conn(q.res.Text("callingDevice/callID"), l.b.rig.Device)}).wait()
}

// Each monitor of a device gets each event once, in the same order, as its own message.
func everyMonitor(b *bench) {
	l := b.up()
	defer l.stop()
	refs := []string{l.watch(), l.watch(), l.watch()}
	const rounds = 10
	for range rounds {
		b.rig.Tell()
	}
	l.hears("the events of three monitors are the same", func() bool {
		first := l.told(refs[0])
		return len(first) >= rounds && slices.Equal(first, l.told(refs[1])) && slices.Equal(first, l.told(refs[2]))
	})
	seen := map[string]bool{}
	for _, event := range l.told(refs[0]) {
		if seen[event] {
			b.t.Errorf("%s came twice", event)
		}
		seen[event] = true
	}
	l.must(uacsta.MonitorStop{MonitorCrossRefID: refs[1]})
	first := len(l.told(refs[0]))
	b.rig.Tell()
	l.hears("events go on for the others", func() bool { return len(l.told(refs[0])) > first && len(l.told(refs[2])) > first })
}

// The core may send requests at any time: in Ready, in a reply, in an event.
func reentry(b *bench) {
	var inReady, inReply, inEvent atomic.Pointer[question]
	var once sync.Once
	l := b.up(func(l *life) {
		l.greeting = func() { inReady.Store(l.ask(l.start())) }
		l.hook = func(*uacsta.Message) { once.Do(func() { inEvent.Store(l.ask(l.snapshot())) }) }
	})
	defer l.stop()
	done := func(what string, asked *atomic.Pointer[question]) {
		b.t.Helper()
		b.want("a request in "+what, func() bool { q := asked.Load(); return q != nil && q.answered() })
		if err := asked.Load().err; err != nil {
			b.t.Errorf("a request in %s: %v", what, err)
		}
	}
	done("Ready", &inReady)
	go l.send(uacsta.Encode(l.start(), uacsta.Edition3), func() { inReply.Store(l.ask(l.snapshot())) }) // in a goroutine: it may never return
	done("a reply", &inReply)
	go b.rig.Tell()
	done("an event", &inEvent)
}

// However busy the link is, nothing of a life comes after Run has returned, and every request has a
// reply.
func nothingAfterRun(b *bench) {
	for range 20 {
		l := b.up()
		l.watch()
		var busy sync.WaitGroup
		var done atomic.Int32
		stop := make(chan struct{})
		for _, what := range []func(){b.rig.Tell, func() { l.ask(l.snapshot()) }, func() { l.ask(l.call()) }} {
			busy.Go(func() {
				for range 500 {
					select {
					case <-stop:
						return
					default:
						what()
						done.Add(1)
					}
				}
			})
		}
		b.want("something to be done", func() bool { return done.Load() > 30 })
		l.stop()
		close(stop)
		busy.Wait()
	}
}

// A life that ctx or a lost connection has ended is followed by another.
func runAgain(b *bench) {
	for n := range 6 {
		l := b.up()
		ref := l.watch()
		b.rig.Tell()
		l.hears("an event", func() bool { return len(l.told(ref)) > 0 })
		if n%2 == 0 && b.rig.Relay != nil {
			b.rig.Relay.cut()
			l.lost()
			if l.err == nil {
				b.t.Error("Run returned no error")
			}
		} else {
			l.stop()
		}
	}
}

// A reference belongs to one life: the next refuses it, or another monitor has it.
func references(b *bench) {
	l := b.up()
	before := []string{l.watch(), l.watch()}
	b.rig.Tell()
	l.hears("an event", func() bool { return len(l.told(before[1])) > 0 })
	l.stop()
	l = b.up()
	defer l.stop()
	now := l.watch()
	b.rig.Tell()
	l.hears("an event", func() bool { return len(l.told(now)) > 0 }) // and none for a monitor of the previous life
	for _, ref := range before {
		if ref == now {
			continue
		}
		q := l.ask(uacsta.MonitorStop{MonitorCrossRefID: ref})
		if q.wait(); q.err == nil {
			b.t.Errorf("%s of the previous life is still a monitor", ref)
		}
	}
	told := len(l.told(now))
	b.rig.Tell()
	l.hears("an event", func() bool { return len(l.told(now)) > told })
}

// A panic in an Upcall or a reply ends that life only.
func panics(b *bench) {
	for _, where := range []string{"an event", "a reply", "Ready"} {
		l := b.life(func(l *life) {
			l.faulty = true
			if where == "Ready" {
				l.greeting = func() { panic("on purpose") }
			}
		})
		if where != "Ready" {
			b.want("Ready", func() bool { l.mu.Lock(); defer l.mu.Unlock(); return l.ready })
			l.watch()
		}
		survive := func(what func()) { // a panic on the suite's own goroutine is the suite's to recover
			defer func() { _ = recover() }()
			what()
		}
		switch where {
		case "an event":
			l.mu.Lock()
			l.hook = func(*uacsta.Message) { panic("on purpose") }
			l.mu.Unlock()
			survive(b.rig.Tell)
		case "a reply":
			ours := true
			survive(func() {
				l.send(uacsta.Encode(l.call(), uacsta.Edition3), func() { panic("on purpose") })
				ours = false
			})
			if ours { // the link has not seen the panic
				l.end()
			}
		}
		l.returned("after a panic in " + where)
		next := b.up()
		ref := next.watch()
		next.must(next.snapshot())
		b.rig.Tell()
		next.hears("an event", func() bool { return len(next.told(ref)) > 0 })
		next.stop()
	}
}
