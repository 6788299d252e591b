package share

import (
	"container/list"
	"context"
	"log/slog"
	"sync"
	"time"
)

// LogLimit suppresses repeated log lines: it allows one line of each kind per period and counts
// the others. The zero value allows one line a second and remembers 1000 kinds. It is safe for
// concurrent use.
type LogLimit[K comparable] struct {
	Every time.Duration // period; 0 means 1 s
	Most  int           // kinds remembered; the one logged longest ago is forgotten first; 0 means 1000

	mu    sync.Mutex
	kinds map[K]*list.Element
	order list.List // of *logged, the one logged longest ago first
}

type logged[K comparable] struct {
	kind       K
	at         time.Time
	suppressed int
}

// Allow reports whether to log a line now, and how many of its kind were suppressed since the
// last one.
func (h *LogLimit[K]) Allow(kind K, now time.Time) (ok bool, suppressed int) {
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
		s := known.Value.(*logged[K])
		if now.Sub(s.at) < every {
			s.suppressed++
			return false, 0
		}
		suppressed = s.suppressed
		s.at, s.suppressed = now, 0
		h.order.MoveToBack(known)
		return true, suppressed
	}
	if h.kinds == nil {
		h.kinds = map[K]*list.Element{}
	}
	if len(h.kinds) >= most {
		delete(h.kinds, h.order.Remove(h.order.Front()).(*logged[K]).kind)
	}
	h.kinds[kind] = h.order.PushBack(&logged[K]{kind: kind, at: now})
	return true, 0
}

// Log writes a line if Allow permits it, and reports whether it did. The attribute suppressed
// counts the lines suppressed before it.
func (h *LogLimit[K]) Log(log *slog.Logger, level slog.Level, kind K, text string, args ...any) bool {
	ok, suppressed := h.Allow(kind, time.Now())
	if ok {
		log.Log(context.Background(), level, text, counted(args, suppressed)...)
	}
	return ok
}

// counted adds the attribute suppressed unless it is 0.
func counted(args []any, suppressed int) []any {
	if suppressed == 0 {
		return args
	}
	return append(args, "suppressed", suppressed)
}
