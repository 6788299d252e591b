package tests

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"html"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"github.com/tr87proxy/tr87proxy/internal/wait"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// pythonForms is a client with python3-websockets. In each form of messages that a listener has, it watches 102, calls it from
// 100, and asks for what is refused. Its argument is the URL of the plain listener, or of that of zultys.
const pythonForms = `
import asyncio, base64, ssl, struct, sys, websockets

csta = ' xmlns="http://www.ecma-international.org/standards/ecma-323/csta/ed3"'

def frame(id, document):
    return struct.pack(">HH", 0, 8 + len(document)) + b"%04d" % id + document

def unframe(message):
    zero, length = struct.unpack(">HH", message[:4])
    assert zero == 0 and length == len(message), message
    return int(message[4:8]), message[8:].decode()

def code(id, document):
    header = frame(id, document)[:8]
    return b"\x0c" + base64.b64encode(header) + document

def uncode(message):
    assert message[0] == 12, message
    return unframe(base64.b64decode(message[1:13]) + message[13:])

forms = {
    "frames": (frame, unframe, True),
    "numbers": (lambda id, d: "%04d%s" % (id, d.decode()), lambda m: (int(m[:4]), m[4:]), False),
    "documents": (lambda id, d: d.decode(), lambda m: (None, m), False),
}
coded = {
    "base64 in octets": (code, uncode, True),
    "base64 in text": (lambda id, d: code(id, d).decode(), lambda m: uncode(m.encode()), False),
}

async def talk(url, name, form):
    write, read, binary = form
    context = None
    if url.startswith("wss"):
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    protocols = None if url.endswith("j") else ["csta-xml"]
    async with websockets.connect(url, subprotocols=protocols, ssl=context) as ws:
        assert ws.subprotocol == (protocols and "csta-xml"), ws.subprotocol
        assert not ws.extensions, ws.extensions # python offers compression
        last, events = 0, []
        async def hear():
            message = await ws.recv()
            assert isinstance(message, bytes) == binary, (name, message)
            return read(message)
        async def ask(document, response):
            nonlocal last
            last += 1
            await ws.send(write(last, document.encode()))
            while True:
                id, got = await hear()
                if "Event" in got.split(">")[1]:
                    assert id in (9999, None), (name, id, got)
                    events.append(got)
                    continue
                assert id in (last, None) and response in got, (name, last, id, got)
                return got
        await ask("<MonitorStart%s><monitorObject><deviceObject>102</deviceObject></monitorObject></MonitorStart>" % csta, "MonitorStartResponse")
        made = await ask("<MakeCall%s><callingDevice>100</callingDevice><calledDirectoryNumber>102</calledDirectoryNumber><autoOriginate>doNotPrompt</autoOriginate></MakeCall>" % csta, "MakeCallResponse")
        call = made.split("callID>")[1].split("<")[0]
        await ask("<MakeCall%s><callingDevice>100</callingDevice><calledDirectoryNumber>777</calledDirectoryNumber></MakeCall>" % csta, "CSTAErrorCode")
        await ask("<HoldCall%s><callToBeHeld><callID>\u00e9</callID><deviceID>102</deviceID></callToBeHeld></HoldCall>" % csta, "CSTAErrorCode")
        await ask("<nonsense", "CSTAErrorCode")
        await ask("<ClearConnection%s><connectionToBeCleared><callID>%s</callID><deviceID>100</deviceID></connectionToBeCleared></ClearConnection>" % (csta, call), "ClearConnectionResponse")
        while not any("ConnectionClearedEvent" in e for e in events):
            id, got = await hear()
            assert id in (9999, None), (name, id, got)
            events.append(got)
        assert any("DeliveredEvent" in e for e in events), events
        await ws.ping()

async def main(url):
    for name, form in (coded if url.endswith("j") else forms).items():
        await talk(url, name, form)

asyncio.run(asyncio.wait_for(main(sys.argv[1]), 60))
print("done")
`

