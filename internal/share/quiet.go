package share

import (
	"context"
	"log/slog"
)

// Quiet returns a logger that writes one line a second of those with equal level and message.
// The attribute suppressed counts the lines omitted before. It is for messages that a peer can
// cause at will. Debug lines are not limited.
func Quiet(log *slog.Logger) *slog.Logger {
	return slog.New(&quiet{log.Handler(), &LogLimit[line]{}})
}

// line identifies equal lines.
type line struct {
	level slog.Level
	text  string
}

type quiet struct {
	slog.Handler

	hush *LogLimit[line]
}

// Handle implements slog.Handler.
func (q *quiet) Handle(ctx context.Context, r slog.Record) error {
	if r.Level < slog.LevelInfo {
		return q.Handler.Handle(ctx, r)
	}
	ok, suppressed := q.hush.Allow(line{r.Level, r.Message}, r.Time)
	if !ok {
		return nil
	}
	if suppressed > 0 {
		r = r.Clone()
		r.AddAttrs(slog.Int("suppressed", suppressed))
	}
	return q.Handler.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (q *quiet) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &quiet{q.Handler.WithAttrs(attrs), q.hush}
}

// WithGroup implements slog.Handler.
func (q *quiet) WithGroup(name string) slog.Handler {
	return &quiet{q.Handler.WithGroup(name), q.hush}
}
