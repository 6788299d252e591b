package tests

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

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
