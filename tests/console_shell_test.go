package tests

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// consolePages are the pages of the menu, by the names in their addresses.
var consolePages = []string{"overview", "devices", "calls", "ladder", "browser", "policy", "administration"}

// hostileName is what no page may take for anything but a text.
const hostileName = "<img src=x onerror=document.title=1>"

// An administrator logs in and sees, explains, reloads, stops and starts what runs. The pages have no faults of accessibility, dark
// or light, and fit a telephone.
func TestConsoleInBrowser(t *testing.T) {
	t.Parallel()
	accounts, port, more := filepath.Join(t.TempDir(), "accounts"), freePort(t), freePort(t)
	account(t, accounts, "admin", "s3cret <&>")
	account(t, accounts, "crm", "other")
	r := serve(t, fmt.Sprintf(`  - {number: "3000", name: '%s'}
application-sessions: {accounts: %s}
console: {listen: [{transport: tcp, address: "127.0.0.1:%d"}]}
grants:
- {who: admin, control: ["*"], administer: true}
- {who: crm, observe: ["1000"]}
`, hostileName, accounts, port))
	p := openPage(t, fmt.Sprintf("http://127.0.0.1:%d/", port))

	p.accessible("the login")
	p.logIn("admin", "guess")
	p.sees("unknown name or wrong password")
	p.logIn("crm", "other")
	p.sees("this identity may not administer")
	p.logIn("admin", "s3cret <&>")
	p.open("overview", "Overview")
	for _, text := range []string{fmt.Sprintf("sip/udp 127.0.0.1:%d", r.port), fmt.Sprintf("xml/tls 127.0.0.1:%d", r.xmlTLSPort), "switch", "cert.pem", "The certificate of"} {
		p.sees(text)
	}
	p.screenshot("overview")

	p.open("policy", "Policy")
	p.fill("Identity", "crm")
	p.fill("Service", "MakeCall")
	p.fill("Device", "1000")
	p.fill("Destinations", "2000")
	p.click("Explain")
	p.until("document.querySelector('.verdict')?.innerText", "refused")
	p.fill("Service", "MonitorStart")
	p.fill("Destinations", "")
	p.click("Explain")
	p.until("document.querySelector('.verdict')?.innerText", "allowed")
	p.fill("Service", hostileName)
	p.click("Explain")
	p.sees(hostileName)
	p.fill("Number", "tel:+49 (89) 4711")
	p.click("Translate")
	p.sees("+49894711")
	p.screenshot("policy")

	file := filepath.Join(r.dir, "config.yaml")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.Replace(string(text), "xml:\n  listen:\n", fmt.Sprintf("xml:\n  listen:\n  - {name: extra, transport: tcp, address: \"127.0.0.1:%d\"}\n", more), 1)
	if err := os.WriteFile(file, []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
	p.open("administration/reload", "Administration")
	p.click("Show what a reload would change")
	p.until("document.querySelector('.diff')?.innerText", fmt.Sprintf("listener extra xml/tcp 127.0.0.1:%d: opened", more))
	if listening(more) {
		t.Error("a dry run has opened a listener")
	}
	p.screenshot("reload")
	p.click("Reload now")
	p.sees("The reload has changed")
	if !listening(more) {
		t.Error("the reload has not opened the listener")
	}

	p.open("administration/servers", "Administration")
	p.click("Stop extra")
	p.click("Cancel")
	if !listening(more) {
		t.Error("the listener is stopped although the administrator has not confirmed it")
	}
	p.click("Stop extra")
	p.click("Stop")
	p.sees("extra is stopped")
	if listening(more) {
		t.Error("the listener is not stopped")
	}
	p.click("Start extra")
	p.sees("extra listens")
	if !listening(more) {
		t.Error("the listener is not started")
	}

	for _, page := range consolePages {
		p.open(page, strings.ToUpper(page[:1])+page[1:])
		p.until("document.querySelectorAll('[aria-busy=true]').length", "0")
		for _, theme := range []string{"light", "dark"} {
			p.says("document.documentElement.dataset.theme = '" + theme + "'")
			p.accessible(page + ", " + theme)
			p.screenshot(page + "-" + theme)
		}
		p.do(chromedp.EmulateViewport(360, 740))
		p.accessible(page + ", on a telephone")
		p.screenshot(page + "-telephone")
		p.do(chromedp.EmulateViewport(1280, 900))
	}
	p.open("devices", "Devices")
	p.fill("Search devices", "3000")
	p.sees(hostileName)
	if p.says("document.querySelectorAll('img').length") != "0" {
		t.Error("a name has become an element")
	}

	p.click("Log out")
	p.sees("Log in with")
	r.stop()
}

// A telephone of the demonstration is dialled by mouse, rings, is answered and hung up.
func TestConsoleTelephones(t *testing.T) {
	t.Parallel()
	p, _ := demoConsole(t)
	p.open("administration/telephones", "Administration")
	p.fill("Number to dial at 100", "101")
	p.click("Dial at 100")
	p.click("Answer 101")
	p.until("document.querySelectorAll('.telephone .badge.good').length", "2")
	p.screenshot("telephones")
	p.click("Hang up 100")
	p.until("document.querySelectorAll('.telephone .badge').length", "0")
}
