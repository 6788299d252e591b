package proxy

import (
	"errors"
	"maps"
	"time"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// After a link was lost, what happened at its devices meanwhile is found out by
// snapshots and told as events, so that every client's picture is right again.

// resync is the time between a monitor's restart and the moment when its clients know
// what they missed. Events that come meanwhile are held back.
type resync struct {
	held  []*uacsta.Message
	first bool // the monitor has just begun: clients have missed nothing
}

const maxHeld = 1000

// catchUp looks at the device and tells the clients what changed. It runs in a
// goroutine of its own: its requests wait for answers.
func (m *monitor) catchUp(r *resync) {
	scenes, now, err := m.look()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.resync != r { // the link was lost again, or too much came meanwhile
		return
	}
	own := m.own()
	switch {
	case err != nil && !r.first:
		m.trunk.proxy.cfg.Log.Warn("no snapshot after the link came back: clients may believe what is not so any more", "link", m.trunk.name, "device", m.device.String(), "err", err)
	case err == nil && r.first:
		m.picture = now
	case err == nil:
		missed := now.since(m.picture, own, scenes)
		m.picture = now
		for _, ev := range missed {
			m.tell(uacsta.Encode(ev, uacsta.Edition3))
		}
	}
	m.tellHeld()
}

// tellHeld ends the time in which events are held back: clients get them now, but for
// what they know already from being told what they missed. m.mu is held.
func (m *monitor) tellHeld() {
	held, first, own := m.resync.held, m.resync.first, m.own()
	m.resync = nil
	for _, ev := range held {
		before := maps.Clone(m.picture)
		m.picture.apply(ev, own)
		if first || !ofCalls(ev) || !maps.Equal(before, m.picture) {
			m.tell(ev)
		}
	}
	m.partWays()
}

// ofCalls reports whether an event changes connections.
func ofCalls(ev *uacsta.Message) bool {
	_, one := changes[ev.Name()]
	return one || ev.Name() == "TransferedEvent" || ev.Name() == "ConferencedEvent"
}

// own is the device whose side of the calls the monitor tells; "" for one on a call.
func (m *monitor) own() string {
	if m.watch.MonitorObject.DeviceObject == nil {
		return ""
	}
	return m.watch.MonitorObject.DeviceObject.ID
}

// look takes snapshots of the device and of its calls, or of the call.
func (m *monitor) look() ([]scene, picture, error) {
	now := picture{}
	if call := m.watch.MonitorObject.CallObject; call != nil {
		s := scene{call: call.CallID}
		err := m.trunk.lookAt(&s, now, *call)
		return []scene{s}, now, err
	}
	own := *m.watch.MonitorObject.DeviceObject
	var scenes []scene
	calls, err := m.trunk.callsOf(own)
	if err != nil {
		return nil, nil, err
	}
	for _, info := range calls {
		states := info.LocalCallState.CompoundCallState
		self := party{info.ConnectionIdentifier.CallID, own.ID}
		if len(states) == 0 {
			continue
		}
		now[self] = states[0]
		s := scene{call: self.call, parties: []party{self}}
		var refusal *uacsta.Error
		switch err := m.trunk.lookAt(&s, now, info.ConnectionIdentifier); {
		case err == nil:
		case !errors.As(err, &refusal): // a refusal leaves us with what the device's snapshot says
			return nil, nil, err
		}
		scenes = append(scenes, s)
	}
	return scenes, now, nil
}

// callsOf takes a snapshot of a device.
func (t *trunk) callsOf(device uacsta.DeviceID) ([]uacsta.SnapshotDeviceResponseInfo, error) {
	res, data, err := t.snapshot(uacsta.SnapshotDevice{SnapshotObject: device})
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

// lookAt takes a snapshot of a call.
func (t *trunk) lookAt(s *scene, now picture, call uacsta.ConnectionID) error {
	res, data, err := t.snapshot(uacsta.SnapshotCall{SnapshotObject: call})
	if err != nil {
		return err
	}
	if data == nil {
		var whole uacsta.SnapshotCallResponse
		if err := res.Decode(&whole); err != nil {
			return err
		}
		s.calling, s.called = whole.CallingDevice, whole.CalledDevice
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
func (s *scene) add(now picture, parties []uacsta.SnapshotCallResponseInfo) {
	for _, info := range parties {
		id := party{s.call, info.DeviceOnCall.Device.ID}
		if info.CallIdentifier != nil && info.CallIdentifier.DeviceID.ID != "" {
			id.device = info.CallIdentifier.DeviceID.ID
		}
		if s.devices != nil && id.device != "" {
			s.devices[id.device] = true
		}
		if _, known := now[id]; known || id.device == "" || info.LocalConnectionInfo == "" {
			continue
		}
		now[id] = info.LocalConnectionInfo
		s.parties = append(s.parties, id)
	}
}

const (
	segmentTime = 10 * time.Second // a snapshot that comes in segments must be whole in this time
	maxSegments = 1000
)

var errSegments = errors.New("the segments of a snapshot did not come")

// snapshot asks for one and waits for its answer, and for its segments where it comes in
// some; the link gives an answer in any case.
func (t *trunk) snapshot(req any) (res *uacsta.Message, data []*uacsta.Message, err error) {
	type answer struct {
		m   *uacsta.Message
		err error
	}
	answered := make(chan answer, 1)
	coming := make(chan *uacsta.Message, maxSegments)
	var a *association
	t.request(uacsta.Encode(req, uacsta.Edition3), func(m *uacsta.Message, err error) {
		if err == nil {
			if ref := m.Text(deviceData.at(m)); ref != "" {
				a = &association{kind: segments, trunk: t, linkRef: ref, take: func(m *uacsta.Message) {
					select {
					case coming <- m:
					default: // it will be missed
					}
				}}
				t.note(a) // before the segments come
			}
		}
		answered <- answer{m, err}
	})
	got := <-answered
	if got.err != nil || a == nil {
		return got.m, nil, got.err
	}
	defer a.forget()
	limit := time.NewTimer(segmentTime)
	defer limit.Stop()
	for {
		select {
		case m := <-coming:
			if m == nil || len(data) == maxSegments {
				return nil, nil, errSegments
			}
			if data = append(data, m); a.ends(m) {
				return got.m, data, nil
			}
		case <-limit.C:
			return nil, nil, errSegments
		case <-t.proxy.ctx.Done():
			return nil, nil, errSegments
		}
	}
}

// fallBehind holds events back until the device has been looked at; m.mu is held. A call
// is looked at when its monitor begins, too: it was there before.
func (m *monitor) fallBehind() {
	first := m.watch.MonitorObject.CallObject != nil && len(m.clients) == 0
	if first || m.behind() {
		r := &resync{first: first}
		m.resync = r
		m.trunk.proxy.spawn(func() { m.catchUp(r) }) // not here: we may be inside the link's own call
	}
}

// lookAgain finds out what events did not tell.
func (m *monitor) lookAgain() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.started && m.resync == nil {
		m.fallBehind()
	}
}

// behind reports whether clients have to be told what they missed.
func (m *monitor) behind() bool { return len(m.clients) > 0 && m.pictured() }

// pictured reports whether the monitor keeps a picture: of a device in the usual way of
// watching it, or of a call.
func (m *monitor) pictured() bool {
	return m.watch.MonitorObject.CallObject != nil || m.watch.MonitorObject.DeviceObject != nil && m.watch.MonitorType == ""
}
