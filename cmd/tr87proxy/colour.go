package main

import (
	"io"
	"os"
	"strings"
	"unicode"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// colour says what a line of the output means to people.
type colour string

// The colours, as parameters of the control sequence that begins them.
const (
	uncoloured colour = ""
	good       colour = "32" // green: it works, it is allowed, somebody talks
	bad        colour = "31" // red: it failed, it was refused
	busy       colour = "33" // yellow: it wants attention, something rings
	held       colour = "36" // cyan: it waits
	faint      colour = "2"  // it is over, or idle
)

// painter paints lines, or leaves them as they are.
type painter bool

// paint returns a text in a colour. The text must be printable: a colour of its own would end this one.
func (p painter) paint(c colour, text string) string {
	if !p || c == uncoloured || text == "" {
		return text
	}
	return "\x1b[" + string(c) + "m" + text + "\x1b[0m"
}

// painterFor returns the painter for what a command writes to w: it paints in a terminal, unless the user or the environment
// wants no colours.
func painterFor(cmd *cobra.Command, w io.Writer) painter {
	without, _ := cmd.Flags().GetBool("no-color") // it is there
	return painter(terminal(w) && !without && !asJSON(cmd) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb")
}

// terminal reports whether the output is a terminal.
func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// painted is a line and its colour.
type painted struct {
	text string
	colour
}

// plainLines returns lines without colour.
func plainLines(lines ...string) []painted {
	list := make([]painted, len(lines))
	for i, line := range lines {
		list[i].text = line
	}
	return list
}

// printable replaces what controls a terminal, so that a peer cannot: control characters, also those of eight bits, and those
// that turn the direction of writing.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r != '\t' && unicode.IsControl(r) || r >= '\u202a' && r <= '\u202e' || r >= '\u2066' && r <= '\u2069' {
			return '?'
		}
		return r
	}, s)
}
