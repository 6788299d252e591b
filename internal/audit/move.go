package audit

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// move asks the writer to continue in another file, or, without a chain, to change the limits of the same one.
type move struct {
	chain *chain
	cfg   Config
	done  chan struct{}
}

// Why a log cannot go on in a file.
var (
	errOneKey   = errors.New("an audit file has one key: name another file with the new key")
	errSameFile = errors.New("is one of the files that are written now, by another name")
)

// Foresee returns why [Log.Move], and that of the Tally beside the log, would fail, as far as this can be known without
// opening a file for writing: it changes nothing. It does not notice that another process writes to a file.
func (l *Log) Foresee(cfg Config) error {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	path, key := l.path, l.chain.cfg.Key
	l.mu.Unlock()
	if cfg.Path == path {
		if string(cfg.Key) != string(key) {
			return errOneKey
		}
		return nil
	}
	for _, next := range []string{cfg.Path, TallyPath(cfg.Path)} {
		for _, now := range []string{path, TallyPath(path)} {
			if next == now || same(next, now) {
				return fmt.Errorf("%s %w", next, errSameFile)
			}
		}
		if err := usable(next); err != nil {
			return err
		}
	}
	return nil
}

// same reports whether two names are of one file.
func same(one, other string) bool {
	a, errA := os.Stat(one)
	b, errB := os.Stat(other)
	return errA == nil && errB == nil && os.SameFile(a, b)
}

// usable returns why a chain cannot begin in a file, or continue there. It only reads.
func usable(path string) error {
	whole := int64(0)
	switch info, err := os.Stat(path); {
	case errors.Is(err, os.ErrNotExist):
		at := path
		if target, err := os.Readlink(path); err == nil { // the file that it names is created
			if at = target; !filepath.IsAbs(target) {
				at = filepath.Join(filepath.Dir(path), target)
			}
		}
		if err := creatable(filepath.Dir(at)); err != nil {
			return &os.PathError{Op: "create", Path: path, Err: err}
		}
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return notRegular(path)
	default:
		if err := writable(path); err != nil {
			return &os.PathError{Op: "open", Path: path, Err: err}
		}
		e, err := endOfFile(path)
		if err != nil {
			return err
		}
		whole = e.whole
	}
	if files := older(path); whole == 0 && len(files) > 0 {
		_, err := endOfFile(files[len(files)-1])
		return err
	}
	return nil
}

// Move continues the log in the file of cfg, and loses no entry: entries noted before are in the old file, whose last line
// names the new one, and later ones are in the new file, whose first line names the old one. If cfg has the path of the
// current file, Move only changes MaxSize and Keep; the key cannot change. If Move returns an error, the log goes on in
// the old file.
func (l *Log) Move(cfg Config) error {
	if l == nil {
		return nil
	}
	cfg.setDefaults()
	l.mu.Lock()
	now, opener, path := l.chain.cfg, l.chain.open, l.path
	l.mu.Unlock()
	cfg.Log, cfg.strangers = now.Log, now.strangers
	m := move{cfg: cfg, done: make(chan struct{})}
	taken, left := false, ""
	if cfg.Path != path {
		m.chain = &chain{cfg: cfg, open: opener}
		defer func() {
			if !taken && m.chain.file != nil { // it has at most the line that it was started
				_ = m.chain.file.Close()
			}
		}()
		var err error
		if left, err = m.chain.begin(); err != nil {
			return err
		}
		started := []Entry{{Kind: "started", Time: time.Now().UTC(), Reason: "goes on from " + path}}
		if _, err = m.chain.write(started); err != nil { // a full disk: the old file stays in use
			return err
		}
	} else if string(cfg.Key) != string(now.Key) {
		return errOneKey
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case l.moves <- m:
		taken = true
	case <-l.done:
		return errors.New("the audit file is closed")
	case <-timer.C: // the disk of the old file does not respond
		return errSlow
	}
	<-m.done
	if m.chain != nil {
		l.lines.Add(1) // started
	}
	if left != "" {
		l.Note(Entry{Kind: "gap", Reason: left})
	}
	return nil
}

// moved carries out a move, on the writer's goroutine. It reports whether the file then cannot be written.
func (l *Log) moved(m move, failing bool) bool {
	defer close(m.done)
	if m.chain == nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.chain.cfg.MaxSize, l.chain.cfg.Keep = m.cfg.MaxSize, m.cfg.Keep
		return failing
	}
	if !failing {
		l.mu.Lock()
		l.pending++
		l.next.entries = append(l.next.entries, Entry{Kind: "stopped", Time: time.Now().UTC(), Reason: "goes on in " + m.cfg.Path})
		l.mu.Unlock()
		failing = !l.flush(false)
	}
	old := l.chain
	if old.file != nil {
		if err := errors.Join(old.file.Sync(), old.file.Close()); err != nil {
			old.cfg.Log.Error("audit file left behind: its last lines may not be on the disk", "file", old.cfg.Path, "err", err)
		}
	}
	l.mu.Lock()
	l.chain, l.path = m.chain, m.cfg.Path
	l.mu.Unlock()
	m.cfg.Log.Info("audit file changed", "from", old.cfg.Path, "to", m.cfg.Path)
	return !l.flush(failing) // also writes the entries that the old file could not take
}

// Move continues the strangers' file beside the audit file of cfg, as [Log.Move].
func (t *Tally) Move(cfg Config) error {
	if t == nil {
		return nil
	}
	return t.log.Move(cfg.ofTally())
}
