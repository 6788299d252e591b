package tests

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"text/template"
	"time"

	"github.com/tr87proxy/tr87proxy/tests/recordings"
)

// realSwitch is a real FreeSWITCH, configured by testdata/freeswitch.xml, with telephones of the tests.
type realSwitch struct {
	*process
	*eventWire // between the proxy and its event socket

	SIP, Outside, Carrier, Events int // ports: of telephones, of the second profile, of the network behind its gateway, of the event socket
	Dir, Voice, Log               string
	Domain, Password, Allowed     string
	Other                         string // a further domain, with the same users; "": none
	Users, Documented             []string

	program string
}

// instances counts FreeSWITCH servers: each has an address of its own for voice.
var instances atomic.Int32

// realFreeSWITCH starts a FreeSWITCH, and skips the test if there is none on this machine. Its log is kept where
// TR87_FREESWITCH_LOG says, at level debug. changes may change its configuration.
func realFreeSWITCH(t *testing.T, changes ...func(*realSwitch)) *realSwitch {
	t.Helper()
	long(t)
	f := &realSwitch{
		program: freeswitchProgram(t), SIP: freePort(t), Outside: freePort(t), Carrier: freePort(t), Events: freePort(t), Dir: t.TempDir(), Log: "warning,err,crit",
		Voice: fmt.Sprintf("127.%d.%d.%d", 100+instances.Add(1)%100, os.Getpid()>>8&255, os.Getpid()&255|1), Domain: "pbx.test", Password: recordings.Password,
	}
	for i := range 20 {
		f.Users = append(f.Users, fmt.Sprint(1000+i))
	}
	for _, b := range blocks(t, "../docs/freeswitch.md") {
		switch allowed := allowedCommands.FindStringSubmatch(b.text); {
		case b.kind == "xml" && strings.HasPrefix(b.text, "<extension "):
			f.Documented = append(f.Documented, b.text)
		case allowed != nil:
			f.Allowed = allowed[1]
		}
	}
	if len(f.Documented) == 0 || f.Allowed == "" {
		t.Fatalf("docs/freeswitch.md has %d extensions, and %q for the user of the event socket", len(f.Documented), f.Allowed)
	}
	if folder := os.Getenv("TR87_FREESWITCH_LOG"); folder != "" {
		f.Log = "debug,info,notice,warning,err,crit"
		t.Cleanup(func() {
			log, _ := os.ReadFile(filepath.Join(f.Dir, "freeswitch.log"))
			_ = os.WriteFile(filepath.Join(folder, strings.ReplaceAll(t.Name(), "/", "-")+".log"), log, 0o600)
		})
	}
	for _, change := range changes {
		change(f)
	}
	text, err := template.ParseFiles("testdata/freeswitch.xml")
	if err != nil {
		t.Fatal(err)
	}
	var config bytes.Buffer
	if err := text.Execute(&config, f); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(f.Dir, "freeswitch.xml"), config.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	f.eventWire = newEventWire(t, fmt.Sprintf("127.0.0.1:%d", f.Events))
	f.boot(t)
	return f
}

// freeswitchProgram is FreeSWITCH where packages and its own installation put it.
func freeswitchProgram(t *testing.T) string {
	t.Helper()
	if program := "/usr/local/freeswitch/bin/freeswitch"; exec.Command(program, "-version").Run() == nil {
		return program
	}
	return optional(t, "freeswitch")
}

var allowedCommands = regexp.MustCompile(`name="esl-allowed-api" value="([^"]+)"`)

// boot starts the program, and waits until its profiles take calls.
func (f *realSwitch) boot(t *testing.T) {
	t.Helper()
	f.process = start(t, f.program, "-nf", "-nc", "-nonat", "-nonatmap", "-conf", f.Dir, "-log", f.Dir, "-db", f.Dir, "-run", f.Dir, "-storage", f.Dir, "-recordings", f.Dir, "-cache", f.Dir, "-temp", f.Dir)
	waitFor(t, "the profiles of FreeSWITCH", func() bool {
		if f.ended() {
			t.Fatalf("FreeSWITCH does not start:\n%s", f.out)
		}
		status, err := f.tell("sofia status")
		return err == nil && strings.Count(status, "RUNNING") >= 2
	})
}

