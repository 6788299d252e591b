package freeswitch

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
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
	UUID, Direction, Dest, CallState jsonText
	PresenceID                       jsonText `json:"presence_id"`
	CallUUID                         jsonText `json:"call_uuid"`
	CallerNumber                     jsonText `json:"cid_num"`
	Application, State               jsonText
	Data                             jsonText `json:"application_data"`
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
	*channel
	row shown
}

// learn adds a channel that existed before the link connected.
func (l *Link) learn(row shown) {
	id := string(row.UUID)
	if l.channels[id] != nil || !words.MatchString(id) || l.full() {
		return // an event came first, or no command can name it
	}
	e := event{headers: map[string]string{
		"Channel-Presence-ID": string(row.PresenceID), "Call-Direction": string(row.Direction),
		"Caller-Caller-ID-Number": string(row.CallerNumber), "Caller-Destination-Number": string(row.Dest),
	}}
	ch := &channel{id: id, Connection: callmodel.Connection{Inbound: row.Direction == "inbound"}}
	ch.Device, ch.Network = numberOf(e)
	callID := string(row.CallUUID)
	if !words.MatchString(callID) || l.calls[callID].full() {
		callID = id
	}
	c := l.calls[callID]
	if c == nil {
		c = newCall(callID, string(row.CallerNumber), string(row.Dest))
	}
	switch {
	case row.CallState == "HELD":
		ch.State = uacsta.Hold
	case ch.Inbound || row.CallState == "ACTIVE" || row.CallState == "UNHELD":
		ch.State = uacsta.Connected
	case row.CallState == "RINGING" || row.CallState == "EARLY":
		ch.State = uacsta.Alerting
	}
	l.add(c, ch)
	l.before = append(l.before, former{ch, row})
}

// learnt continues after all channels were added.
func (l *Link) learnt(then func(error)) {
	var parked []*channel
	for _, known := range l.before {
		l.found(known.channel, known.row)
		if known.row.Application == "park" || known.row.State == "CS_PARK" {
			parked = append(parked, known.channel)
		}
	}
	l.before = nil
	l.recall(parked, then)
}

// registration is a row of "show registrations as json".
type registration struct {
	User jsonText `json:"reg_user"`
}

// found determines where a channel that existed before the link is: in a queue, parked, or in a
// conference.
func (l *Link) found(ch *channel, row shown) {
	where, place, _ := strings.Cut(string(row.Data), " ")
	switch row.Application {
	case "callcenter":
		ch.call.queue = l.queueDevice(where)
		l.enqueue(ch.call, ch.call.queue, uacsta.CauseEnteringDistribution)
	case "fifo":
		if strings.HasPrefix(place, "in") {
			l.enqueue(ch.call, l.queueDevice(where), uacsta.CauseEnteringDistribution)
		}
	case "valet_park":
		l.enqueue(ch.call, place, uacsta.CausePark)
	case "conference":
		l.room(event{headers: map[string]string{"Unique-ID": ch.id, "Conference-Name": local(where), "Action": "add-member"}})
	case "bridge":
	default:
		if row.CallState == "ACTIVE" {
			l.waits(ch, string(row.Dest))
		}
	}
}
