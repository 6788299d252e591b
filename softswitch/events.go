package softswitch

import (
	"slices"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// emit queues an event of a call for every monitor that it concerns: those of the
// devices named, of every device in the call, and of the call itself. Each gets it
// once, under its own cross reference, with the state of its own device; what the
// event says of the call is filled in here (ECMA-269 clause 15: device-type and
// call-type monitors).
func (s *Switch) emit(c *call, also []*device, event uacsta.EventMessage) {
	c.touch()
	name, shared := event.Name(), c.shared()
	if name == uacsta.NameServiceInitiatedEvent { // it does not say whom the device calls
		shared.CallingDevice, shared.CalledDevice = nil, nil
	}
	event = event.With(&shared)
	var told []*monitor
	tell := func(m *monitor, d *device) {
		if slices.Contains(told, m) || m.without[name] {
			return
		}
		told = append(told, m)
		s.queueEvent(m, c, d, event)
	}
	devices := slices.Clone(also)
	for _, x := range c.connections {
		if !slices.Contains(devices, x.device) {
			devices = append(devices, x.device)
		}
	}
	for _, d := range devices {
		for _, m := range d.monitors {
			if m.callType {
				m.follow(c)
			} else if name != uacsta.NameCallClearedEvent {
				tell(m, d)
			}
		}
	}
	for _, m := range c.followers {
		tell(m, nil)
	}
}

// queueEvent makes one monitor's copy of an event. The services permitted are
// those at the end of the change: an event in the middle of it must not promise
// what the next one takes back.
func (s *Switch) queueEvent(m *monitor, c *call, d *device, event uacsta.EventMessage) {
	own := uacsta.Shared{MonitorCrossRefID: m.ref}
	if d != nil {
		own.LocalConnectionInfo = uacsta.Null
		if x := c.of(d); x != nil {
			own.LocalConnectionInfo = x.state
		}
	}
	s.pending = append(s.pending, func() {
		if d != nil && !c.over {
			if x := c.of(d); x != nil {
				own.ServicesPermitted = x.permitted()
			}
		}
		msg := uacsta.Encode(event.With(&own), uacsta.Edition3)
		if name := c.callingName(); name != "" && msg.Has("callingDevice") {
			msg = msg.WithPrivate("sw", Namespace, "callingDeviceName", name)
		}
		s.event(msg)
	})
}

// Namespace is that of the private data in events of the switch: callingDeviceName, the name
// of who calls, for which ECMA-323 has no place.
const Namespace = "https://github.com/tr87proxy/tr87proxy/csta"

// callingName is the name of who called, "" when the switch knows none.
func (c *call) callingName() string {
	if d := c.sw.devices[c.calling]; d != nil {
		return d.name
	}
	return ""
}

// shared is what every event of a call says of it, as far as the switch has something to say.
func (c *call) shared() uacsta.Shared {
	ext := func(number string) *uacsta.ExtendedDeviceID {
		if number == "" {
			return nil
		}
		x := uacsta.Ext(number)
		return &x
	}
	calling, called := uacsta.Ext(c.calling), uacsta.Ext(c.called)
	shared := uacsta.Shared{
		CallingDevice: &calling, CalledDevice: &called,
		LastRedirectionDevice: uacsta.RedirectionDeviceID{NumberDialed: uacsta.Dev(c.redirecting)}, DeviceHistory: slices.Clone(c.history),
		CorrelatorData: c.data.correlator, SubjectOfCall: c.data.subject, LanguagePreferences: c.data.languages,
		CallCharacteristics: c.data.characteristics, UserData: c.sw.userData,
	}
	if c.trunkIn != nil {
		shared.AssociatedCallingDevice, shared.NetworkCallingDevice = ext(c.trunkIn.number), ext(c.calling)
	}
	if c.outbound != nil {
		shared.AssociatedCalledDevice, shared.NetworkCalledDevice = ext(c.outbound.device.number), ext(c.outbound.far)
	}
	return shared
}

// note remembers that what the telephones know of a device has changed.
func (s *Switch) note(d *device) {
	if s.phones != nil && d.station() && !slices.Contains(s.changed, d) {
		s.changed = append(s.changed, d)
	}
}

// tell queues an event of a device for its monitors.
func (s *Switch) tell(d *device, event uacsta.EventMessage) {
	s.note(d)
	for _, m := range d.monitors {
		if !m.without[event.Name()] {
			s.send(event.With(&uacsta.Shared{MonitorCrossRefID: m.ref}))
		}
	}
}

// send queues a message for the computing function.
func (s *Switch) send(message any) {
	msg := uacsta.Encode(message, uacsta.Edition3)
	s.pending = append(s.pending, func() { s.event(msg) })
}

// flush hands out the events of a change, after its answer. What the change makes
// possible elsewhere is part of it.
func (s *Switch) flush() {
	s.settle()
	s.report()
	for len(s.pending) > 0 {
		pending := s.pending
		s.pending = nil
		for _, f := range pending {
			f()
		}
	}
	s.userData = uacsta.Data{}
}
