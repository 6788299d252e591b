package phones

import (
	"cmp"

	"github.com/tr87proxy/tr87proxy/sip"
	"github.com/tr87proxy/tr87proxy/sip/registrar"
	"github.com/tr87proxy/tr87proxy/softswitch"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// Who a telephone shows that its user talks with: at first the caller or the number dialled, and later, by
// P-Asserted-Identity in our 2xx and re-INVITEs (RFC 3325), the party that the switch has put into the call.

// noNumber is the user in the URI of somebody whose number is not known or withheld (RFC 3323 4.1.1.3).
const noNumber = "anonymous"

// shown returns the number and name that a called telephone displays.
func shown(v *softswitch.View, p *softswitch.Party) (number, name string) {
	if p.State == uacsta.Initiated { // its own call: the number that it will call
		return v.Called, ""
	}
	return cmp.Or(v.Calling.Device.ID, noNumber), v.Name
}

// talksWith returns the number and name of the one other party that the telephone's user talks with, or "" if there is
// none, or more.
func (l *leg) talksWith() (number, name string) {
	s := l.server
	s.mu.Lock()
	defer s.mu.Unlock()
	own := s.parties[l.key]
	if l.trunk != nil || own == nil || own.State != uacsta.Connected || s.calls[own.call] == nil {
		return "", ""
	}
	for _, p := range s.calls[own.call].Parties {
		switch {
		case p.Key == own.Key:
		case number != "" || p.Queue || p.Rings || p.State != uacsta.Connected && p.State != uacsta.Hold:
			return "", ""
		case p.Number == "":
			number = noNumber
		case !registrar.Dialable(p.Number):
			return "", ""
		default:
			number, name = p.Number, p.Name
		}
	}
	return number, name
}

// asserted returns the header that shows a party, and stores that the telephone shows it.
func (l *leg) asserted(number, name string) []sip.Header {
	l.shows = number
	value := "<" + sip.UserURI(number, l.server.telephones.Realm()) + ">"
	if name != "" {
		value = sip.Quote(name) + " " + value
	}
	return []sip.Header{{Name: "P-Asserted-Identity", Value: value}}
}
