package events

import (
	"context"
	"errors"
	"maps"
	"time"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// pattern is a pattern of devices that is watched, as far as those who want it may observe them.
type pattern struct {
	text    string
	devices *matches
	by      map[string]*wanter // by client; "": the configuration
}

// wanter is a client that wants a pattern, or has wanted it.
type wanter struct {
	wanted int       // how often
	left   time.Time // when it last did
}

// unwanted returns since when nobody wants the pattern, or false if somebody does.
func (p *pattern) unwanted() (since time.Time, is bool) {
	for _, w := range p.by {
		if w.wanted > 0 {
			return since, false
		}
		if w.left.After(since) {
			since = w.left
		}
	}
	return since, true
}

// maxPatterns is how many patterns are watched at a time.
const maxPatterns = 1000

// MostPatterns is how many of them one client may want.
const MostPatterns = maxPatterns / 4

// Errors of [Recorder.Want] and of subscriptions.
var (
	ErrFull   = errors.New("the proxy records events of as many devices as it can")
	ErrOften  = errors.New("the client begins or changes streams of events too often")
	ErrClosed = errors.New("the recorder of events has ended")
	ErrSlow   = errors.New("the subscriber does not keep up with the events")
)

// Want has devices, by their canonical numbers, and devices that match patterns recorded until release is called, and for
// Config.Age after that, or until there is no room for other patterns. It does not wait for the switch. release may be
// called once. who is the client, whose share of the patterns is limited; "": the configuration. The error is ErrFull or
// ErrClosed, or of ctx.
func (r *Recorder) Want(ctx context.Context, who string, devices, patterns []string) (release func(), err error) {
	_, release, err = r.want(ctx, who, devices, patterns)
	return release, err
}

// want is Want, and returns a channel that is closed when the switch has accepted or refused all monitors of devices.
func (r *Recorder) want(ctx context.Context, who string, devices, patterns []string) (settled <-chan struct{}, release func(), err error) {
	done := make(chan struct{})
	var watches []*watch
	var globs []*pattern
	release = func() {
		r.box.post(func() {
			now := time.Now()
			for _, w := range watches {
				w.wanted--
				w.left = now
			}
			for _, p := range globs {
				p.by[who].wanted--
				p.by[who].left = now
				r.giveBack(who, p.text)
			}
			r.keep()
		})
	}
	var full error
	began := r.do(ctx, func() {
		waiting := 1
		one := func() {
			if waiting--; waiting == 0 {
				close(done)
			}
		}
		for _, device := range devices {
			w := r.watching(device)
			if w == nil {
				full = ErrFull
				break
			}
			w.wanted++
			watches = append(watches, w)
			if w.state == starting || w.state == learning {
				waiting++
				w.settled = append(w.settled, one)
			}
		}
		for _, text := range patterns {
			var p *pattern
			if share := r.shares[who]; who == "" || share[text] > 0 || len(share) < MostPatterns {
				p = r.matching(text, who)
			}
			if p == nil {
				full = ErrFull
				break
			}
			p.by[who].wanted++
			if r.shares[who] == nil {
				r.shares[who] = map[string]int{}
			}
			r.shares[who][text]++
			globs = append(globs, p)
		}
		r.cover()
		one()
		r.keep()
	})
	switch {
	case began != nil:
		release() // after what has been posted; a recorder that has ended does neither
		return nil, nil, began
	case full != nil:
		release()
		return nil, nil, full
	}
	return done, release, nil
}

// giveBack takes one pattern out of the share of a client.
func (r *Recorder) giveBack(who, text string) {
	share := r.shares[who]
	if share[text]--; share[text] > 0 {
		return
	}
	if delete(share, text); len(share) == 0 {
		delete(r.shares, who)
	}
}

// matching returns a pattern that a client wants, which cover begins to watch if it is new; nil if there are too many
// that somebody wants.
func (r *Recorder) matching(text, who string) *pattern {
	p := r.patterns[text]
	if p == nil && len(r.patterns) >= maxPatterns {
		var oldest *pattern
		var when time.Time
		for _, other := range r.patterns {
			if since, unwanted := other.unwanted(); unwanted && (oldest == nil || since.Before(when)) {
				oldest, when = other, since
			}
		}
		if oldest == nil {
			r.log.Error("too many patterns of devices to record events of", "limit", maxPatterns)
			return nil
		}
		delete(r.patterns, oldest.text)
	}
	if p == nil {
		p = &pattern{text: text, devices: r.roster.matches([]string{text}), by: map[string]*wanter{}}
		r.patterns[text] = p
	}
	if p.by[who] == nil {
		p.by[who] = &wanter{left: time.Now()}
		r.fresh = true
	}
	return p
}

// cover begins to watch what new patterns match, for those who want them.
func (r *Recorder) cover() {
	if !r.fresh {
		return
	}
	r.fresh = false
	r.begin()
	if r.listed == nil {
		r.list()
	} else {
		r.apply()
	}
}

// list asks the links for their devices, if a pattern needs them.
func (r *Recorder) list() {
	if len(r.patterns) == 0 || r.session == nil || r.listing {
		return
	}
	r.listing = true
	found := map[string]bool{}
	r.ask(uacsta.GetSwitchingFunctionDevices{}, func(res *uacsta.Message) {
		ref := res.Text("serviceCrossRefID")
		if res.Err() != nil || ref == "" {
			r.listing = false // a link that comes up, or time, has it tried again
			return
		}
		whole := false
		r.gather(ref, func(m *uacsta.Message) bool {
			var segment uacsta.SwitchingFunctionDevices
			if m.Decode(&segment) != nil {
				return segment.LastSegment
			}
			for _, item := range segment.DeviceList {
				if item.DeviceID == nil || len(found) >= maxWatched {
					continue
				}
				if view, err := r.session.View(item.DeviceID.ID); err == nil {
					found[view.Device] = true
				}
			}
			whole = whole || segment.LastSegment
			return segment.LastSegment
		}, func() {
			r.listing = false
			if !whole { // devices that are missing may be there all the same
				maps.Copy(found, r.listed)
			}
			r.listed = found
			r.apply()
		})
	})
}

// expire ends what nobody has wanted for long.
func (r *Recorder) expire() {
	limit := time.Now().Add(-r.cfg.Age)
	for text, p := range r.patterns {
		maps.DeleteFunc(p.by, func(_ string, w *wanter) bool { return w.wanted == 0 && w.left.Before(limit) })
		if len(p.by) == 0 {
			delete(r.patterns, text)
		}
	}
	r.apply()
	for device, w := range r.watches {
		if w.wanted > 0 || w.pattern || w.state != refused && w.left.After(limit) {
			continue
		}
		delete(r.watches, device)
		if w.ref != "" && r.session != nil {
			r.stop(w.ref)
		}
		w.reset()
	}
	r.watched.Store(int64(len(r.watches)))
	r.keep()
}
