package softswitch

import (
	"slices"
	"time"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// Completion of calls: camp on, call back, and predictive calls.

// callBack is a booked call back: when the target is free, the switch rings the origin, which
// then calls the target.
type callBack struct {
	origin, target *device
	used           int // minimum of target.used if booked for no answer, so that the target is used first; otherwise -1
}

// callBacks returns the call backs booked by a device.
func (s *Switch) callBacks(origin *device) []*callBack {
	var own []*callBack
	for _, b := range s.booked {
		if b.origin == origin {
			own = append(own, b)
		}
	}
	return own
}

// campedOn returns the calls camped on the device, the oldest first.
func (d *device) campedOn() []*connection {
	var camped []*connection
	for _, x := range d.connections {
		if x.state == uacsta.Queued && d.station() {
			camped = append(camped, x)
		}
	}
	return camped
}

// camponCall implements Camp On Call (ECMA-269 17.1).
func (s *Switch) camponCall(req *uacsta.CamponCall) (any, error) {
	x, err := s.permit(req.CamponConnection, (*connection).mayCampOn)
	if err != nil {
		return nil, err
	}
	y := x.failed()
	front := len(y.device.campedOn())
	queued := front + 1
	y.become(uacsta.Queued)
	y.refused = false
	s.patient[y] = struct{}{}
	s.emit(x.call, nil, uacsta.QueuedEvent{
		QueuedConnection: y.id(), Queue: uacsta.Ext(y.device.number), NumberQueued: &queued, CallsInFront: &front, Cause: uacsta.CauseCampOn,
	})
	return uacsta.CamponCallResponse{}, nil
}

// callBack implements Call Back (ECMA-269 17.1). It clears the call and returns the target of
// the booking.
func (s *Switch) callBack(req *uacsta.CallBack) (any, error) {
	x, err := s.permit(req.CallbackConnection, (*connection).mayCallBack)
	if err != nil {
		return nil, err
	}
	target := x.callBackTarget()
	used := -1
	if x.failed() == nil {
		used = target.used + 1 // do not count the end of this call
	}
	s.book(x.device, target, used)
	x.release("")
	return uacsta.CallBackResponse{TargetDevice: uacsta.Dev(target.number)}, nil
}

// callBackNonCallRelated implements Call Back Non-Call-Related (ECMA-269 clause 22).
func (s *Switch) callBackNonCallRelated(req *uacsta.CallBackNonCallRelated) (any, error) {
	origin, target, err := s.callBackParties(req.OriginatingDevice, req.TargetDevice)
	switch {
	case err != nil:
		return nil, err
	case target == nil || origin == target:
		return nil, errDestination
	case len(s.callBacks(origin)) >= maxWaiting:
		return nil, errLimit
	}
	s.book(origin, target, -1)
	return uacsta.CallBackNonCallRelatedResponse{}, nil
}

func (s *Switch) callBackParties(origin, target *uacsta.DeviceID) (from, to *device, err error) {
	if origin == nil {
		return nil, nil, uacsta.Refuse(uacsta.Operation, uacsta.InvalidDeviceID)
	}
	if from, err = s.extension(*origin); err != nil {
		return nil, nil, err
	}
	if target != nil {
		if to, err = s.extension(*target); err != nil {
			return nil, nil, errDestination
		}
	}
	return from, to, nil
}

func (s *Switch) book(origin, target *device, used int) {
	s.booked = slices.DeleteFunc(s.booked, func(b *callBack) bool { return b.origin == origin && b.target == target })
	s.booked = append(s.booked, &callBack{origin, target, used})
	s.notifyCallBack(origin, target, true)
}

func (s *Switch) notifyCallBack(origin, target *device, booked bool) {
	from, to := uacsta.Ext(origin.number), uacsta.Ext(target.number)
	s.notify(origin, uacsta.CallBackEvent{OriginatingDevice: &from, TargetDevice: &to, CallBackSetCanceled: booked})
}

// cancelCallBack implements Cancel Call Back (ECMA-269 clause 22). Without a target it cancels
// all call backs of the device.
func (s *Switch) cancelCallBack(req *uacsta.CancelCallBack) (any, error) {
	origin, target, err := s.callBackParties(req.OriginatingDevice, req.TargetDevice)
	if err != nil {
		return nil, err
	}
	found := false
	for _, b := range s.callBacks(origin) {
		if target == nil || b.target == target {
			found = true
			s.cancel(b)
		}
	}
	if !found {
		return nil, errNotFailed
	}
	return uacsta.CancelCallBackResponse{}, nil
}

func (s *Switch) cancel(b *callBack) {
	s.booked = slices.DeleteFunc(s.booked, func(other *callBack) bool { return other == b })
	s.notifyCallBack(b.origin, b.target, false)
}

// getCallBack implements Get Call Back (ECMA-269 clause 22).
func (s *Switch) getCallBack(req *uacsta.GetCallBack) (any, error) {
	d, err := s.optionalExtension(req.Device)
	if err != nil {
		return nil, err
	}
	res := uacsta.GetCallBackResponse{}
	for _, b := range s.callBacks(d) {
		from, to := uacsta.Dev(b.origin.number), uacsta.Dev(b.target.number)
		res.CallBackList = append(res.CallBackList, uacsta.CallBackListItem{OriginatingDevice: &from, TargetDevice: &to})
	}
	return res, nil
}

// settle carries out what a change made possible: camped calls ring, waiting calls go to
// agents, call backs start, and calls with automatic answer are answered.
func (s *Switch) settle() {
	for s.settleOne() {
		continue
	}
}

func (s *Switch) settleOne() bool {
	if len(s.freed) > 0 {
		a := s.freed[0]
		s.freed = s.freed[1:]
		a.done()
		return true
	}
	for _, d := range s.waitedFor() {
		for _, x := range d.connections {
			if _, due := s.patient[x]; due && x.mayAnswer() == nil {
				delete(s.patient, x)
				_ = x.pickUp()
				return true
			}
		}
		if camped := d.campedOn(); len(camped) > 0 && !d.busy() {
			x := camped[0]
			x.become(uacsta.Alerting)
			x.alert(uacsta.CauseCampOn)
			return true
		}
	}
	for _, d := range s.queues {
		if d.queue.settle() {
			return true
		}
	}
	for _, b := range s.booked {
		if b.target.used > b.used && b.target.inUse() == 0 && b.target.idle() && b.origin.idle() && b.origin.inUse() == 0 {
			s.cancel(b)
			x := s.initiate(b.origin, b.target.number, uacsta.CauseCallBack)
			x.prompt(uacsta.CauseCallBack)
			return true
		}
	}
	return false
}

// waitedFor returns the devices that calls wait for, in configured order.
func (s *Switch) waitedFor() []*device {
	var devices []*device
	for x := range s.patient {
		if !slices.Contains(devices, x.device) {
			devices = append(devices, x.device)
		}
	}
	slices.SortFunc(devices, func(a, b *device) int { return a.index - b.index })
	return devices
}

// predictive is the remaining part of a predictive call: the far end is called first (ECMA-269
// 17.1 Make Predictive Call).
type predictive struct {
	caller    *device
	own       *connection // connection of the calling extension; nil for a group
	condition uacsta.SignallingCondition
	prompt    bool
	alertTime time.Duration
	waits     bool // until the far end meets condition
}

// makePredictiveCall implements Make Predictive Call (ECMA-269 17.1). When the far end rings or
// answers, the calling device gets the call: an extension is prompted or lifted; a queue or
// hunt group distributes it.
func (s *Switch) makePredictiveCall(req *uacsta.MakePredictiveCall) (any, error) {
	d := s.devices[req.CallingDevice.ID]
	switch {
	case d == nil || !d.station() && d.queue == nil && d.hunt == nil:
		return nil, uacsta.Refuse(uacsta.Operation, uacsta.InvalidCallingDeviceID)
	case req.CalledDirectoryNumber.ID == "" || s.target(req.CalledDirectoryNumber.ID, nil) == d:
		return nil, uacsta.Refuse(uacsta.Operation, uacsta.InvalidCalledDeviceID)
	case len(s.calls) >= s.cfg.MaxCalls:
		return nil, errLimit
	}
	p := &predictive{caller: d, condition: uacsta.SignallingCallEstablished, prompt: req.AutoOriginate != uacsta.DoNotPrompt, waits: true}
	if req.SignallingDetection != nil {
		p.condition = req.SignallingDetection.SignallingCondition
	}
	if req.AlertTime != nil {
		if *req.AlertTime < 1 || *req.AlertTime > 600 {
			return nil, uacsta.Refuse(uacsta.Operation, uacsta.InvalidAlertTime)
		}
		p.alertTime = time.Duration(*req.AlertTime) * time.Second
	}
	attached := data{
		account: req.AccountCode, auth: req.AuthCode, correlator: req.CorrelatorData, subject: req.SubjectOfCall, languages: req.LanguagePreferences,
		characteristics: req.CallCharacteristics,
	}
	if d.station() {
		if refusal := s.mayCall(d, p.prompt, nil); refusal != nil {
			return nil, refusal
		}
		p.own = s.initiate(d, req.CalledDirectoryNumber.ID, uacsta.CauseMakePredictiveCall)
		p.own.call.predictive, p.own.call.data = p, attached
		p.own.call.present(p.own, req.CalledDirectoryNumber.ID, uacsta.CauseMakePredictiveCall)
		return uacsta.MakePredictiveCallResponse{InitiatedCall: p.own.id()}, nil
	}
	c := s.newCall(d.caller(), req.CalledDirectoryNumber.ID)
	c.predictive, c.data = p, attached
	c.present(nil, req.CalledDirectoryNumber.ID, uacsta.CauseMakePredictiveCall)
	return uacsta.MakePredictiveCallResponse{InitiatedCall: uacsta.Conn(c.id, d.number)}, nil
}

// conditionMet connects the calling device of a predictive call once its far end meets the
// requested condition.
func (c *call) conditionMet(far *connection, condition uacsta.SignallingCondition) {
	p := c.predictive
	if p == nil || !p.waits || condition != p.condition {
		return
	}
	p.waits = false
	switch {
	case p.own == nil:
		c.predictive = nil
		c.present(far, p.caller.number, uacsta.CauseMakePredictiveCall)
	case p.prompt:
		p.own.prompt(uacsta.CauseMakePredictiveCall)
	default:
		c.predictive = nil
		p.own.establish(uacsta.CauseMakePredictiveCall)
	}
}
