package front

import (
	"strings"
	"time"

	"github.com/tr87proxy/tr87proxy/uacsta"
	"github.com/tr87proxy/tr87proxy/wire/ctserver"
)

// accepted replies to a command by the response of the switching function.
func (cl *client) accepted(c *ctserver.Line) func(*uacsta.Message) {
	return func(res *uacsta.Message) {
		switch {
		case cl.running != c:
		case res == nil || res.Err() != nil:
			cl.done("ERROR")
		default:
			cl.done("OK")
		}
	}
}

// answer lifts the receiver.
func (cl *client) answer(c *ctserver.Line) {
	cl.offHook = true
	if cl.ringing == nil {
		cl.done("OK")
		return
	}
	call := cl.ringing
	cl.ask(uacsta.AnswerCall{CallToBeAnswered: *call}, func(res *uacsta.Message) {
		if res != nil && res.Err() == nil && cl.ringing == call {
			cl.ringing, cl.active = nil, call
		}
		cl.accepted(c)(res)
	})
}

// hangUp puts the receiver down. With a call on hold beside the active one this transfers the call.
func (cl *client) hangUp(c *ctserver.Line) {
	cl.offHook = false
	switch {
	case cl.active != nil && cl.held != nil:
		active, held := cl.active, cl.held
		cl.forget(active)
		cl.forget(held)
		cl.ask(uacsta.TransferCall{HeldCall: *held, ActiveCall: *active}, func(res *uacsta.Message) {
			if res != nil && res.Err() == nil {
				cl.accepted(c)(res)
				return
			}
			cl.leave(held, func(*uacsta.Message) {}) // who has hung up is in no call
			cl.leave(active, cl.accepted(c))
		})
	case cl.active != nil:
		cl.leave(cl.active, cl.accepted(c))
	case cl.held != nil:
		cl.leave(cl.held, cl.accepted(c))
	default:
		cl.done("OK")
	}
}

// maxLeft is the most calls that may wait for their last event.
const maxLeft = 16

// leave clears a call, and passes the response to then. The program gets no more events of the call. A connection that
// a transfer has moved meanwhile is cleared where it is now.
func (cl *client) leave(call *uacsta.ConnectionID, then func(*uacsta.Message)) {
	if cl.left == nil || len(cl.left) == maxLeft { // their last events were lost
		cl.left = map[string]*uacsta.ConnectionID{}
	}
	cl.left[call.CallID] = nil
	cl.forget(call) // also what an event has brought since the program hung up
	cl.ask(uacsta.ClearConnection{ConnectionToBeCleared: *call}, func(res *uacsta.Message) {
		if res == nil || res.Err() != nil {
			now := cl.left[call.CallID]
			delete(cl.left, call.CallID)
			if now != nil && !sameCall(now, call) {
				cl.leave(now, then)
				return
			}
		}
		then(res)
	})
}

// forget notes that the port is no longer in a call.
func (cl *client) forget(call *uacsta.ConnectionID) {
	if sameCall(call, cl.active) {
		cl.active = nil
	}
	if sameCall(call, cl.held) {
		cl.held = nil
	}
}

// dial dials the rest of a command's digits, up to the next flash or pause.
func (cl *client) dial(c *ctserver.Line, left string, flashed bool) {
	if cl.running != c {
		return // the connection has ended it
	}
	switch {
	case left == "" && !flashed:
		cl.done("OK")
		return
	case strings.HasPrefix(left, ","):
		cl.after(time.Second, func() { cl.dial(c, left[1:], flashed) })
		return
	case strings.HasPrefix(left, "&"):
		cl.dial(c, left[1:], true)
		return
	}
	end := strings.IndexAny(left, "&,")
	if end < 0 {
		end = len(left)
	}
	service := cl.dialled(left[:end], flashed)
	if service == nil {
		cl.done("ERROR")
		return
	}
	cl.ask(service, func(res *uacsta.Message) {
		switch {
		case cl.running != c:
		case res == nil || res.Err() != nil:
			cl.done("ERROR")
		default:
			cl.granted(service, res)
			cl.dial(c, left[end:], false)
		}
	})
}

// granted takes the calls from the response to a service that was dialled: the next command may come before the events.
func (cl *client) granted(service any, res *uacsta.Message) {
	switch service.(type) {
	case uacsta.MakeCall:
		cl.active = cl.own(res.Text("callingDevice/callID"))
	case uacsta.ConsultationCall:
		cl.held, cl.active = cl.active, cl.own(res.Text("initiatedCall/callID"))
	case uacsta.HoldCall:
		cl.held, cl.active = cl.active, nil
	case uacsta.RetrieveCall, uacsta.ReconnectCall:
		cl.held, cl.active = nil, cl.held
	case uacsta.AlternateCall:
		cl.held, cl.active = cl.active, cl.held
	case uacsta.ConferenceCall:
		cl.held, cl.active = nil, cl.own(res.Text("conferenceCall/callID"))
	}
}

// own returns the port's connection in a call.
func (cl *client) own(callID string) *uacsta.ConnectionID {
	own := uacsta.Conn(callID, cl.device())
	return &own
}

// dialled returns the service for digits, or for a flash and digits: with a call on hold, 1 reconnects to it, 2
// alternates, 3 makes a conference. nil: there is none.
func (cl *client) dialled(digits string, flashed bool) any {
	active, held := cl.active, cl.held
	switch {
	case !cl.offHook:
		return nil
	case !flashed && active == nil:
		return uacsta.MakeCall{CallingDevice: uacsta.Dev(cl.device()), CalledDirectoryNumber: uacsta.Dev(digits), AutoOriginate: uacsta.DoNotPrompt}
	case !flashed:
		return uacsta.GenerateDigits{ConnectionToSendDigits: *active, CharactersToSend: digits}
	case active == nil && held != nil:
		return uacsta.RetrieveCall{CallToBeRetrieved: *held}
	case active == nil:
		return nil
	case held == nil && digits == "":
		return uacsta.HoldCall{CallToBeHeld: *active}
	case held == nil:
		return uacsta.ConsultationCall{ExistingCall: *active, ConsultedDevice: uacsta.Dev(digits)}
	case digits == "1":
		cl.active = nil // its end must not count as a hangup of the other call
		return uacsta.ReconnectCall{ActiveCall: *active, HeldCall: *held}
	case digits == "3":
		return uacsta.ConferenceCall{HeldCall: *held, ActiveCall: *active}
	}
	return uacsta.AlternateCall{HeldCall: *held, ActiveCall: *active}
}
