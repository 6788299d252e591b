package proxy

import (
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/tr87proxy/tr87proxy/policy"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// monitor is the one monitor that the link has on a device or a call, shared by
// any number of clients.
type monitor struct {
	trunk  *trunk
	key    string // what is watched, and how
	device policy.Number
	watch  uacsta.MonitorStart
	ask    *uacsta.Message // what the link is asked
	answer *uacsta.Message // the private data of what the link answered last; nil: none

	mu       sync.Mutex
	ref      string // the link's; "" while it is not started
	existing *bool  // whether the link reports calls that were there before
	started  bool
	since    time.Time // of started
	failed   bool      // it is out of the table: whoever comes makes a new one
	attempt  int       // counts the times that the link was asked
	refusals int       // counts those that it refused one after the other
	refused  error     // why the link does not take it now, while it is tried again; nil otherwise
	clients  []*clientMonitor
	waiting  []*clientMonitor // for the link's answer
	picture  *picture         // what the events have told
	resync   *resync          // while clients do not know yet what they missed; nil otherwise
	idle     int              // counts the times that it was left without clients
}

// clientMonitor is one client's view of a monitor.
type clientMonitor struct {
	monitor *monitor
	session *Session
	ref     string                // the client's cross reference
	filter  *uacsta.MonitorFilter // what the client asked for, nil for everything
	without map[string]bool       // the events that it suppresses
	owner   string                // the identity that it counts for
	reply   answerer
}

// maxPrivate is how many octets a MonitorStart with private data may have: it is kept as long as
// the monitor lives, and one client may have many, each another's.
const maxPrivate = 2048

// startMonitor answers MonitorStart (ECMA-269: a monitor on a monitored device is
// a second, independent one).
func (s *Session) startMonitor(t *trunk, device policy.Number, req *uacsta.Message, reply answerer) {
	var start uacsta.MonitorStart
	if err := req.Decode(&start); err != nil {
		reply(nil, err)
		return
	}
	cm := &clientMonitor{session: s, ref: s.proxy.refs.next(), reply: reply}
	cm.suppress(start.RequestedMonitorFilter)
	watch := uacsta.MonitorStart{MonitorObject: start.MonitorObject, MonitorType: start.MonitorType, RequestedMonitorMediaClass: start.RequestedMonitorMediaClass}
	key := device.String()
	if watch.MonitorType == uacsta.MonitorDevice && start.MonitorObject.DeviceObject != nil {
		watch.MonitorType = "" // which is the same
	}
	if call := start.MonitorObject.CallObject; call != nil {
		key += " call " + call.CallID
	}
	if watch.MonitorType != "" {
		key += " type " + string(watch.MonitorType)
	}
	if watch.RequestedMonitorMediaClass != nil {
		key += fmt.Sprintf(" media %+v", *watch.RequestedMonitorMediaClass)
	}
	ask := uacsta.Encode(watch, uacsta.Edition3)
	if private(req) { // which only the switching function understands: such a monitor is not shared with others
		req.Remove("requestedMonitorFilter")
		ask = req
		text := req.String()
		if len(text) > maxPrivate {
			reply(nil, uacsta.Refuse(uacsta.SystemResourceAvailability, uacsta.ResourceLimitExceeded))
			return
		}
		key += " " + text
	}
	for {
		m, fresh := t.monitorOf(&monitor{trunk: t, key: key, device: device, watch: watch, ask: ask, picture: newPicture(ownOf(watch.MonitorObject), &t.pictures)})
		cm.monitor = m
		if fresh {
			m.start(cm)
			return
		}
		if m.join(cm) {
			return
		}
	}
}

// suppress sets a client's filter.
func (cm *clientMonitor) suppress(filter *uacsta.MonitorFilter) {
	cm.filter, cm.without = filter, filter.Suppressed()
}

// privateOf returns a message with the private data of an answer, nil where there are none, or more
// than are kept with a monitor.
func privateOf(res *uacsta.Message) *uacsta.Message {
	if !res.Has("extensions") {
		return nil
	}
	kept := uacsta.Encode(uacsta.MonitorStartResponse{}, uacsta.Edition3)
	kept.CopyExtensions(res)
	data := kept.Bytes()
	if len(data) > maxPrivate {
		return nil
	}
	kept, err := uacsta.Parse(data) // by itself: as a part of the answer it would keep all of that
	if err != nil {
		return nil
	}
	return kept
}

// private reports whether a request has private data, other than what clients of Lync's
// kind tell us.
func private(req *uacsta.Message) bool {
	return req.Has("extensions") && req.PrivateText("line") == ""
}

// monitorOf finds the monitor with the same key in the table, or puts this one there.
func (t *trunk) monitorOf(m *monitor) (there *monitor, fresh bool) {
	t.proxy.mu.Lock()
	defer t.proxy.mu.Unlock()
	if there := t.monitors[m.key]; there != nil {
		return there, false
	}
	t.monitors[m.key] = m
	return m, true
}

// join adds a client to a monitor that exists; false when it has just ended.
func (m *monitor) join(cm *clientMonitor) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.failed:
		return false
	case m.started:
		m.admit(cm)
	case m.refused != nil:
		cm.reply(nil, m.refused)
	default:
		m.waiting = append(m.waiting, cm)
	}
	return true
}

