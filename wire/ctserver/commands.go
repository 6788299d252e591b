package ctserver

import (
	"strconv"
	"strings"
	"time"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// seconds reads an argument that is a time, of a day at most.
func seconds(text string) time.Duration {
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return 0
	}
	return time.Duration(min(n, 24*3600)) * time.Second
}

// command carries out a command. One that comes while another waits for something is refused,
// but for those that end it.
func (cl *client) command(c *line) {
	if cl.handle == manager {
		cl.manage(c)
		return
	}
	switch c.name {
	case "ctsendevent":
		cl.sendEvent(c)
		return
	case "portstatus":
		cl.reply(c, "OK", cl.status())
		return
	}
	if cl.waiting != nil {
		if c.name != "cthangup" && c.name != "ctplay_stop" && c.name != "ctanswer" {
			cl.reply(c, "ERROR")
			return
		}
		cl.done("EVENT", cl.take(), "hangup")
	}
	switch c.name {
	case "ctanswer":
		cl.answer(c)
	case "cthangup":
		cl.hangUp(c)
	case "ctwaitforring":
		cl.wanted = 2
		if n, err := strconv.Atoi(c.arg(1)); err == nil && n > 0 {
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
		cl.dial(c, c.arg(1), false)
	case "ctplay":
		cl.waits(c, cl.card.cfg.Play)
	case "ctplayasync":
		cl.reply(c, "OK")
		cl.after(cl.card.cfg.Play, "toneend")
	case "ctrecord":
		cl.waits(c, max(seconds(c.arg(2)), time.Second))
		cl.ends = c.arg(3)
	case "ctcollect":
		cl.waits(c, max(seconds(c.arg(2)), time.Second))
		if most, _ := strconv.Atoi(c.arg(1)); most > 0 && len(cl.digits) >= most { // what was heard before may do
			cl.done("OK", cl.take())
		}
	case "ctsleep":
		cl.waits(c, max(seconds(c.arg(1)), time.Millisecond))
	case "ctwaitforevent":
		cl.waiting = c
	case "ctstarttimerasync":
		cl.reply(c, "OK")
		cl.after(seconds(c.arg(1)), "timer")
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
		cl.script = c.arg(1)
		cl.reply(c, "OK")
	case "ctplaytoneasync", "ctstoptone", "ctjoin", "ctbridge", "ctunbridge", "ctjoinconference", "ctleaveconference", "ctstartringasync", "ctstopring",
		"ctstartringonceasync", "ctgrunton", "ctgruntoff", "ctlistenforcid", "ctlistenforjpcid":
		cl.reply(c, "OK") // there is no voice that would tell the difference
	default:
		cl.reply(c, "ERROR")
	}
}

// after says that something has happened, after a time; one such thing is awaited at once.
func (cl *client) after(limit time.Duration, what string) {
	if cl.timer != nil {
		cl.timer.Stop()
	}
	cl.timer = time.AfterFunc(limit, func() { cl.post(func() { cl.happens(what) }) })
}

// accepted answers a command by what the switching function says to it.
func (cl *client) accepted(c *line) func(*uacsta.Message) {
	return func(res *uacsta.Message) {
		if res == nil || res.Err() != nil {
			cl.reply(c, "ERROR")
			return
		}
		cl.reply(c, "OK")
	}
}

// answer lifts the receiver.
func (cl *client) answer(c *line) {
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

// hangUp puts the receiver down: with a held call, that is a transfer.
func (cl *client) hangUp(c *line) {
	cl.offHook = false
	switch {
	case cl.active != nil && cl.held != nil:
		cl.ask(uacsta.TransferCall{HeldCall: *cl.held, ActiveCall: *cl.active}, cl.accepted(c))
		cl.active, cl.held = nil, nil
	case cl.active != nil:
		cl.leave(c, cl.active)
		cl.active = nil
	case cl.held != nil:
		cl.leave(c, cl.held)
		cl.held = nil
	default:
		cl.reply(c, "OK")
	}
}

// maxLeft is how many calls may wait for the word that they have ended.
const maxLeft = 16

// leave ends a call for the program, which hears nothing of it any more.
func (cl *client) leave(c *line, call *uacsta.ConnectionID) {
	if cl.left == nil || len(cl.left) == maxLeft { // their ends were lost
		cl.left = map[string]bool{}
	}
	cl.left[call.CallID] = true
	cl.ask(uacsta.ClearConnection{ConnectionToBeCleared: *call}, func(res *uacsta.Message) {
		if res == nil || res.Err() != nil {
			delete(cl.left, call.CallID)
		}
		cl.accepted(c)(res)
	})
}

// dial dials what is left of a command's digits, up to the next flash or pause.
func (cl *client) dial(c *line, left string, flashed bool) {
	if cl.waiting != c {
		return // it was ended
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

// granted notes which calls there are by the answer to what was dialled: the program may go on
// before the events come, which say the same.
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

// own is the port's connection in a call.
func (cl *client) own(callID string) *uacsta.ConnectionID {
	own := uacsta.Conn(callID, cl.device())
	return &own
}

// dialled is what the switch does with digits, or with a flash and digits: with a call on hold,
// 1 goes back to it, 2 changes over, 3 is a conference.
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
		cl.active = nil // its end is no hangup of the other one
		return uacsta.ReconnectCall{ActiveCall: *active, HeldCall: *held}
	case digits == "3":
		return uacsta.ConferenceCall{HeldCall: *held, ActiveCall: *active}
	}
	return uacsta.AlternateCall{HeldCall: *held, ActiveCall: *active}
}

// sendEvent sends a word to another port; RECORD_STOP ends what it records.
func (cl *client) sendEvent(c *line) {
	other := cl.card.port(c.dst)
	if other == nil || c.arg(1) == "" {
		cl.reply(c, "ERROR")
		return
	}
	other.post(func() {
		if w := other.waiting; w != nil && w.name == "ctrecord" {
			other.done("OK", other.take())
			return
		}
		other.happens(c.arg(1))
	})
	cl.reply(c, "OK")
}

// status is the state of the port, in a word.
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
func (cl *client) manage(c *line) {
	switch c.name {
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
