package front

import (
	"slices"
	"strconv"
	"time"

	"github.com/tr87proxy/tr87proxy/wire/ctserver"
)

const (
	maxQueue  = 64 // commands of a program that wait for their turn
	maxTimers = 16 // that a program has started
	maxSounds = 16 // that wait to be played beside the commands
	maxDigits = 256
	maxEvents = 64 // that wait for a program of the older form
)

// seconds reads an argument as a number of seconds, one day at most; 0 if it is not a number.
func seconds(text string) time.Duration {
	return time.Duration(min(number(text), 24*3600)) * time.Second
}

// number reads an argument as a number; 0 if it is none, or negative.
func number(text string) int {
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return 0
	}
	return n
}

// command takes a command. Commands are carried out one after the other; those that do not wait are carried out at once.
// If too many wait already, the command is refused.
func (cl *client) command(c *ctserver.Line) {
	switch {
	case cl.atOnce(c):
	case len(cl.queue) == maxQueue:
		cl.reply(c, "ERROR")
	default:
		cl.queue = append(cl.queue, c)
		if cl.running == nil {
			cl.next()
		}
	}
}

// next carries out the command whose turn it is.
func (cl *client) next() {
	cl.running = nil
	if len(cl.queue) == 0 {
		return
	}
	c := cl.queue[0]
	cl.queue = cl.queue[1:]
	cl.running, cl.since = c, len(cl.digits)
	cl.carryOut(c)
	cl.awaitSwitch()
}

// awaitSwitch limits the time that a command of a program that has left waits for the switching function.
func (cl *client) awaitSwitch() {
	if c := cl.running; cl.gone && c != nil && cl.limit == nil {
		cl.limit = cl.after(leaveTime, func() {
			if cl.running == c {
				cl.close()
			}
		})
	}
}

// done replies to the command that is being carried out.
func (cl *client) done(args ...string) {
	c := cl.running
	for _, t := range []*time.Timer{cl.limit, cl.between} {
		if t != nil {
			t.Stop()
		}
	}
	cl.limit, cl.between = nil, nil
	cl.endRecording()
	if c.Name == "ctplay" {
		cl.speaks(&sound{})
	}
	cl.reply(c, args...)
	if c.Name == "shutdown" {
		cl.close()
		return
	}
	cl.next()
}

// ends replies to the command that is being carried out at its end, with the digits that it has heard: as it should, or by an event.
func (cl *client) ends(event ...string) {
	digits := cl.digits[cl.since:]
	if cl.running.Name == "ctcollect" {
		digits = cl.take(number(cl.running.Arg(1)))
	}
	how := "OK"
	if len(event) > 0 {
		how = "EVENT"
	}
	cl.done(append([]string{how, digits}, event...)...)
}

// take removes digits from the buffer: at most so many; 0: all.
func (cl *client) take(most int) string {
	if most == 0 || most > len(cl.digits) {
		most = len(cl.digits)
	}
	taken := cl.digits[:most]
	cl.digits = cl.digits[most:]
	return taken
}

// lasts ends the command that is being carried out after its time; 0: never.
func (cl *client) lasts(limit time.Duration) {
	if limit <= 0 {
		return
	}
	c := cl.running
	cl.limit = cl.after(limit, func() {
		if cl.running == c {
			cl.ends()
		}
	})
}

// pauses ends the command that is being carried out if nothing more is heard for so long.
func (cl *client) pauses(limit time.Duration) {
	if cl.between != nil {
		cl.between.Stop()
	}
	c := cl.running
	cl.between = cl.after(limit, func() {
		if cl.running == c {
			cl.ends()
		}
	})
}

// atOnce carries out a command that does not wait for its turn. It returns false for one that does.
func (cl *client) atOnce(c *ctserver.Line) bool {
	switch {
	case c.Name == "portstatus":
		if word := cl.card.status(c.Dst); word != "" {
			cl.reply(c, "OK", word)
		} else {
			cl.reply(c, "ERROR")
		}
	case c.Name == "rolllog":
		cl.reply(c, "OK") // there is no log of the card
	case c.Name == "serversion":
		cl.reply(c, "OK", cl.card.cfg.Version)
	case c.Name == "ctplay_stop" && cl.session != nil:
		cl.sounds = nil
		cl.speaks(&sound{})
		if r := cl.running; r != nil && r.Name == "ctplay" {
			cl.ends()
		}
		cl.reply(c, "OK")
	default:
		return false
	}
	return true
}

