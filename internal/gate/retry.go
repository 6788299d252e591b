package gate

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/share"
)

// Guard does something, and returns its error; a panic in it is one, too, and in the log. what says
// what is being done.
func Guard(log *slog.Logger, what string, do func() error) (err error) {
	defer share.Survive(log, what, func(panicked error) { err = panicked })
	return do()
}

// BackOff is how long to wait before something that has failed is tried again: twice as long each
// time, give or take a half, so that those who failed together do not come back together.
type BackOff struct {
	First, Most time.Duration
	last        time.Duration // 0: it has not failed
}

// Next returns the next pause.
func (b *BackOff) Next() time.Duration {
	b.last = min(max(2*b.last, b.First), b.Most)
	return b.last/2 + rand.N(b.last) //nolint:gosec // jitter
}

// Reset says that it has worked: the next pause is about First.
func (b *BackOff) Reset() { b.last = 0 }

// Sleep waits, and reports whether ctx has not ended.
func Sleep(ctx context.Context, pause time.Duration) bool {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
