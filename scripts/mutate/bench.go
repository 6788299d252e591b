package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/importer"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"
)

// pack is a package, as go list describes it.
type pack struct {
	Name       string
	Dir        string
	ImportPath string
	GoFiles    []string

	files map[string][]byte
}

// load reads a package.
func load(ctx context.Context, name string) (p pack, err error) {
	data, err := command(ctx, ".", "go", "list", "-json=Name,Dir,ImportPath,GoFiles", name)
	if err != nil {
		return p, err
	}
	if err := json.Unmarshal(data, &p); err != nil {
		return p, err
	}
	p.files = map[string][]byte{}
	for _, name := range p.GoFiles {
		if p.files[name], err = os.ReadFile(filepath.Join(p.Dir, name)); err != nil {
			return p, err
		}
	}
	return p, nil
}

// changes returns every change of a package.
func (p pack) changes(ctx context.Context) ([]change, error) {
	data, err := command(ctx, p.Dir, "go", "list", "-export", "-deps", "-f", "{{.ImportPath}}={{.Export}}", ".")
	if err != nil {
		return nil, err
	}
	exports := map[string]string{}
	for line := range strings.Lines(string(data)) {
		path, file, _ := strings.Cut(strings.TrimSpace(line), "=")
		exports[path] = file
	}
	return changesOf(p.Dir, p.files, importer.ForCompiler(token.NewFileSet(), "gc", func(path string) (io.ReadCloser, error) { return os.Open(exports[path]) }))
}

// command runs a program and returns its standard output. The error contains its standard error
// output.
func command(ctx context.Context, dir, name string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	var failure bytes.Buffer
	cmd.Stderr = &failure
	out, err := cmd.Output()
	if err != nil {
		told := append(failure.Bytes(), out...)
		return out, fmt.Errorf("%w\n%s", err, told[:min(len(told), 4000)])
	}
	return out, nil
}

// outcome is the result of testing a change.
type outcome int

const (
	broken    outcome = iota // does not build, and does not count
	killed                   // a test failed
	late                     // the tests exceeded the time limit
	survived                 // all tests passed
	unreached                // no test runs this code
	outcomes
)

func (o outcome) survived() bool { return o == survived || o == unreached }

func (o outcome) remark() string {
	if o == unreached {
		return " (no test comes here)"
	}
	return ""
}

// tally counts changes by outcome.
type tally [outcomes]int

func (t tally) survived() int { return t[survived] + t[unreached] }

func (t tally) tested() int { return t[killed] + t[late] + t.survived() }

// bench tests changes of a package.
type bench struct {
	pack
	work    string // a temporary folder
	usual   time.Duration
	limit   time.Duration
	cover   []block
	changes []change
	guarded string // a test binary with all changes that can be built together
	short   bool   // run the tests with -short first
}

// newBench runs the tests on the unchanged code. limit is the time limit of the tests on a change; 0
// derives it from their usual duration. With short, changes that the tests with -short kill are not
// tested with all tests. The caller must close the bench.
func newBench(ctx context.Context, p pack, changes []change, limit time.Duration, short bool) (*bench, error) {
	work, err := os.MkdirTemp("", "mutate-")
	if err != nil {
		return nil, err
	}
	b := &bench{pack: p, work: work, changes: changes, limit: limit, short: short, guarded: filepath.Join(work, "guarded.test")}
	if err := errors.Join(b.try(ctx), b.guard(ctx)); err != nil {
		b.close()
		return nil, err
	}
	return b, nil
}

// try runs the tests on the unchanged code, and stores how long they take and which code they run.
func (b *bench) try(ctx context.Context) error {
	binary, profile := filepath.Join(b.work, "sound"), filepath.Join(b.work, "profile")
	if _, err := command(ctx, b.Dir, "go", "test", "-c", "-vet=off", "-cover", "-o", binary, "."); err != nil {
		return err
	}
	if _, err := os.Stat(binary); err != nil {
		return fmt.Errorf("it has no tests: %w", err)
	}
	began := time.Now()
	if _, err := command(ctx, b.Dir, binary, "-test.coverprofile="+profile); err != nil {
		return fmt.Errorf("the tests fail on the code as it is: %w", err)
	}
	b.usual = time.Since(began)
	if b.limit == 0 {
		b.limit = 5*b.usual + 10*time.Second
	}
	data, err := os.ReadFile(profile)
	if err != nil {
		return err
	}
	b.cover = blocks(data)
	return nil
}

func (b *bench) close() { _ = os.RemoveAll(b.work) }

// build builds the tests, with some files replaced.
func (b *bench) build(ctx context.Context, name string, files map[string][]byte) (program string, err error) {
	replace := map[string]string{}
	for file, content := range files {
		changed := filepath.Join(b.work, name+"-"+file)
		if err := os.WriteFile(changed, content, 0o600); err != nil {
			return "", err
		}
		replace[filepath.Join(b.Dir, file)] = changed
	}
	overlay, program := filepath.Join(b.work, name+".json"), filepath.Join(b.work, name+".test")
	data, err := json.Marshal(map[string]map[string]string{"Replace": replace})
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(overlay, data, 0o600); err != nil {
		return "", err
	}
	_, err = command(ctx, b.Dir, "go", "test", "-c", "-vet=off", "-overlay", overlay, "-o", program, ".")
	return program, err
}

// place matches the position of a compiler error.
var place = regexp.MustCompile(`(?m)([\w.-]+\.go):(\d+):\d+: `)

