package tests

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tr87proxy/tr87proxy/sip"
	"github.com/tr87proxy/tr87proxy/tr87"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// viewer is a client with its picture of the devices that it watches, made of events alone.
type viewer struct {
	s     *soak
	name  string
	whole bool // it has watched since before the first call
	link  asker
	ended func() bool // its session has

	mu    sync.Mutex
	views map[string]*view             // by cross reference
	early map[string][]*uacsta.Message // events that came before the answer was read
	stops map[string]bool              // references of monitors that it has ended
}

// view is what a client knows about one device, and what it was told since the last quiet period.
type view struct {
	observer
	told  []string       // events, in short
	names map[string]int // of calls in them
	all   int            // events
}

// dial connects by CSTA-XML, from 127.0.0.n.
func (v *viewer) dial(n int) bool {
	f, err := dialFramesFrom(fmt.Sprintf("127.0.0.%d", n), v.s.front.xmlPort, func(document string) {
		m, err := uacsta.Parse([]byte(document))
		if err != nil {
			v.s.fault("%s was told what cannot be read: %v: %s", v.name, err, document)
			return
		}
		v.hear(m)
	})
	if err != nil {
		v.s.fault("%s: %v", v.name, err)
		return false
	}
	v.link, v.ended = f, func() bool {
		if n := f.stray.Load(); n > 0 {
			v.s.fault("%s got %d answers that it has not asked for", v.name, n)
		}
		select {
		case <-f.done:
			return true
		default:
			return false
		}
	}
	return true
}

// invite connects by TR/87.
func (v *viewer) invite(ua *sip.UA) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var over atomic.Bool
	client, err := tr87.Open(ctx, ua, tr87.Dial{
		To: fmt.Sprintf("sip:x@127.0.0.1:%d;transport=tcp", v.s.front.port), From: "sip:x@localhost",
		Event: v.hear,
		Ended: func(err error) { over.Store(!errors.Is(err, sip.ErrShutdown)) },
	})
	if err != nil {
		v.s.fault("%s: %v", v.name, err)
		return
	}
	v.link, v.ended = dialogs{client}, over.Load
}

// ask sends the proxy a request, which must get a response. It returns nil if that is an error.
func (v *viewer) ask(req any) *uacsta.Message {
	v.s.requests.Add(1)
	m, err := v.link.ask(req)
	var refusal *uacsta.Error
	switch {
	case errors.As(err, &refusal):
		return nil
	case err != nil:
		v.s.fault("%s got no answer to %T: %v", v.name, req, err)
		return nil
	case m.Err() != nil:
		return nil
	}
	return m
}

