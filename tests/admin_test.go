package tests

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// administered is a running proxy and what its administrator does with it.
type administered struct {
	*running
	socket string
}

func administer(t *testing.T, extra string) *administered {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "admin.sock")
	return &administered{serve(t, "admin: {socket: "+socket+"}\n"+extra), socket}
}

// admin runs a command against the proxy's socket.
func (a *administered) admin(want int, args ...string) string {
	a.t.Helper()
	out, status := command(a.t, append(args, "--socket", a.socket)...)
	if status != want {
		a.t.Errorf("%v: status %d, want %d\n%s", args, status, want, out)
	}
	return out
}

// edit changes the configuration file.
func (a *administered) edit(old, now string) {
	a.t.Helper()
	file := filepath.Join(a.dir, "config.yaml")
	data, err := os.ReadFile(file)
	if err != nil || !strings.Contains(string(data), old) {
		a.t.Fatalf("%q is not there (%v)", old, err)
	}
	if err := os.WriteFile(file, []byte(strings.Replace(string(data), old, now, 1)), 0o600); err != nil {
		a.t.Fatal(err)
	}
}

func TestStatus(t *testing.T) {
	t.Parallel()
	a := administer(t, everybody)
	c := a.xml()
	c.monitor("1000")
	out := a.admin(0, "status", "--sessions", "--devices")
	for _, want := range []string{
		"sip-udp", "sip-tcp", "sip-tls", "xml-tcp", "xml-tls", "open", "switch  up, normal", "1 session, 0 application sessions, 1 monitor",
		"127.0.0.1 (address)  xml:127.0.0.1:", "1000          switch  1",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("status does not show %q:\n%s", want, out)
		}
	}
	var st struct {
		Core struct {
			Sessions int
			Links    []struct {
				Name string
				Up   bool
			}
		}
		Devices []struct{ Device string }
	}
	if err := json.Unmarshal([]byte(a.admin(0, "status", "--json", "--devices")), &st); err != nil || st.Core.Sessions != 1 || !st.Core.Links[0].Up || st.Devices[0].Device != "1000" {
		t.Errorf("%+v, %v", st, err)
	}
	if info, err := os.Stat(a.socket); err != nil || info.Mode().Perm() != 0o600 {
		t.Error(info.Mode(), err)
	}
	// another proxy does not take the socket away
	other := start(t, program(t), "serve", "-c", filepath.Join(a.dir, "config.yaml"))
	if err := other.wait(patience); err == nil {
		t.Error("two proxies on one socket")
	}
	a.admin(0, "status")
	a.stop()
	if out := a.admin(1, "status"); !strings.Contains(out, "no running tr87proxy has this socket") {
		t.Error(out)
	}
}

// A server that is stopped takes leave of its clients, of its own only, and can be started
// again.
func TestServerStop(t *testing.T) {
	t.Parallel()
	a := administer(t, everybody)
	onTCP, onTLS := a.xml(), dialTLS(a)
	onTCP.monitor("1000")
	onTLS.monitor("1000")
	a.admin(0, "server", "stop", "xml-tcp")
	if _, m, err := onTCP.read(); err == nil {
		t.Errorf("still connected: %s", m)
	}
	if m := onTLS.ask(uacsta.RequestSystemStatus{}); m.Text("systemStatus") != "normal" {
		t.Errorf("%s", m)
	}
	if out := a.admin(1, "server", "stop", "xml-tcp"); !strings.Contains(out, "the listener is closed already") {
		t.Error(out)
	}
	if out := a.admin(1, "server", "stop", "xml-udp"); !strings.Contains(out, `there is no listener "xml-udp"; there are: sip-udp`) {
		t.Error(out)
	}
	if out := a.admin(0, "status"); !strings.Contains(out, "stopped") {
		t.Error(out)
	}
	a.admin(0, "server", "start", "xml-tcp")
	if m := a.xml().ask(uacsta.RequestSystemStatus{}); m.Text("systemStatus") != "normal" {
		t.Errorf("%s", m)
	}
	if out := a.admin(1, "server", "start", "xml-tcp"); !strings.Contains(out, "the listener is open already") {
		t.Error(out)
	}
	// SIP: dialogs end with BYE
	for _, transport := range []string{"tcp", "udp"} {
		watcher := start(t, program(t), "monitor", "1000", "--server", fmt.Sprintf("sip:x@127.0.0.1:%d;transport=%s", a.port, transport))
		waitFor(t, "the dialog", func() bool { return a.metric("tr87proxy_sip_dialogs") == 1 })
		a.admin(0, "server", "stop", "sip-"+transport)
		if err := watcher.wait(patience); err == nil {
			t.Error("the client ended well, although its session was ended")
		}
		if n := a.metric("tr87proxy_sip_dialogs"); n != 0 {
			t.Errorf("%v dialogs", n)
		}
		if out, status := command(t, "system-status", "--timeout", "1s", "--server", fmt.Sprintf("sip:x@127.0.0.1:%d;transport=%s", a.port, transport)); status == 0 {
			t.Error(out)
		}
		a.admin(0, "server", "start", "sip-"+transport)
		if out, status := command(t, "system-status", "--server", fmt.Sprintf("sip:x@127.0.0.1:%d;transport=%s", a.port, transport)); status != 0 {
			t.Error(out)
		}
	}
	a.stop()
}