// nodeForms is the same with the WebSocket of Node, which is that of browsers, for numbers and frames.
const nodeForms = `
const fail = (why) => { console.error(why); process.exit(1) }
setTimeout(() => fail("too late"), 60000)
const document = '<GetDoNotDisturb xmlns="http://www.ecma-international.org/standards/ecma-323/csta/ed3"><device>100</device></GetDoNotDisturb>'
function talk(message, read, next) {
  const ws = new WebSocket(process.argv[2], "csta-xml")
  ws.binaryType = "arraybuffer"
  ws.onerror = (e) => fail(e.message)
  ws.onopen = () => ws.send(message)
  ws.onmessage = ({data}) => {
    const text = read(data)
    if (!text.startsWith("0042<") || !text.includes("GetDoNotDisturbResponse")) fail(text)
    ws.close(1000)
    ws.onclose = ({code, wasClean}) => code === 1000 && wasClean ? next() : fail(code)
  }
}
const frame = Buffer.concat([Buffer.from([0, 0, 0, 8 + document.length]), Buffer.from("0042" + document)])
frame.writeUInt16BE(frame.length, 2)
talk("0042" + document, (data) => data, () => talk(frame, (data) => Buffer.from(data).subarray(4).toString(), () => { console.log("done"); process.exit(0) }))
`

// Clients of other makes speak CSTA-XML over WebSockets, in every form, over TCP and TLS, to the port of frames.
func TestForeignWebSocketsInXML(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	certificates(t, dir)
	secure, coded := freePort(t), freePort(t)
	address := serveXML(t, fmt.Sprintf("}, {transport: tls, address: \"127.0.0.1:%d\", certificate: %[2]s/cert.pem, key: %[2]s/key.pem}, {transport: tcp, address: \"127.0.0.1:%[3]d\", dialect: zultys", secure, dir, coded), everybody[:strings.Index(everybody, "grants")]+"grants: [{who: \"*\", control: [\"*\"], dial: [\"*\"]}]\n")
	for name, url := range map[string]string{
		"TCP": "ws://" + address + "/csta", "TLS": fmt.Sprintf("wss://127.0.0.1:%d/csta", secure), "zultys": fmt.Sprintf("ws://127.0.0.1:%d/cstaj", coded),
	} {
		t.Run("python3-websockets, "+name, func(t *testing.T) {
			run(t, script(t, "client.py", pythonForms), url, pythonWith(t, "websockets"))
		})
	}
	t.Run("node", func(t *testing.T) {
		node := tool(t, "node")
		flags := []string{}
		if exec.Command(node, "-e", "new WebSocket('ws://127.0.0.1:1').onerror = () => {}").Run() != nil {
			if flags = append(flags, "--experimental-websocket"); exec.Command(node, append(flags, "-e", "WebSocket.name")...).Run() != nil {
				t.Skip("this node has no WebSocket")
			}
		}
		run(t, script(t, "client.js", nodeForms), "ws://"+address+"/csta", node, flags...)
	})
}

