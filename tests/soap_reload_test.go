package tests

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/tr87proxy/tr87proxy/internal/wait"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// soapFrom is a client of CSTA over SOAP with the account crm at an address of the machine.
type soapFrom struct {
	t      *testing.T
	url    string
	client *http.Client
}

func newSOAPFrom(t *testing.T, url, address string) *soapFrom {
	t.Helper()
	transport := &http.Transport{DialContext: (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}).DialContext, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	t.Cleanup(transport.CloseIdleConnections)
	return &soapFrom{t, url, &http.Client{Transport: transport}}
}

// ask sends a request, a body or an envelope, and returns the response.
func (c *soapFrom) ask(body string) (status int, text string) {
	c.t.Helper()
	return c.askAt(c.url+"/csta/ed3", body)
}

// askAt is ask at a URL.
func (c *soapFrom) askAt(url, body string) (status int, text string) {
	c.t.Helper()
	media := "text/xml"
	switch {
	case strings.Contains(body, soap12):
		media = "application/soap+xml"
	case !strings.Contains(body, soap11):
		body = `<s:Envelope xmlns:s="` + soap11 + `"><s:Body>` + body + `</s:Body></s:Envelope>`
	}
	status, _, text = overHTTP(c.t, c.client, "POST", url, body, "Content-Type", media, "Authorization", strings.TrimSpace(strings.TrimPrefix(basic, "Authorization: ")))
	return status, text
}

var referenceIn = regexp.MustCompile(`<monitorCrossRefID>(\w+)<`)

// monitor starts a monitor and returns its reference.
func (c *soapFrom) monitor(device string) string {
	c.t.Helper()
	_, text := c.ask(`<MonitorStart xmlns="` + uacsta.NamespaceED3 + `"><monitorObject><deviceObject>` + device + `</deviceObject></monitorObject></MonitorStart>`)
	found := referenceIn.FindStringSubmatch(text)
	if found == nil {
		c.t.Fatal(text)
	}
	return found[1]
}

// A listener that closes, by a reload or because an administrator stops it, ends the sessions of the SOAP clients that came by
// it: their monitors stop, and their sinks learn of it. Those that came by other listeners stay.
func TestSOAPListenerCloses(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(a *administered, closing int){
		"reload": func(a *administered, closing int) {
			a.edit(fmt.Sprintf("  - {transport: tcp, address: \"127.0.0.1:%d\"}\n", a.xmlPort), "")
			a.edit(fmt.Sprintf(`, {transport: tcp, address: "127.0.0.1:%d"}`, closing), "")
			if out := a.admin(0, "reload", "--dry-run"); strings.Count(out, "session: crm (account) soap:127.0.0.2:") != 2 || strings.Contains(out, "soap:127.0.0.3:") {
				a.t.Errorf("the dry run does not say which sessions end:\n%s", out)
			}
			a.admin(0, "reload")
		},
		"stop": func(a *administered, _ int) {
			a.admin(0, "server", "stop", "xml-tcp")
			a.admin(0, "server", "stop", "api-tcp-2")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			staying, closing := freePort(t), freePort(t)
			file := filepath.Join(t.TempDir(), "accounts")
			account(t, file, "crm", soapPassword)
			a := administer(t, fmt.Sprintf("application-sessions: {xml: optional, accounts: %s}\napi: {listen: [{transport: tcp, address: \"127.0.0.1:%d\"}, {transport: tcp, address: \"127.0.0.1:%d\"}]}\ngrants: [{who: crm, control: [\"*\"], dial: [\"*\"]}]\n", file, staying, closing))
			to := newSink(t, "127.0.0.2", nil)
			var stay []*soapFrom
			var references []string
			for i, url := range []string{fmt.Sprintf("http://127.0.0.1:%d", a.xmlPort), fmt.Sprintf("http://127.0.0.1:%d/soap", closing), fmt.Sprintf("https://127.0.0.1:%d", a.xmlTLSPort), fmt.Sprintf("http://127.0.0.1:%d/soap", staying)} {
				c := newSOAPFrom(t, url, fmt.Sprintf("127.0.0.%d", 2+i/2))
				reference := c.monitor(fmt.Sprint(1000 + i))
				if i == 0 {
					if status, text := c.ask(eventings[0].subscribe(soap11, to.url)); status != http.StatusOK {
						t.Fatal(text)
					}
				}
				if i >= 2 {
					stay, references = append(stay, c), append(references, reference)
				}
			}
			if a.metric("tr87proxy_sessions") != 4 || a.metric("tr87proxy_link_monitors") != 4 {
				t.Fatal("not all clients are there")
			}
			end(a, closing)
			waitFor(t, "the end of two sessions", func() bool { return a.metric("tr87proxy_sessions") == 2 && a.metric("tr87proxy_link_monitors") == 2 })
			if got := wait.Next(t, to.got, "the end of the subscription"); got.path != "/end" || !strings.Contains(got.text, "SourceCanceling") {
				t.Errorf("%+v", got)
			}
			for i, c := range stay {
				if _, text := c.ask(`<MonitorStop xmlns="` + uacsta.NamespaceED3 + `"><monitorCrossRefID>` + references[i] + `</monitorCrossRefID></MonitorStop>`); !strings.Contains(text, "MonitorStopResponse") {
					t.Errorf("a client of another listener has lost its monitor: %s", text)
				}
			}
			a.stop()
		})
	}
}
