package proxy

import "sync"

// rank is the place of a lock in the order in which one goroutine takes them: whoever holds one
// takes those of higher rank only, and no second one of the same. HACKING.md says what each guards.
type rank int

const (
	ofPublishing rank = 1 + iota // condition.telling: what clients are told of a link's state
	ofShared                     // of a monitor, a listing, a registration: what has clients and a link
	ofRelief                     // Proxy.relief
	ofProxy                      // Proxy.mu
	ofSession                    // Session.mu
	ofManaged                    // trunk.mu
	ofLife                       // life.mu, turns.mu, calls.mu: nothing is called while they are held
)

// lock is a mutex with a rank.
type lock struct {
	sync.Mutex
	rank rank
}

// checkLocks is told of each lock that is taken, or given back; tests set it.
var checkLocks func(r rank, taken bool)

func (l *lock) Lock() {
	if checkLocks != nil {
		checkLocks(l.rank, true)
	}
	l.Mutex.Lock()
}

func (l *lock) Unlock() {
	l.Mutex.Unlock()
	if checkLocks != nil {
		checkLocks(l.rank, false)
	}
}
