package phones

import (
	"net/url"
	"slices"
	"strings"

	"github.com/tr87proxy/tr87proxy/sip"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// INVITE with Replaces (RFC 3891): a telephone takes over a call that is at another one, or alerts there.

// replacedBy returns the dialog that a Refer-To names in its header Replaces (RFC 3891 4): has reports
// whether it names one, ok whether it is well formed.
func replacedBy(uri string) (r sip.Replaces, has, ok bool) {
	values, ok := headersOf(uri, "Replaces")
	switch {
	case len(values) > 1 || !ok:
		return sip.Replaces{}, true, false
	case len(values) == 1:
		r, ok = sip.ParseReplaces(values[0])
	}
	return r, len(values) == 1, ok
}

// headersOf returns the values of a header in a URI (RFC 3261 19.1.1). ok is false if one of them is malformed.
func headersOf(uri, want string) (values []string, ok bool) {
	_, headers, _ := strings.Cut(uri, "?")
	ok = true
	for header := range strings.SplitSeq(headers, "&") {
		name, value, _ := strings.Cut(header, "=")
		if name, err := url.PathUnescape(name); err != nil || !strings.EqualFold(name, want) {
			continue
		}
		text, err := url.PathUnescape(value)
		values, ok = append(values, text), ok && err == nil
	}
	return values, ok
}

// carrier returns the leg of a dialog, or nil. Callers hold the server's lock.
func carrier(d *sip.Dialog) *leg {
	if d == nil {
		return nil
	}
	var l *leg
	switch h := d.Handler().(type) {
	case *leg:
		l = h
	case *fork:
		l = h.leg
	}
	if l == nil || l.ended || l.up && l.callID != d.CallID() { // it rang, and another one answered
		return nil
	}
	return l
}

// fitting finds the dialog that a Replaces names, and its leg, by Call-ID and both tags. The tags may be
// in our order, or in that of the telephone, as lamps show them (RFC 4235 4.1).
func (s *Server) fitting(r sip.Replaces) (*sip.Dialog, *leg) {
	d := s.ua.Dialog(r.CallID, r.ToTag, r.FromTag)
	if d == nil {
		d = s.ua.Dialog(r.CallID, r.FromTag, r.ToTag)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return d, carrier(d)
}

// replace takes over the call of the dialog that an INVITE names. It returns the status code to refuse the INVITE
// with, or 0 and the error of the switch. A telephone may replace any dialog of its own extension. It may replace
// another extension's only while that one alerts, and if both are in one pickup group. A trunk may replace nothing.
func (l *leg) replace(r sip.Replaces) (code int, err error) {
	s := l.server
	d, other := s.fitting(r)
	if other == nil || other == l {
		return 481, nil
	}
	s.mu.Lock()
	key, up, device, p := other.key, other.up, other.device, s.parties[other.key]
	carries := p != nil && s.legs[key] == other
	rings := p != nil && p.State == uacsta.Alerting
	s.mu.Unlock()
	switch {
	case !carries, !up && !d.Ours(): // RFC 3891 3: an early dialog that we have not begun
		return 481, nil
	case up && r.EarlyOnly:
		return 486, nil
	case l.trunk != nil || other.trunk != nil:
		return 403, nil
	case device == l.device:
		return l.takeOver(other, key, up)
	case up || !rings || !s.sharePickup(l.device, device):
		return 403, nil
	}
	return 0, s.sw.PickUp(l.device, device, key, l)
}

// takeOver answers the telephone, and gives it the connection of another leg of its
// extension, which ends.
func (l *leg) takeOver(other *leg, key int, up bool) (code int, err error) {
	s := l.server
	if !up {
		if err := s.sw.Answered(l.device, key, l.leaves()); err != nil {
			return 0, err
		}
	}
	if l.accept(); l.hungUp { // its caller has given up
		return 0, nil
	}
	s.mu.Lock()
	p := s.parties[key]
	if p == nil || s.legs[key] != other || other.ended {
		s.mu.Unlock()
		l.hangUp(endNormal)
		l.gone("")
		return 0, nil
	}
	other.ended, other.rejected, other.key = true, true, 0
	s.legs[key], l.key = l, key
	held := p.State == uacsta.Hold
	s.mu.Unlock()
	other.must(func() { other.hangUp(endElsewhere) })
	if id, ok := s.sw.Connection(l.device, key); held && ok { // a user who takes a call over wants to talk
		if err := s.sw.Perform(uacsta.RetrieveCall{CallToBeRetrieved: id}); err != nil {
			s.log.Info("could not retrieve a call that was taken over", "device", l.device, "err", err)
		}
	}
	s.kickKey(key)
	return 0, nil
}

// sharePickup reports whether two extensions are in one pickup group, and so may answer each
// other's calls.
func (s *Server) sharePickup(one, other string) bool {
	theirs := s.groupsOf(other)
	return slices.ContainsFunc(s.groupsOf(one), func(group string) bool {
		if !slices.Contains(theirs, group) {
			return false
		}
		info, ok := s.information(group)
		return ok && info.GroupDeviceAttributes != nil && info.GroupDeviceAttributes.Pick
	})
}

func (s *Server) groupsOf(device string) (groups []string) {
	info, _ := s.information(device)
	for _, group := range info.AssociatedGroupList {
		groups = append(groups, group.ID)
	}
	return groups
}

// information asks the switch what a device is.
func (s *Server) information(device string) (info uacsta.GetLogicalDeviceInformationResponse, ok bool) {
	answer, err := s.sw.Ask(uacsta.Encode(uacsta.GetLogicalDeviceInformation{Device: uacsta.Dev(device)}, uacsta.Edition3))
	if err != nil {
		return info, false
	}
	return info, answer.Decode(&info) == nil
}
