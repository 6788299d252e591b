package tests

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// apiTour makes a script of the commands of docs/api.md. They share a shell, since one command uses what another has
// printed.
func apiTour(t *testing.T, all []block) string {
	t.Helper()
	var s strings.Builder
	s.WriteString(`set -euo pipefail
ip link set lo up
background=
trap 'kill $background 2>/dev/null || true' EXIT
until_has() { for i in $(seq 600); do ! grep -q "$2" "$1" || return 0; read -rt 0.1 <> <(:) || true; done; echo "no $2 in $1" >&2; return 1; }
curl() { command curl -sS --fail-with-body -m 60 "$@"; }
`)
	for _, b := range all {
		switch {
		case b.kind == "yaml" && strings.Contains(b.text, "tokens-file: tokens}"):
			fmt.Fprintf(&s, "cat > config.yaml << 'END'\n%sEND\n", b.text)
			continue
		case b.kind == "sh" && strings.Contains(b.text, "./tr87proxy serve"): // it has the ports of the demonstration
			own := strings.Replace(b.text, "./tr87proxy serve\n", "./tr87proxy check\n./tr87proxy serve > serve.out 2>&1 & serving=$!; until_has serve.out msg=ready\n", 1)
			fmt.Fprintf(&s, "export -f until_has curl\nunshare --net bash -c %s\n", quote("set -euo pipefail; ip link set lo up; trap 'kill $serving' EXIT\n"+own))
			continue
		case b.kind != "sh":
			continue
		}
		for line := range strings.Lines(b.text) {
			line = strings.TrimSpace(line)
			fmt.Fprintf(&s, "echo %s\n", quote(b.String()+": "+line))
			switch {
			case line == "./tr87proxy demo":
				s.WriteString(line + " > demo.out 2>&1 & background=\"$background $!\"\nuntil_has demo.out 'Or use HTTP'\n")
			case strings.HasPrefix(line, "curl -N "):
				fmt.Fprintf(&s, "command %s > events.out 2>&1 & background=\"$background $!\"\nuntil_has events.out %s\n", line, quote(watched))
			default:
				s.WriteString(line + "\necho\n")
			}
		}
	}
	s.WriteString("until_has events.out connectionCleared\ncat events.out\n")
	return s.String()
}

// Whoever follows docs/api.md sees what it says.
func TestAPITour(t *testing.T) {
	long(t)
	tool(t, "curl")
	tool(t, "jq")
	if out, err := exec.CommandContext(t.Context(), "unshare", "--net", "ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
		t.Skipf("no network namespace can be made here: %v, %s", err, out) // it has the ports of the document for itself
	}
	folder := t.TempDir()
	if err := os.Symlink(program(t), filepath.Join(folder, "tr87proxy")); err != nil {
		t.Fatal(err)
	}
	script := apiTour(t, blocks(t, "../docs/api.md"))
	for _, command := range []string{"./tr87proxy demo", "/v1/events", "/calls | jq", "/answer", "/clear", "dryRun=true", "Idempotency-Key", "/v1/csta", "./tr87proxy serve"} {
		if !strings.Contains(script, command) {
			t.Errorf("the document does not run %s: this test shows little", command)
		}
	}
	cmd := exec.CommandContext(t.Context(), "unshare", "--net", "bash", "-c", script)
	cmd.Dir, cmd.WaitDelay = folder, 10*time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, seen := range []string{
		`"type":"ready"`, `"type":"delivered"`, `"state":"alerting"`, `"type":"established"`, `"type":"held"`, `"type":"retrieved"`, `"type":"connectionCleared"`,
		"config.yaml: no faults", `{"devices":[{"device":"100"`, `"dryRun":true`, "GetDoNotDisturbResponse", `"state":"connected"`,
	} {
		if !bytes.Contains(out, []byte(seen)) {
			t.Errorf("nobody sees %s in:\n%s", seen, out)
		}
	}
	placed := regexp.MustCompile(`"call":"(\d+)","csta":\{"MakeCallResponse"`).FindAllSubmatch(out, -1)
	if len(placed) != 2 || !bytes.Equal(placed[0][1], placed[1][1]) {
		t.Errorf("the call with the Idempotency-Key is not one: %q", placed)
	}
}

// programWith returns the program in docs/api.md that has some text.
func programWith(t *testing.T, text string) string {
	t.Helper()
	for _, b := range blocks(t, "../docs/api.md") {
		if b.kind == "python" && strings.Contains(b.text, text) {
			return b.text
		}
	}
	t.Fatalf("docs/api.md has no program with %q", text)
	return ""
}

