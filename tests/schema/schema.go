// Package schema validates documents against the published CSTA-XML schemas. The schemas are
// not part of the project; without them the tests that need them are skipped.
package schema

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Dir returns the folder of the schemas and sample messages: TR87_SCHEMAS, or
// where a checkout has them beside it. It skips the test where they are absent.
func Dir(tb testing.TB) string {
	tb.Helper()
	dir := os.Getenv("TR87_SCHEMAS")
	if dir == "" {
		root, err := exec.CommandContext(tb.Context(), "go", "list", "-m", "-f", "{{.Dir}}").Output()
		if err != nil {
			tb.Fatal(err)
		}
		dir = filepath.Join(strings.TrimSpace(string(root)), "..", "shared", "reference", "xsd")
	}
	if _, err := os.Stat(dir); err != nil {
		tb.Skipf("no schemas at %s; set TR87_SCHEMAS", dir)
	}
	return dir
}

// Validate checks documents, by name, against the strict schema of an edition (3
// or 6) with xmllint.
func Validate(t *testing.T, edition int, docs map[string][]byte) {
	t.Helper()
	validate(t, fmt.Sprintf("ecma323-ed%d-strict.xsd", edition), docs)
}

// ValidateSessions checks documents against the schema of ECMA-354.
func ValidateSessions(t *testing.T, docs map[string][]byte) {
	t.Helper()
	validate(t, "ecma354-appl_session.xsd", docs)
}

func validate(t *testing.T, schema string, docs map[string][]byte) {
	t.Helper()
	ValidateBy(t, filepath.Join(Dir(t), schema), docs)
}

// ValidateBy checks documents, by name, against the schema in a file.
func ValidateBy(t *testing.T, schema string, docs map[string][]byte) {
	t.Helper()
	if _, err := exec.LookPath("xmllint"); err != nil {
		t.Skip("no xmllint")
	}
	out := t.TempDir()
	args := []string{"--noout", "--schema", schema}
	for name, doc := range docs {
		file := filepath.Join(out, name+".xml")
		if err := os.WriteFile(file, doc, 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, file)
	}
	output, err := exec.CommandContext(t.Context(), "xmllint", args...).CombinedOutput()
	if err == nil {
		return
	}
	var faults []string
	for line := range strings.Lines(string(output)) {
		if !strings.HasSuffix(strings.TrimSpace(line), "validates") {
			faults = append(faults, line)
		}
	}
	t.Errorf("%s: %v\n%s", schema, err, strings.Join(faults, ""))
}
