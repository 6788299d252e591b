package proxy

import (
	"sync"

	"github.com/tr87proxy/tr87proxy/internal/gate"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// An Inbox runs tasks one after another, in the one goroutine that calls Run. It serves links that
// keep call state and let one goroutine do everything. (An [Outbox] serves links that pass on events
// from several goroutines.) The zero value refuses all tasks.
//
// In [Link.Run], a link calls Open, gives the returned function to whatever reads the connection, and
// then calls Run, which returns when the connection ends. Link.Request calls Do. Do accepts tasks from
// Open on, also before the link is ready: a link that is not ready refuses requests itself.
type Inbox struct {
	mu    sync.Mutex
	tasks chan task   // of the last Open; nil before the first
	open  bool        // Do accepts tasks
	fail  func(error) // receives panics; nil: they are not recovered
}

// task is a function to call.
type task struct {
	what   func()
	refuse func(error) // receives why what is not called; nil: it is called in any case
}

// inboxLength is how many tasks may wait.
const inboxLength = 1024

// Open starts to accept tasks, which Run calls. It returns a function like that of Deliverer.
func (i *Inbox) Open() (deliver func(what func())) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.tasks, i.open = make(chan task, inboxLength), true
	return deliverer(i.tasks)
}

// deliverer returns a function that adds tasks and blocks while there is no room.
func deliverer(tasks chan<- task) func(what func()) {
	return func(what func()) { tasks <- task{what: what} }
}

// Guard recovers panics of tasks and passes them to fail, which must make Run end: the channel ended
// gets an error. Tasks delivered until then still run.
func (i *Inbox) Guard(fail func(error)) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.fail = fail
}

// Do adds a task, without blocking. If the task is not going to run, Do or Run calls refuse with the
// reason: gate.ErrClosed if the Inbox is not open or Run ends first, gate.ErrTooManyWaiting if there
// is no room.
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

// Post is Do for a task that nobody waits for.
func (i *Inbox) Post(what func()) { i.Do(what, func(error) {}) }

// Deliverer returns a function that adds a task which runs in any case before Run returns. The
// function blocks while there is no room. It is for what a connection receives before its end; Run
// must not have returned. Deliverer panics before the first Open.
func (i *Inbox) Deliverer() func(what func()) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.tasks == nil {
		panic("proxy: Inbox.Deliverer before Inbox.Open")
	}
	return deliverer(i.tasks)
}

// Run calls the tasks until it receives the reason for the end from ended. Then it refuses the
// remaining tasks of Do, calls those of Deliverer, and returns the reason. No task runs after that.
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

// end handles a task that is left when Run ends.
func (t task) end() {
	if t.refuse != nil {
		t.refuse(gate.ErrClosed)
		return
	}
	t.what()
}

// Answer takes the response to a service: a struct of package uacsta, or an error, which [Refusal]
// converts.
type Answer func(res any, err error)

// Perform decodes a request for a link that carries out services itself. It calls do with a pointer to
// the service's struct, such as *uacsta.MakeCall, and with the function that sends the response to
// reply. Perform refuses a request that is no CSTA service or cannot be decoded; do itself must refuse
// services that the link does not support, with serviceNotSupported.
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
