package proxy

import (
	"fmt"
	"slices"
	"sync"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// Monitors keeps the monitors of a link whose switching function has none itself. It is safe for
// concurrent use and calls [Upcalls.Event] with nothing locked, so events have the order in which Send
// and Forward are called: call them from one goroutine or through an [Outbox]. The zero value has no
// monitors and refuses to start any until Reset.
type Monitors struct {
	mu       sync.Mutex
	up       Upcalls // nil while the link is down
	last     int
	monitors map[string]string   // cross reference -> device
	watched  map[string][]string // device -> cross references
}

// maxWatch limits the monitors of one link.
const maxWatch = 100000

// Reset removes all monitors. up receives events from now on; nil means that the link is down.
func (w *Monitors) Reset(up Upcalls) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.up, w.monitors, w.watched = up, map[string]string{}, map[string][]string{}
}

// Start serves MonitorStart for a device. has reports whether the link has a device. Errors are
// refusals.
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

// Stop serves MonitorStop. It refuses an unknown cross reference.
func (w *Monitors) Stop(s *uacsta.MonitorStop) (*uacsta.MonitorStopResponse, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	device, ok := w.monitors[s.MonitorCrossRefID]
	if !ok {
		return nil, uacsta.Refuse(uacsta.Operation, uacsta.InvalidMonitorCrossRefID)
	}
	delete(w.monitors, s.MonitorCrossRefID)
	w.watched[device] = slices.DeleteFunc(slices.Clone(w.watched[device]), func(ref string) bool { return ref == s.MonitorCrossRefID }) // a clone: Send may be reading the slice
	return &uacsta.MonitorStopResponse{}, nil
}

// Send sends an event to every monitor of a device. It calls event, which returns a struct of package
// uacsta, with the cross reference of each.
func (w *Monitors) Send(device string, event func(ref string) any) {
	w.each(device, func(ref string) *uacsta.Message { return uacsta.Encode(event(ref), uacsta.Edition6) })
}

// Forward sends copies of an event to every monitor of a device, each with its own cross reference.
func (w *Monitors) Forward(device string, ev *uacsta.Message) {
	w.each(device, func(ref string) *uacsta.Message {
		own := ev.Clone()
		own.SetCrossRef(ref)
		return own
	})
}

// each sends what event returns for the cross reference of each monitor of a device.
func (w *Monitors) each(device string, event func(ref string) *uacsta.Message) {
	w.mu.Lock()
	up, refs := w.up, w.watched[device]
	w.mu.Unlock()
	if up == nil {
		return
	}
	for _, ref := range refs {
		up.Event(event(ref))
	}
}
