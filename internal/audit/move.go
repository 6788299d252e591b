package audit

import (
	"errors"
	"time"
)

// move tells the writer to go on in another file, or, without a chain, with other bounds in the same one.
type move struct {
	chain *chain
	cfg   Config
	done  chan struct{}
}

// errOneKey is why a file cannot get a second key.
var errOneKey = errors.New("an audit file has one key: name another file with the new key")

// Move goes on in the file of cfg, while entries are given to the log. Those given before are in the old file, whose
// last line names the new one; later ones are in the new file: none is lost between them. With the path of the file
// that is written, MaxSize and Keep hold from then on; its key cannot change. An error leaves everything as it was.
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
	left := ""
	if cfg.Path != path {
		m.chain = &chain{cfg: cfg, open: opener}
		var err error
		if left, err = m.chain.begin(); err != nil {
			m.chain.close()
			return err
		}
	} else if string(cfg.Key) != string(now.Key) {
		return errOneKey
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case l.moves <- m:
	case <-l.done:
		m.chain.close()
		return errors.New("the audit file is closed")
	case <-timer.C: // the disk of the old file does not answer
		m.chain.close()
		return errSlow
	}
	<-m.done
	if left != "" {
		l.Note(Entry{Kind: "gap", Reason: left})
	}
	return nil
}

// close closes the file of a chain that was not used; nil has none.
func (c *chain) close() {
	if c != nil && c.file != nil {
		_ = c.file.Close() // nothing was written
	}
}

// moved carries a move out, on the writer's goroutine, and reports whether the file cannot be written.
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
	return !l.flush(failing) // with the entries that the old one could not take
}

// Move goes on in the file beside the audit file of cfg.
func (t *Tally) Move(cfg Config) error {
	if t == nil {
		return nil
	}
	return t.log.Move(cfg.ofTally())
}
