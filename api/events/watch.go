package events

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/tr87proxy/tr87proxy/policy"
	"github.com/tr87proxy/tr87proxy/proxy/callmodel"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// watch is a device that is watched.
type watch struct {
	*line

	number  int // in the roster
	link    string
	wanted  int       // how many want it by its number
	pattern bool      // a pattern that somebody wants matches it
	left    time.Time // when it was last wanted

	state    watchState
	attempt  int // counts the starts
	ref      string
	refusals int
	why      string // the value of the last refusal; "": none
	retry    *time.Timer
	todo     int // snapshots that are out

	held    []heldEvent
	settled []func() // called once the switch has accepted or refused the monitor
}

type watchState int

const (
	idle     watchState = iota // the monitor is not asked for
	starting                   // MonitorStart is out
	learning                   // the monitor has started, and snapshots are out
	live                       // the book is complete
	refused                    // the monitor was refused
)

// heldEvent is an event that came before the snapshot.
type heldEvent struct {
	ev *uacsta.Message
	at time.Time
}

const (
	maxWatched   = 20_000   // devices
	maxHeld      = 1000     // events of one device
	maxSnapshots = 200      // calls of one device that are asked for
	maxCSTA      = 16 << 10 // octets of the JSON of an event; a larger one is left out

	// The same of all events of a device: above that rate it is left out, so that the log keeps those of others for longer.
	perSecondCSTA = 32 << 10
	burstCSTA     = 4 << 20
)

// watching returns the watch of a device, which it begins if there is none; nil if there are too many.
func (r *Recorder) watching(device string) *watch {
	w := r.watches[device]
	if w != nil {
		return w
	}
	if len(r.watches) >= maxWatched {
		r.log.Error("too many devices to record events of", "limit", maxWatched)
		return nil
	}
	own, _ := policy.Element(device)
	w = &watch{line: newLine(device, own), number: r.roster.number(device), left: time.Now()}
	r.watches[device] = w
	r.watched.Store(int64(len(r.watches)))
	r.begin()
	r.start(w)
	return w
}

// reset forgets the monitor, but not the device.
func (w *watch) reset() {
	w.state, w.ref, w.todo, w.held = idle, "", 0, nil
	w.attempt++
	if w.retry != nil {
		w.retry.Stop()
		w.retry = nil
	}
}

// start asks for the monitor of a device.
func (r *Recorder) start(w *watch) {
	if r.session == nil || w.state == starting || w.state == learning || w.state == live {
		return
	}
	w.reset()
	w.state = starting
	attempt := w.attempt
	object := uacsta.Typed(policy.Element(w.device))
	r.ask(uacsta.MonitorStart{MonitorObject: uacsta.MonitorObject{DeviceObject: &object}}, func(res *uacsta.Message) {
		switch err := res.Err(); {
		case w.attempt != attempt || r.watches[w.device] != w:
			if err == nil {
				r.stop(res.CrossRef())
			}
		case err != nil:
			r.refused(w, err)
		default:
			w.ref, w.state, w.refusals, w.why = res.CrossRef(), learning, 0, ""
			r.refs[w.ref] = w
			if view, err := r.session.View(w.device); err == nil {
				w.link = view.Link.Name
			}
			r.learn(w, 0)
		}
	})
}

// stop stops a monitor.
func (r *Recorder) stop(ref string) {
	delete(r.refs, ref)
	r.ask(uacsta.MonitorStop{MonitorCrossRefID: ref}, func(*uacsta.Message) {})
}

// restart starts the monitor of a device again, after the core has ended it.
func (r *Recorder) restart(w *watch) {
	delete(r.refs, w.ref)
	w.reset()
	r.start(w)
}

// refused has the monitor of a device asked for again after a while.
func (r *Recorder) refused(w *watch, err *uacsta.Error) {
	w.state, w.why = refused, cmp.Or(err.Value, string(err.Category))
	pause := min(firstRetry<<min(w.refusals, 10), longestRetry)
	if w.refusals++; w.refusals == 1 {
		r.log.With("device", w.device).Warn("could not watch a device; trying again", "err", err)
	}
	w.retry = r.later(pause, func() {
		if w.state == refused && r.watches[w.device] == w {
			r.start(w)
		}
	})
	w.settle()
}

// retryAll starts again what was refused: a link has come up.
func (r *Recorder) retryAll() {
	for _, w := range r.watches {
		if w.state == refused || w.state == idle {
			w.refusals = 0
			r.start(w)
		}
	}
}

// settle tells those who wait that the switch has answered.
func (w *watch) settle() {
	for _, f := range w.settled {
		f()
	}
	w.settled = nil
}