// watch starts a monitor, and returns its cross reference, or "" if it was refused.
func (v *viewer) watch(device string) string {
	d := uacsta.Dev(device)
	m := v.ask(uacsta.MonitorStart{MonitorObject: uacsta.MonitorObject{DeviceObject: &d}})
	if m == nil {
		if v.whole {
			v.s.fault("%s may not watch %s", v.name, device)
		}
		return ""
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.views == nil {
		v.views = map[string]*view{}
	}
	ref := m.CrossRef()
	if v.views[ref] != nil {
		v.s.fault("%s got one cross reference twice", v.name)
	}
	w := &view{observer: observer{device, map[[2]string]string{}}, names: map[string]int{}}
	v.views[ref] = w
	for _, ev := range v.early[ref] {
		v.see(w, ev)
	}
	delete(v.early, ref)
	return ref
}

// hear handles what the proxy sends.
func (v *viewer) hear(m *uacsta.Message) {
	if m.Kind() != uacsta.Event && m.Name() != uacsta.NameMonitorStop {
		return
	}
	v.s.passed.Add(1)
	v.mu.Lock()
	defer v.mu.Unlock()
	ref := m.CrossRef()
	w := v.views[ref]
	switch {
	case v.stops[ref]:
		v.s.fault("%s was told %s of a monitor that it has ended", v.name, m)
	case m.Name() == uacsta.NameMonitorStop:
		v.s.fault("%s was told that a monitor is over: %s", v.name, m)
	case w == nil:
		if v.early == nil {
			v.early = map[string][]*uacsta.Message{}
		}
		v.early[ref] = append(v.early[ref], m)
	default:
		v.see(w, m)
	}
}

// see handles an event. The caller holds v.mu.
func (v *viewer) see(w *view, ev *uacsta.Message) {
	conns := ev.Connections()
	about := slices.ContainsFunc(ev.Devices(), func(d uacsta.Device) bool { return d.ID() == w.device })
	astray := false
	for _, c := range conns {
		about = about || c.DeviceID() == w.device || w.known[[2]string{c.CallID(), w.device}] != ""
		astray = astray || groupOf(c.DeviceID()) != groupOf(w.device)
	}
	if astray || !about && v.whole {
		v.s.fault("%s watches %s, and was told %s", v.name, w.device, ev)
	}
	if len(conns) > 0 {
		first := [2]string{conns[0].CallID(), conns[0].DeviceID()}
		over := ev.Name() == uacsta.NameConnectionClearedEvent && v.whole && first[1] == w.device && w.known[first] == ""
		if !w.take(ev) || over {
			v.s.fault("%s was told before (it watches %s): %s", v.name, w.device, ev)
		}
	}
	var b strings.Builder
	b.WriteString(ev.Name() + " " + ev.Text("localConnectionInfo") + " " + ev.Text("cause"))
	for _, c := range conns {
		if c.Name() == "oldConnectionID" { // of the history of devices: ASN.1 has room for one
			continue
		}
		id, known := w.names[c.CallID()]
		if !known {
			id = len(w.names)
			w.names[c.CallID()] = id
		}
		fmt.Fprintf(&b, " %s=%d/%s", c.Name(), id, c.DeviceID())
	}
	w.told = append(w.told, b.String())
	w.all++
}

// now returns the current views of a client, by device.
func (v *viewer) now() map[string]view {
	v.mu.Lock()
	defer v.mu.Unlock()
	for ref, events := range v.early {
		v.s.fault("%s was told %d events under %s, which is none of its references: %s", v.name, len(events), ref, events[0])
	}
	views := map[string]view{}
	for _, w := range v.views {
		copied := *w
		copied.known = maps.Clone(w.known)
		views[w.device] = copied
	}
	return views
}

// forget clears what was told, and keeps the picture.
func (v *viewer) forget() {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, w := range v.views {
		w.told, w.names = nil, map[string]int{}
	}
}

// stop stops a monitor. After the response no event of it may come.
func (v *viewer) stop(ref string) {
	if v.ask(uacsta.MonitorStop{MonitorCrossRefID: ref}) == nil {
		v.s.fault("%s may not end its monitor", v.name)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.views, ref)
	if v.stops == nil {
		v.stops = map[string]bool{}
	}
	v.stops[ref] = true
}

// group is how many devices call one another.
const group = 5

// groupOf returns the group of a device.
func groupOf(device string) int {
	n, _ := strconv.Atoi(device)
	return n / group
}

// caller makes, changes and clears calls among some devices.
type caller struct {
	s       *soak
	rng     *rand.Rand
	devices []string
	through *atomic.Pointer[frames] // to the switch
}

// ask sends a request to the switch itself, which may be dead, or through a client to the proxy.
func (c *caller) ask(by *viewer, req any) *uacsta.Message {
	if by != nil {
		return by.ask(req)
	}
	c.s.requests.Add(1)
	m, err := c.through.Load().ask(req)
	if err != nil || m.Err() != nil {
		return nil
	}
	return m
}

// run takes steps at random intervals, until the soak ends.
func (c *caller) run() {
	next := time.NewTicker(c.s.pace)
	defer next.Stop()
	for {
		select {
		case <-next.C:
		case <-c.s.over:
			return
		}
		c.s.calm.RLock()
		c.step()
		c.s.calm.RUnlock()
		c.s.steps.Add(1)
	}
}

// step looks at a device and changes something at it.
func (c *caller) step() {
	var by *viewer
	if c.rng.IntN(4) == 0 {
		by = c.s.viewers[c.rng.IntN(len(c.s.viewers))]
	}
	order := c.rng.Perm(len(c.devices))
	device, other := c.devices[order[0]], c.devices[order[1]]
	m := c.ask(by, uacsta.SnapshotDevice{SnapshotObject: uacsta.Dev(device)})
	var shot uacsta.SnapshotDeviceResponse
	if m == nil || m.Decode(&shot) != nil || shot.CrossRefIDorSnapshotData.SnapshotData == nil {
		return
	}
	calls := map[string]uacsta.ConnectionID{}
	var states []string
	for _, info := range shot.CrossRefIDorSnapshotData.SnapshotData.SnapshotDeviceResponseInfo {
		state := string(info.LocalCallState.CompoundCallState[0])
		calls[state] = info.ConnectionIdentifier
		states = append(states, state)
	}
	if len(states) == 0 {
		c.ask(by, call(device, other))
		return
	}
	state := states[c.rng.IntN(len(states))]
	conn := calls[state]
	held, holds := calls["hold"]
	active, talks := calls["connected"]
	if holds && talks {
		c.ask(by, []any{
			uacsta.TransferCall{HeldCall: held, ActiveCall: active}, uacsta.ConferenceCall{HeldCall: held, ActiveCall: active},
			uacsta.AlternateCall{HeldCall: held, ActiveCall: active}, uacsta.ReconnectCall{HeldCall: held, ActiveCall: active},
		}[c.rng.IntN(4)])
		return
	}
	clearing := uacsta.ClearConnection{ConnectionToBeCleared: conn}
	var next []any
	switch state {
	case "alerting":
		next = []any{
			uacsta.AnswerCall{CallToBeAnswered: conn}, uacsta.AnswerCall{CallToBeAnswered: conn}, uacsta.AnswerCall{CallToBeAnswered: conn}, clearing,
			uacsta.DeflectCall{CallToBeDiverted: conn, NewDestination: []uacsta.DeviceID{uacsta.Dev(other)}},
		}
	case "connected":
		next = []any{
			uacsta.HoldCall{CallToBeHeld: conn}, uacsta.ConsultationCall{ExistingCall: conn, ConsultedDevice: uacsta.Dev(other)}, clearing, clearing,
			uacsta.SingleStepTransferCall{ActiveCall: conn, TransferredTo: uacsta.Dev(other)},
			uacsta.SingleStepConferenceCall{ActiveCall: conn, DeviceToJoin: uacsta.Dev(other), ParticipationType: uacsta.ParticipationActive},
		}
	case "hold":
		next = []any{uacsta.RetrieveCall{CallToBeRetrieved: conn}, uacsta.RetrieveCall{CallToBeRetrieved: conn}, clearing}
	default:
		next = []any{clearing}
	}
	c.ask(by, next[c.rng.IntN(len(next))])
}

// passer is a client that connects, watches, and disconnects, with or without goodbye.
func (s *soak) passer(n int) {
	rng := rand.New(rand.NewPCG(uint64(n), 3))
	all := slices.Concat(s.devices...)
	next := time.NewTicker(100 * time.Millisecond)
	defer next.Stop()
	var v *viewer
	var refs []string
	leave := func() {
		v.now()
		v.ended()
		v.link.close()
		v = nil
	}
	for {
		select {
		case <-next.C:
		case <-s.over:
			if v != nil {
				leave()
			}
			return
		}
		s.calm.RLock()
		switch action := rng.IntN(10); {
		case v == nil:
			v, refs = &viewer{s: s, name: fmt.Sprint("passer ", n)}, nil
			if !v.dial(9) {
				v = nil
			}
		case action < 5:
			if ref := v.watch(all[rng.IntN(len(all))]); ref != "" {
				refs = append(refs, ref)
			}
		case action == 5:
			v.ask(uacsta.SnapshotDevice{SnapshotObject: uacsta.Dev(all[rng.IntN(len(all))])})
		case action < 8 && len(refs) > 0:
			v.stop(refs[0])
			refs = refs[1:]
		case action > 8:
			leave()
		}
		s.calm.RUnlock()
	}
}
