package softswitch

import (
	"reflect"
	"slices"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// emit queues an event of a call for every monitor that it concerns: those of the
// devices named, of every device in the call, and of the call itself. Each gets it
// once, under its own cross reference, with the state of its own device; what the
// event says of the call is filled in here (ECMA-269 clause 15: device-type and
// call-type monitors).
func (s *Switch) emit(c *call, also []*device, event any) {
	c.touch()
	filled := reflect.New(reflect.TypeOf(event)).Elem()
	filled.Set(reflect.ValueOf(event))
	c.describe(filled)
	var told []*monitor
	tell := func(m *monitor, d *device) {
		if slices.Contains(told, m) || m.without[filled.Type().Name()] {
			return
		}
		told = append(told, m)
		s.queueEvent(m, c, d, filled)
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
			} else if filled.Type() != reflect.TypeFor[uacsta.CallClearedEvent]() {
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
func (s *Switch) queueEvent(m *monitor, c *call, d *device, filled reflect.Value) {
	own := reflect.New(filled.Type()).Elem()
	own.Set(filled)
	set(own, "MonitorCrossRefID", m.ref)
	if d != nil {
		state := uacsta.Null
		if x := c.of(d); x != nil {
			state = x.state
		}
		set(own, "LocalConnectionInfo", state)
	}
	s.pending = append(s.pending, func() {
		if d != nil && !c.over {
			if x := c.of(d); x != nil {
				set(own, "ServicesPermitted", x.permitted())
			}
		}
		msg := uacsta.Encode(own.Interface(), uacsta.Edition3)
		if name := c.callingName(); name != "" && msg.Has("callingDevice") {
			msg = msg.WithPrivate("sw", Namespace, "callingDeviceName", name)
		}
		s.up.Event(msg)
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

// describe fills in what every event of a call says of it, as far as the event has
// a place for it and the switch something to say.
func (c *call) describe(event reflect.Value) {
	ext := func(number string) *uacsta.ExtendedDeviceID {
		if number == "" {
			return nil
		}
		x := uacsta.Ext(number)
		return &x
	}
	calling, called := uacsta.Ext(c.calling), uacsta.Ext(c.called)
	if event.Type() != reflect.TypeFor[uacsta.ServiceInitiatedEvent]() {
		set(event, "CallingDevice", calling)
		set(event, "CallingDevice", &calling)
		set(event, "CalledDevice", called)
		set(event, "CalledDevice", &called)
	}
	set(event, "LastRedirectionDevice", uacsta.RedirectionDeviceID{NumberDialed: uacsta.Dev(c.redirecting)})
	set(event, "DeviceHistory", slices.Clone(c.history))
	set(event, "CorrelatorData", c.data.correlator)
	set(event, "SubjectOfCall", c.data.subject)
	set(event, "LanguagePreferences", c.data.languages)
	set(event, "CallCharacteristics", c.data.characteristics)
	set(event, "UserData", c.sw.userData)
	if c.trunkIn != nil {
		set(event, "AssociatedCallingDevice", ext(c.trunkIn.number))
		set(event, "NetworkCallingDevice", ext(c.calling))
	}
	if c.outbound != nil {
		set(event, "AssociatedCalledDevice", ext(c.outbound.device.number))
		set(event, "NetworkCalledDevice", ext(c.outbound.far))
	}
}

// set sets a field that the struct has, of that type, and that is not set yet.
func set(v reflect.Value, field string, value any) {
	f := v.FieldByName(field)
	if x := reflect.ValueOf(value); f.IsValid() && f.Type() == x.Type() && f.IsZero() {
		f.Set(x)
	}
}

// note remembers that what the telephones know of a device has changed.
func (s *Switch) note(d *device) {
	if s.phones != nil && d.station() && !slices.Contains(s.changed, d) {
		s.changed = append(s.changed, d)
	}
}

// tell queues an event of a device for its monitors.
func (s *Switch) tell(d *device, event any) {
	s.note(d)
	for _, m := range d.monitors {
		own := reflect.New(reflect.TypeOf(event)).Elem()
		own.Set(reflect.ValueOf(event))
		if m.without[own.Type().Name()] {
			continue
		}
		set(own, "MonitorCrossRefID", m.ref)
		s.send(own.Interface())
	}
}

// send queues a message for the computing function.
func (s *Switch) send(message any) {
	msg := uacsta.Encode(message, uacsta.Edition3)
	s.pending = append(s.pending, func() { s.up.Event(msg) })
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
