package uacsta_test

import (
	"bufio"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// schemaDir returns the folder of the schemas and sample messages, which are not
// part of the project, and skips the test where they are absent.
func schemaDir(tb testing.TB) string {
	tb.Helper()
	dir := os.Getenv("TR87_SCHEMAS")
	if dir == "" {
		dir = filepath.Join("..", "..", "shared", "reference", "xsd")
	}
	if _, err := os.Stat(dir); err != nil {
		tb.Skipf("no schemas at %s; set TR87_SCHEMAS", dir)
	}
	return dir
}

// publishedSamples reads the sample messages beside the schemas: name, tab, XML.
func publishedSamples(tb testing.TB, file string) map[string][]string {
	tb.Helper()
	f, err := os.Open(filepath.Join(schemaDir(tb), file))
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	samples := map[string][]string{}
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if name, xml, ok := strings.Cut(lines.Text(), "\t"); ok && !strings.HasPrefix(name, "#") {
			samples[name] = append(samples[name], xml)
		}
	}
	return samples
}
