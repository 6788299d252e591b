package phones

import (
	"strings"

	"github.com/tr87proxy/tr87proxy/sip"
	"github.com/tr87proxy/tr87proxy/softswitch/media"
)

// This file handles what users do in a call. hold.go has hold and retrieval, refer.go transfer.

// Request implements sip.DialogHandler.
func (l *leg) Request(d *sip.Dialog, r *sip.Request) {
	taken := l.do(func() {
		switch r.Method() {
		case "INVITE", "UPDATE":
			faxes := l.voice.Faxes()
			if l.fax(d, r) {
				return
			}
			if l.renegotiate(d, r); faxes {
				l.afterFax()
			}
		case "INFO":
			l.info(r)
		case "REFER":
			l.refer(d, r)
		case "NOTIFY":
			r.Respond(sip.Answer{})
		default:
			r.Respond(sip.Answer{Code: 501})
		}
	})
	if !taken {
		r.Respond(sip.Answer{Code: 503, Headers: []sip.Header{{Name: "Retry-After", Value: "5"}}})
	}
}

// Ack implements sip.AckHandler: the ACK has the answer to an offer in our 2xx.
func (l *leg) Ack(_ *sip.Dialog, r *sip.Request) {
	l.do(l.endIfBrief)
	if len(r.Body()) == 0 {
		return
	}
	l.do(func() {
		if !l.voice.Awaits() { // our 2xx had the answer
			return
		}
		if err := l.voice.Answered(r.Body(), speaks(r.Peer())); err != nil {
			l.server.log.Info("telephone sent an unusable answer", "device", l.device, "err", err)
			l.hangUp(endNormal)
			l.gone("")
			return
		}
		if l.wants == media.SendRecv { // an answer to less says nothing about the user
			l.agreed()
		}
		l.heard()
	})
}

// heard stores that the telephone's voice has been negotiated.
func (l *leg) heard() {
	s := l.server
	s.mu.Lock()
	l.early = true
	key := l.key
	s.mu.Unlock()
	s.kickKey(key)
}

// info handles a key that comes by INFO.
func (l *leg) info(r *sip.Request) {
	digit := rune(0)
	if len(r.Body()) == 0 { // it asks whether the call lives
		r.Respond(sip.Answer{})
		return
	}
	switch r.ContentType() {
	case "application/dtmf-relay":
		for line := range strings.Lines(string(r.Body())) {
			if name, value, ok := strings.Cut(line, "="); ok && strings.EqualFold(strings.TrimSpace(name), "Signal") {
				digit = oneDigit(strings.TrimSpace(value))
			}
		}
	case "application/dtmf":
		digit = oneDigit(strings.TrimSpace(string(r.Body())))
	default:
		r.Respond(sip.Answer{Code: 415, Headers: []sip.Header{{Name: "Accept", Value: "application/dtmf-relay, application/dtmf"}}})
		return
	}
	if digit == 0 {
		r.Respond(sip.Answer{Code: 400})
		return
	}
	r.Respond(sip.Answer{})
	l.server.pass(l, string(digit))
	l.Digit(digit)
}

func oneDigit(text string) rune {
	names := map[string]string{"10": "*", "11": "#"} // some telephones number them so
	if name, ok := names[text]; ok {
		text = name
	}
	text = strings.ToUpper(text)
	if len(text) == 1 && strings.ContainsAny(text, "0123456789*#ABCD") {
		return rune(text[0])
	}
	return 0
}
