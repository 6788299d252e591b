package share

import (
	"fmt"
	"log/slog"
	"runtime/debug"
)

// Survive is deferred where a goroutine begins, or a piece of its work: a panic ends that work, not
// the process. The log says what was being done, with the stack. then, which may be nil, is called
// after a panic, with it as an error: it fails what the work was for. A panic in then is logged.
func Survive(log *slog.Logger, what string, then func(error)) {
	p := recover()
	if p == nil {
		return
	}
	Panicked(log, p, what)
	if then != nil {
		defer Survive(log, what, nil)
		then(fmt.Errorf("panic: %v", p))
	}
}

// Panicked logs what was recovered from a panic, with the stack, which must still be that of the
// panic.
func Panicked(log *slog.Logger, p any, what string, args ...any) {
	log.Error("panic", append([]any{"during", what, "panic", fmt.Sprint(p), "stack", string(debug.Stack())}, args...)...)
}
