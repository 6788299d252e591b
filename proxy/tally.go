package proxy

import "sync"

// tally counts how many items each key holds. The zero value is empty.
type tally[K comparable] struct {
	mu    sync.Mutex
	count map[K]int
	all   int
}

// take counts one more for a key. It returns false if the key has reached most or all keys together
// have reached all.
func (t *tally[K]) take(who K, most, all int) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.count[who] >= most || t.all >= all {
		return false
	}
	if t.count == nil {
		t.count = map[K]int{}
	}
	t.count[who]++
	t.all++
	return true
}

// swap counts one less for a key and one more for another. It returns false, and changes nothing, if
// the other has reached most; it may be the same key.
func (t *tally[K]) swap(from, to K, most int) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if from != to && t.count[to] >= most {
		return false
	}
	if t.count[from]--; t.count[from] <= 0 {
		delete(t.count, from)
	}
	t.count[to]++
	return true
}

// give counts one less for a key.
func (t *tally[K]) give(who K) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.all--
	if t.count[who]--; t.count[who] <= 0 {
		delete(t.count, who)
	}
}

// total returns the count of all keys together.
func (t *tally[K]) total() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.all
}
