package webhook

import (
	"container/heap"
	"context"
	"sync"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/eventlog"
	"github.com/tr87proxy/tr87proxy/internal/share"
)

// attempt is a request that has ended.
type attempt struct {
	result

	row   *row
	entry *eventlog.Entry // nil: not in the log any more
	body  []byte
	kept  bool // from the owner, who may not observe the device
}

// down reports whether the receiver takes nothing.
func (d *delivery) down() bool { return len(d.failing) >= rowsDown }

// launch starts the requests that are due.
func (d *delivery) launch(ctx context.Context, group *sync.WaitGroup) {
	now := time.Now()
	for len(d.due) > 0 && !now.Before(d.pause) {
		r := d.due[0]
		most := atATime
		if d.down() {
			most = 1
		} else if r.due.After(now) {
			return
		}
		if d.busy >= most {
			return
		}
		heap.Pop(&d.due)
		d.busy++
		r.busy = true
		first := r.items[0]
		a := attempt{row: r, entry: r.entry, body: first.body}
		if a.body == nil {
			a.body = r.body
		}
		group.Go(func() {
			defer func() { d.results <- a }()
			defer share.Survive(d.log, "webhook", func(err error) { a.reason = err.Error() })
			d.try(ctx, first.seq, &a)
		})
	}
}

// try makes an attempt.
func (d *delivery) try(ctx context.Context, seq uint64, a *attempt) {
	if a.entry == nil {
		var err error
		if a.entry, err = d.entry(seq); err != nil {
			a.reason = err.Error()
		}
		if a.entry == nil {
			return
		}
	}
	if a.kept = !d.sender.may(d.target.hook.Owner, a.entry); !a.kept {
		a.body, a.result = d.send(ctx, a.entry, a.body)
	}
}

// send sends an event once. It returns the body, which it makes if it is given none.
func (d *delivery) send(ctx context.Context, e *eventlog.Entry, body []byte) ([]byte, result) {
	if body == nil {
		var err error
		if body, err = d.body(ctx, e); err != nil {
			return nil, result{reason: "the body cannot be made: " + err.Error(), refused: true}
		}
	}
	return body, d.target.send(ctx, e, body)
}

// body makes the body of an event, once no other of the owner is being made. That cannot be interrupted, but takes little
// time.
func (d *delivery) body(ctx context.Context, e *eventlog.Entry) ([]byte, error) {
	select {
	case d.making <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-d.making }()
	return d.target.format.body(e)
}

// entry returns the event with a number; nil if it is not in the log any more.
func (d *delivery) entry(seq uint64) (*eventlog.Entry, error) {
	found, _, err := d.sender.log.Read(seq-1, 1)
	if err != nil || len(found) == 0 || found[0].Seq != seq {
		return nil, err
	}
	return &found[0], nil
}

// finish does what follows from an attempt.
func (d *delivery) finish(a attempt) {
	d.busy--
	r, now := a.row, time.Now()
	r.busy = false
	switch {
	case a.reason != "":
		d.fail(a, now)
		return
	case a.entry == nil:
		d.counts.lost.Add(1)
		d.log.Warn("webhook missed events: they had left the event log")
	case !a.kept:
		d.counts.delivered.Add(1)
		d.succeed(r.attempts+1, d.down(), now)
	}
	d.shift(r, now)
}

// succeed notes a success. With all, all rows are due now.
func (d *delivery) succeed(attempts int, all bool, now time.Time) {
	if d.reason.Swap(nil) != nil {
		d.log.Info("webhook delivers again", "attempts", attempts)
	}
	if all {
		for _, other := range d.due {
			other.due = now
		}
		heap.Init(&d.due)
		d.pause = time.Time{}
	}
	clear(d.failing)
	d.rounds, d.success = 0, now
}

// shift removes the first item of a row, and has the next one sent.
func (d *delivery) shift(r *row, now time.Time) {
	if d.pop(r, now) {
		heap.Push(&d.due, r)
	}
}

// pop removes the first item of a row, and reports whether there is another. Without, it removes the row.
func (d *delivery) pop(r *row, now time.Time) bool {
	d.waiting--
	d.dirty = true
	d.held -= len(r.body)
	r.items, r.attempts, r.entry, r.body, r.due = r.items[1:], 0, nil, nil, now
	if len(r.items) == 0 {
		delete(d.rows, r.key)
		return false
	}
	return true
}

// fail decides what becomes of an event after a failure.
func (d *delivery) fail(a attempt, now time.Time) {
	r := a.row
	d.counts.failed.Add(1)
	if d.reason.Swap(&a.reason) == nil {
		d.log.Warn("could not deliver to webhook: trying again", "reason", a.reason)
	}
	if a.gone {
		d.off.Store(&gone)
		d.log.Warn("webhook disabled: its receiver says 410 Gone")
		return
	}
	if r.attempts++; r.attempts == 1 {
		r.failed = now
	}
	r.entry = a.entry
	if d.target.hook.Format == Template && r.body == nil && d.held+len(a.body) <= mostBody {
		r.body = a.body
		d.held += len(r.body)
	}
	if len(d.failing) < rowsDown && !a.refused { // a receiver that refuses what an event says is not down
		d.failing[r.key] = true
	}
	d.pause = later(d.pause, now.Add(a.pause))
	if d.down() {
		d.rounds++
		d.pause = later(d.pause, now.Add(backOff(d.rounds)))
	}
	first := r.items[0]
	if a.entry != nil && (now.Sub(first.at) >= patience || a.refused && r.attempts >= triesBad || r.attempts >= triesOthers && d.success.After(r.failed)) {
		d.bury(a.entry, first.body, r.attempts, a.reason)
		d.shift(r, now)
		return
	}
	d.counts.retried.Add(1)
	r.due = now.Add(backOff(r.attempts))
	heap.Push(&d.due, r)
}

// expire makes dead letters of what has waited too long for a receiver that does not take it.
func (d *delivery) expire(now time.Time) {
	if len(d.failing) == 0 || now.Sub(d.looked) < looks {
		return
	}
	d.looked = now
	d.due = d.due[:0]
	for _, r := range d.rows {
		if r.busy {
			continue
		}
		more := true
		for more && (r.attempts > 0 || d.down()) && now.Sub(r.items[0].at) >= patience {
			d.expired(r)
			more = d.pop(r, now)
		}
		if more {
			d.due = append(d.due, r)
		}
	}
	heap.Init(&d.due)
}

// expired buries the first item of a row.
func (d *delivery) expired(r *row) {
	first, entry := r.items[0], r.entry
	if entry == nil {
		entry, _ = d.entry(first.seq)
	}
	reason := d.reason.Load()
	if entry == nil || reason == nil {
		d.counts.lost.Add(1)
		return
	}
	d.bury(entry, first.body, r.attempts, *reason)
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// idle returns how long nothing is to be done unless something happens.
func (d *delivery) idle() time.Duration {
	until := time.Now().Add(time.Hour)
	if len(d.due) > 0 && d.busy < atATime && (!d.down() || d.busy == 0) {
		if at := d.due[0].due; d.down() {
			until = d.pause
		} else {
			until = later(at, d.pause)
		}
	}
	wait := time.Until(until)
	if len(d.failing) > 0 {
		wait = min(wait, time.Until(d.looked.Add(looks)))
	}
	if d.dirty {
		wait = min(wait, time.Until(d.saved.Add(savedOften)))
	} else if d.moved {
		wait = min(wait, time.Until(d.saved.Add(savedRarely)))
	}
	return max(wait, 0)
}
