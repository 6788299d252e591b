package media

import (
	"math"

	"github.com/tr87proxy/tr87proxy/internal/audio"
)

// Source produces sound. next fills a frame and reports whether there is more.
type Source interface {
	next(into []int16) bool
}

// player plays a clip, once or repeatedly.
type player struct {
	clip *audio.Clip
	at   int
	loop bool
}

// Play returns a source that plays the clip once.
func Play(c *audio.Clip) Source { return &player{clip: c} }

// Loop returns a source that repeats the clip without end.
func Loop(c *audio.Clip) Source { return &player{clip: c, loop: true} }

func (p *player) next(into []int16) bool {
	for len(into) > 0 {
		if p.at == len(p.clip.Samples()) {
			if !p.loop || p.at == 0 {
				clear(into)
				return false
			}
			p.at = 0
		}
		n := copy(into, p.clip.Samples()[p.at:])
		p.at += n
		into = into[n:]
	}
	return p.loop || p.at < len(p.clip.Samples())
}

// tone is a tone of one or two frequencies with a cadence (ITU-T E.180).
type tone struct {
	hertz   []float64
	on, off int // samples; off 0 means a continuous tone
	at      int
}

// Ringback returns the ringing tone: 425 Hz, 1 s on, 4 s off.
func Ringback() Source { return &tone{hertz: []float64{425}, on: audio.Rate, off: 4 * audio.Rate} }

// Busy returns the busy tone: 425 Hz, 0.5 s on, 0.5 s off.
func Busy() Source { return &tone{hertz: []float64{425}, on: audio.Rate / 2, off: audio.Rate / 2} }

const toneLevel = 4000 // of 32767: about -18 dB

func (t *tone) next(into []int16) bool {
	for i := range into {
		into[i] = 0
		if t.off == 0 || t.at%(t.on+t.off) < t.on {
			v := 0.0
			for _, f := range t.hertz {
				v += math.Sin(2 * math.Pi * f * float64(t.at) / audio.Rate)
			}
			into[i] = int16(toneLevel * v / float64(len(t.hertz)))
		}
		t.at++
	}
	return true
}
