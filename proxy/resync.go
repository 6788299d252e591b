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

// After a link was down, the core takes snapshots of the monitored devices and sends the difference as
// events, so that every client knows the calls again.

// resync is the state of a resynchronisation: from the restart of a monitor until its clients know
// what they missed. Events of that time are held.
type resync struct {
	held  []*uacsta.Message
	claim claim // for held
	first bool  // the monitor has just started: its clients have missed nothing
	tried int   // failed attempts before this one
}

const (
	maxHeld    = 1000 // held events of one monitor
	maxResyncs = 100  // concurrent resynchronisations of one link
)

// hold keeps an event if there is room for it.
func (r *resync) hold(ev *uacsta.Message) bool {
	if len(r.held) >= maxHeld || !r.claim.take(ev.Size()) {
		return false
	}
	r.held = append(r.held, ev)
	return true
}

// endResync ends the resynchronisation and drops held events. The caller holds m.mu.
func (m *monitor) endResync() {
	if m.resync != nil {
		m.resync.claim.release()
		m.resync = nil
	}
}

// resynchronise takes snapshots of the device and sends the clients what changed. It runs in its own
// goroutine because its requests wait for responses.
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
	now := newPicture(ownOf(m.watch.MonitorObject), t.static, &t.pictures)
	seen := claim{budget: &t.memory}
	defer seen.release()
	err := errUnneeded
	if m.resyncing(r) {
		scenes, err = m.takeSnapshots(l, now, &seen)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	defer func() { now.clear() }() // clears the picture that the monitor does not keep
	if m.resync != r {             // the link went down again, or too many events came
		return
	}
	switch {
	case err != nil && !r.first:
		var refusal *uacsta.Error
		again := errors.As(err, &refusal) && worthAnother(err) // a snapshot that is too large or never complete would be so again
		t.log.Warn("resynchronisation failed: clients may hold stale call state", "device", m.device.String(), "err", err, "retrying", again)
		if again {
			defer m.resyncLater(r)
		}
	case err == nil && r.first:
		m.picture, now = now, m.picture
	case err == nil:
		now.complete(m.picture)
		missed := callmodel.Difference(now.own, t.static, m.picture, now, scenes)
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

// resyncLater resynchronises again after a delay; until then events pass. The caller holds m.mu.
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

// errUnneeded says that the resynchronisation has already ended.
var errUnneeded = errors.New("snapshot no longer needed")

// resyncing reports whether r is still the current resynchronisation.
func (m *monitor) resyncing(r *resync) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.resync == r
}

// releaseHeld ends the resynchronisation and sends the held events, except those that clients know
// already from the difference. Clients that have missed nothing get all events since they joined. The
// caller holds m.mu.
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

// clearStale marks all clients as up to date. The caller holds m.mu.
func (m *monitor) clearStale() {
	for _, cm := range m.clients {
		cm.stale, cm.from = false, 0
	}
}

// markStale marks all clients as possibly out of date. The caller holds m.mu.
func (m *monitor) markStale() {
	for _, cm := range m.clients {
		cm.stale = true
	}
}

// apply applies an event to the picture and reports whether that changed. The caller holds m.mu.
func (m *monitor) apply(ev *uacsta.Message) (changed bool) {
	changed = m.picture.apply(ev)
	if m.picture.dropped > 0 {
		m.picture.dropped = 0
		m.managed.log.Warn("too many calls on a device: dropping the oldest", "device", m.device.String())
	}
	return changed
}

// ownOf returns the device of a monitor object, or "" for a call. A monitor on a device reports calls
// from that device's side.
func ownOf(object uacsta.MonitorObject) string {
	if object.DeviceObject == nil {
		return ""
	}
	return object.DeviceObject.ID
}

// takeSnapshots takes snapshots of the device and its calls, or of the call, and adds them to the
// picture now. It keeps to the pace of the life; the caller has waited for the first request. The
// memory of the snapshots is taken from seen.
func (m *monitor) takeSnapshots(l *life, now *picture, seen *claim) ([]callmodel.Scene, error) {
	if call := m.watch.MonitorObject.CallObject; call != nil {
		s := scene{Scene: callmodel.Scene{ID: call.CallID}}
		if err := m.managed.snapshotCall(nil, &s, now, *call, seen); err != nil {
			return nil, err
		}
		return []callmodel.Scene{s.Scene}, nil
	}
	own := *m.watch.MonitorObject.DeviceObject
	var found []*scene
	calls, err := m.managed.snapshotDevice(nil, own, seen)
	if err != nil {
		return nil, err
	}
	for _, info := range calls {
		states := info.LocalCallState.CompoundCallState
		self := party{Call: info.ConnectionIdentifier.CallID, Device: info.ConnectionIdentifier.DeviceID.ID}
		if !now.owns(self.Device) {
			self.Device = own.ID
		}
		state := callmodel.Unclear
		if len(states) > 0 {
			state = uacsta.LocalConnectionState(strings.Clone(string(states[0])))
		}
		now.set(self, state)
		if now.dropped > 0 { // it would be wrong to report the missing calls as cleared
			return nil, errCalls
		}
		if i := slices.IndexFunc(found, func(s *scene) bool { return s.ID == self.Call }); i >= 0 { // it is in the call twice
			found[i].Parties = append(found[i].Parties, self)
			continue
		}
		found = append(found, &scene{Scene: callmodel.Scene{ID: self.Call, Parties: []party{self}}, named: info.ConnectionIdentifier})
	}
	scenes := make([]callmodel.Scene, 0, len(found))
	for _, s := range found {
		if l.pace() != nil {
			return nil, errLinkDown
		}
		var refusal *uacsta.Error
		switch err := m.managed.snapshotCall(nil, s, now, s.named, seen); {
		case err == nil:
		case !errors.As(err, &refusal): // after a refusal the snapshot of the device must do
			return nil, err
		}
		if now.dropped > 0 {
			return nil, errCalls
		}
		scenes = append(scenes, s.Scene)
	}
	return scenes, nil
}

// snapshotDevice takes a snapshot of a device, for the client by or, if nil, for the core. Its memory
// is taken from seen.
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

// snapshotCall takes a snapshot of a call into s and the picture now.
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

// add adds the parties of a call.
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
	segmentTime  = 10 * time.Second // within which all segments of a snapshot must arrive
	maxSegments  = 1000
	maxSnapshot  = 4 << 20  // octets of memory for the segments of one snapshot
	linkMemory   = 64 << 20 // octets of memory for the segments and held events of one link
	linkPictures = 64 << 20 // octets of memory for the pictures of one link's devices
)

