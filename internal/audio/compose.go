package audio

import (
	"math"
	"time"
)

// Part is a clip that is heard in a recording.
type Part struct {
	Clip     *Clip
	From, To time.Duration // in the recording; From may be before its beginning
}

// Compose appends the parts as they are heard together, and silence where there is none: in all of this duration, up to
// the limit of the recording.
func (r *Recording) Compose(lasts time.Duration, parts []Part) error {
	for at, end := 0, SamplesIn(lasts); at < end; at += Frame {
		var sum [Frame]int32
		for _, p := range parts {
			p.add(&sum, at)
		}
		if !r.Write(Mixed(&sum)[:min(Frame, end-at)]) {
			break
		}
	}
	return r.err
}

// add adds what is heard in the frame that begins with a sample of the recording.
func (p *Part) add(sum *[Frame]int32, at int) {
	from, to := SamplesIn(p.From), SamplesIn(p.To)
	if at+Frame <= from || at >= min(to, from+len(p.Clip.samples)) {
		return
	}
	for i := range sum {
		if n := at + i - from; at+i < to && n >= 0 && n < len(p.Clip.samples) {
			sum[i] += int32(p.Clip.samples[n])
		}
	}
}

// Mixed returns the samples of a sum, clipped to what a sample can be.
func Mixed(sum *[Frame]int32) []int16 {
	out := make([]int16, Frame)
	for i, v := range sum {
		out[i] = int16(min(max(v, math.MinInt16), math.MaxInt16))
	}
	return out
}
