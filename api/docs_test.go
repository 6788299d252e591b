package api

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// The tables of docs/api.md are those of the code. TR87_WRITE=1 writes them.
func TestDocument(t *testing.T) {
	t.Parallel()
	const file = "../docs/api.md"
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	document := withTable(t, withTable(t, string(data), "problems", problemTable()), "actions", actionTable())
	if document == string(data) {
		return
	}
	if os.Getenv("TR87_WRITE") == "" {
		t.Fatalf("%s has other tables than the code: TR87_WRITE=1 go test -run TestDocument ./api", file)
	}
	if err := os.WriteFile(file, []byte(document), 0o600); err != nil {
		t.Fatal(err)
	}
}

// withTable returns a document with a table below its mark.
func withTable(t *testing.T, document, name, table string) string {
	t.Helper()
	mark := "<!-- " + name + ": api/docs_test.go -->\n"
	before, rest, found := strings.Cut(document, mark)
	if !found {
		t.Fatalf("there is no %s", mark)
	}
	for rest = strings.TrimPrefix(rest, "\n"); strings.HasPrefix(rest, "|"); {
		_, rest, _ = strings.Cut(rest, "\n")
	}
	if rest = strings.TrimPrefix(rest, "\n"); rest != "" {
		rest = "\n" + rest
	}
	return before + mark + "\n" + table + rest
}

// problemTable lists the statuses of problems.
func problemTable() string {
	var b strings.Builder
	b.WriteString("| status | type | what to do |\n| --- | --- | --- |\n")
	for _, status := range slices.Sorted(maps.Keys(kinds)) {
		fmt.Fprintf(&b, "| %d | `%s%s` | %s |\n", status, problems, kinds[status].path, strings.ReplaceAll(explanations[kinds[status].path], "|", "\\|"))
	}
	return b.String()
}

// actionTable lists the actions.
func actionTable() string {
	var b strings.Builder
	b.WriteString("| action | request | short members | service |\n| --- | --- | --- | --- |\n")
	for _, a := range actions() {
		var short []string
		for _, member := range a.members() {
			if _, ofCSTA := uacsta.JSONSchema(a.service)["properties"].(map[string]any)[member]; !ofCSTA && a.method != "GET" {
				short = append(short, "`"+member+"`")
			}
		}
		fmt.Fprintf(&b, "| `%s` | `%s %s` | %s | [%s](csta/%[5]s.md) |\n", a.name, a.method, a.path(), strings.Join(short, " "), a.service)
	}
	return b.String()
}