// The page of wire/cstaxml/README.md shows calls, in a browser, if it comes from the origin that the configuration lists. From
// any other it does not get in.
func TestWebSocketPage(t *testing.T) {
	t.Parallel()
	port, dir := freePort(t), t.TempDir()
	var config, page string
	for _, b := range blocks(t, "../wire/cstaxml/README.md") {
		switch {
		case b.kind == "yaml" && strings.Contains(b.text, "origins"):
			config = b.text
		case b.kind == "html":
			page = b.text
		}
	}
	account(t, filepath.Join(dir, "accounts"), "crm", soapPassword)
	page = strings.NewReplacer("127.0.0.1:8882", fmt.Sprintf("127.0.0.1:%d", port), "the password", html.EscapeString(soapPassword)).Replace(page)
	pages := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = w.Write([]byte(page))
	}))
	t.Cleanup(pages.Close)
	ours := strings.Replace(pages.URL, "127.0.0.1", "localhost", 1)
	config = strings.NewReplacer("127.0.0.1:8882", fmt.Sprintf("127.0.0.1:%d", port), "http://localhost:8000", ours, "accounts: accounts", "accounts: "+filepath.Join(dir, "accounts")).Replace(config)
	if !strings.Contains(config, ours) || !strings.Contains(page, html.EscapeString(soapPassword)) {
		t.Fatalf("%s\n%s", config, page)
	}
	file := filepath.Join(dir, "config.yaml")
	if err := os.WriteFile(file, []byte(config+"operations: {address: \"\"}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := start(t, program(t), "serve", "-c", file)
	waitFor(t, "the proxy", func() bool { return strings.Contains(p.out.String(), "msg=ready") })
	const shown = "document.getElementById('log').textContent"
	b := openPage(t, ours+"/calls.html")
	b.until(shown, "watching 101")
	b.says("document.getElementById('call').click()")
	b.until(shown, "100 calls 101")
	foreign := openPage(t, pages.URL+"/calls.html") // another origin, of the same server
	foreign.until(shown, "closed: 1006")
	if said := foreign.says(shown); strings.Contains(said, "watching") {
		t.Error(said)
	}
	waitFor(t, "the log", func() bool {
		return strings.Contains(p.out.String(), "xml.origins does not list") && strings.Contains(p.out.String(), pages.URL)
	})
}

// A program for Zultys' MX logs in over a WebSocket without subprotocol, with its headers in base64, and watches its extension.
func TestClientOfZultysOverWebSocket(t *testing.T) {
	t.Parallel()
	accounts := filepath.Join(t.TempDir(), "accounts")
	account(t, accounts, "100", "secret")
	address := serveXML(t, ", dialect: zultys", "application-sessions: {accounts: "+accounts+", xml: mandatory}\ngrants: [{who: \"100\", control: [\"100\"]}]\n")
	c, _, err := websocket.Dial(t.Context(), "ws://"+address+"/cstaj", nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.CloseNow() })
	say := func(id int, document string) {
		t.Helper()
		header := fmt.Appendf([]byte{0, 0, 0, byte(8 + len(document))}, "%04d", id)
		if err := c.Write(t.Context(), websocket.MessageText, []byte("\x0c"+base64.StdEncoding.EncodeToString(header)+document)); err != nil {
			t.Fatal(err)
		}
	}
	expect := func(id int, want string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		kind, data, err := c.Read(ctx)
		if err != nil || kind != websocket.MessageText || len(data) < 13 || data[0] != 12 {
			t.Fatalf("%v %q %v", kind, data, err)
		}
		header, err := base64.StdEncoding.DecodeString(string(data[1:13]))
		if err != nil || string(header[4:]) != fmt.Sprintf("%04d", id) || !strings.Contains(string(data[13:]), want) {
			t.Fatalf("%q %s %v, want %04d %s", header, data, err, id, want)
		}
	}
	say(1, `<loginRequest type="User"><userName>100</userName><pwd>secret</pwd></loginRequest>`)
	expect(1, `<loginResponce `)
	say(0, `<keepalive />`)
	say(2, `<MonitorStart><monitorObject><deviceObject></deviceObject></monitorObject></MonitorStart>`)
	expect(2, "<MonitorStartResponse ")
	say(3, `<MakeCall><callingDevice>100</callingDevice><calledDirectoryNumber>777</calledDirectoryNumber></MakeCall>`)
	expect(3, "<CSTAErrorCode ")
	say(4, `<SetDoNotDisturb><device>100</device><doNotDisturbOn>true</doNotDisturbOn></SetDoNotDisturb>`)
	expect(4, "<SetDoNotDisturbResponse")
	expect(9999, "<DoNotDisturbEvent ")
}

// serveSockets starts a proxy with keys under xml beside its listener, whose address it returns. extra is YAML for the end.
func serveSockets(t *testing.T, keys, extra string) string {
	t.Helper()
	file, address := filepath.Join(t.TempDir(), "config.yaml"), fmt.Sprintf("127.0.0.1:%d", freePort(t))
	config := fmt.Sprintf("sip: {listen: []}\noperations: {address: \"\"}\nxml: {listen: [{transport: tcp, address: %q}], %s}\nswitch: {extensions: [{number: \"100\"}]}\n%s", address, keys, extra)
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	p := start(t, program(t), "serve", "-c", file)
	waitFor(t, "the proxy", func() bool { return strings.Contains(p.out.String(), "msg=ready") })
	return address
}

