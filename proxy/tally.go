package proxy

import "sync"

// tally counts what each of many has. The zero value has counted nothing.
type tally struct {
	mu    sync.Mutex
	count map[string]int
}

// take counts one more, unless there are as many as may be.
func (t *tally) take(who string, most int) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.count[who] >= most {
		return false
	}
	if t.count == nil {
		t.count = map[string]int{}
	}
	t.count[who]++
	return true
}

// give takes one back.
func (t *tally) give(who string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.count[who]--; t.count[who] <= 0 {
		delete(t.count, who)
	}
}
