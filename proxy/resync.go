package proxy

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tr87proxy/tr87proxy/policy"
	"github.com/tr87proxy/tr87proxy/proxy/callmodel"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// After a link was lost, what happened at its devices meanwhile is found out by
// snapshots and told as events, so that every client's picture is right again.

// resync is the time between a monitor's restart and the moment when its clients know
// what they missed. Events that come meanwhile are held back.
type resync struct {
	held  []*uacsta.Message
	claim claim // for what is held
	first bool  // the monitor has just begun: clients have missed nothing
	tried int   // times that the device could not be looked at before
}

const (
	maxHeld    = 1000 // events of one monitor that are held back
	maxResyncs = 100  // monitors of one link that look at their devices at a time
)

// hold holds an event back, if there is room for it.
func (r *resync) hold(ev *uacsta.Message) bool {
	if len(r.held) >= maxHeld || !r.claim.take(ev.Size()) {
		return false
	}
	r.held = append(r.held, ev)
	return true
}

// settle ends the time in which events are held back, and drops them; m.mu is held.
func (m *monitor) endResync() {
	if m.resync != nil {
		m.resync.claim.release()
		m.resync = nil
	}
}

// resynchronise looks at the device and tells the clients what changed. It runs in a
// goroutine of its own: its requests wait for answers.
func (m *monitor) resynchronise(l *life, r *resync) {
	t := m.managed
	select {
	case t.resyncSlots <- struct{}{}:
		defer func() { <-t.resyncSlots }()
	case <-l.ctx.Done():
		return
	}
	if l.pace() != nil {
		return
	}
	var scenes []callmodel.Scene
	now := newPicture(ownOf(m.watch.MonitorObject), &t.pictures)
	seen := claim{budget: &t.memory}
	defer seen.release()
	err := errUnneeded
	if m.resyncing(r) {
		scenes, err = m.takeSnapshots(l, now, &seen)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	defer func() { now.clear() }() // the one that is not the monitor's
	if m.resync != r {             // the link was lost again, or too much came meanwhile
		return
	}
	switch {
	case err != nil && !r.first:
		var refusal *uacsta.Error
		again := errors.As(err, &refusal) && worthAnother(err) // what is too large, or does not come to its end, would be so again
		t.log.Warn("resynchronisation failed: clients may hold stale call state", "device", m.device.String(), "err", err, "retrying", again)
		if again {
			defer m.resyncLater(r)
		}
	case err == nil && r.first:
		m.picture, now = now, m.picture
	case err == nil:
		now.complete(m.picture)
		missed := callmodel.Difference(now.own, m.picture, now, scenes)
		m.picture, now = now, m.picture
		for _, ev := range missed {
			m.sendToStale(ev)
		}
		defer m.clearStale()
		if r.tried > 0 {
			t.log.Info("resynchronisation succeeded after a retry", "device", m.device.String())
		}
	}
	m.releaseHeld()
}

// resyncLater looks at the device once more after a while; m.mu is held. Events go their way
// meanwhile.
func (m *monitor) resyncLater(r *resync) {
	l := m.life
	m.managed.proxy.spawn(func() {
		if !m.managed.proxy.pause(l.ctx, r.tried) {
			return
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.state == started && m.life == l && m.resync == nil {
			m.startResync(r.tried + 1)
		}
	})
}

// errUnneeded says that nobody wants the snapshot any more.
var errUnneeded = errors.New("snapshot no longer needed")

// awaits reports whether events are still held back for a snapshot.
func (m *monitor) resyncing(r *resync) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.resync == r
}

// releaseHeld ends the time in which events are held back: clients get them now, but for what they
// know already from being told what they missed. Who has missed nothing gets all that came since
// then. m.mu is held.
func (m *monitor) releaseHeld() {
	held, first := m.resync.held, m.resync.first
	m.endResync()
	for i, ev := range held {
		changed := m.apply(ev)
		m.sendTo(ev, func(cm *clientMonitor) bool {
			if cm.stale {
				return first || changed || !callmodel.Concerns(ev)
			}
			return i >= cm.from
		})
	}
	m.removeUnauthorised()
}

// fresh takes note that clients know everything; m.mu is held.
func (m *monitor) clearStale() {
	for _, cm := range m.clients {
		cm.stale, cm.from = false, 0
	}
}

// miss takes note that clients may have missed something; m.mu is held.
func (m *monitor) markStale() {
	for _, cm := range m.clients {
		cm.stale = true
	}
}

// apply takes an event into the picture, and reports whether it changed; m.mu is held.
func (m *monitor) apply(ev *uacsta.Message) (changed bool) {
	changed = m.picture.apply(ev)
	if m.picture.dropped > 0 {
		m.picture.dropped = 0
		m.managed.log.Warn("too many calls on a device: dropping the oldest", "device", m.device.String())
	}
	return changed
}

// ownOf is the device whose side of the calls a monitor on an object tells; "" for one on a call.
func ownOf(object uacsta.MonitorObject) string {
	if object.DeviceObject == nil {
		return ""
	}
	return object.DeviceObject.ID
}

// look takes snapshots of the device and of its calls, or of the call, into a picture, at the pace of
// the life; its caller has waited for the first. What they take in memory is taken of seen.
func (m *monitor) takeSnapshots(l *life, now *picture, seen *claim) ([]callmodel.Scene, error) {
	if call := m.watch.MonitorObject.CallObject; call != nil {
		s := scene{Scene: callmodel.Scene{ID: call.CallID}}
		if err := m.managed.snapshotCall(nil, &s, now, *call, seen); err != nil {
			return nil, err
		}
		return []callmodel.Scene{s.Scene}, nil
	}
	own := *m.watch.MonitorObject.DeviceObject
	var scenes []callmodel.Scene
	calls, err := m.managed.snapshotDevice(nil, own, seen)
	if err != nil {
		return nil, err
	}
	for _, info := range calls {
		states := info.LocalCallState.CompoundCallState
		self := party{Call: info.ConnectionIdentifier.CallID, Device: own.ID}
		state := callmodel.Unclear
		if len(states) > 0 {
			state = uacsta.LocalConnectionState(strings.Clone(string(states[0])))
		}
		now.set(self, state)
		if now.dropped > 0 { // to tell that the others are over would be wrong
			return nil, errCalls
		}
		s := scene{Scene: callmodel.Scene{ID: self.Call, Parties: []party{self}}}
		if l.pace() != nil {
			return nil, errLinkDown
		}
		var refusal *uacsta.Error
		switch err := m.managed.snapshotCall(nil, &s, now, info.ConnectionIdentifier, seen); {
		case err == nil:
		case !errors.As(err, &refusal): // a refusal leaves us with what the device's snapshot says
			return nil, err
		}
		if now.dropped > 0 {
			return nil, errCalls
		}
		scenes = append(scenes, s.Scene)
	}
	return scenes, nil
}

// snapshotDevice takes a snapshot of a device. What it takes in memory is taken of seen, as below.
func (t *managedLink) snapshotDevice(by *Session, device uacsta.DeviceID, seen *claim) ([]uacsta.SnapshotDeviceResponseInfo, error) {
	res, data, err := t.snapshot(by, uacsta.SnapshotDevice{SnapshotObject: device}, seen)
	if err != nil {
		return nil, err
	}
	if data == nil {
		var whole uacsta.SnapshotDeviceResponse
		if err := res.Decode(&whole); err != nil || whole.CrossRefIDorSnapshotData.SnapshotData == nil {
			return nil, err
		}
		return whole.CrossRefIDorSnapshotData.SnapshotData.SnapshotDeviceResponseInfo, nil
	}
	var calls []uacsta.SnapshotDeviceResponseInfo
	for _, m := range data {
		var segment uacsta.SnapshotDeviceData
		if err := m.Decode(&segment); err != nil {
			return nil, err
		}
		calls = append(calls, segment.SnapshotData...)
	}
	return calls, nil
}

// snapshotCall takes a snapshot of a call.
func (t *managedLink) snapshotCall(by *Session, s *scene, now *picture, call uacsta.ConnectionID, seen *claim) error {
	res, data, err := t.snapshot(by, uacsta.SnapshotCall{SnapshotObject: call}, seen)
	if err != nil {
		return err
	}
	if data == nil {
		var whole uacsta.SnapshotCallResponse
		if err := res.Decode(&whole); err != nil {
			return err
		}
		s.Calling, s.Called = whole.CallingDevice, whole.CalledDevice
		if list := whole.CrossRefIDorSnapshotData.SnapshotData; list != nil {
			s.add(now, list.SnapshotCallResponseInfo)
		}
		return nil
	}
	for _, m := range data {
		var segment uacsta.SnapshotCallData
		if err := m.Decode(&segment); err != nil {
			return err
		}
		s.add(now, segment.SnapshotData)
	}
	return nil
}

// add takes in the parties of a call.
func (s *scene) add(now *picture, parties []uacsta.SnapshotCallResponseInfo) {
	for _, info := range parties {
		id := party{Call: s.ID, Device: info.DeviceOnCall.Device.ID}
		if info.CallIdentifier != nil && info.CallIdentifier.DeviceID.ID != "" {
			id.Device = info.CallIdentifier.DeviceID.ID
		}
		if s.devices != nil && id.Device != "" {
			s.devices[id.Device] = true
		}
		if id.Device == "" || info.LocalConnectionInfo == "" || now.State(id) != "" {
			continue
		}
		if now.set(id, uacsta.LocalConnectionState(strings.Clone(string(info.LocalConnectionInfo)))) {
			s.Parties = append(s.Parties, id)
		}
	}
}

const (
	segmentTime  = 10 * time.Second // a snapshot that comes in segments must be whole in this time
	maxSegments  = 1000
	maxSnapshot  = 4 << 20  // octets that its segments take in memory
	linkMemory   = 64 << 20 // octets that one link's segments, and events that are held back, may take
	linkPictures = 64 << 20 // octets that the pictures of a link's devices may take
)

var (
	errSegments = errors.New("snapshot segments did not arrive in time")
	errMemory   = errors.New("snapshot exceeds the memory limit of the link")
	errCalls    = errors.New("device has more calls than the proxy tracks")
)

// gathering is a snapshot that comes in segments.
type gathering struct {
	ended chan error // why no more is taken; nil: it is whole

	mu       sync.Mutex
	complete bool
	data     []*uacsta.Message
	octets   int
	seen     *claim
}

// take takes a segment, nil where none will come any more.
func (g *gathering) take(m *uacsta.Message, last bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.complete {
		return
	}
	var err error
	if m == nil {
		err = errSegments
	} else if size := m.Size(); len(g.data) == maxSegments || g.octets+size > maxSnapshot || !g.seen.take(size) {
		err = errMemory
	} else {
		g.data = append(g.data, m)
		g.octets += size
	}
	if g.complete = last || err != nil; g.complete {
		g.ended <- err
	}
}

// end returns what has come; from now on no more is taken.
func (g *gathering) end() []*uacsta.Message {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.complete = true
	return g.data
}

// snapshot asks for one, in the turn of the client by, nil the core's, and waits for its answer, and for its segments where it comes in
// some; the link gives an answer in any case. What they take in memory is taken of seen, which is
// the caller's to release once it needs them no more.
func (t *managedLink) snapshot(by *Session, req any, seen *claim) (res *uacsta.Message, data []*uacsta.Message, err error) {
	type answer struct {
		m   *uacsta.Message
		err error
	}
	answered := make(chan answer, 1)
	var a *association
	g := &gathering{ended: make(chan error, 1), seen: seen}
	l := t.now()
	l.request(by, uacsta.Encode(req, uacsta.Edition3), func(m *uacsta.Message, err error) {
		if err == nil {
			if ref := reference(m.Text(deviceData.at(m))); ref != "" {
				a = &association{kind: segments, life: l, linkRef: ref}
				a.take = func(m *uacsta.Message) { g.take(m, m != nil && a.ends(m)) }
				err = a.enter() // before the segments come
			}
		}
		answered <- answer{m, err}
	})
	got := <-answered
	switch {
	case got.err != nil:
		return nil, nil, got.err
	case a == nil && !seen.take(got.m.Size()):
		return nil, nil, errMemory
	case a == nil:
		return got.m, nil, nil
	}
	defer a.forget()
	limit := time.NewTimer(segmentTime)
	defer limit.Stop()
	select {
	case err = <-g.ended:
	case <-limit.C:
		err = errSegments
	case <-t.proxy.ctx.Done():
		err = errSegments
	}
	return got.m, g.end(), err
}

// startResync holds events back until the device has been looked at; tried is how often that has
// failed. m.mu is held. A call is looked at when its monitor begins, too: it was there before.
func (m *monitor) startResync(tried int) {
	first := m.watch.MonitorObject.CallObject != nil && len(m.clients) == 0
	if first || m.behind() {
		r, l := &resync{first: first, tried: tried, claim: claim{budget: &m.managed.memory}}, m.life
		m.resync = r
		for _, cm := range m.clients {
			cm.from = 0
		}
		m.managed.proxy.spawn(func() { m.resynchronise(l, r) }) // not here: we may be inside the link's own call
	}
}

// resyncNow finds out what events did not tell.
func (m *monitor) resyncNow() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.markStale()
	if m.state == started && m.resync == nil {
		m.startResync(0)
	}
}

