package proxy

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/tr87proxy/tr87proxy/policy"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// service says what a request does, for policy.
type service struct {
	action       policy.Action
	destinations []string // paths of the devices that the call is sent to
	mentioned    string   // path of devices that nothing is done to
	denied       string   // the error when the subject may not be controlled
	deniedDest   string   // the error when the destination may not be called
}

// services lists the requests that differ from the rule: a request controls every
// device in it, and one that gets or takes a snapshot observes it.
var services = map[string]service{
	"MonitorStart":               {action: policy.Observe},
	"MakeCall":                   {policy.Control, []string{"calledDirectoryNumber"}, "", uacsta.PrivilegeViolationCallingDevice, uacsta.PrivilegeViolationCalledDevice},
	"MakePredictiveCall":         {policy.Control, []string{"calledDirectoryNumber"}, "", uacsta.PrivilegeViolationCallingDevice, uacsta.PrivilegeViolationCalledDevice},
	"ConsultationCall":           {policy.Control, []string{"consultedDevice"}, "", "", uacsta.PrivilegeViolationCalledDevice},
	"SingleStepTransferCall":     {policy.Control, []string{"transferredTo"}, "", "", uacsta.PrivilegeViolationDestinationDevice},
	"DeflectCall":                {policy.Control, []string{"newDestination"}, "", uacsta.PrivilegeViolationOnDivertingDevice, uacsta.PrivilegeViolationDestinationDevice},
	"SingleStepConferenceCall":   {policy.Control, []string{"deviceToJoin"}, "", "", uacsta.PrivilegeViolationDestinationDevice},
	"ParkCall":                   {policy.Control, []string{"parkTo"}, "", uacsta.PrivilegeViolationCallToParkDevice, uacsta.PrivilegeViolationOnParkToDevice},
	"CallBackNonCallRelated":     {policy.Control, []string{"targetDevice"}, "", "", uacsta.PrivilegeViolationDestinationDevice},
	"CancelCallBack":             {policy.Control, nil, "targetDevice", "", ""},
	"SetForwarding":              {policy.Control, []string{"forwardDN"}, "", "", uacsta.PrivilegeViolationDestinationDevice},
	"SetDoNotDisturb":            {policy.Control, nil, "callingDeviceList", "", ""},
	"SetMessageWaitingIndicator": {policy.Control, nil, "deviceForMessage", "", ""},
	"AssociateData":              {policy.Control, nil, "deviceInfo", "", ""},
	"SetAgentState":              {policy.Control, []string{"group"}, "", "", uacsta.PrivilegeViolationSpecifiedDevice},
	"GetAgentState":              {policy.Observe, nil, "acdGroup", "", ""},
	"RouteSelect":                {policy.Control, []string{"routeSelected", "alternateRoutes"}, "", "", uacsta.PrivilegeViolationDestinationDevice},
}

func serviceOf(name string) service {
	svc, listed := services[name]
	switch {
	case listed:
	case strings.HasPrefix(name, "Get"), strings.HasPrefix(name, "Snapshot"):
		svc.action = policy.Observe
	default:
		svc.action = policy.Control
	}
	return svc
}

// ActionOf says whether a service observes or controls.
func ActionOf(name string) policy.Action { return serviceOf(name).action }

// under reports whether a path is one of these, or inside.
func under(path string, these ...string) bool {
	return slices.ContainsFunc(these, func(p string) bool { return p != "" && strings.HasPrefix(path+"/", p+"/") })
}

// answerer takes the answer to a request: a message, nil where there is none, or
// an error.
type answerer func(*uacsta.Message, error)

// own are the requests that the core answers itself, or changes on their way.
var own map[string]func(*Session, *uacsta.Message, answerer)

