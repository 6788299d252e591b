package audit

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"
)

// Report describes an audit log that was read.
type Report struct {
	Lines  int64
	First  int64    // number of the first line
	Number int64    // number of the last line
	Hash   string   // hash of the last line
	Found  bool     // whether the expected line is there
	Gaps   []string // where the log itself records that entries are, or may be, missing
}

const (
	maxLine     = 1 << 20
	maxFindings = 100 // reported of each kind

	tries = 10 // to get past what a running proxy is changing
	pause = 50 * time.Millisecond
)

// Files returns the files of an audit log, the oldest first.
func Files(path string) []string { return append(older(path), path) }

// ErrKey means that no line has the expected hash, almost always because the key is wrong.
var ErrKey = errors.New("no line matches this key")

// Verify reads files in order and checks that no line was changed, removed, inserted or moved.
// The first file may begin anywhere in the chain. Verify cannot detect lines removed from the
// end: compare the report with a number and hash noted elsewhere. The error joins all findings.
func Verify(key []byte, files []string) (Report, error) {
	v := verifier{key: key}
	for _, name := range files {
		v.file(name)
	}
	return v.result(files[len(files)-1])
}

// VerifyLog verifies the file at a path and the older ones next to it, and looks for the line
// with number:hash expect. A proxy may write the file meanwhile.
func VerifyLog(key []byte, path, expect string) (Report, error) {
	files, err := snapshot(path)
	defer func() {
		for _, f := range files {
			_ = f.Close()
		}
	}()
	if err != nil {
		return Report{}, err
	}
	v := verifier{key: key, expect: expect, live: path}
	for _, f := range files {
		v.read(f.Name(), f)
	}
	return v.result(path)
}

// snapshot opens the files of a log, the oldest first. An open file keeps its content when it
// is renamed or removed, so the files belong together if their names were the same before and
// after.
func snapshot(path string) (files []*os.File, err error) {
	for range tries {
		names := Files(path)
		for _, name := range names {
			var f *os.File
			if f, err = os.Open(name); err != nil {
				break
			}
			files = append(files, f)
		}
		if err == nil && slices.Equal(names, Files(path)) {
			return files, nil
		}
		for _, f := range files {
			_ = f.Close()
		}
		files = nil
		time.Sleep(pause)
	}
	if err == nil {
		err = fmt.Errorf("%s is renamed repeatedly; try again", path)
	}
	return nil, err
}

// result returns the report and the findings.
func (v *verifier) result(path string) (Report, error) {
	if v.Lines > 0 && v.strange == v.Lines {
		return v.Report, fmt.Errorf("%s: %w", path, ErrKey)
	}
	if v.untold > 0 {
		v.faults = append(v.faults, fmt.Errorf("and %d more", v.untold))
	}
	return v.Report, errors.Join(v.faults...)
}

// verifier reads the lines of a log.
type verifier struct {
	Report
	key     []byte
	expect  string
	live    string // a file that may be written meanwhile
	faults  []error
	untold  int
	strange int64 // lines with another hash
}

func (v *verifier) fault(format string, args ...any) {
	if len(v.faults) < maxFindings {
		v.faults = append(v.faults, fmt.Errorf(format, args...))
	} else {
		v.untold++
	}
}

func (v *verifier) file(name string) {
	f, err := os.Open(name)
	if err != nil {
		v.fault("%w", err)
		return
	}
	defer func() { _ = f.Close() }()
	v.read(name, f)
}

func (v *verifier) read(name string, f *os.File) {
	r := bufio.NewReaderSize(f, maxLine)
	begins, left := int64(0), 0 // offset of the line, and how often to read it again if it is incomplete
	if name == v.live {
		left = tries
	}
	for number := 1; ; number++ {
		line, err := r.ReadSlice('\n')
		long, size := errors.Is(err, bufio.ErrBufferFull), len(line)
		for errors.Is(err, bufio.ErrBufferFull) {
			var more []byte
			more, err = r.ReadSlice('\n')
			size += len(more)
		}
		switch {
		case errors.Is(err, io.EOF) && size > 0 && left > 0: // it may be being written
			left--
			number--
			time.Sleep(pause)
			if _, err := f.Seek(begins, io.SeekStart); err != nil {
				v.fault("%s: %w", name, err)
				return
			}
			r.Reset(f)
			continue
		case errors.Is(err, io.EOF) && len(line) == 0:
			return
		case errors.Is(err, io.EOF):
			v.fault("%s:%d: the line is torn", name, number)
			return
		case err != nil:
			v.fault("%s:%d: %w", name, number, err)
			return
		case long:
			v.fault("%s:%d: the line is too long", name, number)
		default:
			v.line(fmt.Sprintf("%s:%d", name, number), line)
		}
		begins += int64(size)
	}
}

// line checks a line and that it follows the previous one.
func (v *verifier) line(where string, line []byte) {
	var e Entry
	var syntax *json.SyntaxError
	if err := json.Unmarshal(line, &e); errors.As(err, &syntax) {
		v.fault("%s: the line is not JSON", where)
		return
	} else if err != nil {
		v.fault("%s: %w", where, err)
		return
	}
	hash, before := e.Hash, v.Report
	sealed, err := seal(nil, v.key, &e)
	if e.Hash != hash {
		v.strange++
	}
	switch {
	case err != nil:
		v.fault("%s: %w", where, err)
	case e.Hash != hash || string(sealed) != string(line):
		v.fault("%s: the line has been changed, or the key is another", where)
	case before.Lines == 0 || e.Number == before.Number+1 && e.Before == before.Hash:
	case e.Number > before.Number+1:
		v.fault("%s: it does not follow the line before: numbers %d to %d are missing", where, before.Number+1, e.Number-1)
	default:
		v.fault("%s: it does not follow the line before, number %d", where, before.Number)
	}
	if v.Lines++; v.Lines == 1 {
		v.First = e.Number
	}
	v.Number, v.Hash = e.Number, hash
	v.Found = v.Found || fmt.Sprintf("%d:%s", e.Number, hash) == v.expect
	if e.Kind != "gap" || len(v.Gaps) == maxFindings {
		return
	}
	missing := ""
	if e.Count > 0 {
		missing = fmt.Sprintf("%d entries are missing: ", e.Count)
	}
	v.Gaps = append(v.Gaps, fmt.Sprintf("%s: number %d, %s: %s%s", where, e.Number, e.Time.Format(time.RFC3339), missing, e.Reason))
}
