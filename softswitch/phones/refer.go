package phones

import (
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/tr87proxy/tr87proxy/sip"
	"github.com/tr87proxy/tr87proxy/sip/registrar"
	"github.com/tr87proxy/tr87proxy/softswitch"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// Transfer by REFER (RFC 3515). The telephone's leg stays until the telephone has learned what became of the
// transfer; if nobody takes the call, the telephone has it back.

// referral is a transfer that the switch has carried out, and that the target has not answered yet.
type referral struct {
	leg    *leg
	dialog *sip.Dialog
	event  string // value of Event in its NOTIFYs
	device string // of the party
	party  int    // connection that was transferred
	by     int    // connection of the telephone that transfers
	from   string // call that they were in
	told   int    // last status code told
}

// refer handles REFER: the user transfers the call to a number or, with Replaces, to the other party of another
// call (RFC 3891).
func (l *leg) refer(d *sip.Dialog, r *sip.Request) {
	values := sip.SplitList(r.Values("Refer-To"))
	to := sip.ParseAddress(r.Header("Refer-To"))
	number := registrar.Number(to.URI)
	replaces, attended, ok := replacedBy(to.URI)
	switch {
	case number == "" || len(values) != 1: // RFC 3515 2.4.1
		r.Respond(sip.Answer{Code: 400, Reason: "Malformed Refer-To"})
		return
	case !ok:
		r.Respond(sip.Answer{Code: 400, Reason: "Malformed Replaces"})
		return
	}
	l.server.mu.Lock()
	pending := l.referral != nil
	l.server.mu.Unlock()
	if pending {
		r.Respond(sip.Answer{Code: 491})
		return
	}
	r.Respond(sip.Answer{Code: 202})
	ref := &referral{leg: l, dialog: d, event: "refer"}
	if l.refers++; l.refers > 1 { // RFC 3515 2.4.6
		number, _, _ := strings.Cut(r.Header("CSeq"), " ")
		ref.event += ";id=" + number
	}
	var err error
	if attended {
		err = l.transferTo(ref, replaces)
	} else {
		err = l.transfer(ref, number)
	}
	if err == nil {
		ref.notify("100 Trying", "active;expires=600", nil)
		return
	}
	l.server.log.Info("refused a transfer by a telephone", "device", l.device, "err", err)
	result := "603 Declined"
	var why refusedTransfer
	if errors.As(err, &why) {
		result = string(why)
	}
	var then func(sip.Result)
	if l.server.forget(ref) {
		then = ref.end
	}
	ref.notify(result, terminated, then)
}

// terminated is the state of a subscription that ends.
const terminated = "terminated;reason=noresource"

// notify tells the telephone the status of its transfer, and the state of its subscription, and calls then with
// the response.
func (ref *referral) notify(status, state string, then func(sip.Result)) {
	ref.dialog.Send("NOTIFY", "message/sipfrag;version=2.0", []byte("SIP/2.0 "+status+"\r\n"), then,
		sip.Header{Name: "Event", Value: ref.event}, sip.Header{Name: "Subscription-State", Value: state})
}

// end ends the leg once the telephone has the outcome.
func (ref *referral) end(sip.Result) { ref.leg.must(func() { ref.leg.hangUp(endNormal) }) }

// expect stores a referral before the switch is asked to transfer one of the parties of these connections' calls,
// whose state then tells the outcome.
func (s *Server) expect(ref *referral, keys ...int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, key := range keys {
		own := s.parties[key]
		if own == nil || s.calls[own.call] == nil {
			continue
		}
		for _, p := range s.calls[own.call].Parties {
			if p.Key != key && !p.Rings && (p.State == uacsta.Connected || p.State == uacsta.Hold) {
				ref.device, ref.party, ref.by, ref.from = p.Device, p.Key, key, own.call
				s.referrals[p.Key], ref.leg.referral = ref, ref
				return
			}
		}
	}
}

// forget drops a referral that the switch has refused. It reports whether the leg's connection has been cleared
// meanwhile.
func (s *Server) forget(ref *referral) (cleared bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.referrals[ref.party] == ref {
		delete(s.referrals, ref.party)
	}
	ref.leg.referral = nil
	return ref.leg.rejected
}

// report tells the telephones what has become of the transfers of a call's parties. Callers hold the lock.
func (s *Server) report(c *call) {
	for _, p := range c.Parties {
		ref := s.referrals[p.Key]
		if ref != nil && (c.Call != ref.from || !slices.ContainsFunc(c.Parties, func(q softswitch.Party) bool { return q.Key == ref.by })) {
			code, _ := s.outcome(c, &p)
			s.becomes(ref, code)
		}
	}
}

// becomes tells a telephone the outcome of its transfer as a status code, or 0 for none yet. After the final one the
// leg ends. Callers hold the lock.
func (s *Server) becomes(ref *referral, code int) {
	if code == 0 || code == ref.told {
		return
	}
	ref.told = code
	status := strconv.Itoa(code) + " " + sip.Phrase(code)
	if code < 200 {
		ref.leg.must(func() { ref.notify(status, "active;expires=600", nil) })
		return
	}
	delete(s.referrals, ref.party)
	ref.leg.must(func() { ref.notify(status, terminated, ref.end) })
}

// takesBack gives a leg the connection in which the call returns that its telephone has transferred, and tells the
// telephone why. It returns false if the telephone has left. Callers hold the lock.
func (s *Server) takesBack(l *leg, p *softswitch.Party) bool {
	ref := l.referral
	if ref == nil || l.ended {
		return false
	}
	delete(s.referrals, ref.party)
	if s.legs[l.key] == l {
		delete(s.legs, l.key)
	}
	l.key, l.rejected, l.referral = p.Key, false, nil
	s.legs[p.Key] = l
	code := refusal(p.Cause)
	l.must(func() { ref.notify(strconv.Itoa(code)+" "+sip.Phrase(code), terminated, nil) })
	return true
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
func (l *leg) transfer(ref *referral, number string) error {
	if l.trunk != nil {
		return errTransfer
	}
	l.server.expect(ref, l.keyNow())
	return l.server.sw.Refer(l.device, l.keyNow(), number, l)
}

// transferTo connects the other parties of this call and of the one in another dialog of the
// extension.
func (l *leg) transferTo(ref *referral, r sip.Replaces) error {
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
	s.expect(ref, key, otherKey)
	return s.sw.Join(l.device, key, otherKey, l)
}
