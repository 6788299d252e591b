package freeswitch

import (
	"regexp"
	"slices"
	"strings"

	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// How telephones are made to answer a call that rings: LinkConfig.Answer.
const (
	AnswerTalk = "talk"        // by NOTIFY with the event talk
	AnswerKeys = "keys"        // by what the maker has for it, by NOTIFY; talk where that is not known
	AnswerAuto = "auto-answer" // they are called once more, and answer by themselves
)

// Model is what telephones of one maker obey.
type Model struct {
	Agent          *regexp.Regexp // fits their header User-Agent
	Answer, Resume *Notify        // makes them answer, or take back who their user holds; nil: nothing does
	CSTA           bool           // they speak uaCSTA, each request by a NOTIFY, which does both
}

// Notify is a NOTIFY outside a dialog. In its body, {call-id} stands for that of the call.
type Notify struct{ Event, Type, Body string }

// callIDs are Call-IDs that may stand in a body.
var callIDs = regexp.MustCompile(`^[A-Za-z0-9@._-]{1,128}$`)

// lift: ECMA-269 Answer Call.
func (l *Link) lift(s *uacsta.AnswerCall, answer proxy.Answer) {
	ch, err := l.in(s.CallToBeAnswered, uacsta.Alerting, uacsta.Queued)
	if err == nil && ch.other() == nil {
		err = errState
	}
	if err != nil {
		answer(nil, err)
		return
	}
	res := uacsta.AnswerCallResponse{}
	switch {
	case ch.virtual: // the queue answers
		l.order(api("uuid_answer %", word(ch.other().id)), func(res any, err error) {
			if answer(res, err); err == nil && ch.State == uacsta.Queued {
				l.established(ch)
			}
		}, res)
	case l.cfg.Answer == AnswerAuto:
		l.originate(newID(), l.telephone(ch.Device), ch.Device, []part{variables(l.cfg.AutoAnswer)}, form("&intercept(%)", word(ch.other().id)), &awaited{call: ch.call, by: ch}, res, answer)
	default:
		text := api("uuid_phone_event % talk", word(ch.id))
		ask := uacsta.AnswerCall{CallToBeAnswered: ch.connection()}
		if keys := l.keys(ch, ask, func(m Model) *Notify { return m.Answer }); keys != (instruction{}) {
			text = keys
		}
		l.order(text, answer, res)
	}
}

// hold: ECMA-269 Hold Call.
func (l *Link) hold(s *uacsta.HoldCall, answer proxy.Answer) {
	ch, err := l.in(s.CallToBeHeld, uacsta.Connected)
	if err != nil {
		answer(nil, err)
		return
	}
	ch.holds = true
	l.order(api("uuid_hold %", word(ch.id)), answer, uacsta.HoldCallResponse{})
}

// retrieve: ECMA-269 Retrieve Call. Whom a telephone holds by itself, only the telephone takes
// back.
func (l *Link) retrieve(s *uacsta.RetrieveCall, answer proxy.Answer) {
	ch, err := l.in(s.CallToBeRetrieved, uacsta.Hold)
	if err != nil {
		answer(nil, err)
		return
	}
	text := api("uuid_hold off %", word(ch.id))
	if !ch.holds {
		ask := uacsta.RetrieveCall{CallToBeRetrieved: ch.connection()}
		if keys := l.keys(ch, ask, func(m Model) *Notify { return m.Resume }); keys != (instruction{}) {
			text = keys
		}
	}
	l.order(text, answer, uacsta.RetrieveCallResponse{})
}

// keys is the command that has a telephone told to do something with a call, as its maker's do:
// by uaCSTA, or what which gives; the zero value where there is none. Keys have no call: no other one may be in
// the same state there.
func (l *Link) keys(ch *channel, ask any, which func(Model) *Notify) instruction {
	agent := l.profiles[ch.Device].agent
	i := slices.IndexFunc(l.cfg.Models, func(m Model) bool { return m.Agent.MatchString(agent) })
	if l.cfg.Answer != AnswerKeys || i < 0 {
		return instruction{}
	}
	n := which(l.cfg.Models[i])
	if l.cfg.Models[i].CSTA { // which call, the telephone decides itself
		n = &Notify{"uaCSTA", "application/csta+xml", string(uacsta.Encode(ask, uacsta.Edition3).Bytes())}
	}
	if n == nil {
		return instruction{}
	}
	if named := strings.Contains(n.Body, "{call-id}"); named && !callIDs.MatchString(ch.sip) || !named && l.like(ch) != 1 {
		return instruction{}
	}
	body := strings.ReplaceAll(n.Body, "{call-id}", ch.sip)
	return sendEvent("NOTIFY", form("profile: %", word(l.profile(ch.Device))), form("user: %", word(ch.Device)), form("host: %", word(l.cfg.Domain)),
		form("event-string: %", header(n.Event)), form("content-type: %", header(n.Type))).body(body)
}

// like is how many calls of a device are in the state of one.
func (l *Link) like(ch *channel) int {
	n := 0
	for o := range l.parties[ch.Device] {
		if o.Device == ch.Device && !o.Network && o.State == ch.State && l.channels[o.id] == o {
			n++
		}
	}
	return n
}
