package freeswitch

import (
	"slices"
	"strings"
	"time"

	"github.com/tr87proxy/tr87proxy/proxy/callmodel"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// causes maps hang-up causes (Q.850 and FreeSWITCH's own) to those of CSTA.
var causes = map[string]uacsta.EventCause{
	"NORMAL_CLEARING": uacsta.CauseNormalClearing, "SUCCESS": uacsta.CauseNormalClearing, "NONE": uacsta.CauseNormalClearing, "NORMAL_UNSPECIFIED": uacsta.CauseNormalClearing,
	"MANAGER_REQUEST": uacsta.CauseNormalClearing, "ALLOTTED_TIMEOUT": uacsta.CauseTimeout, "MEDIA_TIMEOUT": uacsta.CauseTimeout, "RECOVERY_ON_TIMER_EXPIRE": uacsta.CauseTimeout,
	"SYSTEM_SHUTDOWN": uacsta.CauseSwitchingFunctionTerminated, "ORIGINATOR_CANCEL": uacsta.CauseCallCancelled, "LOSE_RACE": uacsta.CauseMultipleAlerting,
	"PICKED_OFF": uacsta.CauseCallPickup, "ATTENDED_TRANSFER": uacsta.CauseTransfer, "BLIND_TRANSFER": uacsta.CauseSingleStepTransfer,
	"USER_BUSY": uacsta.CauseBusy, "CALL_REJECTED": uacsta.CauseBusy, "NO_ANSWER": uacsta.CauseCallNotAnswered, "NO_USER_RESPONSE": uacsta.CauseCallNotAnswered,
	"ORIGINATOR_TIMEOUT": uacsta.CauseCallNotAnswered, "PROGRESS_TIMEOUT": uacsta.CauseCallNotAnswered,
	"UNALLOCATED_NUMBER": uacsta.CauseNumberUnallocated, "NUMBER_CHANGED": uacsta.CauseNumberChanged, "INVALID_NUMBER_FORMAT": uacsta.CauseInvalidNumberFormat,
	"NO_ROUTE_DESTINATION": uacsta.CauseDestNotObtainable, "NO_ROUTE_TRANSIT_NET": uacsta.CauseNetworkNotObtainable, "SUBSCRIBER_ABSENT": uacsta.CauseDestNotObtainable,
	"USER_NOT_REGISTERED": uacsta.CauseDestOutOfOrder, "DESTINATION_OUT_OF_ORDER": uacsta.CauseDestOutOfOrder, "GATEWAY_DOWN": uacsta.CauseNetworkOutOfOrder,
	"NETWORK_OUT_OF_ORDER": uacsta.CauseNetworkOutOfOrder, "NORMAL_CIRCUIT_CONGESTION": uacsta.CauseTrunksBusy, "SWITCH_CONGESTION": uacsta.CauseNetworkCongestion,
	"REQUESTED_CHAN_UNAVAIL": uacsta.CauseTrunksBusy, "INCOMPATIBLE_DESTINATION": uacsta.CauseIncompatibleDestination, "BEARERCAPABILITY_NOTAVAIL": uacsta.CauseNotAvailableBearerService,
	"OUTGOING_CALL_BARRED": uacsta.CauseDestNotObtainable, "INCOMING_CALL_BARRED": uacsta.CauseDestNotObtainable, "DO_NOT_DISTURB": uacsta.CauseDoNotDisturb,
	"NORMAL_TEMPORARY_FAILURE": uacsta.CauseResourcesNotAvailable,
}

func causeOf(e event) uacsta.EventCause {
	if cause, ok := causes[e.get("Hangup-Cause")]; ok {
		return cause
	}
	return uacsta.CauseNormal
}

// act handles an event whose meaning is known.
func (l *Link) act(e event) {
	id := e.get("Unique-ID")
	ch := l.channels[id]
	switch name := e.get("Event-Name"); {
	case e.get("variable_loopback_leg") != "" && e.get("variable_csta_call") == "":
		l.loopback(e)
	case name == "CHANNEL_CREATE":
		l.created(e)
	case name == "BACKGROUND_JOB":
		l.outcome(e.get("Job-UUID"), e.body)
	case name == "CUSTOM":
		l.custom(e)
	case name == "CHANNEL_BRIDGE":
		l.bridged(e)
		l.connected(e.channels()...)
	case name == "PHONE_FEATURE_SUBSCRIBE":
		l.featureKey(e)
	case name == "MESSAGE_WAITING":
		l.messageWaiting(e)
	case ch == nil || ch.virtual: // the channel is unknown: it ended, or it began before the link
	case name == "CHANNEL_PROGRESS", name == "CHANNEL_PROGRESS_MEDIA":
		l.rings(ch)
	case name == "CHANNEL_ANSWER" && (ch.id == id || ch.calls()):
		l.lead(ch, id)
		l.answered(ch, e.get("Caller-Destination-Number"))
	case name == "CHANNEL_HANGUP" && (ch.id != id || ch.calls() && e.get("Hangup-Cause") != "PICKED_OFF" || e.get("Hangup-Cause") == "LOSE_RACE") && l.leave(ch, id):
	case ch.id != id: // it has lost the call to another telephone of the device
	case strings.HasPrefix(name, "PLAYBACK_"), strings.HasPrefix(name, "RECORD_"), name == "CHANNEL_EXECUTE_COMPLETE":
		l.voice(ch, e)
	case name == "CHANNEL_HOLD":
		l.deliver(ch.call.Hold(ch, uacsta.CauseNormal)...)
	case name == "CHANNEL_UNHOLD" && !l.ends(id):
		if ch.holds = false; !ch.call.joining {
			l.deliver(ch.call.Retrieve(ch, uacsta.CauseNormal)...)
		}
	case name == "CHANNEL_PARK":
		l.parked(ch, e)
	case name == "CHANNEL_HANGUP":
		ch.quiet()
		if ch.leaves {
			delete(l.channels, ch.id)
		} else {
			l.hungUp(ch, e)
		}
		l.connected(id)
	case name == "DTMF" && tones(e.get("DTMF-Digit")).ok:
		l.digit(ch)
		l.deliver(ch.call.Notices(func(ref string, _ uacsta.LocalConnectionState) any {
			return uacsta.DtmfDetectedEvent{MonitorCrossRefID: ref, OverConnection: ch.connection(), DtmfChar: e.get("DTMF-Digit"), Cause: uacsta.CauseDTMFDigitDetected}
		})...)
	}
}

// custom handles events of modules.
func (l *Link) custom(e event) {
	switch e.get("Event-Subclass") {
	case "callcenter::info":
		l.callcenter(e)
	case "fifo::info":
		l.fifo(e)
	case "valet_parking::info":
		l.valet(e)
	case "conference::maintenance":
		l.room(e)
	case "csta::queue", "csta::trunk", "csta::forward":
		l.dialplan(e)
	case "sofia::gateway_state", "sofia::gateway_delete":
		l.gateway(e)
	default:
		l.registered(e)
	}
}

// created handles a new channel. A calling device has dialled; a called one does not ring yet.
func (l *Link) created(e event) {
	id := e.get("Unique-ID")
	if !words.MatchString(id) || l.channels[id] != nil || l.full() {
		return
	}
	ch := &channel{id: id, Connection: callmodel.Connection{Inbound: e.get("Call-Direction") == "inbound"}}
	ch.Device, ch.Network = l.numberOf(e)
	ch.sip = e.get("variable_sip_call_id")
	if made := l.awaited[e.get("variable_csta_call")]; made != nil {
		switch {
		case made.done: // another telephone has answered, or all have failed
		case (made.by != nil || made.recalls) && l.calls[made.call.ID] == nil:
			l.kill(ch) // the call has ended meanwhile
		default:
			ch.parks = made.recalls
			if made.seen, ch.made = true, made; made.by != nil {
				ch.comes = made
			}
			l.called(made.call, ch, e)
		}
		return
	}
	if from := l.caller(ch, e); from != nil {
		c := from.call
		if e.get("Other-Leg-Unique-ID") != "" { // else mod_callcenter calls
			c = l.callOf(from, ch)
		}
		l.called(c, ch, e)
		return
	}
	c := newCall(id, e.get("Caller-Caller-ID-Number"), e.get("Caller-Destination-Number"))
	if l.calls[id] != nil { // a previous channel had this identifier
		c.ID = newID()
	}
	l.add(c, ch)
	if rdnis := e.get("Caller-RDNIS"); words.MatchString(rdnis) {
		c.Redirected = rdnis
	}
	if !ch.Inbound {
		return
	}
	c.Calling = ch.Device
	if ch.Network {
		l.through(ch, l.trunkDevice(e.get("variable_sip_gateway")))
	}
	l.deliver(c.Initiate(ch, uacsta.CauseNormal)...)
	l.deliver(c.Originate(ch, uacsta.CauseNewCall)...)
}

// caller returns the channel whose call a new channel joins, or nil if it starts a call of its
// own.
func (l *Link) caller(ch *channel, e event) *channel {
	from := l.channel(e.caller())
	if ch.Inbound || from == nil || from.call.full() {
		return nil
	}
	return from
}

// called adds a new channel to an existing call.
func (l *Link) called(c *call, ch *channel, e event) {
	if l.shares(c, ch) {
		return
	}
	l.add(c, ch)
	if ch.Network {
		l.leaves(ch, e)
	}
}

// leaves handles a call that goes out by a gateway, or by what the dialplan calls a trunk.
func (l *Link) leaves(ch *channel, e event) {
	c := ch.call
	trunk := c.exit
	if trunk == "" {
		trunk = l.trunkDevice(e.get("variable_sip_gateway_name"))
	}
	l.through(ch, trunk)
	l.deliver(c.Leave(ch, ch.Trunk, c.Cause())...)
}

// rings handles a called telephone that rings, or a calling one that is prompted.
func (l *Link) rings(ch *channel) {
	c := ch.call
	switch {
	case ch.Inbound || ch.State != "" || ch.comes != nil:
	case ch.prompted():
		l.deliver(c.Initiate(ch, uacsta.CauseMakeCall)...)
	default:
		if part := c.queued(); part != nil {
			l.divert(part, ch.Device, uacsta.CauseDistributed)
		}
		ch.rang = time.Now()
		l.deliver(c.Deliver(ch, c.Cause())...)
	}
}

// answered handles the answer of a channel. FreeSWITCH answers a calling channel when the other
// side answers, or itself where calls wait. at is the number where the dialplan has the
// channel.
func (l *Link) answered(ch *channel, at string) {
	c := ch.call
	if ch.Inbound {
		if part := c.queued(); part != nil && part.State == uacsta.Queued && len(c.Parties) == 2 { // the queue has answered
			l.established(part)
			return
		}
		l.waits(ch, at)
		return
	}
	l.rings(ch) // it answered at once
	switch {
	case ch.prompted():
		l.deliver(c.Originate(ch, uacsta.CauseNewCall)...)
	case ch.comes == nil:
		c.queue = ""
		l.established(ch)
		if c.predicts && l.queues(c.Calling) {
			l.enqueue(c, c.Calling, uacsta.CauseMakePredictiveCall)
		}
		c.predicts = false
	case c.room != "":
		l.added(ch)
	}
}

// established reports that a device takes part in a call.
func (l *Link) established(ch *channel) { l.deliver(ch.call.Establish(ch, ch.call.Cause())...) }

// hungUp handles the end of a channel, and of the connection that it kept.
func (l *Link) hungUp(ch *channel, e event) {
	kept, c, cause := ch.kept, ch.call, causeOf(e)
	switch how := e.get("variable_transfer_disposition"); {
	case how != "recv_replace" || kept != nil || c.sending != nil: // not by REFER
	case l.replaces(ch, l.channels[e.get("variable_refer_uuid")]):
		return
	case ch.with() != nil:
		l.transferred(ch, referredTo(e))
		return
	}
	sent := c.sending != nil && c.sending.from == ch
	l.gone(ch, cause)
	if !sent {
		l.alone(c)
	}
	switch {
	case kept == nil:
	case e.get("variable_sip_term_status") == "": // the telephone has not hung up
		l.callBack(kept, cause)
	default:
		l.cleared(kept, cause)
	}
}

// referredTo returns the device to which a telephone has transferred a call by REFER; "" if it is not known.
func referredTo(e event) string {
	_, to, _ := strings.Cut(e.get("variable_transfer_destination"), ":")
	if !words.MatchString(to) {
		return ""
	}
	return to
}

func (l *Link) gone(ch *channel, cause uacsta.EventCause) {
	c := ch.call
	was := ch.State
	switch s := c.sending; {
	case s != nil && s.from == ch:
		c.sending = nil
		l.sentOn(ch, s.to, s.cause)
		return
	case ch.comes != nil: // no event has mentioned it
		l.remove(ch)
		l.unjoined(c, ch.Device, cause)
		return
	case cause == uacsta.CauseCallPickup && was == uacsta.Alerting:
		l.pickedUp(ch)
		return
	case l.unanswered(ch):
		return
	}
	failed := cause != uacsta.CauseNormalClearing && cause != uacsta.CauseCallCancelled && cause != uacsta.CauseMultipleAlerting && cause != uacsta.CauseCallPickup
	switch nobody := ch.Inbound && len(c.Parties) == 1 && !c.failed; {
	case ch.calls() && ch.prompted() && was == "":
		l.remove(ch)
		l.missed(c, ch.Device, cause)
	case ch.calls() && !ch.prompted() && failed:
		l.unreached(ch, cause)
	case !ch.told():
		l.remove(ch)
	default:
		if failed && nobody { // the called device did not even ring
			l.fail(c, c.Called, cause)
		}
		l.drop(ch, cause)
	}
}

// unjoined reports that a device that was to join a call could not be reached: to the others, too, if it was called
// into their conference.
func (l *Link) unjoined(c *call, device string, cause uacsta.EventCause) {
	if c.room != "" {
		l.deliver(c.Unreached(device, cause)...)
	}
	l.deliver(c.Missed(device, cause))
}

// told reports whether events have mentioned the connection.
func (ch *channel) told() bool { return ch.State != "" || ch.Network }

// unreached handles a called device that is busy, rejects the call or does not answer. The attempt has failed
// unless another device is called, too.
func (l *Link) unreached(ch *channel, cause uacsta.EventCause) {
	c := ch.call
	others := slices.ContainsFunc(c.Parties, func(o *channel) bool { return o != ch && o.calls() && o.comes == nil })
	switch {
	case ch.told() && !others:
		c.failed = true
		l.deliver(c.Fail(ch, cause)...)
		fallthrough
	case ch.told():
		l.drop(ch, cause)
	default:
		if l.remove(ch); !others {
			l.fail(c, ch.Device, cause)
		}
	}
	if c.predicts && !others {
		l.missed(c, ch.Device, cause)
	}
}

// drop reports that a device left a call, and removes it.
func (l *Link) drop(ch *channel, cause uacsta.EventCause) {
	l.deliver(ch.call.Clear(ch, cause)...)
	l.remove(ch)
}

// cleared is drop, followed by the end of a call in which one device is left.
func (l *Link) cleared(ch *channel, cause uacsta.EventCause) {
	l.drop(ch, cause)
	l.alone(ch.call)
}

// awaits reports whether FreeSWITCH is to create a channel for a call.
func (l *Link) awaits(c *call) bool {
	for _, a := range l.awaited {
		if a.call == c && !a.seen && !a.done {
			return true
		}
	}
	return false
}

// alone ends a call in which only one device is left.
func (l *Link) alone(c *call) {
	if !slices.ContainsFunc(c.Parties, func(ch *channel) bool { return !ch.virtual && ch != c.picked }) {
		for len(c.Parties) > 0 { // queues, and a picked-up connection that no one took
			l.drop(c.Parties[0], uacsta.CauseNormalClearing)
		}
		return
	}
	if i := slices.IndexFunc(c.Parties, func(ch *channel) bool { return ch.back && ch.other() == nil }); i >= 0 {
		l.back(c.Parties[i])
		return
	}
	if len(c.Parties) != 1 || l.awaits(c) {
		return
	}
	switch last := c.Parties[0]; {
	case l.channels[last.id] != last: // a consulting device has no one to return to
		l.drop(last, uacsta.CauseNormalClearing)
	case last.parks && last.kept == nil, last.comes != nil:
		l.kill(last)
	}
}

// fail reports that a device could not be reached.
func (l *Link) fail(c *call, device string, cause uacsta.EventCause) {
	c.failed = true
	l.deliver(c.Unreached(device, cause)...)
}

// sentOn reports that a call left a device for another one because a service of ours sent it.
func (l *Link) sentOn(ch *channel, to string, cause uacsta.EventCause) {
	if cause == uacsta.CauseSingleStepTransfer {
		l.transferred(ch, to)
	} else {
		l.divert(ch, to, cause)
	}
}

// divert reports that a call left a device for another one.
func (l *Link) divert(ch *channel, to string, cause uacsta.EventCause) {
	l.deliver(ch.call.Divert(ch, to, cause)...)
	l.remove(ch)
	l.free(ch.call)
}

// transferred reports that a device transferred a call in a single step.
func (l *Link) transferred(ch *channel, to string) {
	l.deliver(ch.call.SingleStepTransfer(ch, to)...)
	l.remove(ch)
	l.free(ch.call)
}

// registered handles the registration of a telephone, or its end.
func (l *Link) registered(e event) {
	number, in := l.deviceOf(e.get("from-user"), e.get("from-host")), false
	switch e.get("Event-Subclass") {
	case "sofia::register":
		in = true
	case "sofia::unregister":
	case "sofia::expire":
		number = l.deviceOf(e.get("user"), e.get("host"))
	default:
		return
	}
	if in {
		l.appears(number, e.get("call-id"))
	} else {
		l.disappears(number, e.get("call-id"))
	}
	if _, known := l.devices[number]; known && in && words.MatchString(e.get("profile-name")) {
		agent := e.get("user-agent")
		l.profiles[number] = profile{e.get("profile-name"), agent[:min(len(agent), maxAgent)]}
	}
}

// appears handles a registration of a telephone, which its Call-ID identifies.
func (l *Link) appears(device, callID string) {
	l.service(device, true)
	if _, known := l.devices[device]; known && !slices.Contains(l.contacts[device], callID) && len(l.contacts[device]) < maxContacts {
		l.contacts[device] = append(l.contacts[device], callID)
	}
}

// disappears handles the end of a registration. The device may have others. FreeSWITCH does not report the end of
// one that another one has replaced, so the link asks.
func (l *Link) disappears(device, callID string) {
	l.contacts[device] = slices.DeleteFunc(l.contacts[device], func(id string) bool { return id == callID })
	if len(l.contacts[device]) == 0 {
		delete(l.contacts, device)
		l.service(device, false)
		return
	}
	l.leaving[device] = time.Now().Add(removal)
}

// inService asks for the registrations of devices of which one has ended, of some at a time.
func (l *Link) inService(now time.Time) {
	asked := 0
	for device, at := range l.leaving {
		if now.Before(at) {
			continue
		}
		if asked++; asked > maxQuestions {
			return
		}
		delete(l.leaving, device)
		l.row(device, "contact", func(contact string, err error) {
			if err == nil && strings.HasPrefix(contact, "error/") {
				delete(l.contacts, device)
				l.service(device, false)
			}
		})
	}
}

// service puts a device in or out of service.
func (l *Link) service(device string, in bool) {
	switch was, known := l.devices[device]; {
	case !l.isDevice(device) || known && was == in:
		return
	case !known && len(l.devices) >= maxDevices:
		l.crowded("devices", maxDevices)
		return
	}
	l.devices[device] = in
	l.watch.Send(device, func(ref string) any {
		if in {
			return uacsta.BackInServiceEvent{MonitorCrossRefID: ref, Device: uacsta.Ext(device), Cause: uacsta.CauseNormal}
		}
		return uacsta.OutOfServiceEvent{MonitorCrossRefID: ref, Device: uacsta.Ext(device), Cause: uacsta.CauseNormal}
	})
}

// Limits of what the link keeps of one FreeSWITCH.
const (
	maxDevices  = 100000
	maxChannels = 20000
	maxParties  = 200 // in one call
	maxLoops    = 10  // channels of mod_loopback that call one another
	maxAgent    = 200 // octets of a User-Agent
	maxContacts = 20  // registrations of one device
)

// removal is how long FreeSWITCH may take to remove a registration whose end it has reported.
const removal = time.Second