var (
	errSegments = errors.New("snapshot segments did not arrive in time")
	errMemory   = errors.New("snapshot exceeds the memory limit of the link")
	errCalls    = errors.New("device has more calls than the proxy tracks")
)

// gathering collects the segments of a snapshot.
type gathering struct {
	ended chan error // receives the result once: nil when the snapshot is whole

	mu       sync.Mutex
	complete bool
	data     []*uacsta.Message
	octets   int
	seen     *claim
}

// take adds a segment; nil means that no more will come.
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

// end returns the segments so far and refuses further ones.
func (g *gathering) end() []*uacsta.Message {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.complete = true
	return g.data
}

// snapshot sends a snapshot request, in the turn of the client by or, if nil, of the core. It waits
// for the response and for its segments, if any; the link always responds. Their memory is taken from
// seen, which the caller releases.
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

// startResync begins to hold events until the device has been resynchronised, if clients may have
// missed something. tried counts failed attempts. A monitor on a call resynchronises when it starts,
// too: the call existed before. The caller holds m.mu.
func (m *monitor) startResync(tried int) {
	first := m.watch.MonitorObject.CallObject != nil && len(m.clients) == 0
	if first || m.behind() {
		r, l := &resync{first: first, tried: tried, claim: claim{budget: &m.managed.memory}}, m.life
		m.resync = r
		for _, cm := range m.clients {
			cm.from = 0
		}
		m.managed.proxy.spawn(func() { m.resynchronise(l, r) }) // startResync may run inside a call of the link
	}
}

// resyncNow finds out what the events did not report.
func (m *monitor) resyncNow() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.markStale()
	if m.state == started && m.resync == nil {
		m.startResync(0)
	}
}

// remember adds to the picture the calls that the core knows the device to be in: clients may know
// them from a snapshot. After a whole snapshot, the device is in no others. The caller holds m.mu.
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
		for id, state := range known {
			if m.picture.State(id) == "" {
				m.picture.set(id, state)
			}
		}
	}
}

// overtake brings the device's own connections in the picture to the state of a snapshot that one
// client requested. Stale clients get the difference, so that all clients share one state. The caller
// holds m.mu.
func (m *monitor) overtake(own string, known map[party]callmodel.State) {
	t := m.managed
	before, now := newPicture(own, t.static, &t.pictures), newPicture(own, t.static, &t.pictures)
	defer before.clear()
	defer now.clear()
	var scenes []callmodel.Scene
	for id, state := range m.picture.ownStates() {
		before.set(id, state)
		if known[id] == "" {
			m.picture.unset(id)
		}
	}
	for _, id := range slices.SortedFunc(maps.Keys(known), callmodel.ID.Compare) {
		state := known[id]
		if was := m.picture.State(id); was != "" && state == callmodel.Unclear {
			state = was
		}
		switch last := len(scenes) - 1; {
		case !m.picture.set(id, state) || !now.set(id, state):
		case last >= 0 && scenes[last].ID == id.Call:
			scenes[last].Parties = append(scenes[last].Parties, id)
		default:
			scenes = append(scenes, callmodel.Scene{ID: id.Call, Parties: []party{id}})
		}
	}
	for _, ev := range callmodel.Difference(now.own, t.static, before, now, scenes) {
		m.sendToStale(ev)
	}
}

// sendToStale sends an event to the stale clients. The caller holds m.mu.
func (m *monitor) sendToStale(event any) {
	m.sendTo(uacsta.Encode(event, uacsta.Edition3), func(cm *clientMonitor) bool { return cm.stale })
}

// remembers wraps answer so that the response to a client's SnapshotDevice updates the monitor of the
// device.
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

// remember updates the monitor of a device, if there is one, with the calls that clients know now.
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

// behind reports whether clients may have missed something.
func (m *monitor) behind() bool { return len(m.clients) > 0 && m.pictured() }

// pictured reports whether the monitor keeps a picture: it is on a call, or a device-type monitor on a
// device.
func (m *monitor) pictured() bool {
	return m.watch.MonitorObject.CallObject != nil || m.watch.MonitorObject.DeviceObject != nil && m.watch.MonitorType == ""
}
