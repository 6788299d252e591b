package events

import (
	"sync"
	"sync/atomic"

	"github.com/tr87proxy/tr87proxy/policy"
)

// roster numbers devices, so that a set of them takes a bit each. It is safe for concurrent use.
type roster struct {
	mu      sync.RWMutex
	numbers map[string]int
	devices []string // by number; only appended to

	compared atomic.Uint64 // devices that lists of patterns have been compared with
}

// maxRoster is how many devices have a number. Those that find no room are compared each time.
const maxRoster = 5 * maxWatched

// number returns the number of a device, which it gives it if it has none; -1: there is no room.
func (r *roster) number(device string) int {
	r.mu.RLock()
	n, known := r.numbers[device]
	full := len(r.devices) >= maxRoster
	r.mu.RUnlock()
	switch {
	case known:
		return n
	case full:
		return -1
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if n, known = r.numbers[device]; known {
		return n
	}
	n = len(r.devices)
	r.numbers[device] = n
	r.devices = append(r.devices, device)
	return n
}

// all returns the devices by number.
func (r *roster) all() []string {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.devices
}

// matches is which devices match one of some patterns. Each device is compared with them once. It is safe for concurrent
// use.
type matches struct {
	roster   *roster
	patterns *policy.Devices

	mu    sync.Mutex
	upTo  int      // the devices below this number have been compared
	found []uint64 // a bit for each of them
}

func (r *roster) matches(patterns []string) *matches {
	return &matches{roster: r, patterns: policy.CompileDevices(patterns)}
}

// learn compares the devices that are not compared yet.
func (m *matches) learn() {
	if m.patterns.All() {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.extend()
}

// extend is learn. Callers hold mu.
func (m *matches) extend() {
	devices := m.roster.all()
	for ; m.upTo < len(devices); m.upTo++ {
		if m.upTo/64 >= len(m.found) {
			m.found = append(m.found, 0)
		}
		if m.compare(devices[m.upTo]) {
			m.found[m.upTo/64] |= 1 << (m.upTo % 64)
		}
	}
}

func (m *matches) compare(device string) bool {
	m.roster.compared.Add(1)
	return m.patterns.Match(device)
}

// mark sets which of the devices, by their numbers, match.
func (m *matches) mark(wanted []bool, devices []string) {
	for n, device := range devices {
		wanted[n] = wanted[n] || m.has(device, n)
	}
}

// has reports whether a device matches.
func (m *matches) has(device string, number int) bool {
	if m.patterns.All() {
		return true
	}
	if number < 0 {
		return m.compare(device)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if number >= m.upTo {
		m.extend()
	}
	return m.found[number/64]&(1<<(number%64)) != 0
}
