package events

import (
	"time"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// asked is the requests of a session: some are out, the others wait.
type asked struct {
	out     int
	waiting []question
}

type question struct {
	request any
	done    func(*uacsta.Message)
}

// mostOut is how many requests are out at a time. It leaves room below the core's limit for one session.
const mostOut = 24

// ask sends a request, as soon as fewer are out. done gets the response, unless the session ends before.
func (r *Recorder) ask(request any, done func(*uacsta.Message)) {
	r.asked.waiting = append(r.asked.waiting, question{request, done})
	r.pump()
}

func (r *Recorder) pump() {
	for r.session != nil && r.asked.out < mostOut && len(r.asked.waiting) > 0 {
		q := r.asked.waiting[0]
		r.asked.waiting = r.asked.waiting[1:]
		r.asked.out++
		epoch := r.epoch
		r.session.Request(uacsta.Encode(q.request, uacsta.Edition6), func(res *uacsta.Message) {
			r.box.post(func() {
				if r.epoch != epoch {
					return
				}
				r.asked.out--
				q.done(res)
				r.pump()
			})
		})
	}
}

// gather collects the messages that follow a response under a reference, until take returns true. done is then called
// once, also when they do not all come in time.
func (r *Recorder) gather(ref string, take func(*uacsta.Message) (last bool), done func()) {
	end := func() {
		if r.segments[ref] != nil {
			delete(r.segments, ref)
			done()
		}
	}
	timer := r.later(gatheringTime, end)
	r.segments[ref] = func(m *uacsta.Message) {
		if take(m) {
			timer.Stop()
			end()
		}
	}
}

// later calls f on the goroutine of Run after a while, unless the session has changed by then.
func (r *Recorder) later(after time.Duration, f func()) *time.Timer {
	epoch := r.epoch
	return time.AfterFunc(after, func() {
		r.box.post(func() {
			if r.epoch == epoch {
				f()
			}
		})
	})
}
