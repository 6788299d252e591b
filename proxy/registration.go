package proxy

import (
	"time"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// registration is a client's SystemRegister (ECMA-269 clause 14). A client that registers gets
// SystemStatus at every change and at intervals; other clients get it at changes only.
type registration struct {
	id     string
	types  uacsta.RequestTypes
	filter uacsta.StatusFilter // a status that is true here is suppressed; guarded by Session.mu
	beat   *time.Timer
}

// suppresses reports whether the client does not want a status. The caller holds Session.mu.
func (r *registration) suppresses(status uacsta.SystemStatusValue) bool {
	f := r.filter
	return !r.types.SystemStatus || map[uacsta.SystemStatusValue]bool{
		uacsta.StatusInitializing: f.Initializing, uacsta.StatusEnabled: f.Enabled, uacsta.StatusNormal: f.Normal,
		uacsta.StatusMessagesLost: f.MessageLost, uacsta.StatusDisabled: f.Disabled, uacsta.StatusPartiallyDisabled: f.PartiallyDisabled,
		uacsta.StatusOverloadImminent: f.OverloadImminent, uacsta.StatusOverloadReached: f.OverloadReached, uacsta.StatusOverloadRelieved: f.OverloadRelieved,
	}[status]
}

// systemRegister serves SystemRegister. A second registration replaces the first.
func (s *Session) systemRegister(req *uacsta.Message, answer answerer) {
	var wish uacsta.SystemRegister
	if err := req.Decode(&wish); err != nil {
		answer(nil, err)
		return
	}
	inverted, err := req.TakeInversion("requestedStatusFilter")
	if err != nil {
		answer(nil, err)
		return
	}
	r := &registration{id: s.proxy.refs.next(), types: wish.RequestTypes}
	if f := wish.RequestedStatusFilter; f != nil {
		if inverted {
			*f = f.Inverted()
		}
		r.filter = *f
	}
	s.mu.Lock()
	if !s.closed {
		s.unregister()
		s.registered = r
		r.beat = time.AfterFunc(s.proxy.bounds.Load().Heartbeat, func() { s.heartbeat(r) })
	}
	s.mu.Unlock()
	answer(uacsta.Encode(uacsta.SystemRegisterResponse{SysStatRegisterID: r.id, ActualStatusFilter: wish.RequestedStatusFilter}, uacsta.Edition3), nil)
}

// unregister ends the registration. The caller holds s.mu.
func (s *Session) unregister() {
	if s.registered != nil {
		s.registered.beat.Stop()
		s.registered = nil
	}
}

func (s *Session) heartbeat(r *registration) {
	s.mu.Lock()
	mine := s.registered == r
	if mine {
		r.beat.Reset(s.proxy.bounds.Load().Heartbeat)
	}
	s.mu.Unlock()
	if mine {
		s.status(s.systemStatus())
	}
}

// Greet sends the client SystemStatus, whether it has registered for it or not.
func (s *Session) Greet() { s.status(s.systemStatus()) }

// status sends the client SystemStatus unless its filter suppresses it.
func (s *Session) status(value uacsta.SystemStatusValue) {
	msg := uacsta.SystemStatus{SystemStatus: value}
	s.mu.Lock()
	suppressed := false
	if r := s.registered; r != nil {
		msg.SysStatRegisterID, suppressed = r.id, r.suppresses(value)
	}
	s.mu.Unlock()
	if !suppressed {
		s.send(msg)
	}
}

// registrationOf returns the session's registration if id names it or is empty. The caller holds s.mu.
func (s *Session) registrationOf(id string) *registration {
	if s.registered == nil || id != "" && id != s.registered.id {
		return nil
	}
	return s.registered
}

var errRegistration = uacsta.Refuse(uacsta.Operation, uacsta.InvalidCrossRefID)

// systemRegisterCancel serves SystemRegisterCancel.
func (s *Session) systemRegisterCancel(req *uacsta.Message, answer answerer) {
	s.mu.Lock()
	there := s.registrationOf(req.Text("sysStatRegisterID")) != nil
	if there {
		s.unregister()
	}
	s.mu.Unlock()
	if !there {
		answer(nil, errRegistration)
		return
	}
	answer(uacsta.Encode(uacsta.SystemRegisterCancelResponse{}, uacsta.Edition3), nil)
}

// changeStatusFilter serves ChangeSysStatFilter.
func (s *Session) changeStatusFilter(req *uacsta.Message, answer answerer) {
	var change uacsta.ChangeSysStatFilter
	if err := req.Decode(&change); err != nil {
		answer(nil, err)
		return
	}
	inverted, err := req.TakeInversion("requestedStatusFilter")
	if err != nil {
		answer(nil, err)
		return
	}
	filter := uacsta.StatusFilterList{}
	if change.RequestedStatusFilter != nil {
		filter = *change.RequestedStatusFilter
	}
	if inverted {
		filter = uacsta.StatusFilterList(uacsta.StatusFilter(filter).Inverted())
	}
	s.mu.Lock()
	r := s.registrationOf(change.SysStatRegisterID)
	if r != nil {
		r.filter = uacsta.StatusFilter(filter)
	}
	s.mu.Unlock()
	if r == nil {
		answer(nil, errRegistration)
		return
	}
	answer(uacsta.Encode(uacsta.ChangeSysStatFilterResponse{ActualStatusFilter: &filter}, uacsta.Edition3), nil)
}

// listRegistrations serves GetRegistrations: those of the session.
func (s *Session) listRegistrations(req *uacsta.Message, answer answerer) {
	var wish uacsta.GetRegistrations
	if err := req.Decode(&wish); err != nil {
		answer(nil, err)
		return
	}
	wanted := func(kind uacsta.RegistrationType) bool {
		for _, w := range wish.RequestedRegTypes {
			if w == kind {
				return true
			}
		}
		return len(wish.RequestedRegTypes) == 0
	}
	list := &uacsta.RegistrationList{}
	s.mu.Lock()
	if s.registered != nil && wanted(uacsta.RegistrationTypeSysStatRegister) {
		list.RegistrationListEntry = append(list.RegistrationListEntry, uacsta.RegistrationListEntry{
			RegistrationType: uacsta.RegistrationTypeSysStatRegister, RegistrationID: s.registered.id,
		})
	}
	for ref, r := range s.routers {
		if wanted(uacsta.RegistrationTypeRouteRegister) {
			list.RegistrationListEntry = append(list.RegistrationListEntry, uacsta.RegistrationListEntry{
				RegistrationType: uacsta.RegistrationTypeRouteRegister, RegistrationID: ref, RegistrationObject: r.register.RouteingDevice,
			})
		}
	}
	s.mu.Unlock()
	res := uacsta.GetRegistrationsResponse{CrossRefIDorRegistrationData: &uacsta.CrossRefIDorRegistrations{RegistrationList: list}}
	answer(uacsta.Encode(res, uacsta.Edition6), nil)
}
