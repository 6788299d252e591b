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

// monitor is the one monitor that the link has on a device or call. Any number of clients share it.
type monitor struct {
	managed *managedLink
	key     string // identifies what is monitored, and how
	device  policy.Number
	watch   uacsta.MonitorStart
	ask     *uacsta.Message // the MonitorStart that the link gets
	answer  *uacsta.Message // the private data of the link's last response; nil: none

	stopping atomic.Bool // set before the link is asked to stop it

	mu       lock
	state    monitorState
	question int       // counts the MonitorStart requests: only the response to the last one counts
	number   int       // of that request in its life
	life     *life     // in which the last request was sent
	ref      string    // the link's cross reference in that life, once started
	existing *bool     // monitorExistingCalls of the link's response; nil: not given
	since    time.Time // when it started
	refusals int       // consecutive refusals
	refused  error     // the last refusal
	clients  []*clientMonitor
	waiting  []*clientMonitor // for the link's response
	picture  *picture         // the calls as the events have reported them
	away     bool             // the device is out of service, as the events have reported it
	resync   *resync          // while clients do not know yet what they missed; nil otherwise
	left     int              // counts how often the last client has gone
}

// monitorState is the state of a monitor at the link.
type monitorState int

const (
	idle     monitorState = iota // not requested: the link is down, or has not been asked yet
	asking                       // MonitorStart has been sent
	started                      // it has a cross reference
	retrying                     // the link refused it; MonitorStart is sent again after a while
	stopped                      // final: it is out of the table, and the next client makes a new monitor
)

// clientMonitor is one client's share in a monitor.
type clientMonitor struct {
	monitor *monitor
	session *Session
	ref     string                // the client's cross reference
	filter  *uacsta.MonitorFilter // as the client requested it; nil: everything passes
	without map[string]bool       // the events that the filter suppresses
	owner   string                // the identity whose limit it counts against
	stale   bool                  // the client may have missed something; guarded by monitor.mu, like from
	from    int                   // index of the first held event that the client gets
	reply   answerer
	cause   uint64 // the number of the exchange that it began in
}

// maxPrivate limits a MonitorStart with private data, in octets. It is kept as long as the monitor,
// and one client may have many that differ.
const maxPrivate = 2048

// startMonitor serves MonitorStart. Two monitors of a client on one device are independent (ECMA-269).
func (s *Session) startMonitor(t *managedLink, device policy.Number, req *uacsta.Message, reply answerer) {
	var start uacsta.MonitorStart
	if err := req.Decode(&start); err != nil {
		reply(nil, err)
		return
	}
	cm := &clientMonitor{session: s, ref: s.proxy.refs.next(), reply: reply, cause: req.Cause()}
	inverted, err := req.TakeInversion("requestedMonitorFilter")
	if err != nil {
		reply(nil, err)
		return
	}
	cm.suppress(start.RequestedMonitorFilter, inverted)
	watch := uacsta.MonitorStart{MonitorObject: start.MonitorObject, MonitorType: start.MonitorType, RequestedMonitorMediaClass: start.RequestedMonitorMediaClass}
	key := device.String()
	if watch.MonitorType == uacsta.MonitorDevice && start.MonitorObject.DeviceObject != nil {
		watch.MonitorType = "" // the default
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
	if private(req) { // only the switch understands private data, so the monitor is not shared with other requests
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
		m := t.monitorOf(&monitor{mu: lock{rank: ofShared}, managed: t, key: key, device: device, watch: watch, ask: ask, picture: newPicture(ownOf(watch.MonitorObject), t.static, &t.pictures)})
		if s.moved(t, device) { // a reload may not have found the new monitor in the table
			m.stop(errMoved, true)
			reply(nil, errMoved)
			return
		}
		cm.monitor = m
		if m.join(cm) {
			return
		}
	}
}

// suppress sets the client's filter. In an inverted one true asks for an event.
func (cm *clientMonitor) suppress(filter *uacsta.MonitorFilter, inverted bool) {
	if inverted {
		filter = filter.Inverted()
	}
	cm.filter, cm.without = filter, filter.Suppressed()
}

// privateOf returns a message with the private data of a response. It returns nil if there are none or
// if they exceed maxPrivate.
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
	kept, err := uacsta.Parse(data) // a copy: as a part of the response it would keep all of that in memory
	if err != nil {
		return nil
	}
	return kept
}

// private reports whether a request has private data, other than the line that clients of Lync's kind
// name.
func private(req *uacsta.Message) bool {
	return req.Has("extensions") && req.PrivateText("line") == ""
}