// learn takes a snapshot of the device. tried counts the failed attempts.
func (r *Recorder) learn(w *watch, tried int) {
	attempt := w.attempt
	var found []uacsta.SnapshotDeviceResponseInfo
	arrived := func() {
		if w.attempt == attempt && w.state == learning {
			r.learned(w, found)
		}
	}
	r.ask(uacsta.SnapshotDevice{SnapshotObject: uacsta.Typed(policy.Element(w.device))}, func(res *uacsta.Message) {
		if w.attempt != attempt || w.state != learning {
			return
		}
		if err := res.Err(); err != nil {
			if again := err.Category == uacsta.SystemResourceAvailability || err.Category == uacsta.PerformanceManagement || err.Category == uacsta.SubscribedResourceAvailability; again && tried < 5 {
				r.later(firstRetry<<tried, func() {
					if w.attempt == attempt && w.state == learning {
						r.learn(w, tried+1)
					}
				})
				return
			}
			r.log.With("device", w.device).Warn("could not learn the calls of a device", "err", err)
			r.complete(w)
			return
		}
		var whole uacsta.SnapshotDeviceResponse
		if err := res.Decode(&whole); err != nil {
			r.complete(w)
			return
		}
		data := whole.CrossRefIDorSnapshotData
		if data.ServiceCrossRefID != "" {
			r.gather(data.ServiceCrossRefID, func(m *uacsta.Message) bool {
				var segment uacsta.SnapshotDeviceData
				if m.Decode(&segment) == nil && len(found) < maxCalls {
					found = append(found, segment.SnapshotData...)
				}
				return segment.LastSegment
			}, arrived)
			return
		}
		if data.SnapshotData != nil {
			found = data.SnapshotData.SnapshotDeviceResponseInfo
		}
		arrived()
	})
}

// learned takes over the calls of a snapshot, and asks for each.
func (r *Recorder) learned(w *watch, found []uacsta.SnapshotDeviceResponseInfo) {
	now := time.Now()
	there := map[string]bool{}
	for _, info := range found {
		id := info.ConnectionIdentifier.CallID
		if id == "" || there[id] || len(there) >= maxCalls {
			continue
		}
		there[id] = true
		call := w.open(id, now)
		call.parties = nil
		own := info.ConnectionIdentifier.DeviceID.ID
		if states := info.LocalCallState.CompoundCallState; len(states) > 0 {
			call.state = string(states[0])
			call.change(callmodel.Change{ID: callmodel.ID{Call: id, Device: own}, State: states[0]}, w.own)
		}
		if len(there) <= maxSnapshots {
			w.todo++
			r.learnCall(w, call, info.ConnectionIdentifier)
		}
	}
	for _, id := range slices.Collect(maps.Keys(w.calls)) {
		if !there[id] {
			w.drop(id)
		}
	}
	if w.todo == 0 {
		r.complete(w)
	}
}

// learnCall takes a snapshot of a call.
func (r *Recorder) learnCall(w *watch, call *record, object uacsta.ConnectionID) {
	attempt := w.attempt
	r.ask(uacsta.SnapshotCall{SnapshotObject: object}, func(res *uacsta.Message) {
		if w.attempt != attempt || w.state != learning {
			return
		}
		end := func() {
			if w.todo--; w.todo == 0 && w.attempt == attempt && w.state == learning {
				r.complete(w)
			}
		}
		var whole uacsta.SnapshotCallResponse
		if res.Err() != nil || res.Decode(&whole) != nil {
			end()
			return
		}
		call.learn(res)
		data := whole.CrossRefIDorSnapshotData
		if data.ServiceCrossRefID != "" {
			r.gather(data.ServiceCrossRefID, func(m *uacsta.Message) bool {
				var segment uacsta.SnapshotCallData
				if m.Decode(&segment) == nil {
					call.include(segment.SnapshotData)
				}
				return segment.LastSegment
			}, end)
			return
		}
		if data.SnapshotData != nil {
			call.include(data.SnapshotData.SnapshotCallResponseInfo)
		}
		end()
	})
}

// include takes over the parties of a snapshot of the call.
func (r *record) include(parties []uacsta.SnapshotCallResponseInfo) {
	for _, info := range parties {
		device, number := info.DeviceOnCall.Device.ID, ""
		if info.CallIdentifier != nil && info.CallIdentifier.DeviceID.ID != "" && info.CallIdentifier.DeviceID.ID != device {
			device, number = info.CallIdentifier.DeviceID.ID, device
		}
		if device == "" || info.LocalConnectionInfo == "" {
			continue
		}
		r.change(callmodel.Change{ID: callmodel.ID{Call: r.id, Device: device}, State: info.LocalConnectionInfo}, "")
		if i := r.at(device); i >= 0 {
			r.parties[i].number = number
		}
	}
}

// complete ends the learning: the log gets the events that were held, and the snapshot.
func (r *Recorder) complete(w *watch) {
	w.state = live
	held := w.held
	w.held = nil
	for _, h := range held {
		r.record(w, h.ev, h.at)
	}
	now := time.Now()
	r.append(Calls{Head{Type: Snapshot, Time: stamp(now)}, w.device, w.link, w.list()}, w.device, Snapshot, now)
	w.settle()
}

// event handles an event of a device.
func (w *watch) event(r *Recorder, ev *uacsta.Message) {
	now := time.Now()
	if w.state != learning {
		r.record(w, ev, now)
		return
	}
	w.held = append(w.held, heldEvent{ev, now})
	if len(w.held) >= maxHeld {
		w.attempt++ // what is still out does not count
		r.complete(w)
	}
}

// record brings the book up to date, and appends an event to the log.
func (r *Recorder) record(w *watch, ev *uacsta.Message, at time.Time) {
	kind := typeOf(ev.Name())
	h := Happening{Head: Head{Type: kind, Time: stamp(at)}, Device: w.device, Link: w.link, Cause: ev.Text("cause")}
	if call := w.apply(ev, at); call != nil {
		h.Call, h.Caller, h.Called, h.State = call.id, call.caller, call.called, call.state
	}
	if h.CSTA, _ = ev.MarshalJSON(); len(h.CSTA) > maxCSTA || !r.large.TakeN(w.device, len(h.CSTA), perSecondCSTA, burstCSTA, time.Now()) {
		h.CSTA, h.Omitted = nil, true
	}
	r.append(h, w.device, kind, at)
}