// crash ends FreeSWITCH as a power failure would; restarts starts it again, with what it had stored.
func (f *realSwitch) crash() {
	f.t.Helper()
	_ = syscall.Kill(-f.cmd.Process.Pid, syscall.SIGKILL)
	_ = f.wait(patience)
}

func (f *realSwitch) restarts() {
	f.t.Helper()
	f.crash()
	f.boot(f.t)
}

// api gives FreeSWITCH a command, as somebody else than the proxy.
func (f *realSwitch) api(command string) string {
	f.t.Helper()
	reply, err := f.tell(command)
	if err != nil {
		f.t.Fatalf("%s: %v", command, err)
	}
	return reply
}

func (f *realSwitch) tell(command string) (string, error) {
	conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", f.Events))
	if err != nil {
		return "", err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	if _, err := fmt.Fprintf(conn, "auth %s\n\napi %s\n\n", f.Password, command); err != nil {
		return "", err
	}
	r := textproto.NewReader(bufio.NewReader(conn))
	for {
		head, err := r.ReadMIMEHeader()
		if err != nil {
			return "", err
		}
		length, _ := strconv.Atoi(head.Get("Content-Length"))
		body := make([]byte, length)
		if _, err := io.ReadFull(r.R, body); err != nil {
			return "", err
		}
		if head.Get("Content-Type") == "api/response" {
			return string(body), nil
		}
	}
}

// telephone registers a telephone. It may be called for a number several times.
func (f *realSwitch) telephone(number string) *telephone {
	f.t.Helper()
	p := newTelephone(f.t, f.SIP, number, "secret"+number)
	p.domain = f.Domain
	if m := p.register(600); m.code() != 200 {
		f.t.Fatal(m.start)
	}
	return p
}

// telephones registers several.
func (f *realSwitch) telephones(numbers ...string) (list []*telephone) {
	f.t.Helper()
	for _, number := range numbers {
		list = append(list, f.telephone(number))
	}
	return list
}

// carrier is the network behind the gateway carrier. Calls from it, to 555 and a number, arrive in the context public.
func (f *realSwitch) carrier() *telephone {
	f.t.Helper()
	return listenHandset(f.t, f.Carrier, f.Outside, "0309876", "").alive()
}

// front starts a proxy with a link to it, and waits until the link is up. more are lines of the link's entry; a line
// replaces the one with the same key.
func (f *realSwitch) front(more ...string) *running {
	f.t.Helper()
	lines := []string{
		`devices: ["10??", "02*", "01*", "30*", "59??", "2000", "2001", "9*"]`, "domain: " + f.Domain, `queues: {prefix: "02", numbers: ["95??"]}`, `trunk-prefix: "01"`,
		"park-lot: lot1", "outside: sofia/gateway/carrier/{number}", "session: {password: " + f.Password + "}", "timeout: 5s", "heartbeat: 5s",
		fmt.Sprintf("messages: {folder: %s, recordings: %s, named: [{name: tone, play: 'tone_stream://%%(60000,0,440)'}]}", f.Dir, f.Dir),
	}
	config := "links:\n- name: fs\n  type: freeswitch\n  addresses: [\"" + f.address() + "\"]\n"
	for _, line := range lines {
		key, _, _ := strings.Cut(line, ":")
		for _, other := range more {
			if strings.HasPrefix(other, key+":") {
				line = ""
			}
		}
		if line != "" {
			config += "  " + line + "\n"
		}
	}
	for _, line := range more {
		config += "  " + line + "\n"
	}
	r := serve(f.t, config+"trusted: [{address: 127.0.0.1}]\ngrants: [{who: \"*\", control: [\"*\"], dial: [\"*\"]}]\n")
	r.linked("fs")
	return r
}

// idle waits until FreeSWITCH has no channels, and fails the test when some stay.
func (f *realSwitch) idle() {
	f.t.Helper()
	waitFor(f.t, "the end of all channels", func() bool { return strings.Contains(f.api("show channels count"), "0 total") })
}

// eventWire carries the event socket to the proxy. With TR87_RECORD it writes what passes into files of that folder, in the
// form of the recordings.
type eventWire struct {
	listener net.Listener
	to       string

	mu      sync.Mutex
	pairs   []net.Conn
	refuses bool
	log     bytes.Buffer
	began   time.Time
}

func newEventWire(t *testing.T, to string) *eventWire {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &eventWire{listener: listener, to: to, began: time.Now()}
	t.Cleanup(func() {
		_ = listener.Close()
		w.cut()
		if folder := os.Getenv("TR87_RECORD"); folder != "" {
			w.mu.Lock()
			defer w.mu.Unlock()
			_ = os.WriteFile(filepath.Join(folder, strings.ReplaceAll(t.Name(), "/", "-")+".txt"), w.log.Bytes(), 0o600)
		}
	})
	go w.accept()
	return w
}

func (w *eventWire) address() string { return w.listener.Addr().String() }

func (w *eventWire) accept() {
	for {
		link, err := w.listener.Accept()
		if err != nil {
			return
		}
		peer, err := (&net.Dialer{}).DialContext(context.Background(), "tcp", w.to)
		w.mu.Lock()
		if err != nil || w.refuses {
			_ = link.Close()
			if err == nil {
				_ = peer.Close()
			}
		} else {
			w.pairs = append(w.pairs, link, peer)
			go w.carry("client", link, peer)
			go w.carry("server", peer, link)
		}
		w.mu.Unlock()
	}
}

// carry copies messages in one direction.
func (w *eventWire) carry(kind string, from, to net.Conn) {
	defer func() { _ = from.Close(); _ = to.Close() }()
	if os.Getenv("TR87_RECORD") == "" {
		_, _ = io.Copy(to, from)
		return
	}
	r := bufio.NewReader(from)
	for {
		var text strings.Builder
		length := 0
		for !strings.HasSuffix(text.String(), "\n\n") {
			line, err := r.ReadString('\n')
			if err != nil {
				return
			}
			text.WriteString(line)
			if value, found := strings.CutPrefix(line, "Content-Length: "); found {
				length, _ = strconv.Atoi(strings.TrimSpace(value))
			}
		}
		body := make([]byte, length)
		if _, err := io.ReadFull(r, body); err != nil {
			return
		}
		w.mu.Lock()
		fmt.Fprintf(&w.log, "--- %s +%.3f\n%s\n", kind, time.Since(w.began).Seconds(), brief(text.String(), string(body)))
		w.mu.Unlock()
		if _, err := io.WriteString(to, text.String()+string(body)); err != nil {
			return
		}
	}
}

// superfluous are headers of events that no recording keeps.
var superfluous = regexp.MustCompile(`^(FreeSWITCH-|Event-Date-(Local|GMT)|Event-Calling-|Caller-Channel-|Caller-Privacy-|Caller-Profile-|Caller-Screen-|Other-Leg-(Channel-|Profile-|Privacy-|Screen-)|Core-UUID|Presence-Call-)`)

// keptVariables are the channel variables that recordings keep.
var keptVariables = regexp.MustCompile(`^variable_(sip_call_id|sip_gateway|sip_gateway_name|transfer_disposition|originate_disposition|hangup_cause|bridge_uuid|sip_hangup_disposition|loopback_|other_loopback|is_loopback|last_bridge|signal_bond|originator|originating_leg_uuid|park_after_bridge|transfer_history|transfer_source|sip_auto_answer|originate_failed_cause|sip_term_status|csta_waits_for|transfer_destination|refer_uuid)`)

// brief is a message of the event socket without most headers of its event.
func brief(head, body string) string {
	if !strings.Contains(head, "text/event-plain") {
		return head + body
	}
	var kept strings.Builder
	headers, rest, _ := strings.Cut(body, "\n\n")
	for line := range strings.Lines(headers) {
		if strings.HasPrefix(line, "variable_") && !keptVariables.MatchString(line) || superfluous.MatchString(line) {
			continue
		}
		kept.WriteString(strings.TrimSuffix(line, "\n") + "\n")
	}
	body = kept.String() + "\n" + rest
	return fmt.Sprintf("Content-Length: %d\nContent-Type: text/event-plain\n\n%s", len(body), body)
}

// cut breaks the connections; the link makes a new one.
func (w *eventWire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, conn := range w.pairs {
		_ = conn.Close()
	}
	w.pairs = nil
}

// connected reports whether a link has connected.
func (w *eventWire) connected() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.pairs) > 0
}

// down breaks the connections and lets no new one through, until up.
func (w *eventWire) down() {
	w.mu.Lock()
	w.refuses = true
	w.mu.Unlock()
	w.cut()
}

func (w *eventWire) up() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.refuses = false
}