// remember puts into the picture the calls that the device is known to be in: clients may have
// learnt of them by a snapshot. After a whole snapshot it is in no others. m.mu is held.
func (m *monitor) remember(whole bool) {
	own := ownOf(m.watch.MonitorObject)
	if own == "" || !m.pictured() {
		return
	}
	known := m.managed.calls.with(own)
	behind := m.resync != nil || slices.ContainsFunc(m.clients, func(cm *clientMonitor) bool { return cm.stale })
	switch {
	case whole:
		m.overtake(own, known)
	case !behind:
		for call, state := range known {
			if id := (party{Call: call, Device: own}); m.picture.State(id) == "" {
				m.picture.set(id, state)
			}
		}
	}
}

// overtake brings the device's own connections in the picture to what a snapshot says that one
// client has asked for. Those that have missed it are told: what all of them know must be one and
// the same. m.mu is held.
func (m *monitor) overtake(own string, known map[string]callmodel.State) {
	before, now := newPicture(own, &m.managed.pictures), newPicture(own, &m.managed.pictures)
	defer before.clear()
	defer now.clear()
	var scenes []callmodel.Scene
	for call, state := range m.picture.ownStates() {
		before.set(party{Call: call, Device: own}, state)
		if known[call] == "" {
			m.picture.drop(call)
		}
	}
	for _, call := range slices.Sorted(maps.Keys(known)) {
		id, state := party{Call: call, Device: own}, known[call]
		if was := m.picture.State(id); was != "" && state == callmodel.Unclear {
			state = was
		}
		if m.picture.set(id, state) && now.set(id, state) {
			scenes = append(scenes, callmodel.Scene{ID: call})
		}
	}
	for _, ev := range callmodel.Difference(own, before, now, scenes) {
		m.sendToStale(ev)
	}
}

