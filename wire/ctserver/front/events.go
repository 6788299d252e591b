package front

import (
	"slices"
	"strings"

	"github.com/tr87proxy/tr87proxy/uacsta"
	"github.com/tr87proxy/tr87proxy/wire/ctserver"
)

// happens reports an event on the line, or a message of another port: as the reply to the command that it ends, or as a
// line of its own.
func (cl *client) happens(what string, more ...string) {
	c := cl.running
	switch {
	case c != nil && c.Name == "ctwaitforevent":
		cl.done(append([]string{"OK", what}, more...)...)
	case c != nil && endedBy[c.Name] && (what == "hangup" || what == "loopdrop" || !ctserver.IsEvent(what)):
		cl.ends(append([]string{what}, more...)...)
	case c != nil && c.Name == "ctwaitforring" && !ctserver.IsEvent(what):
		cl.done("EVENT", "", what)
	case !cl.plain:
		cl.write(ctserver.EventLine(what, more...))
	case len(cl.events) < maxEvents: // the last ones are lost
		cl.events = append(cl.events, what)
	}
}

// endedBy are the commands that a hangup and messages end.
var endedBy = map[string]bool{"ctplay": true, "ctrecord": true, "ctcollect": true, "ctsleep": true}

// found takes over the calls that the device has.
func (cl *client) found(calls []uacsta.SnapshotDeviceResponseInfo) {
	for _, info := range calls {
		if len(info.LocalCallState.CompoundCallState) == 0 {
			continue
		}
		call := cl.own(info.ConnectionIdentifier.CallID)
		switch info.LocalCallState.CompoundCallState[0] {
		case uacsta.Alerting:
			caller := ""
			if info.EndpointDevice != nil {
				caller = info.EndpointDevice.Device.ID
			}
			cl.arrives(call, caller)
		case uacsta.Hold:
			cl.held = call
		case uacsta.Initiated, uacsta.Connected, uacsta.Fail, uacsta.Queued:
			cl.active = call
		}
	}
	cl.offHook = cl.offHook || cl.active != nil || cl.held != nil
}

// event takes an event of the device.
func (cl *client) event(m *uacsta.Message) {
	connections := m.Connections()
	if m.Kind() != uacsta.Event || len(connections) == 0 {
		return
	}
	first := uacsta.Conn(connections[0].CallID(), connections[0].DeviceID())
	mine := first.DeviceID.ID == cl.device()
	if _, left := cl.left[first.CallID]; left { // its events come after its end
		if now := cl.moved(m); now != nil {
			cl.left[first.CallID] = now
		}
		if mine && slices.Contains([]string{uacsta.NameConnectionClearedEvent, uacsta.NameFailedEvent, uacsta.NameDivertedEvent}, m.Name()) {
			delete(cl.left, first.CallID)
		}
		return
	}
	switch m.Name() {
	case uacsta.NameDeliveredEvent:
		if mine {
			cl.arrives(&first, m.Text("callingDevice/deviceIdentifier"))
		}
	case uacsta.NameServiceInitiatedEvent, uacsta.NameOriginatedEvent:
		cl.active = &first
		cl.lifted()
	case uacsta.NameEstablishedEvent:
		if mine {
			cl.ringing, cl.active = nil, &first
			cl.lifted()
		} else {
			cl.happens("toneend") // the ringback tone ends
		}
	case uacsta.NameHeldEvent:
		if mine {
			cl.flashed(&first, cl.held)
			cl.held = &first
			if sameCall(&first, cl.active) {
				cl.active = nil
			}
		}
	case uacsta.NameRetrievedEvent:
		if mine {
			cl.flashed(&first, cl.active)
			cl.active = &first
			if sameCall(&first, cl.held) {
				cl.held = nil
			}
		}
	case uacsta.NameDtmfDetectedEvent:
		cl.heard(m.Text("dtmfChar"))
	case uacsta.NameTransferedEvent, uacsta.NameConferencedEvent:
		cl.joined(m)
	case uacsta.NameFailedEvent: // the line stays connected until the port is on hook
		if sameCall(&first, cl.active) {
			cl.happens("loopdrop")
		}
	case uacsta.NameConnectionClearedEvent, uacsta.NameDivertedEvent:
		if mine {
			cl.over(&first)
		}
	}
}

