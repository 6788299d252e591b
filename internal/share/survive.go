package share

import (
	"fmt"
	"log/slog"
	"runtime/debug"
)

// Survive is deferred at the start of a goroutine, or of a piece of its work, so that a panic
// ends that work and not the process. It logs the panic with its stack and the attribute
// during, which names the work. then, which may be nil, is called after a panic with an error
// that describes it. A panic in then is logged, too.
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

// Panicked logs a recovered panic and the current stack. Call it from the deferred function
// that recovered.
func Panicked(log *slog.Logger, p any, what string, args ...any) {
	log.Error("panic", append([]any{"during", what, "panic", fmt.Sprint(p), "stack", string(debug.Stack())}, args...)...)
}
