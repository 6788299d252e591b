package proxy

import (
	"context"
	"errors"
	"log/slog"

	"github.com/tr87proxy/tr87proxy/policy"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// service says what a request does, for policy.
type service struct {
	action      policy.Action
	destination string // path of the device that the call is sent to
	denied      string // the error when the subject may not be controlled
	deniedDest  string // the error when the destination may not be called
}

// services lists the requests that differ from the rule: a request controls every
// device in it.
var services = map[string]service{
	"MonitorStart":             {action: policy.Observe},
	"SnapshotDevice":           {action: policy.Observe},
	"SnapshotCall":             {action: policy.Observe},
	"GetForwarding":            {action: policy.Observe},
	"GetDoNotDisturb":          {action: policy.Observe},
	"MakeCall":                 {policy.Control, "calledDirectoryNumber", uacsta.PrivilegeViolationCallingDevice, uacsta.PrivilegeViolationCalledDevice},
	"ConsultationCall":         {policy.Control, "consultedDevice", "", uacsta.PrivilegeViolationCalledDevice},
	"SingleStepTransferCall":   {policy.Control, "transferredTo", "", uacsta.PrivilegeViolationDestinationDevice},
	"DeflectCall":              {policy.Control, "newDestination", uacsta.PrivilegeViolationOnDivertingDevice, uacsta.PrivilegeViolationDestinationDevice},
	"SingleStepConferenceCall": {policy.Control, "deviceToJoin", "", uacsta.PrivilegeViolationDestinationDevice},
	"SetForwarding":            {policy.Control, "forwardDN", "", uacsta.PrivilegeViolationDestinationDevice},
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
	s.namespace = namespace
	s.outstanding++
	tooMany := s.outstanding > s.proxy.cfg.MaxOutstanding
	s.mu.Unlock()
	answer := func(res *uacsta.Message, err error) { s.answer(req.Name(), namespace, res, err, reply) }
	if tooMany {
		answer(nil, uacsta.Refuse(uacsta.SubscribedResourceAvailability, uacsta.OutstandingReqLimitExceeded))
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
	switch req.Name() {
	case "RequestSystemStatus":
		answer(uacsta.Encode(uacsta.RequestSystemStatusResponse{SystemStatus: s.systemStatus()}, uacsta.Edition3), nil)
	case "SystemStatus":
		answer(uacsta.Encode(uacsta.SystemStatusResponse{}, uacsta.Edition3), nil)
	case "SystemRegister": // every session is told the status of its link anyway
		answer(uacsta.Encode(uacsta.SystemRegisterResponse{SysStatRegisterID: newRef()}, uacsta.Edition3), nil)
	case "SystemRegisterCancel":
		answer(uacsta.Encode(uacsta.SystemRegisterCancelResponse{}, uacsta.Edition3), nil)
	case "GetCSTAFeatures":
		answer(s.features().Message(uacsta.EditionOf(namespace)), nil)
	case "MonitorStop":
		s.stopMonitor(req, answer)
	default:
		s.carry(req, answer)
	}
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
		s.proxy.cfg.Log.Log(context.Background(), level, "request refused", "service", name, "identity", s.who.String(), "line", s.line, "err", err)
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
func (s *Session) carry(req *uacsta.Message, answer func(*uacsta.Message, error)) {
	svc, listed := services[req.Name()]
	if !listed {
		svc.action = policy.Control
	}
	s.completeConnections(req)
	subjects, err := s.check(req, svc)
	if err != nil {
		answer(nil, err)
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
		if !req.Has("monitorObject/deviceObject") {
			answer(nil, uacsta.Refuse(uacsta.Operation, uacsta.InvalidMonitorObject))
			return
		}
		if kind := req.Text("monitorType"); kind != "" && kind != string(uacsta.MonitorDevice) {
			answer(nil, uacsta.Refuse(uacsta.Operation, uacsta.InvalidMonitorType))
			return
		}
		s.startMonitor(t, subjects[0], req, answer)
	default:
		t.request(req, answer)
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
		canonical := s.proxy.cfg.Numbers.Canonical(device)
		if s.named && canonical != s.line && !s.proxy.cfg.Policy.Allows(s.who, policy.Control, canonical, true).Allowed {
			c.SetDeviceID(s.line)
		}
	}
}

// check asks policy about every device of a request, and puts each into canonical
// form. It returns the devices that the request acts on.
func (s *Session) check(req *uacsta.Message, svc service) (subjects []string, err error) {
	for _, d := range req.Devices() {
		written := d.ID()
		device := s.proxy.cfg.Numbers.Canonical(written)
		action, refusal := svc.action, svc.denied
		if svc.destination != "" && (d.Path == svc.destination || d.Path == svc.destination+"/device") {
			action, refusal = policy.Dial, svc.deniedDest
		}
		if refusal == "" {
			refusal = uacsta.PrivilegeViolationSpecifiedDevice
		}
		decision := s.proxy.cfg.Policy.Allows(s.who, action, device, s.proxy.cfg.Numbers.Known(device))
		if !decision.Allowed {
			s.proxy.stats.Denials.Add(1)
			s.proxy.cfg.Log.Warn("request denied", "service", req.Name(), "identity", s.who.String(), "device", device, "peer", s.peer, "reason", decision.Reason)
			return nil, uacsta.Refuse(uacsta.Operation, refusal)
		}
		if action != policy.Dial {
			s.learn(written)
			subjects = append(subjects, device)
		}
		d.SetID(device)
	}
	return subjects, nil
}

// nothingNamed is the refusal of a request that names no device.
func (s *Session) nothingNamed(req *uacsta.Message) *uacsta.Error {
	switch _, listed := services[req.Name()]; {
	case len(req.Connections()) > 0:
		return uacsta.Refuse(uacsta.Operation, uacsta.InvalidConnectionID)
	case listed:
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

func (s *Session) stopMonitor(req *uacsta.Message, answer func(*uacsta.Message, error)) {
	s.mu.Lock()
	cm := s.monitors[req.CrossRef()]
	if cm != nil {
		delete(s.monitors, cm.ref)
	}
	s.mu.Unlock()
	if cm == nil {
		answer(nil, uacsta.Refuse(uacsta.Operation, uacsta.InvalidMonitorCrossRefID))
		return
	}
	cm.monitor.remove(cm)
	answer(uacsta.Encode(uacsta.MonitorStopResponse{}, uacsta.Edition3), nil)
}

// systemStatus is the status of the link that the session's line is on.
func (s *Session) systemStatus() uacsta.SystemStatusValue {
	p := s.proxy
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, t := range p.trunks {
		if t.up && (s.line == "" || t.devices(s.line)) {
			return uacsta.StatusNormal
		}
	}
	return uacsta.StatusDisabled
}

// features lists what works on the session's line: what the link can, as far as
// the identity may.
func (s *Session) features() uacsta.Features {
	own := uacsta.Features{Services: []string{"getCSTAFeatures", "systemRegister", "systemStatusRegisterCancel", "requestSystemStatus", "systemStatus"}}
	t := s.proxy.route(s.line)
	if s.line == "" && len(s.proxy.trunks) > 0 {
		t = s.proxy.trunks[0]
	}
	if t == nil {
		return own
	}
	lister, ok := t.link.(FeatureLister)
	if !ok {
		return own
	}
	f := lister.Features(s.line)
	if s.line != "" && !s.proxy.cfg.Policy.Allows(s.who, policy.Control, s.line, true).Allowed {
		f = f.Intersect(uacsta.Features{
			Services: []string{"monitorStart", "monitorStop", "snapshotDevice", "snapshotCall", "getForwarding", "getDoNotDisturb"},
			Events:   f.Events,
		})
	}
	f.Services = append(f.Services, own.Services...)
	return f
}