// sendToStale tells those that may have missed it; m.mu is held.
func (m *monitor) sendToStale(event any) {
	m.sendTo(uacsta.Encode(event, uacsta.Edition3), func(cm *clientMonitor) bool { return cm.stale })
}

// remembers is remember for the answer to a snapshot that a client has asked for.
func (t *managedLink) remembers(service string, device policy.Number, answer answerer) answerer {
	if service != uacsta.NameSnapshotDevice {
		return answer
	}
	return func(res *uacsta.Message, err error) {
		if err == nil {
			whole := res.Text(deviceData.at(res)) == ""
			if whole {
				t.calls.only(device.String(), res)
			}
			t.remember(device, whole)
		}
		answer(res, err)
	}
}

// remember has the monitor of a device, if there is one, take in the calls that clients know of now.
func (t *managedLink) remember(device policy.Number, whole bool) {
	t.mu.Lock()
	m := t.monitors[device.String()]
	t.mu.Unlock()
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.state == started {
		m.remember(whole)
	}
}

// behind reports whether clients have to be told what they missed.
func (m *monitor) behind() bool { return len(m.clients) > 0 && m.pictured() }

// pictured reports whether the monitor keeps a picture: of a device in the usual way of
// watching it, or of a call.
func (m *monitor) pictured() bool {
	return m.watch.MonitorObject.CallObject != nil || m.watch.MonitorObject.DeviceObject != nil && m.watch.MonitorType == ""
}
