package tests

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// account adds an account to a file, for an application if that is named.
func account(t *testing.T, file, name, password string, application ...string) {
	t.Helper()
	// the command takes a second for this, with the race detector; its own test is TestAccountsCommand
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := fmt.Fprintln(f, strings.Join(append([]string{name, string(hash)}, application...), ":")); err != nil {
		t.Fatal(err)
	}
}

// login opens an application session in one of the forms that peers use.
func (c *xmlClient) login(user, password string, form uacsta.LoginForm, seconds int) *uacsta.Message {
	c.t.Helper()
	info := uacsta.ApplicationInfo{ApplicationID: "CRM"}
	if user != "" {
		info.ApplicationSpecificInfo = uacsta.Login{User: user, Password: password}.Info(form)
	}
	return c.ask(uacsta.StartApplicationSession{
		ApplicationInfo: info, RequestedProtocolVersions: []string{uacsta.Edition(9).Namespace() + "x", uacsta.Edition(5).Namespace(), uacsta.NamespaceED3},
		RequestedSessionDuration: &seconds,
	})
}

const whoMayWhat = `grants:
- {who: "crm", control: ["1000"], dial: ["1001"]}
- {who: "dialler", observe: ["1001"]}
- {who: "127.0.0.1", control: ["1002"], dial: ["1001"]}
`

