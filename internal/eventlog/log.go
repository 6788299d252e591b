package eventlog

import (
	"bytes"
	"errors"
	"log/slog"
	"sort"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/share"
)

// Entry is an event.
type Entry struct {
	Seq    uint64    // its number; set by the log
	Time   time.Time // when it was; zero: the log takes the time of Append
	Device string    // canonical number of the device that it is about
	Kind   string    // type of the event
	Data   []byte    // a JSON object. Readers get it with the members id and seq in front; nobody may change it.
}

// Limits says how much a log keeps. What exceeds a limit is dropped, the oldest first.
type Limits struct {
	Entries int           // 0: 100 000
	Octets  int64         // of entries; 0: 256 MiB, and 32 MiB in memory. The file may be about a third larger.
	Age     time.Duration // 0: 24 h
	// Unsynced leaves to the operating system when it writes the file to the disk.
	Unsynced bool
}

// The maximum sizes.
const (
	MaxData  = 1 << 20 // octets of Data of one entry, and of one value
	maxName  = 1 << 10 // octets of Device, Kind, and of keys
	queued   = 20_000  // entries that wait to be committed
	queuedOf = 32 << 20
	tailSize = 10_000 // entries of a file that are in memory, too
	tailOf   = 16 << 20
	overhead = 64 // octets that an entry counts beside its texts
)

// Errors of a log.
var (
	ErrFull    = errors.New("the event log does not keep up")
	ErrClosed  = errors.New("the event log is closed")
	ErrInvalid = errors.New("not an entry: data must be a JSON object of at most 1 MiB, device and kind short")
)

// Log is an event log. It is safe for concurrent use. [Open] returns one.
type Log struct {
	limits Limits
	log    *slog.Logger
	store  *store // nil: in memory
	view   atomic.Pointer[view]
	group  sync.WaitGroup

	mu     sync.Mutex
	queue  queue
	closed bool
	wake   chan struct{}
	values map[string]map[string][]byte // of a log in memory, by bucket and key

	status status // of the writer
}

// view is what readers see. It does not change.
type view struct {
	first uint64 // number of the oldest entry that is kept; last+1 if none is
	last  uint64
	tail  []Entry       // the newest entries, in order
	grown chan struct{} // closed when there is a newer view with more entries
	open  bool
}

// Open opens a log in a file, and creates the file if there is none. A damaged file gets another name; what can be read
// of it is in the new log. Open reads the whole file. It fails at once if another process has the file open. With an
// empty path the log is in memory. log gets at most one line a second of each kind.
func Open(path string, limits Limits, log *slog.Logger) (*Log, error) {
	if limits.Entries <= 0 {
		limits.Entries = 100_000
	}
	if limits.Octets <= 0 {
		limits.Octets = 256 << 20
		if path == "" {
			limits.Octets = 32 << 20
		}
	}
	if limits.Age <= 0 {
		limits.Age = 24 * time.Hour
	}
	l := &Log{limits: limits, log: share.Quiet(log), wake: make(chan struct{}, 1), values: map[string]map[string][]byte{}}
	next := fresh(0)
	v := &view{first: next, last: next - 1, grown: make(chan struct{}), open: true}
	if path != "" {
		var err error
		if l.store, err = open(path, limits.Unsynced, l.log); err != nil {
			return nil, err
		}
		next = l.store.next
		if v.first, v.last = next, next-1; l.store.kept.count > 0 {
			v.first, v.last = l.store.kept.first, l.store.kept.last
		}
	}
	l.status.next = next
	l.view.Store(v)
	l.group.Go(l.run)
	return l, nil
}

// fresh returns a number that no log has had before, and that is greater than last.
func fresh(last uint64) uint64 { return max(last+1, uint64(max(time.Now().UnixMicro(), 1))) }

