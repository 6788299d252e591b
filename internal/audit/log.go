package audit

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Log is an open audit file. A nil Log takes everything and writes nothing.
//
// Entries are numbered and written in the order in which they are given to it: by one goroutine,
// which writes all that waits by one write(2), and then tells whoever waits for that. So an entry
// costs a part of a write(2), and nobody waits for a disk: fsync comes a second later.
type Log struct {
	path  string
	chain *chain  // the writer's; guarded by mu where others look at its cfg
	kept  []Entry // the writer's: they have happened, and could not be written yet

	wake   chan struct{}
	synced chan error // of the fsync that runs
	moves  chan move
	done   chan struct{}

	lines, refused atomic.Int64

	mu      sync.Mutex
	next    *Receipt // of what waits for the writer
	waiting int      // octets that wait, or are kept
	pending int64    // entries that do
	missing int64    // entries that could not be written, and of which the file does not tell
	cause   string   // why entries are missing
	failing *Failure // nil while the file can be written
	closed  bool
}

// Failure is why the file cannot be written.
type Failure struct {
	Err   error
	Since time.Time
	is    error
}

func (f *Failure) Error() string {
	return fmt.Sprintf("%v since %s: %v", f.is, f.Since.UTC().Format(time.RFC3339), f.Err)
}

// Unwrap returns ErrFull, or ErrStrangersFull, and why.
func (f *Failure) Unwrap() []error { return []error{f.is, f.Err} }

const (
	maxWaiting = 8 << 20         // octets of entries that wait, or have happened and are kept until the file can be written
	patience   = 5 * time.Second // of whoever waits for an entry
	period     = time.Second     // of fsync, and of trying a file again that could not be written
)

// Why an entry is not in the file.
var (
	ErrFull          = errors.New("the audit file cannot be written")
	ErrStrangersFull = errors.New("the audit file of strangers cannot be written")

	errSlow = fmt.Errorf("the disk has not answered for %v", patience)
	errGone = errors.New("the file was moved away or removed, with all lines before this one")
)

// Open opens the file for appending, or makes it. A line that was torn when the process died is
// cut off; what may be missing is written down.
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

// Receipt is for an entry that is on its way into the file. That of nil is in it.
type Receipt struct {
	entries []Entry
	until   time.Time // somebody waits for it
	done    chan struct{}
	err     error // once done is closed
}

func newReceipt() *Receipt { return &Receipt{done: make(chan struct{})} }

// Wait waits until the entry has been given to the system, by write(2), or cannot be.
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

// Add writes an entry before what it tells is done, and returns once it is in the file. On an
// error that must not be done.
func (l *Log) Add(e Entry) error {
	e.asked = true
	err := l.put(e).Wait()
	if errors.Is(err, errSlow) { // the writer, who hangs, cannot tell
		l.fail(err)
	}
	return err
}

// Note writes an entry about what has happened, and does not wait for that. While the file cannot
// be written it keeps a bounded number of them, and counts the others.
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
	if len(l.next.entries) == 0 {
		l.next.until = now.Add(patience)
	}
	l.waiting += e.weight
	l.pending++
	l.next.entries = append(l.next.entries, e)
	if l.failing != nil {
		return failed // nobody is to wait in vain
	}
	select {
	case l.wake <- struct{}{}:
	default: // it is awake
	}
	return l.next
}

// failed is the receipt of what is not in the file.
var failed = func() *Receipt {
	r := newReceipt()
	r.err = ErrFull
	close(r.done)
	return r
}()

// Close writes what waits, and returns once it is on the disk, or the disk has not answered for a
// while.
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
		l.chain.cfg.Log.Error("the audit file could not be closed", "file", l.path, "err", errSlow, "missing", l.missing+l.pending)
		return l.failing
	}
	return l.Failing()
}

// Failing returns why the file cannot be written; nil while it can.
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

// Counts returns how many lines have been written, and how many entries could not be.
func (l *Log) Counts() (lines, refused int64) {
	if l == nil {
		return 0, 0
	}
	return l.lines.Load(), l.refused.Load()
}
