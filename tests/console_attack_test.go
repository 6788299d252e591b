package tests

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// webConsole is a proxy with a console, seen from an address.
type webConsole struct {
	*administered
	*webClient

	accounts, audit string
}

// serveConsole starts a proxy whose administrator is alice, by her account or a token. bob controls telephones alone.
func serveConsole(t *testing.T) *webConsole {
	t.Helper()
	dir, port := t.TempDir(), freePort(t)
	c := &webConsole{accounts: filepath.Join(dir, "accounts"), audit: filepath.Join(dir, "audit.log")}
	account(t, c.accounts, "alice", "right")
	account(t, c.accounts, "bob", "right")
	addToken(t, filepath.Join(dir, "tokens"), "alice", "--scope", "observe")
	c.administered = administer(t, fmt.Sprintf("audit: {file: %s}\nconsole: {listen: [{transport: tcp, address: \"0.0.0.0:%d\"}], hosts: [pbx.contoso.com]}\n"+
		"application-sessions: {accounts: %s, tokens-file: %s, lock-after: 2}\n"+
		"grants:\n- {who: alice, administer: true, control: [\"1*\"]}\n- {who: bob, control: [\"*\"]}\n", c.audit, port, c.accounts, filepath.Join(dir, "tokens")))
	c.webClient = c.by("127.0.0.1", port)
	return c
}

// by returns a browser at an address.
func (c *webConsole) by(address string, port int) *webClient {
	base := &http.Transport{DialContext: (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}).DialContext}
	c.running.t.Cleanup(base.CloseIdleConnections)
	return &webClient{t: c.running.t, client: &http.Client{Transport: hosting{base}, Timeout: patience}, server: fmt.Sprintf("http://127.0.0.1:%d", port)}
}

// hosting has requests name the host that their header Host says.
type hosting struct{ base http.RoundTripper }

func (h hosting) RoundTrip(r *http.Request) (*http.Response, error) {
	if host := r.Header.Get("Host"); host != "" {
		r = r.Clone(r.Context())
		r.Host = host
		r.Header.Del("Host")
	}
	return h.base.RoundTrip(r)
}

// logIn logs in, and has later requests show that.
func (c *webClient) logIn(body string) {
	c.t.Helper()
	c.headers = nil
	res := c.ask(http.MethodPost, "/session", body)
	cookies := (&http.Response{Header: res.header}).Cookies()
	var s struct{ CSRF string }
	if res.status != http.StatusOK || len(cookies) != 1 || json.Unmarshal(res.body, &s) != nil {
		c.t.Fatal(res)
	}
	c.headers = []string{"Cookie", cookies[0].Name + "=" + cookies[0].Value, "X-CSRF-Token", s.CSRF}
}

// consoleHeaders are those of every response.
var consoleHeaders = map[string]string{
	"Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
	"X-Frame-Options":         "DENY", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin",
}