// Who copies the receiver of docs/api.md sees the events of the demonstration.
func TestReceiverInDocuments(t *testing.T) {
	t.Parallel()
	python, port := tool(t, "python3"), freePort(t)
	const at = "9000"
	source := programWith(t, "http.server.HTTPServer")
	if strings.Count(source, at) != 1 {
		t.Fatal(source)
	}
	receiver := start(t, python, "-c", strings.Replace(source, at, strconv.Itoa(port), 1))
	waitFor(t, "the receiver", func() bool {
		conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			return false
		}
		return conn.Close() == nil
	})
	address := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	demo := start(t, program(t), "demo", "--console", "", "--port", strconv.Itoa(freePort(t)), "--api", address, "--webhook", fmt.Sprintf("http://127.0.0.1:%d/", port))
	waitFor(t, "the demonstration", func() bool { return strings.Contains(demo.out.String(), "Or use HTTP") })
	i := &interfaced{running: &running{process: demo}, address: address, rest: &http.Client{Timeout: patience}}
	i.watch("101")
	if status, _ := i.post("/v1/devices/100/calls", `{"to":"101"}`); status != http.StatusCreated {
		t.Fatalf("a call: status %d", status)
	}
	waitFor(t, "the event", func() bool { return strings.Contains(receiver.out.String(), "delivered 101 100 101 alerting\n") })
	if out, status := command(t, "demo", "--webhook", "ftp://127.0.0.1/"); status != 2 || !strings.Contains(out, "--webhook: url must begin with") {
		t.Errorf("%d %s", status, out)
	}
}

// Who has not started the receiver is told so, and sees what waits.
func TestDemoWithoutReceiver(t *testing.T) {
	t.Parallel()
	socket := filepath.Join(t.TempDir(), "demo.sock")
	at := fmt.Sprintf("http://127.0.0.1:%d", freePort(t))
	demo := start(t, program(t), "demo", "--console", "", "--port", strconv.Itoa(freePort(t)), "--api", fmt.Sprintf("127.0.0.1:%d", freePort(t)), "--webhook", at+"/", "--socket", socket)
	waitFor(t, "the warning", func() bool {
		return strings.Contains(demo.out.String(), `level=WARN msg="could not deliver to webhook: trying again" hook=demo`)
	})
	if out, status := command(t, "webhooks", "list", "--socket", socket); status != 0 || !strings.Contains(out, at) || !strings.Contains(out, "connection refused") {
		t.Errorf("%d %s", status, out)
	}
}

// The program in docs/api.md that checks signatures accepts a webhook of the proxy, and nothing else.
func TestSignaturesInDocuments(t *testing.T) {
	t.Parallel()
	tool(t, "python3")
	check := programWith(t, "def genuine")
	const secret = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	type delivery struct {
		header http.Header
		body   []byte
	}
	got := make(chan delivery, 100)
	receiver := &http.Server{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got <- delivery{r.Header, body}
	})}
	go func() { _ = receiver.Serve(l) }()
	defer receiver.Close()
	port := freePort(t)
	r := serve(t, fmt.Sprintf(`%sapi:
  listen: [{transport: tcp, address: "127.0.0.1:%d"}]
  webhooks: [{name: crm, url: "http://%s/", private: true, devices: ["1001"], secrets: [%s]}]
`, diallers, port, l.Addr(), secret))
	var d delivery
	waitFor(t, "a webhook", func() bool { // the devices of webhooks are watched soon after the start
		_, _, text := web(t, port, "POST", "/v1/devices/1000/calls", `{"to":"1001"}`)
		call := regexp.MustCompile(`"call":"(\d+)"`).FindStringSubmatch(text)
		if call != nil {
			web(t, port, "POST", "/v1/devices/1000/calls/"+call[1]+"/clear", "")
		}
		select {
		case d = <-got:
			return true
		case <-time.After(200 * time.Millisecond):
			return false
		}
	})
	if !bytes.Contains(d.body, []byte(`"specversion":"1.0"`)) || !bytes.Contains(d.body, []byte(`"type":"tr87proxy.`)) {
		t.Errorf("%s", d.body)
	}
	genuine := func(id, at, signature, secret string, body []byte) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "python3", "-c", check+`
import sys
print(genuine({"webhook-id": sys.argv[1], "webhook-timestamp": sys.argv[2], "webhook-signature": sys.argv[3]}, sys.stdin.buffer.read(), sys.argv[4]))
`, id, at, signature, secret)
		cmd.Stdin = bytes.NewReader(body)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return strings.TrimSpace(string(out))
	}
	id, at, signature := d.header.Get("Webhook-Id"), d.header.Get("Webhook-Timestamp"), d.header.Get("Webhook-Signature")
	if said := genuine(id, at, signature, secret, d.body); said != "True" {
		t.Errorf("a genuine webhook: %s", said)
	}
	if said := genuine(id, at, "v1,AAAA "+signature, secret, d.body); said != "True" {
		t.Errorf("one signed with two secrets: %s", said)
	}
	for what, said := range map[string]string{
		"another body":   genuine(id, at, signature, secret, append(d.body, ' ')),
		"another id":     genuine(id+"1", at, signature, secret, d.body),
		"another secret": genuine(id, at, signature, "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDI=", d.body),
		"an old one":     genuine(id, "1000000000", signature, secret, d.body),
	} {
		if said != "False" {
			t.Errorf("%s: %s", what, said)
		}
	}
	r.stop()
}

