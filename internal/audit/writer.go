package audit

import (
	"errors"
	"fmt"
	"os"
	"time"
)

// run is the writer goroutine.
func (l *Log) run() {
	defer close(l.done)
	tick := time.NewTicker(period)
	defer tick.Stop()
	failing, dirty, syncing := false, false, false // dirty means that something was written since the last fsync started
	for {
		select {
		case _, open := <-l.wake:
			if !open {
				if syncing {
					failing = l.failed(<-l.synced) || failing
				}
				l.end(failing)
				return
			}
			if !failing { // otherwise the ticker retries
				failing, dirty = !l.flush(false), true
			}
		case <-tick.C:
			switch {
			case failing || l.lacks():
				failing, dirty = !l.flush(failing), true
			case !dirty || syncing:
			default:
				dirty, syncing = false, true
				go func(f file) { l.synced <- f.Sync() }(l.chain.file)
			}
		case m := <-l.moves:
			if syncing {
				syncing, failing = false, l.failed(<-l.synced) || failing
			}
			failing, dirty = l.moved(m, failing), true
		case err := <-l.synced:
			syncing = false
			failing = l.failed(err) || failing
		}
	}
}

// failed reports whether an fsync failed, and records that.
func (l *Log) failed(err error) bool {
	if err == nil || errors.Is(err, os.ErrClosed) { // rotation synchronised and closed this file
		return false
	}
	l.fail(err)
	return true
}

// end writes the remaining entries and closes the file.
func (l *Log) end(failing bool) {
	l.mu.Lock()
	l.next.entries = append(l.next.entries, Entry{Kind: "stopped", Time: time.Now().UTC()})
	l.mu.Unlock()
	written := l.flush(failing)
	if l.chain.file != nil {
		if err := errors.Join(l.chain.file.Sync(), l.chain.file.Close()); err != nil {
			l.fail(err)
		}
	}
	if !written {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.chain.cfg.Log.Error("audit file closed with missing entries", "file", l.path, "missing", l.missing+int64(len(l.kept)))
	}
}

// lacks reports whether entries are missing that the file does not record, or a caller has
// given up waiting.
func (l *Log) lacks() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.missing > 0 || l.failing != nil
}

// fail records that the file cannot be written.
func (l *Log) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failing != nil {
		return
	}
	l.failing = &Failure{err, time.Now(), ErrFull}
	l.cause = fmt.Sprintf("the file could not be written since %s: %v", l.failing.Since.UTC().Format(time.RFC3339), err)
	log := l.chain.cfg.Log
	if l.chain.cfg.strangers {
		l.failing.is = ErrStrangersFull
		log.Error("the audit file of strangers cannot be written: their actions are not recorded", "file", l.path, "err", err)
		return
	}
	log.Error("the audit file cannot be written: control requests are refused", "file", l.path, "err", err)
}

// flush writes all waiting entries, wakes their callers, and reports whether they were written.
// It checks each time whether the file is still at its path: lines written to a removed file
// are lost although their callers were told otherwise.
func (l *Log) flush(failing bool) bool {
	gone := !failing && l.chain.replaced()
	l.mu.Lock()
	receipt, missing := l.next, l.missing
	l.next = newReceipt()
	entries, gaps := l.kept, 0
	if gone && l.cause == "" {
		l.cause = errGone.Error()
	}
	if failing = failing || gone; failing || missing > 0 {
		entries, gaps = append([]Entry{{Kind: "gap", Time: time.Now().UTC(), Count: missing, Reason: l.cause}}, entries...), 1
	}
	l.mu.Unlock()
	if len(entries) == 0 {
		entries = receipt.entries // the usual case
	} else {
		entries = append(entries, receipt.entries...)
	}
	var err error
	written := 0
	if failing {
		err = l.chain.reopen()
	}
	if err == nil {
		written, err = l.chain.write(entries)
	}
	l.lines.Add(int64(written))
	if err != nil {
		l.fail(err)
	}
	l.settle(entries, gaps, written, missing, err == nil)
	receipt.entries, receipt.err = nil, err
	close(receipt.done)
	return err == nil
}

// settle handles the result of writing entries, of which written are in the file. It keeps the
// others if they describe something that has happened. Those of Add count as missing, and their
// actions are refused.
func (l *Log) settle(entries []Entry, gaps, written int, missing int64, all bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if written > 0 { // the first entry is the gap that records them
		l.missing -= missing
	}
	l.kept = nil
	for i := gaps; i < len(entries); i++ {
		switch e := &entries[i]; {
		case i < written:
			l.waiting -= e.weight
			l.pending--
		case e.asked:
			l.waiting -= e.weight
			l.pending--
			l.missing++
			l.refused.Add(1)
		default:
			l.kept = append(l.kept, *e)
		}
	}
	if !all {
		return
	}
	if l.failing != nil {
		l.failing = nil
		args := []any{"file", l.path, "missing", missing + l.missing}
		if l.chain.cfg.strangers {
			l.chain.cfg.Log.Info("the audit file of strangers can be written again", args...)
		} else {
			l.chain.cfg.Log.Info("the audit file can be written again", args...)
		}
	}
	if l.missing == 0 {
		l.cause = ""
	}
}
