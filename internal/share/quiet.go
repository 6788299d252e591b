package share

import (
	"context"
	"log/slog"
)

// Quiet returns a logger that says equal things once a second: of lines with the same text one,
// with the number of those that were not written before it as the attribute untold. For what a
// peer can make us say as often as it likes. Lines for debugging are all written.
func Quiet(log *slog.Logger) *slog.Logger {
	return slog.New(&quiet{log.Handler(), &Hush[line]{}})
}

// line is what makes lines equal.
type line struct {
	level slog.Level
	text  string
}

type quiet struct {
	slog.Handler

	hush *Hush[line]
}

// Handle implements slog.Handler.
func (q *quiet) Handle(ctx context.Context, r slog.Record) error {
	if r.Level < slog.LevelInfo {
		return q.Handler.Handle(ctx, r)
	}
	tell, untold := q.hush.Tell(line{r.Level, r.Message}, r.Time)
	if !tell {
		return nil
	}
	if untold > 0 {
		r = r.Clone()
		r.AddAttrs(slog.Int("untold", untold))
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
