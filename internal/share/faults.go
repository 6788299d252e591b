package share

import "time"

// Faults paces what is tried again after an error, such as reading a UDP socket, where an error may
// be about an earlier datagram, and the next read succeed. One goroutine uses it.
type Faults struct {
	Most int // errors in a row that end it; 0: 100, which takes a minute and a half

	row int
}

const (
	freeFaults = 8 // errors in a row without a pause
	firstPause = time.Millisecond
	mostPause  = time.Second
)

// Next takes an error, and returns how long to wait before the next try: twice as long each time,
// up to a second. again is false when there were too many in a row.
func (f *Faults) Next() (pause time.Duration, again bool) {
	most := f.Most
	if most == 0 {
		most = 100
	}
	f.row++
	if n := f.row - freeFaults - 1; n >= 0 {
		pause = min(firstPause<<min(n, 20), mostPause)
	}
	return pause, f.row < most
}

// Worked says that a try has succeeded.
func (f *Faults) Worked() { f.row = 0 }
