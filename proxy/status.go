package proxy

import (
	"errors"
	"slices"
	"strings"
	"time"
)

// Status is the state of the core, for administrators.
type Status struct {
	Sessions     int          `json:"sessions"`
	Applications int          `json:"application_sessions"`
	Monitors     int          `json:"monitors"` // at the links, or waiting for them
	Links        []LinkStatus `json:"links"`
}

// LinkStatus is the state of one link.
type LinkStatus struct {
	Name     string    `json:"name"`
	Up       bool      `json:"up"`
	Since    time.Time `json:"since"`
	Status   string    `json:"status,omitempty"` // as the switch reports it
	Failure  string    `json:"failure,omitempty"`
	Monitors int       `json:"monitors"`
	// Next is when a link that is down is connected again; the zero time: it is being connected, or up.
	Next      time.Time     `json:"next,omitzero"`
	RoundTrip time.Duration `json:"-"` // of the last request; 0: there was none
	Calls     int           `json:"-"` // that have parties now
	Began     int64         `json:"-"` // calls since the link was made
}

// Status returns the state of the core.
func (p *Proxy) Status() Status {
	p.mu.Lock()
	st := Status{Sessions: len(p.sessions), Applications: p.apps.total(), Links: []LinkStatus{}}
	p.mu.Unlock()
	for _, t := range p.list() {
		l := t.linkStatus()
		st.Links = append(st.Links, l)
		st.Monitors += l.Monitors
	}
	return st
}

func (t *managedLink) linkStatus() LinkStatus {
	t.mu.Lock()
	defer t.mu.Unlock()
	l := LinkStatus{Name: t.name, Up: t.life.active(), Since: t.since, Monitors: len(t.monitors)}
	if l.Up {
		l.Status = string(t.status)
	} else if t.failure != nil {
		l.Failure, l.Next = t.failure.Error(), t.next
	}
	l.RoundTrip = time.Duration(t.roundTrip.Load())
	l.Calls, l.Began = t.calls.counts()
	return l
}

// SessionStatus is the state of one session.
type SessionStatus struct {
	ID          string    `json:"id"`
	Identity    string    `json:"identity"`
	Peer        string    `json:"peer"`
	Line        string    `json:"line,omitempty"`
	Since       time.Time `json:"since"`
	Application string    `json:"application_session,omitempty"` // the identifier of the application session
	Monitors    int       `json:"monitors"`
	Queue       int       `json:"queue"` // messages that wait for the client
}

// SessionList returns the sessions, the oldest first.
func (p *Proxy) SessionList() []SessionStatus {
	sessions := p.sessionList()
	list := make([]SessionStatus, 0, len(sessions))
	for _, s := range sessions {
		s.mu.Lock()
		st := SessionStatus{
			ID: s.id, Identity: s.Identity().String(), Peer: s.peer, Line: s.line.String(), Since: s.since, Monitors: len(s.monitors), Queue: len(s.queue),
		}
		if s.app != nil {
			st.Application = s.app.id
		}
		s.mu.Unlock()
		list = append(list, st)
	}
	slices.SortFunc(list, func(a, b SessionStatus) int { return a.Since.Compare(b.Since) })
	return list
}

// ErrEnded closes a session that an administrator ends.
var ErrEnded = errors.New("an administrator has ended the session")

// EndSession closes the session with an ID, of [SessionStatus], and reports whether there was one. Its client may come again.
func (p *Proxy) EndSession(id string) bool {
	sessions := p.sessionList()
	i := slices.IndexFunc(sessions, func(s *Session) bool { return s.id == id })
	if i < 0 {
		return false
	}
	sessions[i].disconnect(ErrEnded)
	return true
}

// DeviceStatus is the state of one monitor.
type DeviceStatus struct {
	Device  string `json:"device"`
	Call    string `json:"call,omitempty"` // set for a monitor on a call
	Link    string `json:"link"`
	Clients int    `json:"clients"`
	Active  bool   `json:"active"` // the link has started the monitor

	Identities []string `json:"identities"` // of the clients, each once
}

// DeviceList returns the monitors, ordered by device.
func (p *Proxy) DeviceList() []DeviceStatus {
	var monitors []*monitor
	for _, t := range p.list() {
		monitors = append(monitors, t.monitorList()...)
	}
	list := make([]DeviceStatus, 0, len(monitors))
	for _, m := range monitors {
		m.mu.Lock()
		st := DeviceStatus{Device: m.device.String(), Link: m.managed.name, Clients: len(m.clients), Active: m.state == started}
		st.Identities = make([]string, 0, len(m.clients))
		for _, cm := range m.clients {
			if who := cm.session.Identity().String(); !slices.Contains(st.Identities, who) {
				st.Identities = append(st.Identities, who)
			}
		}
		if call := m.watch.MonitorObject.CallObject; call != nil {
			st.Call = call.CallID
		}
		m.mu.Unlock()
		list = append(list, st)
	}
	slices.SortFunc(list, func(a, b DeviceStatus) int { return strings.Compare(a.Device+a.Call, b.Device+b.Call) })
	return list
}
