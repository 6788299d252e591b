package proxy

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/audit"
	"github.com/tr87proxy/tr87proxy/internal/share"
	"github.com/tr87proxy/tr87proxy/policy"
	"github.com/tr87proxy/tr87proxy/proxy/callmodel"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// A right on a device is a right on that device's connections, and on nothing else in its calls. A
// callID alone gives no right: the core carries out a request about a connection only when it knows,
// from what the link has reported or from a snapshot, that the device is in the call.

// object is what a request is about. It is read once; policy decides on it, the audit file gets it,
// and the link carries it out.
type object struct {
	service      string
	action       policy.Action
	subjects     []policy.Number            // the devices that the request acts on
	destinations []policy.Number            // where it sends calls
	presented    policy.Number              // second number of the calling device that a call comes from; zero: its own
	connections  []uacsta.ConnectionID      // of subjects, with callIDs as the client sees them
	spelling     map[policy.Number]spelling // of subjects, as the client writes them
	trial        bool                       // the request is not carried out, and not recorded
	settle       func(error)                // records whether digits were dialled; nil: there are none
	reason       string                     // why policy allowed the request, for its last device
}

// read puts the devices of a request into canonical form, completes its connections, and returns what
// it is about. others are subjects that the message does not name. Errors are refusals.
func (s *Session) read(req *uacsta.Message, others ...policy.Number) (object, error) {
	return s.readInto(object{service: req.Name(), action: ActionOf(req.Name()), subjects: others}, req)
}

// readInto is read for an object that has been begun.
func (s *Session) readInto(o object, req *uacsta.Message) (object, error) {
	svc := uacsta.ServiceOf(req.Name())
	if err := s.completeConnections(req); err != nil {
		o.connections = named(req)
		s.refused(&o, err.Error())
		return o, err
	}
	numbers := s.proxy.numbers()
	o.spelling = map[policy.Number]spelling{}
	for _, d := range req.Devices() {
		path := d.Path()
		role := svc.Role(path)
		sent := role == uacsta.Destination
		n, err := numbers.Parse(d.ID(), d.Type())
		digits := ""
		if path == diallingSequence {
			n, digits, err = s.dialling(&o, req, d)
		}
		if err == nil && sent && !n.Dialable() && !callable(numbers, n) {
			err = fmt.Errorf("%w: no call can be sent to a device of this form", policy.ErrNumber)
		}
		if err != nil {
			var refusal *uacsta.Error
			if !errors.As(err, &refusal) {
				refusal = uacsta.Refuse(uacsta.Operation, invalidNumber(path, sent))
				refusal.Detail = path + " " + err.Error()
			}
			o.connections = named(req)
			s.refused(&o, refusal.Error())
			return o, refusal
		}
		switch role {
		case uacsta.Mentioned:
		case uacsta.Destination:
			o.destinations = append(o.destinations, n)
		case uacsta.Subject:
			of := n
			if d.InConnection {
				of = s.proxy.static(d.CallID(), n)
			}
			own := s.proxy.own(of)
			o.subjects = append(o.subjects, own)
			switch {
			case own == of:
				o.spelling[n] = o.spelling[n].after(spelling{d.ID(), d.Type()})
			case path == "callingDevice":
				o.presented = n
			default:
				n = own
			}
		}
		d.Set(cmp.Or(digits, n.String()), "")
	}
	if o.service == uacsta.NameSetForwarding && len(o.destinations) == 0 && req.Text("activateForward") == "true" {
		o.destinations = []policy.Number{policy.Whole} // the number that the switch has stored, whichever it is
	}
	for _, c := range req.Connections() {
		switch {
		case c.CallID() != "" && c.DeviceID() != "":
			o.connections = append(o.connections, uacsta.Conn(c.CallID(), c.DeviceID()))
		case c.CallID() == "" && ofWholeCall[o.service]:
			o.connections = named(req)
			s.refused(&o, errCall.Error())
			return o, errCall
		}
	}
	return o, nil
}

// own returns the device that a number stands for: itself, or the one that has it as second number.
func (p *Proxy) own(n policy.Number) policy.Number {
	for _, t := range p.list() {
		if own := t.device(n); own != n && p.route(n) == t {
			return own
		}
	}
	return n
}