// Where application sessions are mandatory, nobody does anything before, whoever
// connects; then it may what its account may, and no more.
func TestMandatory(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "accounts")
	account(t, file, "crm", "s3cret <&>")
	account(t, file, "dialler", "other", "Dialler")
	account(t, file, "stranger", "pw")
	r := serve(t, "application-sessions: {accounts: "+file+", xml: mandatory, sip: mandatory, max-per-account: 2}\ntrusted: [{address: 127.0.0.1}]\n"+whoMayWhat)
	c := r.xml()
	if m := c.ask(uacsta.RequestSystemStatus{}); m.Err() == nil || m.Err().Category != uacsta.Security {
		t.Errorf("%s", m)
	}
	if m := c.ask(call("1002", "1001")); m.Err() == nil || m.Err().Category != uacsta.Security {
		t.Errorf("%s", m)
	}
	if m := c.login("crm", "gu3ss", uacsta.LoginAvaya, 60); m.Name() != "StartApplicationSessionNegResponse" || m.Text("errorCode/definedError") != "invalidApplicationInfo" {
		t.Errorf("%s", m)
	}
	m := c.login("crm", "s3cret <&>", uacsta.LoginAvaya, 60)
	if m.Text("actualProtocolVersion") != uacsta.Edition(5).Namespace() || m.Text("actualSessionDuration") != "60" {
		t.Fatalf("%s", m)
	}
	session := m.Text("sessionID")
	if c.monitor("1000") == "" {
		t.Error("no monitor")
	}
	if m := c.ask(call("1000", "1001")); m.Name() != "MakeCallResponse" {
		t.Errorf("%s", m)
	}
	if m := c.ask(call("1002", "1001")); m.Err() == nil || m.Err().Value != "privilegeViolationCallingDevice" {
		t.Errorf("not the address counts, but the account: %s", m)
	}
	if m := c.ask(uacsta.ResetApplicationSessionTimer{SessionID: session, RequestedSessionDuration: 90}); m.Text("actualSessionDuration") != "90" {
		t.Errorf("%s", m)
	}
	// the same over SIP, and in the plain form
	out, status := command(t, "call", "1000", "1001", "--server", fmt.Sprintf("sip:x@127.0.0.1:%d;transport=tcp", r.port))
	if status == 0 || !strings.Contains(out, "security") {
		t.Errorf("%d %s", status, out)
	}
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("s3cret <&>"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, transport := range []string{"tcp", "udp"} { // over UDP it is granted after the ACK
		out, status = command(t, "dnd", "1000", "on", "--trace", "--login", "crm", "--password-file", secret, "--server", fmt.Sprintf("sip:x@127.0.0.1:%d;transport=%s", r.port, transport))
		if status != 0 || strings.Contains(out, "s3cret") || !strings.Contains(out, "StartApplicationSessionPosResponse") {
			t.Errorf("%s: %d %s", transport, status, out)
		}
	}
	second := r.xml()
	if m := second.login("CRM", "s3cret <&>", uacsta.LoginPlain, 60); m.Name() != "StartApplicationSessionPosResponse" {
		t.Errorf("%s", m)
	}
	if m := r.xml().login("crm", "s3cret <&>", uacsta.LoginPlain, 60); m.Text("errorCode/definedError") != "maxNumberSessions" {
		t.Errorf("%s", m)
	}
	if m := second.login("crm", "s3cret <&>", uacsta.LoginPlain, 60); m.Name() != "StartApplicationSessionPosResponse" {
		t.Errorf("it would replace its own: %s", m)
	}
	for _, document := range []string{"<StartApplicationSession/>", `<StartApplicationSession xmlns="` + uacsta.NamespaceApplSession + `"></StartApplicationSession>`} {
		empty := r.xml()
		empty.write(0, document)
		_, m, err := empty.read()
		if err != nil || m.Name() != "StartApplicationSessionNegResponse" || m.Text("errorCode/definedError") != "invalidApplicationInfo" {
			t.Errorf("%s: %v %v", document, m, err)
		}
		if m := empty.login("stranger", "pw", uacsta.LoginPlain, 60); m.Name() != "StartApplicationSessionNegResponse" {
			t.Errorf("after it: %v", m)
		}
	}
	if m := r.xml().login("dialler", "other", uacsta.LoginPlain, 60); m.Text("errorCode/definedError") != "invalidApplicationInfo" {
		t.Errorf("not its application ID: %s", m)
	}
	if m := r.xml().login("stranger", "pw", uacsta.LoginPlain, 60); m.Text("errorCode/definedError") != "invalidApplicationInfo" {
		t.Errorf("no grant names it: %s", m)
	}
	if m := r.xml().login("", "", "", 60); m.Text("errorCode/definedError") != "invalidApplicationInfo" {
		t.Errorf("%s", m)
	}
	// Stop is answered, then the connection is closed
	before := len(second.news)
	second.ask(uacsta.StopApplicationSession{SessionID: session}) // another's
	res := second.ask(uacsta.StopApplicationSession{SessionID: "nonsense"})
	if res.Name() != "StopApplicationSessionNegResponse" || len(second.news) != before {
		t.Errorf("%s", res)
	}
	c.news = nil
	if m := c.ask(uacsta.StopApplicationSession{SessionID: session, SessionEndReason: uacsta.SessionEndReason{DefinedEndReason: "normal"}}); m.Name() != "StopApplicationSessionPosResponse" {
		t.Errorf("%s", m)
	}
	if _, m, err := c.read(); err == nil {
		t.Errorf("still connected: %s", m)
	}
	if log := r.out.String(); strings.Contains(log, "s3cret") || strings.Contains(log, "gu3ss") || !strings.Contains(log, "account=crm") {
		t.Error("the log does not say who was refused, or says passwords")
	}
	r.stop()
}

// A session that is not reset in time ends, with its monitors, and is told so.
func TestSessionExpires(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "accounts")
	account(t, file, "crm", "pw")
	r := serve(t, "application-sessions: {accounts: "+file+"}\n"+whoMayWhat) // nobody is trusted
	c := r.xml()
	id := c.login("crm", "pw", uacsta.LoginAvaya, 1).Text("sessionID")
	c.monitor("1000")
	ended := c.hear()
	if ended.Name() != "ApplicationSessionTerminated" || ended.Text("sessionID") != id || ended.Text("sessionTermReason/definedTermReason") != "sessionTimerExpired" {
		t.Errorf("%s", ended)
	}
	if _, m, err := c.read(); err == nil {
		t.Errorf("still connected: %s", m)
	}
	waitFor(t, "the end of the session", func() bool { return r.metric("tr87proxy_link_monitors") == 0 && r.metric("tr87proxy_sessions") == 0 })
	r.stop()
}