// guard builds one test binary with as many changes as possible. Changes at which the compiler reports an
// error are built alone later.
func (b *bench) guard(ctx context.Context) error {
	for {
		files := map[string][]byte{"mutate_guards.go": []byte("package " + b.Name + "\n" + guards)}
		for name, content := range b.files {
			var edits []edit
			for _, c := range b.changes {
				if c.guarded && c.file == name {
					edits = append(edits, c.guards...)
				}
			}
			files[name] = edited(content, edits)
		}
		_, err := b.build(ctx, "guarded", files)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err == nil:
			if _, err := command(ctx, b.Dir, b.guarded); err != nil {
				return fmt.Errorf("the tests fail on the guarded code where nothing is changed: %w", err)
			}
			return nil
		}
		alone := 0
		for _, found := range place.FindAllStringSubmatch(err.Error(), -1) {
			file := strings.TrimPrefix(found[1], "guarded-")
			line, _ := strconv.Atoi(found[2])
			for i := range b.changes {
				if c := &b.changes[i]; c.guarded && c.file == file && b.covers(c, line) {
					c.guarded = false
					alone++
				}
			}
		}
		if alone == 0 {
			return fmt.Errorf("the changes cannot be built together: %w", err)
		}
	}
}

// covers reports whether a change touches a line.
func (b *bench) covers(c *change, line int) bool {
	for _, e := range append([]edit{c.alone}, c.guards...) {
		first := 1 + bytes.Count(b.files[c.file][:e.from], []byte("\n"))
		if first <= line && line <= first+bytes.Count(b.files[c.file][e.from:e.to], []byte("\n")) {
			return true
		}
	}
	return false
}

// run tests changes, by their indexes, in this order, several at a time, until most have been tested, or all if most
// is 0. It reports the outcomes one at a time.
func (b *bench) run(ctx context.Context, changes []int, most, atOnce int, tell func(tally, change, outcome)) (t tally) {
	if most == 0 {
		most = len(changes)
	}
	var mu sync.Mutex
	done := sync.NewCond(&mu)
	next, running := 0, 0
	var group sync.WaitGroup
	for worker := range atOnce {
		group.Go(func() {
			mu.Lock()
			defer mu.Unlock()
			for {
				for running > 0 && t.tested()+running >= most { // one of these may not build
					done.Wait()
				}
				if t.tested() >= most || next == len(changes) || ctx.Err() != nil {
					return
				}
				c := b.changes[changes[next]]
				next, running = next+1, running+1
				mu.Unlock()
				o := b.test(ctx, worker, c)
				mu.Lock()
				running--
				if ctx.Err() == nil {
					t[o]++
					tell(t, c, o)
				}
				done.Broadcast()
			}
		})
	}
	group.Wait()
	return t
}

// memory limits the address space of a test process, in KiB, because a changed loop may allocate without end.
const memory = "8000000"

// test tests one change. Each worker has its own files.
func (b *bench) test(ctx context.Context, worker int, c change) outcome {
	if unreachedAt(b.cover, c) {
		return unreached
	}
	program := b.guarded
	if !c.guarded {
		var err error
		if program, err = b.build(ctx, strconv.Itoa(worker), map[string][]byte{c.file: edited(b.files[c.file], []edit{c.alone})}); err != nil {
			return broken
		}
	}
	if b.short {
		if o := b.play(ctx, program, c, "-test.short"); o != survived {
			return o
		}
	}
	return b.play(ctx, program, c)
}

// play runs a test binary on a change.
func (b *bench) play(ctx context.Context, program string, c change, flags ...string) outcome {
	began := time.Now()
	limited, cancel := context.WithTimeout(ctx, b.limit+5*time.Second)
	defer cancel()
	args := append([]string{"-c", `ulimit -v "$0"; exec "$@"`, memory, program, "-test.failfast", "-test.timeout=" + b.limit.String()}, flags...)
	tests := exec.CommandContext(limited, "sh", args...)
	tests.Dir = b.Dir
	tests.Env = append(os.Environ(), "MUTATE="+strconv.Itoa(c.id))
	tests.WaitDelay = 5 * time.Second
	switch err := tests.Run(); {
	case err == nil:
		return survived
	case time.Since(began) >= b.limit:
		return late
	}
	return killed
}

// block is a piece of code, and whether the tests run it.
type block struct {
	file                 string
	line, column         int
	lastLine, lastColumn int
	times                int
}

var blockLine = regexp.MustCompile(`^(.+):(\d+)\.(\d+),(\d+)\.(\d+) \d+ (\d+)$`)

// blocks reads a coverage profile.
func blocks(profile []byte) (list []block) {
	for lines := bufio.NewScanner(bytes.NewReader(profile)); lines.Scan(); {
		f := blockLine.FindStringSubmatch(lines.Text())
		if f == nil {
			continue // the line with the mode
		}
		var n [5]int
		for i := range n {
			n[i], _ = strconv.Atoi(f[2+i])
		}
		list = append(list, block{filepath.Base(f[1]), n[0], n[1], n[2], n[3], n[4]})
	}
	return list
}

// unreachedAt reports whether no test runs the innermost block around a change.
func unreachedAt(list []block, c change) bool {
	var inner *block
	for i := range list {
		b := &list[i]
		switch {
		case b.file != c.file, c.before(b.line, b.column), !c.before(b.lastLine, b.lastColumn):
		case inner == nil || inner.line < b.line || inner.line == b.line && inner.column < b.column:
			inner = b
		}
	}
	return inner != nil && inner.times == 0
}

// before reports whether a change begins before a position.
func (c change) before(line, column int) bool {
	return c.line < line || c.line == line && c.column < column
}
