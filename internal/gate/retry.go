package gate

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/share"
)

// Guard runs do and returns its error. It logs a panic and returns it as an error. what names
// the work for the log.
func Guard(log *slog.Logger, what string, do func() error) (err error) {
	defer share.Survive(log, what, func(panicked error) { err = panicked })
	return do()
}

// BackOff computes the pauses before retries. They double from First to Most and vary by half,
// so that clients that failed together do not retry together.
type BackOff struct {
	First, Most time.Duration
	last        time.Duration // 0 after Reset
}

// Next returns the next pause.
func (b *BackOff) Next() time.Duration {
	b.last = min(max(2*b.last, b.First), b.Most)
	return b.last/2 + rand.N(b.last) //nolint:gosec // jitter
}

// Reset records a success: the next pause starts from First.
func (b *BackOff) Reset() { b.last = 0 }

// Sleep waits for pause. It returns false if ctx ended first.
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
