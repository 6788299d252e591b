package freeswitch

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"slices"
	"strings"

	"github.com/tr87proxy/tr87proxy/proxy/callmodel"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// When the link connects, FreeSWITCH lists its channels and registrations. The lists may be
// long, so they are read row by row.

// maxRow limits one row of a list, in octets.
const maxRow = 64 << 10

// rows parses a list in FreeSWITCH's format, {"row_count":1,"rows":[{}]}. It calls take for
// each row until take returns false.
func rows[T any](list io.Reader, take func(T) (more bool)) error {
	limited := &io.LimitedReader{R: list}
	d := json.NewDecoder(limited)
	next := func() bool {
		limited.N = maxRow
		return d.More()
	}
	is := func(want json.Token) bool {
		t, err := d.Token()
		return err == nil && t == want
	}
	limited.N = maxRow
	if !is(json.Delim('{')) {
		return errBroken
	}
	for next() {
		if !is("rows") {
			var other json.RawMessage
			if d.Decode(&other) != nil {
				return errBroken
			}
			continue
		}
		if !is(json.Delim('[')) {
			return errBroken
		}
		for next() {
			var row T
			if d.Decode(&row) != nil {
				return errBroken
			}
			if !take(row) {
				return nil
			}
		}
		if !is(json.Delim(']')) {
			return errBroken
		}
	}
	if !is(json.Delim('}')) {
		return errBroken
	}
	return nil
}

// begins reads one list of FreeSWITCH's current state. On the inbox's goroutine, and before
// later events, it calls row for each row up to the limit most, and finally then.
func begins[T any](ctx context.Context, l *Link, s *socket, what string, most int, row func(T), then func(done func(error))) error {
	deliver, learnt, n, listed := l.inbox.Deliverer(), make(chan error, 1), 0, false
	list := func(r io.Reader) error {
		listed = true
		return rows(r, func(t T) bool {
			if n++; n > most {
				deliver(func() { l.crowded(what, most) })
				return false
			}
			deliver(func() { row(t) })
			return true
		})
	}
	if err := s.give("api show "+what+" as json", &command{list: list, done: func(_ string, err error) {
		if err == nil && !listed {
			err = errBroken
		}
		deliver(func() {
			if err != nil {
				learnt <- err
				return
			}
			then(func(err error) { learnt <- err })
		})
	}}, true); err != nil {
		return err
	}
	select {
	case err := <-learnt:
		return err
	case <-ctx.Done():
		return nil
	}
}

// crowded logs that FreeSWITCH has more of something than the link follows.
func (l *Link) crowded(what string, most int) {
	l.report(slog.LevelWarn, what, "FreeSWITCH has more than the link follows: clients do not see the rest", "what", what, "limit", most)
}

// shown is a row of "show channels as json".
type shown struct {
	UUID, Direction, Name, Dest, CallState jsonText
	PresenceID                             jsonText `json:"presence_id"`
	CallUUID                               jsonText `json:"call_uuid"` // empty until the channel is bridged
	CallerNumber                           jsonText `json:"cid_num"`
	Dialled                                jsonText `json:"initial_dest"`
	Application, State                     jsonText
	Data                                   jsonText `json:"application_data"`
}

// jsonText is JSON text that is sanitised by legible.
type jsonText string

// UnmarshalJSON implements json.Unmarshaler.
func (t *jsonText) UnmarshalJSON(data []byte) error {
	var text string
	err := json.Unmarshal(data, &text)
	*t = jsonText(legible(text))
	return err
}

// former is a channel that existed before the link connected.
type former struct {
	shown
	variables map[string]string // those that needs names and FreeSWITCH has
	ch        *channel
}

// Variables of channels from which a link that connects later learns what their rows do not say.
const (
	callingFor = "csta_calling"            // of a call that a service placed: the calling device
	memberOf   = "cc_member_session_uuid"  // of a channel to an agent: the caller's channel
	otherEnd   = "other_loopback_leg_uuid" // of a channel of mod_loopback
)

// learn stores a channel that existed before the link connected.
func (l *Link) learn(row shown) {
	if words.MatchString(string(row.UUID)) { // else no command can name it
		l.before = append(l.before, &former{shown: row, variables: map[string]string{}})
	}
}

// receive handles an event. While the link reads what exists, events wait: they are later than the lists.
func (l *Link) receive(e event) {
	if l.reading && len(l.unread) < maxChannels {
		l.unread = append(l.unread, e)
		return
	}
	l.readOn()
	l.handle(e)
}

// readOn handles the events that have waited.
func (l *Link) readOn() {
	events := l.unread
	l.reading, l.unread = false, nil
	for _, e := range events {
		l.handle(e)
	}
}

