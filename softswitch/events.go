package softswitch

import (
	"slices"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// emit queues an event of a call for each monitor concerned: those of the devices in also, of
// every device in the call, and of the call itself. Each monitor gets it once, with its own
// cross reference and the state of its own device. emit fills in the fields that every event of
// a call has (ECMA-269 clause 15).
func (s *Switch) emit(c *call, also []*device, event uacsta.EventMessage) {
	s.emitAt(c, devicesOf(c.connections, also...), event)
}

// devicesOf returns the devices in also, and those of the connections that clients know of, each once.
func devicesOf(connections []*connection, also ...*device) []*device {
	list := slices.Clone(also)
	for _, x := range connections {
		if !x.hidden() && !slices.Contains(list, x.device) {
			list = append(list, x.device)
		}
	}
	return list
}

// emitAt is emit for the monitors of these devices and of the call.
func (s *Switch) emitAt(c *call, devices []*device, event uacsta.EventMessage) {
	c.touch()
	name, shared := event.Name(), c.shared()
	if name == uacsta.NameServiceInitiatedEvent { // ServiceInitiated does not name the called device
		shared.CallingDevice, shared.CalledDevice = nil, nil
	}
	event = event.With(&shared)
	var sent []*monitor
	tell := func(m *monitor, d *device) {
		if slices.Contains(sent, m) || m.without[name] {
			return
		}
		sent = append(sent, m)
		s.queueEvent(m, c, d, event)
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

// queueEvent queues one monitor's copy of an event. It fills in the permitted services at the
// end of the change: an event in its middle must not offer what the next event withdraws.
func (s *Switch) queueEvent(m *monitor, c *call, d *device, event uacsta.EventMessage) {
	own := uacsta.Shared{MonitorCrossRefID: m.ref}
	if d != nil {
		own.LocalConnectionInfo = uacsta.Null
		if x := c.known(d); x != nil {
			own.LocalConnectionInfo = x.told()
		}
	}
	s.pending = append(s.pending, func() {
		if d != nil && !c.over {
			if x := c.known(d); x != nil {
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

// Namespace is the namespace of the switch's private data: callingDeviceName in events, the name of the
// calling device, and deviceName and secondNumbers in GetLogicalDeviceInformationResponse, for which ECMA-323 has no element.
const Namespace = "https://github.com/tr87proxy/tr87proxy/csta"

// callingName returns the name of the calling device, or "" if the switch knows none.
func (c *call) callingName() string {
	if d := c.caller(); d != nil {
		return d.name
	}
	return ""
}

// caller returns the device of the switch that calls, or nil if somebody outside does, whatever number they show.
func (c *call) caller() *device {
	if c.calling.nid != nil {
		return nil
	}
	return c.sw.devices[c.calling.who.Device.ID]
}

// shared returns the fields that every event of a call has.
func (c *call) shared() uacsta.Shared {
	known := func(x uacsta.ExtendedDeviceID) *uacsta.ExtendedDeviceID {
		if x.IsZero() {
			return nil
		}
		return &x
	}
	calling, called, last := c.calling.who, uacsta.Ext(c.called), c.redirected
	if c.redirecting != "" {
		last = uacsta.RedirectionDeviceID{NumberDialed: uacsta.Dev(c.redirecting)}
	}
	shared := uacsta.Shared{
		CallingDevice: &calling, CalledDevice: &called, LastRedirectionDevice: last, DeviceHistory: slices.Clone(c.history),
		CorrelatorData: c.data.correlator, SubjectOfCall: c.data.subject, LanguagePreferences: c.data.languages,
		CallCharacteristics: c.data.characteristics, UserData: c.sw.userData,
	}
	if nid := c.calling.nid; nid != nil {
		shared.AssociatedCallingDevice, shared.NetworkCallingDevice = known(uacsta.Ext(nid.number)), known(calling)
	}
	if x := c.outbound; x != nil {
		shared.AssociatedCalledDevice, shared.NetworkCalledDevice = known(uacsta.Ext(x.device.number)), known(x.far)
	}
	return shared
}

// note records that a device's features changed, for the telephones.
func (s *Switch) note(d *device) {
	if s.phones != nil && d.station() && !slices.Contains(s.changed, d) {
		s.changed = append(s.changed, d)
	}
}

// notify queues an event of a device for its monitors.
func (s *Switch) notify(d *device, event uacsta.EventMessage) {
	s.note(d)
	for _, m := range d.monitors {
		if !m.without[event.Name()] {
			s.send(event.With(&uacsta.Shared{MonitorCrossRefID: m.ref}))
		}
	}
}

// send queues a message to the core.
func (s *Switch) send(message any) {
	msg := uacsta.Encode(message, uacsta.Edition3)
	s.pending = append(s.pending, func() { s.event(msg) })
}

// flush delivers the events of a change, after its response. It first carries out what the
// change made possible elsewhere.
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
