package tests

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// console is a telephone whose user types commands.
type console struct {
	*process
	number string
	keys   io.Writer
}

// console starts a telephone of a number with a home directory of its own, and waits until it has registered.
func (x *exchange) console(number, home, name string, args ...string) *console {
	t := x.t
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = home
	cmd.Env = append(os.Environ(), "HOME="+home, "XDG_RUNTIME_DIR="+home, "TERM=dumb")
	keys, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	p := &console{number: number, keys: keys, process: &process{t: t, cmd: cmd, out: &log{}, exited: make(chan error, 1)}}
	cmd.Stdout, cmd.Stderr = p.out, p.out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { p.exited <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		if out := p.out.String(); t.Failed() {
			t.Logf("the telephone of %s said:\n%s", number, out[max(0, len(out)-3000):])
		}
	})
	waitFor(t, "the registration of "+number, func() bool {
		return strings.Contains(x.out.String(), "device="+number+" reachable=true")
	})
	return p
}

// do types commands.
func (p *console) do(commands ...string) {
	p.t.Helper()
	if _, err := io.WriteString(p.keys, strings.Join(commands, "\n")+"\n"); err != nil {
		p.t.Error(err)
	}
}

// says types a command, and waits until the telephone writes a line that matches.
func (p *console) says(pattern, command string) {
	p.t.Helper()
	before := len(p.out.String())
	p.do(command)
	p.writes(pattern, before)
}

// writes waits until the output behind an offset matches a pattern, and returns what its groups match.
func (p *console) writes(pattern string, behind int) (groups []string) {
	p.t.Helper()
	line := regexp.MustCompile(pattern)
	waitFor(p.t, fmt.Sprintf("%q at %s", pattern, p.number), func() bool {
		groups = line.FindStringSubmatch(p.out.String()[behind:])
		return groups != nil
	})
	return groups[1:]
}

// rounds is how often a telephone repeats what is a matter of order, and chance.
const rounds = 20

// withConsole starts an exchange with the telephone that phone returns, and two baresips that answer and record what
// they hear.
func withConsole[T any](t *testing.T, program string, phone func(*exchange) T) (x *exchange, a T, b, c *softphone) {
	t.Helper()
	long(t)
	t.Parallel()
	tool(t, program)
	x = serveTelephones(t, "", "")
	return x, phone(x), x.phone("101", "auto"), x.phone("102", "auto")
}
