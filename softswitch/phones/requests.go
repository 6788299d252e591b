package phones

import (
	"errors"
	"strings"

	"github.com/tr87proxy/tr87proxy/sip"
	"github.com/tr87proxy/tr87proxy/sip/registrar"
	"github.com/tr87proxy/tr87proxy/softswitch/media"
)

// This file handles what users do in a call: press keys, transfer. hold.go has hold and retrieval.

// Request implements sip.DialogHandler.
func (l *leg) Request(d *sip.Dialog, r *sip.Request) {
	taken := l.do(func() {
		switch r.Method() {
		case "INVITE", "UPDATE":
			l.renegotiate(d, r)
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
			l.gone()
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

// refer handles REFER: the user transfers the call (RFC 3515), to a number or, with
// Replaces, to the other party of another call (RFC 3891).
func (l *leg) refer(d *sip.Dialog, r *sip.Request) {
	to := sip.ParseAddress(r.Header("Refer-To"))
	number := registrar.Number(to.URI)
	replaces, attended, ok := replacedBy(to.URI)
	switch {
	case number == "" || len(r.Values("Refer-To")) != 1: // RFC 3515 2.4.1
		r.Respond(sip.Answer{Code: 400, Reason: "Malformed Refer-To"})
		return
	case !ok:
		r.Respond(sip.Answer{Code: 400, Reason: "Malformed Replaces"})
		return
	}
	r.Respond(sip.Answer{Code: 202})
	result := "200 OK"
	var err error
	if attended {
		err = l.transferTo(replaces)
	} else {
		err = l.transfer(number)
	}
	if err != nil {
		l.server.log.Info("refused a transfer by a telephone", "device", l.device, "err", err)
		result = "603 Declined"
		var why refusedTransfer
		if errors.As(err, &why) {
			result = string(why)
		}
	}
	d.Send("NOTIFY", "message/sipfrag;version=2.0", []byte("SIP/2.0 "+result+"\r\n"), nil,
		sip.Header{Name: "Event", Value: "refer"}, sip.Header{Name: "Subscription-State", Value: "terminated;reason=noresource"})
}

var errTransfer = errors.New("a trunk cannot transfer a call")

// refusedTransfer is why a transfer is refused, in the form of the NOTIFY to the telephone.
type refusedTransfer string

func (r refusedTransfer) Error() string { return string(r) }

const (
	errNoDialog  refusedTransfer = "481 Call/Transaction Does Not Exist"
	errForbidden refusedTransfer = "403 Forbidden"
	errConfirmed refusedTransfer = "486 Busy Here" // early-only, and the dialog is not early
)

// transfer sends the other party of the call to a number.
func (l *leg) transfer(number string) error {
	if l.trunk != nil {
		return errTransfer
	}
	return l.server.sw.Refer(l.device, l.keyNow(), number)
}

// transferTo connects the other parties of this call and of the one in another dialog of the
// extension.
func (l *leg) transferTo(r sip.Replaces) error {
	s := l.server
	d := s.ua.Dialog(r.CallID, r.ToTag, r.FromTag)
	s.mu.Lock()
	other := carrier(d)
	key, otherKey, up := l.key, 0, false
	if other != nil {
		otherKey, up = other.key, other.up
	}
	s.mu.Unlock()
	switch {
	case other == nil || other == l:
		return errNoDialog
	case l.trunk != nil:
		return errTransfer
	case other.device != l.device:
		return errForbidden
	case up && r.EarlyOnly:
		return errConfirmed
	}
	return s.sw.Join(l.device, key, otherKey)
}