// Who guesses is slowed down, cut off and locked out; others are not.
func TestGuessing(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "accounts")
	account(t, file, "crm", "pw")
	account(t, file, "dialler", "pw")
	r := serve(t, "application-sessions: {accounts: "+file+", tries: 2, lock-after: 3, lock-time: 10m}\n"+whoMayWhat)
	for range 2 {
		c := r.xml()
		for range 2 {
			if m := c.login("crm", "guess", uacsta.LoginPlain, 60); m.Text("errorCode/definedError") != "invalidApplicationInfo" {
				t.Errorf("%s", m)
			}
		}
		if _, m, err := c.read(); err == nil {
			t.Errorf("still connected: %s", m)
		}
	}
	if m := r.xml().login("crm", "pw", uacsta.LoginPlain, 60); m.Text("errorCode/definedError") != "invalidApplicationInfo" {
		t.Errorf("not locked: %s", m)
	}
	if m := r.xml().login("dialler", "pw", uacsta.LoginPlain, 60); m.Name() != "StartApplicationSessionPosResponse" {
		t.Errorf("%s", m)
	}
	// what comes before the answer waits for it
	c := r.xml()
	start := string(uacsta.Encode(uacsta.StartApplicationSession{
		ApplicationInfo:           uacsta.ApplicationInfo{ApplicationID: "x", ApplicationSpecificInfo: uacsta.Login{User: "dialler", Password: "pw"}.Info(uacsta.LoginPlain)},
		RequestedProtocolVersions: []string{uacsta.NamespaceED3},
	}, uacsta.Edition3).Bytes())
	c.write(1, start)
	c.write(2, string(uacsta.Encode(uacsta.SnapshotDevice{SnapshotObject: uacsta.Dev("1001")}, uacsta.Edition3).Bytes()))
	for _, want := range []string{"StartApplicationSessionPosResponse", "SnapshotDeviceResponse"} {
		if _, m, err := c.read(); err != nil || m.Name() != want {
			t.Errorf("%v %v, want %s", m, err, want)
		}
	}
	r.stop()
}

// Who does not log in is not kept.
func TestNoLogin(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "accounts")
	account(t, file, "crm", "pw")
	r := serve(t, "application-sessions: {accounts: "+file+", login-time: 200ms}\n"+whoMayWhat)
	c := r.xml()
	if _, m, err := c.read(); err == nil {
		t.Errorf("%s", m)
	}
	r.stop()
}

// Old applications that know nothing of sessions work where they are optional; who
// opens one is its account.
func TestOptional(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "accounts")
	account(t, file, "crm", "pw")
	r := serve(t, "application-sessions: {accounts: "+file+"}\ntrusted: [{address: 127.0.0.1}]\n"+whoMayWhat)
	c := r.xml()
	if m := c.ask(call("1002", "1001")); m.Name() != "MakeCallResponse" {
		t.Errorf("%s", m)
	}
	c.monitor("1002")
	if m := c.login("crm", "pw", uacsta.LoginAvaya, 60); m.Name() != "StartApplicationSessionPosResponse" {
		t.Errorf("%s", m)
	}
	if m := c.ask(call("1002", "1001")); m.Err() == nil {
		t.Errorf("%s", m)
	}
	waitFor(t, "the end of what it had as somebody else", func() bool { return r.metric("tr87proxy_link_monitors") == 0 })
	if m := c.ask(call("1000", "1001")); m.Name() != "MakeCallResponse" {
		t.Errorf("%s", m)
	}
	// removed while it runs
	if out, status := command(t, "accounts", "remove", "crm", "--accounts", file); status != 0 {
		t.Error(out)
	}
	if m := r.xml().login("crm", "pw", uacsta.LoginAvaya, 60); m.Text("errorCode/definedError") != "invalidApplicationInfo" {
		t.Errorf("%s", m)
	}
	r.stop()
}

