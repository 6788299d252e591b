package tests

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// block is what stands between two fences of a document.
type block struct {
	file, kind, text string
	line             int
}

func (b block) String() string { return fmt.Sprintf("%s:%d", b.file, b.line) }

// documents are those that people read, by their paths from here.
func documents(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, pattern := range []string{"../*.md", "../docs/*.md", "../docs/csta/*.md", "../*/README.md", "../*/*/README.md"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, found...)
	}
	if len(all) < 15 {
		t.Fatalf("only %d documents: %v", len(all), all)
	}
	return all
}

// blocks are those of a document, in order, without the indentation of the list that they stand in.
func blocks(t *testing.T, file string) []block {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var all []block
	var now *block
	indent := ""
	for n, line := range strings.Split(string(data), "\n") {
		fence, is := strings.CutPrefix(strings.TrimLeft(line, " "), "```")
		switch {
		case is && now == nil:
			indent = line[:len(line)-len(strings.TrimLeft(line, " "))]
			now = &block{file: file, kind: fence, line: n + 2}
		case is:
			all, now = append(all, *now), nil
		case now != nil:
			now.text += strings.TrimPrefix(line, indent) + "\n"
		}
	}
	if now != nil {
		t.Fatalf("%s has no end", now)
	}
	return all
}

// part is what stands below a heading of a document.
func part(t *testing.T, file, heading string) []block {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, found := strings.Cut(string(data), "\n"+heading+"\n")
	if !found {
		t.Fatalf("%s has no %s", file, heading)
	}
	inside, _, _ := strings.Cut(rest, "\n## ")
	first := strings.Count(before, "\n") + 1
	last := first + strings.Count(inside, "\n") + 1
	var all []block
	for _, b := range blocks(t, file) {
		if b.line > first && b.line < last {
			all = append(all, b)
		}
	}
	return all
}

// serving are commands that go on until they are ended.
var serving = regexp.MustCompile(`^(?:\./)?tr87proxy (demo|serve|simulate|monitor|watch)\b`)

// watched is what a stream of events has when its device is watched: ready without waiting, or else the snapshot that follows.
const watched = `"devices":\["101"\]}\|"snapshot"`

// quote quotes a text for the shell.
func quote(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }

// tour makes a script of the commands in a document. Those that go on run beside the others; one that serves
// takes the place of the one before it, as in the reader's first terminal.
func tour(all []block) string {
	var s strings.Builder
	s.WriteString(`set -euo pipefail
ip link set lo up
server= watchers=
pause() { read -rt 0.1 <> <(:) || true; }
await() { for i in $(seq 600); do (: < /dev/tcp/127.0.0.1/$1) 2>/dev/null && return; kill -0 "$server"; pause; done; echo "nobody listens" >&2; return 1; }
stop() { [ -z "$server" ] || { kill -TERM "$server"; wait "$server" || true; server=; }; }
trap 'kill $server $watchers 2>/dev/null || true' EXIT
`)
	for _, b := range all {
		switch b.kind {
		case "yaml", "calls":
			file := map[string]string{"yaml": "config.yaml", "calls": "first.calls"}[b.kind]
			fmt.Fprintf(&s, "cat > %s <<'END'\n%sEND\n", file, b.text)
			continue
		case "sh":
		default:
			continue
		}
		for line := range strings.Lines(b.text) {
			line = strings.TrimSpace(line)
			fmt.Fprintf(&s, "echo %s\n", quote(b.String()+": "+line))
			switch serve := serving.FindStringSubmatch(line); {
			case strings.HasPrefix(line, "go build "): // it is built already
			case strings.HasPrefix(line, "curl -N "):
				fmt.Fprintf(&s, "%s > events.out 2>&1 & watchers=\"$watchers $!\"\nuntil grep -q %s events.out; do pause; done\n", line, quote(watched))
			case serve == nil:
				fmt.Fprintf(&s, "timeout 60 bash -euo pipefail -c %s\n", quote(line))
			case serve[1] == "monitor" || serve[1] == "watch":
				fmt.Fprintf(&s, "%s > %s.out 2>&1 & watchers=\"$watchers $!\"\nuntil [ -s %[2]s.out ]; do pause; done\n", line, serve[1])
			default:
				fmt.Fprintf(&s, "stop; %s > %s.out 2>&1 & server=$!; await 5062\n", line, serve[1])
				if serve[1] == "demo" {
					s.WriteString("await 8880\n")
				}
			}
		}
	}
	s.WriteString("cat monitor.out events.out\nstop\n")
	return s.String()
}