func dialTLS(a *administered) *xmlClient {
	conn, err := tlsConn(a.running)
	return dialXML(a.t, conn, err)
}

// A reload applies what it can, says what it cannot, and ends what is not allowed any
// more; with faults it changes nothing.
func TestReload(t *testing.T) {
	t.Parallel()
	const grants = "grants: [{who: \"127.0.0.1\", control: [\"10??\"], dial: [\"10??\"]}]\n"
	a := administer(t, "trusted: [{address: 127.0.0.1}]\n"+grants)
	c := a.xml()
	kept, lost := c.monitor("1000"), c.monitor("1010")
	if kept == "" || lost == "" {
		t.Fatal("no monitors")
	}
	if out := a.admin(0, "reload"); out != "nothing has changed\n" {
		t.Error(out)
	}
	a.edit("control: [\"10??\"]", "control: [\"100?\"]")
	a.edit("event-wait: 500ms", "event-wait: 600ms")
	if out := a.admin(0, "reload"); !strings.HasPrefix(out, "changed: grants\nneeds a restart: sip.event-wait (") || !strings.Contains(out, "\nended: 0 sessions, 1 monitors, 0 registrations, 0 others\n  monitor of 1010: 127.0.0.1 (address) xml:127.0.0.1:") || strings.Count(out, "\n") != 4 {
		t.Error(out)
	}
	if m := c.hear(); m.Name() != "MonitorStop" || m.CrossRef() != lost {
		t.Errorf("%s", m)
	}
	if m := c.ask(call("1010", "1000")); m.Err() == nil {
		t.Errorf("%s", m)
	}
	c.ask(call("1001", "1000"))
	if ev := c.hear(); ev.CrossRef() != kept {
		t.Errorf("%s", ev)
	}
	a.edit("control: [\"100?\"]", "contrrol: [\"100?\"]")
	if out := a.admin(1, "reload"); !strings.Contains(out, "did you mean control?") {
		t.Error(out)
	}
	if m := c.ask(uacsta.SnapshotDevice{SnapshotObject: uacsta.Dev("1000")}); m.Err() != nil {
		t.Errorf("%s", m)
	}
	// listeners come and go; SIGHUP does the same
	a.edit("contrrol", "control")
	port := freePort(t)
	a.edit("xml:\n  listen:\n", fmt.Sprintf("xml:\n  listen:\n  - {name: more, transport: tcp, address: \"127.0.0.1:%d\"}\n", port))
	if err := a.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	more := &running{process: a.process, xmlPort: port}
	waitFor(t, "the listener", func() bool { return strings.Contains(a.admin(0, "status"), "more") })
	if m := more.xml().ask(uacsta.RequestSystemStatus{}); m.Text("systemStatus") != "normal" {
		t.Errorf("%s", m)
	}
	// who is not trusted any more is gone
	a.edit("trusted: [{address: 127.0.0.1}]", "trusted: [{address: 192.0.2.1}]")
	a.admin(0, "reload")
	c.news = nil
	for {
		if _, _, err := c.read(); err != nil {
			break
		}
	}
	waitFor(t, "the end of every session", func() bool { return a.metric("tr87proxy_sessions") == 0 && a.metric("tr87proxy_link_monitors") == 0 })
	a.stop()
}

// Links come and go with a reload: the monitors of devices that go elsewhere end.
func TestReloadLinks(t *testing.T) {
	t.Parallel()
	back := serve(t, everybody)
	a := administer(t, diallers+"links: []\n")
	c := a.xml()
	here := c.monitor("1000")
	link := fmt.Sprintf("links: [{name: back, addresses: [\"127.0.0.1:%d\"], devices: [\"1000-1009\"], heartbeat: 1s}]", back.xmlPort)
	a.edit("links: []", link)
	if out := a.admin(0, "reload"); !strings.HasPrefix(out, "changed: links\nlink back opened\nended: 0 sessions, 1 monitors, 0 registrations, 0 others\n  monitor of 1000: 127.0.0.1") || strings.Count(out, "\n") != 4 {
		t.Error(out)
	}
	if m := c.hear(); m.Name() != "MonitorStop" || m.CrossRef() != here {
		t.Errorf("%s", m)
	}
	a.linked("back")
	there := c.monitor("1000")
	if there == "" || back.metric("tr87proxy_link_monitors") != 1 {
		t.Error("the monitor is not there")
	}
	a.edit("1000-1009", "1000-1008") // the link itself goes on
	a.admin(0, "reload")
	c.ask(call("1000", "1001"))
	for {
		if m := c.hear(); m.Name() == "DeliveredEvent" {
			break
		}
	}
	a.edit(strings.Replace(link, "1000-1009", "1000-1008", 1), "links: []")
	a.admin(0, "reload")
	for {
		if m := c.hear(); m.Name() == "MonitorStop" && m.CrossRef() == there {
			break
		}
	}
	waitFor(t, "the end of the link", func() bool { return back.metric("tr87proxy_sessions") == 0 })
	a.stop()
	back.stop()
}

// The log says from time to time what there is, where something has changed.
func TestStatusInLog(t *testing.T) {
	r := serve(t, "log: {status-interval: 50ms}\n"+everybody)
	r.xml().monitor("1000")
	waitFor(t, "the summary", func() bool {
		return strings.Contains(r.out.String(), "msg=status sessions=1 applications=0 monitors=1")
	})
	r.stop()
}
