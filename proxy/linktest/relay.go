package linktest

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
)

// A Relay forwards the octets between a link, which connects to it, and its switching function. It can
// cut the connection after any octet.
type Relay struct {
	to       string
	listener net.Listener
	group    sync.WaitGroup

	mu      sync.Mutex
	changed *sync.Cond
	closed  bool
	stalled bool
	pairs   map[*pair]struct{}
	passed  [2]int // octets in each direction
	left    [2]int // octets that may still pass in each direction; -1: any number
}

// The directions.
const (
	toSwitch = iota
	toLink
)

// pair is a connection of the link and the one to the switching function.
type pair struct{ link, peer net.Conn }

func (p *pair) close() {
	_ = p.link.Close()
	_ = p.peer.Close()
}

// NewRelay starts a relay to a TCP address. It stops when the test ends.
func NewRelay(t testing.TB, to string) *Relay {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &Relay{to: to, listener: l, pairs: map[*pair]struct{}{}, left: [2]int{-1, -1}}
	r.changed = sync.NewCond(&r.mu)
	r.group.Go(r.accept)
	t.Cleanup(r.close)
	return r
}

// Address returns the address for the link to connect to.
func (r *Relay) Address() string { return r.listener.Addr().String() }

func (r *Relay) accept() {
	for {
		link, err := r.listener.Accept()
		if err != nil {
			return
		}
		peer, err := (&net.Dialer{}).DialContext(context.Background(), "tcp", r.to)
		if err != nil {
			_ = link.Close()
			continue
		}
		p := &pair{link, peer}
		r.mu.Lock()
		if r.closed {
			p.close()
		}
		r.pairs[p] = struct{}{}
		r.mu.Unlock()
		r.group.Go(func() { r.carry(p, toSwitch, link, peer) })
		r.group.Go(func() { r.carry(p, toLink, peer, link) })
	}
}

// carry copies octets in one direction until either connection ends.
func (r *Relay) carry(p *pair, way int, from io.Reader, to io.Writer) {
	defer func() {
		p.close()
		r.mu.Lock()
		delete(r.pairs, p)
		r.changed.Broadcast()
		r.mu.Unlock()
	}()
	buffer := make([]byte, 4096)
	for {
		n, err := from.Read(buffer)
		if err != nil {
			return
		}
		r.mu.Lock()
		for r.stalled && !r.closed && r.has(p) {
			r.changed.Wait()
		}
		r.mu.Unlock()
		n, cut := r.take(way, n)
		if _, err := to.Write(buffer[:n]); err != nil || cut {
			return
		}
	}
}

// has reports whether a connection has not been cut. The caller holds r.mu.
func (r *Relay) has(p *pair) bool {
	_, ok := r.pairs[p]
	return ok
}

// take counts octets, and returns how many may pass and whether to cut the connection then.
func (r *Relay) take(way, n int) (passes int, cut bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.left[way] >= 0 {
		if n >= r.left[way] {
			n, cut = r.left[way], true
			r.left = [2]int{-1, -1}
		} else {
			r.left[way] -= n
		}
	}
	r.passed[way] += n
	return n, cut
}

// passes returns how many octets have passed in each direction.
func (r *Relay) passes() [2]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.passed
}

// cutAfter cuts the connection after so many more octets in one direction.
func (r *Relay) cutAfter(way, octets int) {
	r.mu.Lock()
	r.left[way] = octets
	r.mu.Unlock()
	if octets == 0 {
		r.cut()
	}
}

// cut cuts all connections and cancels cutAfter.
func (r *Relay) cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.left = [2]int{-1, -1}
	for p := range r.pairs {
		p.close()
	}
	clear(r.pairs)
	r.changed.Broadcast()
}

// stall stops the octets of both directions, or lets them pass again.
func (r *Relay) stall(on bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stalled = on
	r.changed.Broadcast()
}

// inject sends octets to the link that the switching function did not write.
func (r *Relay) inject(octets []byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all error
	for p := range r.pairs {
		_, err := p.link.Write(octets)
		all = errors.Join(all, err)
	}
	return all
}

func (r *Relay) close() {
	_ = r.listener.Close()
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.cut()
	r.group.Wait()
}
