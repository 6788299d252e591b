package proxy

import (
	"time"

	"github.com/tr87proxy/tr87proxy/policy"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// listing collects the device lists of one or more links for a client (ECMA-269 Get Switching Function
// Devices). The client gets the devices that it may observe.
type listing struct {
	session *Session
	ref     string // the client's cross reference
	answer  answerer
	limit   *time.Timer

	mu       lock
	asked    int              // links that have not responded
	lists    map[*life]string // lists in transit, with the link's reference
	answered bool
	done     bool
	err      error
	pending  []uacsta.DeviceListItem // for the next segment
	segments int                     // sent to the client
	devices  int                     // received from the links
	complete []string                // links whose whole list has come
}

const (
	listTime      = 30 * time.Second // within which the links must send their whole lists
	listSegment   = 50
	maxListLength = 100000
	maxListings   = 16 // of one session
)

// listDevices serves GetSwitchingFunctionDevices.
func (s *Session) listDevices(req *uacsta.Message, answer answerer) {
	o, err := s.examine(req)
	if err != nil {
		answer(nil, err)
		return
	}
	links := s.proxy.list()
	if len(o.subjects) > 0 {
		t := s.proxy.route(o.subjects[0])
		if t == nil {
			answer(nil, uacsta.Refuse(uacsta.Operation, uacsta.InvalidDeviceID))
			return
		}
		links = []*managedLink{t}
	}
	s.mu.Lock()
	full := s.listings >= maxListings
	if !full {
		s.listings++
	}
	s.mu.Unlock()
	if full {
		answer(nil, uacsta.Refuse(uacsta.SubscribedResourceAvailability, uacsta.ResourceLimitExceeded))
		return
	}
	l := &listing{mu: lock{rank: ofShared}, session: s, ref: s.proxy.refs.next(), answer: answer, asked: len(links), lists: map[*life]string{}, err: errLinkDown}
	l.mu.Lock()
	l.limit = time.AfterFunc(listTime, l.expire)
	l.settle() // for the case that there is no link
	l.mu.Unlock()
	for _, t := range links {
		at := t.now()
		at.request(s, req.Clone(), func(res *uacsta.Message, err error) { l.accepted(at, res, err) })
	}
}

// accepted handles a link's response.
func (l *listing) accepted(at *life, res *uacsta.Message, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.done {
		return
	}
	l.asked--
	ref := ""
	if err == nil {
		if ref = reference(res.Text("serviceCrossRefID")); ref != "" {
			err = at.lists.enter(ref, l)
		}
	}
	switch {
	case err != nil:
		l.err = err
	case ref != "":
		l.lists[at] = ref
		if !l.answered {
			l.answered = true
			l.answer(uacsta.Encode(uacsta.GetSwitchingFunctionDevicesResponse{ServiceCrossRefID: l.ref}, uacsta.Edition3), nil)
		}
	}
	l.settle()
}

// listed handles a segment of a list.
func (t *managedLink) listed(ev *uacsta.Message) {
	var segment uacsta.SwitchingFunctionDevices
	err := ev.Decode(&segment)
	at := t.now()
	l := at.lists.of(ev.Text("serviceCrossRefID"))
	if l == nil {
		t.proxy.stats.StrayEvents.Add(1) // the list has ended
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.done {
		return
	}
	l.devices += len(segment.DeviceList)
	for _, item := range segment.DeviceList {
		if l.shows(t, item) {
			l.pending = append(l.pending, item)
		}
	}
	for ; len(l.pending) > listSegment; l.pending = l.pending[listSegment:] {
		l.send(l.pending[:listSegment], false)
	}
	if err == nil && segment.LastSegment {
		l.complete = append(l.complete, t.name)
	}
	if err != nil || segment.LastSegment || l.devices > maxListLength {
		l.end(at)
	}
	l.settle()
}

// shows reports whether the client gets a device of a link's list: it may observe the device, and the
// device belongs to the link.
func (l *listing) shows(t *managedLink, item uacsta.DeviceListItem) bool {
	if item.DeviceID == nil {
		return false
	}
	p := l.session.proxy
	device, err := p.numbers().Parse(item.DeviceID.ID, item.DeviceID.Type())
	return err == nil && p.route(device) == t && l.session.may(policy.Observe, t.device(device))
}

// send sends the client a segment.
func (l *listing) send(devices []uacsta.DeviceListItem, last bool) {
	l.segments++
	number := l.segments
	l.session.send(uacsta.SwitchingFunctionDevices{ServiceCrossRefID: l.ref, SegmentID: &number, LastSegment: last, DeviceList: devices})
}

// end ends the list of a link. Further segments are ignored.
func (l *listing) end(at *life) {
	at.lists.leave(l.lists[at], l)
	delete(l.lists, at)
}

// ended implements possession. No request ends a list.
func (l *listing) ended() bool { return false }

// expire ends the lists that links have not completed in time.
func (l *listing) expire() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asked = 0
	for at := range l.lists {
		l.end(at)
	}
	l.settle()
}

// linkDown ends the list of a link that has gone down.
func (l *listing) linkDown(at *life) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.end(at)
	l.settle()
}

// settle completes the listing once every link has responded and every list has ended: the client gets
// the last segment, or the refusal. The caller holds l.mu.
func (l *listing) settle() {
	if l.asked > 0 || len(l.lists) > 0 || l.done {
		return
	}
	l.done = true
	l.limit.Stop()
	if l.answered {
		l.session.keepListed(l.ref, l.complete)
		l.send(l.pending, true)
	} else {
		l.answer(nil, l.err)
	}
	l.pending = nil
	s := l.session
	s.mu.Lock()
	s.listings--
	s.mu.Unlock()
}

// keepListed stores which links have listed their devices, for a front that asks.
func (s *Session) keepListed(ref string, links []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listed == nil {
		return
	}
	if len(s.listed) >= maxListings { // of requests that have given up
		clear(s.listed)
	}
	s.listed[ref] = links
}

// Listed returns the names of the links that have sent their whole lists of devices, once, after the last segment of a list
// with this reference. The devices of other links are missing in it. It needs Opening.Lists.
func (s *Session) Listed(ref string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	links := s.listed[ref]
	delete(s.listed, ref)
	return links
}
