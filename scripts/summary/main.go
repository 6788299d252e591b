// Command summary reads what "go test -json" writes: it prints a line for each package that has ended, what
// failed in full, and at the end one line with how much ran and the tests that did not, with why. With
// --slow 5s it names the tests that took longer.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"
)

// event is a line of "go test -json" (go doc test2json).
type event struct {
	Action      string
	Package     string
	ImportPath  string // of a build
	Test        string
	Output      string
	Elapsed     float64 // seconds
	FailedBuild string
}

// result is what became of all tests.
type result struct {
	out     io.Writer
	slow    time.Duration
	output  map[string]*strings.Builder // by package and test, until it has ended
	passed  int
	failed  []string
	skipped map[string][]string // by reason: tests
}

func main() {
	slow := flag.Duration("slow", 0, "name the tests that took longer")
	flag.Parse()
	r := &result{out: os.Stdout, slow: *slow, output: map[string]*strings.Builder{}, skipped: map[string][]string{}}
	if err := r.read(os.Stdin); err != nil {
		fmt.Fprintln(os.Stderr, "summary:", err)
		os.Exit(2)
	}
	r.end()
	if len(r.failed) > 0 {
		os.Exit(1)
	}
}

func (r *result) read(in io.Reader) error {
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadBytes('\n')
		var e event
		switch {
		case len(line) == 0 && errors.Is(err, io.EOF):
			return nil
		case json.Unmarshal(line, &e) != nil: // what is not of the tests
			fmt.Fprint(r.out, string(line))
		default:
			r.take(&e)
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
	}
}

func (r *result) take(e *event) {
	name := strings.TrimSuffix(e.Package+" "+e.Test, " ")
	elapsed := time.Duration(e.Elapsed * float64(time.Second)).Round(100 * time.Millisecond)
	switch e.Action {
	case "build-output":
		fmt.Fprint(r.out, e.Output)
	case "output":
		if r.output[name] == nil {
			r.output[name] = &strings.Builder{}
		}
		_, _ = r.output[name].WriteString(e.Output)
	case "pass", "fail", "skip":
		text := ""
		if b := r.output[name]; b != nil {
			text = b.String()
		}
		delete(r.output, name)
		if e.Test == "" {
			r.ended(e, text, elapsed)
			return
		}
		switch e.Action {
		case "pass":
			r.passed++
		case "skip":
			why := reason(text)
			r.skipped[why] = append(r.skipped[why], e.Test)
		case "fail":
			r.failed = append(r.failed, name)
			fmt.Fprint(r.out, text)
		}
		if r.slow > 0 && elapsed > r.slow && !strings.Contains(e.Test, "/") {
			fmt.Fprintf(r.out, "slow  %s  %s\n", name, elapsed)
		}
	}
}

// ended says how a package did.
func (r *result) ended(e *event, text string, elapsed time.Duration) {
	switch e.Action {
	case "pass":
		fmt.Fprintf(r.out, "ok    %s  %s\n", e.Package, elapsed)
	case "fail":
		for _, name := range slices.Sorted(maps.Keys(r.output)) {
			if strings.HasPrefix(name, e.Package+" ") { // it was running at a panic, or when time was up
				fmt.Fprint(r.out, r.output[name])
				delete(r.output, name)
			}
		}
		fmt.Fprint(r.out, text)
		fmt.Fprintf(r.out, "FAIL  %s  %s\n", e.Package, elapsed)
		r.failed = append(r.failed, e.Package)
	}
}

// reason is what a test said before it was skipped.
func reason(text string) string {
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if _, why, found := strings.Cut(line, ".go:"); found {
			if _, why, found = strings.Cut(why, ": "); found {
				return why
			}
		}
	}
	return "it does not say why"
}

// end says what ran and what did not.
func (r *result) end() {
	skips := make([]string, 0, len(r.skipped))
	for _, why := range slices.Sorted(maps.Keys(r.skipped)) {
		tests := r.skipped[why]
		some := strings.Join(tests[:min(3, len(tests))], ", ")
		if more := len(tests) - 3; more > 0 {
			some = fmt.Sprintf("%s and %d more", some, more)
		}
		skips = append(skips, fmt.Sprintf("%s (%s)", some, why))
	}
	line := fmt.Sprintf("%d tests passed, %d failed", r.passed, len(r.failed))
	if len(r.failed) > 0 {
		line += ": " + strings.Join(r.failed, "; ")
	}
	if len(skips) > 0 {
		line += "; skipped: " + strings.Join(skips, "; ")
	}
	fmt.Fprintln(r.out, line+".")
}