// examine reads a request and asks policy about it.
func (s *Session) examine(req *uacsta.Message, others ...policy.Number) (object, error) {
	o, err := s.read(req, others...)
	if err == nil {
		err = s.check(&o)
	}
	s.tracedDecision(req, &o, err)
	return o, err
}

// named returns the connections of a request as they are written, for the audit file. Either half may
// be missing.
func named(req *uacsta.Message) []uacsta.ConnectionID {
	connections := req.Connections()
	list := make([]uacsta.ConnectionID, 0, len(connections))
	for _, c := range connections {
		list = append(list, uacsta.Conn(c.CallID(), c.DeviceID()))
	}
	return list
}

// diallingSequence is the element of DialDigits with the further digits of a call.
const diallingSequence = "diallingSequence"

// errDialling refuses digits while the previous ones have no response.
var errDialling = uacsta.Refuse(uacsta.SubscribedResourceAvailability, uacsta.OutstandingReqLimitExceeded)

// dialling adds the digits of DialDigits to what was dialled before. Policy and the audit file get the
// whole number, the link the digits alone (ECMA-269 17.1.13).
func (s *Session) dialling(o *object, req *uacsta.Message, d uacsta.Device) (whole policy.Number, digits string, err error) {
	n, err := (&policy.Numbers{}).Parse(d.ID(), d.Type())
	if err != nil || !n.Dialable() {
		return policy.Number{}, "", fmt.Errorf("%w: digits are 0 to 9, * and #", policy.ErrNumber)
	}
	all, callID := n.String(), req.Text("diallingConnection/callID")
	if o.trial { // nobody has asked whose call it is: what was dialled in it stays secret, and its digits go on
		whole, err = s.proxy.numbers().Parse(all, "")
		return whole, all, err
	}
	for _, t := range s.proxy.list() {
		if !t.calls.has(callID) {
			continue
		}
		var known bool
		if all, o.settle, known = t.calls.dialMore(callID, n.String()); !known {
			return policy.Number{}, "", errDialling
		}
	}
	whole, err = s.proxy.numbers().Parse(all, "")
	return whole, n.String(), err
}

// dials wraps answer so that it records what a request dials in its call: a new call is known only by
// the response.
func (t *managedLink) dials(o *object, answer answerer) answerer {
	if len(o.destinations) != 1 {
		return answer
	}
	if number := o.destinations[0].String(); o.service == uacsta.NameMakeCall || o.service == uacsta.NameConsultationCall {
		return func(res *uacsta.Message, err error) {
			if err == nil && res != nil {
				if made := res.Connections(); len(made) > 0 {
					t.calls.dial(made[0].CallID(), number)
				}
			}
			answer(res, err)
		}
	}
	return answer
}

// callable reports whether a call may be sent to a device that is not a number: one of the switch, or
// a name that nobody takes for a number.
func callable(numbers *policy.Numbers, n policy.Number) bool {
	first := n.String()[0]
	_, kind := policy.Element(n.String())
	return numbers.Known(n.String()) || first|0x20 >= 'a' && first|0x20 <= 'z' && kind == ""
}

// invalidNumber returns the error value for an invalid identifier (ECMA-269 clause 12.2).
func invalidNumber(path string, destination bool) string {
	switch path {
	case "callingDevice":
		return uacsta.InvalidCallingDeviceID
	case "calledDirectoryNumber":
		return uacsta.InvalidCalledDeviceID
	case "forwardDN":
		return uacsta.InvalidForwardingDestination
	}
	if destination {
		return uacsta.InvalidDestination
	}
	return uacsta.InvalidDeviceID
}

