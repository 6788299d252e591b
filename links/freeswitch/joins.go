package freeswitch

import (
	"cmp"
	"errors"
	"regexp"
	"slices"
	"strings"

	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/proxy/callmodel"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// Calls that become one: pickup, queues, parked calls and conferences.

// bridged handles two channels that hear each other. If they are in different calls, one call
// takes over the other.
func (l *Link) bridged(e event) {
	comes, waits := l.channel(e.get("Bridge-A-Unique-ID")), l.channel(e.get("Bridge-B-Unique-ID"))
	switch {
	case comes == nil || waits == nil || comes.virtual || waits.virtual:
		return
	case comes.call == waits.call:
		for _, ch := range []*channel{comes, waits} {
			if ch.comes != nil {
				l.takes(ch, ch.comes.why)
			}
		}
		return
	case comes.call.joining || waits.call.joining, l.completes(comes, waits):
		return
	}
	if c := comes.call; c.picked != nil || c.queued() != nil {
		comes, waits = waits, comes
	}
	cause := uacsta.CauseNormal
	switch c := waits.call; {
	case c.picked != nil:
		cause = uacsta.CauseCallPickup
	case c.queued() != nil:
		if cause = uacsta.CauseDistributed; c.queued().parked {
			cause = uacsta.CausePark
		}
	case len(c.Parties) != 1 || len(comes.call.Parties) != 1: // the reason appears when a channel ends
		c.taker, comes.call.taker = comes, waits
		return
	}
	l.join(comes, waits.call, cause)
}

// join moves a channel to another call.
func (l *Link) join(ch *channel, c *call, cause uacsta.EventCause) {
	if c.full() {
		return
	}
	l.drop(ch, cause)
	ch.State = ""
	l.add(c, ch)
	l.takes(ch, cause)
}

// takes reports that a telephone talks in a call that rang, waited or was parked elsewhere.
func (l *Link) takes(ch *channel, cause uacsta.EventCause) {
	c := ch.call
	if made := ch.comes; made != nil && made.by.call == c && made.by.State == uacsta.Alerting {
		l.pickedUp(made.by)
	}
	ch.comes = nil
	if from := c.picked; from != nil {
		c.picked = nil
		l.divert(from, ch.Device, cause)
	} else if part := c.queued(); part != nil {
		l.divert(part, ch.Device, cause)
	}
	if cause != "" {
		c.Why = cause
	}
	l.established(ch)
}

// pickedUp handles a telephone that stopped ringing because another one took the call.
func (l *Link) pickedUp(ch *channel) {
	c := ch.call
	for _, o := range c.Parties {
		switch {
		case o.comes == nil || o.comes.by != ch:
			continue
		case o.Device == ch.Device: // it was called once more, to answer
			l.remove(ch)
		default:
			l.divert(ch, o.Device, o.comes.why)
		}
		return
	}
	c.picked = ch
	if t := c.taker; t != nil && l.channels[t.id] == t && t.call != c {
		l.join(t, c, uacsta.CauseCallPickup)
	}
}

// pickUp implements Directed Pickup Call (ECMA-269) for a call that rings or is parked.
func (l *Link) pickUp(s *uacsta.DirectedPickupCall, answer proxy.Answer) {
	ch, err := l.in(s.CallToBePickedUp, uacsta.Alerting, uacsta.Queued)
	device := s.RequestingDevice.ID
	switch {
	case err != nil:
	case !l.isDevice(device):
		err = uacsta.Refuse(uacsta.Operation, uacsta.InvalidDestination)
	case ch.other() == nil || ch.call.room != "": // in a conference there is no calling device
		err = errState
	}
	if err != nil {
		answer(nil, err)
		return
	}
	target, cause := form("&intercept(%)", word(ch.other().id)), uacsta.CauseCallPickup
	if ch.parked {
		target, cause = form("'&valet_park(% %)'", word(l.cfg.ParkLot), word(ch.Device)), uacsta.CausePark
	}
	l.originate(newID(), l.telephone(device), l.showing(ch.other().Device), target, &awaited{call: ch.call, device: device, by: ch, why: cause},
		uacsta.DirectedPickupCallResponse{PickedCall: uacsta.Conn(ch.call.ID, device)}, answer)
}

// pickUpGroup implements Group Pickup Call (ECMA-269). It takes the call that has rung longest
// at a telephone of the device's call group.
func (l *Link) pickUpGroup(s *uacsta.GroupPickupCall, answer proxy.Answer) {
	device := s.NewDestination.ID
	if !l.isDevice(device) {
		answer(nil, uacsta.Refuse(uacsta.Operation, uacsta.InvalidDestination))
		return
	}
	l.group(device, func(group string, err error) {
		if err == nil && (group == "" || s.PickGroup != nil && s.PickGroup.ID != group) {
			err = uacsta.Refuse(uacsta.Operation, uacsta.InvalidPickUpDeviceID)
		}
		if err != nil {
			answer(nil, err)
			return
		}
		var ringing []*channel
		for _, ch := range l.channels {
			if ch.State == uacsta.Alerting && !ch.Network && ch.Device != device && l.isDevice(ch.Device) && ch.call.room == "" {
				ringing = append(ringing, ch)
			}
		}
		slices.SortFunc(ringing, func(a, b *channel) int {
			return cmp.Or(a.rang.Compare(b.rang), l.parties[a.Device][a]-l.parties[b.Device][b])
		})
		l.firstOf(ringing, group, func(ch *channel) {
			if ch == nil {
				answer(nil, uacsta.Refuse(uacsta.StateIncompatibility, uacsta.NoCallToAnswer))
				return
			}
			pick := uacsta.DirectedPickupCall{CallToBePickedUp: ch.connection(), RequestingDevice: s.NewDestination}
			l.pickUp(&pick, func(res any, err error) {
				if picked, ok := res.(uacsta.DirectedPickupCallResponse); ok {
					res = uacsta.GroupPickupCallResponse{PickedCall: picked.PickedCall}
				}
				answer(res, err)
			})
		})
	})
}

// firstOf passes the first of the ringing telephones that is in a call group to done, or nil.
func (l *Link) firstOf(ringing []*channel, group string, done func(*channel)) {
	if len(ringing) == 0 {
		done(nil)
		return
	}
	ch := ringing[0]
	l.group(ch.Device, func(its string, err error) {
		if err == nil && its == group && l.channels[ch.id] == ch && ch.State == uacsta.Alerting {
			done(ch)
			return
		}
		l.firstOf(ringing[1:], group, done)
	})
}

// group asks for the call group of a device in the directory. "" means none.
func (l *Link) group(device string, done func(group string, err error)) {
	l.row(device, "callgroup", done)
}

// row asks for a column of a device's row in the directory. "" means none.
func (l *Link) row(device, column string, done func(value string, err error)) {
	user, domain := l.userOf(device)
	l.query(api("list_users user %", word(user)), func(reply string, err error) {
		switch {
		case errors.Is(err, errRights):
			done("", err)
			return
		case err != nil:
			done("", errBusy)
			return
		}
		done(cellOf(reply, column, user, domain), nil)
	})
}

// cellOf parses the table that list_users returns. Its first line names the columns.
func cellOf(table, column, user, domain string) string {
	head, rows, _ := strings.Cut(table, "\n")
	columns := strings.Split(strings.TrimSpace(head), "|")
	id, home, at := slices.Index(columns, "userid"), slices.Index(columns, "domain"), slices.Index(columns, column)
	if id < 0 || home < 0 || at < 0 {
		return ""
	}
	for row := range strings.Lines(rows) {
		if cells := strings.Split(strings.TrimSpace(row), "|"); len(cells) == len(columns) && cells[id] == user && cells[home] == domain {
			return cells[at]
		}
	}
	return ""
}

// park implements Park Call (ECMA-269). The other party goes to a space of a valet parking lot.
func (l *Link) park(s *uacsta.ParkCall, answer proxy.Answer) {
	ch, err := l.in(s.Parking, uacsta.Connected)
	place := s.ParkTo.ID
	switch {
	case err != nil:
	case !words.MatchString(place):
		err = uacsta.Refuse(uacsta.Operation, uacsta.InvalidParkToDeviceID)
	case ch.with() == nil:
		err = errState
	case l.parts[place] > 0:
		err = uacsta.Refuse(uacsta.StateIncompatibility, uacsta.InvalidParkToDeviceState)
	}
	if err != nil {
		answer(nil, err)
		return
	}
	l.send(ch, place, l.elsewhere(ch, form("'valet_park:% %' inline", word(l.cfg.ParkLot), word(place))), uacsta.CausePark, answer,
		uacsta.ParkCallResponse{ParkedTo: uacsta.Conn(ch.call.ID, place)})
}

// ownRooms prefixes the names of conferences that services create. They are not devices.
const ownRooms = "csta-"

// participations maps types of participation to causes of Conferenced and to member flags.
var participations = map[uacsta.ParticipationType]struct {
	cause uacsta.EventCause
	flags string
}{
	uacsta.ParticipationActive: {uacsta.CauseActiveParticipation, ""}, uacsta.ParticipationSilent: {uacsta.CauseSilentParticipation, "+flags{mute}"},
}

// addParty implements Single Step Conference Call (ECMA-269). Those who talk continue in a
// FreeSWITCH conference, which the new device joins when it answers.
func (l *Link) addParty(s *uacsta.SingleStepConferenceCall, answer proxy.Answer) {
	ch, err := l.in(s.ActiveCall, uacsta.Connected)
	device, how := s.DeviceToJoin.ID, participations[s.ParticipationType]
	switch {
	case err != nil:
	case how.cause == "":
		err = uacsta.Refuse(uacsta.Operation, uacsta.InvalidParticipationType)
	case !l.isDevice(device):
		err = uacsta.Refuse(uacsta.Operation, uacsta.InvalidDestination)
	case ch.with() == nil && ch.call.room == "" || ch.kept != nil:
		err = errState
	}
	if err != nil {
		answer(nil, err)
		return
	}
	c := ch.call
	var texts []instruction
	room := c.room
	if room == "" {
		room = ownRooms + newID()
		texts = []instruction{api("uuid_transfer % -both conference:%@default inline", word(ch.id), word(room))}
	}
	l.orders(texts, func(err error) {
		if err == nil && ch.call != c {
			err = errState
		}
		if err != nil {
			answer(nil, err)
			return
		}
		c.room = room
		for _, member := range c.Parties {
			member.parks = true // it stays in the conference when the others have left
		}
		l.originate(newID(), l.dial(device), l.showing(ch.Device), form("&conference(%@default"+how.flags+")", word(room)), &awaited{call: c, device: device, by: ch, why: how.cause},
			uacsta.SingleStepConferenceCallResponse{ConferencedCall: uacsta.Conn(c.ID, device)}, answer)
	})
}

// added reports that a device called into a conference has answered.
func (l *Link) added(ch *channel) {
	by, why := ch.comes.by, ch.comes.why
	ch.comes, ch.parks = nil, true
	l.deliver(conferenced(ch.call, callmodel.Joining{By: by.Device, Added: ch.Device, Primary: by.connection(), Cause: why}, ch)...)
}

// conferenced adds a channel to a call that is a conference.
func conferenced(c *call, how callmodel.Joining, joined *channel) []callmodel.Notice {
	var members []callmodel.Member[*channel]
	for _, ch := range c.Parties {
		if ch.State != "" && ch != joined {
			members = append(members, ch.member())
		}
	}
	_, notices := c.Conference(how, append(members, joined.member())...)
	return notices
}

// roomID begins the identifiers of the channels of conferences. FreeSWITCH's name of the conference follows.
const roomID = "conference "

// isRoom reports whether the channel stands for a conference.
func (ch *channel) isRoom() bool { return strings.HasPrefix(ch.id, roomID) }

// roomNumbers matches names of conferences that are a number and something else, such as 3000-pbx.example.com.
var roomNumbers = regexp.MustCompile(`^([0-9*#]+)[-.]`)

// roomNumber returns the device number of a conference.
func (l *Link) roomNumber(name string) string {
	if m := roomNumbers.FindStringSubmatch(name); m != nil {
		return l.deviceOf(m[1], name[len(m[0]):])
	}
	return name
}

// room handles events of mod_conference for conferences that our services did not create: such
// a conference is a device, and all its members are in one call.
func (l *Link) room(e event) {
	ch, name := l.channels[e.get("Unique-ID")], e.get("Conference-Name")
	if ch == nil || ch.virtual || strings.HasPrefix(name, ownRooms) || !words.MatchString(name) {
		return
	}
	room := l.channels[roomID+name]
	switch e.get("Action") {
	case "add-member":
		switch {
		case room == nil && !ch.call.full() && !l.full():
			room = &channel{id: roomID + name, Connection: callmodel.Connection{Device: l.roomNumber(name)}, virtual: true}
			l.add(ch.call, room)
			l.established(room)
		case room != nil && room.call != ch.call && !room.call.full():
			before := ch.connection()
			notices := conferenced(room.call, callmodel.Joining{By: room.Device, Added: ch.Device, Primary: room.connection(), Secondary: &before, Cause: uacsta.CauseConference}, ch)
			l.move(room.call, ch)
			l.deliver(notices...)
		}
	case "del-member":
		if room != nil && room.call == ch.call && !l.ends(ch.id) { // it continues elsewhere
			l.cleared(ch, uacsta.CauseNormalClearing)
			ch.State = uacsta.Connected
			l.add(newCall(newID(), ch.Device, ""), ch)
		}
	}
}

// end implements Clear Connection (ECMA-269). At a queue it ends the waiting call, at a
// conference the conference. Of the two calls of a consulting telephone it ends one.
func (l *Link) end(s *uacsta.ClearConnection, answer proxy.Answer) {
	ch, err := l.in(s.ConnectionToBeCleared, uacsta.Initiated, uacsta.Alerting, uacsta.Connected, uacsta.Hold, uacsta.Queued)
	if err == nil && ch.leg() == nil {
		err = errState
	}
	if err != nil {
		answer(nil, err)
		return
	}
	texts, then := each(ch.leg(), "uuid_kill % NORMAL_CLEARING"), func() {}
	name, room := strings.CutPrefix(ch.id, roomID)
	switch o := ch.other(); {
	case room:
		texts = []instruction{api("conference % hup all", word(name))}
	case ch.virtual:
	case l.channels[ch.id] != ch && o != nil: // it waits
		texts, then = each(o, "uuid_kill % NORMAL_CLEARING"), func() { l.drop(ch, uacsta.CauseNormalClearing) }
	case ch.kept != nil:
		texts, then = []instruction{api("uuid_transfer % park inline", word(ch.id))}, func() { l.quit(ch) }
	}
	active := l.channels[ch.id]
	l.all(texts, func(err error) {
		if answer(uacsta.ClearConnectionResponse{}, err); err == nil && l.there(ch) && l.channels[ch.id] == active {
			then()
		}
	})
}
