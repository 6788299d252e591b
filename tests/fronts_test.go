package tests

import (
	"os"
	"strings"
	"testing"

	"github.com/tr87proxy/tr87proxy/internal/daemon"
)

// The page about rules names each front that rules can name.
func TestFrontsInDocuments(t *testing.T) {
	page, err := os.ReadFile("../docs/policy.md")
	if err != nil {
		t.Fatal(err)
	}
	row := "| `fronts` | `" + strings.Join(daemon.Kinds().FrontNames(), "`, `") + "` | all |"
	if !strings.Contains(string(page), "\n"+row+"\n") {
		t.Errorf("docs/policy.md has no row\n%s", row)
	}
}