// completeConnections makes each connection of a request the one that it stands for. A callID alone is
// the client's own connection in the call, a device alone the one of its connections that the service
// can be carried out on, if the link says which ([ConnectionFinder]). A client whose line is named apart
// from its requests (Opening.Named) means its own connection even if it names another party's: some
// repeat the device of the last event.
func (s *Session) completeConnections(req *uacsta.Message) error {
	for _, c := range req.Connections() {
		switch device := c.DeviceID(); {
		case device == "" && s.line.IsZero():
			own, ok := s.ownIn(req.Name(), c)
			if !ok {
				return errCall
			}
			c.SetCallID(own.CallID)
			c.SetDeviceID(own.DeviceID.ID)
			continue
		case device == "":
			c.SetDeviceID(s.line.String()) // whether it is in the call is checked later
		case s.named && !s.line.IsZero():
			n, err := s.proxy.numbers().Parse(device, c.DeviceType())
			if of := s.proxy.static(c.CallID(), n); err != nil || of != s.line && !s.may(policy.Control, of) {
				c.SetDeviceID(s.line.String())
			}
		}
		if !s.settleCall(req.Name(), c) {
			return errCall
		}
	}
	return nil
}

// ofWholeCall are the services that the core decides on by what it knows of the call: who is in it, or what was dialled in
// it. A device alone does not say which call that is if the link does not.
var ofWholeCall = map[string]bool{uacsta.NameClearCall: true, uacsta.NameDialDigits: true}

// ownIn returns the connection that a callID alone stands for: of those on which the client has a right,
// the only one, or the only one that the service can be carried out on.
func (s *Session) ownIn(service string, c uacsta.Connection) (uacsta.ConnectionID, bool) {
	if c.CallID() == "" {
		return uacsta.ConnectionID{}, false
	}
	return Only(s.rightsIn(service, c.Name(), c.CallID()))
}

// rightsIn returns the connections that a callID alone may stand for in an element of a service's request, and on which
// the client has a right.
func (s *Session) rightsIn(service, element, callID string) []Candidate {
	var own []Candidate
	for _, t := range s.proxy.list() {
		for _, x := range t.candidates(service, element, callID, "") {
			n, err := s.proxy.numbers().Parse(x.ID.DeviceID.ID, "")
			if of := s.proxy.static(x.ID.CallID, n); err == nil && s.proxy.route(of) == t && s.may(ActionOf(service), of) {
				own = append(own, Candidate{uacsta.Conn(x.ID.CallID, n.String()), x.Fits})
			}
		}
	}
	return own
}

// settleCall makes a connection with a device the one that it stands for: the call may have become another one, in which
// the device may have another identifier.
// It returns false if it may stand for several. A connection that does not exist stays as it is, and so does one of a
// device on which the client has no right, so that the refusal does not tell what calls the device has: the request will be
// refused.
func (s *Session) settleCall(service string, c uacsta.Connection) bool {
	n, err := s.proxy.numbers().Parse(c.DeviceID(), c.DeviceType())
	if err != nil {
		return true
	}
	of := s.proxy.static(c.CallID(), n)
	t := s.proxy.route(of)
	if t == nil || !s.may(ActionOf(service), s.proxy.own(of)) {
		return true
	}
	list := t.candidates(service, c.Name(), c.CallID(), n.String())
	x, ok := Only(list)
	if ok && x.CallID != c.CallID() {
		c.SetCallID(x.CallID)
	}
	if ok && x.DeviceID.ID != n.String() {
		c.SetDeviceID(x.DeviceID.ID)
	}
	return ok || len(list) == 0
}

// check asks policy about every subject of a request.
func (s *Session) check(o *object) error {
	asked := o.subjects
	if len(asked) == 0 && len(o.destinations) > 0 {
		asked = []policy.Number{{}}
	}
	for _, device := range asked {
		if err := s.permit(o, device); err != nil {
			return err
		}
	}
	if decision := s.mayPresent(o); !decision.Allowed {
		s.refused(o, decision.Reason)
		refusal := uacsta.Refuse(uacsta.Operation, uacsta.ServiceOf(o.service).Refusal(uacsta.Subject))
		refusal.Detail, refusal.Rules = decision.Reason, true
		return refusal
	}
	for n, spelled := range o.spelling {
		s.learn(n, spelled)
	}
	return nil
}

// mayPresent asks policy whether the client may call from the second number of a device.
func (s *Session) mayPresent(o *object) policy.Decision {
	if o.presented.IsZero() {
		return policy.Decision{Allowed: true}
	}
	return s.decide(s.proxy.policy(), s.wishOf(o, o.presented))
}

