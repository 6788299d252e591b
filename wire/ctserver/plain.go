package ctserver

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// plainArgs are the commands in the older form of the protocol, in which the name and each argument have a line, with the
// number of their arguments.
var plainArgs = map[string]int{
	"ctanswer": 0, "cthangup": 0, "ctwaitforring": 0, "ctwaitfordial": 0, "ctdial": 1, "ctplaytoneasync": 1, "ctstoptone": 0,
	"ctplay": 1, "ctplay_async": 1, "ctplay_stop": 0, "ctrecord": 3, "ctcollect": 3, "ctclear": 0, "ctsleep": 1,
	"ctstarttimerasync": 1, "ctstoptimer": 0, "ctwaitforevent": 0, "ctsendevent": 2, "ctjoin": 2, "ctbridge": 1, "ctunbridge": 1,
	"ctstartringasync": 0, "ctstopring": 0, "ctstartringonceasync": 0,
}

// ReadCommand is ReadLine for commands. It also reads those in the older form, and reports whether the command is in it.
func ReadCommand(r *bufio.Reader) (l *Line, plain bool, err error) {
	text, err := readText(r)
	if err != nil {
		return nil, false, err
	}
	name := strings.TrimSpace(legible(text))
	n, plain := plainArgs[name]
	if !plain {
		return parseLine(text), false, nil
	}
	l = &Line{Name: name}
	for range n {
		text, err := readText(r)
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return nil, true, err
		}
		l.Args = append(l.Args, strings.TrimSpace(legible(text)))
	}
	switch name {
	case "ctplay_async":
		l.Name = "ctplayasync"
	case "ctsendevent":
		if l.Dst, err = strconv.Atoi(l.Args[0]); err != nil {
			l.Dst = -1 // there is no such port
		}
		l.Args = l.Args[1:]
	}
	return l, true, nil
}

// Plain returns a reply as it is written in the older form: the digits, the caller or the event that it has, or else OK or
// ERROR. ctcollect replies digits only, ctrecord none, ctwaitforevent the handle of the port and the event.
func (l *Line) Plain() string {
	word := l.Arg(1)
	switch {
	case word == "ERROR", l.Name == "ctrecord" && word == "OK":
	case l.Name == "ctwaitforevent":
		return fmt.Sprintf("%d\n%s\n", l.Src, Word(l.Arg(2)))
	case l.Arg(2) != "" || l.Name == "ctcollect":
		word = l.Arg(2)
	case l.Arg(3) != "":
		word = l.Arg(3)
	}
	return Word(word) + "\n"
}
