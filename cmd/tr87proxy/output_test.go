package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/spf13/cobra"

	"github.com/tr87proxy/tr87proxy/internal/daemon"
	"github.com/tr87proxy/tr87proxy/internal/wait"
)

// ran is what a command wrote, and its exit status.
type ran struct {
	out, errOut string
	status      int
}

// runCommand runs the program in this process, with this standard input.
func runCommand(ctx context.Context, in string, args ...string) ran {
	var out, errOut bytes.Buffer
	root := newRoot()
	root.SetIn(strings.NewReader(in))
	root.SetOut(&out)
	root.SetErr(&errOut)
	status := execute(ctx, root, args)
	return ran{out.String(), errOut.String(), status}
}

// node is a proxy with the built-in switch, whose phones are 100 to 109, and the files of its configuration.
type node struct {
	dir, file, socket, traced, server string
	stop                              func()
}

func startNode(t *testing.T) *node {
	t.Helper()
	n := &node{dir: t.TempDir()}
	n.file, n.socket, n.traced = filepath.Join(n.dir, "config.yaml"), filepath.Join(n.dir, "admin.sock"), filepath.Join(n.dir, "trace.json")
	text := "trusted: [{address: 127.0.0.1}]\ngrants: [{who: \"*\", control: [\"???\"], dial: [\"*\"]}]\n" +
		"sip: {listen: [{transport: tcp, address: \"127.0.0.1:0\"}]}\noperations: {address: \"\"}\nadmin: {socket: " + n.socket + "}\ntrace: {file: " + n.traced + "}\n" +
		"audit: {file: " + filepath.Join(n.dir, "audit.log") + "}\n" +
		"switch:\n  trunks: [{number: \"900\", prefixes: [\"0\"]}]\n  queues: [{number: \"300\"}]\n  extensions:\n"
	for i := range 10 {
		text += fmt.Sprintf("  - {number: \"%d\", name: Phone %d}\n", 100+i, 100+i)
	}
	if err := os.WriteFile(n.file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := daemon.Load(n.file)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan string, 8)
	d, err := daemon.New(cfg, daemon.Options{File: n.file, Version: "test", Log: io.Discard, Listening: func(_, address string) { served <- address }})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	stopped := make(chan error, 1)
	go func() { stopped <- d.Run(ctx) }()
	n.stop = sync.OnceFunc(func() {
		stop()
		<-stopped
	})
	t.Cleanup(n.stop)
	n.server = "sip:x@" + <-served + ";transport=tcp"
	return n
}

// jsonLines are the values that a command has written, one to a line.
func jsonLines(t *testing.T, what, text string) (list []any) {
	t.Helper()
	for line := range strings.Lines(text) {
		var value any
		if err := json.Unmarshal([]byte(line), &value); err != nil {
			t.Errorf("%s writes %q, which is no JSON", what, line)
			return list
		}
		list = append(list, value)
	}
	return list
}

