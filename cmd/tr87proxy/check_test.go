package main

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// check finds that there is no key for the audit file.
func TestCheckFindsTheAuditKey(t *testing.T) {
	dir := t.TempDir()
	file, key := filepath.Join(dir, "config.yaml"), filepath.Join(dir, "key")
	config := "grants: [{who: a, control: [\"100\"]}]\nswitch: {extensions: [{number: \"100\"}]}\naudit: {file: " + filepath.Join(dir, "audit.log") + ", key-file: " + key + "}\n"
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	check := func() error {
		root := newRoot()
		root.SetArgs([]string{"check", "-c", file})
		root.SetOut(io.Discard)
		root.SetErr(io.Discard)
		return root.Execute()
	}
	if err := check(); err == nil || !strings.Contains(err.Error(), "audit.key-file: ") {
		t.Error(err)
	}
	if err := os.WriteFile(key, []byte("0123456789abcdef"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := check(); err != nil {
		t.Error(err)
	}
}
