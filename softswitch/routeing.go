package softswitch

import (
	"time"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// Routeing: a computing function decides where the calls to a routeing device go (ECMA-269
// clause 20).

// registration is the registration of a computing function to route the calls of one device, or
// of all.
type registration struct {
	id     string
	device *device // nil means all
}

// dialogue is a routeing dialogue, in which a call awaits its destination.
type dialogue struct {
	ref    string
	reg    *registration
	call   *call
	device *device
	timer  *time.Timer
	tries  int // unusable routes received
}

const maxRouteTries = 3

var (
	errRoute        = uacsta.Refuse(uacsta.Operation, uacsta.InvalidRouteingCrossRefID)
	errRegistration = uacsta.Refuse(uacsta.Operation, uacsta.InvalidRouteRegistrationCrossRefID)
)

// routeRegister implements Route Register. A device has at most one registration.
func (s *Switch) routeRegister(req *uacsta.RouteRegister) (any, error) {
	reg := &registration{id: newRef()}
	if req.RouteingDevice != nil {
		reg.device = s.devices[req.RouteingDevice.ID]
		if reg.device == nil || reg.device.routeing == nil {
			return nil, uacsta.Refuse(uacsta.Operation, uacsta.InvalidDeviceID)
		}
	}
	for _, other := range s.registrations {
		if other.device == reg.device {
			return nil, uacsta.Refuse(uacsta.SubscribedResourceAvailability, uacsta.ObjectRegistrationLimitExceeded)
		}
	}
	s.registrations[reg.id] = reg
	return uacsta.RouteRegisterResponse{RouteRegisterReqID: reg.id}, nil
}

// routeRegisterCancel implements Route Register Cancel. Open routeing dialogues continue.
func (s *Switch) routeRegisterCancel(req *uacsta.RouteRegisterCancel) (any, error) {
	if s.registrations[req.RouteRegisterReqID] == nil {
		return nil, errRegistration
	}
	delete(s.registrations, req.RouteRegisterReqID)
	return uacsta.RouteRegisterCancelResponse{}, nil
}

// router returns the registration for the device, or the one for all, or nil.
func (s *Switch) router(d *device) *registration {
	var all *registration
	for _, reg := range s.registrations {
		switch reg.device {
		case d:
			return reg
		case nil:
			all = reg
		}
	}
	return all
}

// askRoute sends a RouteRequest for a call. It returns false if no one is registered.
func (c *call) askRoute(d *device) bool {
	s := c.sw
	reg := s.router(d)
	if reg == nil {
		return false
	}
	r := &dialogue{ref: newRef(), reg: reg, call: c, device: d}
	c.route = r
	s.dialogues[r.ref] = r
	number, calling := uacsta.Ext(d.number), c.calling.who
	routed, seconds := uacsta.Conn(c.id, d.number), r.wait()
	req := uacsta.RouteRequest{
		CrossRefIdentifier: r.ref, RouteRegisterReqID: reg.id, CurrentRoute: number, CallingDevice: &calling, RouteingDevice: &number,
		RoutedCall: &routed, RouteSelAlgorithm: uacsta.SelectValueNormal, ReplyTimeout: &seconds, CorrelatorData: c.data.correlator,
		CallCharacteristics: c.data.characteristics, SubjectOfCall: c.data.subject, LanguagePreferences: c.data.languages, DeviceHistory: c.history,
	}
	if c.calling.nid != nil {
		trunk := uacsta.Ext(c.calling.nid.number)
		req.AssociatedCallingDevice = &trunk
	}
	s.send(req)
	return true
}

// wait starts the timer for the decision and returns its duration in milliseconds.
func (r *dialogue) wait() int {
	limit := r.device.routeing.Time
	r.timer = time.AfterFunc(limit, func() {
		r.call.sw.do(func() {
			if r.call.route == r {
				r.close(uacsta.RouteingTimerExpired)
				r.byDefault()
			}
		})
	})
	return int(limit / time.Millisecond)
}

// close ends the dialogue with RouteEnd. value is the error, or "" for success.
func (r *dialogue) close(value string) {
	r.forget()
	end := uacsta.RouteEnd{CrossRefIdentifier: r.ref, RouteRegisterReqID: r.reg.id}
	if value != "" {
		end.ErrorValue = uacsta.Refuse(uacsta.Operation, value)
	}
	r.call.sw.send(end)
}

func (r *dialogue) forget() {
	r.timer.Stop()
	r.call.route = nil
	delete(r.call.sw.dialogues, r.ref)
}

// byDefault sends the call to the default destination.
func (r *dialogue) byDefault() { r.send(r.device.routeing.Default) }

func (r *dialogue) send(to string) {
	r.call.divert(r.device, to, uacsta.CauseDistributed)
	r.call.present(r.call.remaining(), to, uacsta.CauseDistributed)
}

// routeSelect implements Route Select. If no route is usable, the switch sends ReRoute, as
// often as the computing function allows and at most maxRouteTries times.
func (s *Switch) routeSelect(req *uacsta.RouteSelect) (any, error) {
	r := s.dialogues[req.CrossRefIdentifier]
	if r == nil {
		return nil, errRoute
	}
	if !req.CorrelatorData.IsZero() {
		r.call.data.correlator = req.CorrelatorData
	}
	for _, route := range append([]uacsta.DeviceID{req.RouteSelected}, req.AlternateRoutes...) {
		target := s.target(route.ID, nil)
		if target == nil || !target.callable() || target == r.device || !r.call.admits(target) {
			continue
		}
		if req.RouteUsedReq != nil && *req.RouteUsedReq {
			calling := r.call.calling.who
			s.send(uacsta.RouteUsed{CrossRefIdentifier: r.ref, RouteRegisterReqID: r.reg.id, RouteUsed: uacsta.Ext(route.ID), CallingDevice: &calling})
		}
		r.close("")
		r.send(route.ID)
		return nil, nil //nolint:nilnil // a message without answer
	}
	r.tries++
	if r.tries >= maxRouteTries || req.RemainRetries != nil && req.RemainRetries.RetryCount != nil && *req.RemainRetries.RetryCount == 0 {
		r.close(uacsta.InvalidDestination)
		r.byDefault()
		return nil, nil //nolint:nilnil // a message without answer
	}
	r.timer.Stop()
	milliseconds := r.wait()
	s.send(uacsta.ReRoute{CrossRefIdentifier: r.ref, RouteRegisterReqID: r.reg.id, ReplyTimeout: &milliseconds})
	return nil, nil //nolint:nilnil // a message without answer
}

// routeReject implements Route Reject. The call fails with the given cause.
func (s *Switch) routeReject(req *uacsta.RouteReject) (any, error) {
	r := s.dialogues[req.CrossRefIdentifier]
	if r == nil {
		return nil, errRoute
	}
	r.close("")
	cause := uacsta.EventCause(req.RejectCause) // the values of both types are equal
	if cause == "" {
		cause = uacsta.CauseDestNotObtainable
	}
	r.call.failAt(r.call.remaining(), cause)
	return nil, nil //nolint:nilnil // a message without answer
}

// routeEnd implements Route End. The call goes to the default destination.
func (s *Switch) routeEnd(req *uacsta.RouteEnd) (any, error) {
	r := s.dialogues[req.CrossRefIdentifier]
	if r == nil {
		return nil, errRoute
	}
	r.forget()
	r.byDefault()
	return nil, nil //nolint:nilnil // a message without answer
}
