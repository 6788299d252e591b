package daemon

import (
	"context"
	cryptotls "crypto/tls"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/certs"
	"github.com/tr87proxy/tr87proxy/internal/config"
	"github.com/tr87proxy/tr87proxy/sip"
	"github.com/tr87proxy/tr87proxy/tr87"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

const limit = 10 * time.Second

// bench is a running node, and the file that it is reloaded from.
type bench struct {
	t      *testing.T
	file   string
	folder string
	node   *Node
	text   string
}

// run runs a node whose configuration is text, where FOLDER is a folder with certificates.
func run(t *testing.T, text string) *bench {
	t.Helper()
	b := &bench{t: t, folder: t.TempDir()}
	for _, err := range []error{
		certs.Init(b.folder, "Lab", 24*time.Hour, false),
		certs.Issue(b.folder, certs.Wish{Name: "one", Kind: certs.Server, Names: []string{"localhost", "127.0.0.1"}, Valid: 24 * time.Hour}),
		certs.Issue(b.folder, certs.Wish{Name: "two", Kind: certs.Server, Names: []string{"localhost", "127.0.0.1"}, Valid: 24 * time.Hour}),
		certs.Issue(b.folder, certs.Wish{Name: "alice", Kind: certs.Client, Names: []string{"sip:alice@contoso.com"}, Valid: 24 * time.Hour}),
		certs.Issue(b.folder, certs.Wish{Name: "bob", Kind: certs.Client, Names: []string{"sip:bob@contoso.com"}, Valid: 24 * time.Hour}),
		os.WriteFile(filepath.Join(b.folder, "bad.pem"), []byte("nonsense"), 0o600),
		os.WriteFile(filepath.Join(b.folder, "password"), []byte("0123456789ab"), 0o600),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	b.file = filepath.Join(b.folder, "config.yaml")
	b.write(text)
	cfg, err := Load(b.file)
	if err != nil {
		t.Fatal(err)
	}
	log := io.Discard
	if testing.Verbose() {
		log = os.Stderr
	}
	if b.node, err = New(cfg, Options{File: b.file, Log: log}); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- b.node.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	b.until("every listener", func() bool {
		return !slices.ContainsFunc(b.node.Servers(), func(s ServerStatus) bool { return !s.Serves })
	})
	return b
}

func (b *bench) write(text string) {
	b.t.Helper()
	b.text = text
	if err := os.WriteFile(b.file, []byte(strings.ReplaceAll(text, "FOLDER", b.folder)), 0o600); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) edit(old, now string) {
	b.t.Helper()
	if !strings.Contains(b.text, old) {
		b.t.Fatalf("%q is not in the configuration", old)
	}
	b.write(strings.Replace(b.text, old, now, 1))
}

// until waits for a state that nothing announces.
func (b *bench) until(what string, is func() bool) {
	b.t.Helper()
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !is() {
		select {
		case <-tick.C:
		case <-deadline.C:
			b.t.Fatalf("%s does not come", what)
		}
	}
}

// reload reloads, and fails where that fails.
func (b *bench) reload(dryRun bool) *ReloadReport {
	b.t.Helper()
	report, err := b.node.reload(dryRun)
	if err != nil {
		b.t.Fatal(err)
	}
	return report.(*ReloadReport)
}

func (b *bench) address(name string) string {
	b.t.Helper()
	for _, s := range b.node.Servers() {
		if s.Name == name {
			return s.Address
		}
	}
	b.t.Fatalf("there is no listener %s", name)
	return ""
}

// xml is a client that speaks CSTA-XML.
type xml struct {
	b    *bench
	conn net.Conn
	last int
}

func (b *bench) xml(name string, secure *cryptotls.Config) *xml {
	b.t.Helper()
	conn, err := net.Dial("tcp", b.address(name))
	if err != nil {
		b.t.Fatal(err)
	}
	if secure != nil {
		conn = cryptotls.Client(conn, secure)
	}
	b.t.Cleanup(func() { _ = conn.Close() })
	return &xml{b: b, conn: conn}
}

func (c *xml) read() (*uacsta.Message, error) {
	_ = c.conn.SetReadDeadline(time.Now().Add(limit))
	head := make([]byte, 8)
	if _, err := io.ReadFull(c.conn, head); err != nil {
		return nil, err
	}
	body := make([]byte, binary.BigEndian.Uint16(head[2:])-8)
	if _, err := io.ReadFull(c.conn, body); err != nil {
		return nil, err
	}
	return uacsta.Parse(body)
}

// ask sends a request and returns its answer.
func (c *xml) ask(req any) (*uacsta.Message, error) {
	body := uacsta.Encode(req, uacsta.Edition3).Bytes()
	c.last++
	frame := binary.BigEndian.AppendUint16([]byte{0, 0}, uint16(8+len(body)))
	if _, err := c.conn.Write(append(fmt.Appendf(frame, "%04d", c.last), body...)); err != nil {
		return nil, err
	}
	for {
		m, err := c.read()
		if err != nil || m.Kind() == uacsta.Response || m.Err() != nil {
			return m, err
		}
	}
}

func (c *xml) monitor(device string) {
	c.b.t.Helper()
	object := uacsta.Dev(device)
	if m, err := c.ask(uacsta.MonitorStart{MonitorObject: uacsta.MonitorObject{DeviceObject: &object}}); err != nil || m.CrossRef() == "" {
		c.b.t.Fatal(m, err)
	}
}

// alive reports whether the client's connection goes on.
func (c *xml) alive() bool {
	m, err := c.ask(uacsta.RequestSystemStatus{})
	return err == nil && m.Err() == nil
}

// closed waits until the client's connection ends.
func (c *xml) closed() {
	c.b.t.Helper()
	for {
		if _, err := c.read(); err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				c.b.t.Error("the connection goes on")
			}
			return
		}
	}
}