// An account that gets another password, or is removed, while its sessions are open loses
// them, without anybody telling the proxy; another account's stay.
func TestAccountChanges(t *testing.T) {
	t.Parallel()
	for _, change := range [][]string{{"change", "crm", "--generate"}, {"remove", "crm"}} {
		file := filepath.Join(t.TempDir(), "accounts")
		account(t, file, "crm", "pw")
		account(t, file, "dialler", "other")
		r := serve(t, "application-sessions: {accounts: "+file+", xml: mandatory}\n"+whoMayWhat)
		crm, dialler := r.xml(), r.xml()
		id := crm.login("crm", "pw", uacsta.LoginPlain, 600).Text("sessionID")
		dialler.login("dialler", "other", uacsta.LoginPlain, 600)
		crm.monitor("1000")
		dialler.monitor("1001")
		if out, status := command(t, append([]string{"accounts", "--accounts", file}, change...)...); status != 0 {
			t.Fatal(out)
		}
		if m := crm.hear(); m.Name() != "ApplicationSessionTerminated" || m.Text("sessionID") != id {
			t.Errorf("%v: %s", change, m)
		}
		if _, m, err := crm.read(); err == nil {
			t.Errorf("%v: still connected: %s", change, m)
		}
		if m := dialler.ask(uacsta.SnapshotDevice{SnapshotObject: uacsta.Dev("1001")}); m.Name() != "SnapshotDeviceResponse" {
			t.Errorf("%v: another's session: %s", change, m)
		}
		waitFor(t, "the end of its monitor alone", func() bool { return r.metric("tr87proxy_link_monitors") == 1 })
		if m := r.xml().login("crm", "pw", uacsta.LoginPlain, 60); m.Text("errorCode/definedError") != "invalidApplicationInfo" {
			t.Errorf("%v: the old password: %s", change, m)
		}
		r.stop()
	}
}

func TestAccountsCommand(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "accounts")
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("pw\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, status := command(t, "accounts", "add", "crm", "--accounts", file, "--password-file", secret, "--application", "CRM 4"); status != 0 {
		t.Fatal(out)
	}
	for _, tt := range []struct {
		args   string
		status int
		want   string
	}{
		{"list", 0, "crm                      CRM 4\n"},
		{"list --json", 0, `[{"name":"crm","application":"CRM 4"}]` + "\n"},
		{"add CRM --generate", 1, `account "CRM" already exists`},
		{"add a:b --generate", 2, "a name has"},
		{"change nobody --generate", 1, `no account "nobody"`},
		{"remove nobody", 1, `no account "nobody"`},
		{"change crm --application=", 0, ""},
		{"list", 0, "crm\n"},
		{"change crm --digest --password-file " + secret, 0, ""},
		{"list", 0, "crm                                               digest\n"},
		{"change crm --application=x --generate", 0, "\n"},
		{"list --json", 0, `[{"name":"crm","application":"x","digest":true}]` + "\n"},
		{"change crm --digest=false", 0, ""},
		{"list", 0, "crm                      x\n"},
		{"erase crm", 2, `unknown command "erase"; see tr87proxy accounts --help`},
		{"remove crm", 0, ""},
		{"list", 0, ""},
	} {
		out, status := command(t, append(append([]string{"accounts"}, strings.Fields(tt.args)...), "--accounts", file)...)
		if status != tt.status || !strings.Contains(out, tt.want) || tt.want == "" && out != "" {
			t.Errorf("%s: %d %q", tt.args, status, out)
		}
	}
	out, _ := command(t, "accounts", "add", "made", "--generate", "--accounts", file)
	if len(strings.TrimSpace(out)) < 20 {
		t.Errorf("%q is no password", out)
	}
	if out, status := command(t, "accounts", "list", "-c", filepath.Join(t.TempDir(), "none.yaml")); status != 2 || !strings.Contains(out, "--accounts") {
		t.Error(status, out)
	}
}
