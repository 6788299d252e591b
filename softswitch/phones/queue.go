package phones

import (
	"log/slog"
	"math"
	"sync"

	"github.com/tr87proxy/tr87proxy/internal/share"
)

// queue has tasks done one after the other, on a goroutine that lives as long as there are any.
// After a panic in one of them the next is done.
type queue struct {
	log    *slog.Logger
	what   string            // is done, for the log
	start  func(func()) bool // starts a goroutine; false when the server closes
	failed func(error)       // is told of a panic; nil: nobody
	// pressed holds a value when something urgent may wait for the task that is being done; nil:
	// nobody looks.
	pressed chan struct{}

	mu      sync.Mutex
	urgent  []func() // done before the others
	tasks   []func()
	running bool
	over    bool // nothing is done any more
}

const (
	maxTasks  = 256 // that wait
	maxUrgent = 256
)

// do has a task done behind all others; false when too many wait.
func (q *queue) do(task func()) bool { return q.add(&q.tasks, task, maxTasks) }

// soon has a task done before those that wait; false when too many such do.
func (q *queue) soon(task func()) bool {
	taken := q.add(&q.urgent, task, maxUrgent)
	select {
	case q.pressed <- struct{}{}:
	default:
	}
	return taken
}

// presses reports whether something urgent waits.
func (q *queue) presses() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.urgent) > 0
}

// must is do for what has to be done, and cannot become much: it does not count.
func (q *queue) must(task func()) bool { return q.add(&q.tasks, task, math.MaxInt) }

// finish takes nothing any more, unless something waits; false if so.
func (q *queue) finish() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.over = len(q.urgent)+len(q.tasks) == 0
	return q.over
}

func (q *queue) add(list *[]func(), task func(), most int) bool {
	q.mu.Lock()
	if q.over || len(*list) >= most {
		q.mu.Unlock()
		return false
	}
	*list = append(*list, task)
	idle := !q.running
	q.running = true
	q.mu.Unlock()
	if idle && !q.start(q.run) { // the server closes: nothing that is left takes time
		q.run()
	}
	return true
}

// run does what is to be done.
func (q *queue) run() {
	for task := q.next(); task != nil; task = q.next() {
		q.perform(task)
	}
}

func (q *queue) next() (task func()) {
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

func (q *queue) perform(task func()) {
	defer share.Survive(q.log, q.what, q.failed)
	task()
}