// WebSockets and connections with frames share the limits of a listener: a stranger's newest connection closes its oldest,
// whichever they are, and a WebSocket is told so.
func TestWebSocketsShareLimits(t *testing.T) {
	t.Parallel()
	accounts := filepath.Join(t.TempDir(), "accounts")
	account(t, accounts, "crm", soapPassword)
	address := serveSockets(t, "max-connections-per-peer: 2", "application-sessions: {xml: mandatory, accounts: "+accounts+"}\ngrants: [{who: crm, control: [\"*\"]}]\n")
	open := func(headers http.Header) (*websocket.Conn, error) {
		c, _, err := websocket.Dial(t.Context(), "ws://"+address+"/csta", &websocket.DialOptions{
			Subprotocols: []string{"csta-xml"}, HTTPHeader: headers, HTTPClient: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}},
		})
		if err == nil {
			t.Cleanup(func() { _ = c.CloseNow() })
		}
		return c, err
	}
	name, value, _ := strings.Cut(strings.TrimSpace(basic), ": ")
	known, err := open(http.Header{name: {value}})
	if err != nil {
		t.Fatal(err)
	}
	oldest, err := open(nil)
	if err != nil {
		t.Fatal(err)
	}
	newest := dialScripted(t, address)
	newest.say(1, "<GetDoNotDisturb/>")
	newest.expect(1, "CSTAErrorCode")
	var e websocket.CloseError
	if _, _, err := oldest.Read(t.Context()); !errors.As(err, &e) || e.Code != websocket.StatusTryAgainLater || !strings.Contains(e.Reason, "make room") {
		t.Errorf("the oldest stranger: %v", err)
	}
	if err := known.Write(t.Context(), websocket.MessageText, []byte("<GetDoNotDisturb/>")); err != nil {
		t.Error(err)
	}
	if _, data, err := known.Read(t.Context()); err != nil || !strings.Contains(string(data), "CSTAErrorCode") {
		t.Errorf("who is known: %s, %v", data, err)
	}
}

const upgradeHeaders = "Connection: Upgrade|Upgrade: websocket|Sec-WebSocket-Version: 13|Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="

