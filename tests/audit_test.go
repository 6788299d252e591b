package tests

import (
	"bufio"
	octets "encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/audit"
	"github.com/tr87proxy/tr87proxy/internal/wait"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// kills is more for whoever wants to be sure.
var kills = flag.Int("kills", 3, "how often TestAuditKilled kills the proxy")

const controllers = diallers + "limits: {requests-per-second: 1000000}\n"

// controller sends control requests, each to a destination of its own, and stores their
// responses.
type controller struct {
	conn     net.Conn
	r        *bufio.Reader
	answered map[string]*uacsta.Message // by the destination
}

func (r *running) controller() *controller {
	r.t.Helper()
	conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", r.xmlPort))
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = conn.Close() })
	return &controller{conn, bufio.NewReader(conn), map[string]*uacsta.Message{}}
}

// ask sends several requests at once, and reads their responses.
func (c *controller) ask(device string, destinations ...string) error {
	var frames []byte
	for id, destination := range destinations {
		req := uacsta.Encode(uacsta.SetForwarding{Device: uacsta.Dev(device), ActivateForward: true, ForwardDN: ptr(uacsta.Dev(destination))}, uacsta.Edition6).Bytes()
		frames = octets.BigEndian.AppendUint16(append(frames, 0, 0), uint16(8+len(req)))
		frames = append(fmt.Appendf(frames, "%04d", id), req...)
	}
	_ = c.conn.SetDeadline(time.Now().Add(patience))
	if _, err := c.conn.Write(frames); err != nil {
		return err
	}
	for want := range destinations {
		header := make([]byte, 8)
		if _, err := io.ReadFull(c.r, header); err != nil {
			return err
		}
		document := make([]byte, octets.BigEndian.Uint16(header[2:4])-8)
		if _, err := io.ReadFull(c.r, document); err != nil {
			return err
		}
		if string(header[4:]) != fmt.Sprintf("%04d", want) {
			return fmt.Errorf("answer %s comes where that to %04d should be", header[4:], want)
		}
		m, err := uacsta.Parse(document)
		if err != nil {
			return err
		}
		c.answered[destinations[want]] = m
	}
	return nil
}

// destinations makes numbers that no other request has.
func destinations(round, client, n, many int) (list []string) {
	for i := range many {
		list = append(list, fmt.Sprintf("5%03d%02d%06d", round, client, n*many+i))
	}
	return list
}

// unwritten reports whether a request was refused because the audit file could not be written.
func unwritten(m *uacsta.Message) bool {
	e := m.Err()
	return e != nil && e.Category == uacsta.SystemResourceAvailability && e.Value == uacsta.ResourceLimitExceeded
}

