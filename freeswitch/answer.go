package freeswitch

import (
	"fmt"
	"regexp"
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
	Agent  *regexp.Regexp // fits their header User-Agent
	Answer Notify         // makes them answer
	CSTA   bool           // they speak uaCSTA, each request by a NOTIFY: then Answer is not needed
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
		l.order("api uuid_answer "+ch.other().id, func(res any, err error) {
			if answer(res, err); err == nil && ch.state == uacsta.Queued {
				l.established(ch)
			}
		}, res)
	case l.cfg.Answer == AnswerAuto:
		l.originate(newID(), l.telephone(ch.number), ch.number, l.cfg.AutoAnswer+",", fmt.Sprintf("&intercept(%s)", ch.other().id), &awaited{call: ch.call, by: ch}, res, answer)
	default:
		text := "api uuid_phone_event " + ch.id + " talk"
		if keys := l.keys(ch); keys != "" {
			text = keys
		}
		l.order(text, answer, res)
	}
}

// keys is the command that has a telephone told to answer as its maker's do; "" where there is
// none. Keys have no call: nothing else may ring there.
func (l *Link) keys(ch *channel) string {
	if l.cfg.Answer != AnswerKeys {
		return ""
	}
	agent := l.profiles[ch.number].agent
	for _, m := range l.cfg.Models {
		if !m.Agent.MatchString(agent) {
			continue
		}
		n := m.Answer
		if m.CSTA {
			ask := uacsta.AnswerCall{CallToBeAnswered: uacsta.Conn(ch.call.id, ch.number)} // which call, it decides itself
			n = Notify{"uaCSTA", "application/csta+xml", string(uacsta.Encode(ask, uacsta.Edition3).Bytes())}
		}
		body := n.Body
		switch named := strings.Contains(body, "{call-id}"); {
		case named && !callIDs.MatchString(ch.sip), !named && l.ringing(ch.number) != 1:
			return ""
		}
		body = strings.ReplaceAll(body, "{call-id}", ch.sip)
		return strings.Join([]string{
			"sendevent NOTIFY", "profile: " + l.profile(ch.number), "user: " + ch.number, "host: " + l.cfg.Domain, "event-string: " + n.Event,
			"content-type: " + n.Type, fmt.Sprintf("Content-Length: %d", len(body)), "", body,
		}, "\n")
	}
	return ""
}

// ringing is how many calls ring at a device.
func (l *Link) ringing(device string) int {
	n := 0
	for _, ch := range l.channels {
		if ch.number == device && !ch.network && ch.state == uacsta.Alerting {
			n++
		}
	}
	return n
}
