package freeswitch

import (
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/proxy/callmodel"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// A telephone makes a consultation call on the channel it has: FreeSWITCH parks the other party
// and sends the channel into the dialplan. The channel is then in two calls with two connections;
// channel.kept is the one in the waiting call. Whatever ends the active call, FreeSWITCH parks the
// channel, and the waiting call stays.

// orders sends commands one after the other until one is refused, and reports the result. It
// sends none if one of them could not be written.
func (l *Link) orders(texts []instruction, done func(error)) {
	switch {
	case len(texts) == 0:
		done(nil)
		return
	case slices.Contains(texts, instruction{}):
		done(errParameter)
		return
	}
	l.order(texts[0], func(_ any, err error) {
		if err != nil {
			done(err)
			return
		}
		l.orders(texts[1:], done)
	}, nil)
}

// parking returns the command that makes FreeSWITCH park a channel when its partner leaves,
// instead of hanging up.
func parking(ch *channel) instruction {
	ch.parks = true
	return api("uuid_setvar_multi % hangup_after_bridge=false;park_after_bridge=true", word(ch.id))
}

// released returns the command that undoes what parking, waiting and guarded did.
func released(ch *channel) instruction {
	return api("uuid_setvar_multi % hangup_after_bridge=true;park_after_bridge=;transfer_on_fail=;transfer_disposition=;"+waitsFor+"=", word(ch.id))
}

// waitsFor is a variable of a waiting channel: the channel that consults. That one names itself. A
// link that connects later reads it there.
const waitsFor = "csta_waits_for"

// waiting returns the commands to send before a channel waits for another one.
func waiting(ch, other *channel) []instruction {
	return []instruction{parking(ch), api("uuid_setvar % "+waitsFor+" %", word(ch.id), word(other.id))}
}

// free gives those who stay in a call back to the dialplan, which a device has sent them to: it goes on with them when
// nobody answers there.
func (l *Link) free(c *call) {
	for _, ch := range c.Parties {
		if ch.parks && ch.kept == nil && l.channels[ch.id] == ch {
			ch.parks = false
			l.order(released(ch), func(any, error) {}, nil)
		}
	}
}

// everyCause lists the numbers of FreeSWITCH's hang-up causes.
var everyCause = func() string {
	var list []string
	for _, r := range [][2]int{{1, 127}, {487, 487}, {800, 830}} {
		for n := r[0]; n <= r[1]; n++ {
			list = append(list, strconv.Itoa(n))
		}
	}
	return strings.Join(list, ",")
}()

// guarded returns the commands to send before a telephone consults on its channel. Where the
// dialplan would hang the channel up because it cannot reach a device, FreeSWITCH parks it.
func guarded(ch *channel) []instruction {
	return []instruction{parking(ch), api("uuid_setvar_multi % originate_failed_cause=;transfer_disposition=;continue_on_fail=;transfer_on_fail="+everyCause+" park inline;"+waitsFor+"=%", word(ch.id), word(ch.id))}
}

// consulting is what a consulting channel does: it goes through the dialplan, and is parked at the
// end. If the dialplan does not know the number, it says why it is parked, as for one that it cannot
// reach.
func (l *Link) consulting(to, device string) part {
	return form("'m:^:execute_extension:% XML,inline:set:originate_failed_cause=NO_ROUTE_DESTINATION %^park/inline'", word(to), l.context(device))
}

// with returns the other device of a call in which two talk, or nil.
func (ch *channel) with() *channel {
	if o := ch.other(); len(ch.call.Parties) == 2 && o != nil && o.State == uacsta.Connected && o.comes == nil {
		return o
	}
	return nil
}

// consult implements Consultation Call (ECMA-269).
func (l *Link) consult(s *uacsta.ConsultationCall, answer proxy.Answer) {
	ch, err := l.in(s.ExistingCall, uacsta.Connected)
	to := s.ConsultedDevice.ID
	switch {
	case err != nil:
	case !words.MatchString(to):
		err = uacsta.Refuse(uacsta.Operation, uacsta.InvalidCalledDeviceID)
	case ch.kept != nil || ch.with() == nil:
		err = errState
	}
	if err != nil {
		answer(nil, err)
		return
	}
	c := newCall(newID(), ch.Device, to)
	away := api("uuid_dual_transfer % % park/inline", word(ch.id), l.consulting(to, ch.Device))
	l.orders(slices.Concat(guarded(ch), waiting(ch.with(), ch), []instruction{away}), func(err error) {
		if err == nil && l.channels[ch.id] != ch {
			err = errState // it has hung up meanwhile
		}
		if err != nil {
			answer(nil, err)
			return
		}
		answer(uacsta.ConsultationCallResponse{InitiatedCall: uacsta.Conn(c.ID, ch.Device)}, nil)
		l.consults(ch, c).kept.apart = true
	})
}

// consults reports that a telephone holds its call and makes another one on the same channel.
func (l *Link) consults(ch *channel, c *call) (second *channel) {
	connection := *ch
	second = &connection
	second.Inbound, second.kept = true, ch
	l.deliver(ch.call.Hold(ch, uacsta.CauseConsultation)...)
	l.add(c, second)
	l.deliver(c.Initiate(second, uacsta.CauseConsultation)...)
	l.deliver(c.Originate(second, uacsta.CauseNewCall)...)
	return second
}

// callOf returns the call that a new channel joins. A channel that calls while it talks consults: the
// dialplan does that by att_xfer, for a star code. FreeSWITCH connects it again when the new channel ends.
func (l *Link) callOf(from, ch *channel) *call {
	c, other := from.call, from.with()
	if other == nil || from.State != uacsta.Connected || from.kept != nil || c.sending != nil || c.room != "" || other.Device == ch.Device {
		return c
	}
	second := newCall(newID(), from.Device, ch.Device)
	l.consults(from, second).back = true
	return second
}

// completes handles a bridge between the two calls of a consulting telephone: it has transferred the call,
// or is back in the one that waited. It returns false if the calls are not such.
func (l *Link) completes(a, b *channel) bool {
	for _, ch := range slices.Concat(a.call.Parties, b.call.Parties) {
		switch {
		case ch.kept == nil || ch.kept.call == ch.call || ch.kept.call != a.call && ch.kept.call != b.call:
			continue
		case ch == a || ch == b:
			l.back(ch)
		default:
			near, far := a, b
			if near.call != ch.kept.call {
				near, far = far, near
			}
			_, tell := l.unite(&pair{held: ch.kept, active: ch}, far.Device, near, far)
			tell()
		}
		return true
	}
	return false
}

// parked handles a channel that FreeSWITCH has parked. A consulting telephone has left the active
// call, if it was reached, or was not.
func (l *Link) parked(ch *channel, e event) {
	c := ch.call
	switch {
	case c.joining || ch.kept != nil && ch.kept.call.joining:
		return
	case ch.kept == nil:
		if e.get("variable_csta_waits_for") == ch.id { // it consulted before the link came up
			ch.parks = true
			l.alone(c)
		}
		return
	}
	if cause, failed := causes[e.get("variable_originate_failed_cause")]; failed && !c.met {
		l.fail(c, c.Called, cause)
	}
	if e.get("variable_transfer_disposition") == "recv_replace" && ch.with() != nil && c.sending == nil { // by REFER
		c.sending = &sending{ch, referredTo(e), uacsta.CauseSingleStepTransfer}
	}
	if ch.back = true; c.sending != nil && c.sending.from == ch || ch.other() == nil {
		l.back(ch)
		return
	}
	l.release(c, ch) // the telephone leaves after the others, whose events come later
}

// quit ends the active call for a consulting telephone, and for those who would stay in it.
func (l *Link) quit(ch *channel) {
	c := ch.call
	l.back(ch)
	l.release(c, ch)
}

// release clears those who would stay parked in a call that a consulting telephone has left.
func (l *Link) release(c *call, ch *channel) {
	for _, o := range c.Parties {
		if o != ch && o.parks {
			l.kill(o)
		}
	}
}

// back ends the active call for a consulting telephone. It stays in the call that waits.
func (l *Link) back(ch *channel) {
	c, held := ch.call, ch.kept
	if s := c.sending; s != nil && s.from == ch {
		c.sending = nil
		l.sentOn(ch, s.to, s.cause)
	} else {
		l.drop(ch, uacsta.CauseNormalClearing)
	}
	l.channels[held.id] = held
	if !held.apart {
		l.deliver(held.call.Retrieve(held, uacsta.CauseNormal)...)
	}
	if ch.other() == nil {
		l.alone(c)
	}
}

// callBack calls a consulting telephone whose channel FreeSWITCH has ended: not its user, but the
// dialplan has hung up. When it answers, it has the call that waits.
func (l *Link) callBack(held *channel, cause uacsta.EventCause) {
	c, near := held.call, held.with()
	if near == nil || held.Network || !held.apart {
		l.cleared(held, cause)
		return
	}
	l.drop(held, cause)
	c.Why = uacsta.CauseRecall
	l.originate(newID(), l.telephone(held.Device), l.showing(near.Device), form("&intercept(%)", word(near.id)), &awaited{call: c, device: held.Device, recalls: true}, nil, func(_ any, err error) {
		if err != nil {
			l.alone(c)
		}
	})
}

// recall finds out which channels the parked ones wait for, restores those connections, and
// continues with then. It kills a channel that waits for one that no longer exists, since it
// would wait for ever.
func (l *Link) recall(parked []*channel, then func(error)) {
	if len(parked) == 0 {
		then(nil)
		return
	}
	ch := parked[0]
	l.query(api("uuid_getvar % "+waitsFor, word(ch.id)), func(id string, err error) {
		if err != nil && !errors.Is(err, errRefused) && !errors.Is(err, errRights) {
			then(err)
			return
		}
		talks := l.channels[id]
		switch alone := l.channels[ch.id] == ch && len(ch.call.Parties) == 1; {
		case !alone || !words.MatchString(id) || id == undefined:
		case talks == nil:
			l.kill(ch)
		case talks == ch:
			ch.back = true
		case talks.kept == nil && talks.call != ch.call:
			talks.parks, ch.parks = true, true
			held := *talks
			held.State, held.apart, held.back = uacsta.Hold, true, false
			l.add(ch.call, &held)
			talks.kept = &held
			l.channels[id] = talks
		}
		l.recall(parked[1:], func(err error) {
			switch {
			case err != nil || !ch.back || l.channels[ch.id] != ch:
			case ch.kept != nil:
				l.back(ch)
			default:
				l.kill(ch)
			}
			then(err)
		})
	})
}

// pair is a held and an active call of one device.
type pair struct {
	held, active *channel
	near, far    *channel // the other parties in the held and the active call; nil unless exactly one talks there
}

// pair returns the two calls that a request names.
func (l *Link) pair(held, active uacsta.ConnectionID) (*pair, error) {
	var p pair
	var err error
	if p.held, err = l.in(held, uacsta.Hold); err != nil {
		return nil, err
	}
	if p.active, err = l.in(active, uacsta.Connected); err != nil {
		return nil, err
	}
	if p.held.Device != p.active.Device || p.held.Network != p.active.Network {
		return nil, errConnection
	}
	p.near, p.far = p.held.with(), p.active.with()
	return &p, nil
}

// whole is pair, but requires another party in both calls.
func (l *Link) whole(held, active uacsta.ConnectionID) (*pair, error) {
	p, err := l.pair(held, active)
	if err == nil && (p.near == nil || p.far == nil) {
		err = errState
	}
	return p, err
}

// one reports whether both calls are on one channel.
func (p *pair) one() bool { return p.active.kept == p.held }

// as sends commands for a pair and calls then if the pair has not changed meanwhile.
func (l *Link) as(p *pair, texts []instruction, answer proxy.Answer, then func()) {
	one := p.one()
	if !one { // FreeSWITCH hangs up whoever leaves a bridge with a channel that holds
		texts = slices.Insert(texts, 0, api("uuid_hold off %", word(p.held.id)))
	}
	l.joining(p, texts, func(err error) {
		if err == nil && (p.one() != one || p.held.with() != p.near || p.active.with() != p.far) {
			err = errState
		}
		if err != nil {
			answer(nil, err)
			return
		}
		then()
	})
}

// joining sends commands that bridge channels of both calls. Meanwhile bridged ignores the
// calls.
func (l *Link) joining(p *pair, texts []instruction, done func(error)) {
	first, second := p.held.call, p.active.call
	first.joining, second.joining = true, true
	l.orders(texts, func(err error) {
		first.joining, second.joining = false, false
		done(err)
		l.resumeRequests()
	})
}

// alternate implements Alternate Call (ECMA-269). A telephone with one channel for each call
// holds one of them and retrieves the other.
func (l *Link) alternate(s *uacsta.AlternateCall, answer proxy.Answer) {
	p, err := l.whole(s.HeldCall, s.ActiveCall)
	if err != nil {
		answer(nil, err)
		return
	}
	res := uacsta.AlternateCallResponse{}
	if !p.one() {
		p.active.holds = true
		l.orders([]instruction{api("uuid_hold %", word(p.active.id)), api("uuid_hold off %", word(p.held.id))}, func(err error) { answer(res, err) })
		return
	}
	l.as(p, append(waiting(p.far, p.active), connect(p.held, p.near)), answer, func() {
		answer(res, nil)
		p.active.kept, p.held.kept = nil, p.active
		p.active.apart, p.held.apart = true, false
		l.channels[p.held.id] = p.held
		l.deliver(p.active.call.Hold(p.active, uacsta.CauseAlternate)...)
		l.deliver(p.held.call.Retrieve(p.held, uacsta.CauseAlternate)...)
	})
}

// reconnect implements Reconnect Call (ECMA-269).
func (l *Link) reconnect(s *uacsta.ReconnectCall, answer proxy.Answer) {
	p, err := l.pair(s.HeldCall, s.ActiveCall)
	if err == nil && p.near == nil {
		err = errState
	}
	if err != nil {
		answer(nil, err)
		return
	}
	res := uacsta.ReconnectCallResponse{}
	if !p.one() {
		l.orders([]instruction{api("uuid_kill % NORMAL_CLEARING", word(p.active.id)), api("uuid_hold off %", word(p.held.id))}, func(err error) { answer(res, err) })
		return
	}
	l.resume(p.held, answer, res)
}

// resume connects a telephone again with the call that waits, and ends its active call.
func (l *Link) resume(held *channel, answer proxy.Answer, res any) {
	near, active := held.with(), l.channels[held.id]
	if near == nil {
		answer(nil, errState)
		return
	}
	texts := []instruction{released(held), released(near), connect(held, near)}
	l.joining(&pair{held: held, active: active}, texts, func(err error) {
		if err == nil && (l.channels[held.id] != active || held.with() != near) {
			err = errState
		}
		if err != nil {
			answer(nil, err)
			return
		}
		answer(res, nil)
		held.apart, held.parks, near.parks = false, false, false
		if active != held {
			l.quit(active)
		}
		if held.State == uacsta.Hold {
			l.deliver(held.call.Retrieve(held, uacsta.CauseNormal)...)
		}
	})
}

// kill hangs a channel up without a request for it.
func (l *Link) kill(ch *channel) { l.all(each(ch, "uuid_kill %"), func(error) {}) }

// all sends commands one after the other, and reports an error if all of them are refused.
func (l *Link) all(texts []instruction, done func(error)) {
	l.order(texts[0], func(_ any, err error) {
		if len(texts) == 1 {
			done(err)
			return
		}
		l.all(texts[1:], func(next error) {
			if err == nil {
				next = nil
			}
			done(next)
		})
	}, nil)
}

// each returns a command for each telephone of a connection: several while they ring.
func each(ch *channel, pattern string) []instruction {
	texts := make([]instruction, 1+len(ch.others))
	texts[0] = api(pattern, word(ch.id))
	for i, o := range ch.others {
		texts[1+i] = api(pattern, word(o.id))
	}
	return texts
}

// transferCall implements Transfer Call (ECMA-269). FreeSWITCH bridges the two other parties,
// whatever the telephone supports.
func (l *Link) transferCall(s *uacsta.TransferCall, answer proxy.Answer) {
	p, err := l.pair(s.HeldCall, s.ActiveCall)
	switch {
	case err != nil:
	case p.near != nil && p.active.rung() != nil:
		l.transferEarly(p, p.active.rung(), answer)
		return
	case p.near == nil || p.far == nil:
		err = errState
	}
	if err != nil {
		answer(nil, err)
		return
	}
	texts := []instruction{connect(p.near, p.far)}
	if p.one() {
		texts = slices.Insert(texts, 0, released(p.near), released(p.far))
	}
	l.as(p, texts, answer, func() {
		p.near.parks, p.far.parks = false, false
		one := p.one()
		list, tell := l.unite(p, p.far.Device, p.near, p.far)
		answer(uacsta.TransferCallResponse{TransferredCall: p.far.connection(), Connections: list}, nil)
		tell()
		if one { // FreeSWITCH ends separate channels itself
			l.kill(p.held)
		}
	})
}

// rung returns the other device of a call of two if it rings, or nil.
func (ch *channel) rung() *channel {
	if o := ch.other(); len(ch.call.Parties) == 2 && o != nil && o.State == uacsta.Alerting {
		return o
	}
	return nil
}

// transferEarly transfers to a device that still rings. FreeSWITCH cannot hand over a ringing
// call, so the telephone's channels end and the waiting party calls the same number again. No event
// reports the end of the channels.
func (l *Link) transferEarly(p *pair, far *channel, answer proxy.Answer) {
	to := p.active.call.Called // beyond a gateway, a device's number is not what the dialplan takes
	onward := api("uuid_transfer % %", word(p.near.id), l.extension(to, p.held.Device))
	if onward == (instruction{}) {
		answer(nil, errParameter)
		return
	}
	p.active.leaves, p.held.leaves = true, true
	sent := func(err error) {
		if err == nil && l.channels[p.near.id] != p.near {
			err = errState // it has hung up meanwhile
		}
		if err != nil {
			answer(nil, err)
			l.cleared(p.active, uacsta.CauseNormalClearing)
			l.cleared(p.held, uacsta.CauseNormalClearing)
			return
		}
		p.near.parks = false
		list, tell := l.unite(p, far.Device, p.near)
		answer(uacsta.TransferCallResponse{TransferredCall: uacsta.Conn(p.near.call.ID, far.Device), Connections: list}, nil)
		tell()
	}
	l.order(api("uuid_kill % NORMAL_CLEARING", word(p.active.id)), func(_ any, err error) {
		if err == nil {
			l.orders([]instruction{released(p.near), onward}, sent)
			return
		}
		answer(nil, err)
		for _, ch := range []*channel{p.active, p.held} { // the channels that still exist continue
			if ch.leaves = false; !l.there(ch) {
				l.cleared(ch, uacsta.CauseNormalClearing)
			}
		}
	}, nil)
}

// there reports whether FreeSWITCH has a connection's channel.
func (l *Link) there(ch *channel) bool {
	active := l.channels[ch.id]
	return active == ch || active != nil && active.kept == ch
}

// unite removes a device from its two calls and makes one call of those who stay. tell sends
// the events.
func (l *Link) unite(p *pair, to string, stays ...*channel) (list []uacsta.ConnectionListItem, tell func()) {
	z := newCall(newID(), stays[0].Device, to)
	members := make([]callmodel.Member[*channel], len(stays))
	for i, ch := range stays {
		members[i] = ch.member()
	}
	list, notices := z.Transfer(p.held.member(), p.active.member(), to, members...)
	l.remove(p.held)
	l.remove(p.active)
	l.move(z, stays...)
	return list, func() { l.deliver(notices...) }
}

// replaces handles a telephone that transferred a call by REFER with Replaces: its two channels end, and the
// other parties are connected. It returns false if those are not the two calls of one device.
func (l *Link) replaces(ch, other *channel) bool {
	if other == nil || other == ch || other.Device != ch.Device || other.Network != ch.Network || other.kept != nil {
		return false
	}
	p := &pair{held: ch, active: other, near: ch.with(), far: other.with()}
	if p.far == nil {
		p.far = other.rung()
	}
	if p.near == nil || p.far == nil {
		return false
	}
	_, tell := l.unite(p, p.far.Device, p.near, p.far)
	tell()
	return true
}

// conference implements Conference Call (ECMA-269). All three parties enter a FreeSWITCH
// conference.
func (l *Link) conference(s *uacsta.ConferenceCall, answer proxy.Answer) {
	p, err := l.whole(s.HeldCall, s.ActiveCall)
	if err != nil {
		answer(nil, err)
		return
	}
	name := ownRooms + newID()
	room := form("conference:%@default inline", word(name))
	l.as(p, []instruction{api("uuid_transfer % -both %", word(p.active.id), room), api("uuid_transfer % %", word(p.near.id), room)}, answer, func() {
		one := p.one()
		z := newCall(newID(), p.active.Device, p.far.Device)
		z.room = name
		secondary := p.active.connection()
		how := callmodel.Joining{By: p.active.Device, Added: p.far.Device, Primary: p.held.connection(), Secondary: &secondary, Cause: uacsta.CauseConference}
		list, notices := z.Conference(how, p.active.member(), p.near.member(), p.far.member())
		l.remove(p.held)
		l.move(z, p.active, p.near, p.far)
		for _, ch := range z.Parties {
			ch.parks = true // it stays in the conference when the others have left
		}
		answer(uacsta.ConferenceCallResponse{ConferenceCall: p.active.connection(), Connections: list}, nil)
		l.deliver(notices...)
		if !one {
			l.kill(p.held)
		}
	})
}
