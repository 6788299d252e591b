package daemon

import (
	"context"
	cryptotls "crypto/tls"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/certs"
	"github.com/tr87proxy/tr87proxy/internal/config"
)

// A TLS session that a client resumes is judged by the authorities and pins that hold then.
func TestReloadResumption(t *testing.T) {
	b := run(t, `
log: {level: error}
trusted: [{certificate: "sip:*"}]
certificate-names: [uri]
grants: [{who: "*", control: ["*"]}]
operations: {address: ""}
sip: {listen: [{transport: tcp, address: "127.0.0.1:0"}]}
xml: {listen: [{name: secure, transport: tls, address: "127.0.0.1:0", certificate: FOLDER/one.pem, key: FOLDER/one.key, client-ca: FOLDER/ca.pem, client-auth: required}]}
`)
	cert, err := cryptotls.LoadX509KeyPair(filepath.Join(b.folder, "alice.pem"), filepath.Join(b.folder, "alice.key"))
	if err != nil {
		t.Fatal(err)
	}
	other := t.TempDir()
	if err := certs.Init(other, "Other", 24*time.Hour, false); err != nil {
		t.Fatal(err)
	}
	cache := cryptotls.NewLRUClientSessionCache(10)
	connects := func() (served, resumed bool) {
		conn, err := cryptotls.Dial("tcp", b.address("secure"), &cryptotls.Config{InsecureSkipVerify: true, ClientSessionCache: cache, Certificates: []cryptotls.Certificate{cert}, ServerName: "x"})
		if err != nil {
			return false, false
		}
		defer func() { _ = conn.Close() }()
		c := &xml{b: b, conn: conn}
		return c.alive(), conn.ConnectionState().DidResume
	}
	connects()
	if served, resumed := connects(); !served || !resumed {
		t.Fatalf("served: %v, resumed: %v", served, resumed)
	}
	ca := "client-ca: FOLDER/ca.pem"
	for _, change := range [][2]string{{ca, "client-ca: " + other + "/ca.pem"}, {ca, ca + ", pins: [" + strings.Repeat("00", 32) + "]"}} {
		b.edit(change[0], change[1])
		b.reload(false)
		if served, resumed := connects(); served {
			t.Errorf("%s: the client is served, resumed: %v", change[1], resumed)
		}
		b.edit(change[1], change[0])
		b.reload(false)
		connects()
		if served, resumed := connects(); !served || !resumed {
			t.Errorf("served: %v, resumed: %v", served, resumed)
		}
	}
}

// A reload that fails tells no password, whatever is wrong with the file.
func TestReloadTellsNoPassword(t *testing.T) {
	b := run(t, everything)
	users, password := "digest: {users: [{name: crm, password: secret}]}", "password: secret"
	for _, change := range [][2]string{
		{password, "password: [hunter2]"}, {password, "password: {hunter2: 1}"}, {password, "password: *hunter2"}, {password, "password: !!int hunter2"},
		{password, "password: \"hunter2"}, {password, "password: hunter2, password-file: x"}, {password, "passwort: hunter2"},
		{users, "digest: {users: hunter2}"}, {users, "digest: {users: [hunter2]}"},
	} {
		text := b.text
		b.edit(change[0], change[1])
		for _, dryRun := range []bool{true, false} {
			report, err := b.node.reload(dryRun)
			if said := fmt.Sprint(report, err); strings.Contains(said, "hunter2") {
				t.Errorf("%s: %s", change[1], said)
			}
		}
		b.write(text)
	}
}

