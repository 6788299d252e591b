package proxy

import (
	"sync"

	"github.com/tr87proxy/tr87proxy/internal/gate"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// Inbox has things done one after another, by the one goroutine that calls Run: for links whose
// switching function is a state of their own. The zero value takes nothing.
//
// A link calls Open when its life begins, gives the deliverer to what reads the connection, and
// then calls Run, which returns when the life ends. Requests come by Do. Do takes them from Open on,
// also before the link is ready: a link that is not ready refuses them itself.
//
// Inbox: the link keeps call state; one goroutine does everything. [Outbox]: the link passes events
// on from several goroutines.
type Inbox struct {
	mu    sync.Mutex
	tasks chan task   // of the last life that was opened; nil: there was none
	open  bool        // something is taken
	fail  func(error) // is told of a panic; nil: nobody recovers it
}

// task is something to be done.
type task struct {
	what   func()
	refuse func(error) // takes why it is not done; nil: it is done for certain
}

// inboxLength is how many things may wait to be done.
const inboxLength = 1024

// Open takes things from now on; Run does them. It returns the deliverer of this life: see Deliverer.
func (i *Inbox) Open() (deliver func(what func())) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.tasks, i.open = make(chan task, inboxLength), true
	return deliverer(i.tasks)
}

// deliverer puts things among the tasks of a life, and blocks until there is room.
func deliverer(tasks chan<- task) func(what func()) {
	return func(what func()) { tasks <- task{what: what} }
}

// Guard has a panic in what is done recovered: fail is told, and sees to it that ended says soon
// that no more will come. What was delivered until then is done nevertheless.
func (i *Inbox) Guard(fail func(error)) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.fail = fail
}

// Do has something done, or calls refuse with why not: gate.ErrClosed where Inbox is not open, or its
// life ends before it is done; or gate.ErrTooManyWaiting. It does not block.
func (i *Inbox) Do(what func(), refuse func(error)) {
	i.mu.Lock()
	err := gate.ErrClosed
	if i.open {
		select {
		case i.tasks <- task{what, refuse}:
			err = nil
		default:
			err = gate.ErrTooManyWaiting
		}
	}
	i.mu.Unlock()
	if err != nil {
		refuse(err)
	}
}

// Post has something done that nobody waits for.
func (i *Inbox) Post(what func()) { i.Do(what, func(error) {}) }

// Deliverer returns what has things done for certain in the life that Open has begun, and blocks until
// there is room: for what comes before the end that Run waits for. It panics before the first Open.
func (i *Inbox) Deliverer() func(what func()) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.tasks == nil {
		panic("proxy: Inbox.Deliverer before Inbox.Open")
	}
	return deliverer(i.tasks)
}

// Run does what is to be done until ended says why no more will come. Then it refuses what came by Do
// and still waits, does what was delivered, and returns; nothing is done after it.
func (i *Inbox) Run(ended <-chan error) error {
	i.mu.Lock()
	tasks, fail := i.tasks, i.fail
	i.mu.Unlock()
	for {
		select {
		case t := <-tasks:
			guarded(t.what, fail)
		case err := <-ended:
			i.mu.Lock()
			i.open = false
			i.mu.Unlock()
			for {
				select {
				case t := <-tasks:
					guarded(t.end, fail)
				default:
					return err
				}
			}
		}
	}
}

// end is what becomes of a task when the life has ended.
func (t task) end() {
	if t.refuse != nil {
		t.refuse(gate.ErrClosed)
		return
	}
	t.what()
}

// Answer takes the answer to a service: a struct, or an error, which becomes a refusal by [Refusal].
type Answer func(res any, err error)

// Perform reads a request for a link that carries services out itself: do gets a pointer to the
// service's struct (*uacsta.MakeCall), and what makes its answer the reply. Perform refuses what is no
// service of CSTA, or cannot be read; do itself answers the services that the link does not have, with
// serviceNotSupported.
func Perform(req *uacsta.Message, reply func(*uacsta.Message, error), do func(service any, answer Answer)) {
	service := uacsta.New(req.Name())
	if service == nil {
		reply(nil, uacsta.Refuse(uacsta.Operation, uacsta.ServiceNotSupported))
		return
	}
	if err := req.Decode(service); err != nil {
		reply(nil, err)
		return
	}
	do(service, func(res any, err error) {
		if err != nil {
			reply(nil, Refusal(err))
			return
		}
		reply(uacsta.Encode(res, uacsta.Edition6), nil)
	})
}
