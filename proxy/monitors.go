package proxy

import (
	"fmt"
	"slices"
	"sync"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// Monitors keeps the monitors of a link whose switching function knows none. It is safe for concurrent
// use; it locks nothing while it tells, so the order of events is that in which Tell and Pass are
// called: by one goroutine, or out of an [Outbox]. The zero value has no monitors, and nobody to tell.
type Monitors struct {
	mu       sync.Mutex
	up       Upcalls // nil while the link is down
	last     int
	monitors map[string]string   // cross reference -> device
	watched  map[string][]string // device -> cross references
}

// maxWatch is how many monitors one link may have.
const maxWatch = 100000

// Begin forgets all monitors: the link is up, and tells its events to up; nil: it is down.
func (w *Monitors) Reset(up Upcalls) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.up, w.monitors, w.watched = up, map[string]string{}, map[string][]string{}
}

// Start starts a monitor on a device that the link has.
func (w *Monitors) Start(s *uacsta.MonitorStart, has func(device string) bool) (*uacsta.MonitorStartResponse, error) {
	if s.MonitorObject.DeviceObject == nil {
		return nil, uacsta.Refuse(uacsta.Operation, uacsta.InvalidMonitorObject)
	}
	device := s.MonitorObject.DeviceObject.ID
	if !has(device) {
		return nil, uacsta.Refuse(uacsta.Operation, uacsta.InvalidDeviceID)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.up == nil:
		return nil, errLinkDown
	case len(w.monitors) >= maxWatch:
		return nil, uacsta.Refuse(uacsta.SystemResourceAvailability, uacsta.OverallMonitorLimitExceeded)
	}
	w.last++
	ref := fmt.Sprintf("%06X", w.last)
	w.monitors[ref] = device
	w.watched[device] = append(w.watched[device], ref)
	return &uacsta.MonitorStartResponse{MonitorCrossRefID: ref, ActualMonitorFilter: &uacsta.MonitorFilter{}}, nil
}

// Stop stops a monitor.
func (w *Monitors) Stop(s *uacsta.MonitorStop) (*uacsta.MonitorStopResponse, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	device, ok := w.monitors[s.MonitorCrossRefID]
	if !ok {
		return nil, uacsta.Refuse(uacsta.Operation, uacsta.InvalidMonitorCrossRefID)
	}
	delete(w.monitors, s.MonitorCrossRefID)
	w.watched[device] = slices.DeleteFunc(slices.Clone(w.watched[device]), func(ref string) bool { return ref == s.MonitorCrossRefID }) // Tell may be reading it
	return &uacsta.MonitorStopResponse{}, nil
}

// Tell sends an event to every monitor of a device; event makes it for a cross reference.
func (w *Monitors) Send(device string, event func(ref string) any) {
	w.mu.Lock()
	up, refs := w.up, w.watched[device]
	w.mu.Unlock()
	if up == nil {
		return
	}
	for _, ref := range refs {
		up.Event(uacsta.Encode(event(ref), uacsta.Edition6))
	}
}

// Pass sends an event to every monitor of a device, under its own cross reference.
func (w *Monitors) Forward(device string, ev *uacsta.Message) {
	w.mu.Lock()
	up, refs := w.up, w.watched[device]
	w.mu.Unlock()
	if up == nil {
		return
	}
	for _, ref := range refs {
		own := ev.Clone()
		own.SetCrossRef(ref)
		up.Event(own)
	}
}
