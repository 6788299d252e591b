package audit

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Log is an open audit log. A nil Log accepts everything and writes nothing. It is safe for
// concurrent use.
//
// Entries are numbered and written in the order in which they were added. One goroutine writes
// all waiting entries with one write(2) and then wakes the waiting callers, so callers share
// the cost and do not wait for the disk: fsync follows within a second.
type Log struct {
	path  string
	chain *chain  // used by the writer; guarded by mu where others read its cfg
	kept  []Entry // used by the writer only: entries of Note that could not be written yet

	wake   chan struct{}
	synced chan error // result of the fsync in progress
	moves  chan move
	done   chan struct{}

	lines, refused atomic.Int64

	mu      sync.Mutex
	next    *Receipt // for the entries waiting for the writer
	waiting int      // octets waiting or kept
	pending int64    // entries waiting or kept
	missing int64    // entries lost and not yet recorded in the file
	cause   string   // why entries are missing
	failing *Failure // nil while the file can be written
	closed  bool
}

// Failure describes why the file cannot be written.
type Failure struct {
	Err   error
	Since time.Time
	is    error
}

func (f *Failure) Error() string {
	return fmt.Sprintf("%v since %s: %v", f.is, f.Since.UTC().Format(time.RFC3339), f.Err)
}

// Unwrap returns ErrFull or ErrStrangersFull, and the cause.
func (f *Failure) Unwrap() []error { return []error{f.is, f.Err} }

const (
	maxWaiting = 8 << 20         // octets of entries that wait, or are kept until the file can be written
	patience   = 5 * time.Second // maximum wait of a caller
	period     = time.Second     // between fsyncs, and between attempts to write after a failure
)

// Why an entry is not in the file.
var (
	ErrFull          = errors.New("the audit file cannot be written")
	ErrStrangersFull = errors.New("the audit file of strangers cannot be written")

	errSlow = fmt.Errorf("the disk did not respond for %v", patience)
	errGone = errors.New("the file was moved or removed, with all lines before this one")
)

// Open opens the file for appending, or creates it. It removes an incomplete last line, and
// records that entries may be missing.
func Open(cfg Config) (*Log, error) { return open(cfg, openFile) }

func open(cfg Config, opener func(string) (file, error)) (*Log, error) {
	cfg.setDefaults()
	l := &Log{
		path: cfg.Path, chain: &chain{cfg: cfg, open: opener}, next: newReceipt(),
		wake: make(chan struct{}, 1), synced: make(chan error), moves: make(chan move), done: make(chan struct{}),
	}
	left, err := l.chain.begin()
	if err != nil {
		if l.chain.file != nil {
			_ = l.chain.file.Close() // nothing was written
		}
		return nil, err
	}
	if left != "" {
		l.Note(Entry{Kind: "gap", Reason: left})
	}
	go l.run()
	return l, nil
}

// Receipt is the state of an entry on its way to the file. A nil Receipt counts as written.
type Receipt struct {
	entries []Entry
	until   time.Time // deadline of a waiting caller
	done    chan struct{}
	err     error // valid once done is closed
}

func newReceipt() *Receipt { return &Receipt{done: make(chan struct{})} }

// Wait waits until the entry was written with write(2), or returns why it cannot be.
func (r *Receipt) Wait() error {
	if r == nil {
		return nil
	}
	select {
	case <-r.done:
		return r.err
	default:
	}
	timer := time.NewTimer(time.Until(r.until))
	defer timer.Stop()
	select {
	case <-r.done:
		return r.err
	case <-timer.C:
		return errSlow
	}
}

// Add writes an entry before the action that it describes, and waits until it is in the file.
// On an error the action must not happen.
func (l *Log) Add(e Entry) error {
	e.asked = true
	err := l.put(e).Wait()
	if errors.Is(err, errSlow) { // the writer hangs and cannot report it
		l.fail(err)
	}
	return err
}

// Note writes an entry about something that has happened, without waiting. While the file
// cannot be written, a bounded number of entries is kept and the others are counted.
func (l *Log) Note(e Entry) *Receipt { return l.put(e) }

func (l *Log) put(e Entry) *Receipt {
	if l == nil {
		return nil
	}
	now := time.Now()
	if e.Time.IsZero() {
		e.Time = now
	}
	e.Time, e.weight = e.Time.UTC(), e.size()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || e.asked && l.failing != nil || l.waiting+e.weight > maxWaiting {
		if l.cause == "" {
			l.cause = "more was to be written than the disk could take"
		}
		l.missing++
		l.refused.Add(1)
		return failed
	}
	if l.next.until.IsZero() { // the writer's own entries may be first, and nobody waits for them
		l.next.until = now.Add(patience)
	}
	l.waiting += e.weight
	l.pending++
	l.next.entries = append(l.next.entries, e)
	if l.failing != nil {
		return failed // do not let the caller wait in vain
	}
	select {
	case l.wake <- struct{}{}:
	default: // already awake
	}
	return l.next
}

// failed is the receipt of an entry that is not in the file.
var failed = func() *Receipt {
	r := newReceipt()
	r.err = ErrFull
	close(r.done)
	return r
}()

// Close writes the waiting entries and closes the file. It waits for the disk, but not longer
// than 5 s.
func (l *Log) Close() error {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	if !l.closed {
		l.closed = true
		close(l.wake)
	}
	l.mu.Unlock()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-l.done:
	case <-timer.C:
		l.fail(errSlow)
		l.mu.Lock()
		defer l.mu.Unlock()
		l.chain.cfg.Log.Error("could not close audit file", "file", l.path, "err", errSlow, "missing", l.missing+l.pending)
		return l.failing
	}
	return l.Failing()
}

// Failing returns why the file cannot be written, or nil.
func (l *Log) Failing() error {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failing == nil {
		return nil
	}
	return l.failing
}

// Counts returns how many lines were written and how many entries could not be.
func (l *Log) Counts() (lines, refused int64) {
	if l == nil {
		return 0, 0
	}
	return l.lines.Load(), l.refused.Load()
}
