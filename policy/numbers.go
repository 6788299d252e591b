package policy

import (
	"strings"
)

// Numbers translates device identifiers between the form of a client and the
// canonical form (E.164 with +, or an extension).
type Numbers struct {
	// Main is what stands before an extension in E.164, such as +1425555 for
	// extension 0100 as +14255550100; "" when extensions have no outside number.
	Main string
	// Extensions says which numbers are extensions of the switch.
	Extensions func(number string) bool
	// Rules change what clients write, unless it is an extension.
	Rules NumberRules
}

// Trace is like Parse, and says which rules were tried.
func (n *Numbers) Trace(written string) (number Number, steps []Step, err error) {
	plain := &Numbers{Extensions: n.Extensions}
	if number, err = plain.Parse(written, ""); err == nil && number.Dialable() && !n.isExtension(number.text) {
		_, steps = n.Rules.Trace(number.text)
	}
	number, err = n.Parse(written, "")
	return number, steps, err
}

func (n *Numbers) isExtension(number string) bool {
	return number != "" && n.Extensions != nil && n.Extensions(number)
}

// Client returns a canonical number as a client of Lync's kind wants to see it: a
// tel: URI, E.164 where there is one, else with phone-context=dialstring. A
// device the client itself named is not the business of this function.
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

// Known reports whether a canonical device is one of the switch's own.
func (n *Numbers) Known(canonical string) bool { return n.isExtension(canonical) }
