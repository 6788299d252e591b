package desk

import (
	"cmp"
	"errors"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/tr87proxy/tr87proxy/sip/registrar"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// monitor is a monitor at a telephone.
type monitor struct {
	local string          // the telephone's cross reference; "" if it must be started again
	start *uacsta.Message // the MonitorStart, as the core wrote it
}

const (
	featuresTimeout = 2 * time.Second
	monitorTimeout  = 5 * time.Second
)

// leastServices lists the services of a telephone that does not say what it supports: those that all
// telephones have.
var leastServices = uacsta.Features{
	Services: []string{
		uacsta.NameRequestSystemStatus, uacsta.NameMonitorStart, uacsta.NameMonitorStop, uacsta.NameSnapshotDevice, uacsta.NameMakeCall,
		uacsta.NameAnswerCall, uacsta.NameClearConnection,
	},
	Events: []string{
		uacsta.NameDeliveredEvent, uacsta.NameEstablishedEvent, uacsta.NameConnectionClearedEvent, uacsta.NameOriginatedEvent, uacsta.NameFailedEvent,
	},
}

// monitors stores the monitor of a MonitorStart, and puts our cross reference into the response; it
// drops that of a MonitorStop. Two telephones can give the same cross reference; ours are unique in a
// life.
func (l *life) monitors(req, res *uacsta.Message, number string) {
	switch req.Name() {
	case uacsta.NameMonitorStart:
		if local := res.CrossRef(); local != "" {
			res.SetCrossRef(l.keep(number, &monitor{local: local, start: req.Clone()}))
		}
	case uacsta.NameMonitorStop:
		l.drop(req.CrossRef(), number)
	}
}

// keep stores a monitor on a telephone, and returns our cross reference for it.
func (l *life) keep(number string, one *monitor) (ref string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last++
	ref = strconv.Itoa(l.last)
	l.owners[ref], l.phones[number].monitors[ref] = number, one
	return ref
}

// defers accepts a MonitorStart on a telephone that is away, and reports it out of service: the monitor starts when the
// telephone has a session. It returns false for other requests, and when the life has ended.
func (l *life) defers(req *uacsta.Message, reply func(*uacsta.Message, error), number string) bool {
	l.mu.Lock()
	open := l.open
	l.mu.Unlock()
	if req.Name() != uacsta.NameMonitorStart || !open {
		return false
	}
	ref := l.keep(number, &monitor{start: req.Clone()})
	l.deliver(func() {
		reply(uacsta.Encode(uacsta.MonitorStartResponse{MonitorCrossRefID: ref}, uacsta.Edition3), nil)
	})
	l.outOfService(number, ref)
	return true
}

// outOfService reports to the core that a telephone is away.
func (l *life) outOfService(number, ref string) {
	l.deliver(func() {
		l.up.Event(uacsta.Encode(uacsta.OutOfServiceEvent{MonitorCrossRefID: ref, Device: uacsta.Ext(number), Cause: uacsta.CauseNormal}, uacsta.Edition3))
	})
}

var errHere = errors.New("the telephone is not asked")

// keepsAlone reports whether a request stops a monitor that must go on at the telephone, or that the
// telephone has lost: the telephone can have one monitor for two of ours.
func (l *life) keepsAlone(req *uacsta.Message, number string) bool {
	if req.Name() != uacsta.NameMonitorStop {
		return false
	}
	l.mu.Lock()
	one := l.phones[number].monitors[req.CrossRef()]
	l.mu.Unlock()
	return one != nil && (one.local == "" || len(l.watched(number, one.local)) > 1)
}

// drop forgets a monitor of a telephone.
func (l *life) drop(ref, number string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.owners, ref)
	delete(l.phones[number].monitors, ref)
}

// watched returns our cross references for a cross reference of a telephone.
func (l *life) watched(number, local string) (refs []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for ref, m := range l.phones[number].monitors {
		if m.local == local && local != "" {
			refs = append(refs, ref)
		}
	}
	return refs
}

// Event implements registrar.Upcalls: it forwards the event under each of our cross references.
func (l *life) Event(number string, m *uacsta.Message) {
	refs := l.watched(number, m.CrossRef())
	if len(refs) == 0 {
		l.log.Debug("dropped event of a telephone that nobody monitors", "device", number, "event", m.Name())
		return
	}
	inward(m, number)
	for _, ref := range refs {
		copied := m.Clone()
		copied.SetCrossRef(ref)
		l.deliver(func() { l.up.Event(copied) })
	}
}

// Session implements registrar.Upcalls: monitors of the previous session are lost, and their clients are
// told. In a new session they are started again.
func (l *life) Session(number string, n *registrar.Session) {
	p := l.phones[number] // the table never changes
	l.mu.Lock()
	own := slices.SortedFunc(maps.Keys(p.monitors), func(a, b string) int { return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b)) })
	for _, ref := range own {
		p.monitors[ref].local = ""
	}
	l.mu.Unlock()
	if p.served {
		for _, ref := range own {
			l.outOfService(number, ref)
		}
	}
	if p.served = n != nil; p.served {
		l.begin(number, n, own)
	}
}

// begin asks a telephone that has a session what it supports, and starts its monitors again.
func (l *life) begin(number string, n *registrar.Session, own []string) {
	can := leastServices
	if services := n.Services(); len(services) > 0 {
		can.Services = services
	}
	if res, err := n.Ask(featuresTimeout, uacsta.Encode(uacsta.GetCSTAFeatures{}, uacsta.Edition3)); err == nil {
		can = res.Features()
	}
	l.mu.Lock()
	l.phones[number].can = can
	l.mu.Unlock()
	for _, ref := range own {
		if err := l.restart(number, ref, n); err != nil {
			l.log.Warn("telephone refused to start a monitor again", "device", number, "err", err)
			l.deliver(func() {
				_ = l.up.Request(uacsta.Encode(uacsta.MonitorStop{MonitorCrossRefID: ref}, uacsta.Edition3)) // the core has no reason to refuse
			})
			l.drop(ref, number)
			continue
		}
		l.deliver(func() {
			l.up.Event(uacsta.Encode(uacsta.BackInServiceEvent{MonitorCrossRefID: ref, Device: uacsta.Ext(number), Cause: uacsta.CauseNormal}, uacsta.Edition3))
		})
	}
}

// restart starts a monitor again at a telephone that has lost it.
func (l *life) restart(number, ref string, n *registrar.Session) error {
	l.mu.Lock()
	one := l.phones[number].monitors[ref]
	l.mu.Unlock()
	m := one.start.Clone()
	outward(m, number, n.Own())
	res, err := n.Ask(monitorTimeout, m)
	if err != nil {
		return err
	}
	local := res.CrossRef()
	if local == "" {
		return errReference
	}
	l.mu.Lock()
	one.local = local
	l.mu.Unlock()
	return nil
}

// Late implements registrar.Upcalls: it stops a monitor that a late response reports.
func (l *life) Late(number string, n *registrar.Session, req, res *uacsta.Message) {
	ref := res.CrossRef()
	if req.Name() != uacsta.NameMonitorStart || len(l.watched(number, ref)) > 0 {
		return
	}
	_, err := n.Ask(monitorTimeout, uacsta.Encode(uacsta.MonitorStop{MonitorCrossRefID: ref}, uacsta.Edition3))
	l.log.Info("stopped a monitor that a telephone started too late", "device", number, "err", err)
}
