package share

import (
	"container/list"
	"context"
	"log/slog"
	"sync"
	"time"
)

// Hush keeps what happens again and again from filling the log: of equal things it lets one
// through in each period, with the number of those that were not told since. The zero value
// lets one a second through, and remembers 1000 kinds of things.
type Hush[K comparable] struct {
	Every time.Duration // 1 s
	Most  int           // kinds of things that are remembered; the one told longest ago goes first; 1000

	mu    sync.Mutex
	kinds map[K]*list.Element
	told  list.List // of *said, the one told longest ago first
}

type said[K comparable] struct {
	kind   K
	at     time.Time
	untold int
}

// Tell reports whether to tell of a thing now, and how many equal ones were not told before it.
func (h *Hush[K]) Tell(kind K, now time.Time) (tell bool, untold int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	every, most := h.Every, h.Most
	if every == 0 {
		every = time.Second
	}
	if most == 0 {
		most = 1000
	}
	if known := h.kinds[kind]; known != nil {
		s := known.Value.(*said[K])
		if now.Sub(s.at) < every {
			s.untold++
			return false, 0
		}
		untold = s.untold
		s.at, s.untold = now, 0
		h.told.MoveToBack(known)
		return true, untold
	}
	if h.kinds == nil {
		h.kinds = map[K]*list.Element{}
	}
	if len(h.kinds) >= most {
		delete(h.kinds, h.told.Remove(h.told.Front()).(*said[K]).kind)
	}
	h.kinds[kind] = h.told.PushBack(&said[K]{kind: kind, at: now})
	return true, 0
}

// Log writes a line of a kind in a log if it is one to tell, and reports whether it did. The
// attribute untold says how many equal ones were not told before it.
func (h *Hush[K]) Log(log *slog.Logger, level slog.Level, kind K, text string, args ...any) bool {
	tell, untold := h.Tell(kind, time.Now())
	if tell {
		log.Log(context.Background(), level, text, counted(args, untold)...)
	}
	return tell
}

// counted adds to the attributes of a line how many equal ones were not told before it.
func counted(args []any, untold int) []any {
	if untold == 0 {
		return args
	}
	return append(args, "untold", untold)
}