// carryOut carries out a command.
func (cl *client) carryOut(c *ctserver.Line) {
	switch {
	case c.Name == "ctsendevent":
		cl.sendEvent(c)
		return
	case c.Name == "shutdown": // what is its own
		cl.hangUp(c)
		return
	case cl.session == nil:
		cl.done("ERROR")
		return
	}
	switch c.Name {
	case "ctanswer":
		cl.answer(c)
	case "cthangup":
		cl.hangUp(c)
	case "ctwaitforring":
		cl.wanted = 2
		if n := number(c.Arg(1)); n > 0 {
			cl.wanted = n
		}
	case "ctwaitforevent": // see happens
		if len(cl.events) > 0 {
			what := cl.events[0]
			cl.events = cl.events[1:]
			cl.done("OK", what)
		}
	case "ctwaitfordial":
		if !cl.offHook || cl.active != nil {
			cl.done("ERROR")
			return
		}
		cl.done("OK")
	case "ctdial":
		cl.dial(c, c.Arg(1), false)
	case "ctplay":
		cl.play(c)
	case "ctplayasync":
		cl.playBeside(c)
	case "ctrecord":
		cl.recordTo(c)
	case "ctcollect":
		cl.collect(c)
	case "ctsleep":
		cl.lasts(max(seconds(c.Arg(1)), time.Millisecond))
	case "ctstarttimerasync":
		cl.startTimer(seconds(c.Arg(1)))
	case "ctstoptimer":
		if last := len(cl.timers) - 1; last >= 0 {
			cl.timers[last].Stop()
			cl.timers = cl.timers[:last]
		}
		cl.done("OK")
	case "ctclear":
		cl.digits, cl.events = "", nil
		cl.done("OK")
	case "ctclearevents": // they are written at once
		cl.done("OK")
	case "ctplaytoneasync":
		cl.tone = slices.Contains([]string{"busy", "dialx", "dial", "ringback"}, c.Arg(1))
		if !cl.tone {
			cl.done("ERROR")
			return
		}
		cl.done("OK")
	case "ctstoptone":
		if cl.tone {
			cl.tone = false
			cl.happens("toneend")
		}
		cl.done("OK")
	case "ctlistenforcid", "ctlistenforjpcid":
		if cl.ringing != nil && cl.caller != "" {
			cl.happens("cid", cl.caller)
		}
		cl.done("OK")
	case "ctreadcid":
		if cl.caller == "" {
			cl.done("ERROR")
			return
		}
		cl.done("OK", cl.caller)
	case "ctsetscript":
		cl.script = c.Arg(1)
		cl.done("OK")
	case "ctjoin", "ctbridge", "ctunbridge", "ctjoinconference", "ctleaveconference", "ctstartringasync", "ctstopring", "ctstartringonceasync", "ctgrunton", "ctgruntoff":
		cl.done("OK") // without voice they have no effect
	default:
		cl.done("ERROR")
	}
}

// startTimer starts a timer beside those that run.
func (cl *client) startTimer(duration time.Duration) {
	if len(cl.timers) == maxTimers {
		cl.done("ERROR")
		return
	}
	var t *time.Timer
	t = cl.after(duration, func() {
		if i := slices.Index(cl.timers, t); i >= 0 { // it was not stopped meanwhile
			cl.timers = slices.Delete(cl.timers, i, i+1)
			cl.happens("timer")
		}
	})
	cl.timers = append(cl.timers, t)
	cl.done("OK")
}

// collect collects digits, those that came earlier too.
func (cl *client) collect(c *ctserver.Line) {
	most, limit := number(c.Arg(1)), seconds(c.Arg(2))
	switch {
	case most == 0 && limit == 0: // it would not end
		cl.done("ERROR")
	case most > 0 && len(cl.digits) >= most:
		cl.ends()
	default:
		cl.lasts(limit)
	}
}

// sendEvent sends an event, or a message of the program's own, to another port. A message ends the command that the port
// is carrying out.
func (cl *client) sendEvent(c *ctserver.Line) {
	other := cl.card.port(c.Dst)
	if other == nil || c.Arg(1) == "" {
		cl.done("ERROR")
		return
	}
	other.post(func() {
		if ctserver.IsDigit(c.Arg(1)) {
			other.heard(c.Arg(1))
		} else {
			other.happens(c.Args[0], c.Args[1:]...)
		}
	})
	cl.done("OK")
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
