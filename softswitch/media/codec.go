package media

import (
	"slices"

	"github.com/tr87proxy/tr87proxy/internal/audio"
)

// codec is an encoding of voice in RTP. We decode and mix G.711 only; the others pass through between two telephones
// that share one.
type codec struct {
	name   string     // as in rtpmap
	clock  int        // Hz, of its timestamps
	number uint8      // payload type in our offers (RFC 3551 6)
	law    *audio.Law // nil: it only passes through
}

var (
	pcma   = &codec{"PCMA/8000", audio.Rate, 8, audio.ALaw}
	pcmu   = &codec{"PCMU/8000", audio.Rate, 0, audio.MuLaw}
	g722   = &codec{"G722/8000", audio.Rate, 9, nil} // its clock is not its rate (RFC 3551 4.5.2)
	opus   = &codec{"opus/48000/2", 48000, 96, nil}  // RFC 7587
	codecs = []*codec{pcma, pcmu, g722, opus}
)

// format is a codec with its payload type and parameters in a description.
type format struct {
	number     uint8
	codec      *codec
	parameters string // of fmtp
}

// first returns the first format that is wanted, or nil.
func first(list []format, wanted func(*codec) bool) *format {
	if i := slices.IndexFunc(list, func(f format) bool { return wanted(f.codec) }); i >= 0 {
		return &list[i]
	}
	return nil
}

// withCodec returns the format with a codec, or nil.
func withCodec(list []format, c *codec) *format {
	return first(list, func(of *codec) bool { return of == c })
}

// law returns the first format of G.711, or nil.
func (d *description) law() *format {
	return first(d.formats, func(c *codec) bool { return c.law != nil })
}

// wide returns the first format that only passes through, or nil.
func (d *description) wide() *format {
	return first(d.formats, func(c *codec) bool { return c.law == nil })
}

// Passes reports whether the telephone sends voice that only passes through.
func (l *Leg) Passes() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.wide != nil
}

// Shares reports whether two telephones send each other voice that passes through.
func (l *Leg) Shares(other *Leg) bool {
	own, theirs := l.passing(), other.passing()
	return own != nil && theirs != nil && own.codec == theirs.codec
}

// passing returns the format that passes through, as the telephone has described it, or nil.
func (l *Leg) passing() *format {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.wide == nil || l.peer == nil {
		return nil
	}
	return withCodec(l.peer.formats, l.wide)
}

// Mixable reports whether the telephone can be sent G.711.
func (l *Leg) Mixable() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.peer == nil || l.peer.law() != nil
}

// Suit has the first offer begin with the codecs of the telephone that calls, in its order: all that it has offered, or,
// once that was answered, those that were agreed. Call it before Propose.
func (l *Leg) Suit(caller *Leg, answered bool) {
	caller.mu.Lock()
	var formats []format
	if caller.peer != nil {
		law := caller.peer.law() // what is sent to it
		for _, f := range caller.peer.formats {
			if !answered || f.codec == caller.wide || law != nil && f.codec == law.codec {
				formats = append(formats, f)
			}
		}
	}
	caller.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.prefer = formats
}

// Match returns another answer to the peer's offer, with the codec that the telephone that answered has chosen, or nil
// if the peer has not offered that. Nothing of the first answer may have been sent.
func (l *Leg) Match(answered *Leg) []byte {
	theirs := answered.passing()
	l.mu.Lock()
	defer l.mu.Unlock()
	if theirs == nil || l.peer == nil || withCodec(l.peer.formats, theirs.codec) == nil {
		return nil
	}
	l.wide = theirs.codec
	formats := l.chosen(l.peer)
	formats[0].parameters = theirs.parameters
	return l.write(l.flow, l.peer, formats)
}

// Narrow has the following offers contain G.711 only.
func (l *Leg) Narrow() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wide, l.prefer = nil, nil
}

// chosen returns the formats of our answer: what passes through, if the peer still offers that, and G.711, if it offers
// that. Callers hold l.mu.
func (l *Leg) chosen(d *description) (formats []format) {
	if l.wide != nil {
		if f := withCodec(d.formats, l.wide); f != nil {
			formats = append(formats, *f)
		} else {
			l.wide = nil
		}
	}
	if f := d.law(); f != nil {
		formats = append(formats, *f)
	}
	return formats
}

// offers returns the formats of an offer: what is agreed, then the others that we support. Callers hold l.mu.
func (l *Leg) offers(to *description) (formats []format) {
	if l.peer == nil {
		for _, f := range l.prefer {
			formats = append(formats, format{f.codec.number, f.codec, f.parameters})
		}
	} else {
		for _, f := range l.peer.formats {
			if f.codec.law != nil || f.codec == l.wide {
				formats = append(formats, format{f.number, f.codec, ""})
			}
		}
	}
	for _, c := range []*codec{pcma, pcmu} {
		taken := func(f format) bool { return f.codec == c || f.number == c.number }
		if !slices.ContainsFunc(formats, taken) && to.event != c.number && to.event48 != c.number {
			formats = append(formats, format{c.number, c, ""})
		}
	}
	return formats
}

// accept keeps of an answer what we have offered. It returns [ErrNoCodec] if nothing is left. Callers hold l.mu.
func (l *Leg) accept(d *description) error {
	d.formats = slices.DeleteFunc(d.formats, func(f format) bool { return withCodec(l.ours, f.codec) == nil })
	if len(d.formats) == 0 {
		return ErrNoCodec
	}
	l.wide = nil
	if f := d.wide(); f != nil {
		l.wide = f.codec
	}
	return nil
}
