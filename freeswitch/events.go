package freeswitch

import (
	"strings"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// causes are what hang-up causes (Q.850, and FreeSWITCH's own) mean in CSTA.
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

// told takes an event.
func (l *Link) told(e event) {
	ch := l.channels[e.get("Unique-ID")]
	switch name := e.get("Event-Name"); {
	case name == "CHANNEL_CREATE":
		l.created(e)
	case name == "BACKGROUND_JOB":
		if done := l.jobs[e.get("Job-UUID")]; done != nil {
			delete(l.jobs, e.get("Job-UUID"))
			done(e.body)
		}
	case name == "CUSTOM":
		l.registered(e)
	case ch == nil: // it began before the link did
	case name == "CHANNEL_PROGRESS", name == "CHANNEL_PROGRESS_MEDIA":
		l.rings(ch)
	case name == "CHANNEL_ANSWER":
		l.answered(ch)
	case name == "CHANNEL_HOLD":
		ch.state = uacsta.Hold
		l.held(ch, uacsta.CauseNormal)
	case name == "CHANNEL_UNHOLD":
		ch.state = uacsta.Connected
		l.retrieved(ch, uacsta.CauseNormal)
	case name == "CHANNEL_HANGUP":
		l.hungUp(ch, e)
	case name == "DTMF":
		l.watch.Tell(ch.number, func(ref string) any {
			return uacsta.DtmfDetectedEvent{MonitorCrossRefID: ref, OverConnection: ch.connection(), DtmfChar: e.get("DTMF-Digit"), Cause: uacsta.CauseDTMFDigitDetected}
		})
	}
}

// created: a channel has come. Whoever calls has dialled; whoever is called does not ring yet.
func (l *Link) created(e event) {
	id := e.get("Unique-ID")
	if !words.MatchString(id) || l.channels[id] != nil || len(l.channels) >= maxChannels {
		return
	}
	ch := &channel{id: id, inbound: e.get("Call-Direction") == "inbound"}
	ch.number, ch.network = numberOf(e)
	if from := l.channels[e.get("Other-Leg-Unique-ID")]; from != nil && !ch.inbound {
		l.add(from.call, ch)
		if ch.network {
			l.leaves(ch, e.get("variable_sip_gateway_name"))
		}
		return
	}
	c := l.calls[id] // that of MakeCall has its name
	if c == nil {
		c = &call{id: id, calling: e.get("Caller-Caller-ID-Number"), called: e.get("Caller-Destination-Number")}
	}
	l.add(c, ch)
	if !ch.inbound {
		return
	}
	c.calling, ch.state = ch.number, uacsta.Initiated
	l.initiated(ch, uacsta.CauseNormal)
	l.originated(ch)
}

// leaves: a call goes out by a gateway, which has a name where it is one of FreeSWITCH's.
func (l *Link) leaves(ch *channel, gateway string) {
	c := ch.call
	l.tell(c, func(ref string, local uacsta.LocalConnectionState) any {
		return uacsta.NetworkReachedEvent{
			MonitorCrossRefID: ref, OutboundConnection: ch.connection(), NetworkInterfaceUsed: uacsta.Ext(gateway), CallingDevice: uacsta.Ext(c.calling),
			CalledDevice: uacsta.Ext(c.called), LastRedirectionDevice: c.redirection(), LocalConnectionInfo: local, Cause: c.newly(),
		}
	})
}

func (l *Link) initiated(ch *channel, cause uacsta.EventCause) {
	l.tell(ch.call, func(ref string, local uacsta.LocalConnectionState) any {
		return uacsta.ServiceInitiatedEvent{
			MonitorCrossRefID: ref, InitiatedConnection: ch.connection(), InitiatingDevice: uacsta.Ext(ch.number), LocalConnectionInfo: local, Cause: cause,
		}
	})
}

func (l *Link) originated(ch *channel) {
	ch.state = uacsta.Connected
	l.tell(ch.call, func(ref string, local uacsta.LocalConnectionState) any {
		return uacsta.OriginatedEvent{
			MonitorCrossRefID: ref, OriginatedConnection: ch.connection(), CallingDevice: uacsta.Ext(ch.number), CalledDevice: uacsta.Ext(ch.call.called),
			LocalConnectionInfo: local, Cause: uacsta.CauseNewCall,
		}
	})
}

// redirection says who sent the call on last.
func (c *call) redirection() uacsta.RedirectionDeviceID {
	return uacsta.RedirectionDeviceID{NumberDialed: uacsta.Dev(c.redirected)}
}

// newly is the cause of what happens at the destination.
func (c *call) newly() uacsta.EventCause {
	if c.redirected != "" {
		return uacsta.CauseRedirected
	}
	return uacsta.CauseNewCall
}

// rings: the telephone that is called rings, or the calling one that was asked to call.
func (l *Link) rings(ch *channel) {
	c := ch.call
	switch {
	case ch.inbound || ch.state != "":
	case c.prompted == ch.id:
		ch.state = uacsta.Initiated
		l.initiated(ch, uacsta.CauseMakeCall)
	default:
		ch.state = uacsta.Alerting
		l.tell(c, func(ref string, local uacsta.LocalConnectionState) any {
			return uacsta.DeliveredEvent{
				MonitorCrossRefID: ref, Connection: ch.connection(), AlertingDevice: uacsta.Ext(ch.number), CallingDevice: uacsta.Ext(c.calling),
				CalledDevice: uacsta.Ext(c.called), LastRedirectionDevice: c.redirection(), LocalConnectionInfo: local, Cause: c.newly(),
			}
		})
	}
}

func (l *Link) answered(ch *channel) {
	c := ch.call
	if ch.inbound { // it answers its caller once somebody else has answered it
		return
	}
	l.rings(ch) // where it answered at once
	if c.prompted == ch.id {
		l.originated(ch)
		return
	}
	ch.state = uacsta.Connected
	l.tell(c, func(ref string, local uacsta.LocalConnectionState) any {
		return uacsta.EstablishedEvent{
			MonitorCrossRefID: ref, EstablishedConnection: ch.connection(), AnsweringDevice: uacsta.Ext(ch.number), CallingDevice: uacsta.Ext(c.calling),
			CalledDevice: uacsta.Ext(c.called), LastRedirectionDevice: c.redirection(), LocalConnectionInfo: local, Cause: c.newly(),
		}
	})
}

func (l *Link) held(ch *channel, cause uacsta.EventCause) {
	l.tell(ch.call, func(ref string, local uacsta.LocalConnectionState) any {
		return uacsta.HeldEvent{MonitorCrossRefID: ref, HeldConnection: ch.connection(), HoldingDevice: uacsta.Ext(ch.number), LocalConnectionInfo: local, Cause: cause}
	})
}

func (l *Link) retrieved(ch *channel, cause uacsta.EventCause) {
	l.tell(ch.call, func(ref string, local uacsta.LocalConnectionState) any {
		return uacsta.RetrievedEvent{
			MonitorCrossRefID: ref, RetrievedConnection: ch.connection(), RetrievingDevice: uacsta.Ext(ch.number), LocalConnectionInfo: local, Cause: cause,
		}
	})
}

// hungUp: a channel is over, and with it the call that it kept.
func (l *Link) hungUp(ch *channel, e event) {
	kept, c, cause := ch.kept, ch.call, causeOf(e)
	switch how := e.get("variable_transfer_disposition"); {
	case how == "replaced" && kept == nil && l.replaced(ch):
		return
	case how == "recv_replace" && kept == nil && c.sending == nil && ch.with() != nil: // by REFER; nobody says where to
		l.sentOn(ch, "", false)
		return
	}
	l.gone(ch, cause)
	l.alone(c)
	if kept != nil {
		l.cleared(kept, cause)
	}
}

func (l *Link) gone(ch *channel, cause uacsta.EventCause) {
	c := ch.call
	was := ch.state
	if s := c.sending; s != nil && s.from == ch {
		c.sending = nil
		l.sentOn(ch, s.to, was == uacsta.Alerting)
		return
	}
	failed := cause != uacsta.CauseNormalClearing && cause != uacsta.CauseCallCancelled && cause != uacsta.CauseMultipleAlerting && cause != uacsta.CauseCallPickup
	unanswered := was == uacsta.Alerting || was == ""
	nobody := ch.inbound && len(c.channels) == 1 && !c.failed // whom it called was not even rung
	switch {
	case failed && (!ch.inbound && unanswered && c.prompted != ch.id):
		l.remove(ch)
		l.fail(c, ch.number, cause)
		return
	case failed && nobody:
		l.fail(c, c.called, cause)
	}
	if was == "" {
		l.remove(ch)
		return
	}
	l.drop(ch, cause)
}

// drop tells that a device has left a call, and takes it out.
func (l *Link) drop(ch *channel, cause uacsta.EventCause) {
	ch.state = uacsta.Null
	l.tell(ch.call, func(ref string, local uacsta.LocalConnectionState) any {
		return uacsta.ConnectionClearedEvent{
			MonitorCrossRefID: ref, DroppedConnection: ch.connection(), ReleasingDevice: uacsta.Ext(ch.number), LocalConnectionInfo: local, Cause: cause,
		}
	})
	l.remove(ch)
}

// cleared is drop, and what follows for who is left.
func (l *Link) cleared(ch *channel, cause uacsta.EventCause) {
	l.drop(ch, cause)
	l.alone(ch.call)
}

// alone ends what is left of a call when one device is: nobody comes to it any more.
func (l *Link) alone(c *call) {
	if len(c.channels) != 1 {
		return
	}
	switch last := c.channels[0]; {
	case l.channels[last.id] != last: // who consults has nobody to go back to
		l.drop(last, uacsta.CauseNormalClearing)
	case last.parks && last.kept == nil:
		l.kill(last)
	}
}

// fail tells that a device could not be reached.
func (l *Link) fail(c *call, device string, cause uacsta.EventCause) {
	c.failed = true
	l.tell(c, func(ref string, local uacsta.LocalConnectionState) any { return c.failure(ref, device, local, cause) })
}

func (c *call) failure(ref, device string, local uacsta.LocalConnectionState, cause uacsta.EventCause) any {
	return uacsta.FailedEvent{
		MonitorCrossRefID: ref, FailedConnection: uacsta.Conn(c.id, device), FailingDevice: uacsta.Ext(device), CallingDevice: uacsta.Ext(c.calling),
		CalledDevice: uacsta.Ext(c.called), LastRedirectionDevice: c.redirection(), LocalConnectionInfo: local, Cause: cause,
	}
}

// unreached tells a calling telephone that MakeCall could not have it ring.
func (l *Link) unreached(c *call, why string) {
	cause, known := causes[why]
	if !known {
		cause = uacsta.CauseDestOutOfOrder
	}
	l.watch.Tell(c.calling, func(ref string) any { return c.failure(ref, c.calling, uacsta.Null, cause) })
}

// sentOn: a call has left a device for another one, as a service of ours wanted it.
func (l *Link) sentOn(ch *channel, to string, ringing bool) {
	c, from := ch.call, ch.connection()
	ch.state = uacsta.Null
	if ringing {
		l.tell(c, func(ref string, local uacsta.LocalConnectionState) any {
			return uacsta.DivertedEvent{
				MonitorCrossRefID: ref, Connection: from, DivertingDevice: uacsta.Ext(ch.number), NewDestination: uacsta.Ext(to), LastRedirectionDevice: c.redirection(),
				LocalConnectionInfo: local, Cause: uacsta.CauseRedirected,
			}
		})
	} else {
		var list []uacsta.ConnectionListItem
		for _, stays := range c.channels {
			if stays != ch {
				id := stays.connection()
				list = append(list, uacsta.ConnectionListItem{NewConnection: &id, OldConnection: &id})
			}
		}
		l.tell(c, func(ref string, local uacsta.LocalConnectionState) any {
			return uacsta.TransferedEvent{
				MonitorCrossRefID: ref, PrimaryOldCall: from, TransferringDevice: uacsta.Ext(ch.number), TransferredToDevice: uacsta.Ext(to), TransferredConnections: list,
				LocalConnectionInfo: local, Cause: uacsta.CauseSingleStepTransfer,
			}
		})
	}
	c.redirected = ch.number
	l.remove(ch)
}

// registered: a telephone has come, or gone.
func (l *Link) registered(e event) {
	number, in := e.get("from-user"), false
	switch e.get("Event-Subclass") {
	case "sofia::register":
		in = true
	case "sofia::unregister":
	case "sofia::expire":
		number = e.get("user")
	default:
		return
	}
	if was, known := l.devices[number]; number == "" || known && was == in || !known && in && len(l.devices) > maxDevices {
		return
	}
	l.devices[number] = in
	l.watch.Tell(strings.TrimSpace(number), func(ref string) any {
		if in {
			return uacsta.BackInServiceEvent{MonitorCrossRefID: ref, Device: uacsta.Ext(number), Cause: uacsta.CauseNormal}
		}
		return uacsta.OutOfServiceEvent{MonitorCrossRefID: ref, Device: uacsta.Ext(number), Cause: uacsta.CauseNormal}
	})
}

// How many devices and channels are followed at most.
const (
	maxDevices  = 100000
	maxChannels = 100000
)
