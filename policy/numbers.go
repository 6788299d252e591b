package policy

import (
	"strings"
)

// Numbers translates device identifiers between the form of a client and the canonical form: E.164
// with +, or an extension.
type Numbers struct {
	// Main is the E.164 prefix of extensions: with +1425555, extension 0100 is +14255550100. "" means
	// that extensions have no outside number.
	Main string
	// Extensions reports whether a number is an extension of the switch.
	Extensions func(number string) bool
	// Rules change the numbers that clients write, except extensions, and make numbers of other text.
	Rules NumberRules
}

// Trace is Parse for numbers as clients write them, and also returns the rules that were tried.
func (n *Numbers) Trace(written string) (number Number, steps []Step, err error) {
	plain := &Numbers{Extensions: n.Extensions}
	switch number, err = plain.Parse(written, ""); {
	case err != nil:
		_, steps = n.Rules.Trace(strings.Trim(written, blanks))
	case number.Dialable() && !n.isExtension(number.text):
		_, steps = n.Rules.Trace(number.text)
	}
	number, err = n.Parse(written, "")
	return number, steps, err
}

func (n *Numbers) isExtension(number string) bool {
	return number != "" && n.Extensions != nil && n.Extensions(number)
}

// Client returns a canonical number in the form for clients of Lync's kind: a tel: URI in E.164 if
// possible, otherwise with phone-context=dialstring. A session restores the spelling of devices
// that its client has named.
func (n *Numbers) Client(canonical string) string {
	switch {
	case !isDialable(canonical):
		return canonical
	case strings.HasPrefix(canonical, "+"):
		return "tel:" + canonical
	case n.Main != "" && n.isExtension(canonical):
		return "tel:" + n.Main + canonical
	}
	return "tel:" + canonical + ";phone-context=dialstring"
}

// Known reports whether a canonical device is an extension of the switch.
func (n *Numbers) Known(canonical string) bool { return n.isExtension(canonical) }
