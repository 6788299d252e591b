package proxy

import (
	"sync"

	"github.com/tr87proxy/tr87proxy/gate"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// Inbox has things done one after another, by the one goroutine that calls Run: for links whose
// switching function is a state of their own. The zero value takes nothing.
type Inbox struct {
	mu    sync.Mutex
	tasks chan func() // nil while nothing is taken
	fail  func(error) // is told of a panic; nil: nobody recovers it
}

// inboxLength is how many things may wait to be done.
const inboxLength = 1024

// Open takes things from now on; Run does them.
func (i *Inbox) Open() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.tasks = make(chan func(), inboxLength)
}

// Guard has a panic in what is done recovered: fail is told, and sees to it that ended says soon
// that no more will come. What waits until then is done nevertheless.
func (i *Inbox) Guard(fail func(error)) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.fail = fail
}

// Do has something done, or calls refuse with why not: gate.ErrClosed, or
// gate.ErrTooManyWaiting. It does not block.
func (i *Inbox) Do(what func(), refuse func(error)) {
	i.mu.Lock()
	err := gate.ErrClosed
	if i.tasks != nil {
		select {
		case i.tasks <- what:
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

// Deliverer returns what has things done for certain, and blocks until there is room: for what
// comes before the end that Run waits for.
func (i *Inbox) Deliverer() func(what func()) {
	i.mu.Lock()
	defer i.mu.Unlock()
	tasks := i.tasks
	return func(what func()) { tasks <- what }
}

// Run does what is to be done until ended says why no more will come; then what came before, and
// nothing after it.
func (i *Inbox) Run(ended <-chan error) error {
	i.mu.Lock()
	tasks, fail := i.tasks, i.fail
	i.mu.Unlock()
	for {
		select {
		case what := <-tasks:
			guarded(what, fail)
		case err := <-ended:
			i.mu.Lock()
			i.tasks = nil
			i.mu.Unlock()
			for {
				select {
				case what := <-tasks:
					guarded(what, fail)
				default:
					return err
				}
			}
		}
	}
}

// Answer takes the answer to a service: a struct, or a refusal.
type Answer func(res any, err error)

// Perform reads a request for a link that carries services out itself: do gets the service's
// struct, and what makes its answer the reply. What is no service is refused.
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
