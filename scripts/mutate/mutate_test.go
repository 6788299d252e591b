package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Each construct has its changes; what is changed is said, and the rest of the file stays.
func TestChanges(t *testing.T) {
	for _, tt := range []struct {
		name, body string
		want       []string // what becomes of the body
	}{
		{"comparison", "_ = a < b", []string{"_ = a <= b", "_ = a >= b"}},
		{"equality", "if a == b { f() }", []string{"if a != b { f() }", "if a == b { if false { f() } }"}},
		{"condition", "if !ok { f() }", []string{"if !(!ok) { f() }", "if !ok { if false { f() } }"}},
		{"and", "ok = ok && f()", []string{"ok = ok || f()", "ok = (true || (ok)) && f()", "ok = ok && (true || (f()))"}},
		{"or", "_ = ok || f()", []string{"_ = ok && f()", "_ = (false && (ok)) || f()", "_ = ok || (false && (f()))"}},
		{"cases", "switch { case ok: }", []string{"switch { case !(ok): }"}},
		{"arithmetic", "_ = a + b*2", []string{"_ = a - b*2", "_ = a + b/2", "_ = a + b*3"}},
		{"numbers", "_, _ = 1, 0.5", []string{"_, _ = 0, 0.5", "_, _ = 1, (1 + 0.5)"}},
		{"sums", "a += b", []string{"a -= b"}},
		{"truth", "ok = true", []string{"ok = false"}},
		{"texts", `s = s + "x"`, nil},
		{"definition", "c := a; _ = c", []string{"c := a; if false { _ = c }"}},
		{"loop", "for i := a; i < b; i++ { f() }", []string{"for i := a; i <= b; i++ { f() }", "for i := a; i >= b; i++ { f() }", "for i := a; i < b; i-- { f() }", "for i := a; i < b; i++ { if false { f() } }"}},
		{"statements", "defer f(); a++; go f()", []string{"if false { defer f() }; a++; go f()", "defer f(); if false { a++ }; go f()", "defer f(); a--; go f()", "defer f(); a++; if false { go f() }"}},
		{"function", "func() { f() }()", []string{"func() { return; f() }()", "func() { if false { f() } }()"}},
		{"panic", `panic("never")`, nil},
	} {
		before := "package p\n\nfunc g() {\n\t" + tt.body + "\n}\n"
		list, err := changesOf("/x", map[string][]byte{"p.go": []byte(before)}, nil)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, c := range list {
			after := string(edited([]byte(before), []edit{c.alone}))
			body, inside := strings.CutPrefix(after, "package p\n\nfunc g() {\n\t")
			if inside && (c.line != 4 || !strings.HasPrefix(c.String(), "p.go:4: ")) {
				t.Errorf("%s: %v is in line %d", tt.name, c, c.line)
			}
			if body, whole := strings.CutSuffix(body, "\n}\n"); inside && whole {
				got = append(got, body)
			}
		}
		for _, want := range tt.want {
			if !slices.Contains(got, want) {
				t.Errorf("%s: no %q in %q", tt.name, want, got)
			}
		}
		dropped := "if false { " + tt.body + " }"
		if got = slices.DeleteFunc(got, func(s string) bool { return s == dropped }); len(got) != len(tt.want) {
			t.Errorf("%s: %q", tt.name, got)
		}
	}
}

// What a function returns is replaced, and a function returns at once, whatever its results.
func TestResults(t *testing.T) {
	for _, tt := range []struct{ function, want string }{
		{"func g() error { return f() }", "func g() error { return *new(error) }"},
		{"func g() bool { return ok }", "func g() bool { return !(ok) }"},
		{"func g() (int, error) { f(); return a, nil }", "func g() (int, error) { f(); return *new(int), nil }"},
		{"func g() (int, error) { f(); return a, nil }", "func g() (int, error) { return *new(int), *new(error); f(); return a, nil }"},
		{"func g() (n int, err error) { f(); return }", "func g() (n int, err error) { return; f(); return }"},
		{"func g() { h(func() string { return s }) }", "func g() { h(func() string { return *new(string) }) }"},
		{`func g() string { return "x" }`, "func g() string { return *new(string) }"},
	} {
		before := []byte("package p\n\n" + tt.function + "\n")
		list, err := changesOf("/x", map[string][]byte{"p.go": before}, nil)
		if err != nil || !slices.ContainsFunc(list, func(c change) bool { return string(edited(before, []edit{c.alone})) == "package p\n\n"+tt.want+"\n" }) {
			t.Errorf("no %s in %v %v", tt.want, list, err)
		}
	}
}