// What does not come from an administrator, or not from a page of the console, is refused, and every response has the headers that
// keep others' pages out.
func TestConsoleRefuses(t *testing.T) {
	t.Parallel()
	c := serveConsole(t)
	const alice = `{"name":"alice","password":"right"}`
	c.logIn(alice)
	cookie := c.headers[:2]
	for _, tt := range []struct {
		name, method, path, body string
		headers                  []string // beside, or in place of, those of the login
		bare                     bool     // without those of the login
		status                   int
		says                     string
	}{
		{name: "the page", method: "GET", path: "/", bare: true, status: 200, says: "<"},
		{name: "a script", method: "GET", path: "/static/main.js", bare: true, status: 200},
		{name: "no script", method: "GET", path: "/static/none.js", bare: true, status: 404},
		{name: "out of the folder", method: "GET", path: "/static/..%2fkind.go", bare: true, status: 404},
		{name: "a folder", method: "GET", path: "/static/", bare: true, status: 404},
		{name: "no cookie, session", method: "GET", path: "/session", bare: true, status: 401, says: "log in"},
		{name: "no cookie, logout", method: "DELETE", path: "/session", bare: true, status: 401},
		{name: "no cookie, administration", method: "GET", path: "/admin/status", bare: true, status: 401},
		{name: "no cookie, action", method: "POST", path: "/admin/reload", bare: true, status: 401},
		{name: "no cookie, API", method: "GET", path: "/v1/devices", bare: true, status: 401},
		{name: "no cookie, password instead", method: "GET", path: "/v1/devices", headers: []string{"Authorization", "Basic YWxpY2U6cmlnaHQ="}, bare: true, status: 401},
		{name: "no cookie, description", method: "GET", path: "/openapi.json", bare: true, status: 401},
		{name: "no cookie, no path", method: "GET", path: "/nothing", bare: true, status: 401},
		{name: "another's cookie", method: "GET", path: "/admin/status", headers: []string{cookie[0], cookie[1][:len(cookie[1])-1] + "x"}, status: 401},
		{name: "administration", method: "GET", path: "/admin/status", status: 200, says: "servers"},
		{name: "overview", method: "GET", path: "/admin/overview", status: 200, says: `"counters"`},
		{name: "explanation", method: "GET", path: "/admin/explain?identity=alice&service=call&device=1000&destination=2000,1001", status: 200, says: `"decides":true`},
		{name: "explanation of nobody", method: "GET", path: "/admin/explain?service=call&device=1000", status: 409, says: "identity"},
		{name: "number", method: "GET", path: "/admin/numbers?number=tel:1000", status: 200, says: `"canonical":"1000"`},
		{name: "forms", method: "GET", path: "/admin/messages", status: 200, says: `"name":"callToBeAnswered"`},
		{name: "no octets", method: "GET", path: "/admin/pcap", status: 409, says: "octets-mib"},
		{name: "telephones of no demo", method: "POST", path: "/admin/phones/1000/lift", status: 409, says: "demo and simulate only"},
		{name: "no session", method: "POST", path: "/admin/sessions/1/end", status: 409, says: "no session"},
		{name: "API", method: "GET", path: "/v1/devices", status: 200, says: "devices"},
		{name: "API, not hers", method: "GET", path: "/v1/devices/2000", status: 403},
		{name: "no path", method: "GET", path: "/nothing", status: 404},
		{name: "SOAP", method: "POST", path: "/soap", status: 404},
		{name: "no CSRF token", method: "POST", path: "/admin/reload?dry-run", headers: cookie, bare: true, status: 403, says: "X-CSRF-Token"},
		{name: "no CSRF token, API", method: "POST", path: "/v1/devices/1000/calls", body: `{"to":"2000"}`, headers: cookie, bare: true, status: 403},
		{name: "another CSRF token", method: "POST", path: "/admin/reload?dry-run", headers: []string{"X-CSRF-Token", strings.Repeat("0", 64)}, status: 403},
		{name: "foreign page", method: "POST", path: "/admin/reload?dry-run", headers: []string{"Origin", "https://evil.example"}, status: 403, says: "another site"},
		{name: "foreign page without origin", method: "POST", path: "/admin/reload?dry-run", headers: []string{"Origin", "null"}, status: 403},
		{name: "foreign port", method: "POST", path: "/admin/reload?dry-run", headers: []string{"Origin", "http://127.0.0.1:1"}, status: 403},
		{name: "foreign page by its browser", method: "POST", path: "/admin/reload?dry-run", headers: []string{"Sec-Fetch-Site", "cross-site"}, status: 403},
		{name: "page beside", method: "GET", path: "/admin/status", headers: []string{"Sec-Fetch-Site", "same-site"}, status: 403},
		{name: "link from elsewhere", method: "GET", path: "/", headers: []string{"Sec-Fetch-Site", "cross-site"}, bare: true, status: 200},
		{name: "own page", method: "POST", path: "/admin/reload?dry-run", headers: []string{"Origin", c.server, "Sec-Fetch-Site", "same-origin"}, status: 200},
		{name: "foreign name", method: "GET", path: "/admin/status", headers: []string{"Host", "evil.example"}, status: 403, says: "console.hosts"},
		{name: "foreign name, login", method: "POST", path: "/session", body: alice, headers: []string{"Host", "evil.example:8870"}, bare: true, status: 403},
		{name: "own name", method: "GET", path: "/admin/status", headers: []string{"Host", "PBX.contoso.com"}, status: 200},
		{name: "login of a foreign page", method: "POST", path: "/session", body: alice, headers: []string{"Origin", "https://evil.example"}, bare: true, status: 403},
		{name: "login by a form", method: "POST", path: "/session", body: alice, headers: []string{"Content-Type", "text/plain"}, bare: true, status: 415},
		{name: "login with nothing", method: "POST", path: "/session", body: `{}`, bare: true, status: 400},
		{name: "login with both", method: "POST", path: "/session", body: `{"name":"alice","password":"right","token":"tr87_x"}`, bare: true, status: 400},
		{name: "login with more", method: "POST", path: "/session", body: alice + alice, bare: true, status: 400},
		{name: "login that is too long", method: "POST", path: "/session", body: `{"token":"` + strings.Repeat("x", 5000) + `"}`, bare: true, status: 400},
		{name: "no administrator", method: "POST", path: "/session", body: `{"name":"bob","password":"right"}`, bare: true, status: 403, says: "administer"},
		{name: "no token", method: "POST", path: "/session", body: `{"token":"tr87_aaaaaaaa_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}`, bare: true, status: 401},
	} {
		headers := tt.headers
		from := *c.webClient
		if tt.bare {
			from.headers = nil
		}
		res := from.ask(tt.method, tt.path, tt.body, headers...)
		if res.status != tt.status || !bytes.Contains(res.body, []byte(tt.says)) {
			t.Errorf("%s: %.300s", tt.name, res)
		}
		for name, value := range consoleHeaders {
			if got := res.header.Values(name); len(got) != 1 || got[0] != value {
				t.Errorf("%s: %s is %q", tt.name, name, got)
			}
		}
		if stored := res.header.Get("Cache-Control"); !strings.HasPrefix(tt.path, "/static/m") && stored != "no-store" {
			t.Errorf("%s: Cache-Control is %q", tt.name, stored)
		}
		if res.status >= 300 && res.header.Get("Set-Cookie") != "" {
			t.Errorf("%s: sets a cookie", tt.name)
		}
	}
	lines, err := os.ReadFile(c.audit)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"kind":"opened"`, `"kind":"asked"`, `"service":"POST /admin/reload?dry-run"`, `"service":"GET /admin/pcap"`, `"service":"POST /admin/sessions/1/end"`, `"outcome":"Conflict"`, `"front":"console"`} {
		if !bytes.Contains(lines, []byte(want)) {
			t.Errorf("the audit file has no %s", want)
		}
	}
	if bytes.Contains(lines, []byte("right")) || strings.Contains(c.out.String(), "right\"") {
		t.Error("a password is written down")
	}
}

// The WebSocket of events opens for the console's own pages alone, and closes with the right to administer.
func TestConsoleWebSocket(t *testing.T) {
	t.Parallel()
	c := serveConsole(t)
	c.logIn(`{"name":"alice","password":"right"}`)
	open := func(origin string) (*websocket.Conn, *http.Response, error) {
		headers := http.Header{"Cookie": {c.headers[1]}}
		if origin != "" {
			headers.Set("Origin", origin)
		}
		return websocket.Dial(t.Context(), c.server+"/v1/events?devices=1000&snapshot=true", &websocket.DialOptions{HTTPHeader: headers})
	}
	for _, origin := range []string{"", "null", "https://evil.example", "http://localhost:1", strings.Replace(c.server, "127.0.0.1", "127.0.0.2", 1)} {
		conn, res, err := open(origin)
		if err == nil {
			_ = conn.CloseNow()
		}
		if err == nil || res.StatusCode != http.StatusForbidden {
			t.Errorf("origin %q: %v", origin, err)
		}
	}
	if res := c.ask(http.MethodPost, "/v1/devices/1000/calls", `{"to":"1001"}`); res.status != http.StatusOK && res.status != http.StatusCreated {
		t.Fatal(res)
	}
	conn, _, err := open(c.server)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.CloseNow() }()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for rings := false; !rings; {
		_, data, err := conn.Read(ctx)
		if err != nil {
			t.Fatal(err)
		}
		rings = bytes.Contains(data, []byte("1001"))
	}
	c.edit("administer: true", "administer: false")
	c.admin(0, "reload")
	if res := c.ask(http.MethodGet, "/admin/status", ""); res.status != http.StatusUnauthorized {
		t.Error("after the right has gone:", res)
	}
	for err == nil {
		_, _, err = conn.Read(ctx)
	}
	if ctx.Err() != nil || websocket.CloseStatus(err) != websocket.StatusPolicyViolation {
		t.Error("the WebSocket is open after the right has gone:", err)
	}
	if res := c.ask(http.MethodPost, "/session", `{"name":"alice","password":"right"}`); res.status != http.StatusForbidden {
		t.Error(res)
	}
}

// An account that is removed, and a listener that closes, end their logins. A session of a client is ended.
func TestConsoleEnds(t *testing.T) {
	t.Parallel()
	c := serveConsole(t)
	c.logIn(`{"name":"alice","password":"right"}`)
	account(t, c.accounts, "crm", "right")
	x := c.xml()
	x.login("bob", "right", uacsta.LoginPlain, 60)
	var st struct {
		Sessions []struct{ ID, Identity string }
	}
	if res := c.ask(http.MethodGet, "/admin/status?sessions", ""); json.Unmarshal(res.body, &st) != nil || len(st.Sessions) == 0 {
		t.Fatal(res)
	}
	for _, s := range st.Sessions {
		if strings.HasPrefix(s.Identity, "bob") {
			if res := c.ask(http.MethodPost, "/admin/sessions/"+s.ID+"/end", ""); res.status != http.StatusOK {
				t.Error(res)
			}
		}
	}
	waitFor(t, "the end of the session", func() bool { return strings.Contains(c.out.String(), "an administrator has ended the session") })
	before := c.headers
	c.admin(0, "server", "stop", "console-tcp")
	c.admin(0, "server", "start", "console-tcp")
	if res := c.ask(http.MethodGet, "/session", "", before...); res.status != http.StatusUnauthorized {
		t.Error("a login outlives its listener:", res)
	}
	c.logIn(`{"name":"alice","password":"right"}`)
	if err := os.WriteFile(c.accounts, []byte("# nobody\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if res := c.ask(http.MethodGet, "/session", ""); res.status != http.StatusUnauthorized {
		t.Error("a login outlives its account:", res)
	}
}

// Who guesses locks himself out and nobody else.
func TestConsoleFlood(t *testing.T) {
	t.Parallel()
	c := serveConsole(t)
	_, text, _ := strings.Cut(strings.TrimPrefix(c.server, "http://"), ":")
	var port int
	_, _ = fmt.Sscan(text, &port)
	guesser, other := c.by("127.0.0.2", port), c.by("127.0.0.3", port)
	status := 0
	for range 4 {
		if status = guesser.ask(http.MethodPost, "/session", `{"name":"alice","password":"wrong"}`).status; status == http.StatusTooManyRequests {
			break
		}
	}
	if status != http.StatusTooManyRequests {
		t.Error("a guesser is not locked out:", status)
	}
	if res := guesser.ask(http.MethodPost, "/session", `{"name":"alice","password":"right"}`); res.status != http.StatusTooManyRequests || res.header.Get("Retry-After") == "" {
		t.Error("a lock does not hold:", res)
	}
	for range 30 {
		status = guesser.ask(http.MethodPost, "/session", `{"token":"tr87_aaaaaaaa_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}`).status
	}
	if status != http.StatusTooManyRequests {
		t.Error("tokens can be guessed without limit:", status)
	}
	if res := other.ask(http.MethodPost, "/session", `{"token":"tr87_aaaaaaaa_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}`); res.status != http.StatusUnauthorized {
		t.Error("another peer is limited, too:", res)
	}
	other.logIn(`{"name":"alice","password":"right"}`)
	strangers, _ := os.ReadFile(strings.TrimSuffix(c.audit, ".log") + "-strangers.log")
	for _, want := range []string{`"kind":"refused","who":"alice","front":"console"`, `"kind":"locked","who":"alice"`} {
		if !bytes.Contains(strangers, []byte(want)) {
			t.Errorf("the audit file of strangers has no %s:\n%s", want, strangers)
		}
	}
}