// Whoever follows the tour of the README from its first line to its last sees what it says.
func TestTour(t *testing.T) {
	long(t)
	if out, err := exec.CommandContext(t.Context(), "unshare", "--net", "ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
		t.Skipf("no network namespace can be made here: %v, %s", err, out) // it has the ports of the README for itself
	}
	folder := t.TempDir()
	if err := os.Symlink(program(t), filepath.Join(folder, "tr87proxy")); err != nil {
		t.Fatal(err)
	}
	script := tour(part(t, "../README.md", "## A five-minute tour"))
	for _, command := range []string{"demo", "monitor 100 101", "serve", "check", "status", "script first.calls"} {
		if !strings.Contains(script, "./tr87proxy "+command) {
			t.Errorf("the tour does not run %s: this test shows little", command)
		}
	}
	cmd := exec.CommandContext(t.Context(), "unshare", "--net", "bash", "-c", script)
	cmd.Dir, cmd.WaitDelay = folder, 10*time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		logs, _ := filepath.Glob(filepath.Join(folder, "*.out"))
		for _, log := range logs {
			data, _ := os.ReadFile(log)
			out = fmt.Appendf(out, "\n%s:\n%s", filepath.Base(log), data)
		}
		t.Fatalf("%v\n%s", err, out)
	}
	for _, seen := range []string{`"MakeCallResponse"`, `"type":"delivered"`, "Delivered", "Established", "Held", "Retrieved", "ConnectionCleared", "config.yaml: no faults", "yes: ", `"calls":[{`} {
		if !bytes.Contains(out, []byte(seen)) {
			t.Errorf("nobody sees %s in:\n%s", seen, out)
		}
	}
}

// Every configuration in a document is one, but for what has to stand around it.
func TestConfigurationsInDocuments(t *testing.T) {
	t.Parallel()
	count := 0
	for _, file := range documents(t) {
		for _, b := range blocks(t, file) {
			if b.kind != "yaml" {
				continue
			}
			count++
			text := b.text
			if !regexp.MustCompile(`(?m)^(grants|rules):`).MatchString(text) {
				text += "grants: [{who: somebody, control: [\"*\"]}]\n"
			}
			text = strings.Replace(text, "    # and what stands there already\n", "    type: freeswitch\n    addresses: [\"127.0.0.1\"]\n    domain: example.com\n    session: {password: secret}\n    devices: [\"*\"]\n", 1)
			path := filepath.Join(t.TempDir(), "config.yaml")
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			out, err := exec.CommandContext(t.Context(), program(t), "check", "-c", path).CombinedOutput()
			if err == nil || missing.Match(out) { // files that the reader has to make
				continue
			}
			t.Errorf("%s: %s", b, out)
		}
	}
	if count < 8 {
		t.Errorf("only %d configurations", count)
	}
}

// missing is what check says of a file that is not there, and of nothing else.
var missing = regexp.MustCompile(`^tr87proxy: [^\n]*: no such file or directory[^\n]*\n$`)

// Every command in a document is there, with its flags.
func TestCommandsInDocuments(t *testing.T) {
	t.Parallel()
	command := regexp.MustCompile(`^(?:\$ )?(?:\./|go run \./cmd/)?tr87proxy( .*)$`)
	count := 0
	for _, file := range documents(t) {
		for _, b := range blocks(t, file) {
			for line := range strings.Lines(b.text) {
				m := command.FindStringSubmatch(strings.TrimRight(line, "\n"))
				if m == nil {
					continue
				}
				count++
				line, _, _ := strings.Cut(m[1], "  ")
				line, _, _ = strings.Cut(line, " > ")
				line, _, _ = strings.Cut(line, " #")
				out, err := exec.CommandContext(t.Context(), "bash", "-c", program(t)+line+" --help").CombinedOutput()
				words := strings.Fields(line)
				usage := "tr87proxy " + words[0]
				if len(words) > 1 && regexp.MustCompile(`^(accounts|certs|policy|audit|simulate|server)$`).MatchString(words[0]) {
					usage += " " + words[1]
				}
				if err != nil || !strings.Contains(string(out), "\n  "+usage) {
					t.Errorf("%s: tr87proxy%s: %v\n%s", b, line, err, out)
				}
			}
		}
	}
	if count < 30 {
		t.Errorf("only %d commands", count)
	}
}

// What a document links to is there.
func TestLinksInDocuments(t *testing.T) {
	t.Parallel()
	link := regexp.MustCompile(`\]\(([^)#\s]+)[^)]*\)`)
	count := 0
	for _, file := range documents(t) {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllSubmatch(data, -1) {
			to := string(m[1])
			if strings.Contains(to, "://") {
				continue
			}
			count++
			if _, err := os.Stat(filepath.Join(filepath.Dir(file), to)); err != nil {
				t.Errorf("%s: %v", file, err)
			}
		}
	}
	if count < 40 {
		t.Errorf("only %d links", count)
	}
}
