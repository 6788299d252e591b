package freeswitch

import (
	"regexp"
	"strconv"
	"strings"
)

// Commands for the event socket are written here and nowhere else. FreeSWITCH takes a command
// apart several times: the socket by lines, a command of its API by blanks, quotes and
// backslashes, a dial string by commas, bars, brackets and braces, a database key by slashes; and
// it expands ${} in some. So each syntax has one function that says which texts it can carry; no
// text is escaped, for the readers disagree on how. A command with a part that cannot be carried
// is not sent.

// instruction is a command. The zero value is one that could not be written.
type instruction struct{ text string }

// part is a text that a command can carry; the zero value is one that none can.
type part struct {
	text string
	ok   bool
}

// words are what may stand in any command, as one argument: numbers, and names of FreeSWITCH's own.
// What begins with a hyphen would be an option (uuid_transfer -both).
var words = regexp.MustCompile(`^[A-Za-z0-9*#+_.][A-Za-z0-9*#+_.-]{0,63}$`)

// word is one argument, or a piece of one that every syntax leaves whole.
func word(text string) part { return part{text, words.MatchString(text)} }

// noneOrWord is a word, or nothing where a header may be empty.
func noneOrWord(text string) part { return part{text, text == "" || words.MatchString(text)} }

// count is a number that we count with ourselves.
func count(n int) part { return part{strconv.Itoa(n), n >= 0} }

// flag is true or false.
func flag(on bool) part { return part{strconv.FormatBool(on), true} }

// toneDigits are what may be sent as tones.
var toneDigits = regexp.MustCompile(`^[0-9*#A-D]{1,64}$`)

// tones are digits to send.
func tones(text string) part { return part{text, toneDigits.MatchString(text)} }

// arguments are configured texts that are one argument: without blanks and apostrophes.
var arguments = regexp.MustCompile(`^[^\x00-\x20\x7F']+$`)

// configured is a text of the administrator's that is one argument: a file, or a dial string.
func configured(text string) part { return part{text, arguments.MatchString(text)} }

// variableLists are configured channel variables, such as a=1,b=2.
var variableLists = regexp.MustCompile(`^[^{}\x00-\x1F\x7F]+$`)

// variables are channel variables of the administrator's, for a dial string.
func variables(text string) part { return part{text, variableLists.MatchString(text)} }

// headerValues are the values of an event's header: one line, and nothing that would be read as
// an escaped octet.
var headerValues = regexp.MustCompile(`^[ -$&-~]{0,256}$`)

// header is the value of a header of an event.
func header(text string) part { return part{text, headerValues.MatchString(text)} }

// form writes parts in the places of a pattern that % stands for.
func form(pattern string, parts ...part) part {
	var b strings.Builder
	for _, p := range parts {
		if !p.ok {
			return part{}
		}
		before, after, _ := strings.Cut(pattern, "%")
		b.WriteString(before)
		b.WriteString(p.text)
		pattern = after
	}
	b.WriteString(pattern)
	return part{b.String(), true}
}

// api writes a command of FreeSWITCH's API.
func api(pattern string, parts ...part) instruction {
	return instruction{form("api "+pattern, parts...).text}
}

// background writes a command of the API whose outcome comes as an event that names the job.
func background(job string, command part) instruction {
	return instruction{form("bgapi %\nJob-UUID: %", command, word(job)).text}
}

// sendEvent writes an event for FreeSWITCH, with its headers.
func sendEvent(name string, headers ...part) instruction {
	lines := form("sendevent %", word(name))
	for _, h := range headers {
		lines = form("%\n%", lines, h)
	}
	return instruction{lines.text}
}

// body is an instruction with a body of any text behind its headers, bounded by its length.
func (i instruction) body(text string) instruction {
	if i.text == "" {
		return i
	}
	return instruction{i.text + "\nContent-Length: " + strconv.Itoa(len(text)) + "\n\n" + text}
}

// name is the name of the command, for the log.
func (i instruction) name() string {
	if f := strings.Fields(i.text); len(f) > 1 {
		return f[1]
	}
	return ""
}
