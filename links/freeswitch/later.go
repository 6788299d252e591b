package freeswitch

import (
	"cmp"
	"slices"
	"time"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// FreeSWITCH sends the events of one channel in order, but those of different channels overtake one another by some
// milliseconds. What some of them mean depends on another one: who has ended a call, who has left it before a new
// channel joins it. Such an event waits a moment for the other one, and later events of its channel wait behind it.

const (
	moment   = 100 * time.Millisecond // for which an event waits at most
	maxLater = 10000                  // events that wait
)

// later is an event that waits.
type later struct {
	event
	id       string   // of its channel
	channels []string // that it is about
	until    time.Time
	number   int // of arrival
}

// backlog has the events that wait.
type backlog struct {
	events  []*later            // in order of arrival
	of      map[string][]*later // those of each channel
	bridges map[string]int      // how many of them connect a channel
	arrived int
	alarmed bool // until the first of them has waited for long enough
}

func newBacklog() *backlog { return &backlog{of: map[string][]*later{}, bridges: map[string]int{}} }

func (b *backlog) add(e event, until time.Time) {
	b.arrived++
	w := &later{e, e.get("Unique-ID"), e.channels(), until, b.arrived}
	b.events = append(b.events, w)
	b.of[w.id] = append(b.of[w.id], w)
	if w.get("Event-Name") == "CHANNEL_BRIDGE" {
		for _, id := range w.channels {
			b.bridges[id]++
		}
	}
}

func (b *backlog) remove(i int) {
	w := b.events[i]
	b.events = slices.Delete(b.events, i, i+1)
	if b.of[w.id] = slices.DeleteFunc(b.of[w.id], func(o *later) bool { return o == w }); len(b.of[w.id]) == 0 {
		delete(b.of, w.id)
	}
	if w.get("Event-Name") != "CHANNEL_BRIDGE" {
		return
	}
	for _, id := range w.channels {
		if b.bridges[id]--; b.bridges[id] == 0 {
			delete(b.bridges, id)
		}
	}
}

// behind reports whether an event waits behind another one of the same channel.
func (b *backlog) behind(w *later) bool {
	return slices.ContainsFunc(w.channels, func(id string) bool {
		first := b.of[id]
		return len(first) > 0 && first[0].number < w.number
	})
}

// handle handles an event as soon as the facts that it needs are known.
func (l *Link) handle(e event) {
	now := time.Now()
	l.later.add(e, now.Add(moment))
	l.proceed(now)
}

// proceed handles the events that need not wait any longer, in order of arrival.
func (l *Link) proceed(now time.Time) {
	waiting := l.later
	for i := 0; i < len(waiting.events); {
		w := waiting.events[i]
		if waiting.behind(w) || now.Before(w.until) && len(waiting.events) <= maxLater && l.early(w.event) {
			i++
			continue
		}
		waiting.remove(i)
		i = 0 // what has been handled may decide what earlier ones mean
		l.act(w.event)
	}
	if len(waiting.events) > 0 && !waiting.alarmed {
		waiting.alarmed = true
		time.AfterFunc(waiting.events[0].until.Sub(now), func() {
			l.inbox.Post(func() {
				waiting.alarmed = false
				if l.later == waiting {
					l.proceed(time.Now())
				}
			})
		})
	}
}

// hurry handles the events that wait when the inbox had no room for the alarm.
func (l *Link) hurry(now time.Time) {
	if waiting := l.later; len(waiting.events) > 0 && now.Sub(waiting.events[0].until) > moment {
		waiting.alarmed = false
		l.proceed(now)
	}
}

// channels returns the identifiers of the channels that an event is about.
func (e event) channels() []string {
	switch id, member := e.get("Unique-ID"), e.get("CC-Member-Session-UUID"); {
	case e.get("Event-Name") == "CHANNEL_BRIDGE":
		return []string{e.get("Bridge-A-Unique-ID"), e.get("Bridge-B-Unique-ID")}
	case member != "":
		return []string{member}
	case id != "":
		return []string{id}
	}
	return nil
}

// ending returns the end of a channel if it waits.
func (l *Link) ending(id string) (e event, waits bool) {
	for _, w := range l.later.of[id] {
		if w.get("Event-Name") == "CHANNEL_HANGUP" {
			return w.event, true
		}
	}
	return event{}, false
}

// ends reports whether the end of a channel waits.
func (l *Link) ends(id string) bool {
	_, waits := l.ending(id)
	return waits
}

// follows reports whether FreeSWITCH ended a channel because of another one: its telephone did not.
func (e event) follows() bool {
	return e.get("variable_sip_term_status") == "" && e.get("variable_last_bridge_hangup_cause") != ""
}

// early reports whether another event must come first. When the time is over, the event is handled without it.
func (l *Link) early(e event) bool {
	id := e.get("Unique-ID")
	ch := l.channels[id]
	switch name := e.get("Event-Name"); {
	case name == "CHANNEL_CREATE":
		return l.joinsEarly(e)
	case name == "CHANNEL_BRIDGE":
		return l.channel(e.get("Bridge-A-Unique-ID")) == nil || l.channel(e.get("Bridge-B-Unique-ID")) == nil
	case name == "CUSTOM" && e.enters():
		return l.entersEarly(e)
	case name == "CHANNEL_ANSWER" && ch != nil:
		return l.answersEarly(ch, e)
	case ch == nil || ch.virtual || ch.id != id:
		return false
	case name == "CHANNEL_HANGUP":
		return l.endsEarly(ch, e)
	case name == "CHANNEL_UNHOLD" && !ch.call.joining, e.get("Action") == "del-member": // alone, or because the channel ends?
		return len(l.later.of[id]) == 1
	}
	return false
}

// answersEarly reports whether FreeSWITCH has not yet connected a called telephone with the channel that calls it.
// Before, that channel may not be answered, and no service can park or transfer the two.
func (l *Link) answersEarly(ch *channel, e event) bool {
	from := l.channel(e.get("Other-Leg-Unique-ID"))
	if from == nil || from == ch || from.call != ch.call || !ch.calls() || ch.comes != nil {
		return false
	}
	id := e.get("Unique-ID")
	return l.later.bridges[id] == 0 && !l.ends(id) && !l.ends(from.id) // one that hangs up at once is never connected
}

// joinsEarly reports whether it is unclear in which call a new channel is: nothing is known of the channel that calls
// it, or that one has not left the party to which it talked, or that rang, before.
func (l *Link) joinsEarly(e event) bool {
	of := e.caller()
	if e.get("Call-Direction") == "inbound" || of == "" || e.get("variable_loopback_leg") != "" {
		return false
	}
	from := l.channel(of)
	if from == nil {
		return true
	}
	device, _ := l.numberOf(e)
	return from.call.room == "" && slices.ContainsFunc(from.call.Parties, func(o *channel) bool {
		return o != from && !o.virtual && o.told() && (!o.calls() || o.Device != device)
	})
}

// caller returns the channel that calls a new one, or the one for which mod_callcenter calls it.
func (e event) caller() string {
	return cmp.Or(e.get("Other-Leg-Unique-ID"), e.get("variable_cc_member_session_uuid"))
}

// enters reports whether a channel begins to wait in a queue.
func (e event) enters() bool {
	return e.get("CC-Action") == "member-queue-start" || e.get("FIFO-Action") == "push" || e.get("Valet-Extension") != "" || e.get("Event-Subclass") == "csta::queue"
}

// entersEarly reports whether a channel that begins to wait has not left the party to which it talked before.
func (l *Link) entersEarly(e event) bool {
	return slices.ContainsFunc(e.channels(), func(id string) bool {
		ch := l.channels[id]
		return ch != nil && ch.with() != nil
	})
}

// endsEarly reports whether it is unclear why a channel has ended: another one has been answered, transferred the
// call, or hung up before.
func (l *Link) endsEarly(ch *channel, e event) bool {
	c := ch.call
	another := func(is func(o *channel) bool) bool {
		return slices.ContainsFunc(c.Parties, func(o *channel) bool { return o != ch && !o.virtual && is(o) })
	}
	switch cause := e.get("Hangup-Cause"); {
	case ch.leaves || c.sending != nil && c.sending.from == ch || e.get("variable_transfer_disposition") == "recv_replace":
		return false
	case e.get("variable_transfer_disposition") == "replaced": // the channel that transfers says so when it ends
		return true
	case ch.kept != nil && !ch.kept.apart && ch.with() != nil: // a bridge shows that it has transferred the call
		return true
	case ch.made != nil && !ch.made.done && ch.calls(): // the device may be called at another telephone
		return true
	case cause == "LOSE_RACE":
		return len(ch.others) == 0 && !another(func(o *channel) bool { return !o.Inbound && o.State == uacsta.Connected })
	}
	return e.follows() && another(func(o *channel) bool {
		other, waits := l.ending(o.id)
		return !waits || !other.follows()
	})
}
