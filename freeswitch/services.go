package freeswitch

import (
	"crypto/rand"
	"fmt"
	"regexp"
	"strings"

	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// digits are what may be sent as tones.
var digits = regexp.MustCompile(`^[0-9*#A-D]{1,64}$`)

var (
	errService    = uacsta.Refuse(uacsta.Operation, uacsta.ServiceNotSupported)
	errConnection = uacsta.Refuse(uacsta.Operation, uacsta.InvalidConnectionID)
	errState      = uacsta.Refuse(uacsta.StateIncompatibility, uacsta.InvalidConnectionState)
)

// Request implements proxy.Link.
func (l *Link) Request(req *uacsta.Message, reply func(*uacsta.Message, error)) {
	proxy.Perform(req, reply, func(service any, answer proxy.Answer) {
		l.inbox.Do(func() { l.perform(service, answer) }, func(err error) { answer(nil, err) })
	})
}

// perform carries out a service. Its answer comes before the events that it causes.
func (l *Link) perform(service any, answer proxy.Answer) {
	switch s := service.(type) {
	case *uacsta.MonitorStart:
		answer(l.watch.Start(s, words.MatchString))
	case *uacsta.MonitorStop:
		answer(l.watch.Stop(s))
	case *uacsta.SnapshotDevice:
		answer(l.snapshot(s.SnapshotObject.ID), nil)
	case *uacsta.SnapshotCall:
		answer(l.snapshotCall(s.SnapshotObject.CallID))
	case *uacsta.MakeCall:
		l.makeCall(s, answer)
	case *uacsta.AnswerCall:
		l.on(s.CallToBeAnswered, answer, uacsta.AnswerCallResponse{}, "api uuid_phone_event %s talk", uacsta.Alerting)
	case *uacsta.ClearConnection:
		l.on(s.ConnectionToBeCleared, answer, uacsta.ClearConnectionResponse{}, "api uuid_kill %s NORMAL_CLEARING", uacsta.Initiated, uacsta.Alerting, uacsta.Connected, uacsta.Hold)
	case *uacsta.HoldCall:
		l.on(s.CallToBeHeld, answer, uacsta.HoldCallResponse{}, "api uuid_hold %s", uacsta.Connected)
	case *uacsta.RetrieveCall:
		l.on(s.CallToBeRetrieved, answer, uacsta.RetrieveCallResponse{}, "api uuid_hold off %s", uacsta.Hold)
	case *uacsta.GenerateDigits:
		if !digits.MatchString(s.CharactersToSend) {
			answer(nil, uacsta.Refuse(uacsta.Operation, uacsta.CharactersToSendNotSupported))
			return
		}
		tones := s.CharactersToSend
		if s.ToneDuration != nil && *s.ToneDuration > 0 {
			tones += fmt.Sprintf("@%d", *s.ToneDuration)
		}
		l.on(s.ConnectionToSendDigits, answer, uacsta.GenerateDigitsResponse{}, "api uuid_send_dtmf %s "+tones, uacsta.Connected)
	case *uacsta.DeflectCall:
		l.deflect(s, answer)
	case *uacsta.SingleStepTransferCall:
		l.transfer(s, answer)
	case *uacsta.ConsultationCall:
		l.consult(s, answer)
	case *uacsta.AlternateCall:
		l.alternate(s, answer)
	case *uacsta.ReconnectCall:
		l.reconnect(s, answer)
	case *uacsta.TransferCall:
		l.transferCall(s, answer)
	case *uacsta.ConferenceCall:
		l.conference(s, answer)
	default:
		answer(nil, errService)
	}
}

// on has FreeSWITCH do something with the channel of a connection, which must be in one of some
// states.
func (l *Link) on(id uacsta.ConnectionID, answer proxy.Answer, res any, text string, states ...uacsta.LocalConnectionState) {
	ch, err := l.in(id, states...)
	if err != nil {
		answer(nil, err)
		return
	}
	l.order(fmt.Sprintf(text, ch.id), answer, res)
}

// in finds the channel of a connection that is in one of some states.
func (l *Link) in(id uacsta.ConnectionID, states ...uacsta.LocalConnectionState) (*channel, error) {
	ch := l.find(id)
	if ch == nil {
		return nil, errConnection
	}
	for _, state := range states {
		if ch.state == state {
			return ch, nil
		}
	}
	return nil, errState
}

// order sends a command and answers by its reply. Its events come later, by the same way.
func (l *Link) order(text string, answer proxy.Answer, res any) {
	deliver := l.inbox.Deliverer()
	err := l.socket.send(text, func(_ string, err error) {
		deliver(func() {
			if err != nil {
				l.cfg.Log.Info("a command that is refused", "command", strings.SplitN(text, " ", 3)[1], "err", err)
				err = uacsta.Refuse(uacsta.SystemResourceAvailability, uacsta.ResourceBusy)
			}
			answer(res, err)
		})
	})
	if err != nil {
		answer(nil, err)
	}
}

// newID makes an identifier of a channel or a job, as FreeSWITCH makes them.
func newID() string {
	var b [16]byte
	_, _ = rand.Read(b[:])
	b[6], b[8] = b[6]&0x0F|0x40, b[8]&0x3F|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// makeCall has the calling telephone ring, and then sends it into the dialplan.
func (l *Link) makeCall(s *uacsta.MakeCall, answer proxy.Answer) {
	from, to := s.CallingDevice.ID, s.CalledDirectoryNumber.ID
	switch {
	case !words.MatchString(from):
		answer(nil, uacsta.Refuse(uacsta.Operation, uacsta.InvalidCallingDeviceID))
		return
	case !words.MatchString(to):
		answer(nil, uacsta.Refuse(uacsta.Operation, uacsta.InvalidCalledDeviceID))
		return
	}
	if len(l.jobs) >= maxWaiting {
		answer(nil, uacsta.Refuse(uacsta.SystemResourceAvailability, uacsta.ResourceBusy))
		return
	}
	id, job := newID(), newID()
	variables := fmt.Sprintf("origination_uuid=%s,origination_caller_id_number=%s,ignore_early_media=true,originate_timeout=%d", id, to, int(l.cfg.RingTime.Seconds()))
	if s.AutoOriginate == uacsta.DoNotPrompt {
		variables += "," + l.cfg.AutoAnswer
	}
	c := &call{id: id, calling: from, called: to, prompted: id}
	l.calls[id] = c
	l.jobs[job] = func(result string) {
		if why, refused := strings.CutPrefix(result, "-ERR"); refused && len(c.channels) == 0 { // it never rang
			delete(l.calls, id)
			l.unreached(c, strings.TrimSpace(why))
		}
	}
	l.order(fmt.Sprintf("bgapi originate {%s}user/%s@%s %s XML %s\nJob-UUID: %s", variables, from, l.cfg.Domain, to, l.cfg.Context, job), func(res any, err error) {
		if err != nil {
			delete(l.calls, id)
			delete(l.jobs, job)
		}
		answer(res, err)
	}, uacsta.MakeCallResponse{CallingDevice: uacsta.Conn(id, from)})
}

// deflect sends a call that rings somewhere else: its caller is sent into the dialplan again.
func (l *Link) deflect(s *uacsta.DeflectCall, answer proxy.Answer) {
	ch, err := l.in(s.CallToBeDiverted, uacsta.Alerting)
	if err == nil && (len(s.NewDestination) != 1 || !words.MatchString(s.NewDestination[0].ID)) {
		err = uacsta.Refuse(uacsta.Operation, uacsta.InvalidDestination)
	}
	if err == nil && ch.other() == nil {
		err = errState
	}
	if err != nil {
		answer(nil, err)
		return
	}
	l.send(ch, s.NewDestination[0].ID, fmt.Sprintf("api uuid_transfer %s %s XML %s", ch.other().id, s.NewDestination[0].ID, l.cfg.Context), answer, uacsta.DeflectCallResponse{})
}

// transfer sends the other party of a call somewhere else.
func (l *Link) transfer(s *uacsta.SingleStepTransferCall, answer proxy.Answer) {
	ch, err := l.in(s.ActiveCall, uacsta.Connected)
	if err == nil && !words.MatchString(s.TransferredTo.ID) {
		err = uacsta.Refuse(uacsta.Operation, uacsta.InvalidDestination)
	}
	if err == nil && (ch.other() == nil || len(ch.call.channels) != 2) {
		err = errState
	}
	if err != nil {
		answer(nil, err)
		return
	}
	to := s.TransferredTo.ID
	text := fmt.Sprintf("api uuid_transfer %s %s XML %s", ch.other().id, to, l.cfg.Context)
	if ch.inbound || ch.call.prompted == ch.id { // the other one is its B leg
		text = fmt.Sprintf("api uuid_transfer %s -bleg %s XML %s", ch.id, to, l.cfg.Context)
	}
	l.send(ch, to, text, answer, uacsta.SingleStepTransferCallResponse{TransferredCall: uacsta.Conn(ch.call.id, to)})
}

// send has a call sent from a device to another one.
func (l *Link) send(ch *channel, to, text string, answer proxy.Answer, res any) {
	ch.call.sending = &sending{ch, to}
	c := ch.call
	l.order(text, func(res any, err error) {
		if err != nil {
			c.sending = nil
		}
		answer(res, err)
	}, res)
}

func (l *Link) snapshot(device string) any {
	list := &uacsta.SnapshotDeviceDataList{}
	for _, c := range l.calls {
		for _, ch := range c.channels {
			if ch.number != device || ch.state == "" {
				continue
			}
			states := []uacsta.LocalConnectionState{ch.state}
			for _, o := range c.channels {
				if o != ch && o.state != "" {
					states = append(states, o.state)
				}
			}
			list.SnapshotDeviceResponseInfo = append(list.SnapshotDeviceResponseInfo, uacsta.SnapshotDeviceResponseInfo{
				ConnectionIdentifier: ch.connection(), LocalCallState: uacsta.CallState{CompoundCallState: states},
			})
		}
	}
	return uacsta.SnapshotDeviceResponse{CrossRefIDorSnapshotData: uacsta.CrossRefIDorSnapshotDeviceData{SnapshotData: list}}
}

func (l *Link) snapshotCall(id string) (any, error) {
	c := l.calls[id]
	if c == nil {
		return nil, uacsta.Refuse(uacsta.Operation, uacsta.InvalidCallID)
	}
	list := &uacsta.SnapshotCallDataList{}
	for _, ch := range c.channels {
		if ch.state != "" {
			connection := ch.connection()
			list.SnapshotCallResponseInfo = append(list.SnapshotCallResponseInfo, uacsta.SnapshotCallResponseInfo{
				DeviceOnCall: uacsta.Ext(ch.number), CallIdentifier: &connection, LocalConnectionInfo: ch.state,
			})
		}
	}
	return uacsta.SnapshotCallResponse{CrossRefIDorSnapshotData: uacsta.CrossRefIDorSnapshotCallData{SnapshotData: list}}, nil
}