func init() { //nolint:gochecknoinits // the table refers to methods that refer to it
	own = map[string]func(*Session, *uacsta.Message, answerer){
		"RequestSystemStatus": func(s *Session, _ *uacsta.Message, answer answerer) {
			answer(uacsta.Encode(uacsta.RequestSystemStatusResponse{SystemStatus: s.systemStatus()}, uacsta.Edition3), nil)
		},
		"SystemStatus": func(_ *Session, _ *uacsta.Message, answer answerer) {
			answer(uacsta.Encode(uacsta.SystemStatusResponse{}, uacsta.Edition3), nil)
		},
		"GetCSTAFeatures": func(s *Session, req *uacsta.Message, answer answerer) {
			answer(s.features().Message(uacsta.EditionOf(req.Namespace())), nil)
		},
		"ChangeMonitorFilter":          (*Session).changeMonitorFilter,
		"ChangeSysStatFilter":          (*Session).changeStatusFilter,
		"GetMonitors":                  (*Session).listMonitors,
		"GetRegistrations":             (*Session).listRegistrations,
		"GetSwitchingFunctionCaps":     (*Session).capabilities,
		"GetSwitchingFunctionDevices":  (*Session).listDevices,
		"MonitorStop":                  (*Session).stopMonitor,
		"ResetApplicationSessionTimer": (*Session).resetAppSession,
		"RouteEnd":                     (*Session).routeAnswer,
		"RouteRegister":                (*Session).routeRegister,
		"RouteRegisterCancel":          (*Session).routeRegisterCancel,
		"RouteReject":                  (*Session).routeAnswer,
		"RouteSelect":                  (*Session).routeAnswer,
		"StartApplicationSession":      (*Session).startAppSession,
		"StopApplicationSession":       (*Session).stopAppSession,
		"SystemRegister":               (*Session).systemRegister,
		"SystemRegisterCancel":         (*Session).systemRegisterCancel,
	}
}

// Request carries one message of the client. reply is called exactly once, from
// the session's own queue, even when the session ends before; it gets nil for
// messages that have no answer. req is the session's from then on. Request does
// not block.
func (s *Session) Request(req *uacsta.Message, reply func(*uacsta.Message)) {
	s.proxy.stats.Requests.Add(1)
	namespace := req.Namespace()
	if req.Edition() == 0 {
		namespace = uacsta.NamespaceED3
	}
	s.mu.Lock()
	if req.Namespace() == uacsta.NamespaceApplSession {
		namespace = s.namespace // which says nothing of the edition
	}
	s.namespace = namespace
	s.outstanding++
	tooMany := s.outstanding > s.proxy.cfg.MaxOutstanding
	s.mu.Unlock()
	tooFast := !s.proxy.meter.Take(s.requests(), s.proxy.cfg.MaxRequests, time.Now())
	answer := func(res *uacsta.Message, err error) { s.answer(req.Name(), namespace, res, err, reply) }
	if tooMany {
		answer(nil, uacsta.Refuse(uacsta.SubscribedResourceAvailability, uacsta.OutstandingReqLimitExceeded))
		return
	}
	if tooFast {
		answer(nil, uacsta.Refuse(uacsta.PerformanceManagement, uacsta.PerformanceLimitExceeded))
		return
	}
	switch req.Kind() {
	case uacsta.Request:
	case uacsta.Event:
		answer(nil, uacsta.Refuse(uacsta.Operation, uacsta.ServiceNotSupported))
		return
	default: // an answer to SystemStatus and the like
		answer(nil, nil)
		return
	}
	if !s.hold(req, answer) {
		s.dispatch(req, answer)
	}
}

// use is what is counted against a rate: requests of an identity, or of nobody at one
// address; calls; what a rule allows.
type use struct {
	who, rule string
	from      netip.Addr
	calls     bool
}

// requests is what the client's requests are counted as.
func (s *Session) requests() use {
	if who := s.Identity(); who.Name != "" {
		return use{who: who.Name}
	}
	return use{from: s.addr}
}

// dispatch answers a request, or carries it to a link.
func (s *Session) dispatch(req *uacsta.Message, answer answerer) {
	if handle := own[req.Name()]; handle != nil && (!s.locked() || ofAppSessions[req.Name()]) {
		handle(s, req, answer)
		return
	}
	if s.locked() {
		s.strike(answer)
		return
	}
	s.carry(req, answer)
}

// answer sends an answer through the client's queue, so that it stands before the
// events that follow it.
func (s *Session) answer(name, namespace string, res *uacsta.Message, err error, reply func(*uacsta.Message)) {
	if err != nil {
		s.proxy.stats.Refusals.Add(1)
		var refusal *uacsta.Error
		level := slog.LevelDebug
		if !errors.As(err, &refusal) {
			level = slog.LevelError
		}
		s.proxy.cfg.Log.Log(context.Background(), level, "request refused", "service", name, "identity", s.Identity().String(), "line", s.line, "err", err)
		res = uacsta.ErrorMessage(err, uacsta.Edition3)
	}
	if res != nil {
		s.translate(res, namespace)
	}
	s.deliver(delivery{msg: res, reply: func(m *uacsta.Message) {
		s.mu.Lock()
		s.outstanding--
		s.mu.Unlock()
		reply(m)
	}})
}

