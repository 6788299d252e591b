package kind_test

import (
	"os"
	"strings"
	"testing"
)

// HACKING.md shows the code that is compiled here.
func TestHackingShowsThis(t *testing.T) {
	page, err := os.ReadFile("../../HACKING.md")
	if err != nil {
		t.Fatal(err)
	}
	for file, heading := range map[string]string{"bells_test.go": "\n## Adding a link\n", "post_test.go": "\n## Adding a front\n"} {
		code, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		_, marked, _ := strings.Cut(string(code), "\n// [")
		_, marked, _ = strings.Cut(marked, "\n")
		marked, _, there := strings.Cut(marked, "\n// ]\n")
		_, section, _ := strings.Cut(string(page), heading)
		_, shown, _ := strings.Cut(section, "```go\n")
		shown, _, _ = strings.Cut(shown, "```\n")
		if !there || strings.TrimSpace(shown) != strings.TrimSpace(marked) {
			t.Errorf("HACKING.md, %q: shows other code than %s has between the marks; copy it", strings.TrimSpace(heading), file)
		}
	}
}