// monitorOf returns the monitor with the same key from the table, or adds m to the table and returns
// it.
func (t *managedLink) monitorOf(m *monitor) *monitor {
	t.mu.Lock()
	defer t.mu.Unlock()
	if there := t.monitors[m.key]; there != nil {
		return there
	}
	t.monitors[m.key] = m
	return m
}

// join adds a client to the monitor and starts the monitor if that has not been done. It returns false
// if the monitor has just stopped.
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
		ask = m.start(m.managed.now(), cm.session, cm.cause)
	}
	m.mu.Unlock()
	if ask != nil {
		ask()
	}
	return true
}

// start prepares a MonitorStart for the link; by is the client, or nil for the core, cause the number of its exchange, or 0. The caller holds
// m.mu and calls the returned function after releasing it.
func (m *monitor) start(l *life, by *Session, cause uint64) (ask func()) {
	m.endResync()
	m.question++
	question := m.question
	m.state, m.life, m.ref, m.away = asking, l, "", false
	answered := func(res *uacsta.Message, err error) { m.answered(l, question, res, err) }
	sent := func() error {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.number = l.count()
		return nil
	}
	call := m.watch.MonitorObject.CallObject
	if _, keeps := m.managed.link.(ConnectionKeeper); call != nil && len(m.clients) > 0 && !keeps {
		// A switch that restarted may have given the callID to another call, which the clients have no
		// right on.
		return func() {
			m.managed.proxy.spawn(func() { // start may run inside a call of the link
				if by == nil && l.pace() != nil {
					answered(nil, errLinkDown)
					return
				}
				switch in, err := m.managed.inCall(by, *call); {
				case err != nil:
					answered(nil, err)
				case in:
					l.requestIf(by, m.asked(cause), sent, answered)
				default:
					answered(nil, errCall)
				}
			})
		}
	}
	return func() { l.requestIf(by, m.asked(cause), sent, answered) }
}

// asked returns the MonitorStart to send, as a part of an exchange.
func (m *monitor) asked(cause uint64) *uacsta.Message {
	ask := m.ask.Clone()
	ask.SetCause(cause)
	return ask
}

