package proxy

import "sync"

// tally counts what each of many has. The zero value has counted nothing.
type tally[K comparable] struct {
	mu    sync.Mutex
	count map[K]int
	all   int
}

// take counts one more, unless there are as many as one may have, or all together.
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

// give takes one back.
func (t *tally[K]) give(who K) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.all--
	if t.count[who]--; t.count[who] <= 0 {
		delete(t.count, who)
	}
}

// total is what all have together.
func (t *tally[K]) total() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.all
}
