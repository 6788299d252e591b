package front

import (
	"strconv"
	"strings"
	"time"

	"github.com/tr87proxy/tr87proxy/uacsta"
	"github.com/tr87proxy/tr87proxy/wire/ctserver"
)

// seconds reads an argument as a number of seconds, one day at most; 0 if it is not a number.
func seconds(text string) time.Duration {
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return 0
	}
	return time.Duration(min(n, 24*3600)) * time.Second
}

// command carries out a command. While another one waits, it refuses all but those that end the wait.
func (cl *client) command(c *ctserver.Line) {
	if cl.handle == ctserver.Manager {
		cl.manage(c)
		return
	}
	switch c.Name {
	case "ctsendevent":
		cl.sendEvent(c)
		return
	case "portstatus":
		cl.reply(c, "OK", cl.status())
		return
	}
	if cl.waiting != nil {
		if c.Name != "cthangup" && c.Name != "ctplay_stop" && c.Name != "ctanswer" {
			cl.reply(c, "ERROR")
			return
		}
		cl.done("EVENT", cl.take(), "hangup")
	}
	switch c.Name {
	case "ctanswer":
		cl.answer(c)
	case "cthangup":
		cl.hangUp(c)
	case "ctwaitforring":
		cl.wanted = 2
		if n, err := strconv.Atoi(c.Arg(1)); err == nil && n > 0 {
			cl.wanted = n
		}
		cl.waiting = c
	case "ctwaitfordial":
		if !cl.offHook || cl.active != nil {
			cl.reply(c, "ERROR")
			return
		}
		cl.reply(c, "OK")
	case "ctdial":
		cl.waiting = c
		cl.dial(c, c.Arg(1), false)
	case "ctplay":
		cl.waits(c, cl.card.cfg.Play)
	case "ctplayasync":
		cl.reply(c, "OK")
		cl.after(cl.card.cfg.Play, "toneend")
	case "ctrecord":
		cl.waits(c, max(seconds(c.Arg(2)), time.Second))
		cl.ends = c.Arg(3)
	case "ctcollect":
		cl.waits(c, max(seconds(c.Arg(2)), time.Second))
		if most, _ := strconv.Atoi(c.Arg(1)); most > 0 && len(cl.digits) >= most { // earlier digits may be enough
			cl.done("OK", cl.take())
		}
	case "ctsleep":
		cl.waits(c, max(seconds(c.Arg(1)), time.Millisecond))
	case "ctwaitforevent":
		cl.waiting = c
	case "ctstarttimerasync":
		cl.reply(c, "OK")
		cl.after(seconds(c.Arg(1)), "timer")
	case "ctstoptimer", "ctplay_stop":
		if cl.timer != nil {
			cl.timer.Stop()
		}
		cl.reply(c, "OK")
	case "ctclear", "ctclearevents":
		cl.digits = ""
		cl.reply(c, "OK")
	case "ctreadcid":
		if cl.caller == "" {
			cl.reply(c, "ERROR")
			return
		}
		cl.reply(c, "OK", cl.caller)
	case "ctsetscript":
		cl.script = c.Arg(1)
		cl.reply(c, "OK")
	case "ctplaytoneasync", "ctstoptone", "ctjoin", "ctbridge", "ctunbridge", "ctjoinconference", "ctleaveconference", "ctstartringasync", "ctstopring",
		"ctstartringonceasync", "ctgrunton", "ctgruntoff", "ctlistenforcid", "ctlistenforjpcid":
		cl.reply(c, "OK") // without voice they have no effect
	default:
		cl.reply(c, "ERROR")
	}
}

// after reports an event after limit. A port has one such timer: a new one replaces the last.
func (cl *client) after(limit time.Duration, what string) {
	if cl.timer != nil {
		cl.timer.Stop()
	}
	cl.timer = time.AfterFunc(limit, func() { cl.post(func() { cl.happens(what) }) })
}

// accepted replies to a command by the response of the switching function.
func (cl *client) accepted(c *ctserver.Line) func(*uacsta.Message) {
	return func(res *uacsta.Message) {
		if res == nil || res.Err() != nil {
			cl.reply(c, "ERROR")
			return
		}
		cl.reply(c, "OK")
	}
}

// answer lifts the receiver.
func (cl *client) answer(c *ctserver.Line) {
	cl.offHook = true
	if cl.ringing == nil {
		cl.reply(c, "OK")
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
				cl.reply(c, "OK")
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
		cl.reply(c, "OK")
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
	if cl.waiting != c {
		return // another command ended it
	}
	switch {
	case left == "" && !flashed:
		cl.done("OK")
		return
	case strings.HasPrefix(left, ","):
		time.AfterFunc(time.Second, func() { cl.post(func() { cl.dial(c, left[1:], flashed) }) })
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
		case cl.waiting != c:
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

// sendEvent sends an event to another port, or stops its recording.
func (cl *client) sendEvent(c *ctserver.Line) {
	other := cl.card.port(c.Dst)
	if other == nil || c.Arg(1) == "" {
		cl.reply(c, "ERROR")
		return
	}
	other.post(func() {
		if w := other.waiting; w != nil && w.Name == "ctrecord" {
			other.done("OK", other.take())
			return
		}
		other.happens(c.Arg(1))
	})
	cl.reply(c, "OK")
}

// status returns the state of the port in one word.
func (cl *client) status() string {
	word := "onhook"
	switch {
	case cl.ringing != nil:
		word = "ringing"
	case cl.active != nil:
		word = "connected"
	case cl.offHook:
		word = "offhook"
	}
	if cl.script != "" {
		word += ":" + cl.script
	}
	return word
}

// manage carries out a command of the manager connection.
func (cl *client) manage(c *ctserver.Line) {
	switch c.Name {
	case "ctsendevent":
		cl.sendEvent(c)
	case "portstatus":
		connected := make([]string, 0, len(cl.card.cfg.Devices))
		for handle := range cl.card.cfg.Devices {
			word := "free"
			if cl.card.port(handle) != nil {
				word = "used"
			}
			connected = append(connected, strconv.Itoa(handle+1)+":"+word)
		}
		cl.reply(c, "OK", strings.Join(connected, ","))
	case "rolllog":
		cl.reply(c, "OK")
	case "serversion":
		cl.reply(c, "OK", "tr87proxy")
	case "shutdown":
		if cl.card.cfg.Shutdown == nil {
			cl.reply(c, "ERROR")
			return
		}
		cl.reply(c, "OK")
		cl.card.cfg.Shutdown()
	default:
		cl.reply(c, "ERROR")
	}
}
