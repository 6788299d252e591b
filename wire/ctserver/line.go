package ctserver

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode"
)

// maxLine is how many octets a line may have.
const maxLine = 1024

// manager is the handle of the connection that is of no port.
const manager = -2

// line is one line of the protocol: a command, or the reply to one.
type line struct {
	name     string // of the command; "" of a line that is neither
	reply    bool
	src, dst int
	args     []string
}

// ErrLine is of a line that is too long.
var ErrLine = fmt.Errorf("a line is longer than %d octets", maxLine)

// errBlank is of a word that would become more than one.
var errBlank = errors.New("an argument has blanks or other signs that a line cannot hold")

// safe are the words that a line can hold: nothing is escaped there.
var safe = regexp.MustCompile(fmt.Sprintf(`^[!-<>-~]{0,%d}$`, maxWord))

// maxWord is how many octets a word may have.
const maxWord = 256

// sayable is a text as a word that a line can hold, with question marks for what it cannot.
func sayable(text string) string {
	text = strings.Map(func(r rune) rune {
		if r < '!' || r > '~' || r == '=' {
			return '?'
		}
		return r
	}, text)
	return text[:min(len(text), maxWord)]
}

// text writes the line, with the blank before its end that clients put there. A line with words
// that it cannot hold, or with more than a reader takes, is not written.
func (l *line) text() (string, error) {
	if l.name == "" || !safe.MatchString(l.name) || len(l.args) > maxArgs {
		return "", errBlank
	}
	kind := "cmd"
	if l.reply {
		kind = "rly"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s=%s src=%d dst=%d", kind, l.name, l.src, l.dst)
	for i, arg := range l.args {
		if !safe.MatchString(arg) {
			return "", errBlank
		}
		fmt.Fprintf(&b, " arg%d=%s", i+1, arg)
	}
	fmt.Fprintf(&b, " argc=%d \n", len(l.args))
	if b.Len() > maxLine {
		return "", ErrLine
	}
	return b.String(), nil
}

// arg is the nth argument, counted from 1; "" where there is none.
func (l *line) arg(n int) string {
	if n > len(l.args) {
		return ""
	}
	return l.args[n-1]
}

const maxArgs = 16

// legible is text that XML can carry: control characters, what is no character, and octets that
// are no UTF-8 become U+FFFD. NUL, which some end words with, is taken out.
func legible(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == 0:
			return -1
		case unicode.IsControl(r) && !unicode.IsSpace(r), r == 0xFFFE, r == 0xFFFF:
			return unicode.ReplacementChar
		}
		return r
	}, text)
}

// parseLine reads a line. Words that are no key=value are taken for arguments: events come
// so, too.
func parseLine(text string) *line {
	l := &line{}
	for word := range strings.FieldsSeq(legible(text)) {
		key, value, found := strings.Cut(word, "=")
		switch {
		case !found && len(l.args) < maxArgs:
			l.args = append(l.args, word)
		case key == "cmd", key == "rly":
			l.name, l.reply = value, key == "rly"
		case key == "src":
			l.src, _ = strconv.Atoi(value)
		case key == "dst":
			l.dst, _ = strconv.Atoi(value)
		case strings.HasPrefix(key, "arg") && key != "argc":
			n, err := strconv.Atoi(key[3:])
			if err != nil || n < 1 || n > maxArgs {
				continue
			}
			for len(l.args) < n {
				l.args = append(l.args, "")
			}
			l.args[n-1] = value
		}
	}
	return l
}

// readLine reads up to the end of a line.
func readLine(r *bufio.Reader) (*line, error) {
	text, err := r.ReadSlice('\n')
	switch {
	case errors.Is(err, bufio.ErrBufferFull):
		return nil, ErrLine
	case errors.Is(err, io.EOF) && len(text) > 0:
		return nil, io.ErrUnexpectedEOF
	case err != nil:
		return nil, err
	}
	return parseLine(string(text)), nil
}

// events are the words for what happens on a line.
var events = map[string]bool{"ring": true, "hangup": true, "loopdrop": true, "pickup": true, "timer": true, "cid": true, "flash": true, "toneend": true, "dtmf": true}

// isEvent reports whether a word says that something has happened on the line.
func isEvent(word string) bool {
	return events[word] || len(word) == 1 && strings.ContainsAny(word, "0123456789*#ABCD")
}

// event is what a line says has happened, and the word behind it; "" where nothing has.
func (l *line) event() (what, more string) {
	for i, arg := range l.args {
		if isEvent(arg) && (i == 0 || l.args[0] == "EVENT" || l.name == "ctwaitforevent") {
			if i+1 < len(l.args) {
				more = l.args[i+1]
			}
			return arg, more
		}
	}
	return "", ""
}
