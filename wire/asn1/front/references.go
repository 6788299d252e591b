package front

import (
	"fmt"
	"math"
	"strconv"
	"sync"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// references are the monitor cross references of a client. Its programs expect two octets, which the core's do not fit in.
type references struct {
	mu    sync.Mutex
	own   map[string]uint16 // the client's, by the core's
	cores map[uint16]string // the core's, by the client's; "": its monitor is being started
	last  uint16
}

// core returns the core's cross reference for one of the client's; ref itself if the client has no such monitor.
func (r *references) core(ref string) string {
	n, err := strconv.ParseUint(ref, 16, 16)
	r.mu.Lock()
	defer r.mu.Unlock()
	if known := r.cores[uint16(n)]; known != "" && err == nil {
		return known
	}
	return ref
}

// reserve returns a free cross reference for a monitor that is being started; 0: there is none.
func (r *references) reserve() uint16 {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.cores) == math.MaxUint16 {
		return 0
	}
	if r.cores == nil {
		r.own, r.cores = map[string]uint16{}, map[uint16]string{}
	}
	for used := true; used || r.last == 0; {
		r.last++
		_, used = r.cores[r.last]
	}
	r.cores[r.last] = ""
	return r.last
}

// release frees the cross reference of a monitor that was not started.
func (r *references) release(own uint16) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.cores, own)
}

// set makes a reserved cross reference stand for the core's.
func (r *references) set(ref string, own uint16) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.own[ref], r.cores[own] = own, ref
}

// rename replaces the core's cross reference in a message by the client's.
func (r *references) rename(m *uacsta.Message) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n, ok := r.own[m.CrossRef()]; ok {
		m.SetCrossRef(fmt.Sprintf("%04X", n))
	}
}

// remove frees the cross reference that stands for the core's.
func (r *references) remove(ref string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n, ok := r.own[ref]; ok {
		delete(r.cores, n)
		delete(r.own, ref)
	}
}
