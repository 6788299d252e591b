package front

import (
	"cmp"
	"errors"
	"path/filepath"
	"slices"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/audio"
	"github.com/tr87proxy/tr87proxy/wire/ctserver"
)

var errNoFile = errors.New("there is no such file, or it is too large")

// ignoreDigits is the argument of a command to play that digits do not end.
const ignoreDigits = "ignore_dtmf"

// recordable are the extensions of the files that a program may write; they are WAV files all the same.
var recordable = []string{".wav", ".au"}

// The longest recording, also that of one without another limit; and of how many files, and how long ones together, a
// recording has the sound.
const (
	longestRecording = time.Hour
	maxHeard         = 64
	longestHeard     = time.Hour
)

// sound is a file that plays beside the commands.
type sound struct {
	clip  *audio.Clip // nil: its sound is not known
	lasts time.Duration
	deaf  bool // digits do not end it
}

// voice is what a port plays in its call.
type voice struct {
	handle       int
	call         string
	clip         *audio.Clip // nil: nothing, or its sound is not known
	began, until time.Time
}

// recording is a file that is being recorded.
type recording struct {
	file    *audio.Recording
	began   time.Time
	silence time.Duration // that ends it; 0: none does
	heard   []voice
}

// hear takes what a port plays from now on, in place of what it has played.
func (r *recording) hear(v voice) {
	total := time.Duration(0)
	for i := range r.heard {
		if old := &r.heard[i]; old.handle == v.handle && old.until.After(v.began) {
			old.until = v.began
		}
		total += r.heard[i].clip.Duration()
	}
	if v.clip != nil && len(r.heard) < maxHeard && total+v.clip.Duration() <= longestHeard {
		r.heard = append(r.heard, v)
	}
}

// finish completes the file.
func (r *recording) finish() error {
	parts := make([]audio.Part, 0, len(r.heard))
	for _, v := range r.heard {
		parts = append(parts, audio.Part{Clip: v.clip, From: v.began.Sub(r.began), To: v.until.Sub(r.began)})
	}
	return errors.Join(r.file.Compose(time.Since(r.began), parts), r.file.Close())
}

// fileName returns the name of a file: without extension it is that of an .au file.
func fileName(name string) string {
	if filepath.Ext(name) == "" {
		name += ".au"
	}
	return name
}

// load reads a file to play. It returns false if it cannot be played. A file outside the folder of sounds is not looked
// at: it seems to play for the time of the configuration.
func (cl *client) load(c *ctserver.Line) (*sound, bool) {
	cfg, name := &cl.card.cfg, fileName(c.Arg(1))
	s := &sound{lasts: cfg.Play, deaf: c.Arg(2) == ignoreDigits}
	if cfg.Sounds == nil || cfg.Sounds.Path(name) == "" {
		return s, c.Arg(1) != ""
	}
	if !cfg.Sounds.Has(name) { // also a pipe, whose reading may block
		cl.refused(c.Name, errNoFile)
		return nil, false
	}
	clip, err := cfg.Sounds.Load(name)
	if err != nil {
		cl.refused(c.Name, err)
		return nil, false
	}
	s.clip, s.lasts = clip, max(clip.Duration(), time.Millisecond)
	return s, true
}

// play plays a file.
func (cl *client) play(c *ctserver.Line) {
	s, ok := cl.load(c)
	if !ok {
		cl.done("ERROR")
		return
	}
	cl.speaks(s)
	cl.lasts(s.lasts)
}

// playBeside plays a file beside the commands, after those before it.
func (cl *client) playBeside(c *ctserver.Line) {
	s, ok := cl.load(c)
	if !ok || len(cl.sounds) == maxSounds {
		cl.done("ERROR")
		return
	}
	cl.sounds = append(cl.sounds, s)
	if len(cl.sounds) == 1 {
		cl.playFirst()
	}
	cl.done("OK")
}

// playFirst plays the first of the files that play beside the commands.
func (cl *client) playFirst() {
	first := cl.sounds[0]
	cl.speaks(first)
	cl.after(first.lasts, func() {
		if len(cl.sounds) > 0 && cl.sounds[0] == first {
			cl.played()
		}
	})
}

// played takes the end of the first file that plays beside the commands.
func (cl *client) played() {
	cl.sounds = cl.sounds[1:]
	cl.speaks(&sound{})
	cl.happens("toneend")
	if len(cl.sounds) > 0 {
		cl.playFirst()
	}
}

// speaks tells the other ports what the port plays in its call from now on.
func (cl *client) speaks(s *sound) {
	if cl.active != nil {
		now := time.Now()
		cl.card.speak(voice{cl.handle, cl.active.CallID, s.clip, now, now.Add(s.lasts)})
	}
}

// recordTo records into a file, over one that exists: what other ports of the card play in the call. Digits end silence, too.
func (cl *client) recordTo(c *ctserver.Line) {
	name := fileName(c.Arg(1))
	if cl.card.cfg.Sounds == nil || !slices.Contains(recordable, filepath.Ext(name)) {
		cl.done("ERROR")
		return
	}
	limit := min(cmp.Or(seconds(c.Arg(2)), longestRecording), longestRecording)
	file, err := cl.card.cfg.Sounds.Overwrite(name, limit)
	if err != nil {
		cl.refused(c.Name, err)
		cl.done("ERROR")
		return
	}
	cl.record = &recording{file: file, began: time.Now(), silence: seconds(c.Arg(4))}
	cl.lasts(limit)
	for _, v := range cl.card.playing(cl.handle, cl.active) {
		cl.record.hear(v)
	}
	cl.loud()
}

// hears takes what another port plays in the call.
func (cl *client) hears(v voice) {
	if cl.record != nil {
		cl.record.hear(v)
		cl.loud()
	}
}

// loud begins the silence that ends a recording anew, after what other ports play.
func (cl *client) loud() {
	if cl.record == nil || cl.record.silence == 0 {
		return
	}
	lasts := time.Duration(0)
	for _, v := range cl.card.playing(cl.handle, cl.active) {
		lasts = max(lasts, time.Until(v.until))
	}
	cl.pauses(lasts + cl.record.silence)
}

// endRecording completes the file that is being recorded.
func (cl *client) endRecording() {
	if r := cl.record; r != nil {
		cl.record = nil
		if err := r.finish(); err != nil {
			cl.refused("ctrecord", err)
		}
	}
}