// What is no request for a WebSocket of CSTA-XML gets a status that says so; and so does one that a page of another origin makes,
// by whatever name.
func TestWebSocketRefusals(t *testing.T) {
	t.Parallel()
	accounts := filepath.Join(t.TempDir(), "accounts")
	account(t, accounts, "crm", soapPassword)
	asked := "grants: [{who: crm, control: [\"*\"]}]\napplication-sessions: {xml: \"off\", accounts: " + accounts + "}\n"
	trusted := serveXML(t, "", everybody)
	known := serveXML(t, "", asked)
	off := serveSockets(t, "protocols: [csta-xml, soap]", everybody)
	dial := func(address, path, protocol string, headers ...string) (int, string, http.Header) {
		t.Helper()
		all := strings.Split(upgradeHeaders, "|")
		if protocol != "" {
			all = append(all, "Sec-WebSocket-Protocol: "+protocol)
		}
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, h := range append(all, headers...) {
			if name, value, _ := strings.Cut(h, ": "); name == "Host" {
				r.Host = value
			} else {
				r.Header.Set(name, value)
			}
		}
		res, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = res.Body.Close() }()
		text := make([]byte, 1000)
		n := 0
		if res.StatusCode != http.StatusSwitchingProtocols {
			n, _ = res.Body.Read(text)
		}
		return res.StatusCode, string(text[:n]), res.Header
	}
	for name, c := range map[string]struct {
		address, path, protocol string
		headers                 []string
		status                  int
		says                    string
	}{
		"as it should be":               {trusted, "/csta", "csta-xml", nil, 101, ""},
		"one of several subprotocols":   {trusted, "/csta", "soap, csta-xml", nil, 101, ""},
		"the origin of the proxy":       {trusted, "/csta", "csta-xml", []string{"Origin: http://" + trusted}, 101, ""},
		"no subprotocol":                {trusted, "/csta", "", nil, 400, "offer the subprotocol csta-xml"},
		"another subprotocol":           {trusted, "/csta", "events", nil, 400, "offer the subprotocol csta-xml"},
		"another path":                  {trusted, "/", "csta-xml", nil, 404, "/csta"},
		"the path of zultys":            {trusted, "/cstaj", "csta-xml", nil, 404, "/csta"},
		"parameters":                    {trusted, "/csta?user=crm", "csta-xml", nil, 400, "no parameters"},
		"an old version":                {trusted, "/csta", "csta-xml", []string{"Sec-WebSocket-Version: 8"}, 400, "13"},
		"a foreign page":                {trusted, "/csta", "csta-xml", []string{"Origin: https://evil.example"}, 403, "xml.origins"},
		"a page of a file":              {trusted, "/csta", "csta-xml", []string{"Origin: null"}, 403, "xml.origins"},
		"a page with a name of its own": {trusted, "/csta", "csta-xml", []string{"Origin: http://evil.example:8882", "Host: evil.example:8882"}, 403, "DNS rebinding"},
		"turned off":                    {off, "/csta", "csta-xml", nil, 403, "no websocket in xml.protocols"},
		"nobody":                        {known, "/csta", "csta-xml", nil, 401, "send the name and password of an account"},
		"an account":                    {known, "/csta", "csta-xml", []string{strings.TrimSpace(basic)}, 101, ""},
		"a wrong password":              {known, "/csta", "csta-xml", []string{"Authorization: Basic Y3JtOnh4"}, 401, "the name or the password is wrong"},
		"an account, from a page":       {known, "/csta", "csta-xml", []string{strings.TrimSpace(basic), "Origin: https://evil.example"}, 403, "xml.origins"},
	} {
		status, text, header := dial(c.address, c.path, c.protocol, c.headers...)
		if status != c.status || !strings.Contains(text, c.says) || status == 401 != (header.Get("WWW-Authenticate") != "") {
			t.Errorf("%s: %d %q %v", name, status, text, header)
		}
	}
}

// A WebSocket on 8882 is one connection of the front: its client logs in on it, has its limits before that, is closed with the
// reason when the listener closes, and does not keep its monitors.
func TestWebSocketOfAListener(t *testing.T) {
	t.Parallel()
	accounts := filepath.Join(t.TempDir(), "accounts")
	account(t, accounts, "crm", soapPassword)
	a := administer(t, "grants: [{who: crm, control: [\"*\"]}]\napplication-sessions: {xml: mandatory, accounts: "+accounts+"}\n")
	dial := func() *websocket.Conn {
		c, _, err := websocket.Dial(t.Context(), fmt.Sprintf("wss://127.0.0.1:%d/csta", a.xmlTLSPort), &websocket.DialOptions{
			Subprotocols: []string{"csta-xml"}, HTTPClient: &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}},
		})
		if err != nil {
			t.Fatal(err)
		}
		c.SetReadLimit(1 << 20)
		t.Cleanup(func() { _ = c.CloseNow() })
		return c
	}
	ask := func(c *websocket.Conn, id int, document string) string {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		err := c.Write(ctx, websocket.MessageText, fmt.Appendf(nil, "%04d%s", id, document))
		if err == nil {
			var data []byte
			if _, data, err = c.Read(ctx); err == nil {
				return string(data)
			}
		}
		return err.Error()
	}
	monitor := `<MonitorStart xmlns="` + uacsta.Edition3.Namespace() + `"><monitorObject><deviceObject>1000</deviceObject></monitorObject></MonitorStart>`
	stranger := dial()
	if got := ask(stranger, 1, monitor); !strings.HasPrefix(got, "0001") || !strings.Contains(got, "CSTAErrorCode") {
		t.Error(got)
	}
	if got := ask(stranger, 2, "<!--"+strings.Repeat("x", 5000)+"-->"); !strings.Contains(got, "StatusMessageTooBig") || !strings.Contains(got, "at most 4088 octets") {
		t.Error(got)
	}
	c := dial()
	login := uacsta.Encode(uacsta.Login{User: "crm", Password: soapPassword}.Opening("page", uacsta.LoginPlain, 0, uacsta.Edition3), uacsta.Edition3)
	if got := ask(c, 3, login.String()); !strings.Contains(got, "StartApplicationSessionPosResponse") {
		t.Fatal(got)
	}
	if got := ask(c, 4, monitor); !strings.HasPrefix(got, "0004") || !strings.Contains(got, "MonitorStartResponse") {
		t.Error(got)
	}
	if out := a.admin(0, "status", "--sessions"); !strings.Contains(out, "crm (account)") || a.metric("tr87proxy_link_monitors") != 1 {
		t.Errorf("%s\n%v monitors", out, a.metric("tr87proxy_link_monitors"))
	}
	closed := make(chan error, 1)
	go func() {
		_, _, err := c.Read(context.Background())
		closed <- err
	}()
	line := fmt.Sprintf("127.0.0.1:%d\", certificate", a.xmlTLSPort)
	a.edit(line, fmt.Sprintf("127.0.0.1:%d\", certificate", freePort(t)))
	a.admin(0, "reload")
	var e websocket.CloseError
	if err := wait.Next(t, closed, "the end of the WebSocket"); !errors.As(err, &e) || e.Code != websocket.StatusGoingAway || e.Reason == "" {
		t.Error(err)
	}
	waitFor(t, "the end of the monitor", func() bool { return a.metric("tr87proxy_link_monitors") == 0 })
}