// Append appends entries, all or none. It does not wait: it returns [ErrFull] if too much waits to be committed, and
// then the next reader is told of a gap; [ErrInvalid]; or [ErrClosed]. Otherwise done, unless nil, is called on the
// goroutine of the log when readers can see the entries: with the number of the first, the others follow it, and with an
// error if they are not in the file yet. Calls are in order. done must not block, nor call Put, Delete or Close. The log
// keeps Data.
func (l *Log) Append(entries []Entry, done func(first uint64, err error)) error {
	size := int64(0)
	for i := range entries {
		e := &entries[i]
		e.Data = bytes.TrimSpace(e.Data)
		if n := len(e.Data); n < 2 || n > MaxData || e.Data[0] != '{' || e.Data[n-1] != '}' || len(e.Device) > maxName || len(e.Kind) > maxName {
			return ErrInvalid
		}
		size += e.size()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.closed:
		return ErrClosed
	case len(entries) == 0 && done == nil:
		return nil
	case l.queue.count+len(entries) > queued || l.queue.octets+size > queuedOf || len(l.queue.appends) >= queued:
		l.queue.dropped += uint64(len(entries))
		return ErrFull
	}
	l.queue.count += len(entries)
	l.queue.octets += size
	l.queue.appends = append(l.queue.appends, appended{entries: entries, done: done, skipped: l.queue.dropped})
	l.queue.dropped = 0
	l.stir()
	return nil
}

// stir wakes the writer. Callers hold mu.
func (l *Log) stir() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

func (e *Entry) size() int64 { return int64(len(e.Data) + len(e.Device) + len(e.Kind) + overhead) }

// number gives an entry its number, which its data gets, too.
func (e *Entry) number(seq uint64) {
	e.Seq = seq
	e.Device = strings.Clone(e.Device) // may be part of a message
	rest := bytes.TrimLeft(e.Data[1:], " \t\r\n")
	data := make([]byte, 0, len(rest)+64)
	data = append(data, `{"id":"`...)
	data = strconv.AppendUint(data, seq, 10)
	data = append(data, `","seq":`...)
	data = strconv.AppendUint(data, seq, 10)
	if rest[0] != '}' {
		data = append(data, ',')
	}
	data = append(data, rest...)
	e.Data = data
}

// Read returns at most so many entries that follow position after, in order and without a gap between them; none if
// after is the newest. Position 0 is before the oldest entry that is kept. gap says that entries between after and the
// first one returned are not kept any more, or that after is no position in this log. If gap is true and there are no
// entries, all that followed after are gone: read on from the first of [Log.Bounds], minus 1. The only error is
// [ErrClosed].
func (l *Log) Read(after uint64, most int) (entries []Entry, gap bool, err error) {
	v := l.view.Load()
	if !v.open {
		return nil, false, ErrClosed
	}
	if after == v.last || most < 1 {
		return nil, false, nil
	}
	from := max(after+1, v.first)
	if after > v.last {
		from = v.first
	}
	if entries = v.from(from, most); entries == nil && l.store != nil {
		if entries, err = l.store.read(from, v.last, most); err != nil && l.view.Load().open {
			l.log.Error("could not read event log", "file", l.store.path, "err", err)
		}
		if len(entries) == 0 { // dropped meanwhile, or unreadable
			if v = l.view.Load(); len(v.tail) > 0 {
				entries = v.from(max(from, v.first, v.tail[0].Seq), most)
			}
		}
	}
	if len(entries) == 0 {
		return nil, after != 0 && v.first > v.last, nil
	}
	return entries, after != 0 && entries[0].Seq != after+1, nil
}

// from returns consecutive entries that begin at a number, or behind it where the numbers skip it; nil if that is not in
// memory.
func (v *view) from(seq uint64, most int) []Entry {
	if len(v.tail) == 0 || seq < v.tail[0].Seq {
		return nil
	}
	i := sort.Search(len(v.tail), func(i int) bool { return v.tail[i].Seq >= seq })
	end := i
	for end < len(v.tail) && end-i < most && (end == i || v.tail[end].Seq == v.tail[end-1].Seq+1) {
		end++
	}
	return v.tail[i:end:end]
}

// Bounds returns the numbers of the oldest entry that is kept, and of the newest. If none is kept, first is last+1.
func (l *Log) Bounds() (first, last uint64) {
	v := l.view.Load()
	return v.first, v.last
}

// Grown returns a channel that is closed when the log next grows, or closes. Get it before Read, and wait for it if Read
// returned nothing.
func (l *Log) Grown() <-chan struct{} { return l.view.Load().grown }

// Close commits what waits, and closes the log.
func (l *Log) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return ErrClosed
	}
	l.closed = true
	l.mu.Unlock()
	close(l.wake)
	l.group.Wait()
	if l.store == nil {
		return nil
	}
	return l.store.close()
}
