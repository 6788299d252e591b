package proxy

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"strings"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/share"
	"github.com/tr87proxy/tr87proxy/policy"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// ActionOf returns whether a service observes or controls, as the table of messages in package uacsta
// says.
func ActionOf(name string) policy.Action {
	if uacsta.Observes(name) {
		return policy.Observe
	}
	return policy.Control
}

// answerer receives the response to a request: a message, nil if there is none, or an error.
type answerer func(*uacsta.Message, error)

// handler carries out a request.
type handler func(*Session, *uacsta.Message, answerer)

// coreServices are the requests that the core answers itself or changes before it forwards them.
var coreServices map[string]handler

func init() { //nolint:gochecknoinits // the table refers to methods that refer to it
	coreServices = map[string]handler{
		uacsta.NameRequestSystemStatus: func(s *Session, _ *uacsta.Message, answer answerer) {
			answer(uacsta.Encode(uacsta.RequestSystemStatusResponse{SystemStatus: s.systemStatus()}, uacsta.Edition3), nil)
		},
		uacsta.NameSystemStatus: func(_ *Session, _ *uacsta.Message, answer answerer) {
			answer(uacsta.Encode(uacsta.SystemStatusResponse{}, uacsta.Edition3), nil)
		},
		uacsta.NameGetCSTAFeatures: func(s *Session, req *uacsta.Message, answer answerer) {
			answer(s.features().Message(uacsta.EditionOf(req.Namespace())), nil)
		},
		uacsta.NameChangeMonitorFilter:          (*Session).changeMonitorFilter,
		uacsta.NameChangeSysStatFilter:          (*Session).changeStatusFilter,
		uacsta.NameGetMonitors:                  (*Session).listMonitors,
		uacsta.NameGetRegistrations:             (*Session).listRegistrations,
		uacsta.NameGetSwitchingFunctionCaps:     (*Session).capabilities,
		uacsta.NameGetSwitchingFunctionDevices:  (*Session).listDevices,
		uacsta.NameMonitorStop:                  (*Session).stopMonitor,
		uacsta.NameResetApplicationSessionTimer: (*Session).resetAppSession,
		uacsta.NameRouteEnd:                     (*Session).routeAnswer,
		uacsta.NameRouteRegister:                (*Session).routeRegister,
		uacsta.NameRouteRegisterCancel:          (*Session).routeRegisterCancel,
		uacsta.NameRouteReject:                  (*Session).routeAnswer,
		uacsta.NameRouteSelect:                  (*Session).routeAnswer,
		uacsta.NameStartApplicationSession:      (*Session).startAppSession,
		uacsta.NameStopApplicationSession:       (*Session).stopAppSession,
		uacsta.NameSystemRegister:               (*Session).systemRegister,
		uacsta.NameSystemRegisterCancel:         (*Session).systemRegisterCancel,
	}
}

// Request handles one message of the client. It calls reply exactly once, from the session's queue,
// even if the session closes first; the argument is nil for messages that have no response. Request
// takes ownership of req and does not block. After Run has returned it refuses the request and calls
// reply before it returns.
func (s *Session) Request(req *uacsta.Message, reply func(*uacsta.Message)) {
	s.request(req, nil, reply)
}

// Own is [Session.Request] for a request beyond the standard that the front carries out itself, by handle: with the limits,
// the order and the application sessions of all requests. handle calls answer once, from any goroutine; the message is nil if
// there is no response. It decides on no device: what it does with one goes through Request.
func (s *Session) Own(req *uacsta.Message, handle func(answer func(*uacsta.Message, error)), reply func(*uacsta.Message)) {
	s.request(req, func(_ *Session, _ *uacsta.Message, answer answerer) { handle(answer) }, reply)
}