// buffer is written and read at once.
type buffer struct {
	mu   sync.Mutex
	text strings.Builder
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// With --json every command writes nothing but JSON, on standard output and on standard error; one that fails ends standard
// error with one object that has the error. Those that have no --json say so, and why. A new command must be in the list here.
func TestJSON(t *testing.T) {
	n := startNode(t)
	ran := map[string]bool{}
	file := func(name, content string) string {
		path := filepath.Join(n.dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	secret := file("secret", "correct horse battery\n")
	request := file("request.xml", "<GetForwarding><device>100</device></GetForwarding>")
	script := file("x.calls", "monitor 100\ncall 100 101\nexpect 100 Delivered\nclear 100\n")
	phones := file("phones.yaml", "grants: [{who: a, control: [\"100\"]}]\ntelephones: {listen: [{transport: udp, address: \"127.0.0.1:5060\"}], realm: r}\nswitch: {extensions: [{number: \"100\", sip: {user: a, password: correct-horse-battery}}]}\n")
	certificates := filepath.Join(n.dir, "certs")

	// These go on until they are interrupted.
	ctx, stop := context.WithCancel(t.Context())
	var group sync.WaitGroup
	defer group.Wait()
	defer stop()
	type going struct {
		what        string
		out, errOut *buffer
	}
	var all []going
	for _, args := range [][]string{{"monitor", "100"}, {"watch", "100"}, {"route", "600", "--to", "101"}, {"system-status", "--follow"}} {
		g := going{args[0], &buffer{}, &buffer{}}
		root := newRoot()
		root.SetOut(g.out)
		root.SetErr(g.errOut)
		all, ran[args[0]] = append(all, g), true
		group.Go(func() { execute(ctx, root, append(args, "--json", "--server", n.server)) })
	}
	wait.For(t, "the monitor and the rows", func() bool {
		return strings.Contains(all[0].errOut.String(), "monitor ") && strings.Contains(all[1].out.String(), "device")
	})

	for _, row := range []struct {
		args   string
		status int
	}{
		{"version", 0}, {"check -c " + n.file, 0}, {"check -c " + request, 2}, {"check -c nowhere", 2}, {"call 100", 2}, {"call --bogus 100 101", 2}, {"bogus", 2},
		{"decode 26 80 0E A1 0C 02 01 02 02 01 49 30 04 55 02 00 01", 0}, {"decode zz", 2},
		{"accounts add crm --generate --accounts " + n.dir + "/accounts", 0}, {"accounts add other --password-file " + secret + " --accounts " + n.dir + "/accounts", 0}, {"accounts change crm --generate --accounts " + n.dir + "/accounts", 0},
		{"accounts list --accounts " + n.dir + "/accounts", 0}, {"accounts remove crm --accounts " + n.dir + "/accounts", 0}, {"accounts remove crm --accounts " + n.dir + "/accounts", 1},
		{"tokens add crm --tokens " + n.dir + "/tokens", 0}, {"tokens list --tokens " + n.dir + "/tokens", 0}, {"tokens revoke crm --tokens " + n.dir + "/tokens", 0}, {"tokens revoke crm --tokens " + n.dir + "/tokens", 1},
		{"policy explain --as crm MakeCall 100 101 -c " + n.file, 0}, {"policy explain --as crm --front api --scope observe MakeCall 100 101 -c " + n.file, 1},
		{"policy translate tel:100 -c " + n.file, 0}, {"policy translate a/b -c " + n.file, 1},
		{"certs init --folder " + certificates, 0}, {"certs issue a --folder " + certificates, 0}, {"certs request b --folder " + certificates, 0}, {"certs renew a --folder " + certificates, 0},
		{"certs list --folder " + certificates, 0}, {"certs inspect " + certificates + "/a.pem", 0},
		{"certs export a " + n.dir + "/a.p12 --password-file " + secret + " --folder " + certificates, 0}, {"certs import c " + n.dir + "/a.p12 --password-file " + secret + " --folder " + certificates, 0},
		{"phone snippet Yealink 100 -c " + phones, 0},
		{"status --socket " + n.socket, 0}, {"status --socket nowhere", 1}, {"reload --dry-run --socket " + n.socket, 0}, {"unlock --socket " + n.socket, 0}, {"unlock a --socket " + n.socket, 1},
		{"server start nothing --socket " + n.socket, 1}, {"server stop nothing --socket " + n.socket, 1},
		{"webhooks list --socket " + n.socket, 0}, {"webhooks dead a --socket " + n.socket, 1}, {"webhooks replay a --all --socket " + n.socket, 1}, {"webhooks drop a 1 --socket " + n.socket, 1},
		{"webhooks enable a --socket " + n.socket, 1}, {"webhooks remove a --owner b --socket " + n.socket, 1},
		{"features", 0}, {"devices", 0}, {"device 100", 0}, {"capabilities", 0}, {"system-status", 0}, {"snapshot 100", 0}, {"send " + request, 0}, {"script " + script, 0}, {"snapshot 999", 1},
		{"call 100 101", 0}, {"answer 101", 0}, {"hold 100", 0}, {"hold 100", 1}, {"retrieve 100", 0}, {"digits 100 12", 0}, {"user-info 100 c0ffee", 0}, {"associate 100 --subject x", 0},
		{"consult 100 102", 0}, {"reconnect 100", 0}, {"consult 100 102", 0}, {"answer 102", 0}, {"alternate 100", 0}, {"conference 100", 0}, {"join 100 103", 0}, {"clear 103", 0}, {"clear-call 100", 0},
		{"call 100 101", 0}, {"deflect 101 102", 0}, {"pickup 102 103", 0}, {"transfer 103 104", 0}, {"park 104 300", 1}, {"intrude 105", 1}, {"campon 105", 1}, {"clear-call 100", 0},
		{"group-pickup 105", 1}, {"predict 100 101", 0}, {"callback 100 --list", 0}, {"last-number 100", 0},
		{"play 100 hello", 1}, {"record 100", 1}, {"stop 100", 1},
		{"forward 100 always 102", 0}, {"forward 100", 0}, {"dnd 100", 0}, {"mwi 100", 0}, {"auto-answer 100", 0}, {"auto-work 100", 0}, {"agent 108", 0},
		{"trace --socket " + n.socket, 0}, {"trace --device 999 --socket " + n.socket, 0}, {"trace --octets --socket " + n.socket, 1}, {"trace --file " + n.traced, 0}, {"trace --file nowhere", 1}, {"trace --file x --follow", 2},
		{"audit verify -c " + n.file, 0}, {"audit verify --file nowhere", 2},
	} {
		args := strings.Fields(row.args)
		cmd, _, err := newRoot().Find(args)
		if err == nil {
			ran[strings.TrimPrefix(cmd.CommandPath(), "tr87proxy ")] = true
			if cmd.GroupID == "client" {
				args = append(args, "--server", n.server)
			}
		}
		r := runCommand(t.Context(), "", append(args, "--json")...)
		jsonLines(t, row.args, r.out)
		last := jsonLines(t, row.args, r.errOut)
		if r.status != row.status {
			t.Errorf("%s: status %d, want %d\n%s%s", row.args, r.status, row.status, r.out, r.errOut)
		}
		if r.status != 0 {
			object, _ := append([]any{nil}, last...)[len(last)].(map[string]any)
			if text, _ := object["error"].(string); text == "" || r.status == exitUsage != (object["kind"] == "usage") {
				t.Errorf("%s fails with %s", row.args, r.errOut)
			}
		}
	}
	stop()
	group.Wait()
	for _, g := range all {
		if list := jsonLines(t, g.what, g.out.String()); len(list) == 0 && g.what != "route" {
			t.Errorf("%s has written nothing", g.what)
		}
		jsonLines(t, g.what, g.errOut.String())
	}
	walk(newRoot(), func(cmd *cobra.Command) {
		path := strings.TrimPrefix(cmd.CommandPath(), "tr87proxy ")
		if reason := noJSONOf(cmd); reason != "" {
			if r := runCommand(t.Context(), "", append(strings.Fields(path), "--json", "x")...); r.status != exitUsage || r.out != "" {
				t.Errorf("%s --json: status %d, %s%s", path, r.status, r.out, r.errOut)
			}
			return
		}
		if !ran[path] {
			t.Errorf("%s was not run with --json: does it write JSON?", path)
		}
	})
}

// walk calls do with each command that does something, but for those of cobra.
func walk(cmd *cobra.Command, do func(*cobra.Command)) {
	if name := cmd.Name(); name == "completion" || name == "help" { // for shells and for people
		return
	}
	if !cmd.HasSubCommands() {
		do(cmd)
	}
	for _, sub := range cmd.Commands() {
		walk(sub, do)
	}
}

// noJSONOf returns why a command has no --json; "" if it has one.
func noJSONOf(cmd *cobra.Command) string {
	for ; cmd != nil; cmd = cmd.Parent() {
		if reason := cmd.Annotations[noJSON]; reason != "" {
			return reason
		}
	}
	return ""
}

// The error of a refused request names its category and value, one of a session its status, and one of a configuration each fault.
func TestDescribeFailure(t *testing.T) {
	n := startNode(t)
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"snapshot", "999", "--json", "--server", n.server}, `"kind":"csta","code":"operation/invalidDeviceID"`},
		{[]string{"snapshot", "100", "--json", "--line", "tel:99999", "--server", n.server}, `"kind":"sip","code":"403"`},
		{[]string{"hold", "100", "--json", "--server", n.server}, `{"error":"100 has no call in state connected"}`},
	} {
		if r := runCommand(t.Context(), "", tt.args...); r.status != exitFailed || !strings.Contains(r.errOut, tt.want) || strings.Count(r.errOut, "\n") != 1 {
			t.Errorf("%v: status %d, %s, want %s", tt.args, r.status, r.errOut, tt.want)
		}
	}
	bad := filepath.Join(n.dir, "bad.yaml")
	if err := os.WriteFile(bad, []byte("grants: [{who: a, control: [\"100\"]}]\nlog: {format: xml}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := runCommand(t.Context(), "", "check", "--json", "-c", bad)
	var got failure
	if err := json.Unmarshal([]byte(r.errOut), &got); err != nil || len(got.Faults) == 0 || got.Faults[len(got.Faults)-1].Key != "log.format" || got.Faults[len(got.Faults)-1].Line != 2 {
		t.Errorf("check: %v, %s", err, r.errOut)
	}
}
