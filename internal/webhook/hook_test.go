package webhook

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/eventlog"
)

const secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

func TestCheck(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secrets")
	if err := os.WriteFile(file, []byte("whsec_short\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	whole := Hook{
		Name: "crm", URL: "https://crm.example:8443/hook?x=1", Devices: []string{"10?", "200-299"}, Types: []string{"delivered"}, Format: Template,
		Template: `{"n":{{json .caller}}}`, ContentType: "application/json; charset=utf-8", Secrets: []string{secret, secret},
	}
	if err := whole.Usable(); err != nil {
		t.Error(err)
	}
	for _, good := range []func(*Hook){
		func(h *Hook) { h.URL, h.Private = "http://10.1.1.1/x", true },
		func(h *Hook) { h.URL, h.Private = "https://[::1]/x", true },
		func(h *Hook) { h.URL = "https://8.8.8.8" },
		func(h *Hook) { h.URL = "https://localhost.example./" },
		func(h *Hook) { h.URL, h.Private = "http://localhost:9000/", true },
		func(h *Hook) {
			h.Format, h.Template, h.ContentType, h.Types, h.Users = Zammad, "", "", nil, map[string]string{"100": "Emma"}
		},
		func(h *Hook) { h.Format, h.Template, h.ContentType = "", "", "" },
		func(h *Hook) { h.Owner = "alice" },
	} {
		h := whole.clone()
		good(&h)
		if err := h.Usable(); err != nil {
			t.Errorf("%+v: %v", h, err)
		}
	}
	for i, bad := range []struct {
		change func(*Hook)
		key    string
	}{
		{func(h *Hook) { h.Name = "" }, "name"},
		{func(h *Hook) { h.Name = "a\x00b" }, "name"},
		{func(h *Hook) { h.Name = strings.Repeat("x", 101) }, "name"},
		{func(h *Hook) { h.URL = "" }, "url"},
		{func(h *Hook) { h.URL = "crm.example" }, "url"},
		{func(h *Hook) { h.URL = "https://" }, "url"},
		{func(h *Hook) { h.URL = "https://:443/" }, "url"},
		{func(h *Hook) { h.URL = "http://crm.example" }, "url"},
		{func(h *Hook) { h.URL, h.Private = "ftp://crm.example", true }, "url"},
		{func(h *Hook) { h.URL = "https://crm.example/#x" }, "url"},
		{func(h *Hook) { h.URL = "https://crm.example/" + strings.Repeat("x", mostURL) }, "url"},
		{func(h *Hook) { h.URL = "https://10.1.1.1" }, "url"},
		{func(h *Hook) { h.URL = "https://[::ffff:10.1.1.1]/" }, "url"},
		{func(h *Hook) { h.URL = "https://[fe80::1%25eth0]/" }, "url"},
		{func(h *Hook) { h.URL = "https://localhost:9000/" }, "url"},
		{func(h *Hook) { h.URL = "https://a.LocalHost./" }, "url"},
		{func(h *Hook) { h.URL = "https://127.1/" }, "url"},
		{func(h *Hook) { h.URL = "https://2130706433/" }, "url"},
		{func(h *Hook) { h.URL, h.Private = "https://0x7f000001/", true }, "url"},
		{func(h *Hook) { h.URL, h.Private = "https://0.0.0.0", true }, "url"},
		{func(h *Hook) { h.Devices = []string{"1", "[", "2"} }, "devices[1]"},
		{func(h *Hook) { h.Types = []string{"a b"} }, "types[0]"},
		{func(h *Hook) { h.Types = []string{"a", ""} }, "types[1]"},
		{func(h *Hook) { h.Types = []string{strings.Repeat("a", 101)} }, "types[0]"},
		{func(h *Hook) { h.Devices = make([]string, mostPatterns+1) }, ""},
		{func(h *Hook) { h.Format = "xml" }, "format"},
		{func(h *Hook) { h.Format = "" }, "template"},
		{func(h *Hook) { h.Template = "" }, "template"},
		{func(h *Hook) { h.Template = strings.Repeat("x", mostText+1) }, "template"},
		{func(h *Hook) { h.Template = "{{.x" }, "template"},
		{func(h *Hook) { h.Template = "{{foo .x}}" }, "template"},
		{func(h *Hook) { h.ContentType = "a b" }, "content-type"},
		{func(h *Hook) { h.Format, h.Template, h.ContentType = Zammad, "", "" }, "types"},
		{func(h *Hook) { h.Users = map[string]string{"1": "a"} }, "users"},
		{func(h *Hook) { h.Secrets = []string{"MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"} }, "secrets"},
		{func(h *Hook) { h.Secrets = []string{"whsec_AAAA"} }, "secrets"},
		{func(h *Hook) { h.Secrets = []string{secret + "!"} }, "secrets"},
		{func(h *Hook) { h.Secrets = slices.Repeat([]string{secret}, mostSecrets+1) }, "secrets"},
		{func(h *Hook) { h.SecretsFile = file }, "secrets"},
		{func(h *Hook) { h.Secrets, h.SecretsFile = nil, file }, "secrets"},
		{func(h *Hook) { h.Secrets, h.SecretsFile = nil, file+"x" }, "secrets"},
		{func(h *Hook) { h.Owner, h.Private = "alice", true }, "private"},
	} {
		h := whole.clone()
		bad.change(&h)
		faults, _ := h.Usable().(Faults) //nolint:errorlint // nothing wraps it
		if !slices.ContainsFunc(faults, func(f Fault) bool { return f.Key == bad.key }) {
			t.Errorf("%d: no fault of %q: %v", i, bad.key, faults)
		}
		if text := fmt.Sprint(faults); strings.Contains(text, "MfKQ") || strings.Contains(text, "whsec_short") {
			t.Errorf("a fault shows a secret: %s", text)
		}
	}
}

// A template gets the members of an event, and cannot run for long or write much.
func TestTemplate(t *testing.T) {
	entry := eventlog.Entry{Seq: 7, Time: time.Now(), Device: "100", Kind: "delivered", Data: []byte(`{"id":"7","seq":1234567890123456789,"caller":"a\"b","csta":{"list":["x","y"]}}`)}
	for text, want := range map[string]string{
		`{"from":{{json .caller}},"to":{{json .called}}}`:                                   `{"from":"a\"b","to":""}`,
		`{{.seq}} {{.cause}}|{{range $i, $x := .csta.list}}{{$i}}{{.}}{{end}}`:              `1234567890123456789 |0x1y`,
		`{{if eq .device "100"}}{{.caller | js}}{{else}}none{{end}}{{printf "%5s" "x"}}`:    `none    x`,
		`{{with .csta}}{{json .}}{{end}}`:                                                   `{"list":["x","y"]}`,
		`https://a.example/1000/{{printf "%s" .id}}{{range 3}}.{{end}}{{len .csta.list}}%%`: `https://a.example/1000/7...2%%`,
	} {
		h := Hook{Format: Template, Template: text}
		f, err := h.format("")
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if body, err := f.body(&entry); string(body) != want || err != nil || f.mediaType != "application/json" {
			t.Errorf("%s: %s %v", text, body, err)
		}
	}
	for _, text := range []string{
		`{{range 1000000000}}{{end}}`, `{{range 900}}{{range 900}}{{end}}{{end}}`, `{{range 9}}{{if .x}}{{else}}{{range 9}}{{end}}{{end}}{{end}}`,
		`{{range 9}}{{with .x}}{{range 9}}{{end}}{{end}}{{end}}`, `{{range (or 0 5000)}}{{end}}`, `{{range .x}}{{else}}{{range 9}}{{end}}{{end}}`,
		`{{define "a"}}{{template "a"}}{{end}}{{template "a"}}`, `{{block "a" .}}{{end}}`, `{{template "body"}}`,
		`{{range 1_000_000}}{{end}}`, `{{range 1e6}}{{end}}`, `{{index .id 5000}}`,
	} {
		h := Hook{Format: Template, Template: text}
		if _, err := h.format(""); err == nil {
			t.Errorf("%s is taken", text)
		}
	}
	for _, text := range []string{`{{$x := printf "%1000000d" 1}}`, `{{printf "%*d" 900 1}}`, `{{printf (print "%100" "0d") 1}}`, `{{index .csta.list 7}}`} {
		h := Hook{Format: Template, Template: text}
		f, err := h.format("")
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if body, err := f.body(&entry); err == nil {
			t.Errorf("%s: %d octets", text, len(body))
		}
	}
	h := Hook{Format: Template, Template: `{{range 100}}{{$.caller}}{{end}}`, ContentType: "text/plain"}
	f, err := h.format("")
	if err != nil || f.mediaType != "text/plain" {
		t.Fatal(err)
	}
	entry.Data = fmt.Appendf(nil, `{"caller":%q}`, strings.Repeat("x", 50_000))
	if body, err := f.body(&entry); err == nil || len(body) > mostBody {
		t.Errorf("%d octets", len(body))
	}
}

func TestAllowed(t *testing.T) {
	for text, want := range map[string]string{ // never, private or public
		"0.0.0.0": "never", "0.1.2.3": "never", "224.0.0.1": "never", "239.1.1.1": "never", "240.0.0.1": "never", "255.255.255.255": "never", "192.0.0.1": "never", "192.88.99.1": "never",
		"::": "never", "ff02::1": "never", "::ffff:8.8.8.8": "never", "::ffff:10.0.0.1": "never", "64:ff9b::8.8.8.8": "never", "64:ff9b::a00:1": "never", "64:ff9b:1::1": "never",
		"2002:a00:1::1": "never", "2001:0:1::1": "never", "::8.8.8.8": "never", "4000::1": "never", "100::1": "never",
		"10.0.0.1": "private", "10.255.255.255": "private", "172.16.0.1": "private", "172.31.255.255": "private", "192.168.0.1": "private", "127.0.0.1": "private", "127.9.9.9": "private",
		"169.254.169.254": "private", "100.64.0.1": "private", "100.127.255.255": "private", "198.18.0.1": "private", "198.19.255.255": "private", "192.0.2.1": "private", "198.51.100.1": "private", "203.0.113.9": "private",
		"::1": "private", "fc00::1": "private", "fd12::1": "private", "fe80::1": "private", "fe80::1%eth0": "private", "fec0::1": "private", "2001:db8::1": "private", "3fff:1::1": "private",
		"8.8.8.8": "public", "1.1.1.1": "public", "9.255.255.255": "public", "11.0.0.0": "public", "172.15.255.255": "public", "172.32.0.0": "public", "100.63.255.255": "public", "100.128.0.0": "public",
		"128.0.0.1": "public", "223.255.255.255": "public", "2001:4860:4860::8888": "public", "2a00:1450::1": "public", "2600::1%eth0": "public",
	} {
		addr := netip.MustParseAddr(text)
		if got := []bool{allowed(addr, false), allowed(addr, true)}; got[0] != (want == "public") || got[1] != (want != "never") {
			t.Errorf("%s is %s: %v", text, want, got)
		}
	}
	if allowed(netip.Addr{}, true) {
		t.Error("no address is allowed")
	}
}

// What Zammad gets of calls: their beginning, the answer and the end, once each, whatever the number of our devices.
func TestZammad(t *testing.T) {
	type step struct{ device, kind, state, cause, want string }
	for _, tt := range []struct {
		name           string
		caller, called string
		steps          []step
	}{
		{"answered", "+4930555", "101", []step{
			{"101", "delivered", "alerting", "newCall", `{"event":"newCall","from":"4930555","to":"101","direction":"in","callId":"ID","user":"Emma"}`},
			{"101", "established", "connected", "newCall", `{"event":"answer","from":"4930555","to":"101","direction":"in","callId":"ID","user":"Emma","answeringNumber":"101"}`},
			{"101", "held", "hold", "", ``},
			{"101", "established", "connected", "newCall", ``},
			{"101", "connectionCleared", "null", "busy", `{"event":"hangup","from":"4930555","to":"101","direction":"in","callId":"ID","user":"Emma","cause":"normalClearing"}`},
			{"101", "connectionCleared", "null", "", ``},
		}},
		{"outbound, busy", "102", "+4930555", []step{
			{"102", "serviceInitiated", "initiated", "makeCall", ``},
			{"102", "originated", "connected", "newCall", `{"event":"newCall","from":"102","to":"4930555","direction":"out","callId":"ID"}`},
			{"102", "delivered", "connected", "newCall", ``},
			{"102", "failed", "connected", "busy", ``},
			{"102", "connectionCleared", "null", "normalClearing", `{"event":"hangup","from":"102","to":"4930555","direction":"out","callId":"ID","cause":"busy"}`},
		}},
		{"group, the caller gives up", "", "600", []step{
			{"101", "delivered", "alerting", "newCall", `{"event":"newCall","from":"anonymous","to":"600","direction":"in","callId":"ID","user":"Emma"}`},
			{"102", "delivered", "alerting", "newCall", ``},
			{"101", "connectionCleared", "null", "callCancelled", ``},
			{"102", "connectionCleared", "null", "callCancelled", `{"event":"hangup","from":"anonymous","to":"600","direction":"in","callId":"ID","cause":"cancel"}`},
		}},
		{"forwarded", "5", "101", []step{
			{"101", "delivered", "alerting", "newCall", `{"event":"newCall","from":"5","to":"101","direction":"in","callId":"ID","user":"Emma"}`},
			{"101", "diverted", "null", "callForwardNoAnswer", `{"event":"hangup","from":"5","to":"101","direction":"in","callId":"ID","user":"Emma","cause":"forwarded"}`},
		}},
		{"dialled key by key", "102", "", []step{{"102", "originated", "connected", "newCall", ``}, {"102", "connectionCleared", "null", "", ``}}},
		{"known too late", "5", "101", []step{{"101", "established", "connected", "newCall", ``}, {"101", "connectionCleared", "null", "normalClearing", ``}}},
		{"no cause", "5", "101", []step{
			{"101", "delivered", "alerting", "", `{"event":"newCall","from":"5","to":"101","direction":"in","callId":"ID","user":"Emma"}`},
			{"101", "connectionCleared", "null", "", `{"event":"hangup","from":"5","to":"101","direction":"in","callId":"ID","user":"Emma","cause":"cancel"}`},
		}},
	} {
		c := calls{users: map[string]string{"101": "Emma"}}
		seq, begun := uint64(100), ""
		for i, s := range tt.steps {
			seq++
			data, _ := json.Marshal(map[string]string{"type": s.kind, "device": s.device, "call": "9", "link": "pbx", "caller": tt.caller, "called": tt.called, "state": s.state, "cause": s.cause})
			made := c.next(&eventlog.Entry{Seq: seq, Device: s.device, Kind: s.kind, Data: data})
			if strings.Contains(s.want, `"newCall"`) {
				begun = fmt.Sprintf("pbx-9-%d", seq)
			}
			if want := strings.Replace(s.want, "ID", begun, 1); len(made) > 1 || len(made) == 1 && (string(made[0].body) != want || made[0].call != begun) || len(made) == 0 && want != "" {
				t.Errorf("%s, step %d: %s\nwant %s", tt.name, i, made, want)
			}
		}
		if len(c.begun)+len(c.views) > 0 {
			t.Errorf("%s: %d calls stay", tt.name, len(c.begun))
		}
	}
	for _, text := range []string{`{`, `{}`, `{"call":5}`, `{"type":"delivered","state":"alerting","called":"1"}`} {
		if made := (&calls{}).next(&eventlog.Entry{Data: []byte(text)}); made != nil {
			t.Errorf("%s: %s", text, made)
		}
	}
}

// After a transfer, or a conference, the call of each device that stays goes on under another identifier, in whatever
// order devices learn of it, and each call ends once.
func TestZammadTransfer(t *testing.T) {
	for name, order := range map[string][]string{"transferring first": {"101", "102"}, "transferring last": {"102", "101"}} {
		for _, joined := range []string{"1", "2", "3"} { // the identifier of the new call
			for _, conference := range []bool{false, true} {
				c, seq := calls{}, uint64(0)
				var made []string
				event := func(device, kind, call, caller, called, state, csta string) {
					seq++
					data := fmt.Sprintf(`{"type":%q,"call":%q,"link":"pbx","caller":%q,"called":%q,"state":%q,"csta":%s}`, kind, call, caller, called, state, csta)
					for _, r := range c.next(&eventlog.Entry{Seq: seq, Device: device, Kind: kind, Data: []byte(data)}) {
						var v zammadEvent
						if err := json.Unmarshal(r.body, &v); err != nil || v.CallID != r.call {
							t.Fatalf("%s %v", r.body, err)
						}
						made = append(made, v.Event+" "+v.CallID+" "+v.Cause)
					}
				}
				event("101", "delivered", "1", "5", "101", "alerting", "{}")
				event("101", "established", "1", "5", "101", "connected", "{}")
				event("101", "held", "1", "5", "101", "hold", "{}")
				event("101", "originated", "2", "101", "102", "connected", "{}")
				event("102", "delivered", "2", "101", "102", "alerting", "{}")
				event("101", "established", "2", "101", "102", "connected", "{}")
				event("102", "established", "2", "101", "102", "connected", "{}")
				kind, message := "transfered", `{"TransferedEvent":{"primaryOldCall":{"callID":"1","deviceID":"101"},"secondaryOldCall":{"callID":"2","deviceID":"101"}}}`
				if conference {
					kind, message = "conferenced", strings.ReplaceAll(message, "Transfered", "Conferenced")
				}
				for _, device := range order {
					switch {
					case device == "102" || conference:
						event(device, kind, joined, "5", device, "connected", message)
					default:
						event(device, kind, "1", "5", "101", "null", message)
					}
				}
				if conference {
					event("101", "connectionCleared", joined, "5", "101", "null", "{}")
				}
				event("102", "held", joined, "5", "102", "hold", "{}")
				event("102", "connectionCleared", joined, "5", "102", "null", "{}")
				want := []string{"newCall pbx-1-1 ", "answer pbx-1-1 ", "newCall pbx-2-4 ", "answer pbx-2-4 ", "hangup pbx-1-1 normalClearing", "hangup pbx-2-4 normalClearing"}
				if !slices.Equal(made, want) {
					t.Errorf("%s, %s, conference %v: %q", name, joined, conference, made)
				}
				if len(c.views)+len(c.begun) > 0 {
					t.Errorf("%s, %s, conference %v: %d calls stay", name, joined, conference, len(c.begun))
				}
			}
		}
	}
}

// Calls that never end do not fill the memory.
func TestZammadLimits(t *testing.T) {
	c := calls{}
	for n := range 3 * mostCalls {
		c.next(&eventlog.Entry{Seq: uint64(n), Device: "1", Data: fmt.Appendf(nil, `{"type":"delivered","state":"alerting","call":"%d","called":"1"}`, n)})
	}
	if len(c.views) > mostCalls || len(c.begun) > mostCalls || len(c.order) > mostCalls {
		t.Errorf("%d views, %d calls, %d in order", len(c.views), len(c.begun), len(c.order))
	}
	last := fmt.Sprint(3*mostCalls - 1)
	for n := range 2 * mostParties {
		c.next(&eventlog.Entry{Seq: 1, Device: fmt.Sprint(n), Data: fmt.Appendf(nil, `{"type":"delivered","state":"alerting","call":"%s","called":"1"}`, last)})
	}
	if n := len(c.begun["/"+last].views); n != mostParties {
		t.Errorf("%d devices in a call", n)
	}
}