// answered takes the response to MonitorStart number question. The link delivers it before the first
// event.
func (m *monitor) answered(l *life, question int, res *uacsta.Message, err error) {
	ref := ""
	if err == nil {
		if ref = reference(res.CrossRef()); ref == "" {
			err = uacsta.Refuse(uacsta.Unspecified, "")
		}
	}
	m.mu.Lock()
	if m.question != question || m.state != asking { // the request is out of date
		m.mu.Unlock()
		if ref != "" {
			l.orphan(res, func() {})
		}
		return
	}
	if err == nil && l.doubtful(uacsta.NameMonitorStop, ref, m.number) {
		defer l.orphan(res, func() {}) // whether the switch has it or not, it is stopped afterwards
		err = errEnded
	}
	if err == nil {
		if err = l.monitors.enter(ref, m); errors.Is(err, errReferenceUsed) {
			m.managed.log.Error("switch reused a monitor cross reference: refusing the second monitor", "device", m.device.String())
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
	m.startResync(0)
	waiting := m.waiting
	m.waiting = nil
	for _, cm := range waiting {
		m.admit(cm)
	}
	var rest func()
	if len(m.clients) == 0 { // all clients have gone while the request was out
		rest = m.stopLocked(nil, nil, true)
	}
	m.mu.Unlock()
	if rest != nil {
		m.managed.proxy.spawn(rest) // answered may run inside a call of the link
	}
}

// notStarted handles a refusal of the link, or that it went down. The caller holds m.mu; notStarted
// releases it.
func (m *monitor) notStarted(l *life, err error) {
	waiting := m.waiting
	m.waiting = nil
	lasts, again := l.active(), worthAnother(err)
	keep := len(m.clients) > 0 && (again || !lasts)
	rest := func() {}
	if !keep { // the call or the device no longer exists
		rest = m.stopLocked(nil, err, false)
	} else {
		m.state, m.refused = idle, err
		if lasts {
			m.state = retrying
			question, refusals := m.question, m.refusals
			m.refusals++
			m.managed.proxy.spawn(func() { m.tryAgain(l, question, refusals) })
		}
	}
	m.mu.Unlock()
	if lasts && (len(waiting) == 0 || again) {
		m.managed.log.Warn("monitor refused", "device", m.device.String(), "err", err, "retrying", keep)
	}
	rest()
	for _, cm := range waiting {
		cm.reply(nil, err)
	}
}

// tryAgain sends MonitorStart again after a delay, unless the monitor has changed state meanwhile.
func (m *monitor) tryAgain(l *life, question, refusals int) {
	if !m.managed.proxy.pause(l.ctx, refusals) || l.pace() != nil {
		return
	}
	m.mu.Lock()
	var ask func()
	if m.state == retrying && m.question == question {
		ask = m.start(l, nil, 0)
	}
	m.mu.Unlock()
	if ask != nil {
		ask()
	}
}

// restart starts the monitor in a new life of the link, unless a client has already caused that.
// Clients keep their cross references.
func (m *monitor) restart(l *life) {
	m.mu.Lock()
	var ask func()
	if m.life != l && m.state != stopped && l.active() { // it may already be started in the next life
		ask = m.start(l, nil, 0)
	}
	m.mu.Unlock()
	if ask != nil {
		ask()
	}
}

// linkDown handles the end of a life of the link, which invalidates the link's cross reference. It
// delivers held events: what they report has happened, and no snapshot reports all of it.
func (m *monitor) linkDown(l *life) {
	m.mu.Lock()
	if m.state == stopped || m.life != l {
		m.mu.Unlock()
		return
	}
	if m.resync != nil {
		m.releaseHeld()
	}
	m.markStale()
	m.question++
	m.state, m.ref, m.refused, m.refusals = idle, "", nil, 0
	waiting := m.waiting
	m.waiting = nil
	rest := func() {}
	if len(m.clients) == 0 {
		rest = m.stopLocked(nil, nil, false)
	}
	m.mu.Unlock()
	rest()
	for _, cm := range waiting {
		cm.reply(nil, errLinkDown)
	}
}

// admit gives a client its share in the monitor. Because the caller holds m.mu, the client gets the
// response first, then that the device is out of service if it is, no other event from before and every event from
// after.
func (m *monitor) admit(cm *clientMonitor) {
	s := cm.session
	s.mu.Lock()
	if s.closed || !m.allowed(s) { // the session has closed, or lost its rights, while the request was out
		s.mu.Unlock()
		cm.reply(nil, uacsta.Refuse(uacsta.Operation, uacsta.PrivilegeViolationSpecifiedDevice))
		return
	}
	if s.reach != ReachOwn && len(s.monitors) >= s.proxy.bounds.Load().MaxMonitors {
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
	if m.away {
		m.sendOne(uacsta.Encode(uacsta.OutOfServiceEvent{Device: uacsta.ExtendedDeviceID{Device: uacsta.Typed(policy.Element(m.device.String()))}, Cause: uacsta.CauseNormal}, uacsta.Edition3), cm)
	}
	if m.resync != nil {
		cm.from = len(m.resync.held)
	}
	m.clients = append(m.clients, cm)
}

// currentSince reports whether the monitor has delivered everything since moment.
func (m *monitor) currentSince(moment time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state == started && m.resync == nil && !m.since.After(moment)
}

// allowed reports whether a session may share the monitor.
func (m *monitor) allowed(s *Session) bool {
	return s.may(policy.Observe, m.device)
}

// event handles an event of the link.
func (m *monitor) event(ev *uacsta.Message) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.state != started { // it is being stopped
		return
	}
	if m.watch.MonitorObject.DeviceObject != nil {
		switch ev.Name() {
		case uacsta.NameOutOfServiceEvent:
			m.away = true
		case uacsta.NameBackInServiceEvent:
			m.away = false
		}
	}
	r := m.resync
	if r != nil && r.hold(ev) {
		return
	}
	if r != nil {
		m.managed.log.Warn("too many events during resynchronisation: taking another snapshot", "device", m.device.String())
		m.releaseHeld()
		defer m.resyncLater(r)
	}
	changed := m.pictured() && m.apply(ev)
	m.sendTo(ev, func(cm *clientMonitor) bool { return !cm.stale || changed || !callmodel.Concerns(ev) })
	m.removeUnauthorised()
}

// removeUnauthorised removes clients from a monitor on a call once they have no right on any device in
// it: they had it through a device that has left the call. The caller holds m.mu.
func (m *monitor) removeUnauthorised() {
	if m.watch.MonitorObject.CallObject == nil || len(m.picture.calls) == 0 || m.resync != nil {
		return
	}
	m.clients = slices.DeleteFunc(m.clients, func(cm *clientMonitor) bool {
		s := cm.session
		for id := range m.picture.Connections() {
			if n, err := s.proxy.numbers().Parse(m.managed.static(id.Device), ""); err == nil && s.may(policy.Observe, n) {
				return false
			}
		}
		s.proxy.spawn(func() { // m.mu is held here
			if s.forgetMonitor(cm) {
				m.remove(cm, false)
				s.send(uacsta.MonitorStop{MonitorCrossRefID: cm.ref})
			}
		})
		return true
	})
}

// sendTo sends an event to the clients that whom selects, to each in its own form. The caller holds
// m.mu.
func (m *monitor) sendTo(ev *uacsta.Message, whom func(*clientMonitor) bool) {
	for _, cm := range m.clients {
		if whom(cm) {
			m.sendOne(ev.Clone(), cm)
		}
	}
}

// sendOne sends an event to a client in its own form, unless the client's filter suppresses it.
func (m *monitor) sendOne(ev *uacsta.Message, cm *clientMonitor) {
	if cm.without[ev.Name()] {
		return
	}
	ev.SetCrossRef(cm.ref)
	cm.session.translate(ev, "")
	m.managed.proxy.stats.Events.Add(1)
	cm.session.deliver(delivery{msg: ev})
}

// stop stops the monitor for good. Clients get MonitorStop, and those that still wait for it get why.
// If stop is set, the link is asked to stop it, too.
func (m *monitor) stop(why error, stop bool) {
	m.mu.Lock()
	rest := m.stopLocked(nil, why, stop)
	m.mu.Unlock()
	rest()
}

// stopLocked is stop for a caller that holds m.mu and calls rest after releasing it. The request to
// the link takes the turn of by, the client that leaves, or of the core if by is nil.
func (m *monitor) stopLocked(by *Session, why error, stop bool) (rest func()) {
	if m.state == stopped {
		return func() {}
	}
	if m.resync != nil {
		m.releaseHeld()
	}
	l, ref, clients, waiting := m.life, m.ref, m.clients, m.waiting
	m.stopping.Store(true)
	m.state, m.ref, m.clients, m.waiting = stopped, "", nil, nil
	m.picture.clear()
	return func() {
		m.forget()
		switch leave := func() { l.monitors.leave(ref, m) }; {
		case ref == "":
		case stop: // the reference stays taken until the link has stopped the monitor
			still := func() bool { return l.monitors.of(ref) == m } // the switch may have reused it
			l.releaseReference(by, uacsta.Encode(uacsta.MonitorStop{MonitorCrossRefID: ref}, uacsta.Edition3), still, leave)
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

// errMoved refuses a request or ends a monitor after a reload has given the device to another link.
var errMoved = uacsta.Refuse(uacsta.SystemResourceAvailability, uacsta.ResourceOutOfService)

// forgetMonitor removes a monitor from the session's table and reports whether it was there.
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

// remove takes a client away from the monitor. The last one stops it, unless that client disconnected
// uncleanly (lost): then the monitor stays for Config.Linger, because the client may be a front end
// with thousands of them that returns at once.
func (m *monitor) remove(cm *clientMonitor, lost bool) {
	m.mu.Lock()
	for i, other := range m.clients {
		if other == cm {
			m.clients = append(m.clients[:i:i], m.clients[i+1:]...)
			break
		}
	}
	last := m.unwanted()
	if linger := m.managed.proxy.bounds.Load().Linger; last && lost && linger > 0 {
		m.left++
		left := m.left
		m.mu.Unlock()
		m.managed.proxy.spawn(func() { m.linger(left, linger) })
		return
	}
	rest := func() {}
	if last {
		rest = m.stopLocked(cm.session, nil, true)
	}
	m.mu.Unlock()
	rest()
}

// ended implements possession.
func (m *monitor) ended() bool { return m.stopping.Load() }

// unwanted reports whether no client has the monitor or waits for it. While MonitorStart is out, the
// response decides. The caller holds m.mu.
func (m *monitor) unwanted() bool {
	return len(m.clients) == 0 && len(m.waiting) == 0 && m.state != asking && m.state != stopped
}

// linger stops the monitor after pause if no client has joined it since.
func (m *monitor) linger(left int, pause time.Duration) {
	if !gate.Sleep(m.managed.proxy.ctx, pause) {
		return
	}
	m.mu.Lock()
	rest := func() {}
	if m.left == left && m.unwanted() {
		rest = m.stopLocked(nil, nil, true)
	}
	m.mu.Unlock()
	rest()
}

// forget removes a stopped monitor from the link's table.
func (m *monitor) forget() {
	t := m.managed
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.monitors[m.key] == m {
		delete(t.monitors, m.key)
	}
}

// changeMonitorFilter serves ChangeMonitorFilter. Filters are applied for each client; the link sends
// everything.
func (s *Session) changeMonitorFilter(req *uacsta.Message, answer answerer) {
	var change uacsta.ChangeMonitorFilter
	if err := req.Decode(&change); err != nil {
		answer(nil, err)
		return
	}
	inverted, err := req.TakeInversion("requestedFilterList")
	if err != nil {
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
	cm.suppress(&change.RequestedFilterList, inverted)
	answer(uacsta.Encode(uacsta.ChangeMonitorFilterResponse{ActualFilterList: cm.filter}, uacsta.Edition3), nil)
}

// listMonitors serves GetMonitors: those of the session.
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
