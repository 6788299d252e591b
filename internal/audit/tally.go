package audit

import (
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Tally records what strangers do, in a log of its own, so that they cannot displace other
// entries. Of each peer it writes the first entry of a kind in a minute, and at the end of the
// minute how many more there were. A nil Tally accepts everything and writes nothing. It is
// safe for concurrent use.
type Tally struct {
	log     *Log
	counted atomic.Int64
	stop    chan struct{}
	done    chan struct{}

	mu     sync.Mutex
	peers  map[peer]*further
	others int64 // entries of peers beyond maxPeers
}

// peer identifies what is counted.
type peer struct{ kind, name string }

// further counts the entries after the first; front and reason are those of the last.
type further struct {
	count         int64
	front, reason string
}

const (
	maxPeers    = 500 // per minute
	tallyPeriod = time.Minute
	tallySize   = 10 << 20
	tallyKeep   = 4
)

// TallyPath returns the path of the Tally for an audit file.
func TallyPath(path string) string {
	extension := filepath.Ext(path)
	return strings.TrimSuffix(path, extension) + "-strangers" + extension
}

// OpenTally opens the Tally next to the audit file of cfg. It uses at most 50 MiB.
func OpenTally(cfg Config) (*Tally, error) { return openTally(cfg, openFile) }

func openTally(cfg Config, opener func(string) (file, error)) (*Tally, error) {
	log, err := open(cfg.ofTally(), opener)
	if err != nil {
		return nil, err
	}
	t := &Tally{log: log, stop: make(chan struct{}), done: make(chan struct{}), peers: map[peer]*further{}}
	go t.run()
	return t, nil
}

// ofTally is the configuration of the Tally beside an audit file.
func (c Config) ofTally() Config {
	c.Path, c.MaxSize, c.Keep, c.strangers = TallyPath(c.Path), tallySize, tallyKeep, true
	return c
}

// Note writes an entry about a peer, or counts it.
func (t *Tally) Note(name string, e Entry) {
	if t == nil {
		return
	}
	t.counted.Add(1)
	p := peer{e.Kind, name}
	t.mu.Lock()
	more, known := t.peers[p]
	first := !known && len(t.peers) < maxPeers
	switch {
	case known:
		more.count++
	case first:
		e.clip()
		t.peers[p] = &further{front: e.Front, reason: strings.Clone(e.Reason)}
	default:
		t.others++
	}
	t.mu.Unlock()
	if first {
		t.log.Note(e)
	}
}

func (t *Tally) run() {
	defer close(t.done)
	tick := time.NewTicker(tallyPeriod)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			t.sum()
		case <-t.stop:
			t.sum()
			return
		}
	}
}

// sum writes the counts and starts a new minute.
func (t *Tally) sum() {
	t.mu.Lock()
	peers, others := t.peers, t.others
	t.peers, t.others = map[peer]*further{}, 0
	t.mu.Unlock()
	for p, more := range peers {
		if more.count > 0 {
			t.log.Note(Entry{Kind: p.kind, Front: more.front, Peer: p.name, Reason: more.reason, Count: more.count})
		}
	}
	if others > 0 {
		t.log.Note(Entry{Kind: "others", Count: others, Reason: "of more peers than are counted one by one"})
	}
}

// Close writes the counts and closes the file.
func (t *Tally) Close() error {
	if t == nil {
		return nil
	}
	close(t.stop)
	<-t.done
	return t.log.Close()
}

// Failing returns why the file cannot be written, or nil.
func (t *Tally) Failing() error {
	if t == nil {
		return nil
	}
	return t.log.Failing()
}

// Counted returns the total number of entries.
func (t *Tally) Counted() int64 {
	if t == nil {
		return 0
	}
	return t.counted.Load()
}