// Killed at any moment, also while files change, the proxy has written down every request that it
// answered; a line that was torn is cut off, and the chain goes on.
func TestAuditKilled(t *testing.T) {
	t.Parallel()
	long(t)
	const clients, window = 4, 8
	file := filepath.Join(t.TempDir(), "audit.log")
	config := controllers + "log: {level: warn}\naudit: {file: " + file + ", max-mib: 1, keep: 10000}\n"
	answered, known := 0, map[string]bool{} // files that are full
	for round := range *kills {
		r := serve(t, config)
		var group sync.WaitGroup
		var all []*controller
		writes := make(chan struct{}, 1) // this life has written lines
		for client := range clients {
			c := r.controller()
			all = append(all, c)
			group.Go(func() {
				for n := 0; c.ask(fmt.Sprint(1000+client), destinations(round, client, n, window)...) == nil; n++ {
					select {
					case writes <- struct{}{}:
					default:
					}
				}
			})
		}
		wait.Next(t, writes, "an answer")
		time.Sleep(time.Duration(100+rand.IntN(500)) * time.Millisecond) // the moment is what is tried
		_ = r.cmd.Process.Kill()
		group.Wait()
		if err := r.wait(patience); err == nil {
			t.Error("it was not killed")
		}
		missing := map[string]bool{}
		for _, c := range all {
			for destination := range c.answered {
				missing[destination] = true
			}
		}
		answered += len(missing)
		for _, name := range audit.Files(file) {
			if known[name] {
				continue
			}
			for line := range strings.Lines(contents(t, name)) {
				_, after, found := strings.Cut(line, `"destinations":["`)
				if destination, _, _ := strings.Cut(after, `"`); found && strings.Contains(line, `"kind":"done"`) {
					delete(missing, destination)
				}
			}
			known[name] = name != file
		}
		if len(missing) > 0 {
			t.Fatalf("life %d: %d requests were answered, and are not in the audit file", round, len(missing))
		}
		if round%3 == 1 { // as if the machine had failed in the midst of a line
			f, err := os.OpenFile(file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = f.WriteString(`{"number":4711,"time":"2026-`)
			_ = f.Close()
		}
	}
	serve(t, config).stop()
	report, err := audit.Verify(nil, audit.Files(file))
	if err != nil || report.First != 1 || len(report.Gaps) != min(*kills, 100) {
		t.Errorf("%+v, %v", report, err)
	}
	t.Logf("%d requests were answered in %d lives, and all are in %d files", answered, *kills, len(audit.Files(file)))
}

// contents returns the contents of a file, or none if it does not exist.
func contents(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return string(data)
}

// While the disk is full, control requests are refused, and everybody who looks is told; when it
// has room again the audit file has everything that was answered, and says what is missing.
func TestAuditFull(t *testing.T) {
	long(t)
	t.Run("limit", func(t *testing.T) {
		limit := func(r *running, size string) {
			t.Helper()
			if out, err := exec.Command(tool(t, "prlimit"), "--pid", fmt.Sprint(r.cmd.Process.Pid), "--fsize="+size+":unlimited").CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
		}
		full(t, t.TempDir(), func(r *running) { limit(r, "100000") }, func(r *running) { limit(r, "unlimited") })
	})
	t.Run("tmpfs", func(t *testing.T) {
		dir := t.TempDir()
		if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=160k"); errors.Is(err, syscall.EPERM) {
			t.Skip("only root may mount a small disk; the other test has a limit instead")
		} else if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
		full(t, dir, func(*running) {}, func(*running) {
			if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT, "size=16m"); err != nil {
				t.Error(err)
			}
		})
	})
}

func full(t *testing.T, dir string, fill, free func(*running)) {
	file := filepath.Join(dir, "audit.log")
	a := administer(t, controllers+"audit: {file: "+file+"}\n")
	fill(a.running)
	c := a.controller()
	n := 0
	// told asks for more, since a short line may have room where a long one has none, until
	// somebody is told that the file cannot be written
	told := func(who string, said func() bool) {
		t.Helper()
		waitFor(t, who, func() bool {
			n++
			if err := c.ask("1000", destinations(0, 0, n, 8)...); err != nil {
				t.Fatal(err)
			}
			return said()
		})
	}
	const fails = "the audit file cannot be written since"
	told("readiness that fails", func() bool { return strings.Contains(a.get("/readyz"), fails) })
	told("a status that tells", func() bool { return strings.Contains(a.admin(0, "status"), "AUDIT FILE CANNOT BE WRITTEN since ") })
	told("the metric", func() bool { return a.metric("tr87proxy_audit_failing") == 1 })
	watcher := a.xml()
	if m := watcher.ask(uacsta.SnapshotDevice{SnapshotObject: uacsta.Dev("1000")}); m.Err() != nil {
		t.Errorf("%s", m)
	}
	free(a.running)
	waitFor(t, "the end of that", func() bool { return a.get("/readyz") == "ready\n" && a.metric("tr87proxy_audit_failing") == 0 })
	if err := c.ask("1000", "57000000001"); err != nil || unwritten(c.answered["57000000001"]) {
		t.Errorf("%v, %s", err, c.answered["57000000001"])
	}
	counted := int64(a.metric("tr87proxy_audit_refused_total"))
	a.stop()
	if out := a.out.String(); !strings.Contains(out, "the audit file cannot be written") || strings.Count(out, "the audit file cannot be written") != strings.Count(out, "the audit file can be written again") {
		t.Errorf("the log has\n%s", out)
	}
	if _, err := audit.Verify(nil, []string{file}); err != nil {
		t.Error(err)
	}
	kinds, missing, refused := map[string][]string{}, int64(0), int64(0)
	for _, e := range entries(t, file) {
		if e.Kind == "gap" {
			missing += e.Count
		}
		for _, d := range e.Destinations {
			kinds[d] = append(kinds[d], e.Kind)
		}
	}
	for d, m := range c.answered {
		want := "[asked done]"
		if unwritten(m) {
			want = "[]"
			refused++
		}
		if got := fmt.Sprint(kinds[d]); got != want {
			t.Errorf("%s was answered with %s, and is written down as %s", d, m, got)
		}
	}
	if refused == 0 || missing != refused || counted != refused {
		t.Errorf("%d were refused, %d are missing, %d counted", refused, missing, counted)
	}
	if out, status := command(t, "audit", "verify", "--file", file); status != 0 || !strings.Contains(out, "entries are missing: the file could not be written since") {
		t.Error(status, out)
	}
}

