package events

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/tr87proxy/tr87proxy/policy"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// pattern is a pattern of devices that is watched.
type pattern struct {
	text   string
	wanted int
	left   time.Time // when it was last wanted
}

// maxPatterns is how many patterns are watched at a time.
const maxPatterns = 1000

// MostPatterns is how many of them one client may want.
const MostPatterns = maxPatterns / 4

// Errors of [Recorder.Want] and of subscriptions.
var (
	ErrFull   = errors.New("the proxy records events of as many devices as it can")
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
				p.wanted--
				p.left = now
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
				p = r.matching(text)
			}
			if p == nil {
				full = ErrFull
				break
			}
			p.wanted++
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

// matching returns a pattern, which cover begins to watch if it is new; nil if there are too many that somebody wants.
func (r *Recorder) matching(text string) *pattern {
	p := r.patterns[text]
	if p != nil {
		return p
	}
	if len(r.patterns) >= maxPatterns {
		var oldest *pattern
		for _, other := range r.patterns {
			if other.wanted == 0 && (oldest == nil || other.left.Before(oldest.left)) {
				oldest = other
			}
		}
		if oldest == nil {
			r.log.Error("too many patterns of devices to record events of", "limit", maxPatterns)
			return nil
		}
		delete(r.patterns, oldest.text)
	}
	p = &pattern{text: text, left: time.Now()}
	r.patterns[text], r.fresh = p, true
	return p
}

// cover begins to watch what new patterns match.
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

// apply watches the listed devices that patterns match, and no longer, those that none does.
func (r *Recorder) apply() {
	patterns := slices.Collect(maps.Keys(r.patterns))
	matched := map[string]bool{}
	for device := range r.listed {
		if policy.MatchDevice(patterns, device) {
			matched[device] = true
			if w := r.watching(device); w != nil {
				w.pattern = true
			}
		}
	}
	now := time.Now()
	for device, w := range r.watches {
		if w.pattern && !matched[device] {
			w.pattern, w.left = false, now
		}
	}
}

// expire ends what nobody has wanted for long.
func (r *Recorder) expire() {
	limit := time.Now().Add(-r.cfg.Age)
	for text, p := range r.patterns {
		if p.wanted == 0 && p.left.Before(limit) {
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
