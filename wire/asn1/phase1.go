package asn1

import (
	"reflect"
	"slices"

	ber "github.com/go-asn1-ber/asn1-ber"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// phase1 is CSTA Phase I (ECMA-180).
var phase1 = read(phase1Text, phase1Types())

func phase1Types() map[string]typ {
	types, ids := basic(), plainly()
	for i, name := range []string{"Calling", "Called", "Subject"} {
		types[name] = extended{ids, application(i + 1)}
	}
	types["Device"] = device{ids}
	types["Redirection"] = redirection{ids, []string{"notKnown", "notRequired"}}
	types["Connection"] = connection1{}
	types["Object"] = object{ids}
	types["CalledOne"] = calledOne{extended{ids, application(2)}}
	types["PlainDevice"] = deviceInside{device{ids}}
	types["Connections"] = connections{}
	types["Details"] = details{}
	types["Allocation"] = allocation{}
	types["Forwarding"] = forwarding{}
	types["OneForwarding"] = oneForwarding{}
	types["AgentParameter"] = agentParameter{device{ids}}
	types["OneAgentState"] = oneAgentState{}
	types["Snapshot"] = snapshot{extended{ids, application(3)}}
	types["PrivateData"] = privateData{}
	return types
}

// calledOne is a CalledDeviceID in place of a DeviceID of XML.
type calledOne struct{ extended }

func (t calledOne) put(c *coder, v reflect.Value) (*ber.Packet, error) {
	return t.extended.put(c, reflect.ValueOf(uacsta.ExtendedDeviceID{Device: v.Interface().(uacsta.DeviceID)}))
}

func (t calledOne) take(c *coder, p *ber.Packet, v reflect.Value) error {
	var d uacsta.ExtendedDeviceID
	err := t.extended.take(c, p, reflect.ValueOf(&d).Elem())
	v.Set(reflect.ValueOf(d.Device))
	return err
}

// connections is a ConnectionList: [APPLICATION 12] IMPLICIT SEQUENCE OF ConnectionID.
type connections struct{}

func (connections) tags() []tag { return []tag{application(12)} }

func (connections) put(c *coder, v reflect.Value) (*ber.Packet, error) {
	whole := constructed(application(12))
	for _, item := range v.Interface().([]uacsta.ConnectionListItem) {
		if item.NewConnection == nil {
			continue
		}
		p, err := connection1{}.put(c, reflect.ValueOf(*item.NewConnection))
		if err != nil {
			return nil, err
		}
		whole.AppendChild(p)
	}
	return whole, nil
}

func (connections) take(c *coder, p *ber.Packet, v reflect.Value) error {
	list := make([]uacsta.ConnectionListItem, len(p.Children))
	for i, child := range p.Children {
		list[i].NewConnection = &uacsta.ConnectionID{}
		if err := (connection1{}).take(c, child, reflect.ValueOf(list[i].NewConnection).Elem()); err != nil {
			return err
		}
	}
	v.Set(reflect.ValueOf(list))
	return nil
}

// details is ConnectionDetails: the held call, the active call, or both.
type details struct{}

func (details) tags() []tag      { return []tag{specific(0), specific(1), specific(2)} }
func (details) fields() []string { return []string{"heldCall", "activeCall"} }

func (details) put(c *coder, v reflect.Value) (*ber.Packet, error) {
	both := constructed(specific(2))
	for _, name := range (details{}).fields() {
		p, err := connection1{}.put(c, field(v, name))
		if err != nil {
			return nil, err
		}
		both.AppendChild(p)
	}
	return both, nil
}

func (details) take(c *coder, p *ber.Packet, v reflect.Value) error {
	if tagOf(p) != specific(2) || len(p.Children) != 2 {
		return mistyped("bothCalls") // the services of CSTA-XML need both
	}
	for i, name := range (details{}).fields() {
		if tagOf(p.Children[i]) != application(11) {
			return mistyped("a connection")
		}
		if err := (connection1{}).take(c, p.Children[i], field(v, name)); err != nil {
			return err
		}
	}
	return nil
}

// allocations are the signalling conditions in the order of the values of AllocationState.
var allocations = []uacsta.SignallingCondition{uacsta.SignallingCallDelivered, uacsta.SignallingCallEstablished}

// allocation is an AllocationState: how far a predictive call must be before callingDevice is connected to it.
type allocation struct{}

func (allocation) tags() []tag      { return []tag{universal(ber.TagEnumerated)} }
func (allocation) fields() []string { return []string{"signallingDetection"} }

func (allocation) put(_ *coder, v reflect.Value) (*ber.Packet, error) {
	wanted := v.Interface().(uacsta.MakePredictiveCall).SignallingDetection
	if wanted == nil {
		return nil, nil //nolint:nilnil // left out
	}
	if at := slices.Index(allocations, wanted.SignallingCondition); at >= 0 && wanted.SignallingConditionsAction == uacsta.SignallingConditionsActionRemainConnected {
		return enumerated(at), nil
	}
	return nil, &inexpressible{"the detection of what answered"}
}

func (allocation) take(_ *coder, p *ber.Packet, v reflect.Value) error {
	n, err := number(p)
	if err != nil || n < 0 || n >= len(allocations) {
		return mistyped("an allocation state")
	}
	v.Addr().Interface().(*uacsta.MakePredictiveCall).SignallingDetection = &uacsta.SignallingDetection{
		SignallingCondition: allocations[n], SignallingConditionsAction: uacsta.SignallingConditionsActionRemainConnected,
	}
	return nil
}

// forwardings are the values of ForwardingType for forwarding that is on; the next value is the same for off.
var forwardings = map[uacsta.ForwardingType]int{uacsta.ForwardImmediate: 0, uacsta.ForwardBusy: 2, uacsta.ForwardNoAns: 4}

func forwardParameter(kind uacsta.ForwardingType, on bool, to *uacsta.DeviceID, always bool) (*ber.Packet, error) {
	n, ok := forwardings[kind]
	if !ok {
		return nil, &inexpressible{"a forwarding type other than forwardImmediate, forwardBusy and forwardNoAns"}
	}
	if !on {
		n++
	}
	whole := sequence(enumerated(n))
	if to == nil && always {
		to = &uacsta.DeviceID{}
	}
	if to != nil {
		var text []byte
		if to.ID != "" {
			var err error
			if text, err = identifierText(to.ID); err != nil {
				return nil, err
			}
		}
		whole.AppendChild(primitive(universal(ber.TagIA5String), text))
	}
	return whole, nil
}

func readForwardParameter(p *ber.Packet) (kind uacsta.ForwardingType, on bool, to *uacsta.DeviceID, err error) {
	if len(p.Children) == 0 || len(p.Children) > 2 {
		return "", false, nil, mistyped("a forwarding")
	}
	n, err := number(p.Children[0])
	if err != nil {
		return "", false, nil, err
	}
	for name, value := range forwardings {
		if n == value || n == value+1 {
			kind, on = name, n == value
		}
	}
	if kind == "" {
		return "", false, nil, mistyped("a forwarding type")
	}
	if len(p.Children) == 2 {
		data, err := content(p.Children[1])
		if err != nil {
			return "", false, nil, err
		}
		if len(data) > 0 {
			d := uacsta.Dev(cleanText(data))
			to = &d
		}
	}
	return kind, on, to, nil
}

// forwarding is a ForwardParameter: the forwarding in SetForwarding and in ForwardingEvent.
type forwarding struct{}

func (forwarding) tags() []tag { return []tag{universal(ber.TagSequence)} }

func (forwarding) fields() []string {
	return []string{"forwardingType", "activateForward", "forwardStatus", "forwardDN", "forwardTo"}
}

func (forwarding) put(_ *coder, v reflect.Value) (*ber.Packet, error) {
	switch m := v.Interface().(type) {
	case uacsta.SetForwarding:
		return forwardParameter(m.ForwardingType, m.ActivateForward, m.ForwardDN, false)
	case uacsta.ForwardingEvent:
		return forwardParameter(m.ForwardingType, m.ForwardStatus, m.ForwardTo, false)
	}
	return nil, &inexpressible{v.Type().Name()}
}

func (forwarding) take(_ *coder, p *ber.Packet, v reflect.Value) error {
	kind, on, to, err := readForwardParameter(p)
	switch m := v.Addr().Interface().(type) {
	case *uacsta.SetForwarding:
		m.ForwardingType, m.ActivateForward, m.ForwardDN = kind, on, to
	case *uacsta.ForwardingEvent:
		m.ForwardingType, m.ForwardStatus, m.ForwardTo = kind, on, to
	}
	return err
}

// oneForwarding is a ListForwardParameter, which despite its name is one forwarding.
type oneForwarding struct{}

func (oneForwarding) tags() []tag { return []tag{universal(ber.TagSequence)} }

func (oneForwarding) put(_ *coder, v reflect.Value) (*ber.Packet, error) {
	kind, on, to := uacsta.ForwardImmediate, false, (*uacsta.DeviceID)(nil)
	for _, item := range v.Interface().([]uacsta.ForwardListItem) {
		switch {
		case !item.ForwardStatus:
		case on:
			return nil, &inexpressible{"more than one forwarding that is on"}
		default:
			kind, on, to = item.ForwardingType, true, item.ForwardDN
		}
	}
	return forwardParameter(kind, on, to, true)
}

func (oneForwarding) take(_ *coder, p *ber.Packet, v reflect.Value) error {
	kind, on, to, err := readForwardParameter(p)
	v.Set(reflect.ValueOf([]uacsta.ForwardListItem{{ForwardingType: kind, ForwardStatus: on, ForwardDN: to}}))
	return err
}

// requested are the states in the order of the tags of AgentParameter.
var requested = []uacsta.ReqAgentState{uacsta.RequestLoggedOn, uacsta.RequestLoggedOff, uacsta.RequestNotReady, uacsta.RequestReady, uacsta.RequestWorkingAfterCall}

// agentParameter is an AgentParameter, the state that SetAgentState requests.
type agentParameter struct{ device }

func (agentParameter) tags() []tag      { return nil }
func (agentParameter) fields() []string { return []string{"requestedAgentState", "group"} }

func (t agentParameter) put(c *coder, v reflect.Value) (*ber.Packet, error) {
	m := v.Interface().(uacsta.SetAgentState)
	for i, state := range requested {
		switch {
		case state != m.RequestedAgentState:
		case i > 1 && m.Group != nil:
			return nil, &inexpressible{"a group in " + string(state)}
		case i > 1:
			return primitive(specific(i), nil), nil
		default:
			info := constructed(specific(i))
			if m.Group != nil {
				p, err := t.device.put(c, reflect.ValueOf(*m.Group))
				if err != nil {
					return nil, err
				}
				info.AppendChild(p)
			}
			return info, nil
		}
	}
	return nil, &inexpressible{"the agent state " + string(m.RequestedAgentState)}
}

func (t agentParameter) take(c *coder, p *ber.Packet, v reflect.Value) error {
	m := v.Addr().Interface().(*uacsta.SetAgentState)
	if p.ClassType != ber.ClassContext || int(p.Tag) > len(requested) {
		return mistyped("an agent state")
	}
	m.RequestedAgentState = requested[min(int(p.Tag), len(requested)-1)]
	if len(p.Children) > 0 {
		m.Group = &uacsta.DeviceID{}
		return t.device.take(c, p.Children[0], reflect.ValueOf(m.Group).Elem())
	}
	return nil
}

// agentStates are the states in the order of the values of AgentState.
var agentStates = []uacsta.AgentState{uacsta.AgentNull, uacsta.AgentNotReady, uacsta.AgentReady, uacsta.AgentWorkingAfterCall, uacsta.AgentWorkingAfterCall}

// oneAgentState is the state of the agent at a device.
type oneAgentState struct{}

func (oneAgentState) tags() []tag { return []tag{universal(ber.TagEnumerated)} }

func (oneAgentState) put(_ *coder, v reflect.Value) (*ber.Packet, error) {
	state := uacsta.AgentNull
	for _, entry := range v.Interface().([]uacsta.AgentStateEntry) {
		for _, info := range entry.AgentInfo {
			switch {
			case !entry.LoggedOnState:
			case state != uacsta.AgentNull && state != info.AgentState:
				return nil, &inexpressible{"more than one agent state"}
			default:
				state = info.AgentState
			}
		}
	}
	for i, known := range agentStates {
		if known == state {
			return enumerated(i), nil
		}
	}
	return nil, &inexpressible{"the agent state " + string(state)}
}

func (oneAgentState) take(_ *coder, p *ber.Packet, v reflect.Value) error {
	n, err := number(p)
	if err != nil || n < 0 || n >= len(agentStates) {
		return mistyped("an agent state")
	}
	v.Set(reflect.ValueOf([]uacsta.AgentStateEntry{{LoggedOnState: n > 0, AgentInfo: []uacsta.AgentInfo{{AgentState: agentStates[n]}}}}))
	return nil
}

// snapshot is SnapshotDeviceData: [APPLICATION 22] IMPLICIT SEQUENCE OF one entry for each call.
type snapshot struct{ subject extended }

func (snapshot) tags() []tag      { return []tag{application(22)} }
func (snapshot) fields() []string { return []string{"crossRefIDorSnapshotData"} }

func (t snapshot) put(c *coder, v reflect.Value) (*ber.Packet, error) {
	data := v.Interface().(uacsta.SnapshotDeviceResponse).CrossRefIDorSnapshotData.SnapshotData
	if data == nil {
		return nil, &inexpressible{"a snapshot in segments"}
	}
	whole := constructed(application(22))
	for _, info := range data.SnapshotDeviceResponseInfo {
		on, err := t.subject.put(c, reflect.ValueOf(uacsta.ExtendedDeviceID{Device: info.ConnectionIdentifier.DeviceID}))
		if err != nil {
			return nil, err
		}
		call, err := connection1{}.put(c, reflect.ValueOf(info.ConnectionIdentifier))
		if err != nil {
			return nil, err
		}
		entry := sequence(on, call)
		if states := info.LocalCallState.CompoundCallState; len(states) > 0 {
			p, err := phase1.types["LocalConnectionState"].put(c, reflect.ValueOf(states[0]))
			if err != nil {
				return nil, err
			}
			entry.AppendChild(p)
		}
		whole.AppendChild(entry)
	}
	return whole, nil
}

func (t snapshot) take(c *coder, p *ber.Packet, v reflect.Value) error {
	data := &uacsta.SnapshotDeviceDataList{}
	for _, entry := range p.Children {
		if len(entry.Children) < 2 || len(entry.Children) > 3 || tagOf(entry.Children[1]) != application(11) {
			return mistyped("a call of a snapshot")
		}
		var info uacsta.SnapshotDeviceResponseInfo
		if err := (connection1{}).take(c, entry.Children[1], reflect.ValueOf(&info.ConnectionIdentifier).Elem()); err != nil {
			return err
		}
		info.LocalCallState.Unknown = true
		if len(entry.Children) == 3 {
			state := uacsta.LocalConnectionState("")
			if err := phase1.types["LocalConnectionState"].take(c, entry.Children[2], reflect.ValueOf(&state).Elem()); err != nil {
				return err
			}
			info.LocalCallState = uacsta.CallState{CompoundCallState: []uacsta.LocalConnectionState{state}}
		}
		data.SnapshotDeviceResponseInfo = append(data.SnapshotDeviceResponseInfo, info)
	}
	v.Addr().Interface().(*uacsta.SnapshotDeviceResponse).CrossRefIDorSnapshotData.SnapshotData = data
	return nil
}

// privateData is PrivateData of an event: [APPLICATION 29] IMPLICIT SEQUENCE. XML has it as the BER of the whole.
type privateData struct{}

func (privateData) tags() []tag { return []tag{application(29)} }

func (privateData) put(_ *coder, v reflect.Value) (*ber.Packet, error) {
	a, err := v.Interface().(uacsta.Raw).Arguments()
	if err != nil || len(a.PrivateData) != 1 {
		return nil, &inexpressible{"private data of another form"}
	}
	data, err := dataOctets(a.PrivateData[0])
	if err != nil {
		return nil, err
	}
	p, err := parse(data)
	if err != nil || tagOf(p) != application(29) {
		return nil, &inexpressible{"private data of another form"}
	}
	return p, nil
}

func (privateData) take(_ *coder, p *ber.Packet, v reflect.Value) error {
	a := uacsta.Arguments{PrivateData: []uacsta.Data{{String: toHex(p.Bytes())}}}
	v.Set(reflect.ValueOf(a.Extensions()))
	return nil
}
