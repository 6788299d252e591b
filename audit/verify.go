package audit

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
)

// End is where a chain ends.
type End struct {
	Number int64
	Hash   string
	Lines  int64
}

const maxLine = 1 << 20

// Files lists the files of an audit log, the oldest first.
func Files(path string) []string { return append(older(path), path) }

// Verify reads files one after the other and checks that no line was changed, taken out,
// put in or moved. The first may begin anywhere. What is cut off at the end cannot be seen:
// compare the end with one that was noted elsewhere.
func Verify(key []byte, files []string) (End, error) {
	end, _, err := VerifyUpTo(key, files, "")
	return end, err
}

// VerifyUpTo is like Verify, and reports whether a line with this number:hash was there.
func VerifyUpTo(key []byte, files []string, expect string) (end End, found bool, err error) {
	for _, name := range files {
		if err := verifyFile(key, name, &end, func() { found = found || fmt.Sprintf("%d:%s", end.Number, end.Hash) == expect }); err != nil {
			return end, found, err
		}
	}
	return end, found, nil
}

func verifyFile(key []byte, name string, end *End, each func()) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	r := bufio.NewReaderSize(f, maxLine)
	for number := 1; ; number++ {
		fault := func(format string, args ...any) error {
			return fmt.Errorf("%s:%d: %s", name, number, fmt.Sprintf(format, args...))
		}
		line, err := r.ReadSlice('\n')
		switch {
		case errors.Is(err, io.EOF) && len(line) == 0:
			return nil
		case errors.Is(err, io.EOF):
			return fault("the line is torn")
		case err != nil:
			return fault("%v", err)
		}
		var e Entry
		if err := json.Unmarshal(line, &e); err != nil {
			return fault("%v", err)
		}
		hash := e.Hash
		sealed, err := seal(key, &e)
		switch {
		case err != nil:
			return fault("%v", err)
		case e.Hash != hash || string(sealed) != string(line):
			return fault("the line has been changed, or the key is another")
		case end.Lines > 0 && (e.Number != end.Number+1 || e.Before != end.Hash):
			return fault("it does not follow the line before, number %d", end.Number)
		}
		end.Number, end.Hash = e.Number, hash
		end.Lines++
		each()
	}
}
