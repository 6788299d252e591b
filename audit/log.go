package audit

import (
	"bufio"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// Entry is one line. Hash and what it is made of are filled in when it is written.
type Entry struct {
	Number       int64     `json:"number"`
	Time         time.Time `json:"time"`
	Kind         string    `json:"kind"` // opened, identified, closed, refused, asked, done, unlocked
	Who          string    `json:"who,omitempty"`
	How          string    `json:"how,omitempty"`
	Front        string    `json:"front,omitempty"`
	Peer         string    `json:"peer,omitempty"`
	Session      string    `json:"session,omitempty"` // correlates
	Service      string    `json:"service,omitempty"`
	Devices      []string  `json:"devices,omitempty"`
	Destinations []string  `json:"destinations,omitempty"`
	Connections  []string  `json:"connections,omitempty"` // callID@device
	Outcome      string    `json:"outcome,omitempty"`     // ok, or the error
	Reason       string    `json:"reason,omitempty"`
	Before       string    `json:"before"` // the hash of the line before
	Hash         string    `json:"hash,omitempty"`
}

// Config says where and how much is kept. Zero values take defaults.
type Config struct {
	Path    string // of the file that is written; older ones have a number behind it
	Key     []byte // of the hashes: without it nobody can make new ones; nil: plain hashes
	MaxSize int64  // of a file, in octets; 100 MiB
	Keep    int    // older files; 10
	Log     *slog.Logger
}

// Log is an open audit file. A nil Log takes everything and writes nothing.
type Log struct {
	cfg   Config
	queue chan Entry
	done  chan struct{}

	mu     sync.Mutex
	broken error // why nothing can be written; nil while it can
	closed bool

	file   *os.File // the rest is the writer's
	out    *bufio.Writer
	size   int64
	number int64
	last   string
	kept   []Entry // written, but perhaps not on the disk
}

const queueLength = 10000

// ErrFull says that the file cannot be written as fast as things happen, or not at all.
var ErrFull = errors.New("the audit file cannot be written")

// Open opens the file for appending, or makes it, for its owner only. A line that was torn
// when the process died is cut off, with a warning.
func Open(cfg Config) (*Log, error) {
	if cfg.MaxSize == 0 {
		cfg.MaxSize = 100 << 20
	}
	if cfg.Keep == 0 {
		cfg.Keep = 10
	}
	l := &Log{cfg: cfg, queue: make(chan Entry, queueLength), done: make(chan struct{})}
	if err := l.resume(); err != nil {
		return nil, err
	}
	go l.write()
	return l, nil
}

// resume finds out where the chain ends.
func (l *Log) resume() error {
	if info, err := os.Stat(l.cfg.Path); err == nil && !info.Mode().IsRegular() { // a device may never end
		return fmt.Errorf("%s: is no regular file; the chain of lines can only be kept in one", l.cfg.Path)
	}
	f, err := os.OpenFile(l.cfg.Path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	l.file, l.out = f, bufio.NewWriterSize(f, 64<<10)
	whole := int64(0)
	r := bufio.NewReaderSize(f, 64<<10)
	for {
		line, err := r.ReadBytes('\n')
		if err != nil {
			if len(line) > 0 {
				l.cfg.Log.Warn("the last line of the audit file was torn, and is cut off", "file", l.cfg.Path)
				if err := f.Truncate(whole); err != nil {
					return err
				}
			}
			break
		}
		var e Entry
		if err := json.Unmarshal(line, &e); err != nil {
			return fmt.Errorf("%s: at octet %d: %w; look with: tr87proxy audit verify", l.cfg.Path, whole, err)
		}
		l.number, l.last = e.Number, e.Hash
		whole += int64(len(line))
	}
	l.size = whole
	if whole > 0 {
		return nil
	}
	if files := older(l.cfg.Path); len(files) > 0 { // the chain goes on from the youngest
		end, err := Verify(l.cfg.Key, files[len(files)-1:])
		l.number, l.last = end.Number, end.Hash
		return err
	}
	return nil
}

// Add writes an entry. It does not block: when the file cannot be written it says ErrFull,
// and nothing should be done that was to be written down.
func (l *Log) Add(e Entry) error {
	if l == nil {
		return nil
	}
	e.Time = time.Now().UTC()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || l.broken != nil {
		return ErrFull
	}
	select {
	case l.queue <- e:
		return nil
	default:
		return ErrFull
	}
}

// Close writes what waits, and returns once it is on the disk.
func (l *Log) Close() error {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	if !l.closed {
		l.closed = true
		close(l.queue)
	}
	l.mu.Unlock()
	<-l.done
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.broken
}

const pause = 5 * time.Second // before a file that could not be written is tried again

func (l *Log) write() {
	defer close(l.done)
	flush := time.NewTicker(time.Second)
	defer flush.Stop()
	dirty := false
	for {
		var err error
		select {
		case e, open := <-l.queue:
			if !open {
				l.fail(errors.Join(l.sync(), l.file.Close()))
				return
			}
			err, dirty = l.append(e), true
		case <-flush.C:
			if dirty {
				err, dirty = l.sync(), false
			}
		}
		if len(l.kept) >= 1000 {
			err = errors.Join(err, l.sync())
		}
		for err != nil && l.fail(err) {
			time.Sleep(pause)
			err = l.reopen()
		}
	}
}

// fail notes that the file cannot be written, or that it can again; it reports whether to
// go on trying.
func (l *Log) fail(err error) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil && l.broken == nil {
		l.cfg.Log.Error("the audit file cannot be written: what would be written down is refused", "file", l.cfg.Path, "err", err)
	}
	l.broken = err
	return !l.closed
}

// reopen goes on with what is in the file, and writes what is not.
func (l *Log) reopen() error {
	_ = l.file.Close()
	if err := l.resume(); err != nil {
		return err
	}
	kept := l.kept
	l.kept = nil
	for i, e := range kept {
		if e.Number <= l.number {
			continue
		}
		if err := l.append(e); err != nil {
			l.kept = kept[i:]
			return err
		}
	}
	l.cfg.Log.Info("the audit file can be written again", "file", l.cfg.Path)
	l.fail(nil)
	return nil
}

func (l *Log) sync() error {
	err := errors.Join(l.out.Flush(), l.file.Sync())
	if err == nil {
		l.kept = nil
	}
	return err
}

func (l *Log) append(e Entry) error {
	l.number++
	e.Number, e.Before = l.number, l.last
	line, err := seal(l.cfg.Key, &e)
	if err != nil {
		return err
	}
	l.last = e.Hash
	l.kept = append(l.kept, e)
	if l.size > 0 && l.size+int64(len(line)) > l.cfg.MaxSize {
		if err := l.rotate(); err != nil {
			return err
		}
	}
	l.size += int64(len(line))
	_, err = l.out.Write(line)
	return err
}

// seal gives an entry its hash, and returns its line.
func seal(key []byte, e *Entry) ([]byte, error) {
	e.Hash = ""
	e.encodable()
	plain, err := json.Marshal(e)
	if err != nil {
		return nil, err
	}
	e.Hash = digest(key, plain)
	line, err := json.Marshal(e)
	return append(line, '\n'), err
}

// encodable replaces octets that are no UTF-8 by U+FFFD, as JSON does: in the line that is read
// they are that, and its hash must be that of what is read.
func (e *Entry) encodable() {
	valid := func(text string) string { return strings.ToValidUTF8(text, "\uFFFD") }
	for _, text := range []*string{&e.Kind, &e.Who, &e.How, &e.Front, &e.Peer, &e.Session, &e.Service, &e.Outcome, &e.Reason} {
		*text = valid(*text)
	}
	for _, list := range []*[]string{&e.Devices, &e.Destinations, &e.Connections} {
		*list = slices.Clone(*list) // which is not ours
		for i, text := range *list {
			(*list)[i] = valid(text)
		}
	}
}

func digest(key, plain []byte) string {
	var h hash.Hash
	if len(key) > 0 {
		h = hmac.New(sha256.New, key)
	} else {
		h = sha256.New()
	}
	h.Write(plain)
	return hex.EncodeToString(h.Sum(nil))
}

// rotate gives the file a number and begins a new one; the oldest goes.
func (l *Log) rotate() error {
	if err := errors.Join(l.sync(), l.file.Close()); err != nil {
		return err
	}
	if err := os.Rename(l.cfg.Path, fmt.Sprintf("%s.%d", l.cfg.Path, l.number-1)); err != nil {
		return err
	}
	files := older(l.cfg.Path)
	for len(files) > l.cfg.Keep {
		_ = os.Remove(files[0]) // it is tried again next time
		files = files[1:]
	}
	f, err := os.OpenFile(l.cfg.Path, os.O_RDWR|os.O_CREATE|os.O_APPEND|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	l.file, l.size = f, 0
	l.out.Reset(f)
	return nil
}

// older lists the files that were written before, the oldest first.
func older(path string) []string {
	names, _ := filepath.Glob(path + ".*")
	number := func(name string) (n int64) {
		_, _ = fmt.Sscan(strings.TrimPrefix(name, path+"."), &n)
		return n
	}
	names = slices.DeleteFunc(names, func(name string) bool { return number(name) == 0 })
	slices.SortFunc(names, func(a, b string) int { return int(number(a) - number(b)) })
	return names
}
