package uacsta

import (
	"fmt"
	"strings"
)

// quoted returns a name of the document for an error: as it is, or shortened and in quotes.
func quoted(name string) string {
	if name != "" && len(name) <= 64 && strings.Trim(name, "@ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789") == "" {
		return name
	}
	return fmt.Sprintf("%.40q", name)
}

// names returns the names of the members.
func (g *grammar) names() []string {
	names := make([]string, len(g.members))
	for i, m := range g.members {
		names[i] = m.name
	}
	return names
}

// Advice says which of the known names may be meant by an unknown one, or lists them, as the end of a sentence.
func Advice(name string, known []string) string {
	best, unlike := "", 0
	for _, k := range known {
		longer := max(len(name), len(k))
		n := longer - likeness(name, k)
		if strings.EqualFold(k, name) {
			n = 0
		}
		if 3*n <= longer && (best == "" || n < unlike) {
			best, unlike = k, n
		}
	}
	switch {
	case best != "":
		return fmt.Sprintf("; did you mean %q?", best)
	case len(known) > 0 && len(known) <= 40:
		return "; known here: " + strings.Join(known, ", ")
	}
	return ""
}

// likeness returns the number of octets that two names have in common at their beginning and end.
func likeness(a, b string) int {
	n := 0
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	a, b = a[n:], b[n:]
	for len(a) > 0 && len(b) > 0 && a[len(a)-1] == b[len(b)-1] {
		a, b = a[:len(a)-1], b[:len(b)-1]
		n++
	}
	return n
}
