package audit

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// Report is what a log tells that was read.
type Report struct {
	Lines  int64
	First  int64    // number of the first line
	Number int64    // of the last one
	Hash   string   // of the last one
	Found  bool     // the line that was expected is there
	Gaps   []string // where the log itself says that entries are missing, or may be
}

const (
	maxLine     = 1 << 20
	maxFindings = 100 // of a kind, that are told
)

// Files lists the files of an audit log, the oldest first.
func Files(path string) []string { return append(older(path), path) }

// Verify reads files one after the other and checks that no line was changed, taken out,
// put in or moved. The first may begin anywhere. What is cut off at the end cannot be seen:
// compare the end with one that was noted elsewhere. The error tells of all that is wrong.
func Verify(key []byte, files []string) (Report, error) { return VerifyUpTo(key, files, "") }

// VerifyUpTo is like Verify, and finds out whether a line with this number:hash is there.
func VerifyUpTo(key []byte, files []string, expect string) (Report, error) {
	v := verifier{key: key, expect: expect}
	for _, name := range files {
		v.file(name)
	}
	if v.untold > 0 {
		v.faults = append(v.faults, fmt.Errorf("and %d more", v.untold))
	}
	return v.Report, errors.Join(v.faults...)
}

// verifier goes along the lines of a log.
type verifier struct {
	Report
	key    []byte
	expect string
	faults []error
	untold int
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
	r := bufio.NewReaderSize(f, maxLine)
	for number := 1; ; number++ {
		line, err := r.ReadSlice('\n')
		long := errors.Is(err, bufio.ErrBufferFull)
		for errors.Is(err, bufio.ErrBufferFull) {
			_, err = r.ReadSlice('\n')
		}
		switch {
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
	}
}

// line checks a line, and whether it follows the one before.
func (v *verifier) line(where string, line []byte) {
	var e Entry
	if err := json.Unmarshal(line, &e); err != nil {
		v.fault("%s: %w", where, err)
		return
	}
	hash, before := e.Hash, v.Report
	sealed, err := seal(nil, v.key, &e)
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