// request is Request; handle, if any, carries the request out in place of a link.
func (s *Session) request(req *uacsta.Message, handle handler, reply func(*uacsta.Message)) {
	s.proxy.stats.Requests.Add(1)
	s.introduce()
	req.SetCause(s.proxy.cfg.Trace.Exchange())
	s.traced(false, req)
	namespace := s.speaks(req.Namespace())
	answer, why := s.count(req.Name(), namespace, req.Cause(), reply)
	if why != nil {
		answer(nil, why)
		return
	}
	if !s.proxy.errands.begin() {
		answer(nil, errLinkDown)
		return
	}
	defer s.proxy.errands.end()
	switch req.Kind() {
	case uacsta.Request:
	case uacsta.Event:
		answer(nil, uacsta.Refuse(uacsta.Operation, uacsta.ServiceNotSupported))
		return
	default: // a response to SystemStatus and the like
		answer(nil, nil)
		return
	}
	if !s.hold(req, handle, answer) {
		s.dispatch(req, handle, answer)
	}
}

// speaks takes the namespace of a message of the client. It returns the one for the response, and for events until the next
// message. A message whose namespace names no edition is in the last one that a message or the application session named.
func (s *Session) speaks(namespace string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if uacsta.EditionOf(namespace) != 0 && s.namespace != namespace {
		s.namespace = strings.Clone(namespace) // the original would keep its whole message in memory
	}
	return s.namespace
}

// Unclear refuses a request that different readers could read differently: the core decides nothing
// about it. reply is called as by Request.
func (s *Session) Unclear(u *uacsta.Unclear, reply func(*uacsta.Message)) {
	s.proxy.stats.Requests.Add(1)
	cause := s.proxy.cfg.Trace.Exchange()
	s.tracedUnclear(cause, u)
	answer, why := s.count(u.Name, s.speaks(u.Namespace), cause, reply)
	switch {
	case why != nil:
		answer(nil, why)
	case s.locked(): // audited no more than other requests of a client that has not logged in
		s.strike(answer)
	default:
		s.refused(&object{service: u.Name}, u.Refusal.Error())
		answer(nil, u.Refusal)
	}
}

// count counts a request against the client's limits. It returns the function that takes the response,
// and why the request is refused if it exceeds a limit. cause is the number of the request's exchange.
func (s *Session) count(name, namespace string, cause uint64, reply func(*uacsta.Message)) (answer answerer, why error) {
	s.mu.Lock()
	s.outstanding++
	tooMany := s.outstanding > s.proxy.bounds.Load().MaxOutstanding
	s.mu.Unlock()
	tooFast := !s.proxy.meter.Take(s.requests(), s.proxy.bounds.Load().MaxRequests, time.Now())
	switch {
	case tooMany:
		s.overLimit("limits.requests-outstanding", name)
		why = uacsta.Refuse(uacsta.SubscribedResourceAvailability, uacsta.OutstandingReqLimitExceeded)
	case tooFast:
		s.overLimit("limits.requests-per-second", name)
		why = uacsta.Refuse(uacsta.PerformanceManagement, uacsta.PerformanceLimitExceeded)
	}
	return func(res *uacsta.Message, err error) { s.answer(name, namespace, cause, res, err, reply) }, why
}

// use is the key of a rate or tally: an identity, or a peer without one; a rule; calls.
type use struct {
	who, rule string
	from      netip.Prefix
	calls     bool
}

// requests is the key that the client's requests count against.
func (s *Session) requests() use {
	if who := s.Identity(); who.Name != "" {
		return use{who: who.Name}
	}
	return use{from: share.Of(s.addr)}
}

// dispatch answers a request, by handle if there is one, or forwards it to a link.
func (s *Session) dispatch(req *uacsta.Message, handle handler, answer answerer) {
	if handle == nil {
		handle = coreServices[req.Name()]
	}
	switch {
	case s.locked() && !ofAppSessions[req.Name()]:
		s.strike(answer)
	case handle != nil:
		handle(s, req, answer)
	default:
		s.carry(req, answer)
	}
}

// answer sends a response through the client's queue, so that it precedes the events that follow it.
func (s *Session) answer(name, namespace string, cause uint64, res *uacsta.Message, err error, reply func(*uacsta.Message)) {
	if err != nil {
		s.proxy.stats.Refusals.Add(1)
		var refusal *uacsta.Error
		level := slog.LevelDebug
		if !errors.As(err, &refusal) {
			level = slog.LevelError
		}
		s.proxy.cfg.Log.Log(context.Background(), level, "request refused", "service", name, "identity", s.Identity().String(), "line", s.line.String(), "err", err)
		if res = sessionRefusal(name, err); res == nil {
			res = uacsta.ErrorMessage(err, uacsta.Edition3)
		}
	}
	if res != nil {
		res.SetCause(cause)
		s.translate(res, namespace)
	}
	s.deliver(delivery{msg: res, after: s.noted.Load(), reply: func(m *uacsta.Message) {
		s.mu.Lock()
		s.outstanding--
		s.mu.Unlock()
		reply(m)
	}})
}

