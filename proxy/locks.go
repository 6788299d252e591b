package proxy

import "sync"

// rank is the position of a lock in the lock order. A goroutine that holds a lock may take locks of
// higher rank only, and no second one of the same rank. HACKING.md says what each lock guards.
type rank int

const (
	ofPublishing rank = 1 + iota // condition.publishing: held while clients are told a link's state
	ofShared                     // monitor, listing, router: what connects clients with a link
	ofRelief                     // Proxy.relief
	ofProxy                      // Proxy.mu
	ofSession                    // Session.mu
	ofManaged                    // managedLink.mu
	ofLife                       // life.mu, turns.mu, calls.mu: nothing is called while they are held
)

// lock is a mutex with a rank.
type lock struct {
	sync.Mutex
	rank rank
}

// checkLocks is called whenever a lock is taken or released. Tests set it.
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
