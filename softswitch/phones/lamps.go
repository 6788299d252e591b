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

// dialogDocument returns the document with the calls of an extension (RFC 4235). It has the Call-ID
// and tags of a call that alerts, with which another telephone can pick the call up (RFC 3891).
func (s *Server) dialogDocument(number string) registrar.Document {
	realm := s.telephones.Realm()
	s.mu.Lock()
	defer s.mu.Unlock()
	var own []*party
	if l := s.lines[number]; l != nil {
		for _, p := range l.parties {
			if dialogStates[p.State] != "" && !p.Refused {
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
		if c == nil {
			continue
		}
		if c.Calling == p.Device {
			direction = "initiator"
		}
		for _, q := range c.Parties {
			if q.Key != p.Key && q.Number != "" {
				other = q.Number
			}
		}
		names := ""
		if l := s.legs[p.Key]; l != nil && l.callID != "" {
			names = fmt.Sprintf(` call-id="%s" local-tag="%s" remote-tag="%s"`, text(l.callID), text(l.remoteTag), text(l.localTag))
		}
		fmt.Fprintf(&b, `<dialog id="%d"%s direction="%s"><state>%s</state>`, p.Key, names, direction, dialogStates[p.State])
		if other != "" {
			uri := text(sip.UserURI(other, realm))
			fmt.Fprintf(&b, `<remote><identity>%s</identity><target uri="%s"/></remote>`, uri, uri)
		}
		b.WriteString("</dialog>")
	}
	b.WriteString("</dialog-info>")
	return registrar.Document{Name: "dialogs", Type: "application/dialog-info+xml", Text: b.String()}
}

// notifyDialogs notifies the subscribers of extensions whose calls have changed.
func (s *Server) notifyDialogs() {
	s.mu.Lock()
	changed := s.changed
	s.changed = map[string]bool{}
	s.mu.Unlock()
	for device := range changed {
		s.telephones.Changed(device, dialogPackage)
	}
}
