package softswitch

import (
	"slices"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// Completion of calls: camp on and call back.

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
		if x.campsOn() {
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
	y.campOnFor()
	return uacsta.CamponCallResponse{}, nil
}

// campOnFor limits the time for which a call camps on a busy extension to Config.CampOnTime.
func (x *connection) campOnFor() { x.after(x.call.sw.cfg.CampOnTime, x.stillBusy) }

// stillBusy ends the camping of a call: it returns to the device that has transferred it, or fails, as before.
func (x *connection) stillBusy() {
	x.refused = true
	x.call.failAt(x, uacsta.CauseBusy)
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
