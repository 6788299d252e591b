package softswitch

import (
	"github.com/tr87proxy/tr87proxy/internal/gate"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// Services and events of the telephone itself (ECMA-269 clause 21). Only a telephone that
// speaks uaCSTA can carry them out.
var (
	physicalServices = []string{
		uacsta.NameGetMicrophoneMute, uacsta.NameGetSpeakerMute, uacsta.NameGetSpeakerVolume,
		uacsta.NameSetMicrophoneMute, uacsta.NameSetSpeakerMute, uacsta.NameSetSpeakerVolume,
	}
	physicalEvents = []string{uacsta.NameMicrophoneMuteEvent, uacsta.NameSpeakerMuteEvent, uacsta.NameSpeakerVolumeEvent}
)

// physical passes a service to the device's telephone.
func (s *Switch) physical(req *uacsta.Message, reply func(*uacsta.Message, error)) {
	s.mu.Lock()
	d := s.devices[uacsta.Dev(req.Text("device")).ID]
	var refusal error
	switch {
	case s.core.up == nil:
		refusal = proxy.Refusal(gate.ErrClosed)
	case d == nil || !d.station():
		refusal = uacsta.Refuse(uacsta.Operation, uacsta.InvalidDeviceID)
	case !d.physical:
		refusal = errNoPhone
	}
	if refusal != nil {
		s.mu.Unlock()
		reply(nil, refusal)
		return
	}
	answer := s.awaits(reply)
	s.mu.Unlock()
	s.phones.Serve(d.number, req, answer)
}

// PhysicalEvent reports an event of the telephone itself. The switch fills in device and cross
// reference for each monitor.
func (s *Switch) PhysicalEvent(number string, event uacsta.EventMessage) {
	device := uacsta.Ext(number)
	switch e := event.(type) {
	case uacsta.MicrophoneMuteEvent:
		e.MonitorCrossRefID, e.InvokingDevice = "", device
		event = e
	case uacsta.SpeakerMuteEvent:
		e.MonitorCrossRefID, e.InvokingDevice = "", device
		event = e
	case uacsta.SpeakerVolumeEvent:
		e.MonitorCrossRefID, e.InvokingDevice = "", device
		event = e
	}
	s.do(func() {
		if d := s.devices[number]; d != nil {
			s.notify(d, event)
		}
	})
}

// SetPhysical sets whether a device's telephone carries out services of ECMA-269 clause 21.
func (s *Switch) SetPhysical(number string, takes bool) {
	s.do(func() {
		if d := s.devices[number]; d != nil {
			d.physical = takes
		}
	})
}
