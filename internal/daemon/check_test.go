package daemon

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/tr87proxy/tr87proxy/internal/config"
)

// files are those of a folder.
func files(t *testing.T, folder string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// What only looks at a configuration makes no file, and does not mind a proxy that runs with it.
func TestCheckLeavesNothing(t *testing.T) {
	folder := t.TempDir()
	file := filepath.Join(folder, "config.yaml")
	text := fmt.Sprintf(`
grants: [{who: crm, control: ["100"]}]
switch: {extensions: [{number: "100", sip: {password: "0123456789ab"}}]}
telephones: {listen: [{transport: udp, address: "127.0.0.1:0"}], state: %[1]s/state.db}
audit: {file: %[1]s/audit.log}
admin: {socket: %[1]s/admin.sock}
numbers: {examples: [{written: "100", canonical: "100"}]}
`, folder)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := Load(file)
	if err != nil {
		t.Fatal(err)
	}
	look := func() {
		t.Helper()
		if err := Check(file, cfg); err != nil {
			t.Error(err)
		}
		if rules, numbers, unasked, err := Decide(t.Context(), cfg); err != nil || unasked != nil || rules == nil || numbers == nil {
			t.Error(err, unasked)
		}
	}
	look()
	if got := files(t, folder); !slices.Equal(got, []string{"config.yaml"}) {
		t.Errorf("there is %v now", got)
	}
	n, err := New(cfg, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer n.discard()
	if !slices.Contains(files(t, folder), "state.db") {
		t.Fatal("the proxy itself keeps no state: this test shows nothing")
	}
	look()
}

// An example that the rules do not fulfil is a fault.
func TestCheckExamples(t *testing.T) {
	cfg := Default()
	cfg.Numbers.Main = "+4989471100"
	cfg.Numbers.Examples = []config.NumberExample{{Written: "100", Canonical: "101"}}
	if err := Check("config.yaml", cfg); err == nil || err.Error() != "config.yaml: numbers.examples[0]: 100 becomes 100, not 101" {
		t.Error(err)
	}
}
