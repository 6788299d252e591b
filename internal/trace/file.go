package trace

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strconv"
	"sync/atomic"
	"time"
)

// FileConfig configures a [File].
type FileConfig struct {
	Path  string
	Size  int64 // octets at which the next file begins
	Keep  int   // files before the newest one that are kept, as Path.1 (the newest of them), Path.2 and so on
	Trace *Trace
	Log   *slog.Logger
}

// File writes the records of a trace to files, each as a line of JSON. The trace is its queue: nobody waits for the disk, and
// what is pushed out of the trace before it was written is lost. A record of kind State named lost says how many records were,
// in their place.
type File struct {
	cfg  FileConfig
	lost atomic.Uint64
	last uint64 // number of the last record that was read

	file         *os.File // nil: it could not be opened or written
	size         int64
	tried, said  time.Time // when it was opened, and when its failure was logged
	told         uint64    // of lost, in the log
	missing      uint64    // of lost, not yet in the file
	text         bytes.Buffer
	encoder      *json.Encoder
	beforeRetry  time.Duration
	betweenReads time.Duration
}

const (
	fileBatch   = 1000             // records that are read at once
	fileRetry   = 10 * time.Second // after a failure
	fileGather  = 100 * time.Millisecond
	fileLogging = time.Minute // between two log lines
	fileMode    = 0o600
)

// OpenFile opens the file. It is written once [File.Run] is called.
func OpenFile(cfg FileConfig) (*File, error) {
	f := &File{cfg: cfg, beforeRetry: fileRetry, betweenReads: fileGather}
	f.encoder = json.NewEncoder(&f.text)
	f.encoder.SetEscapeHTML(false)
	return f, f.open()
}

// Lost returns how many records were not written.
func (f *File) Lost() uint64 { return f.lost.Load() }

// Run writes until ctx ends. [File.Close] writes the rest.
func (f *File) Run(ctx context.Context) {
	for ctx.Err() == nil {
		f.cfg.Trace.Wait(ctx, f.last)
		for ctx.Err() == nil && f.batch() == fileBatch {
			continue
		}
		select { // not each record for itself
		case <-time.After(f.betweenReads):
		case <-ctx.Done():
		}
	}
}

// Close writes what the trace still has, and closes the file. Run must have ended. A nil File is closed.
func (f *File) Close() {
	if f == nil {
		return
	}
	for f.batch() == fileBatch {
		continue
	}
	if f.file != nil {
		_ = f.file.Close()
	}
}

// batch writes records that are new, and returns how many there were.
func (f *File) batch() int {
	answer := f.cfg.Trace.Read(f.last, Filter{Oldest: true}, fileBatch)
	var fault error
	for i := range answer.Records {
		r := &answer.Records[i]
		f.lose(r.Number - f.last - 1)
		f.last = r.Number
		if f.missing > 0 {
			gap := Record{Number: r.Number - 1, Time: r.Time, Lane: Proxy, Kind: State, Name: "lost", Reason: fmt.Sprintf("%d records were not written", f.missing)}
			if fault = f.write(&gap); fault == nil {
				f.missing = 0
			}
		}
		if f.file == nil {
			f.lose(1)
		} else if err := f.write(r); err != nil {
			fault = err
			f.lose(1)
		}
	}
	if lost := f.lost.Load(); lost > f.told && time.Since(f.said) > fileLogging {
		f.cfg.Log.Warn("trace records not written", "count", lost-f.told, "file", f.cfg.Path, "err", fault)
		f.told, f.said = lost, time.Now()
	}
	return len(answer.Records)
}

func (f *File) lose(records uint64) {
	f.lost.Add(records)
	f.missing += records
}

// write writes a record. After a failure it tries again only after a while.
func (f *File) write(r *Record) error {
	f.text.Reset()
	if err := f.encoder.Encode(r); err != nil {
		return err
	}
	if f.file != nil && f.size > 0 && f.size+int64(f.text.Len()) > f.cfg.Size {
		f.rotate()
	}
	if f.file == nil {
		if time.Since(f.tried) < f.beforeRetry {
			return fs.ErrClosed
		}
		if err := f.open(); err != nil {
			return err
		}
	}
	n, err := f.file.Write(f.text.Bytes())
	if err != nil {
		if n > 0 {
			_ = f.file.Truncate(f.size) // no half line
		}
		_ = f.file.Close()
		f.file = nil
		return err
	}
	f.size += int64(n)
	return nil
}

// open opens the newest file, which goes on where it ended.
func (f *File) open() error {
	f.tried = time.Now()
	file, err := os.OpenFile(f.cfg.Path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, fileMode)
	if err != nil {
		return err
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is no file", f.cfg.Path)
	}
	if err == nil {
		err = file.Chmod(fileMode)
	}
	if err != nil {
		_ = file.Close()
		return err
	}
	f.file, f.size = file, info.Size()
	return nil
}

// rotate makes the file the newest of the older ones, and the oldest of them go.
func (f *File) rotate() {
	_ = f.file.Close()
	f.file, f.tried = nil, time.Time{}
	for n := f.cfg.Keep; n > 0; n-- {
		_ = os.Rename(older(f.cfg.Path, n-1), older(f.cfg.Path, n)) // one that is not there is not missed
	}
	if f.cfg.Keep == 0 {
		_ = os.Remove(f.cfg.Path)
	}
}

// older returns the path of the file that is so many before the newest.
func older(path string, n int) string {
	if n == 0 {
		return path
	}
	return path + "." + strconv.Itoa(n)
}
