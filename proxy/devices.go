package proxy

import (
	"sync"
	"time"

	"github.com/tr87proxy/tr87proxy/policy"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// listing collects the devices of one or more links for a client that asked for
// them (ECMA-269 Get Switching Function Devices). It gets those that it may
// observe.
type listing struct {
	session *Session
	ref     string // the client's
	answer  answerer
	limit   *time.Timer

	mu       sync.Mutex
	asked    int // links that have not answered
	lists    int // lists that have not ended
	accepted bool
	answered bool
	done     bool
	err      error
	devices  []uacsta.DeviceListItem
}

const (
	listTime      = 30 * time.Second // a link must have sent its list in this time
	listSegment   = 50
	maxListLength = 100000
)

// listDevices answers GetSwitchingFunctionDevices.
func (s *Session) listDevices(req *uacsta.Message, answer answerer) {
	o, err := s.examine(req)
	if err != nil {
		answer(nil, err)
		return
	}
	trunks := s.proxy.list()
	if len(o.subjects) > 0 {
		t := s.proxy.route(o.subjects[0])
		if t == nil {
			answer(nil, uacsta.Refuse(uacsta.Operation, uacsta.InvalidDeviceID))
			return
		}
		trunks = []*trunk{t}
	}
	l := &listing{session: s, ref: s.proxy.refs.next(), answer: answer, asked: len(trunks), err: errLinkDown}
	l.limit = time.AfterFunc(listTime, func() { l.change(func() { l.asked, l.lists = 0, 0 }) })
	l.change(func() {}) // there may be no link at all
	for _, t := range trunks {
		t.request(req.Clone(), func(res *uacsta.Message, err error) {
			l.change(func() {
				l.asked--
				if err != nil {
					l.err = err
					return
				}
				l.accepted = true
				l.lists++
				t.proxy.mu.Lock()
				t.lists[res.Text("serviceCrossRefID")] = l
				t.proxy.mu.Unlock()
			})
		})
	}
}

// listed takes a segment of a list.
func (t *trunk) listed(ev *uacsta.Message) {
	ref := ev.Text("serviceCrossRefID")
	var segment uacsta.SwitchingFunctionDevices
	err := ev.Decode(&segment)
	t.proxy.mu.Lock()
	l := t.lists[ref]
	if err != nil || segment.LastSegment {
		delete(t.lists, ref)
	}
	t.proxy.mu.Unlock()
	if l == nil {
		t.proxy.stats.StrayEvents.Add(1)
		return
	}
	l.change(func() {
		if len(l.devices)+len(segment.DeviceList) <= maxListLength {
			l.devices = append(l.devices, segment.DeviceList...)
		}
		if err != nil || segment.LastSegment {
			l.lists--
		}
	})
}

// endLists ends the lists of a link that is gone.
func (t *trunk) endLists() {
	t.proxy.mu.Lock()
	lists := t.lists
	t.lists = map[string]*listing{}
	t.proxy.mu.Unlock()
	for _, l := range lists {
		l.change(func() { l.lists-- })
	}
}

// change does something to the listing; when every link has answered, the client
// is answered, and when every list has ended, it gets its devices.
func (l *listing) change(what func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	what()
	if l.asked > 0 || l.done {
		return
	}
	if !l.answered {
		l.answered = true
		if !l.accepted {
			l.done = true
			l.limit.Stop()
			l.answer(nil, l.err)
			return
		}
		l.answer(uacsta.Encode(uacsta.GetSwitchingFunctionDevicesResponse{ServiceCrossRefID: l.ref}, uacsta.Edition3), nil)
	}
	if l.lists <= 0 {
		l.done = true
		l.limit.Stop()
		l.deliver()
	}
}

// deliver sends the client the devices that it may observe, in segments.
func (l *listing) deliver() {
	s := l.session
	var visible []uacsta.DeviceListItem
	for _, item := range l.devices {
		if item.DeviceID == nil {
			continue
		}
		device, err := s.proxy.numbers().Parse(item.DeviceID.ID, item.DeviceID.Type())
		if err == nil && s.may(policy.Observe, device) {
			visible = append(visible, item)
		}
	}
	for segment := 1; ; segment++ {
		n := min(listSegment, len(visible))
		s.send(uacsta.SwitchingFunctionDevices{ServiceCrossRefID: l.ref, SegmentID: &segment, LastSegment: n == len(visible), DeviceList: visible[:n]})
		if visible = visible[n:]; len(visible) == 0 {
			return
		}
	}
}
