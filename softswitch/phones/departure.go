package phones

import (
	"cmp"
	"slices"

	"github.com/tr87proxy/tr87proxy/sip"
	"github.com/tr87proxy/tr87proxy/sip/registrar"
	"github.com/tr87proxy/tr87proxy/softswitch"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// What a trunk's peer is shown of a call: who calls, by the number under which the network knows them, and who has
// forwarded the call. The switch says who that is; nothing of it is what a telephone has sent.

const inDiversion = "diversion"

// invite returns the INVITE for a call to a number over the trunk.
func (t *trunk) invite(v *softswitch.View, p *softswitch.Party) sip.Invite {
	host := sip.ParseURI(t.Peer).Host
	inv := sip.Invite{To: sip.WithUser(t.Peer, p.Number), From: t.own(), Name: v.Name, Username: t.Name, Password: t.Password}
	number, hidden := t.identity(v)
	switch {
	case hidden:
		inv.From, inv.Name = "sip:anonymous@anonymous.invalid", "Anonymous" // RFC 3323 4.1.1.3
	case t.shows(inFrom) && number != "":
		inv.From = sip.UserURI(number, host)
	case t.SiteNumber != "":
		inv.From = sip.UserURI(t.SiteNumber, host)
	}
	add := func(name, value string) { inv.Headers = append(inv.Headers, sip.Header{Name: name, Value: value}) }
	if number != "" && t.shows(inAsserted) {
		add("P-Asserted-Identity", "<"+sip.UserURI(number, host)+">")
	}
	if number != "" && t.shows(inRemoteParty) {
		add("Remote-Party-ID", "<"+sip.UserURI(number, host)+">;party=calling;privacy="+map[bool]string{true: "full", false: "off"}[hidden]+";screen=yes")
	}
	if hidden {
		add("Privacy", "id") // RFC 3325 9.3
	}
	if v.Redirecting != "" && t.shows(inDiversion) {
		privacy := ""
		if v.Discreet {
			privacy = ";privacy=full"
		}
		add("Diversion", "<"+sip.UserURI(t.presented(v.Redirecting), host)+">;reason="+reasonFor(v.Cause)+privacy)
	}
	return inv
}

// shows reports whether the peer is shown a header.
func (t *trunk) shows(header string) bool {
	if t.Shows == nil {
		return header == inAsserted || header == inDiversion
	}
	return slices.Contains(t.Shows, header)
}

// identity returns the number of the caller for the trunk's peer, "" for none, and whether it must not be shown to others.
func (t *trunk) identity(v *softswitch.View) (number string, hidden bool) {
	switch {
	case v.Inside:
		return t.presented(v.Calling.Device.ID), v.Private
	case registrar.Dialable(v.Calling.Device.ID):
		return v.Calling.Device.ID, false
	}
	return t.SiteNumber, v.Calling.Restricted
}

// presented returns the number by which the network knows a device of the switch: the first one that leads to it, or the
// site's, or else the device's own.
func (t *trunk) presented(device string) string {
	return cmp.Or(t.Numbers[device], t.SiteNumber, device)
}

// reasonFor returns the reason of Diversion (RFC 5806) for the cause of a diversion.
func reasonFor(cause uacsta.EventCause) string {
	for _, r := range reasons {
		if r.cause == cause {
			return r.reason
		}
	}
	return "unknown"
}
