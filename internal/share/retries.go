package share

import "time"

// Retries paces retries after errors that may be transient, such as those of reading a UDP
// socket, which can concern an earlier datagram. It is for one goroutine.
type Retries struct {
	Most int // consecutive errors after which to give up; 0 means 100, reached after about 90 s

	row int
}

const (
	freeFaults = 8 // consecutive errors without a pause
	firstPause = time.Millisecond
	mostPause  = time.Second
)

// Next counts an error and returns the pause before the next try, which doubles up to a second.
// again is false when there were too many errors in a row.
func (f *Retries) Next() (pause time.Duration, again bool) {
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

// Reset records a success.
func (f *Retries) Reset() { f.row = 0 }
