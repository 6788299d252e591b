package files

import (
	"context"
	"log/slog"
	"os"
	"sync"
	"time"
)

// Followed is the content of a file with secrets, which is read again after each change. It is safe for
// concurrent use.
type Followed[T any] struct {
	of   string
	path string
	read func(path string) (T, error)
	log  *slog.Logger

	mu      sync.Mutex
	stamp   Stamp // the zero value, which is that of no file: nothing read yet
	content T
}

// watchEvery is the period in which [Followed.Watch] looks at a file.
const watchEvery = 2 * time.Second

// Follow reads a file. of says what is in it, for the log.
func Follow[T any](of, path string, read func(path string) (T, error), log *slog.Logger) (*Followed[T], error) {
	f := &Followed[T]{of: of, path: path, read: read, log: log}
	return f, f.refresh()
}

// refresh reads the file if it has changed. Callers hold f.mu, or have the only reference.
func (f *Followed[T]) refresh() error {
	info, err := os.Stat(f.path)
	if err != nil {
		return err
	}
	now := stampOf(info)
	if now == f.stamp {
		return nil
	}
	content, err := f.read(f.path)
	if err != nil {
		return err
	}
	f.stamp, f.content = now, content
	if info.Mode().Perm()&0o044 != 0 {
		f.log.Warn("file with secrets is readable by others: run chmod 600", "of", f.of, "file", f.path)
	}
	return nil
}

// Content returns what the file says now. If it cannot be read any more, that is the previous content.
func (f *Followed[T]) Content() T {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.refresh(); err != nil {
		f.log.Error("could not read file with secrets: keeping its previous content", "of", f.of, "err", err)
	}
	return f.content
}

// Watch calls changed after each change of the file until ctx ends. It checks every 2 s.
func (f *Followed[T]) Watch(ctx context.Context, changed func()) {
	ticker := time.NewTicker(watchEvery)
	defer ticker.Stop()
	f.mu.Lock()
	last := f.stamp
	f.mu.Unlock()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if now := StampOf(f.path); now != last {
			last = now
			changed()
		}
	}
}
