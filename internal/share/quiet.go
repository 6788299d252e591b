package share

import (
	"context"
	"fmt"
	"log/slog"
)

// Quiet returns a logger for messages that a peer can cause at will. Loggers that With makes of it
// are about one subject each, such as a device. Of each level and message, Quiet writes one line
// a second for each subject and ten a second in all, so that no subject hides another. The
// attribute suppressed counts the lines omitted before. It remembers 1000 pairs of message and
// subject. Debug lines are not limited.
func Quiet(log *slog.Logger) *slog.Logger {
	return slog.New(&quiet{log.Handler(), "", &PeerLog[string]{}})
}

type quiet struct {
	slog.Handler

	subject string // the attributes of With
	limit   *PeerLog[string]
}

// Handle implements slog.Handler.
func (q *quiet) Handle(ctx context.Context, r slog.Record) error {
	if r.Level < slog.LevelInfo {
		return q.Handler.Handle(ctx, r)
	}
	ok, suppressed := q.limit.allow(q.subject, r.Level.String()+" "+r.Message, r.Time)
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
	return &quiet{q.Handler.WithAttrs(attrs), q.subject + fmt.Sprint(attrs), q.limit}
}

// WithGroup implements slog.Handler.
func (q *quiet) WithGroup(name string) slog.Handler {
	return &quiet{q.Handler.WithGroup(name), q.subject, q.limit}
}
