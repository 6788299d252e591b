package eventlog

import (
	"errors"
	"os"
	"sort"
	"sync/atomic"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/share"
)

// Status is how a log is doing.
type Status struct {
	Entries int    // that are kept
	Octets  int64  // of these
	Failing bool   // the file cannot be written
	Dropped uint64 // entries that were dropped because the queue was full
	Lost    uint64 // entries that are not in the file because it could not be written in time
}

// status is the state of the writer: next is its own, the others are read by others.
type status struct {
	next    uint64 // number of the next entry
	entries atomic.Int64
	octets  atomic.Int64
	failing atomic.Bool
	dropped atomic.Uint64
	lost    atomic.Uint64
}

// Status returns how the log is doing.
func (l *Log) Status() Status {
	s := &l.status
	return Status{Entries: int(s.entries.Load()), Octets: s.octets.Load(), Failing: s.failing.Load(), Dropped: s.dropped.Load(), Lost: s.lost.Load()}
}

// queue is what waits for the writer.
type queue struct {
	appends []appended
	puts    []put
	count   int    // entries
	octets  int64  // of these
	dropped uint64 // entries since the last of appends that found no room
}

type appended struct {
	entries []Entry
	done    func(uint64, error)
	skipped uint64 // entries before these that found no room
	first   uint64 // number of the first
}

type put struct {
	bucket, key string
	value       []byte // nil: delete
	done        chan error
}

const (
	period  = time.Second // between attempts to write a file that cannot be written, and between looks at the age
	atLeast = 1000        // entries that a transaction may drop, beside twice those that it adds
)

// run is the writer's goroutine.
func (l *Log) run() {
	tick := time.NewTicker(period)
	defer tick.Stop()
	w := &writer{Log: l}
	for open := true; open; {
		retry := true
		select {
		case _, open = <-l.wake:
			retry = !open
		case <-tick.C:
		}
		w.turn(retry)
	}
	v := *l.view.Load()
	v.open = false
	l.view.Store(&v)
	close(v.grown)
}

// writer has what only the writer's goroutine uses.
type writer struct {
	*Log

	tail   []Entry
	octets int64 // of the tail
	failed error // why the file could not be written the last time
}

// turn commits what waits. Without retry it leaves a file alone that could not be written.
func (w *writer) turn(retry bool) {
	w.mu.Lock()
	q := w.queue
	w.queue = queue{dropped: q.dropped}
	w.mu.Unlock()
	defer share.Survive(w.log, "event log", func(err error) { settle(q.puts, err) })
	old := len(w.tail)
	for i := range q.appends {
		w.number(&q.appends[i])
	}
	grown := len(w.tail) > old
	switch {
	case w.store == nil:
	case retry || w.failed == nil:
		w.commit(q.puts)
	default:
		settle(q.puts, w.failed)
	}
	w.publish(grown)
	for _, a := range q.appends {
		w.tell(a)
	}
}

// number adds entries to the tail.
func (w *writer) number(a *appended) {
	next := &w.status.next
	if a.skipped > 0 {
		*next += a.skipped
		w.status.dropped.Add(a.skipped)
		w.log.Error("dropped events: event log does not keep up", "events", a.skipped)
	}
	a.first = *next
	for _, e := range a.entries {
		if e.Time.IsZero() {
			e.Time = time.Now()
		}
		e.number(*next)
		*next++
		w.tail = append(w.tail, e)
		w.octets += e.size()
	}
}

// tell calls done.
func (w *writer) tell(a appended) {
	defer share.Survive(w.log, "event log", nil)
	if a.done != nil {
		a.done(a.first, w.failed)
	}
}

// settle returns the outcome of puts that have none yet.
func settle(puts []put, err error) {
	for _, p := range puts {
		select {
		case p.done <- err:
		default:
		}
	}
}

// commit writes to the file what is not there yet, and drops what exceeds the limits.
func (w *writer) commit(puts []put) {
	s := w.store
	missing := w.tail[sort.Search(len(w.tail), func(i int) bool { return w.tail[i].Seq >= s.next }):]
	if len(missing) == 0 && len(puts) == 0 && w.failed == nil && !s.kept.exceeds(w.limits, time.Now()) {
		return
	}
	more, err := s.write(missing, puts, w.limits)
	settle(puts, err)
	switch {
	case err != nil && w.failed == nil:
		w.log.Error("could not write event log; keeping events in memory", "file", s.path, "err", errors.Join(err, os.WriteFile(s.mark(), nil, 0o600)))
	case err == nil && w.failed != nil:
		_ = os.Remove(s.mark())
		w.log.Info("event log is written again", "file", s.path, "lost", w.status.lost.Load())
	}
	w.failed = err
	w.status.failing.Store(err != nil)
	if more {
		w.mu.Lock()
		if !w.closed {
			w.stir()
		}
		w.mu.Unlock()
	}
}

// publish shows readers what there is now.
func (w *writer) publish(grown bool) {
	entries, octets := tailSize, int64(tailOf)
	var age time.Time
	if w.store == nil {
		entries, octets, age = w.limits.Entries, w.limits.Octets, time.Now().Add(-w.limits.Age)
	}
	drop := 0
	for ; drop < len(w.tail) && (len(w.tail)-drop > entries || w.octets > octets || w.tail[drop].Time.Before(age)); drop++ {
		w.octets -= w.tail[drop].size()
		if w.store != nil && w.tail[drop].Seq >= w.store.next {
			w.status.lost.Add(1)
		}
	}
	w.tail = w.tail[drop:]
	old := w.view.Load()
	v := &view{first: w.status.next, last: old.last, tail: w.tail, grown: old.grown, open: true}
	if len(w.tail) > 0 {
		v.first, v.last = w.tail[0].Seq, w.tail[len(w.tail)-1].Seq
	}
	count, size := int64(len(w.tail)), w.octets
	if w.store != nil {
		if count, size = int64(w.store.kept.count), w.store.kept.octets; count > 0 {
			v.first = w.store.kept.first
		} else if w.failed == nil {
			v.first = w.status.next
		}
	}
	if v.first == w.status.next {
		v.last = v.first - 1
	}
	w.status.entries.Store(count)
	w.status.octets.Store(size)
	if !grown && drop == 0 && v.first == old.first {
		return
	}
	if grown {
		v.grown = make(chan struct{})
	}
	w.view.Store(v)
	if grown {
		close(old.grown)
	}
}
