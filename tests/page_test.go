package tests

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"
)

// browser is a page in Chromium.
type browser struct {
	t       *testing.T
	conn    *websocket.Conn
	last    int    // number of a request
	session string // with the page; "": not yet
}

// openPage opens a page. Chromium is large, so the tests do without it where it is not installed.
func openPage(t *testing.T, url string) *browser {
	t.Helper()
	folder := t.TempDir()
	start(t, optional(t, "chromium"), "--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0", "--user-data-dir="+folder, "about:blank")
	var address string
	waitFor(t, "the browser", func() bool {
		data, _ := os.ReadFile(filepath.Join(folder, "DevToolsActivePort"))
		port, path, _ := strings.Cut(strings.TrimSpace(string(data)), "\n")
		address = "ws://127.0.0.1:" + port + path
		return path != ""
	})
	conn, _, err := websocket.Dial(t.Context(), address, nil)
	if err != nil {
		t.Fatal(err)
	}
	conn.SetReadLimit(16 << 20)
	t.Cleanup(func() { _ = conn.CloseNow() })
	b := &browser{t: t, conn: conn}
	target := b.ask("Target.createTarget", map[string]any{"url": url})["targetId"]
	b.session, _ = b.ask("Target.attachToTarget", map[string]any{"targetId": target, "flatten": true})["sessionId"].(string)
	return b
}

// ask sends a request of the DevTools protocol.
func (b *browser) ask(method string, params map[string]any) map[string]any {
	b.t.Helper()
	b.last++
	request := map[string]any{"id": b.last, "method": method, "params": params}
	if b.session != "" {
		request["sessionId"] = b.session
	}
	if err := wsjson.Write(b.t.Context(), b.conn, request); err != nil {
		b.t.Fatal(err)
	}
	for {
		var m struct {
			ID     int
			Result map[string]any
			Error  any
		}
		if err := wsjson.Read(b.t.Context(), b.conn, &m); err != nil {
			b.t.Fatal(err)
		}
		if m.ID != b.last {
			continue
		}
		if m.Error != nil {
			b.t.Fatal(method, m.Error)
		}
		return m.Result
	}
}

// says returns what an expression of JavaScript is, as text.
func (b *browser) says(expression string) string {
	b.t.Helper()
	result := b.ask("Runtime.evaluate", map[string]any{"expression": "String(" + expression + ")"})
	if result["exceptionDetails"] != nil {
		return ""
	}
	value, _ := result["result"].(map[string]any)["value"].(string)
	return value
}

// until waits until an expression has a text.
func (b *browser) until(expression, text string) {
	b.t.Helper()
	said := ""
	defer func() {
		if b.t.Failed() {
			b.t.Logf("%s: %s", expression, said)
		}
	}()
	waitFor(b.t, text, func() bool { said = b.says(expression); return strings.Contains(said, text) })
}

// The page lists every operation, sends requests with the token that its user has typed, and shows events.
func TestPageInBrowser(t *testing.T) {
	t.Parallel()
	port := freePort(t)
	tokens := filepath.Join(t.TempDir(), "tokens")
	token := addToken(t, tokens, "--scope", "control", "crm")
	r := serve(t, fmt.Sprintf("api: {listen: [{transport: tcp, address: \"127.0.0.1:%d\"}]}\napplication-sessions: {tokens-file: %s}\ngrants: [{who: crm, control: [\"*\"], dial: [\"*\"]}]\n", port, tokens))
	b := openPage(t, fmt.Sprintf("http://127.0.0.1:%d/#call", port))
	b.until("document.querySelectorAll('#call button').length", "1")
	_, _, document := web(t, port, "GET", "/openapi.json", "")
	var described struct {
		Paths map[string]map[string]struct{ OperationID string }
	}
	if err := json.Unmarshal([]byte(document), &described); err != nil {
		t.Fatal(err)
	}
	for path, item := range described.Paths {
		for method, o := range item {
			shown := b.says("document.getElementById('" + o.OperationID + "').firstChild.textContent")
			if !strings.HasPrefix(shown, strings.ToUpper(method)+path) {
				t.Errorf("%s %s: %q", method, path, shown)
			}
			opened := b.says("(e => { e.open = true; e.dispatchEvent(new Event('toggle')); return e.childElementCount + ' ' + e.querySelectorAll('button').length; })(document.getElementById('" + o.OperationID + "'))")
			if opened != "2 1" {
				t.Errorf("%s %s opens as %q", method, path, opened)
			}
		}
	}
	send := "document.querySelector('#call button').click()"
	b.says("document.querySelector('#call input').value = '1000'")
	b.says(`document.querySelector('#call textarea').value = '{"to": "1001"}'`)
	b.says(send)
	b.until("document.querySelector('#call').textContent", "401 Unauthorized")
	b.says("document.getElementById('credentials').value = '" + token + "'")
	b.says("document.getElementById('events').open = true")
	b.until("document.querySelectorAll('#events button').length", "1")
	b.says("document.querySelector('#events input').value = '1001'")
	b.says("document.querySelector('#events button').click()")
	b.until("document.querySelector('#events').textContent", `"type":"ready"`)
	for _, script := range blocks(t, "../docs/api.md") { // what it has for pages
		if script.kind == "js" {
			text := strings.NewReplacer("wss://pbx.contoso.com:8843", fmt.Sprintf("ws://127.0.0.1:%d", port), "devices=101", "devices=1001").Replace(script.text)
			b.says("(() => { const token = '" + token + "', popUp = caller => { globalThis.popped = caller };\n" + text + "\nsocket.addEventListener('message', () => { globalThis.heard = 'something' }); })()")
		}
	}
	b.until("globalThis.heard", "something")
	b.says(send)
	b.until("document.querySelector('#call').textContent", "201 Created")
	b.until("document.querySelector('#events').textContent", `"type":"delivered"`)
	b.until("globalThis.popped", "1000")
	if text := b.says("document.body.textContent"); strings.Contains(text, token) {
		t.Error("the page shows the token")
	}
	r.stop()
}
