package front

import (
	"time"

	"github.com/tr87proxy/tr87proxy/wire/ctserver"
)

// ignoreDigits is the argument of a command to play that digits do not end.
const ignoreDigits = "ignore_dtmf"

// longestRecording is the duration of a recording without another limit, and the longest.
const longestRecording = time.Hour

// sound is a file that plays beside the commands.
type sound struct {
	lasts time.Duration
	deaf  bool // digits do not end it
}

// recording is a file that is being recorded.
type recording struct {
	silence time.Duration // that ends it; 0: none does
}

// play plays a file.
func (cl *client) play(c *ctserver.Line) {
	cl.speaks(cl.card.cfg.Play)
	cl.lasts(cl.card.cfg.Play)
}

// playBeside plays a file beside the commands, after those before it.
func (cl *client) playBeside(c *ctserver.Line) {
	if len(cl.sounds) == maxSounds {
		cl.done("ERROR")
		return
	}
	cl.sounds = append(cl.sounds, &sound{cl.card.cfg.Play, c.Arg(2) == ignoreDigits})
	if len(cl.sounds) == 1 {
		cl.playFirst()
	}
	cl.done("OK")
}

// playFirst plays the first of the files that play beside the commands.
func (cl *client) playFirst() {
	first := cl.sounds[0]
	cl.speaks(first.lasts)
	cl.after(first.lasts, func() {
		if len(cl.sounds) > 0 && cl.sounds[0] == first {
			cl.played()
		}
	})
}

// played takes the end of the first file that plays beside the commands.
func (cl *client) played() {
	cl.sounds = cl.sounds[1:]
	cl.speaks(0)
	cl.happens("toneend")
	if len(cl.sounds) > 0 {
		cl.playFirst()
	}
}

// recordTo records. Digits, and what another port of the card plays in the call, count as sound.
func (cl *client) recordTo(c *ctserver.Line) {
	limit := seconds(c.Arg(2))
	if limit == 0 || limit > longestRecording {
		limit = longestRecording
	}
	cl.record = &recording{silence: seconds(c.Arg(4))}
	cl.lasts(limit)
	cl.hears(cl.card.sound(cl))
}

// hears takes sound that the port hears for so long: the silence that ends a recording begins after it.
func (cl *client) hears(lasts time.Duration) {
	if r := cl.record; r != nil && r.silence > 0 {
		cl.pauses(max(lasts, 0) + r.silence)
	}
}

// endRecording ends the recording.
func (cl *client) endRecording() {
	cl.record = nil
}

// speaks tells the other ports that the port plays a file in its call, for so long.
func (cl *client) speaks(lasts time.Duration) {
	if cl.active != nil {
		cl.card.speak(cl, cl.active.CallID, lasts)
	}
}