// told is a report as clients of the socket get it.
func told(t *testing.T, r *ReloadReport) string {
	t.Helper()
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

const everything = `
log: {level: error}
trusted: [{address: 127.0.0.1}]
digest: {users: [{name: crm, password: secret}]}
grants: [{who: "*", control: ["100", "101", "102"]}]
operations: {address: ""}
switch: {extensions: [{number: "100"}, {number: "101"}, {number: "102", sip: {password-file: FOLDER/password}}]}
telephones: {listen: [{transport: udp, address: "127.0.0.1:0"}]}
sip: {listen: [{transport: tcp, address: "127.0.0.1:0"}], event-wait: 2s}
limits: {monitors-per-session: 5}
xml:
  listen:
  - {name: plain, transport: tcp, address: "127.0.0.1:0"}
  - {name: secure, transport: tls, address: "127.0.0.1:0", certificate: FOLDER/one.pem, key: FOLDER/one.key}
`

// A listener takes other certificate files while it is served: the next handshake shows the new certificate, and
// connections go on. A file that cannot be used changes nothing.
func TestReloadCertificates(t *testing.T) {
	b := run(t, everything)
	shown := func() string {
		t.Helper()
		conn, err := cryptotls.Dial("tcp", b.address("secure"), &cryptotls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		return conn.ConnectionState().PeerCertificates[0].Subject.CommonName
	}
	c := b.xml("secure", &cryptotls.Config{InsecureSkipVerify: true})
	c.monitor("100")
	if got := shown(); got != "one" {
		t.Fatal(got)
	}
	address := b.address("secure")
	b.edit("FOLDER/one.pem, key: FOLDER/one.key", "FOLDER/bad.pem, key: FOLDER/one.key")
	b.edit("monitors-per-session: 5", "monitors-per-session: 1")
	_, err := b.node.reload(false)
	var faults config.Faults
	if !errors.As(err, &faults) || faults[0].Line != 14 || faults[0].Key != "xml.listen[1].certificate" || faults[0].File != b.file {
		t.Errorf("%v", err)
	}
	if st := b.node.history.status(); st.Failures != 1 || st.Failure == "" || st.Partly || st.Failed.IsZero() || shown() != "one" {
		t.Errorf("%+v", st)
	}
	c.monitor("101") // the limit has not changed either
	b.edit("FOLDER/bad.pem, key: FOLDER/one.key", "FOLDER/two.pem, key: FOLDER/two.key, client-ca: FOLDER/ca.pem, client-auth: optional")
	report := b.reload(false)
	want := []ListenerChange{{Name: "secure", Protocol: "xml", Transport: "tls", Address: address, Change: "changed", Keys: []string{"certificate", "key", "client-ca", "client-auth"}}}
	if !reflect.DeepEqual(report.Listeners, want) || !slices.Equal(report.Certificates, []string{"secure"}) || len(report.Ended.List) > 0 || !slices.Equal(report.Changed, []string{"limits.monitors-per-session", "xml.listen"}) {
		t.Errorf("%+v", report)
	}
	if got := shown(); got != "two" || b.address("secure") != address {
		t.Errorf("%s is shown at %s", got, b.address("secure"))
	}
	if !c.alive() {
		t.Error("the connection has ended")
	}
	if st := b.node.history.status(); st.Failure != "" || st.Failures != 1 {
		t.Errorf("%+v", st)
	}
	if report := b.reload(false); !report.empty() {
		t.Errorf("%+v", report)
	}
}

// A dry run says what the reload does that follows it, whatever changes, and changes nothing itself.
func TestDryRun(t *testing.T) {
	for name, tt := range map[string]struct {
		old, now string
		ends     map[string]int
		changed  string
		listener string // its name and what happens to it
		restart  string
	}{
		"nothing":              {},
		"a right":              {old: `control: ["100", "101", "102"]`, now: `control: ["100", "102"]`, ends: map[string]int{"monitor": 3}, changed: "grants"},
		"every right":          {old: `who: "*"`, now: "who: nobody", ends: map[string]int{"session": 3, "monitor": 5}, changed: "grants"},
		"trust":                {old: "127.0.0.1}]\ndigest", now: "192.0.2.1}]\ndigest", ends: map[string]int{"session": 3, "monitor": 5}, changed: "trusted"},
		"a password":           {old: "password: secret", now: "password: other", ends: map[string]int{}, changed: "digest.users"},
		"a listener closes":    {old: `  - {name: plain, transport: tcp, address: "127.0.0.1:0"}` + "\n", now: "", ends: map[string]int{"session": 1, "monitor": 2}, changed: "xml.listen", listener: "plain closed"},
		"a listener opens":     {old: "  listen:\n", now: "  listen:\n  - {name: more, transport: tcp, address: \"127.0.0.1:0\", certificate: \"\"}\n", changed: "xml.listen"},
		"a listener of SIP":    {old: `sip: {listen: [{transport: tcp, address: "127.0.0.1:0"}]`, now: `sip: {listen: [{transport: udp, address: "127.0.0.1:0"}]`, ends: map[string]int{"session": 1, "monitor": 1}, changed: "sip.listen"},
		"a link takes devices": {old: "log:", now: "links: [{name: pbx, addresses: [\"127.0.0.1:1\"], devices: [\"101\"]}]\nlog:", ends: map[string]int{"monitor": 3}, changed: "links"},
		"limits":               {old: "monitors-per-session: 5", now: "monitors-per-session: 1", changed: "limits.monitors-per-session"},
		"telephones":           {old: `telephones: {listen: [{transport: udp, address: "127.0.0.1:0"}]}`, now: `telephones: {listen: [{transport: tcp, address: "127.0.0.1:0"}], realm: x}`, changed: "telephones.listen", restart: "telephones.realm"},
		"a key that waits":     {old: "event-wait: 2s", now: "event-wait: 1s", restart: "sip.event-wait"},
		"certificates":         {old: "FOLDER/one.pem, key: FOLDER/one.key", now: "FOLDER/two.pem, key: FOLDER/two.key", changed: "xml.listen", listener: "secure changed"},
	} {
		t.Run(name, func(t *testing.T) {
			b := run(t, everything)
			plain, secure := b.xml("plain", nil), b.xml("secure", &cryptotls.Config{InsecureSkipVerify: true})
			plain.monitor("100")
			plain.monitor("101")
			secure.monitor("100")
			secure.monitor("101")
			watch(b, "sip-tcp", tr87.Dial{From: "sip:alice@example.com"}, "101")
			b.until("the sessions", func() bool { st := b.node.core.Status(); return st.Sessions == 3 && st.Monitors == 2 })
			before := b.node.Servers()
			if tt.old != "" {
				b.edit(tt.old, tt.now)
			}
			preview := b.reload(true)
			if !preview.DryRun || !plain.alive() || !secure.alive() || !reflect.DeepEqual(b.node.Servers(), before) || b.node.core.Status().Sessions != 3 {
				t.Errorf("a dry run has done something: %+v", preview)
			}
			done := b.reload(false)
			if preview.DryRun = false; told(t, preview) != told(t, done) {
				t.Errorf("preview:\n%s\ndone:\n%s", preview, done)
			}
			got := map[string]int{}
			for _, e := range done.Ended.List {
				got[e.Kind]++
			}
			if len(got)+len(tt.ends) > 0 && !reflect.DeepEqual(got, tt.ends) {
				t.Errorf("ended: %v, want %v\n%s", got, tt.ends, done)
			}
			var waits, listeners []string
			for _, w := range done.Restart {
				waits = append(waits, w.Key)
				if w.Reason == "" {
					t.Errorf("%s waits for no reason", w.Key)
				}
			}
			for _, l := range done.Listeners {
				listeners = append(listeners, l.Name+" "+l.Change)
			}
			if strings.Join(done.Changed, " ") != tt.changed || strings.Join(waits, " ") != tt.restart || tt.listener != "" && strings.Join(listeners, ", ") != tt.listener {
				t.Errorf("%s", done)
			}
			if again := b.reload(true); len(again.Changed)+len(again.Listeners)+len(again.Links)+len(again.Ended.List) > 0 {
				t.Errorf("once more: %s", again)
			}
			b.until("what was left", func() bool { return b.node.core.Status().Sessions == 3-got["session"] })
		})
	}
}

// watch opens a session over TR/87 and monitors a device.
func watch(b *bench, listener string, who tr87.Dial, device string) {
	b.t.Helper()
	ua := sip.New(sip.Config{})
	b.t.Cleanup(ua.Close)
	ctx, cancel := context.WithTimeout(b.t.Context(), limit)
	defer cancel()
	who.To = "sip:proxy@" + b.address(listener) + ";transport=tcp"
	c, err := tr87.Open(ctx, ua, who)
	if err != nil {
		b.t.Fatal(err)
	}
	object := uacsta.Dev(device)
	if m, err := c.Request(ctx, uacsta.Encode(uacsta.MonitorStart{MonitorObject: uacsta.MonitorObject{DeviceObject: &object}}, uacsta.Edition3)); err != nil || m.CrossRef() == "" {
		b.t.Fatal(m, err)
	}
}

// logIn opens an application session with an account, and returns why it is refused.
func (c *xml) logIn(user, password string) string {
	c.b.t.Helper()
	m, err := c.ask(uacsta.Login{User: user, Password: password}.Opening("", uacsta.LoginPlain, time.Hour, uacsta.Edition3))
	if err != nil {
		c.b.t.Fatal(err)
	}
	if _, _, err := m.Granted(); err != nil {
		return err.Error()
	}
	return ""
}

// A mode of application sessions holds at once: where they become mandatory, a session without account ends, and its
// client must log in when it comes again; where they are off, a session of an account ends.
func TestReloadModes(t *testing.T) {
	b := run(t, everything)
	const app = "app:$2a$04$aam3ZJ1CciBblLQeWiHkneYmyDnsT.shldAxiBAWq7XITQFKWMEuu\n" // right, with a hash that takes little time
	if err := os.WriteFile(filepath.Join(b.folder, "accounts"), []byte(app), 0o600); err != nil {
		t.Fatal(err)
	}
	b.edit("log:", "application-sessions: {accounts: FOLDER/accounts, xml: mandatory}\nlog:")
	if report := b.reload(true); report.Restart[0].Key != "application-sessions.accounts" || report.Restart[1].Key != "application-sessions" || len(report.Ended.List) > 0 {
		t.Errorf("without accounts nobody could log in: %s", report)
	}
	text := strings.Replace(b.text, "xml: mandatory", "xml: optional", 1)
	b = run(t, strings.ReplaceAll(text, "FOLDER/accounts", filepath.Join(b.folder, "accounts")))
	without, with := b.xml("plain", nil), b.xml("plain", nil)
	without.monitor("100")
	if why := with.logIn("app", "right"); why != "" {
		t.Fatal(why)
	}
	change := func(old, now string, sessions, monitors int) {
		t.Helper()
		b.edit(old, now)
		preview, done := b.reload(true), b.reload(false)
		if preview.DryRun = false; told(t, preview) != told(t, done) || done.Ended.Sessions != sessions || done.Ended.Monitors != monitors || len(done.Restart) > 0 || !slices.Equal(done.Changed, []string{"application-sessions.xml"}) {
			t.Errorf("%s\n%s", preview, done)
		}
	}
	change("xml: optional", "xml: mandatory", 1, 1)
	without.closed()
	if !with.alive() {
		t.Error("the session of an account has ended")
	}
	again := b.xml("plain", nil)
	if again.alive() {
		t.Error("a client need not log in")
	}
	change("xml: mandatory", "xml: optional", 0, 0)
	if !again.alive() {
		t.Error("a trusted client must log in, although that is optional")
	}
	change("xml: optional", "xml: \"off\"", 1, 0)
	with.closed()
	if why := again.logIn("app", "wrong"); why != "" {
		t.Errorf("where they are off, nobody looks at the password: %s", why)
	}
}

// A session that digest opened ends when its user gets another password.
func TestReloadDigest(t *testing.T) {
	b := run(t, strings.Replace(everything, "address: 127.0.0.1}]\ndigest", "address: 192.0.2.1}]\ndigest", 1))
	watch(b, "sip-tcp", tr87.Dial{From: "sip:crm@example.com", Username: "crm", Password: "secret"}, "100")
	b.edit("password: secret", "password: other")
	preview, done := b.reload(true), b.reload(false)
	if preview.DryRun = false; told(t, preview) != told(t, done) || done.Ended.Sessions != 1 || done.Ended.Monitors != 1 {
		t.Errorf("%s\n%s", preview, done)
	}
}

// Lowered limits leave what there is, and let nothing more come.
func TestReloadLimits(t *testing.T) {
	b := run(t, everything)
	c := b.xml("plain", nil)
	c.monitor("100")
	c.monitor("101")
	b.edit("monitors-per-session: 5", "monitors-per-session: 1, sessions: 1")
	if report := b.reload(false); len(report.Ended.List) > 0 || b.node.core.Status().Monitors != 2 {
		t.Error(report)
	}
	device := uacsta.Dev("102")
	if m, err := c.ask(uacsta.MonitorStart{MonitorObject: uacsta.MonitorObject{DeviceObject: &device}}); err != nil || m.Err() == nil {
		t.Error("a third monitor is started", err)
	}
	if b.xml("plain", nil).alive() {
		t.Error("a second session is opened")
	}
	if !c.alive() {
		t.Error("the first session has ended")
	}
}

// A listener that cannot be opened is in the report, in the status, and counts as a failure; the rest holds, and the
// next reload tries it again.
func TestReloadListenerFails(t *testing.T) {
	b := run(t, everything)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b.edit("  listen:\n", fmt.Sprintf("  listen:\n  - {name: more, transport: tcp, address: \"%s\"}\n", taken.Addr()))
	b.edit("monitors-per-session: 5", "monitors-per-session: 4")
	report := b.reload(false)
	if len(report.Failures) != 1 || !strings.HasPrefix(report.Failures[0], "more: xml.listen[0]: ") || !slices.Contains(report.Changed, "limits.monitors-per-session") {
		t.Errorf("%s", report)
	}
	failure := func() string {
		for _, s := range b.node.Servers() {
			if s.Name == "more" {
				return s.Failure
			}
		}
		return "it is not there"
	}
	if !slices.ContainsFunc(report.Listeners, func(l ListenerChange) bool { return l.Name == "more" && l.Change == "not opened" }) {
		t.Errorf("%+v", report.Listeners)
	}
	if st := b.node.history.status(); st.Failures != 1 || st.Failure == "" || !st.Partly || failure() == "" {
		t.Errorf("%+v, %q", st, failure())
	}
	if err := taken.Close(); err != nil {
		t.Fatal(err)
	}
	report = b.reload(false)
	if st := b.node.history.status(); len(report.Failures) > 0 || len(report.Listeners) != 1 || report.Listeners[0].Change != "opened" || st.Failure != "" || failure() != "" {
		t.Errorf("%s %+v %q", report, st, failure())
	}
	if !b.xml("more", nil).alive() {
		t.Error("it does not serve")
	}
}

// The audit file goes on elsewhere while clients control calls; a file that cannot be opened refuses the reload.
func TestReloadAudit(t *testing.T) {
	b := run(t, everything+"audit: {file: FOLDER/first.log}\n")
	c := b.xml("plain", nil)
	calls := func() {
		t.Helper()
		if m, err := c.ask(uacsta.SetDoNotDisturb{Device: uacsta.Dev("100"), DoNotDisturbOn: true}); err != nil || m.Err() != nil {
			t.Fatal(m, err)
		}
	}
	asked := func(name string) int {
		data, _ := os.ReadFile(filepath.Join(b.folder, name)) // none yet
		return strings.Count(string(data), `"kind":"asked"`)
	}
	calls()
	b.edit("first.log", "none/second.log")
	b.edit("monitors-per-session: 5", "monitors-per-session: 4")
	var faults config.Faults
	if _, err := b.node.reload(false); !errors.As(err, &faults) || faults[0].Key != "audit.file" || faults[0].Line < 2 {
		t.Errorf("%v", err)
	}
	if b.node.cfg.Limits.MonitorsPerSession != 5 || b.node.core.Status().Sessions != 1 {
		t.Error("something has changed")
	}
	b.edit("none/second.log", "second.log, max-mib: 1")
	preview := b.reload(true)
	if _, err := os.Stat(filepath.Join(b.folder, "second.log")); err == nil {
		t.Error("a dry run has made the audit file")
	}
	done := b.reload(false)
	if preview.DryRun = false; told(t, preview) != told(t, done) || !slices.Equal(done.Changed, []string{"audit.file", "audit.max-mib", "limits.monitors-per-session"}) || len(done.Restart) > 0 {
		t.Errorf("%s", done)
	}
	calls()
	if first, second := asked("first.log"), asked("second.log"); first != 1 || second != 1 {
		t.Errorf("%d requests are in the first file, %d in the second", first, second)
	}
	b.edit("audit: {file: FOLDER/second.log, max-mib: 1}", "")
	if report := b.reload(false); len(report.Changed) > 0 || report.Restart[0].Key != "audit.file" {
		t.Errorf("%s", report)
	}
}

// A link takes other certificate files while it is up: its connection stays, and the next one shows the new
// certificate. Files that cannot be used change nothing. Another heartbeat makes it anew.
func TestReloadLinkCertificates(t *testing.T) {
	far := run(t, `
log: {level: error}
trusted: [{certificate: "sip:*"}]
certificate-names: [uri]
grants: [{who: "*", control: ["*"]}]
operations: {address: ""}
sip: {listen: [{transport: tcp, address: "127.0.0.1:0"}]}
xml: {listen: [{name: secure, transport: tls, address: "127.0.0.1:0", certificate: FOLDER/one.pem, key: FOLDER/one.key, client-ca: FOLDER/ca.pem, client-auth: required}]}
`)
	who := func() string {
		list := far.node.core.SessionList()
		if len(list) != 1 {
			return ""
		}
		return list[0].Identity
	}
	link := fmt.Sprintf("links: [{name: far, addresses: [%q], devices: [\"2??\"], tls: true, ca: PEER/ca.pem, certificate: PEER/alice.pem, key: PEER/alice.key}]\n", far.address("secure"))
	b := run(t, everything+strings.ReplaceAll(link, "PEER", far.folder))
	b.until("the link", func() bool { return who() == "sip:alice@contoso.com (certificate)" })
	session := far.node.core.SessionList()[0]
	b.edit(far.folder+"/alice.pem", far.folder+"/none.pem")
	var faults config.Faults
	if _, err := b.node.reload(false); !errors.As(err, &faults) || faults[0].Key != "links[0].certificate" || faults[0].Line < 2 {
		t.Errorf("%v", err)
	}
	b.edit(far.folder+"/none.pem, key: "+far.folder+"/alice.key", far.folder+"/bob.pem, key: "+far.folder+"/bob.key")
	preview, done := b.reload(true), b.reload(false)
	if preview.DryRun = false; told(t, preview) != told(t, done) || !reflect.DeepEqual(done.Links, []LinkChange{{Name: "far", Change: "changed", Keys: []string{"certificate", "key"}}}) || !slices.Equal(done.Certificates, []string{"link far"}) || len(done.Ended.List) > 0 {
		t.Errorf("%s", done)
	}
	if now := far.node.core.SessionList(); len(now) != 1 || now[0].Peer != session.Peer {
		t.Errorf("the connection has ended: %+v, %+v", session, now)
	}
	far.edit("sip:*", "sip:bob*")
	if report := far.reload(false); report.Ended.Sessions != 1 {
		t.Errorf("%s", report)
	}
	b.until("the link with its new certificate", func() bool { return who() == "sip:bob@contoso.com (certificate)" })
	b.edit("devices: [\"2??\"]", "devices: [\"2??\"], heartbeat: 7s")
	if report := b.reload(false); !reflect.DeepEqual(report.Links, []LinkChange{{Name: "far", Change: "reopened", Keys: []string{"heartbeat"}}}) {
		t.Errorf("%s", report)
	}
}
