// Command summary summarises the output of "go test -json". It prints a line for each finished package, every half
// minute the running tests, the full output of failed tests, and at the end one line: how many tests passed, which
// failed or did not finish, and which were skipped and why. With --slow 5s it also names tests that took longer. An
// interrupt ends "go test"; summary then reads the rest and reports as usual. Its exit status is 1 if a test failed or
// did not finish.
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
	"os/signal"
	"slices"
	"strings"
	"time"
)

// event is a line of "go test -json" (go doc test2json).
type event struct {
	Time        time.Time
	Action      string
	Package     string
	ImportPath  string // package of a build
	Test        string
	Output      string
	Elapsed     float64 // seconds
	FailedBuild string
}

// result has the results of all tests.
type result struct {
	out     io.Writer
	slow    time.Duration
	output  map[string]*strings.Builder // by package and test, until the test has finished
	open    map[string]bool             // packages that have started and not finished
	running map[string]bool             // running tests, by package and name
	told    time.Time                   // when progress was last printed
	passed  int
	failed  []string
	skipped map[string][]string // tests by reason
}

func main() {
	slow := flag.Duration("slow", 0, "name the tests that took longer")
	flag.Parse()
	signal.Ignore(os.Interrupt) // the interrupt ends "go test"
	r := newResult(os.Stdout, *slow)
	if err := r.read(os.Stdin); err != nil {
		fmt.Fprintln(os.Stderr, "summary:", err)
		os.Exit(2)
	}
	r.end()
	if len(r.failed) > 0 {
		os.Exit(1)
	}
}

func newResult(out io.Writer, slow time.Duration) *result {
	return &result{
		out: out, slow: slow, output: map[string]*strings.Builder{}, open: map[string]bool{}, running: map[string]bool{}, skipped: map[string][]string{},
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
		case json.Unmarshal(line, &e) != nil: // output of something else
			fmt.Fprintln(r.out, strings.TrimSuffix(string(line), "\n"))
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
	r.progress(e.Time)
	switch e.Action {
	case "start":
		r.open[e.Package] = true
	case "run", "cont":
		r.running[name] = true
	case "pause":
		delete(r.running, name)
	case "build-output":
		fmt.Fprint(r.out, e.Output)
	case "output":
		if strings.HasPrefix(e.Output, "=== ") {
			return
		}
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
		delete(r.running, name)
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

const (
	progressEvery = 30 * time.Second
	module        = "github.com/tr87proxy/tr87proxy/"
)

// progress prints the running tests if nothing has been printed for a while.
func (r *result) progress(now time.Time) {
	if now.Before(r.told.Add(progressEvery)) {
		return
	}
	if !r.told.IsZero() {
		var running []string
		for _, name := range slices.Sorted(maps.Keys(r.running)) {
			if pkg, test, _ := strings.Cut(name, " "); !strings.Contains(test, "/") { // without subtests
				running = append(running, strings.TrimPrefix(pkg, module)+" "+test)
			}
		}
		fmt.Fprintf(r.out, "...   %d tests passed; running: %s\n", r.passed, some(running))
	}
	r.told = now
}

// ended prints the result of a package.
func (r *result) ended(e *event, text string, elapsed time.Duration) {
	delete(r.open, e.Package)
	switch e.Action {
	case "pass":
		fmt.Fprintf(r.out, "ok    %s  %s\n", e.Package, elapsed)
	case "fail":
		ours := func(name string) bool { return strings.HasPrefix(name, e.Package+" ") }
		for _, name := range slices.Sorted(maps.Keys(r.output)) {
			if ours(name) && r.running[name] { // it was running when the package panicked or timed out
				fmt.Fprint(r.out, r.output[name])
			}
		}
		maps.DeleteFunc(r.output, func(name string, _ *strings.Builder) bool { return ours(name) })
		maps.DeleteFunc(r.running, func(name string, _ bool) bool { return ours(name) })
		fmt.Fprint(r.out, text)
		fmt.Fprintf(r.out, "FAIL  %s  %s\n", e.Package, elapsed)
		r.failed = append(r.failed, e.Package)
	}
}

// reason returns why a test was skipped, from its output.
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

// some returns the first three names, and the number of the others.
func some(names []string) string {
	text := strings.Join(names[:min(3, len(names))], ", ")
	if more := len(names) - 3; more > 0 {
		text = fmt.Sprintf("%s and %d more", text, more)
	}
	return text
}

// end prints the last line.
func (r *result) end() {
	for _, name := range slices.Sorted(maps.Keys(r.open)) {
		fmt.Fprintf(r.out, "FAIL  %s  it did not end; running: %s\n", name, some(r.runningIn(name)))
		r.failed = append(r.failed, name+" did not end")
	}
	skips := make([]string, 0, len(r.skipped))
	for _, why := range slices.Sorted(maps.Keys(r.skipped)) {
		skips = append(skips, fmt.Sprintf("%s (%s)", some(r.skipped[why]), why))
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

// runningIn returns the tests of a package that are running.
func (r *result) runningIn(pkg string) []string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(r.running)) {
		if test, ours := strings.CutPrefix(name, pkg+" "); ours {
			names = append(names, test)
		}
	}
	return names
}
