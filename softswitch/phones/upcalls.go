package phones

import (
	"slices"

	"github.com/tr87proxy/tr87proxy/sip/registrar"
	"github.com/tr87proxy/tr87proxy/softswitch"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// upcalls forwards to the switch what telephones do outside calls. It implements registrar.Upcalls.
type upcalls struct{ *Server }

// Standing implements registrar.Upcalls.
func (s upcalls) Standing(number string, standing registrar.Standing) {
	s.sw.InService(number, standing.Reachable, standing.Talks)
	s.sw.SetPhysical(number, standing.Physical)
	s.telephones.Changed(number, statusPackage)
}

// Session implements registrar.Upcalls: Standing tells the switch about sessions.
func (upcalls) Session(string, *registrar.Session) {}

// Late implements registrar.Upcalls: our requests open nothing at a telephone.
func (upcalls) Late(string, *registrar.Session, *uacsta.Message, *uacsta.Message) {}

// Event implements registrar.Upcalls. The telephone's calls are known from its legs.
func (s upcalls) Event(number string, m *uacsta.Message) {
	perform := func(service any, err error) {
		if err == nil {
			err = s.sw.Perform(service)
		}
		if err != nil {
			s.log.Info("refused a feature of a telephone", "device", number, "event", m.Name(), "err", err)
		}
	}
	device := uacsta.Dev(number)
	switch m.Name() {
	case uacsta.NameMicrophoneMuteEvent:
		relay[uacsta.MicrophoneMuteEvent](s.Server, number, m)
	case uacsta.NameSpeakerMuteEvent:
		relay[uacsta.SpeakerMuteEvent](s.Server, number, m)
	case uacsta.NameSpeakerVolumeEvent:
		relay[uacsta.SpeakerVolumeEvent](s.Server, number, m)
	case uacsta.NameDoNotDisturbEvent:
		var e uacsta.DoNotDisturbEvent
		err := m.Decode(&e)
		perform(uacsta.SetDoNotDisturb{Device: device, DoNotDisturbOn: e.DoNotDisturbOn}, err)
	case uacsta.NameForwardingEvent:
		var e uacsta.ForwardingEvent
		m.SetText("device/deviceIdentifier", number)
		err := translate(m, s.cfg.Numbers())
		if err == nil {
			err = m.Decode(&e)
		}
		perform(uacsta.SetForwarding{Device: device, ForwardingType: e.ForwardingType, ActivateForward: e.ForwardStatus, ForwardDN: e.ForwardTo, RingCount: e.RingCount}, err)
	default:
		s.log.Debug("ignored event of a telephone", "device", number, "event", m.Name())
	}
}

// relay forwards an event of a telephone to the switch unchanged.
func relay[T uacsta.EventMessage](s *Server, number string, m *uacsta.Message) {
	var event T
	if err := m.Decode(&event); err != nil {
		s.log.Info("dropped an unreadable event of a telephone", "device", number, "event", m.Name(), "err", err)
		return
	}
	s.sw.PhysicalEvent(number, event)
}

// offered are the services that every telephone may request outside dialogs, beside those that its model may.
var offered = []string{uacsta.NameGetDoNotDisturb, uacsta.NameSetDoNotDisturb, uacsta.NameGetForwarding, uacsta.NameSetForwarding}

// Ask implements registrar.Upcalls: the switch is the switching function of the telephone's own extension.
func (s upcalls) Ask(number string, of *registrar.Model, req *uacsta.Message) (*uacsta.Message, error) {
	name := req.Name()
	if !slices.Contains(offered, name) && (of == nil || !slices.Contains(of.Requests, name)) {
		return nil, uacsta.Refuse(uacsta.Operation, uacsta.ServiceNotSupported)
	}
	service := uacsta.ServiceOf(name)
	for _, c := range req.Connections() {
		if c.DeviceID() == "" {
			c.SetDeviceID(number)
		}
	}
	for _, d := range req.Devices() {
		if !d.InConnection && service.Role(d.Path()) == uacsta.Subject { // whatever the request says
			d.Set(number, "")
		}
	}
	if err := translate(req, s.cfg.Numbers()); err != nil {
		return nil, err
	}
	for _, c := range req.Connections() {
		if c.DeviceID() != number {
			return nil, uacsta.Refuse(uacsta.Operation, uacsta.InvalidConnectionID)
		}
	}
	return s.sw.Ask(req)
}

// Serve implements softswitch.Phones: a service on the telephone itself.
func (s *Server) Serve(number string, req *uacsta.Message, reply func(*uacsta.Message, error)) {
	m := req.Clone()
	s.telephones.Request(number, func(n *registrar.Session) (*uacsta.Message, error) {
		m.SetNamespace(uacsta.NamespaceED3)
		m.SetText("device", n.Own())
		return m, nil
	}, reply)
}

// showFeatures sends changed features to telephones that take events by NOTIFY.
func (s *Server) showFeatures(f softswitch.Features) {
	events := map[string]any{"dnd": uacsta.DoNotDisturbEvent{MonitorCrossRefID: "1", Device: uacsta.Ext(f.Device), DoNotDisturbOn: f.DND.On}}
	for _, set := range f.Forwardings {
		if slices.Contains(forwardingKeys, set.Type) {
			event := uacsta.ForwardingEvent{MonitorCrossRefID: "1", Device: uacsta.Ext(f.Device), ForwardingType: set.Type, ForwardStatus: set.On}
			if set.To != "" {
				to := uacsta.Dev(set.To)
				event.ForwardTo = &to
			}
			events[string(set.Type)] = event
		}
	}
	for name, event := range events {
		s.telephones.Show(f.Device, name, uacsta.Encode(event, uacsta.Edition3))
	}
}
