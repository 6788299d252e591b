package uacsta

import (
	"strings"
	"testing"
)

// No element of the standard has a name that the JSON form uses for something else, and no object has
// two members of a name.
func TestNamesInJSON(t *testing.T) {
	walked := map[*grammar]bool{}
	var walk func(path string, g *grammar)
	walk = func(path string, g *grammar) {
		if walked[g] {
			return
		}
		walked[g] = true
		seen := map[string]bool{}
		for _, m := range g.members {
			if m.name == jsonOthers || strings.HasPrefix(m.name, jsonAttributes) || seen[m.name] {
				t.Errorf("%s.%s", path, m.name)
			}
			seen[m.name] = true
			walk(path+"."+m.name, m.content.form(m.name))
		}
	}
	for name, g := range grammars() {
		walk(name, g.form(name))
	}
	if len(walked) < 400 {
		t.Errorf("only %d grammars", len(walked))
	}
}