// wishOf returns the policy request for one device.
func (s *Session) wishOf(o *object, device policy.Number) policy.Request {
	ask := s.wish(o.action, device)
	ask.Service, ask.Destinations = o.service, o.destinations
	return ask
}

// permit asks policy about one device of a request and counts it against the rate of the rule that
// allows it.
func (s *Session) permit(o *object, device policy.Number) error {
	p, ask, svc := s.proxy, s.wishOf(o, device), uacsta.ServiceOf(o.service)
	decision := s.decide(p.policy(), ask)
	refusal := uacsta.Refuse(uacsta.Operation, svc.Refusal(uacsta.Subject))
	makes := ask.Service == uacsta.NameMakeCall || ask.Service == uacsta.NameMakePredictiveCall
	switch {
	case decision.Allowed && makes && !p.meter.Take(use{who: ask.Who.Name, calls: true}, p.bounds.Load().MaxCalls, ask.At):
		decision.Reason = "limits.calls-per-minute: the identity makes too many calls"
		refusal = uacsta.Refuse(uacsta.PerformanceManagement, uacsta.PerformanceLimitExceeded)
	case decision.Allowed && (decision.Rule == nil || !decision.Rule.Counts(ask) || p.meter.Take(use{who: ask.Who.Name, rule: decision.Rule.Name}, decision.Rule.Rate, ask.At)):
		o.reason = decision.Reason
		return nil
	case decision.Allowed:
		decision.Reason = "the rate of rule " + decision.Rule.Name + " is exceeded"
		refusal = uacsta.Refuse(uacsta.PerformanceManagement, uacsta.PerformanceLimitExceeded)
	case decision.Destination != "":
		refusal = uacsta.Refuse(uacsta.Operation, svc.Refusal(uacsta.Destination))
	}
	s.refused(&object{service: o.service, subjects: []policy.Number{device}, destinations: o.destinations, connections: o.connections}, decision.Reason)
	refusal.Detail, refusal.Rules = decision.Reason, true
	return refusal
}

// heardGrace is how long a report about a party of a call is valid without a monitor that would report
// its leaving: long enough to respond to an event.
const heardGrace = 2 * time.Second

// asks returns the link that must confirm the connections of a request before it is carried out; nil
// if there is no need. A ConnectionKeeper checks connections itself.
func (s *Session) asks(o *object) *managedLink {
	if len(o.connections) == 0 || len(o.subjects) == 0 {
		return nil
	}
	t := s.proxy.route(o.subjects[0])
	if t == nil {
		return nil // the request will be refused
	}
	if o.service == uacsta.NameClearCall {
		return t
	}
	if _, keeps := t.link.(ConnectionKeeper); keeps {
		return nil
	}
	if slices.ContainsFunc(o.connections, func(c uacsta.ConnectionID) bool { return !t.holds(c) }) {
		return t
	}
	return nil
}

// holds reports whether a device is known to be in a call now.
func (t *managedLink) holds(c uacsta.ConnectionID) bool {
	heard, known := t.calls.heard(c.CallID, c.DeviceID.ID)
	if !known {
		return false
	}
	if time.Since(heard) <= heardGrace {
		return true
	}
	t.mu.Lock()
	m := t.monitors[c.DeviceID.ID]
	t.mu.Unlock()
	return m != nil && m.currentSince(heard)
}

// stillMay reports whether the session is still open, has the same identity, and may still make the
// request. Asking the link takes a while.
func (s *Session) stillMay(o *object, who policy.Identity) bool {
	s.mu.Lock()
	closed := s.closed
	s.mu.Unlock()
	return !closed && s.Identity() == who && !s.locked() && s.mayPresent(o).Allowed && !slices.ContainsFunc(o.subjects, func(device policy.Number) bool {
		return !s.decide(s.proxy.policy(), s.wishOf(o, device)).Allowed
	})
}

