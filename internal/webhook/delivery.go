package webhook

import (
	"container/heap"
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/eventlog"
	"github.com/tr87proxy/tr87proxy/internal/share"
)

// The limits of a delivery; doc.go says what they mean.
const (
	atATime     = 4
	mostWaiting = 10_000
	rowsDown    = 5
	patience    = 23 * time.Hour // the log has the event as long, by default an hour longer
	triesOthers = 10
	triesBad    = 3
	firstPause  = time.Second
	longPause   = 10 * time.Minute
	readAtOnce  = 256
	savedOften  = 500 * time.Millisecond // between writes of the position after deliveries
	savedRarely = 10 * time.Second       // and without
	lastWords   = 2 * time.Second        // for requests under way when the delivery stops
	looks       = time.Minute            // between looks at the age of what waits
	callsBefore = 20_000                 // events read again at the start to learn which calls Zammad knows
)

// counts are the metrics of a hook, and what else stays when it begins anew.
type counts struct {
	delivered, failed, retried, dead, lost, waiting atomic.Int64
	noRoom                                          atomic.Bool
}

// delivery sends the events of one hook. Its goroutine, run, has what is below goroutine.
type delivery struct {
	sender  *Sender
	id      string
	target  target
	log     *slog.Logger
	counts  *counts
	letters *letters
	off     atomic.Pointer[string] // why it is disabled; nil: it is not
	reason  atomic.Pointer[string] // why the last attempt failed; nil after a success
	making  chan struct{}          // has room for one: the bodies of an owner are made one at a time
	change  *sync.Mutex            // held while the hook is replaced or removed, by which stop is guarded
	stop    context.CancelFunc     // nil while it does not run
	done    chan struct{}

	replayed chan struct{} // has one if a dead letter has been delivered: the receiver is not down

	// goroutine
	read    uint64          // the last event that was read
	resume  uint64          // the last that was read before the start
	old     map[uint64]bool // that waited then, and are not read again yet
	calls   *calls          // of the format zammad
	rows    map[string]*row
	due     rows
	waiting int
	busy    int
	held    int             // octets of bodies that rows hold
	pause   time.Time       // no request before
	failing map[string]bool // rows that have failed since the last success; at most rowsDown
	rounds  int             // requests that have failed since the receiver is down
	success time.Time       // the last one
	looked  time.Time       // at the age of what waits
	results chan attempt
	dirty   bool // delivered since the position was saved
	moved   bool // read since then
	saved   time.Time
}

// run delivers until ctx ends, the log is closed, or the hook is disabled. After a panic it begins again at the position
// that the log has.
func (d *delivery) run(ctx context.Context) {
	for d.panics(ctx) {
		select {
		case <-ctx.Done():
			return
		case <-time.After(longPause):
		}
		if err := d.begin(); err != nil {
			d.log.Error("could not store the state of a webhook", "err", err)
		}
	}
}

// panics delivers, and reports whether that has ended with a panic.
func (d *delivery) panics(ctx context.Context) (panicked bool) {
	defer share.Survive(d.log, "webhook", func(error) { panicked = true })
	d.deliver(ctx)
	return false
}

// deliver is run without panics.
func (d *delivery) deliver(ctx context.Context) {
	d.rows, d.failing, d.results = map[string]*row{}, map[string]bool{}, make(chan attempt, atATime)
	d.due, d.waiting, d.busy, d.held = nil, 0, 0, 0
	d.rewind()
	sending, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var group sync.WaitGroup
	defer group.Wait()
	defer cancel()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for open := true; open && d.off.Load() == nil && !d.lapses(); {
		grown := d.sender.log.Grown()
		open = d.fill()
		d.expire(time.Now())
		d.launch(sending, &group)
		d.save(false)
		d.counts.waiting.Store(int64(d.waiting))
		timer.Reset(d.idle())
		if d.waiting >= mostWaiting {
			grown = nil
		}
		select {
		case <-ctx.Done():
			open = false
		case a := <-d.results:
			d.finish(a)
		case <-d.replayed:
			d.succeed(1, true, time.Now())
		case <-grown:
		case <-timer.C:
		}
	}
	last := time.AfterFunc(lastWords, cancel)
	defer last.Stop()
	for d.busy > 0 {
		if a := <-d.results; sending.Err() == nil || a.reason == "" {
			d.finish(a)
		} else {
			d.busy--
		}
	}
	d.save(true)
}

// lapses disables the hook if its owner is not identified any more as when it was added.
func (d *delivery) lapses() bool {
	err := d.sender.lapsed(d.target.hook)
	if err == nil {
		return false
	}
	why := err.Error()
	d.off.Store(&why)
	d.log.Warn("webhook disabled: its owner could not add it any more", "why", why)
	return true
}

// fill reads events until enough wait. It returns false if the log is closed.
func (d *delivery) fill() bool {
	for d.waiting < mostWaiting {
		entries, gap, err := d.sender.log.Read(d.read, readAtOnce)
		if err != nil {
			return false
		}
		if gap {
			d.log.Warn("webhook missed events: they had left the event log")
			first, _ := d.sender.log.Bounds()
			if len(entries) > 0 {
				first = entries[0].Seq
			}
			if first-1 < d.read { // the position is of another log
				d.resume = first - 1
			}
			d.read, d.moved = first-1, true
			for seq := range d.old {
				if seq < first {
					delete(d.old, seq)
					d.counts.lost.Add(1)
				}
			}
		}
		if len(entries) == 0 {
			return true
		}
		for i := range entries {
			d.take(&entries[i])
		}
	}
	return true
}

// take puts an event into its row, if the hook wants it.
func (d *delivery) take(e *eventlog.Entry) {
	fresh := e.Seq > d.resume || d.old[e.Seq]
	delete(d.old, e.Seq)
	d.read, d.moved = e.Seq, true
	if !d.target.wants(e.Device, e.Kind) || !d.sender.may(d.target.hook.Owner, e) {
		return
	}
	if d.calls == nil {
		if fresh {
			d.wait(e.Device, item{e.Seq, e.Time, nil})
		}
		return
	}
	for _, made := range d.calls.next(e) {
		if fresh {
			d.wait(made.call, item{e.Seq, e.Time, made.body})
		}
	}
}

// wait adds an event to a row.
func (d *delivery) wait(key string, i item) {
	r := d.rows[key]
	if r == nil {
		r = &row{key: key, due: time.Now()}
		d.rows[key] = r
	}
	r.items = append(r.items, i)
	if d.waiting++; len(r.items) == 1 {
		heap.Push(&d.due, r)
	}
}
