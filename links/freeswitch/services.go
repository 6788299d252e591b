package freeswitch

import (
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/gate"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

var (
	errService    = uacsta.Refuse(uacsta.Operation, uacsta.ServiceNotSupported)
	errConnection = uacsta.Refuse(uacsta.Operation, uacsta.InvalidConnectionID)
	errBusy       = uacsta.Refuse(uacsta.SystemResourceAvailability, uacsta.ResourceBusy)
	errParameter  = uacsta.Refuse(uacsta.Operation, uacsta.InvalidParameterValue)
	errRights     = uacsta.Refuse(uacsta.Operation, uacsta.SecurityViolation)
	errState      = uacsta.Refuse(uacsta.StateIncompatibility, uacsta.InvalidConnectionState)
)

// Request implements proxy.Link.
func (l *Link) Request(req *uacsta.Message, reply func(*uacsta.Message, error)) {
	if !l.ready.Load() {
		reply(nil, proxy.Refusal(gate.ErrClosed))
		return
	}
	proxy.Perform(req, reply, func(service any, answer proxy.Answer) {
		r := request{service: service, answer: answer}
		for _, connection := range req.Connections() {
			r.calls = append(r.calls, connection.CallID())
		}
		l.inbox.Do(func() { l.inTurn(r) }, func(err error) { answer(nil, err) })
	})
}

// perform carries out a service. It calls answer before it reports events.
func (l *Link) perform(service any, answer proxy.Answer) {
	switch s := service.(type) {
	case *uacsta.MonitorStart:
		answer(l.watch.Start(s, l.isDevice))
	case *uacsta.MonitorStop:
		answer(l.watch.Stop(s))
	case *uacsta.SnapshotDevice:
		answer(l.snapshot(s.SnapshotObject.ID), nil)
	case *uacsta.SnapshotCall:
		answer(l.snapshotCall(s.SnapshotObject))
	case *uacsta.MakeCall:
		l.makeCall(s, answer)
	case *uacsta.AnswerCall:
		l.lift(s, answer)
	case *uacsta.ClearConnection:
		l.end(s, answer)
	case *uacsta.HoldCall:
		l.hold(s, answer)
	case *uacsta.RetrieveCall:
		l.retrieve(s, answer)
	case *uacsta.GenerateDigits:
		l.generate(s, answer)
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
	case *uacsta.MakePredictiveCall:
		l.predict(s, answer)
	case *uacsta.DirectedPickupCall:
		l.pickUp(s, answer)
	case *uacsta.GroupPickupCall:
		l.pickUpGroup(s, answer)
	case *uacsta.ParkCall:
		l.park(s, answer)
	case *uacsta.SingleStepConferenceCall:
		l.addParty(s, answer)
	case *uacsta.PlayMessage:
		l.play(s, answer)
	case *uacsta.RecordMessage:
		l.record(s, answer)
	case *uacsta.Stop:
		l.stop(s, answer)
	case *uacsta.GetDoNotDisturb:
		l.getDoNotDisturb(s, answer)
	case *uacsta.SetDoNotDisturb:
		l.setDoNotDisturb(s, answer)
	case *uacsta.GetForwarding:
		l.getForwarding(s, answer)
	case *uacsta.SetForwarding:
		l.setForwarding(s, answer)
	case *uacsta.GetMessageWaitingIndicator:
		answer(uacsta.GetMessageWaitingIndicatorResponse{MessageWaitingOn: l.waiting[s.Device.ID]}, nil)
	case *uacsta.SetMessageWaitingIndicator:
		l.setMessageWaiting(s, answer)
	default:
		answer(nil, errService)
	}
}

// generate implements Generate Digits (ECMA-269): the others in the call get the digits, as if the telephone's keys were
// pressed. Those of a queue go to the waiting caller.
func (l *Link) generate(s *uacsta.GenerateDigits, answer proxy.Answer) {
	sent := tones(s.CharactersToSend)
	if !sent.ok {
		answer(nil, uacsta.Refuse(uacsta.Operation, uacsta.CharactersToSendNotSupported))
		return
	}
	over, ch, err := l.hears(s.ConnectionToSendDigits)
	if err != nil {
		answer(nil, err)
		return
	}
	command := "uuid_recv_dtmf % %"
	if over.virtual {
		command = "uuid_send_dtmf % %"
	}
	if s.ToneDuration != nil && *s.ToneDuration > 0 {
		sent = form("%@%", sent, count(*s.ToneDuration))
	}
	l.order(api(command, word(ch.id), sent), answer, uacsta.GenerateDigitsResponse{})
}

// in returns the channel of a connection in one of the given states. Connections of queues and
// conferences match only if Queued is given.
func (l *Link) in(id uacsta.ConnectionID, states ...uacsta.LocalConnectionState) (*channel, error) {
	ch := l.find(id)
	if ch == nil {
		return nil, errConnection
	}
	if slices.Contains(states, ch.State) && (!ch.virtual || slices.Contains(states, uacsta.Queued)) {
		return ch, nil
	}
	return nil, errState
}

// order sends a command and answers with res when the reply arrives. Its events come after
// that.
func (l *Link) order(text instruction, answer proxy.Answer, res any) {
	l.query(text, func(_ string, err error) {
		switch {
		case errors.Is(err, errParameter), errors.Is(err, errRights):
		case err != nil:
			l.report(slog.LevelInfo, text.name(), "FreeSWITCH refused a command", "command", text.name(), "err", err)
			err = errBusy
		}
		answer(res, err)
	})
}

// query sends a command and passes its reply to done, with errParameter if the command could
// not be written, or errRights if the link may not send it.
func (l *Link) query(text instruction, done func(reply string, err error)) {
	if text.text == "" {
		done("", errParameter)
		return
	}
	if pair := text.connects; pair[0] != "" {
		l.bridges = append(l.bridges, bridge{pair, time.Now().Add(l.cfg.Timeout)})
		bridged := done
		done = func(reply string, err error) {
			if bridged(reply, err); err != nil {
				l.connected(pair[:]...)
			}
		}
	}
	deliver := l.inbox.Deliverer()
	if err := l.socket.send(text.text, func(reply string, err error) {
		deliver(func() {
			if errors.Is(err, errDenied) {
				l.report(slog.LevelWarn, text.name(), "FreeSWITCH does not let the link's user send a command: add it to esl-allowed-api", "command", text.name())
				err = errRights
			}
			done(reply, err)
		})
	}); err != nil {
		done("", err)
	}
}

// newID returns an identifier for a channel or job in FreeSWITCH's format.
func newID() string {
	var b [16]byte
	_, _ = rand.Read(b[:])
	b[6], b[8] = b[6]&0x0F|0x40, b[8]&0x3F|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// makeCall implements Make Call (ECMA-269). The calling telephone rings, then enters the
// dialplan.
func (l *Link) makeCall(s *uacsta.MakeCall, answer proxy.Answer) {
	from, to := s.CallingDevice.ID, s.CalledDirectoryNumber.ID
	switch {
	case !l.isDevice(from):
		answer(nil, uacsta.Refuse(uacsta.Operation, uacsta.InvalidCallingDeviceID))
		return
	case !words.MatchString(to):
		answer(nil, uacsta.Refuse(uacsta.Operation, uacsta.InvalidCalledDeviceID))
		return
	}
	id := newID()
	set, target := []part{form("origination_caller_id_number=%", word(to)), form(callingFor+"=%", l.device(from))}, l.extension(to, from)
	if s.AutoOriginate == uacsta.DoNotPrompt {
		set, target = append(set, variables(l.cfg.AutoAnswer)), l.afterwards("transfer", target)
	}
	c := newCall(id, from, to)
	l.originate(id, l.telephone(from), set, target, &awaited{call: c, device: from, prompts: true}, uacsta.MakeCallResponse{CallingDevice: uacsta.Conn(id, from)}, answer)
}

// showing returns the variable that makes a telephone that FreeSWITCH calls show a number, if a command can carry it.
func (l *Link) showing(number string) []part {
	user, _ := l.userOf(number)
	if !word(user).ok {
		return nil
	}
	return []part{form("origination_caller_id_number=%", word(user))}
}

// predict implements Make Predictive Call (ECMA-269). The called device rings first. When it answers, it joins
// the calling queue, or the calling telephone rings.
func (l *Link) predict(s *uacsta.MakePredictiveCall, answer proxy.Answer) {
	from, to := s.CallingDevice.ID, s.CalledDirectoryNumber.ID
	target := from
	if l.queues(from) {
		target = strings.TrimPrefix(from, l.cfg.QueuePrefix)
	}
	switch {
	case !words.MatchString(target) || !l.expects(from, target):
		answer(nil, uacsta.Refuse(uacsta.Operation, uacsta.InvalidCallingDeviceID))
		return
	case !l.isDevice(to):
		answer(nil, uacsta.Refuse(uacsta.Operation, uacsta.InvalidCalledDeviceID))
		return
	case s.SignallingDetection != nil || len(s.DestinationDetection) > 0:
		answer(nil, errParameter)
		return
	}
	id := newID()
	c := newCall(id, from, to)
	c.predicts = true
	l.originate(id, l.dial(to), []part{form(callingFor+"=%", word(from))}, l.extension(target, from), &awaited{call: c, device: to},
		uacsta.MakePredictiveCallResponse{InitiatedCall: uacsta.Conn(id, from)}, answer)
}

// expects reports whether a predictive call may be made for a device: a queue of the configuration, one in which
// calls wait, or a known telephone. Its number is dialled, and no other one may be: clients need rights to control the
// device only, not to dial.
func (l *Link) expects(device, number string) bool {
	if l.queues(device) {
		return l.cfg.Queues != nil && l.cfg.Queues(number) || l.parts[device] > 0
	}
	return l.telephones(device)
}

// placed is a variable of the channels of a call that a service places: its identifier. FreeSWITCH creates one
// channel for each registration of a device, so an identifier for the channel does not do.
const placed = "csta_call"

// originate makes FreeSWITCH dial a device and then run target. It answers when FreeSWITCH has
// accepted the command. If the device does not answer, the event depends on the purpose in
// made.
func (l *Link) originate(id string, dialled part, with []part, target part, made *awaited, res any, answer proxy.Answer) {
	if len(l.awaited) >= maxWaiting || made.call.full() {
		answer(nil, errBusy)
		return
	}
	made.until = time.Now().Add(l.cfg.RingTime + l.cfg.Timeout)
	l.awaited[id], l.calls[made.call.ID] = made, made.call
	set := form(placed+"=%", word(id))
	for _, v := range append(with, form("ignore_early_media=true,originate_timeout=%", count(int(l.cfg.RingTime.Seconds())))) {
		set = form("%,%", set, v)
	}
	l.order(background(id, form("originate {%}% %", set, dialled, target)), func(res any, err error) {
		if err != nil {
			l.forget(id)
		}
		answer(res, err)
	}, res)
}

// forget stops waiting for a call that a service placed.
func (l *Link) forget(id string) {
	if made := l.awaited[id]; made != nil {
		l.discard(made.call)
		delete(l.awaited, id)
	}
}

// outcome handles FreeSWITCH's result of placing a call. A channel that FreeSWITCH claims to have created
// may still arrive later. Once there is one, events report what becomes of it.
func (l *Link) outcome(id, result string) {
	made := l.awaited[id]
	reason, failed := strings.CutPrefix(result, "-ERR")
	if made == nil || made.done || !failed && !made.seen {
		return
	}
	made.done, made.until = true, time.Now()
	if made.seen {
		return
	}
	cause, known := causes[strings.TrimSpace(reason)]
	if !known {
		cause = uacsta.CauseDestOutOfOrder
	}
	if made.by != nil {
		l.unjoined(made.call, made.device, cause)
	} else {
		l.missed(made.call, made.device, cause)
	}
	l.discard(made.call)
	l.alone(made.call)
}

// missed reports that a device that a service called could not be reached. A predictive call fails at the
// device that it is made for.
func (l *Link) missed(c *call, device string, cause uacsta.EventCause) {
	if c.predicts {
		device = c.Calling
	}
	l.deliver(c.Missed(device, cause))
}

// expire does what is due: it fails calls without a result in time, and forgets those with one. A channel that arrives
// later starts a call of its own.
func (l *Link) expire(now time.Time) {
	l.expireBridges(now)
	l.inService(now)
	for id, made := range l.awaited {
		if !now.After(made.until) {
			continue
		}
		if !made.done {
			l.report(slog.LevelInfo, "", "FreeSWITCH did not report the result of a call in time", "call", id)
			l.outcome(id, "-ERR RECOVERY_ON_TIMER_EXPIRE")
		}
		l.forget(id)
	}
}

// telephone returns the dial string of a telephone in the directory.
func (l *Link) telephone(device string) part {
	user, domain := l.userOf(device)
	return form("user/%@%", word(user), word(domain))
}

// ownHeaders matches variables that FreeSWITCH sends as headers, and copies to the next channel.
var ownHeaders = regexp.MustCompile(`sip_h_[A-Za-z0-9_-]+`)

// afterwards returns an application for a channel that was made to answer by the variables of
// auto-answer. Before it the channel forgets the headers that did that: otherwise the telephone
// that it calls would answer by itself, too. FreeSWITCH makes Call-Info of sip_auto_answer.
func (l *Link) afterwards(application string, data part) part {
	unset := "unset:sip_h_Call-Info"
	for _, name := range ownHeaders.FindAllString(l.cfg.AutoAnswer, -1) {
		if !strings.Contains(unset, name) {
			unset += ",unset:" + name
		}
	}
	return form("'"+unset+","+application+":%' inline", data)
}

// context returns the dialplan context for a device: that of another domain has the name of the domain.
func (l *Link) context(device string) part {
	if _, domain, other := strings.Cut(device, "@"); other {
		return word(domain)
	}
	return word(l.cfg.Context)
}

// extension returns a transfer destination in the dialplan, where a device is.
func (l *Link) extension(number, device string) part {
	return form("% XML %", word(number), l.context(device))
}

// dial returns the dial string of a telephone, or of a device outside the directory.
func (l *Link) dial(number string) part {
	if _, known := l.devices[number]; !known && l.cfg.Outside != "" && word(number).ok {
		return configured(strings.ReplaceAll(l.cfg.Outside, "{number}", number))
	}
	return l.telephone(number)
}

// deflect implements Deflect Call (ECMA-269). It transfers the caller of a ringing call into
// the dialplan.
func (l *Link) deflect(s *uacsta.DeflectCall, answer proxy.Answer) {
	ch, err := l.in(s.CallToBeDiverted, uacsta.Alerting, uacsta.Queued, uacsta.Connected)
	if err == nil && ch.State == uacsta.Connected && ch != ch.call.queued() {
		err = errState
	}
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
	to := s.NewDestination[0].ID
	l.send(ch, to, api("uuid_transfer % %", word(ch.other().id), l.extension(to, ch.Device)), uacsta.CauseRedirected, answer, uacsta.DeflectCallResponse{})
}

// transfer implements Single Step Transfer Call (ECMA-269).
func (l *Link) transfer(s *uacsta.SingleStepTransferCall, answer proxy.Answer) {
	ch, err := l.in(s.ActiveCall, uacsta.Connected, uacsta.Queued)
	if err == nil && !words.MatchString(s.TransferredTo.ID) {
		err = uacsta.Refuse(uacsta.Operation, uacsta.InvalidDestination)
	}
	if err == nil && (ch.other() == nil || ch.other().apart || len(ch.call.Parties) != 2) {
		err = errState
	}
	if err != nil {
		answer(nil, err)
		return
	}
	to := s.TransferredTo.ID
	l.send(ch, to, l.elsewhere(ch, l.extension(to, ch.Device)), uacsta.CauseSingleStepTransfer, answer,
		uacsta.SingleStepTransferCallResponse{TransferredCall: uacsta.Conn(ch.call.ID, to)})
}

// elsewhere returns the command that transfers the other party of a call to an extension.
func (l *Link) elsewhere(ch *channel, to part) instruction {
	if ch.Inbound || ch.prompted() { // the other party is its B leg
		return api("uuid_transfer % -bleg %", word(ch.id), to)
	}
	return api("uuid_transfer % %", word(ch.other().id), to)
}

// send transfers a call from a device to another one. The end of its channel shows that a
// telephone left the call; a queue has no channel.
func (l *Link) send(ch *channel, to string, text instruction, cause uacsta.EventCause, answer proxy.Answer, res any) {
	c := ch.call
	if !ch.virtual {
		c.sending = &sending{ch, to, cause}
	}
	l.order(text, func(res any, err error) {
		answer(res, err)
		switch {
		case err != nil:
			c.sending = nil
		case ch.virtual && ch.State != uacsta.Null:
			l.sentOn(ch, to, cause)
		}
	}, res)
}

func (l *Link) snapshot(device string) any {
	list := &uacsta.SnapshotDeviceDataList{}
	for _, ch := range l.of(device) {
		if ch.MonitoredDevice() != device || ch.State == "" {
			continue
		}
		states := []uacsta.LocalConnectionState{ch.State}
		for _, o := range ch.call.Parties {
			if o != ch && o.State != "" {
				states = append(states, o.State)
			}
		}
		list.SnapshotDeviceResponseInfo = append(list.SnapshotDeviceResponseInfo, uacsta.SnapshotDeviceResponseInfo{
			ConnectionIdentifier: ch.connection(), LocalCallState: uacsta.CallState{CompoundCallState: states},
		})
	}
	return uacsta.SnapshotDeviceResponse{CrossRefIDorSnapshotData: uacsta.CrossRefIDorSnapshotDeviceData{SnapshotData: list}}
}

func (l *Link) snapshotCall(id uacsta.ConnectionID) (any, error) {
	own := l.find(id)
	if own == nil {
		return nil, errConnection
	}
	list := &uacsta.SnapshotCallDataList{}
	for _, ch := range own.call.Parties {
		if ch.State != "" {
			connection := ch.connection()
			list.SnapshotCallResponseInfo = append(list.SnapshotCallResponseInfo, uacsta.SnapshotCallResponseInfo{
				DeviceOnCall: uacsta.Ext(ch.Device), CallIdentifier: &connection, LocalConnectionInfo: ch.State,
			})
		}
	}
	return uacsta.SnapshotCallResponse{CrossRefIDorSnapshotData: uacsta.CrossRefIDorSnapshotCallData{SnapshotData: list}}, nil
}
