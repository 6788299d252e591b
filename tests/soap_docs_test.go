package tests

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Whoever follows wire/soap/README.md sees a call, also the second time, with the association of the first.
func TestSOAPDocument(t *testing.T) {
	t.Parallel()
	python := pythonWith(t, "zeep")
	port, dir := freePort(t), t.TempDir()
	var config, source string
	for _, b := range blocks(t, "../wire/soap/README.md") {
		if b.kind == "yaml" && config == "" {
			config = b.text
		}
		if b.kind == "python" && source == "" {
			source = b.text
		}
	}
	mine := func(text, old, now string) string {
		t.Helper()
		if !strings.Contains(text, old) {
			t.Fatalf("no %s in:\n%s", old, text)
		}
		return strings.ReplaceAll(text, old, now)
	}
	account(t, filepath.Join(dir, "accounts"), "crm", soapPassword)
	config = mine(mine(config, "127.0.0.1:8882", fmt.Sprintf("127.0.0.1:%d", port)), "accounts: accounts", "accounts: "+filepath.Join(dir, "accounts"))
	file := filepath.Join(dir, "config.yaml")
	if err := os.WriteFile(file, []byte(config+"operations: {address: \"\"}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := start(t, program(t), "serve", "-c", file)
	waitFor(t, "the proxy", func() bool { return strings.Contains(p.out.String(), "msg=ready") })
	if out := p.out.String(); strings.Count(out, "msg=listening") != 1 {
		t.Errorf("the configuration of the document opens more than its listener:\n%s", out)
	}
	source = mine(mine(source, "127.0.0.1:8882", fmt.Sprintf("127.0.0.1:%d", port)), "the password", soapPassword)
	source = mine(source, "session.auth", "session.trust_env = False\nsession.auth")
	for range 2 {
		client := start(t, python, "-c", source)
		if err := client.wait(patience); err != nil || client.out.String() != "100 calls 101\n101 has answered\n" {
			t.Fatalf("%v\n%s\n%s", err, client.out, p.out)
		}
	}
}
