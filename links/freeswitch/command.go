package freeswitch

import (
	"regexp"
	"strconv"
	"strings"
)

// All commands for the event socket are written in this file. FreeSWITCH parses a command
// several times: the socket by lines, an API command by blanks, quotes and backslashes, a dial
// string by commas, bars, brackets and braces, a database key by slashes; and it expands ${} in
// some of them. The parsers disagree on escapes, so nothing is escaped. Instead each syntax has
// one function that says which text it can carry. A command with any other text is not sent.

// instruction is a command. The zero value stands for one that could not be written.
type instruction struct {
	text     string
	connects [2]string // channels that uuid_bridge connects
}

// part is text for a command. The zero value stands for text that no command can carry.
type part struct {
	text string
	ok   bool
}

// words matches text that every command can carry as one argument: numbers and FreeSWITCH's own
// names. A leading hyphen would be an option (uuid_transfer -both).
var words = regexp.MustCompile(`^[A-Za-z0-9*#+_.][A-Za-z0-9*#+_.-]{0,63}$`)

// word returns text as one argument, or as a piece of one that every syntax leaves whole.
func word(text string) part { return part{text, words.MatchString(text)} }

// noneOrWord returns a word or empty text, for a header that may be empty.
func noneOrWord(text string) part { return part{text, text == "" || words.MatchString(text)} }

// count returns a number of our own.
func count(n int) part { return part{strconv.Itoa(n), n >= 0} }

// flag returns true or false as text.
func flag(on bool) part { return part{strconv.FormatBool(on), true} }

// toneDigits matches digits that can be sent as tones.
var toneDigits = regexp.MustCompile(`^[0-9*#A-D]{1,64}$`)

// tones returns digits to send.
func tones(text string) part { return part{text, toneDigits.MatchString(text)} }

// arguments matches configured text that is one argument: no blanks, no apostrophes.
var arguments = regexp.MustCompile(`^[^\x00-\x20\x7F']+$`)

// configured returns the administrator's text as one argument: a file or a dial string.
func configured(text string) part { return part{text, arguments.MatchString(text)} }

// variableLists matches configured channel variables such as a=1,b=2.
var variableLists = regexp.MustCompile(`^[^{}\x00-\x1F\x7F]+$`)

// variables returns the administrator's channel variables for a dial string.
func variables(text string) part { return part{text, variableLists.MatchString(text)} }

// headerValues matches values of an event's header: one line without anything that could be
// read as an escaped octet.
var headerValues = regexp.MustCompile(`^[ -$&-~]{0,256}$`)

// header returns the value of an event's header.
func header(text string) part { return part{text, headerValues.MatchString(text)} }

// form replaces each % of a pattern with a part.
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

// api returns an API command.
func api(pattern string, parts ...part) instruction {
	return instruction{text: form("api "+pattern, parts...).text}
}

// background returns a background API command. Its result arrives in an event that names the
// job.
func background(job string, command part) instruction {
	return instruction{text: form("bgapi %\nJob-UUID: %", command, word(job)).text}
}

// sendEvent returns a command that sends an event with headers.
func sendEvent(name string, headers ...part) instruction {
	lines := form("sendevent %", word(name))
	for _, h := range headers {
		lines = form("%\n%", lines, h)
	}
	return instruction{text: lines.text}
}

// body appends a body, which may be any text, since its length delimits it.
func (i instruction) body(text string) instruction {
	if i.text == "" {
		return i
	}
	return instruction{text: i.text + "\nContent-Length: " + strconv.Itoa(len(text)) + "\n\n" + text}
}

// name returns the command's name for the log.
func (i instruction) name() string {
	if f := strings.Fields(i.text); len(f) > 1 {
		return f[1]
	}
	return ""
}