// start asks the link for the monitor.
func (m *monitor) start(cm *clientMonitor) {
	m.mu.Lock()
	if cm != nil {
		m.waiting = append(m.waiting, cm)
	}
	m.attempt++
	m.mu.Unlock()
	m.trunk.request(m.ask.Clone(), m.answered)
}

// answered takes the link's answer to MonitorStart; the link calls it before the
// first event.
func (m *monitor) answered(res *uacsta.Message, err error) {
	ref := ""
	if err == nil {
		if ref = reference(res.CrossRef()); ref == "" {
			err = uacsta.Refuse(uacsta.Unspecified, "")
		}
	}
	p := m.trunk.proxy
	if err == nil {
		p.mu.Lock()
		m.trunk.byRef[ref] = m
		p.mu.Unlock()
	}
	m.mu.Lock()
	waiting := m.waiting
	m.waiting = nil
	if err != nil {
		m.failed = len(m.clients) == 0
		failed, attempt := m.failed, m.attempt
		again := !failed && worthAnother(err)
		refusals := m.refusals
		if again {
			m.refused = err
			m.refusals++
		}
		m.mu.Unlock()
		if !failed || worthAnother(err) {
			m.trunk.log.Warn("monitor refused", "device", m.device.String(), "err", err, "again", again)
		}
		switch {
		case failed:
			m.forget()
		case again:
			p.spawn(func() { m.tryAgain(attempt, refusals) })
		default: // the call is gone, or the device
			m.ended()
		}
		for _, cm := range waiting {
			cm.reply(nil, err)
		}
		return
	}
	m.ref, m.started, m.since, m.answer, m.refused, m.refusals = ref, true, time.Now(), privateOf(res), nil, 0
	if existing := res.Text("monitorExistingCalls"); existing != "" {
		all := existing == "true"
		m.existing = &all
	}
	m.settle()
	m.fallBehind()
	for _, cm := range waiting {
		m.admit(cm)
	}
	empty := len(m.clients) == 0
	m.failed = empty
	m.mu.Unlock()
	if empty { // everybody went while the link was thinking
		m.forget()
		go m.stop() // we may be inside the link's own call
	}
}

// tryAgain asks the link once more after a while, unless it was asked meanwhile, or
// nobody wants the monitor any more.
func (m *monitor) tryAgain(attempt, refusals int) {
	if !m.trunk.proxy.pause(refusals) {
		return
	}
	m.mu.Lock()
	wanted := m.attempt == attempt && !m.started && !m.failed
	m.mu.Unlock()
	if wanted {
		m.start(nil)
	}
}

// admit gives a client its monitor: the answer first, then, because m.mu is held,
// nothing that happened before it and everything that happens after.
func (m *monitor) admit(cm *clientMonitor) {
	s := cm.session
	s.mu.Lock()
	if s.closed || !m.allowed(s) { // it has gone, or its rights have, while the link was thinking
		s.mu.Unlock()
		cm.reply(nil, uacsta.Refuse(uacsta.Operation, uacsta.PrivilegeViolationSpecifiedDevice))
		return
	}
	if len(s.monitors) >= s.proxy.cfg.MaxMonitors {
		s.mu.Unlock()
		s.overLimit("limits.monitors-per-session", "MonitorStart")
		cm.reply(nil, uacsta.Refuse(uacsta.SubscribedResourceAvailability, uacsta.ObjectMonitorLimitExceeded))
		return
	}
	cm.owner = s.Identity().Name
	if !s.proxy.watches.take(cm.owner, s.proxy.cfg.MaxWatches, math.MaxInt) {
		s.mu.Unlock()
		s.overLimit("limits.monitors-per-identity", "MonitorStart")
		cm.reply(nil, uacsta.Refuse(uacsta.SubscribedResourceAvailability, uacsta.ObjectMonitorLimitExceeded))
		return
	}
	s.monitors[cm.ref] = cm
	s.mu.Unlock()
	res := uacsta.Encode(uacsta.MonitorStartResponse{MonitorCrossRefID: cm.ref, ActualMonitorFilter: cm.filter, MonitorExistingCalls: m.existing}, uacsta.Edition3)
	if m.answer != nil {
		res.CopyExtensions(m.answer)
	}
	cm.reply(res, nil)
	m.clients = append(m.clients, cm)
}