// carry checks a request, puts it into the link's form and sends it there.
func (s *Session) carry(req *uacsta.Message, answer answerer) {
	s.completeConnections(req)
	subjects, destinations, err := s.checked(req)
	if err == nil && serviceOf(req.Name()).action == policy.Control {
		answer, err = s.audited(req.Name(), subjects, destinations, answer)
	}
	if err != nil {
		answer(nil, err)
		return
	}
	if s.carryUnderReference(req, answer) {
		return
	}
	if len(subjects) == 0 {
		answer(nil, s.nothingNamed(req))
		return
	}
	t := s.proxy.route(subjects[0])
	switch {
	case t == nil:
		answer(nil, uacsta.Refuse(uacsta.Operation, uacsta.InvalidDeviceID))
	case req.Name() == "MonitorStart":
		s.startMonitor(t, subjects[0], req, answer)
	default:
		t.request(req, s.opening(t, req.Name(), subjects[0], answer))
	}
}

// completeConnections gives connections without a device the session's line: a
// callID alone means "my part in this call". The same for a client whose line is
// known apart from its requests and that names another party's connection: some
// repeat the device of the last event, whoever that was. It can only ever reach
// its own connection that way.
func (s *Session) completeConnections(req *uacsta.Message) {
	if s.line == "" {
		return
	}
	for _, c := range req.Connections() {
		device := c.DeviceID()
		if device == "" {
			c.SetDeviceID(s.line)
			continue
		}
		canonical := s.proxy.numbers().Canonical(device)
		if s.named && canonical != s.line && !s.may(policy.Control, canonical) {
			c.SetDeviceID(s.line)
		}
	}
}

// check asks policy about a request, and puts every device in it into canonical form. It
// returns the devices that the request acts on: those in it, after those that are named
// otherwise.
func (s *Session) check(req *uacsta.Message, named ...string) (subjects []string, err error) {
	subjects, _, err = s.checked(req, named...)
	return subjects, err
}

// checked is like check, and returns where the request sends calls, too.
func (s *Session) checked(req *uacsta.Message, named ...string) (subjects, destinations []string, err error) {
	svc := serviceOf(req.Name())
	var written []string
	subjects = named
	for _, d := range req.Devices() {
		device := s.proxy.numbers().Canonical(d.ID())
		switch {
		case under(d.Path(), svc.mentioned):
		case under(d.Path(), svc.destinations...):
			destinations = append(destinations, device)
		default:
			subjects = append(subjects, device)
			written = append(written, d.ID())
		}
		d.SetID(device)
	}
	asked := subjects
	if len(asked) == 0 && len(destinations) > 0 {
		asked = []string{""}
	}
	for _, device := range asked {
		ask := s.wish(svc.action, device)
		ask.Service, ask.Destinations = req.Name(), destinations
		if err := s.permit(ask, svc); err != nil {
			return nil, nil, err
		}
	}
	for _, w := range written {
		s.learn(w)
	}
	return subjects, destinations, nil
}

// permit asks policy, and takes one from the rate of the rule that allows.
func (s *Session) permit(ask policy.Ask, svc service) error {
	p := s.proxy
	decision := p.policy().Decide(ask)
	refusal := uacsta.Refuse(uacsta.Operation, cmp.Or(svc.denied, uacsta.PrivilegeViolationSpecifiedDevice))
	makes := ask.Service == "MakeCall" || ask.Service == "MakePredictiveCall"
	switch {
	case decision.Allowed && makes && !p.meter.Take(use{who: ask.Who.Name, calls: true}, p.cfg.MaxCalls, ask.At):
		decision.Reason = "more calls than one identity may make"
		refusal = uacsta.Refuse(uacsta.PerformanceManagement, uacsta.PerformanceLimitExceeded)
	case decision.Allowed && (decision.Rule == nil || !decision.Rule.Counts(ask) || p.meter.Take(use{who: ask.Who.Name, rule: decision.Rule.Name}, decision.Rule.Rate, ask.At)):
		return nil
	case decision.Allowed:
		decision.Reason = "more often than " + decision.Rule.Name + " lets"
		refusal = uacsta.Refuse(uacsta.PerformanceManagement, uacsta.PerformanceLimitExceeded)
	case decision.Destination != "":
		refusal = uacsta.Refuse(uacsta.Operation, cmp.Or(svc.deniedDest, uacsta.PrivilegeViolationDestinationDevice))
	}
	p.stats.Denials.Add(1)
	s.refusedEntry(ask, decision.Reason)
	p.cfg.Log.Warn("request denied", "service", ask.Service, "identity", ask.Who.String(), "device", ask.Device, "destinations", ask.Destinations, "peer", s.peer, "reason", decision.Reason)
	return refusal
}