// verify asks the link whether the connections of a request exist. For ClearCall it also asks who is
// in the call: the right on one device is no right to remove others from a conference.
func (s *Session) verify(t *managedLink, o *object) error {
	_, keeps := t.link.(ConnectionKeeper)
	for _, c := range o.connections {
		if !t.calls.has(c.CallID) {
			return errCall
		}
		if !keeps && !t.holds(c) && !t.isIn(s, c) {
			return errCall
		}
	}
	if o.service != uacsta.NameClearCall {
		return nil
	}
	for _, c := range o.connections {
		devices, err := t.devicesIn(s, c)
		if err != nil {
			return errCall
		}
		for device := range devices {
			device = t.static(device)
			n, err := s.proxy.numbers().Parse(device, "")
			if len(devices) > 2 && err == nil && s.proxy.numbers().Known(device) && !s.may(policy.Control, n) {
				return uacsta.Refuse(uacsta.Operation, uacsta.PrivilegeViolationSpecifiedDevice)
			}
		}
	}
	return nil
}

// devicesIn asks the link which devices are in a call. If it refuses, the devices that it has reported
// count. by is the client; nil means the core.
func (t *managedLink) devicesIn(by *Session, c uacsta.ConnectionID) (map[string]bool, error) {
	seen := claim{budget: &t.memory}
	defer seen.release()
	now, seenNow := scene{Scene: callmodel.Scene{ID: c.CallID}, devices: map[string]bool{}}, newPicture("", t.static, &t.pictures)
	defer seenNow.clear()
	err := t.snapshotCall(by, &now, seenNow, c, &seen)
	var refusal *uacsta.Error
	if err != nil && !errors.As(err, &refusal) {
		return nil, err
	}
	if len(now.devices) == 0 {
		for _, device := range t.calls.parties(c.CallID) {
			now.devices[device] = true
		}
	}
	return now.devices, nil
}

// inCall asks the link whether a device is in a call. For a link without snapshots, what it has
// reported counts. by is the client; nil means the core.
func (t *managedLink) inCall(by *Session, c uacsta.ConnectionID) (bool, error) {
	seen := claim{budget: &t.memory}
	defer seen.release()
	calls, err := t.snapshotDevice(by, c.DeviceID, &seen)
	var refusal *uacsta.Error
	if errors.As(err, &refusal) && refusal.Value == uacsta.ServiceNotSupported {
		_, heard := t.calls.heard(c.CallID, c.DeviceID.ID)
		return heard, nil
	}
	return slices.ContainsFunc(calls, func(info uacsta.SnapshotDeviceResponseInfo) bool {
		return info.ConnectionIdentifier.CallID == c.CallID
	}), err
}

// isIn reports whether a device is certainly in a call.
func (t *managedLink) isIn(by *Session, c uacsta.ConnectionID) bool {
	in, err := t.inCall(by, c)
	return in && err == nil
}

// refused counts, audits and logs a request that the core refuses.
func (s *Session) refused(o *object, reason string) {
	if o.trial {
		return
	}
	s.proxy.stats.Denials.Add(1)
	e := o.about(s.entry("refused"))
	e.Reason = reason
	e = brief(e)
	s.note(e)
	s.proxy.cfg.Log.Warn("request denied", "service", o.service, "identity", s.Identity().String(), "devices", e.Devices, "destinations", e.Destinations, "connections", e.Connections, "peer", s.peer, "reason", e.Reason)
}

// maxNamed limits the devices, destinations and connections in the audit entry of a refused request.
const maxNamed = 8

// brief shortens the audit entry of a refused request: its sender controls its length, and nothing of
// it is carried out.
func brief(e audit.Entry) audit.Entry {
	for _, list := range []*[]string{&e.Devices, &e.Destinations, &e.Connections} {
		if len(*list) > maxNamed {
			*list = append((*list)[:maxNamed:maxNamed], "…")
		}
		for i, text := range *list {
			(*list)[i] = share.Clip(text)
		}
	}
	e.Reason = share.Clip(e.Reason)
	return e
}

// written returns connections as the audit file has them.
func written(connections []uacsta.ConnectionID) []string {
	list := make([]string, 0, len(connections))
	for _, c := range connections {
		list = append(list, c.CallID+"@"+c.DeviceID.ID)
	}
	return list
}