// The usual actions of docs/api.md do what it says.
func TestUsualActions(t *testing.T) {
	t.Parallel()
	port := freePort(t)
	r := serve(t, fmt.Sprintf("%sapi: {listen: [{transport: tcp, address: \"127.0.0.1:%d\"}]}\n", diallers, port))
	document, err := os.ReadFile("../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	ask := func(method, path, body string) {
		t.Helper()
		status, _, text := web(t, port, method, path, body)
		if status/100 != 2 {
			t.Errorf("%s %s %s: %d %s", method, path, body, status, text)
		}
		last := path[strings.LastIndex(path, "/")+1:]
		if !strings.Contains(string(document), "/"+last+"`") {
			t.Errorf("the document does not have %s", last)
		}
	}
	callAt := func(device string) string {
		t.Helper()
		_, _, text := web(t, port, "GET", "/v1/devices/"+device+"/calls", "")
		found := regexp.MustCompile(`"call":"(\d+)"`).FindStringSubmatch(text)
		if found == nil {
			t.Fatalf("%s has no call: %s", device, text)
		}
		return found[1]
	}
	at := func(device, action, body string) {
		t.Helper()
		ask("POST", "/v1/devices/"+device+"/calls/"+callAt(device)+"/"+action, body)
	}
	parties := func(want string) {
		t.Helper()
		_, _, text := web(t, port, "GET", "/v1/calls/"+callAt("1000"), "")
		for _, number := range strings.Fields(want) {
			if !strings.Contains(text, `{"number":"`+number+`"`) {
				t.Errorf("%s is not in the call: %s", number, text)
			}
		}
		web(t, port, "POST", "/v1/devices/1000/calls/"+callAt("1000")+"/clear-call", "")
	}
	place := func() { t.Helper(); ask("POST", "/v1/devices/1000/calls", `{"to":"1001"}`) }

	place()
	at("1001", "answer", "")
	at("1001", "hold", "")
	at("1001", "retrieve", "")
	at("1001", "digits", `{"charactersToSend":"42#"}`)
	call := callAt("1001")
	at("1001", "consult", `{"to":"1002"}`)
	at("1002", "answer", "")
	ask("POST", "/v1/devices/1001/calls/"+call+"/transfer", "")
	parties("1000 1002")

	place()
	at("1001", "answer", "")
	call = callAt("1001")
	at("1001", "consult", `{"to":"1002"}`)
	at("1002", "answer", "")
	ask("POST", "/v1/devices/1001/calls/"+call+"/conference", "")
	parties("1000 1001 1002")

	place()
	at("1001", "answer", "")
	at("1001", "single-step-transfer", `{"to":"1002"}`)
	parties("1000 1002")

	place()
	at("1001", "deflect", `{"to":"1002"}`)
	at("1002", "pickup", `{"by":"1001"}`)
	parties("1000 1001")

	ask("PUT", "/v1/devices/1001/forwarding", `{"forwardingType": "forwardImmediate", "activateForward": true, "forwardDN": "1002"}`)
	place()
	parties("1000 1002")
	ask("PUT", "/v1/devices/1001/forwarding", `{"forwardingType": "forwardImmediate", "activateForward": false}`)
	ask("PUT", "/v1/devices/1001/do-not-disturb", `{"doNotDisturbOn": true}`)
	if status, _, text := web(t, port, "GET", "/v1/devices/1001", ""); status != 200 || !strings.Contains(text, `"doNotDisturb":true`) {
		t.Error(status, text)
	}
	r.stop()
}
