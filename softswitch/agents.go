package softswitch

import (
	"crypto/subtle"
	"encoding/hex"
	"slices"
	"time"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// agent is somebody logged on to a queue at an extension. The states are those of
// ECMA-269 clause 22: each agent has one of its own in each group.
type agent struct {
	id      string
	device  *device
	group   *device
	state   uacsta.AgentState
	pending uacsta.PendingAgentState
	since   int // number of the change that made it ready: who waits longest is next
	wrapUp  *time.Timer
	private uacsta.Common // of the request that made it not ready, passed on
}

// become changes an agent's state and tells the monitors of the agent's device.
func (a *agent) become(state uacsta.AgentState, cause uacsta.EventCause) {
	a.stopTimer()
	a.state, a.pending = state, ""
	if s := a.device.sw; state == uacsta.AgentReady {
		s.changes++
		a.since = s.changes
	}
	a.tell(cause)
}

// tell tells an agent's state.
func (a *agent) tell(cause uacsta.EventCause) {
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
	s.tell(a.device, event)
	s.tell(a.group, event)
}

// busy notes that the agent has taken a call of the group.
func (a *agent) busy() { a.become(uacsta.AgentBusy, uacsta.CauseNormal) }

// done notes that the agent's call is over: the pending state comes, or work after
// call, or the agent is ready again.
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

// workAfterCall returns whether the agent works after a call, and how long; 0 is
// until it says otherwise.
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

// logOff takes an agent out of the group.
func (a *agent) logOff() {
	a.become(uacsta.AgentNull, uacsta.CauseNormal)
	remove := func(list []*agent) []*agent { return slices.DeleteFunc(list, func(b *agent) bool { return b == a }) }
	a.device.agents = remove(a.device.agents)
	a.group.queue.agents = remove(a.group.queue.agents)
}

// getAgentState: ECMA-269 clause 22 Get Agent State.
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

// Refusals of agents.
var (
	errAgentGroup    = uacsta.Refuse(uacsta.Operation, uacsta.InvalidAgentGroup)
	errAgentID       = uacsta.Refuse(uacsta.Operation, uacsta.InvalidAgentIdentifier)
	errAgentPassword = uacsta.Refuse(uacsta.Operation, uacsta.InvalidAgentPassword)
	errAgentState    = uacsta.Refuse(uacsta.Operation, uacsta.InvalidAgentState)
)

// requested are the states that an agent takes by request.
var requested = map[uacsta.ReqAgentState]uacsta.PendingAgentState{
	uacsta.RequestLoggedOff: uacsta.PendingAgentNull, uacsta.RequestNotReady: uacsta.PendingAgentNotReady,
	uacsta.RequestReady: uacsta.PendingAgentReady, uacsta.RequestWorkingAfterCall: uacsta.PendingAgentWorkingAfterCall,
}

// setAgentState: ECMA-269 clause 22 Set Agent State. While an agent talks for the
// group, the new state is pending until the call is over. Without group, all of
// the agent's groups are meant; to log on, the one that knows the agent.
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
				a.tell(uacsta.CauseNormal)
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

// logOn makes an agent, not ready yet.
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
			return errAgentState // logged on already
		}
	}
	a := &agent{id: req.AgentID, device: d, group: group}
	d.agents = append(d.agents, a)
	q.agents = append(q.agents, a)
	dev, grp := uacsta.Ext(d.number), uacsta.Dev(group.number)
	event := uacsta.AgentLoggedOnEvent{AgentDevice: dev, AgentID: a.id, AcdGroup: &grp, Cause: uacsta.CauseNormal}
	s.tell(d, event)
	s.tell(group, event)
	a.become(uacsta.AgentNotReady, uacsta.CauseNormal)
	return nil
}

// agentGroup is the queue that an agent logs on to: the one named, the only one
// that knows the agent, or the only one.
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

// autoWork is what becomes of an agent after a call, at a device of its own mind.
type autoWork struct {
	on       bool
	interval time.Duration // 0: until the agent says otherwise
}

const maxAutoWork = 24 * 60 * 60 // seconds

// getAutoWorkMode: ECMA-269 clause 22 Get Auto Work Mode.
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

// setAutoWorkMode: ECMA-269 clause 22 Set Auto Work Mode.
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
		s.tell(d, uacsta.AutoWorkModeEvent{InvokingDevice: &device, AutoWorkOn: next.on, AutoWorkInterval: seconds})
	}
	return uacsta.SetAutoWorkModeResponse{}, nil
}