// Edits stand inside each other as their pieces do; of the same piece the first is outside.
func TestEdited(t *testing.T) {
	got := string(edited([]byte("{a<b;}"), []edit{
		{from: 2, to: 3, before: ",", instead: true}, {from: 1, to: 1, before: "0;"}, {from: 1, to: 2, before: "A(", after: ")"}, {from: 1, to: 4, before: "X(", after: ")"}, {from: 1, to: 4, before: "Y(", after: ")"}, {from: 3, to: 4, before: "B(", after: ")"},
	}))
	if got != "{X(Y(A(0;a),B(b)));}" {
		t.Error(got)
	}
}

// A change in code that no test comes to is found by the innermost block.
func TestUnreached(t *testing.T) {
	list := blocks([]byte("mode: set\nx/p/p.go:3.10,9.2 3 1\nx/p/p.go:5.12,7.3 1 0\nx/p/q.go:1.1,99.1 1 0\n"))
	for _, tt := range []struct {
		line, column int
		want         bool
	}{{3, 10, false}, {5, 11, false}, {5, 12, true}, {6, 1, true}, {7, 2, true}, {7, 3, false}, {12, 1, false}} {
		if got := unreachedAt(list, change{file: "p.go", line: tt.line, column: tt.column}); got != tt.want {
			t.Errorf("%d.%d: %v", tt.line, tt.column, got)
		}
	}
}

const (
	sample = `package sample

func Small(n int) bool { return n < 3 }

func Never() int { return 7 }

func Sum(n int) (s int) {
	for n > 0 {
		s += n
		n--
	}
	return s
}
`
	sampleTest = `package sample

import "testing"

func TestSample(t *testing.T) {
	if !Small(2) || Small(4) {
		t.Error()
	}
	if !testing.Short() && Sum(3) != 6 {
		t.Error()
	}
}
`
)

// A package is tested as a whole: the survivors are told, what does not end is killed, and the
// tree stays as it is. What the tests with -short do not kill, all of them may.
func TestRun(t *testing.T) {
	if testing.Short() {
		t.Skip("it builds a dozen programs")
	}
	dir := t.TempDir()
	for name, content := range map[string]string{"go.mod": "module sample\n\ngo 1.26\n", "sample.go": sample, "sample_test.go": sampleTest} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
	mutate := func(args ...string) (int, string) {
		var out, progress bytes.Buffer
		status := run(t.Context(), args, &out, &progress)
		if status == 2 {
			return status, progress.String()
		}
		return status, out.String()
	}
	status, out := mutate("-n", "0", "-short", "-timeout", "2s", ".")
	for _, want := range []string{
		"sample.go:3: n < 3: < becomes <=\n", "sample.go:3: 3 becomes 4\n", "sample.go:5: 7 becomes 8 (no test comes here)\n", "sample.go:8: n > 0: > becomes >=\n",
		"sample: 14 changes, 10 killed (2 of them by the time limit), 4 survived (1 of them where no test comes); 0 did not build\n",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if status != 1 {
		t.Errorf("exit status %d where many survive", status)
	}
	if status, out := mutate("-n", "1", "-only", "sample.go:10:", "-timeout", "2s", "."); status != 0 || strings.Count(out, "\n") != 1 {
		t.Errorf("exit status %d where none survives\n%s", status, out)
	}
	if status, out := mutate("-list", "-n", "0", "."); status != 0 || strings.Count(out, "\n") != 14 {
		t.Errorf("exit status %d\n%s", status, out)
	}
	if data, err := os.ReadFile("sample.go"); err != nil || string(data) != sample {
		t.Errorf("the tree is changed: %s %v", data, err)
	}
	if err := os.WriteFile("sample_test.go", []byte(strings.Replace(sampleTest, "Sum(3) != 6", "Sum(3) != 7", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if status, out := mutate("."); status != 2 || !strings.Contains(out, "the tests fail on the code as it is") {
		t.Errorf("exit status %d where the tests fail\n%s", status, out)
	}
	for _, args := range [][]string{nil, {"-n", "-1", "."}, {"-only", "(", "."}, {"./nowhere"}} {
		if status, out := mutate(args...); status != 2 || out == "" {
			t.Errorf("%q: exit status %d\n%s", args, status, out)
		}
	}
	if status, _ := mutate("-help"); status != 0 {
		t.Errorf("exit status %d for -help", status)
	}
}
