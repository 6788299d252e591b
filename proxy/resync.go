package proxy

import (
	"errors"
	"maps"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// After a link was lost, what happened at its devices meanwhile is found out by
// snapshots and told as events, so that every client's picture is right again.

// resync is the time between a monitor's restart and the moment when its clients know
// what they missed. Events that come meanwhile are held back.
type resync struct {
	held []*uacsta.Message
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
	own := m.watch.MonitorObject.DeviceObject.ID
	if err != nil {
		m.trunk.proxy.cfg.Log.Warn("no snapshot after the link came back: clients may believe what is not so any more", "link", m.trunk.name, "device", own, "err", err)
	} else {
		missed := now.since(m.picture, own, scenes)
		m.picture = now
		for _, ev := range missed {
			m.tell(uacsta.Encode(ev, uacsta.Edition3))
		}
	}
	m.tellHeld()
}

// tellHeld ends the time in which events are held back: clients get them now, but for
// what they know already. m.mu is held.
func (m *monitor) tellHeld() {
	held, own := m.resync.held, m.watch.MonitorObject.DeviceObject.ID
	m.resync = nil
	for _, ev := range held {
		before := maps.Clone(m.picture)
		m.picture.apply(ev, own)
		if !ofCalls(ev) || !maps.Equal(before, m.picture) {
			m.tell(ev)
		}
	}
}

// ofCalls reports whether an event changes connections.
func ofCalls(ev *uacsta.Message) bool {
	_, one := changes[ev.Name()]
	return one || ev.Name() == "TransferedEvent" || ev.Name() == "ConferencedEvent"
}

// look takes snapshots of the device and of its calls.
func (m *monitor) look() ([]scene, picture, error) {
	own := *m.watch.MonitorObject.DeviceObject
	var device uacsta.SnapshotDeviceResponse
	if err := m.trunk.ask(uacsta.SnapshotDevice{SnapshotObject: own}, &device); err != nil {
		return nil, nil, err
	}
	now := picture{}
	var scenes []scene
	data := device.CrossRefIDorSnapshotData.SnapshotData
	if data == nil {
		return nil, nil, errors.New("the snapshot comes in segments")
	}
	for _, info := range data.SnapshotDeviceResponseInfo {
		states := info.LocalCallState.CompoundCallState
		self := party{info.ConnectionIdentifier.CallID, own.ID}
		if len(states) == 0 {
			continue
		}
		now[self] = states[0]
		s := scene{call: self.call, parties: []party{self}}
		var call uacsta.SnapshotCallResponse
		err := m.trunk.ask(uacsta.SnapshotCall{SnapshotObject: info.ConnectionIdentifier}, &call)
		var refusal *uacsta.Error
		switch {
		case err == nil:
			s.calling, s.called = call.CallingDevice, call.CalledDevice
			s.add(now, call.CrossRefIDorSnapshotData.SnapshotData)
		case !errors.As(err, &refusal): // a refusal leaves us with what the device's snapshot says
			return nil, nil, err
		}
		scenes = append(scenes, s)
	}
	return scenes, now, nil
}

// add takes in the parties of a call.
func (s *scene) add(now picture, data *uacsta.SnapshotCallDataList) {
	if data == nil {
		return
	}
	for _, info := range data.SnapshotCallResponseInfo {
		id := party{s.call, info.DeviceOnCall.Device.ID}
		if info.CallIdentifier != nil && info.CallIdentifier.DeviceID.ID != "" {
			id.device = info.CallIdentifier.DeviceID.ID
		}
		if _, known := now[id]; known || id.device == "" || info.LocalConnectionInfo == "" {
			continue
		}
		now[id] = info.LocalConnectionInfo
		s.parties = append(s.parties, id)
	}
}

// ask sends a request of our own and waits for its answer; the link gives one in any
// case.
func (t *trunk) ask(req, res any) error {
	type answer struct {
		m   *uacsta.Message
		err error
	}
	answered := make(chan answer, 1)
	t.request(uacsta.Encode(req, uacsta.Edition3), func(m *uacsta.Message, err error) { answered <- answer{m, err} })
	a := <-answered
	if a.err != nil {
		return a.err
	}
	return a.m.Decode(res)
}

// fallBehind holds events back until the device has been looked at; m.mu is held.
func (m *monitor) fallBehind() {
	if m.behind() {
		r := &resync{}
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

// behind reports whether clients have to be told what they missed: of devices, in the
// usual way of watching them.
func (m *monitor) behind() bool {
	return len(m.clients) > 0 && m.watch.MonitorObject.DeviceObject != nil && m.watch.MonitorType == ""
}
