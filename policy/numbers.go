package policy

import (
	"strings"
)

// Numbers translates device identifiers between the form of a client, the
// canonical form (E.164 with +, or an extension) and the link's. Both directions
// are total: what is not understood goes through as it is.
type Numbers struct {
	// Main is what stands before an extension in E.164, such as +1425555 for
	// extension 0100 as +14255550100; "" when extensions have no outside number.
	Main string
	// Extensions says which numbers are extensions of the switch.
	Extensions func(number string) bool
	// Rules change what clients write, unless it is an extension.
	Rules NumberRules
}

// Canonical returns the canonical form of what a client wrote: a tel: URI, a SIP
// URI, or digits. An extension given as ;ext=, or as an E.164 number under Main,
// is the extension; visual separators are taken out (RFC 3966 5.1.1).
func (n *Numbers) Canonical(written string) string {
	s := strings.TrimSpace(written)
	scheme, rest, hasScheme := strings.Cut(s, ":")
	switch {
	case hasScheme && strings.EqualFold(scheme, "tel"):
		number, params, _ := strings.Cut(rest, ";")
		number = dialable(number)
		if ext := telParam(params, "ext"); ext != "" && n.isExtension(dialable(ext)) {
			return dialable(ext)
		}
		if context := telParam(params, "phone-context"); strings.HasPrefix(context, "+") && isDialable(context) && !strings.HasPrefix(number, "+") {
			number = dialable(context) + number // RFC 3966 5.1.5
		}
		return n.short(number)
	case hasScheme && (strings.EqualFold(scheme, "sip") || strings.EqualFold(scheme, "sips")):
		user, _, _ := strings.Cut(rest, "@")
		user, _, _ = strings.Cut(user, ";")
		if number := dialable(user); n.isExtension(number) || strings.HasPrefix(number, "+") {
			return n.short(number)
		}
		return s
	}
	if number := dialable(s); number != "" && isDialable(s) {
		return n.short(number)
	}
	return s
}

// Trace is like Canonical, and says which rules were tried.
func (n *Numbers) Trace(written string) (canonical string, steps []Step) {
	plain := &Numbers{Extensions: n.Extensions}
	if number := plain.Canonical(written); isDialable(number) && !n.isExtension(number) {
		_, steps = n.Rules.Trace(number)
	}
	return n.Canonical(written), steps
}

// short changes a number as the rules say, and turns an E.164 number under Main into its
// extension.
func (n *Numbers) short(number string) string {
	if n.isExtension(number) {
		return number
	}
	if isDialable(number) {
		number = n.Rules.Apply(number)
	}
	if n.Main != "" {
		if ext, ok := strings.CutPrefix(number, n.Main); ok && n.isExtension(ext) {
			return ext
		}
	}
	return number
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

// dialable takes blanks and visual separators out of a number, and what stands
// behind the marks that clients leave in it.
func dialable(s string) string {
	var b strings.Builder
	for _, r := range s {
		switch {
		case r >= '0' && r <= '9', r == '*', r == '#', r == '+' && b.Len() == 0:
			b.WriteRune(r)
		case strings.ContainsRune(" -.()", r):
		default:
			return strings.TrimSpace(s)
		}
	}
	return b.String()
}

// isDialable reports whether s is a number and nothing else.
func isDialable(s string) bool {
	for i, r := range s {
		if (r < '0' || r > '9') && r != '*' && r != '#' && (r != '+' || i > 0) && !strings.ContainsRune(" -.()", r) {
			return false
		}
	}
	return s != ""
}

func telParam(params, name string) string {
	for p := range strings.SplitSeq(params, ";") {
		if key, value, _ := strings.Cut(p, "="); strings.EqualFold(strings.TrimSpace(key), name) {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// Known reports whether a canonical device is one of the switch's own.
func (n *Numbers) Known(canonical string) bool { return n.isExtension(canonical) }