// learnt makes calls of the channels that existed before the link connected, and continues.
func (l *Link) learnt(then func(error)) {
	var questions []question
	for _, f := range l.before {
		for _, name := range l.needs(f) {
			questions = append(questions, question{f, name})
		}
	}
	l.inquire(questions, func(err error) {
		if err != nil {
			then(err)
			return
		}
		l.recall(l.gather(), func(err error) {
			if err == nil {
				l.earlier = nil
				l.readOn()
			}
			then(err)
		})
	})
}

// question asks for a variable of a channel.
type question struct {
	of   *former
	name string
}

// maxQuestions limits the questions that are asked at the same time.
const maxQuestions = 100

// inquire asks questions and continues.
func (l *Link) inquire(questions []question, then func(error)) {
	now := questions[:min(len(questions), maxQuestions)]
	if len(now) == 0 {
		then(nil)
		return
	}
	left, failure := len(now), error(nil)
	for _, q := range now {
		l.query(api("uuid_getvar % %", word(string(q.of.UUID)), word(q.name)), func(value string, err error) {
			switch {
			case err == nil && value != undefined && (words.MatchString(value) || l.isDevice(value)):
				q.of.variables[q.name] = value
			case err != nil && !errors.Is(err, errRefused) && !errors.Is(err, errRights):
				failure = err
			}
			if left--; left > 0 {
				return
			}
			if failure != nil {
				then(failure)
				return
			}
			l.inquire(questions[len(now):], then)
		})
	}
}

// undefined is FreeSWITCH's value of a variable that a channel does not have.
const undefined = "_undef_"

// needs returns the variables to ask for.
func (l *Link) needs(f *former) []string {
	var names []string
	switch _, network := l.number(f); {
	case f.loops() && f.Direction == "inbound":
		return []string{otherEnd}
	case f.loops():
		return nil
	case network && f.Direction == "inbound":
		names = append(names, "sip_gateway")
	case network:
		names = append(names, "sip_gateway_name")
	}
	if f.Direction != "inbound" && f.leads() {
		names = append(names, placed, callingFor, memberOf)
	}
	return names
}

// loops reports whether the channel is one of mod_loopback.
func (f *former) loops() bool { return strings.HasPrefix(string(f.Name), "loopback/") }

// leads reports whether the channel is not the B leg of another one.
func (f *former) leads() bool { return f.CallUUID == "" || f.CallUUID == f.UUID }

// number returns the number of the channel's device.
func (l *Link) number(f *former) (number string, network bool) {
	return l.numberOf(event{headers: map[string]string{
		"Channel-Presence-ID": string(f.PresenceID), "Call-Direction": string(f.Direction),
		"Caller-Caller-ID-Number": string(f.CallerNumber), "Caller-Destination-Number": string(f.Dest),
	}})
}

// key returns a name that all channels of a call share: that of a conference of our services, of a call
// that a service placed, or of a channel.
func (f *former) key() string {
	switch id := string(f.CallUUID); {
	case strings.HasPrefix(f.conference(), ownRooms):
		return f.conference()
	case f.variables[callingFor] != "" && f.variables[placed] != "":
		return f.variables[placed]
	case f.variables[memberOf]+f.variables[otherEnd] != "":
		return f.variables[memberOf] + f.variables[otherEnd]
	case words.MatchString(id):
		return id
	}
	return string(f.UUID)
}

// conference returns the name of the conference that the channel is in, or "".
func (f *former) conference() string {
	if f.Application != "conference" {
		return ""
	}
	where, _, _ := strings.Cut(string(f.Data), " ")
	if end := strings.IndexAny(where, "@+"); end >= 0 {
		where = where[:end]
	}
	return where
}

// gather makes calls of the channels that existed before the link connected. It returns those that are parked.
func (l *Link) gather() (parked []*channel) {
	by := map[string]*former{}
	for _, f := range l.before {
		by[string(f.UUID)] = f
	}
	calls := map[string]*call{}
	for _, f := range l.before {
		if l.channels[string(f.UUID)] != nil || l.full() {
			continue // an event came first
		}
		if f.loops() {
			l.loops[string(f.UUID)] = f.key()
			continue
		}
		key := f.key()
		for n := 0; n < maxLoops && by[key] != nil && by[key].key() != key; n++ {
			key = by[key].key()
		}
		l.readd(f, key, calls)
		if f.Application == "park" || f.State == "CS_PARK" {
			parked = append(parked, f.ch)
		}
	}
	for _, f := range l.before {
		if f.ch != nil && l.channels[string(f.UUID)] == f.ch {
			l.found(f)
		}
	}
	l.before = nil
	return parked
}

