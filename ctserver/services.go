package ctserver

import (
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

var (
	// numbers are those that may be dialled: no hook flash among them.
	numbers = regexp.MustCompile(`^[0-9*#,]{1,64}$`)
	// fileNames are those that may be played: below the folders of ctserver.
	fileNames = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*$`)
)

// answerer takes the answer to a service: a struct, or a refusal.
type answerer func(res any, err error)

func refuse(category uacsta.Category, value string) error { return uacsta.Refuse(category, value) }

// perform carries out a service. Its answer comes before the events that it causes.
func (p *port) perform(service any, answer answerer) {
	switch s := service.(type) {
	case *uacsta.SnapshotDevice:
		answer(p.snapshot(), nil)
	case *uacsta.SnapshotCall:
		p.snapshotCall(s, answer)
	case *uacsta.MakeCall:
		p.makeCall(s, answer)
	case *uacsta.AnswerCall:
		p.answerCall(s, answer)
	case *uacsta.ClearConnection:
		p.clearConnection(s, answer)
	case *uacsta.HoldCall:
		p.flash(p.active, s.CallToBeHeld, p.link.cfg.Flash.Hold, p.held == nil, answer, uacsta.HoldCallResponse{}, func(c *call) {
			p.active, p.held = nil, c
			p.tellHeld(c, uacsta.CauseNormal)
		})
	case *uacsta.RetrieveCall:
		p.flash(p.held, s.CallToBeRetrieved, p.link.cfg.Flash.Retrieve, p.active == nil, answer, uacsta.RetrieveCallResponse{}, func(c *call) {
			p.active, p.held = c, nil
			p.tellRetrieved(c, uacsta.CauseNormal)
		})
	case *uacsta.AlternateCall:
		p.flash(p.active, s.ActiveCall, p.link.cfg.Flash.Alternate, p.held != nil && p.held == p.find(s.HeldCall), answer, uacsta.AlternateCallResponse{}, func(c *call) {
			p.active, p.held = p.held, c
			p.tellHeld(c, uacsta.CauseAlternate)
			p.tellRetrieved(p.active, uacsta.CauseAlternate)
		})
	case *uacsta.ReconnectCall:
		p.flash(p.active, s.ActiveCall, p.link.cfg.Flash.Reconnect, p.held != nil && p.held == p.find(s.HeldCall), answer, uacsta.ReconnectCallResponse{}, p.back)
	case *uacsta.ConsultationCall:
		p.consult(s, answer)
	case *uacsta.TransferCall:
		p.transfer(s, answer)
	case *uacsta.ConferenceCall:
		p.conference(s, answer)
	case *uacsta.GenerateDigits:
		p.generate(s, answer)
	case *uacsta.PlayMessage:
		p.play(s, answer)
	case *uacsta.RecordMessage:
		p.record(s, answer)
	case *uacsta.Stop:
		p.stopMessage(answer)
	default:
		answer(nil, errService)
	}
}

// failed is the refusal of what ctserver would not do.
func (p *port) failed(service string, err error) error {
	p.link.cfg.Log.Info("ctserver refuses", "device", p.cfg.Number, "service", service, "err", err)
	return refuse(uacsta.SystemResourceAvailability, uacsta.ResourceBusy)
}

// info is what a snapshot says of a call.
func (p *port) info(c *call) uacsta.SnapshotDeviceResponseInfo {
	states := []uacsta.LocalConnectionState{c.state}
	if c.other != "" && (c.incoming || c.reached) {
		states = append(states, uacsta.Connected)
	}
	return uacsta.SnapshotDeviceResponseInfo{ConnectionIdentifier: p.connection(c), LocalCallState: uacsta.CallState{CompoundCallState: states}}
}

func (p *port) snapshot() any {
	list := &uacsta.SnapshotDeviceDataList{}
	for _, c := range []*call{p.active, p.held} {
		if c != nil && (c.announced || !c.incoming) {
			list.SnapshotDeviceResponseInfo = append(list.SnapshotDeviceResponseInfo, p.info(c))
		}
	}
	return uacsta.SnapshotDeviceResponse{CrossRefIDorSnapshotData: uacsta.CrossRefIDorSnapshotDeviceData{SnapshotData: list}}
}

func (p *port) snapshotCall(s *uacsta.SnapshotCall, answer answerer) {
	c := p.find(s.SnapshotObject)
	if c == nil {
		answer(nil, refuse(uacsta.Operation, uacsta.InvalidCallID))
		return
	}
	own := p.connection(c)
	list := &uacsta.SnapshotCallDataList{SnapshotCallResponseInfo: []uacsta.SnapshotCallResponseInfo{{DeviceOnCall: uacsta.Ext(p.cfg.Number), CallIdentifier: &own, LocalConnectionInfo: c.state}}}
	if c.other != "" {
		far := c.far()
		list.SnapshotCallResponseInfo = append(list.SnapshotCallResponseInfo, uacsta.SnapshotCallResponseInfo{DeviceOnCall: uacsta.Ext(c.other), CallIdentifier: &far})
	}
	answer(uacsta.SnapshotCallResponse{CrossRefIDorSnapshotData: uacsta.CrossRefIDorSnapshotCallData{SnapshotData: list}}, nil)
}

// dialTime is how long dialling may take.
func (p *port) dialTime(digits string) time.Duration {
	return p.link.cfg.Timeout + time.Duration(len(digits)+4*strings.Count(digits, ","))*250*time.Millisecond
}

func (p *port) makeCall(s *uacsta.MakeCall, answer answerer) {
	number := s.CalledDirectoryNumber.ID
	switch {
	case !numbers.MatchString(number):
		answer(nil, refuse(uacsta.Operation, uacsta.InvalidCalledDeviceID))
		return
	case p.active != nil || p.held != nil:
		answer(nil, refuse(uacsta.StateIncompatibility, uacsta.InvalidCallingDeviceState))
		return
	}
	c := &call{id: p.link.newCall(), other: number, state: uacsta.Initiated}
	p.active = c
	p.command("ctanswer", p.link.cfg.Timeout, func(_ *line, err error) {
		if err != nil {
			p.forget(c)
			answer(nil, p.failed("MakeCall", err))
			return
		}
		answer(uacsta.MakeCallResponse{CallingDevice: p.connection(c)}, nil)
		p.initiated(c, uacsta.CauseMakeCall)
		p.command("ctwaitfordial", p.link.cfg.Timeout+10*time.Second, func(_ *line, err error) {
			switch {
			case !p.has(c): // cleared meanwhile
			case err != nil:
				p.fail(c, uacsta.CauseResourcesNotAvailable)
			default:
				p.dial(c, number, uacsta.CauseNewCall)
			}
		})
	})
}

func (p *port) initiated(c *call, cause uacsta.EventCause) {
	p.tell(func(ref string) any {
		return uacsta.ServiceInitiatedEvent{
			MonitorCrossRefID: ref, InitiatedConnection: p.connection(c), InitiatingDevice: uacsta.Ext(p.cfg.Number), LocalConnectionInfo: uacsta.Initiated, Cause: cause,
		}
	})
}

// dial dials the number of a call.
func (p *port) dial(c *call, number string, cause uacsta.EventCause) {
	p.command("ctdial", p.dialTime(number), func(_ *line, err error) {
		switch {
		case !p.has(c):
		case err != nil:
			p.fail(c, uacsta.CauseDestNotObtainable)
		default:
			p.dialled(c, cause)
		}
	}, number)
}

// dialled tells what can be known of a call that was dialled: that it has left.
func (p *port) dialled(c *call, cause uacsta.EventCause) {
	c.state = uacsta.Connected
	own, other := uacsta.Ext(p.cfg.Number), uacsta.Ext(c.other)
	p.tell(func(ref string) any {
		return uacsta.OriginatedEvent{
			MonitorCrossRefID: ref, OriginatedConnection: p.connection(c), CallingDevice: own, CalledDevice: other, LocalConnectionInfo: uacsta.Connected, Cause: cause,
		}
	})
	p.tell(func(ref string) any {
		return uacsta.NetworkReachedEvent{
			MonitorCrossRefID: ref, OutboundConnection: c.far(), NetworkInterfaceUsed: own, CallingDevice: own, CalledDevice: other,
			LocalConnectionInfo: uacsta.Connected, Cause: cause,
		}
	})
	c.timer = time.AfterFunc(p.link.cfg.AnswerTime, func() {
		p.post(func() {
			if p.active == c {
				p.reached()
			}
		})
	})
}

// fail ends a call that did not come about.
func (p *port) fail(c *call, cause uacsta.EventCause) {
	p.tell(func(ref string) any {
		return uacsta.FailedEvent{
			MonitorCrossRefID: ref, FailedConnection: p.connection(c), FailingDevice: uacsta.Ext(p.cfg.Number), CallingDevice: uacsta.Ext(p.cfg.Number),
			CalledDevice: uacsta.Ext(c.other), LocalConnectionInfo: uacsta.Fail, Cause: cause,
		}
	})
	p.cleared(c, uacsta.CauseNormalClearing)
	p.command("cthangup", p.link.cfg.Timeout, func(*line, error) {})
}

func (p *port) answerCall(s *uacsta.AnswerCall, answer answerer) {
	c := p.find(s.CallToBeAnswered)
	if c == nil || c.state != uacsta.Alerting {
		answer(nil, refuse(uacsta.StateIncompatibility, uacsta.NoCallToAnswer))
		return
	}
	p.command("ctanswer", p.link.cfg.Timeout, func(_ *line, err error) {
		if err == nil && !p.has(c) {
			err = errClosed
		}
		if err != nil {
			answer(nil, p.failed("AnswerCall", err))
			return
		}
		answer(uacsta.AnswerCallResponse{}, nil)
		p.announce(c, "") // the caller ID does not come any more
		c.stop()
		c.state, c.reached = uacsta.Connected, true
		p.tell(func(ref string) any {
			return uacsta.EstablishedEvent{
				MonitorCrossRefID: ref, EstablishedConnection: p.connection(c), AnsweringDevice: uacsta.Ext(p.cfg.Number), CallingDevice: uacsta.Ext(c.other),
				CalledDevice: uacsta.Ext(p.cfg.Number), LocalConnectionInfo: uacsta.Connected, Cause: uacsta.CauseNewCall,
			}
		})
	})
}

// clearConnection hangs up; beside a held call, which would go with it, it goes back to that.
func (p *port) clearConnection(s *uacsta.ClearConnection, answer answerer) {
	c := p.find(s.ConnectionToBeCleared)
	switch {
	case c == nil:
		answer(nil, refuse(uacsta.StateIncompatibility, uacsta.NoConnectionToClear))
	case c == p.held && p.active != nil, c.state == uacsta.Alerting: // a line has no way to say it
		answer(nil, refuse(uacsta.StateIncompatibility, uacsta.InvalidConnectionState))
	case p.held != nil && c == p.active:
		p.flash(c, s.ConnectionToBeCleared, p.link.cfg.Flash.Reconnect, true, answer, uacsta.ClearConnectionResponse{}, p.back)
	default:
		p.endRecording()
		p.command("cthangup", p.link.cfg.Timeout, func(_ *line, err error) {
			if err != nil {
				answer(nil, p.failed("ClearConnection", err))
				return
			}
			answer(uacsta.ClearConnectionResponse{}, nil)
			if p.has(c) {
				p.cleared(c, uacsta.CauseNormalClearing)
			}
		})
	}
}

// back is the line after it went from the active call back to the held one.
func (p *port) back(c *call) {
	held := p.held
	p.cleared(c, uacsta.CauseNormalClearing)
	p.active, p.held = held, nil
	p.tellRetrieved(held, uacsta.CauseNormal)
}

// flash has the switch behind the line do something with a call, by what is dialled for it.
func (p *port) flash(c *call, id uacsta.ConnectionID, code string, allowed bool, answer answerer, res any, then func(*call)) {
	if c == nil || p.find(id) != c || !allowed || c.state != uacsta.Connected && c.state != uacsta.Hold {
		answer(nil, refuse(uacsta.StateIncompatibility, uacsta.InvalidConnectionState))
		return
	}
	p.command("ctdial", p.dialTime(code), func(_ *line, err error) {
		if err == nil && !p.has(c) {
			err = errClosed
		}
		if err != nil {
			answer(nil, p.failed("a hook flash", err))
			return
		}
		answer(res, nil)
		then(c)
	}, code)
}

func (p *port) tellHeld(c *call, cause uacsta.EventCause) {
	c.state = uacsta.Hold
	p.tell(func(ref string) any {
		return uacsta.HeldEvent{MonitorCrossRefID: ref, HeldConnection: p.connection(c), HoldingDevice: uacsta.Ext(p.cfg.Number), LocalConnectionInfo: uacsta.Hold, Cause: cause}
	})
}

func (p *port) tellRetrieved(c *call, cause uacsta.EventCause) {
	c.state = uacsta.Connected
	p.tell(func(ref string) any {
		return uacsta.RetrievedEvent{
			MonitorCrossRefID: ref, RetrievedConnection: p.connection(c), RetrievingDevice: uacsta.Ext(p.cfg.Number), LocalConnectionInfo: uacsta.Connected, Cause: cause,
		}
	})
}

func (p *port) consult(s *uacsta.ConsultationCall, answer answerer) {
	number := s.ConsultedDevice.ID
	if !numbers.MatchString(number) {
		answer(nil, refuse(uacsta.Operation, uacsta.InvalidCalledDeviceID))
		return
	}
	n := &call{id: p.link.newCall(), other: number, state: uacsta.Initiated}
	res := uacsta.ConsultationCallResponse{InitiatedCall: p.connection(n)}
	p.flash(p.active, s.ExistingCall, p.link.cfg.Flash.Consult+number, p.held == nil, answer, res, func(c *call) {
		p.active, p.held = n, c
		p.tellHeld(c, uacsta.CauseConsultation)
		p.initiated(n, uacsta.CauseConsultation)
		p.dialled(n, uacsta.CauseConsultation)
	})
}

// both reports whether two connections are the held call of the port and its active one.
func (p *port) both(held, active uacsta.ConnectionID) bool {
	return p.held != nil && p.active != nil && p.find(held) == p.held && p.find(active) == p.active && held.CallID != active.CallID
}

// transfer leaves the held call and the active one to each other: the port hangs up.
func (p *port) transfer(s *uacsta.TransferCall, answer answerer) {
	if !p.both(s.HeldCall, s.ActiveCall) {
		answer(nil, refuse(uacsta.StateIncompatibility, uacsta.InvalidConnectionState))
		return
	}
	held, active := p.held, p.active
	p.command("cthangup", p.link.cfg.Timeout, func(_ *line, err error) {
		if err != nil {
			answer(nil, p.failed("TransferCall", err))
			return
		}
		to := uacsta.Conn(held.id, active.other)
		answer(uacsta.TransferCallResponse{TransferredCall: to}, nil)
		p.forget(held)
		p.forget(active)
		far, old, consulted := held.far(), p.connection(held), p.connection(active)
		p.tell(func(ref string) any {
			return uacsta.TransferedEvent{
				MonitorCrossRefID: ref, PrimaryOldCall: old, SecondaryOldCall: &consulted, TransferringDevice: uacsta.Ext(p.cfg.Number), TransferredToDevice: uacsta.Ext(active.other),
				TransferredConnections: []uacsta.ConnectionListItem{{NewConnection: &far, OldConnection: &far}, {NewConnection: &to}},
				LocalConnectionInfo:    uacsta.Null, Cause: uacsta.CauseTransfer,
			}
		})
	})
}

// conference joins the calls of two ports, or has the switch behind the line join the two calls
// of one.
func (p *port) conference(s *uacsta.ConferenceCall, answer answerer) {
	other := p.link.ports[s.HeldCall.DeviceID.ID]
	switch {
	case other == nil:
		answer(nil, refuse(uacsta.Operation, uacsta.InvalidHeldConnectionID))
	case other == p:
		held := p.held
		p.flash(p.active, s.ActiveCall, p.link.cfg.Flash.Conference, p.both(s.HeldCall, s.ActiveCall), answer, uacsta.ConferenceCallResponse{ConferenceCall: s.ActiveCall}, func(c *call) {
			p.forget(held)
			c.third = held.other
			p.conferenced(c.id, p.connection(held), held.other)
		})
	case p.active == nil || p.find(s.ActiveCall) != p.active || p.active.state != uacsta.Connected:
		answer(nil, refuse(uacsta.StateIncompatibility, uacsta.InvalidActiveConnectionState))
	case p.address(p.link.cfg.Address) != other.address(p.link.cfg.Address):
		answer(nil, refuse(uacsta.Operation, uacsta.RequestIncompatibleWithDevice)) // they are on different machines
	default:
		c := p.active
		p.command("ctjoin", p.link.cfg.Timeout, func(_ *line, err error) {
			if err != nil {
				answer(nil, p.failed("ConferenceCall", err))
				return
			}
			answer(uacsta.ConferenceCallResponse{ConferenceCall: p.connection(c)}, nil)
			p.conferenced(c.id, s.HeldCall, other.cfg.Number)
			other.post(func() { other.joined(c.id, p.cfg.Number) })
		}, strconv.Itoa(p.cfg.Port), strconv.Itoa(other.cfg.Port))
	}
}

// joined: another port's call was joined with that of this one.
func (p *port) joined(id, with string) {
	if p.active == nil {
		return
	}
	old := p.connection(p.active)
	p.active.id = id
	p.conferenced(id, old, with)
}

// conferenced tells that the port's call is a conference now.
func (p *port) conferenced(id string, old uacsta.ConnectionID, added string) {
	own, party := uacsta.Conn(id, p.cfg.Number), uacsta.Conn(id, added)
	p.tell(func(ref string) any {
		return uacsta.ConferencedEvent{
			MonitorCrossRefID: ref, PrimaryOldCall: old, ConferencingDevice: uacsta.Ext(p.cfg.Number), AddedParty: uacsta.Ext(added),
			ConferenceConnections: []uacsta.ConnectionListItem{{NewConnection: &own}, {NewConnection: &party}},
			LocalConnectionInfo:   uacsta.Connected, Cause: uacsta.CauseConference,
		}
	})
}

// talking finds the call that something is to be said in.
func (p *port) talking(id uacsta.ConnectionID) bool {
	return p.active != nil && p.find(id) == p.active && p.active.state == uacsta.Connected
}

func (p *port) generate(s *uacsta.GenerateDigits, answer answerer) {
	switch {
	case !p.talking(s.ConnectionToSendDigits):
		answer(nil, refuse(uacsta.StateIncompatibility, uacsta.InvalidConnectionState))
	case !numbers.MatchString(s.CharactersToSend):
		answer(nil, refuse(uacsta.Operation, uacsta.CharactersToSendNotSupported))
	default:
		p.command("ctdial", p.dialTime(s.CharactersToSend), func(_ *line, err error) {
			if err != nil {
				answer(nil, p.failed("GenerateDigits", err))
				return
			}
			answer(uacsta.GenerateDigitsResponse{}, nil)
		}, s.CharactersToSend)
	}
}

func (p *port) play(s *uacsta.PlayMessage, answer answerer) {
	switch {
	case !p.talking(s.OverConnection) || p.playing != "" || p.recording != "":
		answer(nil, refuse(uacsta.StateIncompatibility, uacsta.InvalidConnectionState))
		return
	case !fileNames.MatchString(s.MessageToBePlayed):
		answer(nil, refuse(uacsta.Operation, uacsta.InvalidMsgID))
		return
	}
	file := s.MessageToBePlayed
	if !strings.Contains(file, ".") {
		file += ".au"
	}
	p.command("ctplayasync", p.link.cfg.Timeout, func(_ *line, err error) {
		if err != nil {
			answer(nil, refuse(uacsta.Operation, uacsta.InvalidMsgID))
			return
		}
		answer(uacsta.PlayMessageResponse{}, nil)
		p.playing = s.MessageToBePlayed
		p.tell(func(ref string) any {
			return uacsta.PlayEvent{MonitorCrossRefID: ref, Connection: s.OverConnection, Message: s.MessageToBePlayed, Cause: uacsta.CauseNormal}
		})
	}, file)
}

// longestRecording is how long a recording lasts that has no end.
const longestRecording = time.Hour

func (p *port) record(s *uacsta.RecordMessage, answer answerer) {
	if !p.talking(s.CallToBeRecorded) || p.playing != "" || p.recording != "" {
		answer(nil, refuse(uacsta.StateIncompatibility, uacsta.InvalidConnectionState))
		return
	}
	name := "recording-" + p.active.id + ".au"
	longest, digits := longestRecording, ""
	if s.MaxDuration != nil && *s.MaxDuration > 0 {
		longest = min(longest, time.Duration(*s.MaxDuration)*time.Millisecond)
	}
	if s.Termination != nil && s.Termination.DTMFDigitDetected {
		digits = "0123456789*#"
	}
	p.recording = name
	answer(uacsta.RecordMessageResponse{ResultingMessage: name}, nil) // ctserver answers when it has ended
	p.tell(func(ref string) any {
		return uacsta.RecordEvent{MonitorCrossRefID: ref, Connection: s.CallToBeRecorded, Message: name, Cause: uacsta.CauseNormal}
	})
	p.command("ctrecord", longest+p.link.cfg.Timeout, func(*line, error) {
		p.recording = ""
		p.stopped(name, uacsta.CauseNormal)
	}, name, strconv.Itoa(int((longest+time.Second-1)/time.Second)), digits, "0")
}

// stopMessage stops what is played, or recorded.
func (p *port) stopMessage(answer answerer) {
	switch {
	case p.recording != "":
		if !p.endRecording() {
			answer(nil, refuse(uacsta.SystemResourceAvailability, uacsta.ResourceOutOfService))
			return
		}
		answer(uacsta.StopResponse{}, nil)
	case p.playing == "":
		answer(nil, refuse(uacsta.StateIncompatibility, uacsta.InvalidConnectionState))
	default:
		p.command("ctplay_stop", p.link.cfg.Timeout, func(_ *line, err error) {
			if err != nil {
				answer(nil, p.failed("Stop", err))
				return
			}
			answer(uacsta.StopResponse{}, nil)
			if p.playing != "" {
				p.played(uacsta.CauseNormal)
			}
		})
	}
}

// endRecording ends a recording: over the manager connection, for the port's own waits for its
// end. False when there is none.
func (p *port) endRecording() bool {
	if p.recording == "" {
		return true
	}
	p.link.mu.Lock()
	w := p.link.manager
	p.link.mu.Unlock()
	if w == nil {
		return false
	}
	return w.sendTo(p.cfg.Port-1, "ctsendevent", p.link.cfg.Timeout, func(*line, error) {}, "RECORD_STOP") == nil
}