// tellsSince reports whether the monitor has told everything since a moment.
func (m *monitor) tellsSince(moment time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.started && m.resync == nil && !m.since.After(moment)
}

// allowed reports whether a session may have a share in the monitor.
func (m *monitor) allowed(s *Session) bool {
	return s.may(policy.Observe, m.device)
}

// event takes an event of the link.
func (m *monitor) event(ev *uacsta.Message) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.failed { // it is being stopped
		return
	}
	if r := m.resync; r != nil && r.hold(ev) {
		return
	} else if r != nil {
		m.trunk.log.Warn("too many events before the snapshot: clients are not told what they missed", "device", m.device.String())
		m.tellHeld()
	}
	if m.pictured() {
		m.apply(ev)
	}
	m.tell(ev)
	m.partWays()
}

// partWays ends a monitor on a call for the clients that have no right on anybody in it any
// more: they had it by a device of theirs, which has left. m.mu is held.
func (m *monitor) partWays() {
	if m.watch.MonitorObject.CallObject == nil || len(m.picture.calls) == 0 || m.resync != nil {
		return
	}
	m.clients = slices.DeleteFunc(m.clients, func(cm *clientMonitor) bool {
		s := cm.session
		for id := range m.picture.parties() {
			if n, err := s.proxy.numbers().Parse(id.device, ""); err == nil && s.may(policy.Observe, n) {
				return false
			}
		}
		s.proxy.spawn(func() { // not here: m.mu is held
			if s.forgetMonitor(cm) {
				m.remove(cm, false)
				s.send(uacsta.MonitorStop{MonitorCrossRefID: cm.ref})
			}
		})
		return true
	})
}

// tell gives an event to each client, in that client's own form; m.mu is held.
func (m *monitor) tell(ev *uacsta.Message) {
	for _, cm := range m.clients {
		if cm.without[ev.Name()] {
			continue
		}
		copied := ev.Clone()
		copied.SetCrossRef(cm.ref)
		cm.session.translate(copied, "")
		m.trunk.proxy.stats.Events.Add(1)
		cm.session.deliver(delivery{msg: copied})
	}
}

// ended takes note that the switching function stopped the monitor, and tells the
// clients: the call that it was on is over.
func (m *monitor) ended() {
	m.mu.Lock()
	if m.resync != nil {
		m.tellHeld()
	}
	m.failed = true
	clients := m.clients
	m.clients = nil
	ref := m.ref
	m.mu.Unlock()
	m.forget()
	p := m.trunk.proxy
	p.mu.Lock()
	if m.trunk.byRef[ref] == m {
		delete(m.trunk.byRef, ref)
	}
	p.mu.Unlock()
	for _, cm := range clients {
		if s := cm.session; s.forgetMonitor(cm) {
			s.send(uacsta.MonitorStop{MonitorCrossRefID: cm.ref})
		}
	}
}

// forgetMonitor takes a monitor out of the session's table and reports whether it was
// there.
func (s *Session) forgetMonitor(cm *clientMonitor) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, there := s.monitors[cm.ref]
	delete(s.monitors, cm.ref)
	if there {
		s.proxy.watches.give(cm.owner)
	}
	return there
}

// remove takes a client away; the last one ends the link's monitor. Where the client was
// lost, the monitor stays for a while: it may be one of thousands behind a front end that
// comes back in a moment, and the switch is not to be asked for all of them anew.
func (m *monitor) remove(cm *clientMonitor, lost bool) {
	m.mu.Lock()
	for i, other := range m.clients {
		if other == cm {
			m.clients = append(m.clients[:i:i], m.clients[i+1:]...)
			break
		}
	}
	last := m.started && len(m.clients) == 0 && len(m.waiting) == 0 && !m.failed
	if linger := m.trunk.proxy.cfg.Linger; last && lost && linger > 0 {
		m.idle++
		idle := m.idle
		m.mu.Unlock()
		m.trunk.proxy.spawn(func() { m.linger(idle, linger) })
		return
	}
	m.failed = m.failed || last
	m.mu.Unlock()
	if last {
		m.forget()
		m.stop()
	}
}

