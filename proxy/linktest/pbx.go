package linktest

import (
	"fmt"
	"slices"
	"sync"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// A PBX is a switching function for links that speak CSTA over a wire. It handles requests and makes
// responses and events; the tests of the wire's package encode them. Like many real switches it
// numbers monitors and calls anew for each connection.
type PBX struct {
	mu    sync.Mutex
	lines map[*Line]struct{}
	heard []string
}

// A Line is one connection to a PBX.
type Line struct {
	pbx      *PBX
	send     func(event *uacsta.Message)
	refs     int
	calls    int                   // calls so far
	made     []uacsta.ConnectionID // placed by devices and not cleared, the oldest first
	monitors map[string]string     // cross reference -> device
}

// mostMade limits the calls in made. The oldest is cleared.
const mostMade = 10

// Connect opens a connection. send writes an event; it is called in order and must not call the PBX.
func (p *PBX) Connect(send func(event *uacsta.Message)) *Line {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.lines == nil {
		p.lines = map[*Line]struct{}{}
	}
	l := &Line{pbx: p, send: send, monitors: map[string]string{}}
	p.lines[l] = struct{}{}
	return l
}

// Close closes the connection.
func (l *Line) Close() {
	l.pbx.mu.Lock()
	defer l.pbx.mu.Unlock()
	delete(l.pbx.lines, l)
}

// Request carries out a request. It passes the response to answer, or nil if there is none, before the
// events.
func (l *Line) Request(req *uacsta.Message, answer func(*uacsta.Message)) {
	l.pbx.mu.Lock()
	defer l.pbx.mu.Unlock()
	for _, c := range req.Connections() {
		if l.find(c.CallID(), c.DeviceID()) < 0 {
			answer(uacsta.Refuse(uacsta.Operation, uacsta.InvalidConnectionID).Message(uacsta.Edition3))
			return
		}
	}
	switch req.Name() {
	case uacsta.NameMonitorStart:
		l.refs++
		ref := fmt.Sprintf("%04X", l.refs)
		l.monitors[ref] = req.Text("monitorObject/deviceObject")
		answer(uacsta.Encode(uacsta.MonitorStartResponse{MonitorCrossRefID: ref}, uacsta.Edition3))
	case uacsta.NameMonitorStop:
		if _, known := l.monitors[req.CrossRef()]; !known {
			answer(uacsta.Refuse(uacsta.Operation, uacsta.InvalidMonitorCrossRefID).Message(uacsta.Edition3))
			return
		}
		delete(l.monitors, req.CrossRef())
		answer(uacsta.Encode(uacsta.MonitorStopResponse{}, uacsta.Edition3))
	case uacsta.NameSnapshotDevice:
		list := &uacsta.SnapshotDeviceDataList{}
		for _, c := range l.made {
			if c.DeviceID.ID == req.Text("snapshotObject") {
				list.SnapshotDeviceResponseInfo = append(list.SnapshotDeviceResponseInfo, uacsta.SnapshotDeviceResponseInfo{
					ConnectionIdentifier: c, LocalCallState: uacsta.CallState{CompoundCallState: []uacsta.LocalConnectionState{uacsta.Connected}},
				})
			}
		}
		answer(uacsta.Encode(uacsta.SnapshotDeviceResponse{CrossRefIDorSnapshotData: uacsta.CrossRefIDorSnapshotDeviceData{SnapshotData: list}}, uacsta.Edition3))
	case uacsta.NameMakeCall:
		device, called := req.Text("callingDevice"), req.Text("calledDirectoryNumber")
		l.pbx.heard = append(l.pbx.heard, called)
		own := l.call(device)
		answer(uacsta.Encode(uacsta.MakeCallResponse{CallingDevice: own}, uacsta.Edition3))
		l.tell(device, func(ref string) any {
			return uacsta.OriginatedEvent{
				MonitorCrossRefID: ref, OriginatedConnection: own, CallingDevice: uacsta.Ext(device), CalledDevice: uacsta.Ext(called),
				LocalConnectionInfo: uacsta.Connected, Cause: uacsta.CauseNewCall,
			}
		})
		if l.made = append(l.made, own); len(l.made) > mostMade {
			l.end(0)
		}
	case uacsta.NameClearConnection:
		answer(uacsta.Encode(uacsta.ClearConnectionResponse{}, uacsta.Edition3))
		if of := req.Connections(); len(of) > 0 {
			l.end(l.find(of[0].CallID(), of[0].DeviceID()))
		}
	default:
		res := uacsta.AnswerTo(req, uacsta.Edition3)
		if res == nil && !req.OneWay() {
			res = uacsta.Refuse(uacsta.Operation, uacsta.ServiceNotSupported).Message(uacsta.Edition3)
		}
		answer(res)
	}
}

// find returns the index of a call in made, or -1. The caller holds p.mu.
func (l *Line) find(callID, device string) int {
	return slices.IndexFunc(l.made, func(c uacsta.ConnectionID) bool { return c.CallID == callID && c.DeviceID.ID == device })
}

// end clears a call in made. The caller holds p.mu.
func (l *Line) end(at int) {
	c := l.made[at]
	l.made = slices.Delete(l.made, at, at+1)
	l.tell(c.DeviceID.ID, func(ref string) any {
		return uacsta.ConnectionClearedEvent{
			MonitorCrossRefID: ref, DroppedConnection: c, ReleasingDevice: uacsta.Ext(c.DeviceID.ID),
			LocalConnectionInfo: uacsta.Null, Cause: uacsta.CauseNormalClearing,
		}
	})
}

// call returns the connection of a device in a new call. The caller holds p.mu.
func (l *Line) call(device string) uacsta.ConnectionID {
	l.calls++
	return uacsta.Conn(fmt.Sprintf("%04X", l.calls), device)
}

// tell sends an event to the monitors of a device. The caller holds p.mu.
func (l *Line) tell(device string, event func(ref string) any) {
	for n := range l.refs {
		if ref := fmt.Sprintf("%04X", n+1); l.monitors[ref] == device {
			l.send(uacsta.Encode(event(ref), uacsta.Edition3))
		}
	}
}

// Ring makes a call alert at a device until the caller gives up.
func (p *PBX) Ring(device string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.lines {
		own := l.call(device)
		l.tell(device, func(ref string) any {
			return uacsta.DeliveredEvent{
				MonitorCrossRefID: ref, Connection: own, AlertingDevice: uacsta.Ext(device), CallingDevice: uacsta.Ext("199"), CalledDevice: uacsta.Ext(device),
				LocalConnectionInfo: uacsta.Alerting, Cause: uacsta.CauseNewCall,
			}
		})
		l.tell(device, func(ref string) any {
			return uacsta.ConnectionClearedEvent{
				MonitorCrossRefID: ref, DroppedConnection: own, ReleasingDevice: uacsta.Ext("199"), LocalConnectionInfo: uacsta.Null, Cause: uacsta.CauseNormalClearing,
			}
		})
	}
}

// Heard returns and forgets the numbers to be called, in the order of the requests.
func (p *PBX) Heard() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	heard := p.heard
	p.heard = nil
	return heard
}