// readd adds a channel to the call with a key.
func (l *Link) readd(f *former, key string, calls map[string]*call) {
	ch := &channel{id: string(f.UUID), Connection: callmodel.Connection{Inbound: f.Direction == "inbound"}}
	ch.Device, ch.Network = l.number(f)
	if ch.Network {
		ch.Trunk = l.trunkDevice(f.variables["sip_gateway"] + f.variables["sip_gateway_name"])
	}
	calling := f.variables[callingFor]
	ch.State = f.state(calling == ch.Device)
	if old := l.earlier[ch.id]; old != nil && old.Device == ch.Device {
		ch.holds, ch.parks, ch.sip, ch.rang = old.holds, old.parks, old.sip, old.rang
		ch.Trunk = cmp.Or(old.Trunk, ch.Trunk)
	}
	c := calls[key]
	if c == nil || c.full() {
		c = l.again(f, key)
		calls[key] = c
	}
	if calling != "" {
		ch.made = &awaited{call: c, device: ch.Device, prompts: calling == ch.Device, seen: true, done: true}
	}
	if f.ch = ch; ch.calls() && l.shares(c, ch) {
		f.ch = l.channels[ch.id]
		return
	}
	l.add(c, ch)
}

// state returns the state of a channel's connection. prompted is true for the calling telephone of MakeCall.
func (f *former) state(prompted bool) uacsta.LocalConnectionState {
	switch f.CallState {
	case "HELD":
		return uacsta.Hold
	case "RINGING", "EARLY":
		switch {
		case f.Direction == "inbound":
		case prompted:
			return uacsta.Initiated
		default:
			return uacsta.Alerting
		}
	case "ACTIVE", "UNHELD", "RING_WAIT":
	default:
		if f.Direction != "inbound" {
			return "" // it does not ring yet
		}
	}
	return uacsta.Connected
}

// again returns the call that a channel is in. If the link knew it before it lost FreeSWITCH, it has the same
// identifier.
func (l *Link) again(f *former, key string) *call {
	id, calling, called := key, string(f.CallerNumber), string(f.Dest)
	device, _ := l.number(f)
	switch from := f.variables[callingFor]; {
	case f.Direction == "inbound":
		called = cmp.Or(string(f.Dialled), called)
	case from == device && f.state(true) == uacsta.Initiated: // it shows the number that it is to call
		calling, called = from, string(f.CallerNumber)
	case from == device:
		calling = from
	case from != "":
		calling, called = from, device
	}
	c := newCall(id, calling, called)
	if room, own := strings.CutPrefix(key, ownRooms); own {
		c.ID, c.room = room, key
	}
	c.predicts = f.variables[callingFor] != "" && f.variables[callingFor] != device && f.state(false) != uacsta.Connected
	if old := l.earlier[string(f.UUID)]; old != nil && l.calls[old.call.ID] == nil {
		was := old.call
		c.ID, c.Calling, c.Called, c.Redirected, c.Why, c.queue, c.exit = was.ID, was.Calling, was.Called, was.Redirected, was.Why, was.queue, was.exit
	}
	if l.calls[c.ID] != nil {
		c.ID = newID()
	}
	return c
}

// registration is a row of "show registrations as json".
type registration struct {
	User   jsonText `json:"reg_user"`
	Realm  jsonText `json:"realm"`
	CallID jsonText `json:"token"`
}

// found determines where a channel that existed before the link is: in a queue, parked, or in a
// conference.
func (l *Link) found(f *former) {
	c := f.ch.call
	alone := len(c.Parties) == 1
	where, place, _ := strings.Cut(string(f.Data), " ")
	switch room := f.conference(); {
	case strings.HasPrefix(room, ownRooms):
		f.ch.parks = true // it stays in the conference when the others have left
	case room != "":
		l.room(event{headers: map[string]string{"Unique-ID": f.ch.id, "Conference-Name": room, "Action": "add-member"}})
	case f.Application == "callcenter":
		if c.queue = l.queueDevice(where); alone {
			l.enqueue(c, c.queue, uacsta.CauseEnteringDistribution)
		} else if slices.ContainsFunc(c.Parties, func(o *channel) bool { return o != f.ch && o.State == uacsta.Connected }) {
			c.queue = ""
		}
	case !alone || f.Application == "bridge":
	case f.Application == "fifo":
		if strings.HasPrefix(place, "in") {
			l.enqueue(c, l.queueDevice(where), uacsta.CauseEnteringDistribution)
		}
	case f.Application == "valet_park":
		l.enqueue(c, place, uacsta.CausePark)
	case f.CallState == "ACTIVE" || f.CallState == "UNHELD":
		l.waits(f.ch, string(f.Dest))
		l.requeue(f)
	case f.ch.Inbound:
		l.requeue(f)
	}
}

// requeue has a call wait in the queue of the dialplan in which it was before the link lost FreeSWITCH.
func (l *Link) requeue(f *former) {
	old, c := l.earlier[f.ch.id], f.ch.call
	if old == nil || !slices.Contains([]jsonText{"", "answer", "park", "playback", "endless_playback", "sleep"}, f.Application) {
		return
	}
	was := old.call.queued()
	if was == nil {
		return
	}
	if c.queued() == nil {
		l.enqueue(c, was.Device, uacsta.CauseEnteringDistribution)
	}
	if part := c.queued(); part != nil && part.Device == was.Device {
		part.State, part.parked = was.State, was.parked
	}
}