// When only the file of strangers cannot be written, that is told, and nothing is refused for it.
func TestAuditStrangersFull(t *testing.T) {
	long(t)
	file := filepath.Join(t.TempDir(), "audit.log")
	a := administer(t, controllers+"audit: {file: "+file+"}\n")
	strangers := audit.TallyPath(file)
	if err := errors.Join(os.Remove(strangers), os.Mkdir(strangers, 0o700)); err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", a.xmlPort))
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
	waitFor(t, "the metric", func() bool { return a.metric("tr87proxy_audit_strangers_failing") == 1 })
	if out := a.get("/readyz"); out != "ready\n" || a.metric("tr87proxy_audit_failing") != 0 {
		t.Errorf("it says %q", out)
	}
	if out := a.admin(0, "status"); !strings.Contains(out, "The audit file of strangers cannot be written since ") || strings.Contains(out, "AUDIT FILE CANNOT") {
		t.Error(out)
	}
	c := a.controller()
	if err := c.ask("1000", "57000000001"); err != nil || unwritten(c.answered["57000000001"]) {
		t.Errorf("%v, %s", err, c.answered["57000000001"])
	}
	if err := os.Remove(strangers); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the end of that", func() bool { return a.metric("tr87proxy_audit_strangers_failing") == 0 })
	a.stop()
	if out := a.out.String(); !strings.Contains(out, "the audit file of strangers cannot be written: their actions are not recorded") || strings.Contains(out, "the audit file cannot be written") {
		t.Errorf("the log has\n%s", out)
	}
}

// Strangers who knock all the time, and peers who connect and close, leave a few lines in a file
// of their own, with how often they did.
func TestAuditStrangers(t *testing.T) {
	dir := t.TempDir()
	file, accounts := filepath.Join(dir, "audit.log"), filepath.Join(dir, "accounts")
	account(t, accounts, "crm", "pw")
	a := administer(t, "audit: {file: "+file+"}\napplication-sessions: {accounts: "+accounts+", xml: mandatory, sip: \"off\"}\ngrants: [{who: crm, control: [\"*\"]}]\n")
	const times = 100
	for range times {
		conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", a.xmlPort))
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.Close()
	}
	bad := a.xml()
	bad.login("crm", "wrong", uacsta.LoginPlain, 600)
	_ = bad.conn.Close()
	conn, err := net.Dial("udp", fmt.Sprintf("127.0.0.1:%d", a.port))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for n := range times {
		_, _ = io.WriteString(conn, invite(n, "sip:mallory@x", ""))
		_ = conn.SetReadDeadline(time.Now().Add(patience))
		if _, err := conn.Read(make([]byte, 65536)); err != nil {
			t.Fatal(err)
		}
	}
	good := a.xml()
	if m := good.login("crm", "pw", uacsta.LoginPlain, 600); m.Name() != "StartApplicationSessionPosResponse" {
		t.Fatalf("%s", m)
	}
	_ = good.conn.Close()
	waitFor(t, "the end of all", func() bool { return a.metric("tr87proxy_sessions") == 0 })
	counted := a.metric("tr87proxy_audit_strangers_total")
	if counted != 2*times+2 { // the bad one is refused, and closed
		t.Errorf("%v are counted", counted)
	}
	a.stop()
	var kinds []string
	for _, e := range entries(t, file) {
		kinds = append(kinds, e.Kind+" "+e.Who)
	}
	if got := fmt.Sprint(kinds); got != "[opened  identified crm closed crm stopped ]" {
		t.Errorf("the audit file has %s", got)
	}
	lines, sum := entries(t, audit.TallyPath(file)), 0
	for _, e := range lines {
		if e.Kind != "stopped" {
			sum += int(max(1, e.Count))
		}
	}
	if sum != int(counted) || len(lines) > 10 {
		t.Errorf("%v are counted, %d lines tell of %d", counted, len(lines), sum)
	}
	if out, status := command(t, "audit", "verify", "--file", file); status != 0 || strings.Count(out, "nothing has been changed") != 2 {
		t.Error(status, out)
	}
}
