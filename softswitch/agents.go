package softswitch

import (
	"crypto/subtle"
	"encoding/hex"
	"slices"
	"time"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// agent is an agent logged on to a queue at an extension. States are those of ECMA-269 clause
// 22; an agent has a state of its own in each group.
type agent struct {
	id      string
	device  *device
	group   *device
	state   uacsta.AgentState
	pending uacsta.PendingAgentState
	since   int // number of the change that made it ready: the agent ready longest is next
	wrapUp  *time.Timer
	private uacsta.Common // private data of the request that made it not ready, repeated in events
}

// become changes the agent's state and sends the event to the monitors of its device and of the
// queue.
func (a *agent) become(state uacsta.AgentState, cause uacsta.EventCause) {
	a.stopTimer()
	a.state, a.pending = state, ""
	if s := a.device.sw; state == uacsta.AgentReady {
		s.changes++
		a.since = s.changes
	}
	a.notify(cause)
}

// notify sends the event of the agent's current state.
func (a *agent) notify(cause uacsta.EventCause) {
	s, device, group := a.device.sw, uacsta.Ext(a.device.number), uacsta.Dev(a.group.number)
	var event uacsta.EventMessage
	switch a.state {
	case uacsta.AgentReady:
		event = uacsta.AgentReadyEvent{AgentDevice: device, AgentID: a.id, AcdGroup: &group, Cause: cause}
	case uacsta.AgentNotReady:
		event = uacsta.AgentNotReadyEvent{AgentDevice: device, AgentID: a.id, AcdGroup: &group, Cause: cause, Common: a.private}
	case uacsta.AgentBusy:
		event = uacsta.AgentBusyEvent{AgentDevice: device, AgentID: a.id, AcdGroup: &group, PendingAgentState: a.pending, Cause: cause}
	case uacsta.AgentWorkingAfterCall:
		event = uacsta.AgentWorkingAfterCallEvent{AgentDevice: device, AgentID: a.id, AcdGroup: &group, Cause: cause}
	case uacsta.AgentNull:
		event = uacsta.AgentLoggedOffEvent{AgentDevice: device, AgentID: a.id, AcdGroup: &group, Cause: cause}
	}
	s.notify(a.device, event)
	s.notify(a.group, event)
}

// busy records that the agent has taken a call of the group.
func (a *agent) busy() { a.become(uacsta.AgentBusy, uacsta.CauseNormal) }

// done handles the end of the agent's call: it applies the pending state, starts work after
// call, or makes the agent ready.
func (a *agent) done() {
	if a.state != uacsta.AgentBusy {
		return
	}
	pending := a.pending
	work, wrapUp := a.workAfterCall()
	switch {
	case pending == uacsta.PendingAgentNull:
		a.logOff()
	case pending != "":
		a.become(uacsta.AgentState(pending), uacsta.CauseNormal)
	case work:
		a.become(uacsta.AgentWorkingAfterCall, uacsta.CauseAutoWork)
		if wrapUp > 0 {
			a.wrapUp = time.AfterFunc(wrapUp, a.workedAfterCall)
		}
	default:
		a.become(uacsta.AgentReady, uacsta.CauseNormal)
	}
}

// workAfterCall returns whether the agent works after a call, and for how long. 0 means until
// the agent changes its state.
func (a *agent) workAfterCall() (bool, time.Duration) {
	if set := a.device.autoWork; set != nil {
		return set.on, set.interval
	}
	return a.group.queue.WrapUp > 0, a.group.queue.WrapUp
}

func (a *agent) workedAfterCall() {
	a.device.sw.do(func() {
		if a.state == uacsta.AgentWorkingAfterCall && a.wrapUp != nil {
			a.become(uacsta.AgentReady, uacsta.CauseTimeout)
		}
	})
}

func (a *agent) stopTimer() {
	if a.wrapUp != nil {
		a.wrapUp.Stop()
		a.wrapUp = nil
	}
}

// logOff removes the agent from the group.
func (a *agent) logOff() {
	a.become(uacsta.AgentNull, uacsta.CauseNormal)
	remove := func(list []*agent) []*agent { return slices.DeleteFunc(list, func(b *agent) bool { return b == a }) }
	a.device.agents = remove(a.device.agents)
	a.group.queue.agents = remove(a.group.queue.agents)
}

// getAgentState implements Get Agent State (ECMA-269 clause 22).
func (s *Switch) getAgentState(req *uacsta.GetAgentState) (any, error) {
	d, err := s.extension(req.Device)
	if err != nil {
		return nil, err
	}
	res := uacsta.GetAgentStateResponse{}
	for _, a := range d.agents {
		if req.AcdGroup != nil && req.AcdGroup.ID != a.group.number {
			continue
		}
		group := uacsta.Dev(a.group.number)
		info := uacsta.AgentInfo{AcdGroup: &group, AgentState: a.state, PendingAgentState: a.pending}
		if i := slices.IndexFunc(res.AgentStateList, func(e uacsta.AgentStateEntry) bool { return e.AgentID == a.id }); i >= 0 {
			res.AgentStateList[i].AgentInfo = append(res.AgentStateList[i].AgentInfo, info)
			continue
		}
		res.AgentStateList = append(res.AgentStateList, uacsta.AgentStateEntry{AgentID: a.id, LoggedOnState: true, AgentInfo: []uacsta.AgentInfo{info}})
	}
	if res.AgentStateList == nil {
		res.AgentStateList = []uacsta.AgentStateEntry{{}}
	}
	return res, nil
}

// Refusals of agent services.
var (
	errAgentGroup    = uacsta.Refuse(uacsta.Operation, uacsta.InvalidAgentGroup)
	errAgentID       = uacsta.Refuse(uacsta.Operation, uacsta.InvalidAgentIdentifier)
	errAgentPassword = uacsta.Refuse(uacsta.Operation, uacsta.InvalidAgentPassword)
	errAgentState    = uacsta.Refuse(uacsta.Operation, uacsta.InvalidAgentState)
)

// requested maps the states an agent can request to pending states.
var requested = map[uacsta.ReqAgentState]uacsta.PendingAgentState{
	uacsta.RequestLoggedOff: uacsta.PendingAgentNull, uacsta.RequestNotReady: uacsta.PendingAgentNotReady,
	uacsta.RequestReady: uacsta.PendingAgentReady, uacsta.RequestWorkingAfterCall: uacsta.PendingAgentWorkingAfterCall,
}

// setAgentState implements Set Agent State (ECMA-269 clause 22). While an agent talks for the
// group, the new state is pending until the call ends. Without a group, the request concerns
// all of the agent's groups, or, when logging on, the one that lists the agent.
func (s *Switch) setAgentState(req *uacsta.SetAgentState) (any, error) {
	d, err := s.extension(req.Device)
	if err != nil {
		return nil, err
	}
	if req.Group != nil && (s.devices[req.Group.ID] == nil || s.devices[req.Group.ID].queue == nil) {
		return nil, errAgentGroup
	}
	if req.RequestedAgentState == uacsta.RequestLoggedOn {
		return uacsta.SetAgentStateResponse{}, s.logOn(d, req)
	}
	next, known := requested[req.RequestedAgentState]
	if !known {
		return nil, uacsta.Refuse(uacsta.Operation, uacsta.InvalidParameterValue)
	}
	var agents []*agent
	for _, a := range d.agents {
		if (req.Group == nil || req.Group.ID == a.group.number) && (req.AgentID == "" || req.AgentID == a.id) {
			agents = append(agents, a)
		}
	}
	if len(agents) == 0 {
		return nil, errAgentState
	}
	res := uacsta.SetAgentStateResponse{}
	for _, a := range agents {
		switch {
		case a.state == uacsta.AgentBusy:
			if a.pending != next {
				a.pending = next
				a.notify(uacsta.CauseNormal)
			}
			res.PendingAgentState = next
		case next == uacsta.PendingAgentNull:
			a.logOff()
		case a.state != uacsta.AgentState(next):
			a.private = uacsta.Common{}
			if next == uacsta.PendingAgentNotReady {
				a.private = uacsta.Common{Extensions: req.Extensions}
			}
			a.become(uacsta.AgentState(next), uacsta.CauseNormal)
		}
	}
	return res, nil
}

// logOn adds an agent, in state not ready.
func (s *Switch) logOn(d *device, req *uacsta.SetAgentState) error {
	group, err := s.agentGroup(req)
	if err != nil {
		return err
	}
	q := group.queue
	if i := slices.IndexFunc(q.Agents, func(a Agent) bool { return a.ID == req.AgentID }); i >= 0 {
		given, err := hex.DecodeString(req.Password)
		if want := q.Agents[i].Password; want != "" && (err != nil || subtle.ConstantTimeCompare(given, []byte(want)) == 0) {
			return errAgentPassword
		}
	} else if len(q.Agents) > 0 {
		return errAgentID
	}
	for _, a := range q.agents {
		if a.device == d || a.id == req.AgentID && a.id != "" {
			return errAgentState // already logged on
		}
	}
	a := &agent{id: req.AgentID, device: d, group: group}
	d.agents = append(d.agents, a)
	q.agents = append(q.agents, a)
	dev, grp := uacsta.Ext(d.number), uacsta.Dev(group.number)
	event := uacsta.AgentLoggedOnEvent{AgentDevice: dev, AgentID: a.id, AcdGroup: &grp, Cause: uacsta.CauseNormal}
	s.notify(d, event)
	s.notify(group, event)
	a.become(uacsta.AgentNotReady, uacsta.CauseNormal)
	return nil
}

// agentGroup returns the queue to log on to: the named one, the only one that lists the agent,
// or the only one. It is nil if that is ambiguous.
func (s *Switch) agentGroup(req *uacsta.SetAgentState) (*device, error) {
	if req.Group != nil {
		return s.devices[req.Group.ID], nil
	}
	var knowing []*device
	for _, d := range s.queues {
		if slices.ContainsFunc(d.queue.Agents, func(a Agent) bool { return a.ID == req.AgentID }) {
			knowing = append(knowing, d)
		}
	}
	switch {
	case len(knowing) == 1:
		return knowing[0], nil
	case len(s.queues) == 1:
		return s.queues[0], nil
	}
	return nil, errAgentGroup
}

// autoWork is a device's setting for work after a call.
type autoWork struct {
	on       bool
	interval time.Duration // 0: until the agent changes its state
}

const maxAutoWork = 24 * 60 * 60 // seconds

// getAutoWorkMode implements Get Auto Work Mode (ECMA-269 clause 22).
func (s *Switch) getAutoWorkMode(req *uacsta.GetAutoWorkMode) (any, error) {
	d, err := s.optionalExtension(req.Device)
	if err != nil {
		return nil, err
	}
	res := uacsta.GetAutoWorkModeResponse{}
	if d.autoWork != nil {
		seconds := int(d.autoWork.interval / time.Second)
		res.AutoWorkOn, res.AutoWorkInterval = d.autoWork.on, &seconds
	}
	return res, nil
}

// setAutoWorkMode implements Set Auto Work Mode (ECMA-269 clause 22).
func (s *Switch) setAutoWorkMode(req *uacsta.SetAutoWorkMode) (any, error) {
	d, err := s.optionalExtension(req.Device)
	if err != nil {
		return nil, err
	}
	next, seconds := autoWork{on: req.AutoWorkOn}, 0
	if req.AutoWorkInterval != nil {
		seconds = *req.AutoWorkInterval
	}
	if seconds < 0 || seconds > maxAutoWork {
		return nil, uacsta.Refuse(uacsta.Operation, uacsta.ValueOutOfRange)
	}
	next.interval = time.Duration(seconds) * time.Second
	if d.autoWork == nil || *d.autoWork != next {
		d.autoWork = &next
		device := uacsta.Ext(d.number)
		s.notify(d, uacsta.AutoWorkModeEvent{InvokingDevice: &device, AutoWorkOn: next.on, AutoWorkInterval: seconds})
	}
	return uacsta.SetAutoWorkModeResponse{}, nil
}
