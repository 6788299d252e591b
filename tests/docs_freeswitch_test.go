package tests

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// alone runs a test in a network namespace of its own, where it has the ports that documents name. It reports whether
// this is the run inside.
func alone(t *testing.T) bool {
	t.Helper()
	const inside = "TR87_ALONE"
	if os.Getenv(inside) == t.Name() {
		return true
	}
	if out, err := exec.CommandContext(t.Context(), "unshare", "--net", "true").CombinedOutput(); err != nil {
		t.Skipf("no network namespace can be made here: %v, %s", err, out)
	}
	self := []string{"--net", "sh", "-c", `ip link set lo up && exec "$0" "$@"`, os.Args[0], "-test.run", "^" + t.Name() + "$", "-test.v", fmt.Sprintf("-test.short=%v", testing.Short())}
	cmd := exec.CommandContext(t.Context(), "unshare", self...)
	cmd.Env, cmd.WaitDelay = append(os.Environ(), inside+"="+t.Name()), 10*time.Second
	out, err := cmd.CombinedOutput()
	switch {
	case err != nil:
		t.Errorf("%v\n%s", err, out)
	case strings.Contains(string(out), "--- SKIP: "+t.Name()):
		t.Skipf("%s", out)
	case !strings.Contains(string(out), "--- PASS: "+t.Name()):
		t.Errorf("it did not run:\n%s", out)
	}
	return false
}

// Whoever does what docs/freeswitch.md prints below "The first call" sees a call between two telephones of a real FreeSWITCH.
func TestFirstCallOfFreeSWITCH(t *testing.T) {
	long(t)
	freeswitchProgram(t)
	if !alone(t) {
		return
	}
	printed := part(t, "../docs/freeswitch.md", "## The first call")
	param := regexp.MustCompile(`name="(listen-ip|password)" value="([^"]+)"`)
	domain := regexp.MustCompile(`(?m)^ +domain: (\S+)`)
	f := realFreeSWITCH(t, func(f *realSwitch) {
		f.Events = 8021
		for _, b := range printed {
			for _, found := range param.FindAllStringSubmatch(b.text, -1) {
				if found[1] == "password" {
					f.Password = found[2]
				}
			}
			if found := domain.FindStringSubmatch(b.text); found != nil {
				f.Domain = found[1]
			}
		}
	})
	if f.Password == "ClueCon" || f.Domain == "pbx.test" {
		t.Fatalf("the document has no password or no domain: %s, %s", f.Password, f.Domain)
	}
	for _, p := range f.telephones("1001", "1002") {
		p.auto.Store(true)
	}
	folder := t.TempDir()
	if err := os.Symlink(program(t), filepath.Join(folder, "tr87proxy")); err != nil {
		t.Fatal(err)
	}
	const serves = "server=$!; await\n" // and the reader waits for what the document says of the log
	script := strings.Replace(tour(printed), serves, serves+"until grep -q 'link up. link=freeswitch' serve.out; do kill -0 $server; pause; done\n", 1)
	for _, command := range []string{"check", "serve", "monitor 1001 1002", "call 1001 1002"} {
		if !strings.Contains(script, ": tr87proxy "+command+"'\n") {
			t.Errorf("the document does not run %s: this test shows little", command)
		}
	}
	cmd := exec.CommandContext(t.Context(), "bash", "-c", script)
	cmd.Dir, cmd.WaitDelay, cmd.Env = folder, 10*time.Second, append(os.Environ(), "PATH="+folder+":"+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	for _, seen := range []string{"no faults", "Delivered", "Established", "ConnectionCleared"} {
		if err != nil || !strings.Contains(string(out), seen) {
			log, _ := os.ReadFile(filepath.Join(folder, "serve.out"))
			t.Fatalf("%v; nobody sees %s in:\n%s\n%s", err, seen, out, log)
		}
	}
	f.idle()
}