// carry checks a request and forwards it to its link. If necessary, it first asks the link who is in a
// call, and waits until the request is in the audit file.
func (s *Session) carry(req *uacsta.Message, answer answerer) {
	if !req.Known() {
		s.passThrough(req, answer)
		return
	}
	who := s.Identity()
	o, err := s.examine(req)
	if settle, tell := o.settle, answer; settle != nil {
		answer = func(res *uacsta.Message, err error) {
			settle(err)
			tell(res, err)
		}
	}
	if err == nil && req.OneWay() { // one that only a switching function sends
		err = uacsta.Refuse(uacsta.Operation, uacsta.ServiceNotSupported)
		s.refused(&o, err.Error())
	}
	if err != nil {
		answer(nil, err)
		return
	}
	forward := func(answer answerer) { s.forward(req, &o, answer) }
	t := s.asks(&o)
	if t == nil {
		s.recorded(&o, answer, forward)
		return
	}
	s.aside(answer, func() {
		err := s.verify(t, &o)
		if err == nil && !s.stillMay(&o, who) {
			err = errSecurity
		}
		if err != nil {
			s.refused(&o, err.Error())
			answer(nil, err)
			return
		}
		s.record(&o, answer, forward)
	})
}

// forward sends a request that is allowed and audited to its link.
func (s *Session) forward(req *uacsta.Message, o *object, answer answerer) {
	if s.carryUnderReference(req, answer) {
		return
	}
	if len(o.subjects) == 0 {
		answer(nil, s.nothingNamed(req))
		return
	}
	t := s.proxy.route(o.subjects[0])
	switch {
	case t == nil:
		answer(nil, uacsta.Refuse(uacsta.Operation, uacsta.InvalidDeviceID))
	case req.Name() == uacsta.NameMonitorStart:
		s.startMonitor(t, o.subjects[0], req, answer)
	default:
		l := t.now()
		l.request(s, req, t.dials(o, t.remembers(req.Name(), o.subjects[0], s.opening(l, req.Name(), o.subjects[0], answer))))
	}
}

// passThrough forwards a request that the standard does not define, if a rule allows exactly its name
// for the whole switch. The core cannot tell which devices such a request affects.
func (s *Session) passThrough(req *uacsta.Message, answer answerer) {
	o := object{service: req.Name(), action: policy.Control}
	ask := s.wishOf(&o, policy.Whole)
	ask.PassThrough = true
	if decision := s.decide(s.proxy.policy(), ask); !decision.Allowed {
		err := uacsta.Refuse(uacsta.Operation, uacsta.ServiceNotSupported)
		s.refused(&o, "unknown message: "+decision.Reason)
		answer(nil, err)
		return
	}
	s.recorded(&o, answer, func(answer answerer) {
		if t := s.homeLink(); t != nil {
			t.request(s, req, answer)
		} else {
			answer(nil, errLinkDown)
		}
	})
}

// nothingNamed returns the refusal of a request that names no device.
func (s *Session) nothingNamed(req *uacsta.Message) *uacsta.Error {
	svc := uacsta.ServiceOf(req.Name())
	listed := len(svc.Elements(uacsta.Destination))+len(svc.Elements(uacsta.Mentioned)) > 0
	switch {
	case len(req.Connections()) > 0:
		return uacsta.Refuse(uacsta.Operation, uacsta.InvalidConnectionID)
	case req.Name() == uacsta.NameMonitorStart:
		return uacsta.Refuse(uacsta.Operation, uacsta.InvalidMonitorObject)
	case req.Name() == uacsta.NameMakeCall, req.Name() == uacsta.NameMakePredictiveCall:
		return uacsta.Refuse(uacsta.Operation, uacsta.InvalidCallingDeviceID)
	case listed, strings.HasPrefix(req.Name(), "Get"), strings.HasPrefix(req.Name(), "Set"), strings.HasPrefix(req.Name(), "Snapshot"):
		return uacsta.Refuse(uacsta.Operation, uacsta.InvalidDeviceID)
	}
	return uacsta.Refuse(uacsta.Operation, uacsta.ServiceNotSupported)
}

