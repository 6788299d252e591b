package proxy

import (
	"sync"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// monitor is the one monitor that the link has on a device, shared by any number
// of clients.
type monitor struct {
	trunk  *trunk
	device string // canonical

	mu      sync.Mutex
	ref     string // the link's; "" while it is not started
	started bool
	failed  bool // it is out of the table: whoever comes makes a new one
	clients []*clientMonitor
	waiting []*clientMonitor // for the link's answer
}

// clientMonitor is one client's view of a monitor.
type clientMonitor struct {
	monitor *monitor
	session *Session
	ref     string                // the client's cross reference
	filter  *uacsta.MonitorFilter // what the client asked for, nil for everything
	without map[string]bool       // the events that it suppresses
	reply   func(*uacsta.Message, error)
}

// startMonitor answers MonitorStart (ECMA-269: a monitor on a monitored device is
// a second, independent one).
func (s *Session) startMonitor(t *trunk, device string, req *uacsta.Message, reply func(*uacsta.Message, error)) {
	var start uacsta.MonitorStart
	if err := req.Decode(&start); err != nil {
		reply(nil, err)
		return
	}
	cm := &clientMonitor{session: s, ref: newRef(), filter: start.RequestedMonitorFilter, without: start.RequestedMonitorFilter.Suppressed(), reply: reply}
	for {
		m, fresh := t.monitorOf(device)
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

// monitorOf finds the monitor of a device in the table, or puts a new one there.
func (t *trunk) monitorOf(device string) (m *monitor, fresh bool) {
	t.proxy.mu.Lock()
	defer t.proxy.mu.Unlock()
	m = t.monitors[device]
	if m == nil {
		m, fresh = &monitor{trunk: t, device: device}, true
		t.monitors[device] = m
	}
	return m, fresh
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
	default:
		m.waiting = append(m.waiting, cm)
	}
	return true
}

// start asks the link for the monitor.
func (m *monitor) start(cm *clientMonitor) {
	if cm != nil {
		m.mu.Lock()
		m.waiting = append(m.waiting, cm)
		m.mu.Unlock()
	}
	device := uacsta.Dev(m.device)
	req := uacsta.Encode(uacsta.MonitorStart{MonitorObject: uacsta.MonitorObject{DeviceObject: &device}}, uacsta.Edition3)
	m.trunk.request(req, m.answered)
}

// answered takes the link's answer to MonitorStart; the link calls it before the
// first event.
func (m *monitor) answered(res *uacsta.Message, err error) {
	if err == nil && res.CrossRef() == "" {
		err = uacsta.Refuse(uacsta.Unspecified, "")
	}
	p := m.trunk.proxy
	if err == nil {
		p.mu.Lock()
		m.trunk.byRef[res.CrossRef()] = m
		p.mu.Unlock()
	}
	m.mu.Lock()
	waiting := m.waiting
	m.waiting = nil
	if err != nil {
		m.failed = len(m.clients) == 0
		failed := m.failed
		m.mu.Unlock()
		if failed {
			m.forget()
		} else {
			p.cfg.Log.Error("monitor not restarted", "link", m.trunk.name, "device", m.device, "err", err)
		}
		for _, cm := range waiting {
			cm.reply(nil, err)
		}
		return
	}
	m.ref, m.started = res.CrossRef(), true
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

// admit gives a client its monitor: the answer first, then, because m.mu is held,
// nothing that happened before it and everything that happens after.
func (m *monitor) admit(cm *clientMonitor) {
	s := cm.session
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return
	}
	if len(s.monitors) >= s.proxy.cfg.MaxMonitors {
		s.mu.Unlock()
		cm.reply(nil, uacsta.Refuse(uacsta.SubscribedResourceAvailability, uacsta.ObjectMonitorLimitExceeded))
		return
	}
	s.monitors[cm.ref] = cm
	s.mu.Unlock()
	res := uacsta.MonitorStartResponse{MonitorCrossRefID: cm.ref, ActualMonitorFilter: cm.filter}
	cm.reply(uacsta.Encode(res, uacsta.Edition3), nil)
	m.clients = append(m.clients, cm)
}

// event gives an event to each client, in that client's own form.
func (m *monitor) event(ev *uacsta.Message) {
	m.mu.Lock()
	defer m.mu.Unlock()
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

// remove takes a client away; the last one ends the link's monitor.
func (m *monitor) remove(cm *clientMonitor) {
	m.mu.Lock()
	for i, other := range m.clients {
		if other == cm {
			m.clients = append(m.clients[:i:i], m.clients[i+1:]...)
			break
		}
	}
	last := m.started && len(m.clients) == 0 && len(m.waiting) == 0 && !m.failed
	m.failed = m.failed || last
	m.mu.Unlock()
	if last {
		m.forget()
		m.stop()
	}
}

func (m *monitor) forget() {
	p := m.trunk.proxy
	p.mu.Lock()
	defer p.mu.Unlock()
	if m.trunk.monitors[m.device] == m {
		delete(m.trunk.monitors, m.device)
	}
}

// stop ends the monitor at the link.
func (m *monitor) stop() {
	m.mu.Lock()
	ref := m.ref
	m.mu.Unlock()
	req := uacsta.Encode(uacsta.MonitorStop{MonitorCrossRefID: ref}, uacsta.Edition3)
	p := m.trunk.proxy
	m.trunk.request(req, func(*uacsta.Message, error) {
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
	m.started, m.ref = false, ""
	m.mu.Unlock()
	m.start(nil)
}
