package trace

import (
	"bufio"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
)

// longestLine is how long a line of a file is at most; each octet of a message takes six at most.
const longestLine = 1 << 20

// ReadFile calls each with the records of a file and of the older ones beside it that a filter selects, the oldest first, until it
// returns an error. A record is selected, too, if another of its exchange is. It returns how many lines are no records: the last
// one can be half written.
func ReadFile(path string, f Filter, each func(*Record) error) (unread int, err error) {
	if _, err := os.Stat(path); err != nil {
		return 0, err
	}
	chosen := map[exchange]bool{}
	if f != (Filter{Since: f.Since, Oldest: f.Oldest}) {
		if _, err := walk(path, func(r *Record, of exchange) error {
			if r.Exchange != 0 && f.matches(r) {
				chosen[of] = true
			}
			return nil
		}); err != nil {
			return 0, err
		}
	}
	return walk(path, func(r *Record, of exchange) error {
		if r.Time.Before(f.Since) || !f.matches(r) && !chosen[of] {
			return nil
		}
		return each(r)
	})
}

// exchange names an exchange: their numbers begin anew with each run of the proxy.
type exchange struct {
	run    int
	number uint64
}

// walk calls each with all records of the files.
func walk(path string, each func(*Record, exchange) error) (unread int, err error) {
	n := 0
	for ; ; n++ {
		if _, err := os.Stat(older(path, n+1)); err != nil {
			break
		}
	}
	w := walker{each: each}
	for ; n >= 0; n-- {
		if err := w.file(older(path, n)); err != nil && !errors.Is(err, fs.ErrNotExist) { // it may be renamed meanwhile
			return w.unread, err
		}
	}
	return w.unread, nil
}

// walker goes through files.
type walker struct {
	each   func(*Record, exchange) error
	unread int
	run    int
	last   uint64 // number of the record before
}

func (w *walker) file(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, longestLine)
	for lines.Scan() {
		var r Record
		if json.Unmarshal(lines.Bytes(), &r) != nil {
			w.unread++
			continue
		}
		if r.Number < w.last {
			w.run++
		}
		w.last = r.Number
		if err := w.each(&r, exchange{w.run, r.Exchange}); err != nil {
			return err
		}
	}
	return lines.Err()
}
