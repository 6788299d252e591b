// Package tasks runs tasks one after another: everything about one telephone, one call or one
// subscription happens in order, and no lock is held meanwhile.
package tasks

import (
	"log/slog"
	"math"
	"sync"

	"github.com/tr87proxy/tr87proxy/internal/share"
)

// Most is how many tasks wait in a queue, of each kind.
const Most = 256

// Queue runs tasks one after the other, on a goroutine that lives as long as there are any. After a
// panic in one of them the next one runs. Its fields are set before it is used.
type Queue struct {
	Log   *slog.Logger
	What  string            // what the tasks do, for the log
	Start func(func()) bool // starts a goroutine; false when its owner closes: the tasks that wait then run at once
	// Failed is called after a panic in a task; nil: nothing is.
	Failed func(error)
	// Pressed gets a value when something urgent may wait for the task that runs; nil: nobody looks. It
	// holds one value.
	Pressed chan struct{}

	mu      sync.Mutex
	urgent  []func() // run before the others
	tasks   []func()
	running bool
	closed  bool // nothing runs any more
}

// Do runs a task behind all others; false when Most wait: it does not run.
func (q *Queue) Do(task func()) bool { return q.add(&q.tasks, task, Most) }

// Soon runs a task before those that wait; false when Most such tasks wait: it does not run.
func (q *Queue) Soon(task func()) bool {
	taken := q.add(&q.urgent, task, Most)
	select {
	case q.Pressed <- struct{}{}:
	default:
	}
	return taken
}

// Presses reports whether a task of Soon waits.
func (q *Queue) Presses() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.urgent) > 0
}

// Must is Do without a bound, for tasks that must run and whose number is bounded by something else. It
// is false when Finish has closed the queue.
func (q *Queue) Must(task func()) bool { return q.add(&q.tasks, task, math.MaxInt) }

// Finish closes the queue, unless a task waits; false if one does.
func (q *Queue) Finish() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = len(q.urgent)+len(q.tasks) == 0
	return q.closed
}

func (q *Queue) add(list *[]func(), task func(), most int) bool {
	q.mu.Lock()
	if q.closed || len(*list) >= most {
		q.mu.Unlock()
		return false
	}
	*list = append(*list, task)
	idle := !q.running
	q.running = true
	q.mu.Unlock()
	if idle && !q.Start(q.run) { // the owner closes: no task that is left takes time
		q.run()
	}
	return true
}

func (q *Queue) run() {
	for task := q.next(); task != nil; task = q.next() {
		q.perform(task)
	}
}

func (q *Queue) next() (task func()) {
	q.mu.Lock()
	defer q.mu.Unlock()
	list := &q.urgent
	if len(*list) == 0 {
		list = &q.tasks
	}
	if len(*list) == 0 {
		q.running = false
		q.urgent, q.tasks = nil, nil
		return nil
	}
	task = (*list)[0]
	(*list)[0] = nil
	*list = (*list)[1:]
	return task
}

func (q *Queue) perform(task func()) {
	defer share.Survive(q.Log, q.What, q.Failed)
	task()
}