// A dry run says when the audit file cannot go on where the configuration says, and the reload makes no file then.
func TestDryRunOfAuditFile(t *testing.T) {
	b := run(t, everything+"audit: {file: FOLDER/first.log}\n")
	for _, err := range []error{
		os.Mkdir(filepath.Join(b.folder, "folder"), 0o700),
		os.WriteFile(filepath.Join(b.folder, "foreign"), []byte("one\ntwo\n"), 0o600),
		os.Symlink("first.log", filepath.Join(b.folder, "link.log")),
		os.Symlink("none/second.log", filepath.Join(b.folder, "dangling.log")),
		os.Symlink("second.log", filepath.Join(b.folder, "fresh.log")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	there := func() int {
		list, _ := os.ReadDir(b.folder) // it is there
		return len(list)
	}
	for name, ok := range map[string]bool{
		"folder": false, "foreign": false, "config.yaml": false, "link.log": false, "./first.log": false, "dangling.log": false, "first-strangers.log": false, "fresh.log": true,
	} {
		before, text := there(), b.text
		b.edit("FOLDER/first.log", "FOLDER/"+name)
		_, foreseen := b.node.reload(true)
		if there() != before {
			t.Errorf("%s: a dry run has made a file", name)
		}
		_, done := b.node.reload(false)
		var faults config.Faults
		if fmt.Sprint(foreseen) != fmt.Sprint(done) || (done == nil) != ok || !ok && (!errors.As(done, &faults) || faults[0].Key != "audit.file" || there() != before) {
			t.Errorf("%s: foreseen %v, done %v", name, foreseen, done)
		}
		b.write(text)
		b.reload(false)
	}
}

// Reloads in quick succession, of which some fail, leave no listener, goroutine or file behind.
func TestManyReloads(t *testing.T) {
	b := run(t, everything+"audit: {file: FOLDER/first.log}\n")
	c := b.xml("plain", nil)
	c.monitor("100")
	base := b.text
	pbx := func(port int) string {
		return strings.Replace(base, "log:", fmt.Sprintf("links: [{name: pbx, addresses: [\"127.0.0.1:%d\"], devices: [\"101\"]}, {name: desk, type: phones, listen: [{transport: udp, address: \"127.0.0.1:0\"}], accounts: [{number: \"201\", password: abcdefghijkl}]}]\nlog:", port), 1)
	}
	round := func() {
		t.Helper()
		for _, text := range []string{
			strings.Replace(base, "  listen:\n", "  listen:\n  - {name: more, transport: tcp, address: \"127.0.0.1:0\"}\n  - {name: fails, transport: tcp, address: \"192.0.2.1:1\"}\n", 1),
			pbx(1), pbx(2), strings.Replace(pbx(3), "FOLDER/one.pem", "FOLDER/bad.pem", 1), strings.Replace(base, "first.log", "second.log", 1),
			strings.Replace(base, "sip: {listen: [{transport: tcp,", "sip: {listen: [{transport: udp,", 1), base + "nonsense: 1\n",
		} {
			b.write(text)
			_, _ = b.node.reload(true)
			_, _ = b.node.reload(false) // some fail
		}
		b.write(base)
		b.reload(false)
	}
	files := func() int {
		list, _ := os.ReadDir("/proc/self/fd") // none elsewhere
		return len(list)
	}
	round()
	goroutines, open := runtime.NumGoroutine(), files()
	for range 6 {
		round()
	}
	b.until("the end of what reloads have closed", func() bool { return runtime.NumGoroutine() <= goroutines+2 && files() <= open+2 })
	if !c.alive() {
		t.Error("a connection of a listener that stayed has ended")
	}
}

// A reload that denies an address ends the sessions of its clients.
func TestReloadDeniesAddress(t *testing.T) {
	b := run(t, everything)
	c := b.xml("plain", nil)
	c.monitor("100")
	b.edit("log:", "addresses: {deny: [127.0.0.1]}\nlog:")
	foreseen, done := b.reload(true), b.reload(false)
	if foreseen.DryRun = false; told(t, foreseen) != told(t, done) || done.Ended.Sessions != 1 || done.Ended.Monitors != 1 {
		t.Errorf("%s\n%s", foreseen, done)
	}
	c.closed()
}

// A reload that comes before the listeners are open does not end the proxy: those that it has opened are served, those
// that it has closed are not.
func TestReloadAtTheStart(t *testing.T) {
	b := &bench{t: t, folder: t.TempDir()}
	b.file = filepath.Join(b.folder, "config.yaml")
	b.write(`
log: {level: error}
trusted: [{address: 127.0.0.1}]
grants: [{who: "*", control: ["100"]}]
operations: {address: "127.0.0.1:0"}
sip: {listen: [{transport: tcp, address: "127.0.0.1:0"}]}
xml:
  listen:
  - {name: one, transport: tcp, address: "127.0.0.1:0"}
`)
	cfg, err := Load(b.file)
	if err != nil {
		t.Fatal(err)
	}
	log := io.Discard
	if testing.Verbose() {
		log = os.Stderr
	}
	b.node, err = New(cfg, Options{File: b.file, Log: log, Listening: func(transport, _ string) {
		if transport == "operations" { // operators are served before clients
			b.edit("name: one, transport: tcp, address: \"127.0.0.1:0\"", "name: two, transport: tcp, address: \"localhost:0\"")
			b.reload(false)
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- b.node.Run(ctx) }()
	b.until("the listener", func() bool {
		list := b.node.Servers()
		return len(list) == 2 && list[1].Name == "two" && list[0].Serves && list[1].Serves || len(ended) > 0
	})
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