// translate writes the devices of a message as this client writes them and converts the message into
// the client's edition: a response into that of its request, whose namespace it gets even if the
// edition defines neither. An event that the edition does not define is passed unchanged.
func (s *Session) translate(m *uacsta.Message, namespace string) {
	devices := m.Devices()
	s.mu.Lock()
	for _, d := range devices {
		s.write(d)
	}
	asked := namespace != ""
	if !asked {
		namespace = s.namespace
	}
	s.mu.Unlock()
	if (m.Convert(uacsta.EditionOf(namespace)) || asked) && !m.Foreign() && m.Namespace() != uacsta.NamespaceApplSession {
		m.SetNamespace(namespace) // keeps what a vendor has added to the namespace
	}
}

func (s *Session) stopMonitor(req *uacsta.Message, answer answerer) {
	s.mu.Lock()
	cm := s.monitors[req.CrossRef()]
	s.mu.Unlock()
	if cm == nil || !s.forgetMonitor(cm) {
		answer(nil, uacsta.Refuse(uacsta.Operation, uacsta.InvalidMonitorCrossRefID))
		return
	}
	cm.monitor.remove(cm, false)
	answer(uacsta.Encode(uacsta.MonitorStopResponse{}, uacsta.Edition3), nil)
}

// systemStatus returns the status of the link of the session's line. Without a line it returns the
// first status of a link that is not disabled.
func (s *Session) systemStatus() uacsta.SystemStatusValue {
	for _, t := range s.proxy.list() {
		if s.line.IsZero() || t.has(s.line.String()) {
			if status := t.reportedStatus(); status != uacsta.StatusDisabled {
				return status
			}
		}
	}
	return uacsta.StatusDisabled
}

// features returns the services and events that work on the session's line: those of the core, and
// those of the link that the identity may use.
func (s *Session) features() uacsta.Features {
	itself := []string{
		uacsta.NameGetCSTAFeatures, uacsta.NameGetRegistrations, uacsta.NameChangeSysStatFilter, uacsta.NameSystemRegister,
		uacsta.NameSystemRegisterCancel, uacsta.NameRequestSystemStatus, uacsta.NameSystemStatus,
	}
	t := s.homeLink()
	if t == nil {
		return uacsta.Features{Services: itself}
	}
	lister, ok := t.link.(FeatureLister)
	if !ok {
		return uacsta.Features{Services: itself}
	}
	f := lister.Features(s.line.String())
	mayControl := s.line.IsZero() || s.may(policy.Control, s.line)
	for _, name := range f.Services {
		if mayControl || observing(name) {
			itself = append(itself, name)
		}
	}
	return uacsta.Features{Services: itself, Events: f.Events}
}

// observing reports whether a service changes nothing, or carries the data of one that changes
// nothing.
func observing(name string) bool {
	switch name {
	case uacsta.NameSwitchingFunctionDevices, uacsta.NameSnapshotDeviceData, uacsta.NameSnapshotCallData, uacsta.NameMonitorInfo:
		return true
	}
	return uacsta.Observes(name)
}

// homeLink returns the link of the session's line, or the first link if there is no line. It may be
// nil.
func (s *Session) homeLink() *managedLink {
	if links := s.proxy.list(); s.line.IsZero() && len(links) > 0 {
		return links[0]
	}
	return s.proxy.route(s.line)
}

// moved reports whether a reload has given the device to another link; policy.Whole means the
// session's line. What covers all devices of a link stays as long as the link.
func (s *Session) moved(t *managedLink, device policy.Number) bool {
	if device == policy.Whole {
		device = s.line
	}
	return !device.IsZero() && s.proxy.route(device) != t
}

// capabilities forwards GetSwitchingFunctionCaps to the session's link.
func (s *Session) capabilities(req *uacsta.Message, answer answerer) {
	t := s.homeLink()
	if t == nil {
		answer(nil, errLinkDown)
		return
	}
	t.request(s, req, answer)
}
