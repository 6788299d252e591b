package phones

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/tr87proxy/tr87proxy/sip"
	"github.com/tr87proxy/tr87proxy/sip/registrar"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// dialogStates maps connection states to dialog states (RFC 4235 3.7.1).
var dialogStates = map[uacsta.LocalConnectionState]string{
	uacsta.Initiated: "trying", uacsta.Alerting: "early", uacsta.Connected: "confirmed", uacsta.Hold: "confirmed", uacsta.Queued: "early",
}

// dialogDocument returns the document with the calls of an extension (RFC 4235) for the subscriber by. It
// has the Call-ID and tags of calls that the subscriber may replace (RFC 3891): to others they would be half a pass to
// the dialog. With idle, an extension without calls has a dialog in state terminated: some telephones keep a lamp lit
// when the document becomes empty.
func (s *Server) dialogDocument(number, by string, idle bool) registrar.Document {
	realm, replaces := s.telephones.Realm(), s.mayReplace(by, number)
	s.mu.Lock()
	defer s.mu.Unlock()
	var own []*party
	if l := s.lines[number]; l != nil {
		for _, p := range l.parties {
			if dialogStates[p.State] != "" && !p.Refused && s.calls[p.call] != nil {
				own = append(own, p)
			}
		}
	}
	slices.SortFunc(own, func(a, b *party) int { return cmp.Compare(a.Key, b.Key) })
	var b strings.Builder
	fmt.Fprintf(&b, `<?xml version="1.0"?>`+"\n"+`<dialog-info xmlns="urn:ietf:params:xml:ns:dialog-info" version="VERSION" state="full" entity="%s">`,
		text(sip.UserURI(number, realm)))
	for _, p := range own {
		direction, other := "recipient", ""
		c := s.calls[p.call]
		if c.Inside && c.Calling.Device.ID == p.Number {
			direction = "initiator"
		}
		for _, q := range c.Parties {
			if q.Key != p.Key && q.Number != "" {
				other = q.Number
			}
		}
		names := ""
		if l := s.legs[p.Key]; l != nil && l.callID != "" && replaces && (by == number || p.State == uacsta.Alerting) {
			names = fmt.Sprintf(` call-id="%s" local-tag="%s" remote-tag="%s"`, text(l.callID), text(l.remoteTag), text(l.localTag))
		}
		fmt.Fprintf(&b, `<dialog id="%d"%s direction="%s"><state>%s</state>`, p.Key, names, direction, dialogStates[p.State])
		if other != "" {
			uri := text(sip.UserURI(other, realm))
			fmt.Fprintf(&b, `<remote><identity>%s</identity><target uri="%s"/></remote>`, uri, uri)
		}
		b.WriteString("</dialog>")
	}
	if idle && len(own) == 0 {
		fmt.Fprintf(&b, `<dialog id="%s"><state>terminated</state></dialog>`, text(number))
	}
	b.WriteString("</dialog-info>")
	return registrar.Document{Name: "dialogs", Type: "application/dialog-info+xml", Text: b.String()}
}

// mayReplace reports whether an extension may replace calls of another one that alert now, or is that one.
func (s *Server) mayReplace(by, number string) bool {
	alerts := false
	s.mu.Lock()
	if l := s.lines[number]; l != nil {
		for _, p := range l.parties {
			alerts = alerts || p.State == uacsta.Alerting
		}
	}
	s.mu.Unlock()
	return by == number || alerts && s.sharePickup(by, number)
}

// statusDocument returns whether an extension can be called, and whether it is on the telephone (RFC 3863, RFC 4480),
// for telephones that know no dialog-info.
func (s *Server) statusDocument(number string) registrar.Document {
	f, _ := s.sw.FeaturesOf(number)
	basic, note, activity := "open", "Ready", ""
	s.mu.Lock()
	rings, talks := false, false
	if l := s.lines[number]; l != nil {
		for _, p := range l.parties {
			switch {
			case p.Refused || dialogStates[p.State] == "":
			case p.State == uacsta.Alerting:
				rings = true
			default:
				talks = true
			}
		}
	}
	s.mu.Unlock()
	switch {
	case s.telephones.Away(number):
		basic, note = "closed", "Unavailable"
	case talks:
		note, activity = "On the phone", "on-the-phone"
	case rings:
		note = "Ringing"
	case f.DND.On:
		note, activity = "Do not disturb", "busy"
	}
	var b strings.Builder
	fmt.Fprintf(&b, `<?xml version="1.0"?>`+"\n"+`<presence xmlns="urn:ietf:params:xml:ns:pidf" xmlns:dm="urn:ietf:params:xml:ns:pidf:data-model" xmlns:rpid="urn:ietf:params:xml:ns:pidf:rpid" entity="%s">`+
		`<tuple id="line"><status><basic>%s</basic></status></tuple><note>%s</note>`, text(sip.UserURI(number, s.telephones.Realm())), basic, note)
	if activity != "" {
		fmt.Fprintf(&b, `<dm:person id="user"><rpid:activities><rpid:%s/></rpid:activities></dm:person>`, activity)
	}
	b.WriteString("</presence>")
	return registrar.Document{Name: "status", Type: "application/pidf+xml", Text: b.String()}
}

// notifyDialogs notifies the subscribers of extensions whose calls have changed.
func (s *Server) notifyDialogs() {
	s.mu.Lock()
	changed := s.changed
	s.changed = map[string]bool{}
	s.mu.Unlock()
	for device := range changed {
		s.telephones.Changed(device, dialogPackage, statusPackage)
	}
}
