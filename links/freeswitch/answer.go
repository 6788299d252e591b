package freeswitch

import (
	"regexp"
	"slices"
	"strings"

	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// Ways to make a ringing telephone answer, for LinkConfig.Answer.
const (
	AnswerTalk = "talk"        // NOTIFY with the event talk
	AnswerKeys = "keys"        // a NOTIFY that the telephone's maker defines; AnswerTalk for unknown models
	AnswerAuto = "auto-answer" // call it once more with automatic answer
)

// Model describes how to control one maker's telephones.
type Model struct {
	Agent          *regexp.Regexp // matches their User-Agent header
	Answer, Resume *Notify        // make them answer, or retrieve a call their user holds; nil if nothing does
	CSTA           bool           // they accept uaCSTA in a NOTIFY, which does both
}

// Notify is a NOTIFY outside a dialog. {call-id} in its body stands for the Call-ID of the
// call.
type Notify struct{ Event, Type, Body string }

// callIDs matches Call-IDs that may be put into a body.
var callIDs = regexp.MustCompile(`^[A-Za-z0-9@._-]{1,128}$`)

// lift implements Answer Call (ECMA-269).
func (l *Link) lift(s *uacsta.AnswerCall, answer proxy.Answer) {
	ch, err := l.in(s.CallToBeAnswered, uacsta.Initiated, uacsta.Alerting, uacsta.Queued)
	prompted := err == nil && ch.prompted() // the calling telephone of MakeCall
	if err == nil && ((ch.other() == nil || ch.State == uacsta.Initiated) && !prompted || prompted && l.cfg.Answer == AnswerAuto) {
		err = errState
	}
	if err != nil {
		answer(nil, err)
		return
	}
	res := uacsta.AnswerCallResponse{}
	switch {
	case ch.virtual: // only the queue answers here
		l.order(api("uuid_answer %", word(ch.other().id)), func(res any, err error) {
			if answer(res, err); err == nil && ch.State == uacsta.Queued {
				l.established(ch)
			}
		}, res)
	case l.cfg.Answer == AnswerAuto:
		l.originate(newID(), l.telephone(ch.Device), []part{variables(l.cfg.AutoAnswer)}, l.afterwards("intercept", word(ch.other().id)), &awaited{call: ch.call, device: ch.Device, by: ch}, res, answer)
	default:
		texts := l.talk(ch, uacsta.AnswerCall{CallToBeAnswered: ch.connection()}, func(m Model) *Notify { return m.Answer })
		l.all(texts, func(err error) { answer(res, err) })
	}
}

// hold implements Hold Call (ECMA-269).
func (l *Link) hold(s *uacsta.HoldCall, answer proxy.Answer) {
	ch, err := l.in(s.CallToBeHeld, uacsta.Connected)
	if err != nil {
		answer(nil, err)
		return
	}
	l.order(api("uuid_hold %", word(ch.id)), func(res any, err error) {
		ch.holds = ch.holds || err == nil
		answer(res, err)
	}, uacsta.HoldCallResponse{})
}

// retrieve implements Retrieve Call (ECMA-269). Only the telephone itself can retrieve a call
// that its user holds: by a NOTIFY, if it supports one.
func (l *Link) retrieve(s *uacsta.RetrieveCall, answer proxy.Answer) {
	ch, err := l.in(s.CallToBeRetrieved, uacsta.Hold)
	if err != nil {
		answer(nil, err)
		return
	}
	res, texts := uacsta.RetrieveCallResponse{}, []instruction{api("uuid_hold off %", word(ch.id))}
	switch active := l.channels[ch.id]; {
	case ch.apart && active != ch && active.other() != nil: // the other call comes first
		answer(nil, errState)
		return
	case ch.apart:
		l.resume(ch, answer, res)
		return
	case !ch.holds && l.cfg.Answer == AnswerAuto:
		answer(nil, errState)
		return
	case !ch.holds:
		texts = l.talk(ch, uacsta.RetrieveCall{CallToBeRetrieved: ch.connection()}, func(m Model) *Notify { return m.Resume })
	}
	l.all(texts, func(err error) { answer(res, err) })
}

// talk returns the commands that make a telephone take a call: its maker's NOTIFY, or else talk for each that rings.
func (l *Link) talk(ch *channel, ask any, which func(Model) *Notify) []instruction {
	if keys := l.keys(ch, ask, which); keys != (instruction{}) {
		return []instruction{keys}
	}
	return each(ch, "uuid_phone_event % talk")
}

// keys returns the NOTIFY that makes a telephone act on a call, with uaCSTA or as which says,
// or the zero value if there is none. Unless the NOTIFY names the call, no other call of the
// device may be in the same state.
func (l *Link) keys(ch *channel, ask any, which func(Model) *Notify) instruction {
	agent := l.profiles[ch.Device].agent
	i := slices.IndexFunc(l.cfg.Models, func(m Model) bool { return m.Agent.MatchString(agent) })
	if l.cfg.Answer != AnswerKeys || i < 0 {
		return instruction{}
	}
	n := which(l.cfg.Models[i])
	if l.cfg.Models[i].CSTA { // the telephone chooses the call
		n = &Notify{"uaCSTA", "application/csta+xml", string(uacsta.Encode(ask, uacsta.Edition3).Bytes())}
	}
	if n == nil {
		return instruction{}
	}
	if named := strings.Contains(n.Body, "{call-id}"); named && !callIDs.MatchString(ch.sip) || !named && l.like(ch) != 1 {
		return instruction{}
	}
	body := strings.ReplaceAll(n.Body, "{call-id}", ch.sip)
	user, domain := l.userOf(ch.Device)
	return sendEvent("NOTIFY", form("profile: %", word(l.profile(ch.Device))), form("user: %", word(user)), form("host: %", word(domain)),
		form("event-string: %", header(n.Event)), form("content-type: %", header(n.Type))).body(body)
}

// like counts the calls of the device in the same state.
func (l *Link) like(ch *channel) int {
	n := 0
	for o := range l.parties[ch.Device] {
		if o.Device == ch.Device && !o.Network && o.State == ch.State && l.channels[o.id] == o {
			n++
		}
	}
	return n
}