// nothingNamed is the refusal of a request that names no device.
func (s *Session) nothingNamed(req *uacsta.Message) *uacsta.Error {
	switch _, listed := services[req.Name()]; {
	case len(req.Connections()) > 0:
		return uacsta.Refuse(uacsta.Operation, uacsta.InvalidConnectionID)
	case req.Name() == "MonitorStart":
		return uacsta.Refuse(uacsta.Operation, uacsta.InvalidMonitorObject)
	case listed, strings.HasPrefix(req.Name(), "Get"), strings.HasPrefix(req.Name(), "Set"), strings.HasPrefix(req.Name(), "Snapshot"):
		return uacsta.Refuse(uacsta.Operation, uacsta.InvalidDeviceID)
	}
	return uacsta.Refuse(uacsta.Operation, uacsta.ServiceNotSupported)
}

// translate writes the devices of a message as this client writes them, and the
// message in the client's edition. An event that the edition does not know is
// passed on as it is.
func (s *Session) translate(m *uacsta.Message, namespace string) {
	devices := m.Devices()
	s.mu.Lock()
	for _, d := range devices {
		d.SetID(s.written(d.ID()))
	}
	if namespace == "" {
		namespace = s.namespace
	}
	s.mu.Unlock()
	if m.Convert(uacsta.EditionOf(namespace)) && m.Namespace() != uacsta.NamespaceApplSession {
		m.SetNamespace(namespace) // with what a vendor adds to it
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

// systemStatus is the status of the link that the session's line is on.
func (s *Session) systemStatus() uacsta.SystemStatusValue {
	p := s.proxy
	p.mu.Lock()
	defer p.mu.Unlock()
	status := uacsta.StatusDisabled
	for _, t := range p.list() {
		if t.up && (s.line == "" || t.has(s.line)) && status == uacsta.StatusDisabled {
			status = t.status
		}
	}
	return status
}

// features lists what works on the session's line: what the link can, as far as
// the identity may.
func (s *Session) features() uacsta.Features {
	itself := uacsta.Features{Services: []string{
		"getCSTAFeatures", "getRegistrations", "changeSystemStatusFilter", "systemRegister", "systemStatusRegisterCancel", "requestSystemStatus", "systemStatus",
	}}
	t := s.homeTrunk()
	if t == nil {
		return itself
	}
	lister, ok := t.link.(FeatureLister)
	if !ok {
		return itself
	}
	f := lister.Features(s.line)
	if s.line != "" && !s.may(policy.Control, s.line) {
		f.Services = slices.DeleteFunc(f.Services, func(name string) bool { return !observing(name) })
	}
	f.Services = append(f.Services, itself.Services...)
	return f
}

// observing reports whether a service changes nothing, by its name in the
// capability lists.
func observing(name string) bool {
	return strings.HasPrefix(name, "get") || strings.HasPrefix(name, "snapshot") || strings.HasPrefix(name, "monitor") ||
		name == "changeMonitorFilter" || name == "switchingFunctionDevices"
}

// homeTrunk is the link of the session's line, or the first one.
func (s *Session) homeTrunk() *trunk {
	if trunks := s.proxy.list(); s.line == "" && len(trunks) > 0 {
		return trunks[0]
	}
	return s.proxy.route(s.line)
}

// capabilities asks the session's link what it can do.
func (s *Session) capabilities(req *uacsta.Message, answer answerer) {
	t := s.homeTrunk()
	if t == nil {
		answer(nil, errLinkDown)
		return
	}
	t.request(req, answer)
}
