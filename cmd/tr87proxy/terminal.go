package main

import (
	"math"
	"strings"
	"unicode/utf8"

	tea "charm.land/bubbletea/v2"
)

// headLines are the lines above the list of a full screen.
const headLines = 3

// moved returns the line of a list that a key leads to from another one, and whether the key does. There may be no such line:
// it can be before the first one or after the last.
func moved(from int, key string, page int) (to int, moves bool) {
	switch key {
	case "up", "k":
		return from - 1, true
	case "down", "j":
		return from + 1, true
	case "pgup":
		return from - page, true
	case "pgdown", "space":
		return from + page, true
	case "home", "g":
		return 0, true
	case "end", "G":
		return math.MaxInt / 2, true
	}
	return from, false
}

// filter is a text that chooses lines of a list.
type filter struct {
	text   string
	typing bool // it is being written
}

// key handles a key, and reports whether it is one of the filter: / begins it, Enter ends it, Esc clears it.
func (f *filter) key(k tea.KeyPressMsg) bool {
	switch name := k.String(); {
	case f.typing && name == "enter":
		f.typing = false
	case name == "esc":
		*f = filter{}
	case f.typing && name == "backspace":
		_, n := utf8.DecodeLastRuneInString(f.text)
		f.text = f.text[:len(f.text)-n]
	case f.typing:
		f.text += k.Text
	case name == "/":
		*f = filter{typing: true}
	default:
		return false
	}
	return true
}

// or returns how the filter is shown, or the keys of the screen where there is none.
func (f filter) or(keys string) string {
	switch {
	case f.typing:
		return "filter: " + f.text + "_"
	case f.text != "":
		return "filter: " + f.text + "   Esc clears it"
	}
	return keys
}

// chooses reports whether a text contains that of the filter, in letters of either case.
func (f filter) chooses(text string) bool {
	return strings.Contains(strings.ToLower(text), strings.ToLower(f.text))
}

// fitted returns lines for a screen of a width.
func fitted(lines []painted, width int, p painter) string {
	texts := make([]string, len(lines))
	for i, line := range lines {
		text := printable(line.text)
		if width > 1 {
			text = cut(text, width)
		}
		texts[i] = p.paint(line.colour, text)
	}
	return strings.Join(texts, "\n")
}

// cut returns a text of at most so many characters.
func cut(text string, width int) string {
	if utf8.RuneCountInString(text) <= width {
		return text
	}
	return string([]rune(text)[:width-1]) + "…"
}
