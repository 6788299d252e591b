package policy

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// docs/policy.md lists each class as the table of messages has it.
func TestClassesAreDocumented(t *testing.T) {
	text, err := os.ReadFile("../docs/policy.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, class := range uacsta.Classes() {
		if class == "observe" {
			continue
		}
		want := "| `" + class + "` | " + strings.Join(uacsta.OfClass(class), ", ") + " |\n"
		if !strings.Contains(string(text), want) {
			t.Errorf("docs/policy.md lacks the line\n%s", want)
		}
	}
}

// A rule about a class covers every service of it, and no other.
func TestRulesByClass(t *testing.T) {
	for _, class := range uacsta.Classes() {
		if class == "observe" { // that is an action
			continue
		}
		deny := &Policy{Rules: []Rule{{Name: "no", Deny: true, May: []string{class}}, {Name: "all", May: []string{"control"}, Destinations: []string{"*"}}}}
		allow := &Policy{Rules: []Rule{{Name: "some", May: []string{class}, Destinations: []string{"*"}}}}
		members := uacsta.OfClass(class)
		for _, service := range uacsta.Names() {
			if !uacsta.IsRequest(service) || uacsta.Observes(service) {
				continue
			}
			in := slices.Contains(members, service)
			ask := Request{Who: Identity{Name: "crm"}, Service: service, Action: Control, Device: num(t, "100")}
			if deny.Decide(ask).Allowed == in {
				t.Errorf("deny %s: %s", class, service)
			}
			if allow.Decide(ask).Allowed != in {
				t.Errorf("allow %s: %s", class, service)
			}
		}
	}
}
