package softswitch

import (
	"reflect"
	"slices"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// The features of an extension (ECMA-269 clause 22).

// doNotDisturb is the setting of do not disturb.
type doNotDisturb struct {
	on      bool
	origin  *uacsta.CallOrigination // nil: internal and external calls
	callers []uacsta.DeviceID       // empty: every caller
}

// refuses reports whether do not disturb refuses a call.
func (f doNotDisturb) refuses(c *call) bool {
	if !f.on {
		return false
	}
	if f.origin != nil {
		concerned := f.origin.Internal
		if c.trunkIn != nil {
			concerned = f.origin.External
		}
		if concerned == nil || !*concerned {
			return false
		}
	}
	return len(f.callers) == 0 || slices.ContainsFunc(f.callers, func(caller uacsta.DeviceID) bool { return caller.ID == c.calling.who.Device.ID })
}

// getDoNotDisturb implements Get Do Not Disturb.
func (s *Switch) getDoNotDisturb(req *uacsta.GetDoNotDisturb) (any, error) {
	d, err := s.extension(req.Device)
	if err != nil {
		return nil, err
	}
	return uacsta.GetDoNotDisturbResponse{DoNotDisturbOn: d.dnd.on, CallOrigination: d.dnd.origin, CallingDeviceList: d.dnd.callers}, nil
}

// setDoNotDisturb implements Set Do Not Disturb.
func (s *Switch) setDoNotDisturb(req *uacsta.SetDoNotDisturb) (any, error) {
	d, err := s.extension(req.Device)
	if err != nil {
		return nil, err
	}
	next := doNotDisturb{on: req.DoNotDisturbOn, origin: req.CallOrigination, callers: req.CallingDeviceList}
	if !next.on {
		next = doNotDisturb{}
	}
	if len(next.callers) > maxCallers {
		return nil, errLimit
	}
	if !reflect.DeepEqual(next, d.dnd) {
		d.dnd = next
		s.notify(d, uacsta.DoNotDisturbEvent{Device: uacsta.Ext(d.number), DoNotDisturbOn: next.on, CallOrigination: next.origin, CallingDeviceList: next.callers})
	}
	return uacsta.SetDoNotDisturbResponse{}, nil
}

// messageWaiting is the setting of the message waiting indicator.
type messageWaiting struct {
	on   bool
	from string
}

func (f messageWaiting) device() *uacsta.DeviceID {
	if f.from == "" {
		return nil
	}
	from := uacsta.Dev(f.from)
	return &from
}

// getMessageWaitingIndicator implements Get Message Waiting Indicator.
func (s *Switch) getMessageWaitingIndicator(req *uacsta.GetMessageWaitingIndicator) (any, error) {
	d, err := s.extension(req.Device)
	if err != nil {
		return nil, err
	}
	return uacsta.GetMessageWaitingIndicatorResponse{MessageWaitingOn: d.waiting.on, DeviceForMessage: d.waiting.device()}, nil
}

// setMessageWaitingIndicator implements Set Message Waiting Indicator.
func (s *Switch) setMessageWaitingIndicator(req *uacsta.SetMessageWaitingIndicator) (any, error) {
	d, err := s.extension(req.Device)
	if err != nil {
		return nil, err
	}
	next := messageWaiting{on: req.MessageWaitingOn}
	if next.on && req.DeviceForMessage != nil {
		next.from = req.DeviceForMessage.ID
	}
	if next != d.waiting {
		d.waiting = next
		s.notify(d, uacsta.MessageWaitingEvent{TargetDevice: uacsta.Ext(d.number), DeviceForMessage: next.device(), MessageWaitingOn: next.on})
	}
	return uacsta.SetMessageWaitingIndicatorResponse{}, nil
}

// autoAnswer is the setting of automatic answer.
type autoAnswer struct {
	on    bool
	rings int
}

const (
	maxAutoAnswerRings = 20
	maxCallers         = 100 // callers listed for do not disturb
)

// getAutoAnswer implements Get Auto Answer.
func (s *Switch) getAutoAnswer(req *uacsta.GetAutoAnswer) (any, error) {
	d, err := s.extension(req.Device)
	if err != nil {
		return nil, err
	}
	rings := d.autoAnswer.rings
	return uacsta.GetAutoAnswerResponse{AutoAnswerOn: d.autoAnswer.on, NumberOfRings: &rings}, nil
}

// setAutoAnswer implements Set Auto Answer. Calls already ringing are not answered.
func (s *Switch) setAutoAnswer(req *uacsta.SetAutoAnswer) (any, error) {
	d, err := s.extension(req.Device)
	if err != nil {
		return nil, err
	}
	next := autoAnswer{on: req.AutoAnswerOn}
	if req.NumberOfRings != nil && next.on {
		next.rings = *req.NumberOfRings
	}
	switch {
	case !d.liftable():
		return nil, errNoPhone
	case next.rings < 0 || next.rings > maxAutoAnswerRings:
		return nil, uacsta.Refuse(uacsta.Operation, uacsta.AutoAnswerOutOfRange)
	}
	if next != d.autoAnswer {
		d.autoAnswer = next
		device := uacsta.Ext(d.number)
		s.notify(d, uacsta.AutoAnswerEvent{InvokingDevice: &device, AutoAnswerOn: next.on, NumberOfRings: &next.rings})
	}
	return uacsta.SetAutoAnswerResponse{}, nil
}

// getCallerIDStatus implements Get Caller ID Status: whether calls of the device show its number to the network.
func (s *Switch) getCallerIDStatus(req *uacsta.GetCallerIDStatus) (any, error) {
	d, err := s.optionalExtension(req.Device)
	if err != nil {
		return nil, err
	}
	return uacsta.GetCallerIDStatusResponse{CallerIDProvided: !d.private}, nil
}

// setCallerIDStatus implements Set Caller ID Status. It concerns calls that the device makes later.
func (s *Switch) setCallerIDStatus(req *uacsta.SetCallerIDStatus) (any, error) {
	d, err := s.optionalExtension(req.Device)
	if err != nil {
		return nil, err
	}
	if private := !req.CallerIDProvided; private != d.private {
		d.private = private
		device := uacsta.Dev(d.number)
		s.notify(d, uacsta.CallerIDStatusEvent{Device: &device, CallerIDProvided: !private})
	}
	return uacsta.SetCallerIDStatusResponse{}, nil
}

// getLastNumberDialed implements Get Last Number Dialled.
func (s *Switch) getLastNumberDialed(req *uacsta.GetLastNumberDialed) (any, error) {
	d, err := s.optionalExtension(req.Device)
	if err != nil {
		return nil, err
	}
	res := uacsta.GetLastNumberDialedResponse{}
	if d.lastDialed != "" {
		number := uacsta.Dev(d.lastDialed)
		res.NumberDialed = &number
	}
	return res, nil
}
