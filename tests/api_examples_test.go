package tests

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// apiExample is the programs of examples/api in a language.
type apiExample struct {
	name      string
	tools     []string // which Debian has
	pop, dial []string // commands; the arguments follow
}

// apiExamples returns those of all languages. Their paths are from the folder examples/api.
func apiExamples(t *testing.T) []apiExample {
	t.Helper()
	folder, err := filepath.Abs("../examples/api")
	if err != nil {
		t.Fatal(err)
	}
	in := func(name string) string { return filepath.Join(folder, name) }
	return []apiExample{
		{"Python", []string{"python3"}, []string{"python3", in("screenpop.py")}, []string{"python3", in("dial.py")}},
		{"Node", []string{"node"}, []string{"node", in("screenpop.mjs")}, []string{"node", in("dial.mjs")}},
		{"Go", nil, []string{example(t, "api/screenpop")}, []string{example(t, "api/dial")}},
		{"curl", []string{"curl", "jq"}, []string{in("screenpop.sh")}, []string{in("dial.sh")}},
		{"PHP", []string{"php"}, []string{"php", in("screenpop.php")}, []string{"php", in("dial.php")}},
		{"C#", nil, []string{"dotnet", "run", in("ScreenPop.cs"), "--"}, []string{"dotnet", "run", in("Dial.cs"), "--"}},
	}
}

// apiClient runs the examples of a language against a proxy.
type apiClient struct {
	apiExample
	t      *testing.T
	folder string
	env    []string
}

func (c *apiClient) command(args ...string) *exec.Cmd {
	cmd := exec.CommandContext(c.t.Context(), args[0], args[1:]...)
	cmd.Dir, cmd.Env = c.folder, append(os.Environ(), c.env...)
	return cmd
}

// popping starts the screen pop of a device. What returns ends it and returns what it has said.
func (c *apiClient) popping(device string) (out *log, end func()) {
	c.t.Helper()
	out = &log{}
	cmd := c.command(append(c.pop, device)...)
	cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = out, out, &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() { defer close(exited); _ = cmd.Wait() }()
	end = func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM)
		<-exited
	}
	c.t.Cleanup(end)
	return out, end
}

// eventOf returns the number of the event that says that a call rings at a device, after that of another event.
func (c *apiClient) eventOf(port int, token, device, call, after string) string {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	query := url.Values{"devices": {device}, "types": {"delivered"}, "after": {after}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d/v1/events?%s", port, query.Encode()), nil)
	if err != nil {
		c.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	for lines := bufio.NewScanner(res.Body); lines.Scan(); {
		var event struct{ ID, Call string }
		if data, is := strings.CutPrefix(lines.Text(), "data: "); is && json.Unmarshal([]byte(data), &event) == nil && event.Call == call {
			return event.ID
		}
	}
	c.t.Fatalf("no event of call %s comes: %s", call, res.Status)
	return ""
}

// dialled has a device call another one, and returns the call.
func (c *apiClient) dialled(from, to string) string {
	c.t.Helper()
	cmd := c.command(append(c.dial, from, to)...)
	var out, faults bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &faults
	err := cmd.Run()
	call, ok := strings.CutPrefix(strings.TrimSpace(out.String()), "call ")
	if err != nil || !ok {
		c.t.Fatalf("%v: %q %q", err, out.String(), faults.String())
	}
	return call
}

// Each example does in its language what README.md says: it pops up callers, also those that called while it did not run,
// and those who ring when it begins; it places calls; and it says what is wrong.
func TestAPIExamples(t *testing.T) {
	t.Parallel()
	port := freePort(t)
	tokens := filepath.Join(t.TempDir(), "tokens")
	token := addToken(t, tokens, "--scope", "control", "crm")
	r := serve(t, fmt.Sprintf("api: {listen: [{transport: tcp, address: \"127.0.0.1:%d\"}]}\napplication-sessions: {tokens-file: %s}\ngrants: [{who: crm, control: [\"*\"], dial: [\"*\"]}]\n", port, tokens))
	for i, of := range apiExamples(t) {
		c := &apiClient{
			apiExample: of, folder: t.TempDir(),
			env: []string{fmt.Sprintf("TR87_URL=http://127.0.0.1:%d", port), "TR87_TOKEN=" + token, "DOTNET_CLI_TELEMETRY_OPTOUT=1", "PYTHONDONTWRITEBYTECODE=1"},
		}
		from, to := fmt.Sprint(1000+2*i), fmt.Sprint(1001+2*i)
		t.Run(of.name, func(t *testing.T) {
			c.t = t
			if of.name == "C#" {
				optional(t, "dotnet")
			}
			for _, name := range of.tools {
				tool(t, name)
			}
			line := from + " calls " + to + "\n"
			hangUp := func(call string) {
				t.Helper()
				if status, _, text := web(t, port, "POST", "/v1/devices/"+from+"/calls/"+call+"/clear", "{}", "Authorization", "Bearer "+token); status != 200 {
					t.Fatal(status, text)
				}
			}
			position := func() string {
				data, _ := os.ReadFile(filepath.Join(c.folder, "screenpop-"+to+".position"))
				return strings.TrimSpace(string(data))
			}
			call := c.dialled(from, to)
			out, end := c.popping(to)
			waitFor(t, "the call that rings already", func() bool { return strings.Contains(out.String(), line) })
			hangUp(call)
			hangUp(c.dialled(from, to))
			waitFor(t, "a call that comes", func() bool { return out.String() == line+line })
			before := position()
			end()
			call = c.dialled(from, to)
			hangUp(call)
			told := c.eventOf(port, token, to, call, before)
			out, end = c.popping(to)
			waitFor(t, "the call that came meanwhile", func() bool { return strings.HasSuffix(out.String(), line) })
			waitFor(t, "its position", func() bool { return position() == told })
			end()
			out, _ = c.popping(to)
			hangUp(c.dialled(from, to))
			waitFor(t, "a call after it", func() bool { return strings.Contains(out.String(), line) })
			if out.String() != line {
				t.Errorf("it says again what it has said: %q", out)
			}

			fails := c.command(append(c.dial, "7777", to)...)
			data, err := fails.CombinedOutput()
			if err == nil || !strings.Contains(string(data), "device") {
				t.Errorf("a call from a device that is not there: %v %q", err, data)
			}
			c.env = append(c.env, "TR87_TOKEN=tr87_wrong")
			data, err = c.command(append(c.dial, from, to)...).CombinedOutput()
			if err == nil || !strings.Contains(string(data), "token") || strings.Contains(string(data), "call ") {
				t.Errorf("a call with a wrong token: %v %q", err, data)
			}
			out, _ = c.popping(to)
			waitFor(t, "what is wrong with the token", func() bool { return strings.Contains(out.String(), "token") })
		})
	}
	r.stop()
}
