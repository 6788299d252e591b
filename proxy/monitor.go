package proxy

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync/atomic"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/gate"
	"github.com/tr87proxy/tr87proxy/policy"
	"github.com/tr87proxy/tr87proxy/proxy/callmodel"
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

	over atomic.Bool // it is stopped

	mu       lock
	state    monitorState
	question int       // counts the times that the link was asked: only the last answer counts
	number   int       // of that request in its life
	life     *life     // in which it was asked
	ref      string    // the link's, in that life, once it is started
	existing *bool     // whether the link reports calls that were there before
	since    time.Time // that it is started
	refusals int       // counts those one after the other
	refused  error     // the last of them
	clients  []*clientMonitor
	waiting  []*clientMonitor // for the link's answer
	picture  *picture         // what the events have told
	resync   *resync          // while clients do not know yet what they missed; nil otherwise
	left     int              // counts the times that it was left without clients
}

// monitorState is what becomes of a monitor at the link.
type monitorState int

const (
	idle     monitorState = iota // the link does not know it: it is down, or has not been asked yet
	asking                       // the link was asked for it
	started                      // it has a reference
	retrying                     // the link refused it, and is asked once more after a while
	stopped                      // it is out of the table for ever: whoever comes makes a new one
)

// clientMonitor is one client's view of a monitor.
type clientMonitor struct {
	monitor *monitor
	session *Session
	ref     string                // the client's cross reference
	filter  *uacsta.MonitorFilter // what the client asked for, nil for everything
	without map[string]bool       // the events that it suppresses
	owner   string                // the identity that it counts for
	stale   bool                  // it may have missed something; guarded by monitor.mu, as what follows
	from    int                   // of the events that are held back it gets those from here on
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
		m := t.monitorOf(&monitor{mu: lock{rank: ofShared}, trunk: t, key: key, device: device, watch: watch, ask: ask, picture: newPicture(ownOf(watch.MonitorObject), &t.pictures)})
		if s.moved(t, device) { // a reload came between: it may not have found the monitor in the table
			m.finish(errMoved, true)
			reply(nil, errMoved)
			return
		}
		cm.monitor = m
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
func (t *trunk) monitorOf(m *monitor) *monitor {
	t.mu.Lock()
	defer t.mu.Unlock()
	if there := t.monitors[m.key]; there != nil {
		return there
	}
	t.monitors[m.key] = m
	return m
}

// join gives a client a share in the monitor, and asks the link for it where nobody has; false
// when it has just ended.
func (m *monitor) join(cm *clientMonitor) bool {
	m.mu.Lock()
	var ask func()
	switch m.state {
	case stopped:
		m.mu.Unlock()
		return false
	case started:
		m.admit(cm)
	case retrying:
		cm.reply(nil, m.refused)
	case asking:
		m.waiting = append(m.waiting, cm)
	case idle:
		m.waiting = append(m.waiting, cm)
		ask = m.start(m.trunk.now(), cm.session)
	}
	m.mu.Unlock()
	if ask != nil {
		ask()
	}
	return true
}

// start begins to ask the link for the monitor; by is the client for which it does, nil where the
// core does it. m.mu is held; what is returned asks, when it is not any more.
func (m *monitor) start(l *life, by *Session) (ask func()) {
	m.settle()
	m.question++
	question := m.question
	m.state, m.life, m.ref = asking, l, ""
	answered := func(res *uacsta.Message, err error) { m.answered(l, question, res, err) }
	sent := func() error {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.number = l.count()
		return nil
	}
	call := m.watch.MonitorObject.CallObject
	if _, keeps := m.trunk.link.(ConnectionKeeper); call != nil && len(m.clients) > 0 && !keeps {
		// A switch that was restarted may have given the callID to another call, that the clients
		// have no right on.
		return func() {
			m.trunk.proxy.spawn(func() { // not here: we may be inside the link's own call
				if by == nil && l.pace() != nil {
					answered(nil, errLinkDown)
					return
				}
				switch in, err := m.trunk.inCall(by, *call); {
				case err != nil:
					answered(nil, err)
				case in:
					l.requestIf(by, m.ask.Clone(), sent, answered)
				default:
					answered(nil, errCall)
				}
			})
		}
	}
	return func() { l.requestIf(by, m.ask.Clone(), sent, answered) }
}

// answered takes the answer to a question for the monitor; the link gives it before the first
// event.
func (m *monitor) answered(l *life, question int, res *uacsta.Message, err error) {
	ref := ""
	if err == nil {
		if ref = reference(res.CrossRef()); ref == "" {
			err = uacsta.Refuse(uacsta.Unspecified, "")
		}
	}
	m.mu.Lock()
	if m.question != question || m.state != asking { // nobody waits for it any more
		m.mu.Unlock()
		if ref != "" {
			l.orphan(res, func() {})
		}
		return
	}
	if err == nil && l.doubtful(uacsta.NameMonitorStop, ref, m.number) {
		defer l.orphan(res, func() {}) // whether it is there or not, it is not afterwards
		err = errEnded
	}
	if err == nil {
		if err = l.monitors.enter(ref, m); errors.Is(err, errReferenceUsed) {
			m.trunk.log.Error("the switching function gave one cross reference to two monitors: the second is refused", "device", m.device.String())
			err = uacsta.Refuse(uacsta.Unspecified, "")
		}
	}
	if err != nil {
		m.notStarted(l, err)
		return
	}
	m.state, m.ref, m.since, m.answer, m.refused, m.refusals = started, ref, time.Now(), privateOf(res), nil, 0
	if existing := res.Text("monitorExistingCalls"); existing != "" {
		all := existing == "true"
		m.existing = &all
	}
	if len(m.clients) == 0 {
		m.remember(false)
	}
	m.fallBehind(0)
	waiting := m.waiting
	m.waiting = nil
	for _, cm := range waiting {
		m.admit(cm)
	}
	var rest func()
	if len(m.clients) == 0 { // everybody went while the link was thinking
		rest = m.end(nil, nil, true)
	}
	m.mu.Unlock()
	if rest != nil {
		m.trunk.proxy.spawn(rest) // not here: we may be inside the link's own call
	}
}

// notStarted takes a refusal of the link, or that it is down. m.mu is held, and let go.
func (m *monitor) notStarted(l *life, err error) {
	waiting := m.waiting
	m.waiting = nil
	lasts, again := l.lasts(), worthAnother(err)
	keep := len(m.clients) > 0 && (again || !lasts)
	rest := func() {}
	if !keep { // the call is gone, or the device
		rest = m.end(nil, err, false)
	} else {
		m.state, m.refused = idle, err
		if lasts {
			m.state = retrying
			question, refusals := m.question, m.refusals
			m.refusals++
			m.trunk.proxy.spawn(func() { m.tryAgain(l, question, refusals) })
		}
	}
	m.mu.Unlock()
	if lasts && (len(waiting) == 0 || again) {
		m.trunk.log.Warn("monitor refused", "device", m.device.String(), "err", err, "again", keep)
	}
	rest()
	for _, cm := range waiting {
		cm.reply(nil, err)
	}
}

// tryAgain asks the link once more after a while, unless it was asked meanwhile.
func (m *monitor) tryAgain(l *life, question, refusals int) {
	if !m.trunk.proxy.pause(l.ctx, refusals) || l.pace() != nil {
		return
	}
	m.mu.Lock()
	var ask func()
	if m.state == retrying && m.question == question {
		ask = m.start(l, nil)
	}
	m.mu.Unlock()
	if ask != nil {
		ask()
	}
}

// restart starts the monitor anew in a new life of the link, unless a client has asked for it
// first. Clients keep their cross references.
func (m *monitor) restart(l *life) {
	m.mu.Lock()
	var ask func()
	if m.life != l && m.state != stopped && l.lasts() { // it may have been started in the next one already
		ask = m.start(l, nil)
	}
	m.mu.Unlock()
	if ask != nil {
		ask()
	}
}

// lost takes note that a life of the link is over: with it went the reference. Events that were held
// back are told: what they say happened, and no snapshot tells all of it.
func (m *monitor) lost(l *life) {
	m.mu.Lock()
	if m.state == stopped || m.life != l {
		m.mu.Unlock()
		return
	}
	if m.resync != nil {
		m.tellHeld()
	}
	m.miss()
	m.question++
	m.state, m.ref, m.refused, m.refusals = idle, "", nil, 0
	waiting := m.waiting
	m.waiting = nil
	rest := func() {}
	if len(m.clients) == 0 {
		rest = m.end(nil, nil, false)
	}
	m.mu.Unlock()
	rest()
	for _, cm := range waiting {
		cm.reply(nil, errLinkDown)
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
	if len(s.monitors) >= s.proxy.bounds.Load().MaxMonitors {
		s.mu.Unlock()
		s.overLimit("limits.monitors-per-session", uacsta.NameMonitorStart)
		cm.reply(nil, uacsta.Refuse(uacsta.SubscribedResourceAvailability, uacsta.ObjectMonitorLimitExceeded))
		return
	}
	cm.owner = s.Identity().Name
	if !s.proxy.watches.take(cm.owner, s.proxy.bounds.Load().MaxWatches, math.MaxInt) {
		s.mu.Unlock()
		s.overLimit("limits.monitors-per-identity", uacsta.NameMonitorStart)
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
	if m.resync != nil {
		cm.from = len(m.resync.held)
	}
	m.clients = append(m.clients, cm)
}

// tellsSince reports whether the monitor has told everything since a moment.
func (m *monitor) tellsSince(moment time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state == started && m.resync == nil && !m.since.After(moment)
}

// allowed reports whether a session may have a share in the monitor.
func (m *monitor) allowed(s *Session) bool {
	return s.may(policy.Observe, m.device)
}

// event takes an event of the link.
func (m *monitor) event(ev *uacsta.Message) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.state != started { // it is being stopped
		return
	}
	r := m.resync
	if r != nil && r.hold(ev) {
		return
	}
	if r != nil {
		m.trunk.log.Warn("too many events before the snapshot: the device is looked at once more", "device", m.device.String())
		m.tellHeld()
		defer m.lookLater(r)
	}
	changed := m.pictured() && m.apply(ev)
	m.tellTo(ev, func(cm *clientMonitor) bool { return !cm.stale || changed || !callmodel.Concerns(ev) })
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
		for id := range m.picture.Connections() {
			if n, err := s.proxy.numbers().Parse(id.Device, ""); err == nil && s.may(policy.Observe, n) {
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

// tellTo gives an event to some of the clients, to each in its own form; m.mu is held.
func (m *monitor) tellTo(ev *uacsta.Message, whom func(*clientMonitor) bool) {
	for _, cm := range m.clients {
		if cm.without[ev.Name()] || !whom(cm) {
			continue
		}
		copied := ev.Clone()
		copied.SetCrossRef(cm.ref)
		cm.session.translate(copied, "")
		m.trunk.proxy.stats.Events.Add(1)
		cm.session.deliver(delivery{msg: copied})
	}
}

// finish ends the monitor for good: who has a share in it is told that it is over, who waits for
// one gets why. Where stop is set, the link is asked to end it.
func (m *monitor) finish(why error, stop bool) {
	m.mu.Lock()
	rest := m.end(nil, why, stop)
	m.mu.Unlock()
	rest()
}

// end is finish while m.mu is held; what is returned does the rest, when it is not any more. The
// link is asked in the turn of the client by, who leaves, nil where the core ends the monitor.
func (m *monitor) end(by *Session, why error, stop bool) (rest func()) {
	if m.state == stopped {
		return func() {}
	}
	if m.resync != nil {
		m.tellHeld()
	}
	l, ref, clients, waiting := m.life, m.ref, m.clients, m.waiting
	m.over.Store(true)
	m.state, m.ref, m.clients, m.waiting = stopped, "", nil, nil
	m.picture.clear()
	return func() {
		m.forget()
		switch leave := func() { l.monitors.leave(ref, m) }; {
		case ref == "":
		case stop: // until the link has ended it, what comes under its reference is known to be nobody's
			still := func() bool { return l.monitors.of(ref) == m } // the switch may have given it to the next
			l.insist(by, uacsta.Encode(uacsta.MonitorStop{MonitorCrossRefID: ref}, uacsta.Edition3), still, leave)
		default:
			leave()
		}
		for _, cm := range waiting {
			cm.reply(nil, cmp.Or[error](why, errLinkDown))
		}
		for _, cm := range clients {
			if s := cm.session; s.forgetMonitor(cm) {
				s.send(uacsta.MonitorStop{MonitorCrossRefID: cm.ref})
			}
		}
	}
}

// errMoved refuses what a client wanted of a link whose device another link has now.
var errMoved = uacsta.Refuse(uacsta.SystemResourceAvailability, uacsta.ResourceOutOfService)

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
	last := m.unwanted()
	if linger := m.trunk.proxy.bounds.Load().Linger; last && lost && linger > 0 {
		m.left++
		left := m.left
		m.mu.Unlock()
		m.trunk.proxy.spawn(func() { m.linger(left, linger) })
		return
	}
	rest := func() {}
	if last {
		rest = m.end(cm.session, nil, true)
	}
	m.mu.Unlock()
	rest()
}

// ended implements possession.
func (m *monitor) ended() bool { return m.over.Load() }

// unwanted reports whether nobody has a share in the monitor, or waits for one; while the link is
// asked for it, that is seen when it answers. m.mu is held.
func (m *monitor) unwanted() bool {
	return len(m.clients) == 0 && len(m.waiting) == 0 && m.state != asking && m.state != stopped
}

// linger ends a monitor that nobody has come back to.
func (m *monitor) linger(left int, pause time.Duration) {
	if !gate.Sleep(m.trunk.proxy.ctx, pause) {
		return
	}
	m.mu.Lock()
	rest := func() {}
	if m.left == left && m.unwanted() {
		rest = m.end(nil, nil, true)
	}
	m.mu.Unlock()
	rest()
}

// forget takes a monitor that has stopped out of the table.
func (m *monitor) forget() {
	t := m.trunk
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.monitors[m.key] == m {
		delete(t.monitors, m.key)
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