// The API has WebSockets of both subprotocols for clients with a token, as pages bring it. They end with their listener.
func TestWebSocketsOfTheAPI(t *testing.T) {
	t.Parallel()
	port := freePort(t)
	tokens := filepath.Join(t.TempDir(), "tokens")
	token := addToken(t, tokens, "--scope", "control", "crm")
	a := administer(t, fmt.Sprintf("api: {listen: [{transport: tcp, address: \"127.0.0.1:%d\"}]}\napplication-sessions: {tokens-file: %s}\ngrants: [{who: crm, control: [\"*\"]}]\n", port, tokens))
	ends := make(chan error, 2)
	for _, protocol := range []string{"events", "csta-xml"} {
		c, _, err := websocket.Dial(t.Context(), fmt.Sprintf("ws://127.0.0.1:%d/v1/events", port), &websocket.DialOptions{Subprotocols: []string{"bearer." + token, protocol}})
		if err != nil || c.Subprotocol() != protocol {
			t.Fatal(protocol, err)
		}
		t.Cleanup(func() { _ = c.CloseNow() })
		if protocol == "csta-xml" {
			err := c.Write(t.Context(), websocket.MessageText, []byte(`0042<GetDoNotDisturb xmlns="`+uacsta.NamespaceED3+`"><device>1000</device></GetDoNotDisturb>`))
			if _, data, read := c.Read(t.Context()); err != nil || read != nil || !strings.HasPrefix(string(data), "0042<") || !strings.Contains(string(data), "GetDoNotDisturbResponse") {
				t.Errorf("%s %v %v", data, err, read)
			}
		}
		go func() {
			var err error
			for err == nil { // events, until the end
				_, _, err = c.Read(context.Background())
			}
			ends <- err
		}()
	}
	sessions := func(what string) int {
		return len(regexp.MustCompile(`msg="session `+what+`" [^\n]* peer=api:`).FindAllString(a.out.String(), -1))
	}
	waitFor(t, "both sessions", func() bool { return sessions("opened") == 2 })
	a.edit(fmt.Sprintf("127.0.0.1:%d\"}]}", port), fmt.Sprintf("127.0.0.1:%d\"}]}", freePort(t)))
	a.admin(0, "reload")
	for range 2 {
		var e websocket.CloseError
		if err := wait.Next(t, ends, "the end of a WebSocket"); !errors.As(err, &e) || e.Code != websocket.StatusGoingAway {
			t.Error(err)
		}
	}
	waitFor(t, "the end of their sessions", func() bool { return sessions("closed") == 2 })
}
