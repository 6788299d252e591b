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

// MaxLine is the longest line in octets, its end included.
const MaxLine = 1024

// Manager is the handle of the manager connection, which belongs to no port.
const Manager = -2

// Line is one line of the protocol: a command, or a reply.
type Line struct {
	Name     string // of the command; "": the line is neither a command nor a reply
	Reply    bool
	Src, Dst int // handles of ports, from 0 on, or Manager
	Args     []string
}

// ErrLine is the error of a line that is too long.
var ErrLine = fmt.Errorf("the line is longer than %d octets", MaxLine)

// errWord is the error of a word that a line cannot hold.
var errWord = errors.New("an argument has blanks or other characters that a line cannot hold")

// safe matches the words that a line can hold: the protocol has no escapes.
var safe = regexp.MustCompile(fmt.Sprintf(`^[!-<>-~]{0,%d}$`, maxWord))

// maxWord is the longest word in octets.
const maxWord = 256

// Word returns a text as a word that a line can hold. It replaces each character that a line cannot hold by a question
// mark, and cuts off what is too long.
func Word(text string) string {
	text = strings.Map(func(r rune) rune {
		if r < '!' || r > '~' || r == '=' {
			return '?'
		}
		return r
	}, text)
	return text[:min(len(text), maxWord)]
}

// Text returns the line as it is written, with the blank before its end that programs write. It returns an error for
// words that a line cannot hold, for too many of them, and for a line that is too long.
func (l *Line) Text() (string, error) {
	if l.Name == "" || !safe.MatchString(l.Name) || len(l.Args) > maxArgs {
		return "", errWord
	}
	kind := "cmd"
	if l.Reply {
		kind = "rly"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s=%s src=%d dst=%d", kind, l.Name, l.Src, l.Dst)
	for i, arg := range l.Args {
		if !safe.MatchString(arg) {
			return "", errWord
		}
		fmt.Fprintf(&b, " arg%d=%s", i+1, arg)
	}
	fmt.Fprintf(&b, " argc=%d \n", len(l.Args))
	if b.Len() > MaxLine {
		return "", ErrLine
	}
	return b.String(), nil
}

// Arg returns the nth argument, counted from 1; "" if there is none.
func (l *Line) Arg(n int) string {
	if n > len(l.Args) {
		return ""
	}
	return l.Args[n-1]
}

const maxArgs = 16

// legible returns a text that XML can carry: it replaces control characters, noncharacters and octets that are not UTF-8
// by U+FFFD, and removes NUL, which some programs write after a word.
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

// parseLine reads a line. Words that are not key=value count as arguments, for some events are written so.
func parseLine(text string) *Line {
	l := &Line{}
	for word := range strings.FieldsSeq(legible(text)) {
		key, value, found := strings.Cut(word, "=")
		switch {
		case !found && len(l.Args) < maxArgs:
			l.Args = append(l.Args, word)
		case key == "cmd", key == "rly":
			l.Name, l.Reply = value, key == "rly"
		case key == "src":
			l.Src, _ = strconv.Atoi(value)
		case key == "dst":
			l.Dst, _ = strconv.Atoi(value)
		case strings.HasPrefix(key, "arg") && key != "argc":
			n, err := strconv.Atoi(key[3:])
			if err != nil || n < 1 || n > maxArgs {
				continue
			}
			for len(l.Args) < n {
				l.Args = append(l.Args, "")
			}
			l.Args[n-1] = value
		}
	}
	return l
}

// ReadLine reads one line. The buffer of r must hold [MaxLine] octets: a longer line gives [ErrLine]. It returns io.EOF
// if the connection ends before a line, io.ErrUnexpectedEOF if it ends within one.
func ReadLine(r *bufio.Reader) (*Line, error) {
	text, err := readText(r)
	if err != nil {
		return nil, err
	}
	return parseLine(text), nil
}

func readText(r *bufio.Reader) (string, error) {
	text, err := r.ReadSlice('\n')
	switch {
	case errors.Is(err, bufio.ErrBufferFull):
		return "", ErrLine
	case errors.Is(err, io.EOF) && len(text) > 0:
		return "", io.ErrUnexpectedEOF
	case err != nil:
		return "", err
	}
	return string(text), nil
}

// events are the words for events on a telephone line, beside digits.
var events = map[string]bool{"ring": true, "hangup": true, "loopdrop": true, "pickup": true, "timer": true, "cid": true, "flash": true, "toneend": true, "dtmf": true}

// IsDigit reports whether a word is one DTMF digit.
func IsDigit(word string) bool {
	return len(word) == 1 && strings.ContainsAny(word, "0123456789*#ABCD")
}

// IsEvent reports whether a word is an event on a telephone line.
func IsEvent(word string) bool { return events[word] || IsDigit(word) }

// EventLine returns the line that reports an event on a telephone line, with the words behind it. Its name is that of
// the event, dtmf for a digit, and "event" for what is not an event of a line: a message of a program.
func EventLine(what string, more ...string) *Line {
	name := what
	switch {
	case IsDigit(what):
		name = "dtmf"
	case !events[what]:
		name = "event"
	}
	return &Line{Name: name, Reply: true, Args: append([]string{what}, more...)}
}

// Event returns the event on the telephone line that l reports, and the word behind it; "" if l reports none.
func (l *Line) Event() (what, more string) {
	for i, arg := range l.Args {
		if IsEvent(arg) && (i == 0 || l.Args[0] == "EVENT" || l.Name == "ctwaitforevent") {
			if i+1 < len(l.Args) {
				more = l.Args[i+1]
			}
			return arg, more
		}
	}
	return "", ""
}
