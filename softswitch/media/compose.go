package media

import "time"

// Duration returns how long the clip plays.
func (c *Clip) Duration() time.Duration { return time.Duration(len(c.samples)) * time.Second / rate }

// Part is a clip that is heard in a recording.
type Part struct {
	Clip     *Clip
	From, To time.Duration // in the recording; From may be before its beginning
}

// Compose appends the parts as they are heard together, and silence where there is none: in all of this duration, up to
// the limit of the recording.
func (r *Recording) Compose(lasts time.Duration, parts []Part) error {
	for at, end := 0, samples(lasts); at < end; at += frame {
		var sum [frame]int32
		for _, p := range parts {
			p.add(&sum, at)
		}
		out := minus(&sum, &[frame]int32{}, nil)
		if !r.write(out[:min(frame, end-at)]) {
			break
		}
	}
	return r.err
}

// add adds what is heard in the frame that begins with a sample of the recording.
func (p *Part) add(sum *[frame]int32, at int) {
	from, to := samples(p.From), samples(p.To)
	if at+frame <= from || at >= min(to, from+len(p.Clip.samples)) {
		return
	}
	for i := range sum {
		if n := at + i - from; at+i < to && n >= 0 && n < len(p.Clip.samples) {
			sum[i] += int32(p.Clip.samples[n])
		}
	}
}