// linger ends a monitor that nobody has come back to.
func (m *monitor) linger(idle int, pause time.Duration) {
	if !sleep(m.trunk.proxy.ctx, pause) {
		return
	}
	m.mu.Lock()
	over := m.idle == idle && m.started && len(m.clients) == 0 && len(m.waiting) == 0 && !m.failed
	m.failed = m.failed || over
	m.mu.Unlock()
	if over {
		m.forget()
		m.stop()
	}
}

// forget takes a monitor that has failed out of the table.
func (m *monitor) forget() {
	m.mu.Lock()
	m.picture.clear()
	m.settle()
	m.mu.Unlock()
	p := m.trunk.proxy
	p.mu.Lock()
	defer p.mu.Unlock()
	if m.trunk.monitors[m.key] == m {
		delete(m.trunk.monitors, m.key)
	}
}

// stop ends the monitor at the link.
func (m *monitor) stop() {
	m.mu.Lock()
	ref := m.ref
	m.mu.Unlock()
	p := m.trunk.proxy
	m.trunk.insist(uacsta.Encode(uacsta.MonitorStop{MonitorCrossRefID: ref}, uacsta.Edition3), func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if m.trunk.byRef[ref] == m {
			delete(m.trunk.byRef, ref)
		}
	})
}

// restart starts the monitor anew after the link came back. Clients keep their
// cross references.
func (m *monitor) restart() {
	m.mu.Lock()
	m.settle()
	m.started, m.ref, m.refused, m.refusals = false, "", nil, 0
	m.attempt++
	attempt := m.attempt
	m.mu.Unlock()
	call := m.watch.MonitorObject.CallObject
	if _, keeps := m.trunk.link.(ConnectionKeeper); call == nil || keeps {
		m.start(nil)
		return
	}
	m.trunk.proxy.spawn(func() { m.startAgain(*call, attempt) }) // not here: we may be inside the link's own call
}

// startAgain starts a monitor on a call anew if its device is in the call: a switch that was
// restarted may have given the callID to another one, that the clients have no right on.
func (m *monitor) startAgain(call uacsta.ConnectionID, attempt int) {
	in := m.trunk.isIn(call)
	m.mu.Lock()
	wanted := m.attempt == attempt && !m.failed
	m.mu.Unlock()
	switch {
	case !wanted || !in && !m.trunk.isUp(): // it is asked once more when the link is back
	case in:
		m.start(nil)
	default:
		m.answered(nil, errCall)
	}
}

// changeMonitorFilter answers ChangeMonitorFilter: filters are the client's own,
// the link sends everything.
func (s *Session) changeMonitorFilter(req *uacsta.Message, answer answerer) {
	var change uacsta.ChangeMonitorFilter
	if err := req.Decode(&change); err != nil {
		answer(nil, err)
		return
	}
	s.mu.Lock()
	cm := s.monitors[change.MonitorCrossRefID]
	s.mu.Unlock()
	if cm == nil {
		answer(nil, uacsta.Refuse(uacsta.Operation, uacsta.InvalidMonitorCrossRefID))
		return
	}
	cm.monitor.mu.Lock()
	defer cm.monitor.mu.Unlock()
	cm.suppress(&change.RequestedFilterList)
	answer(uacsta.Encode(uacsta.ChangeMonitorFilterResponse{ActualFilterList: cm.filter}, uacsta.Edition3), nil)
}

// listMonitors answers GetMonitors: those of the session.
func (s *Session) listMonitors(_ *uacsta.Message, answer answerer) {
	list := &uacsta.MonitorList{}
	s.mu.Lock()
	for ref, cm := range s.monitors {
		list.MonitorListEntry = append(list.MonitorListEntry, uacsta.MonitorListEntry{
			MonitorCrossRefID: ref, MonitorObject: cm.monitor.watch.MonitorObject.DeviceObject,
		})
	}
	s.mu.Unlock()
	res := uacsta.GetMonitorsResponse{CrossRefIDorRegistrationData: &uacsta.CrossRefIDorMonitors{MonitorList: list}}
	answer(uacsta.Encode(res, uacsta.Edition6), nil)
}
