package uacsta_test

import (
	"bufio"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tr87proxy/tr87proxy/tests/schema"
)

// publishedSamples reads the sample messages beside the schemas: name, tab, XML.
func publishedSamples(tb testing.TB, file string) map[string][]string {
	tb.Helper()
	f, err := os.Open(filepath.Join(schema.Dir(tb), file))
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