// lifted notes that the device is off hook. If the program has not done that, the device's user has.
func (cl *client) lifted() {
	if !cl.offHook {
		cl.offHook = true
		cl.happens("pickup")
	}
}

// flashed takes a call that is held or retrieved. If the program has not done that, the device's user has pressed the hook.
func (cl *client) flashed(call, known *uacsta.ConnectionID) {
	if !sameCall(call, known) {
		cl.happens("flash")
	}
}

// joined takes a transfer or a conference: the device may have a connection in the new call.
func (cl *client) joined(m *uacsta.Message) {
	now := cl.moved(m)
	if now != nil {
		if _, left := cl.left[now.CallID]; left { // the program has hung up before this event came
			now = nil
		}
	}
	cl.active, cl.held = now, nil
}

// moved returns the device's connection after a transfer or a conference; nil: it has none, or m is another event.
func (cl *client) moved(m *uacsta.Message) *uacsta.ConnectionID {
	for _, c := range m.Connections() {
		if strings.HasSuffix(c.Path(), "newConnection") && c.DeviceID() == cl.device() {
			now := uacsta.Conn(c.CallID(), c.DeviceID())
			return &now
		}
	}
	return nil
}

// arrives takes an incoming call.
func (cl *client) arrives(call *uacsta.ConnectionID, caller string) {
	if !sameCall(call, cl.ringing) {
		cl.ringing, cl.caller, cl.rings = call, caller, 0
		cl.rang(call)
	}
}

// rang reports a ring, and repeats it until the call is answered or cleared.
func (cl *client) rang(call *uacsta.ConnectionID) {
	if cl.ringing != call {
		return
	}
	cl.rings++
	if c := cl.running; c != nil && c.Name == "ctwaitforring" {
		if cl.rings >= cl.wanted {
			cl.done("OK", cl.caller)
		}
	} else {
		cl.happens("ring")
	}
	cl.ring = cl.after(cl.card.cfg.Ring, func() { cl.rang(call) })
}

// sameCall reports whether two connections are of one call.
func sameCall(a, b *uacsta.ConnectionID) bool { return a != nil && b != nil && a.CallID == b.CallID }

// over takes the end of the device's connection in a call.
func (cl *client) over(call *uacsta.ConnectionID) {
	switch {
	case sameCall(call, cl.ringing):
		cl.ringing = nil // the ringing stops
	case sameCall(call, cl.held):
		cl.held = nil
	case sameCall(call, cl.active):
		cl.active = nil
		if cl.offHook {
			cl.happens("hangup")
		}
	}
}

// heard takes digits that the other end sends: as the reply to the command that they end, or as lines of their own.
func (cl *client) heard(digits string) {
	for _, digit := range strings.Split(digits, "") {
		if len(cl.digits) < maxDigits { // the last ones are lost
			cl.digits += digit
		}
		cl.loud()
		switch c := cl.running; {
		case c == nil || c.Name == "ctwaitforevent":
			cl.happens(digit)
		case c.Name == "ctcollect":
			cl.collected(c)
		case c.Name == "ctplay" && c.Arg(2) != ignoreDigits, c.Name == "ctsleep", c.Name == "ctrecord" && strings.Contains(c.Arg(3), digit):
			cl.ends()
		default:
			cl.happens(digit)
		}
		if len(cl.sounds) > 0 && !cl.sounds[0].deaf {
			cl.played()
		}
	}
}

// collected ends ctcollect if there are digits enough, or if the next one does not come soon.
func (cl *client) collected(c *ctserver.Line) {
	if most := number(c.Arg(1)); most > 0 && len(cl.digits) >= most {
		cl.ends()
		return
	}
	if pause := seconds(c.Arg(3)); pause > 0 {
		cl.pauses(pause)
	}
}
