package proxy_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/tr87proxy/tr87proxy/internal/audit"
	"github.com/tr87proxy/tr87proxy/policy"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// The audit entry of a refused request has everything that it was about: devices, destinations, and
// connections, even if half of one is missing.
func TestRefusalsAreAudited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "audit.log")
		log, err := audit.Open(audit.Config{Path: file, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		p := start(t, &flaky{lose: make(chan error)}, policy.FromGrants(nil, policy.Grant{Who: "one", Control: []string{"100"}}), func(cfg *proxy.Config) { cfg.Audit = log })
		s, _ := open(t, p, "one")
		tests := []struct {
			request any
			want    string // devices, destinations and connections
		}{
			{uacsta.ClearConnection{ConnectionToBeCleared: uacsta.Conn("7", "101")}, "[101] [] [7@101]"},
			{uacsta.TransferCall{HeldCall: uacsta.Conn("7", "100"), ActiveCall: uacsta.Conn("8", "101")}, "[101] [] [7@100 8@101]"},
			{uacsta.HoldCall{CallToBeHeld: uacsta.ConnectionID{CallID: "7"}}, "[] [] [7@]"},
			{uacsta.HoldCall{CallToBeHeld: uacsta.Conn("7", "=")}, "[] [] [7@=]"},
			{uacsta.HoldCall{CallToBeHeld: uacsta.ConnectionID{DeviceID: uacsta.Dev("101")}}, "[101] [] []"},
			{uacsta.RouteSelect{CrossRefIdentifier: "9", RouteSelected: uacsta.Dev("101")}, "[] [101] []"},
			{uacsta.RouteEnd{CrossRefIdentifier: "9"}, "[] [] []"},
		}
		for _, tt := range tests {
			if m := request(s, tt.request); m.Err() == nil {
				t.Errorf("%s", m)
			}
		}
		if err := log.Close(); err != nil {
			t.Fatal(err)
		}
		var refused []audit.Entry
		for _, e := range entries(t, file) {
			if e.Kind == "refused" {
				refused = append(refused, e)
			}
		}
		for i, tt := range tests {
			name := uacsta.Encode(tt.request, uacsta.Edition3).Name()
			if i >= len(refused) || refused[i].Service != name {
				t.Fatalf("%s is not written down: %+v", name, refused)
			}
			if got := about(refused[i]); got != tt.want {
				t.Errorf("%s is about %s, want %s", name, got, tt.want)
			}
		}
	})
}

// about returns what an entry is about.
func about(e audit.Entry) string {
	var parts []string
	for _, list := range [][]string{e.Devices, e.Destinations, e.Connections} {
		parts = append(parts, "["+strings.Join(list, " ")+"]")
	}
	return strings.Join(parts, " ")
}

// entries are those of an audit file.
func entries(t *testing.T, file string) []audit.Entry {
	t.Helper()
	return read(t, contents(t, file))
}

func contents(t *testing.T, file string) string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func read(t *testing.T, lines string) (list []audit.Entry) {
	t.Helper()
	for line := range strings.Lines(lines) {
		var e audit.Entry
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		list = append(list, e)
	}
	return list
}

// witness is a link that reads the audit file when it gets a request.
type witness struct {
	flaky
	t    *testing.T
	file string
	got  []string
}

func (w *witness) Request(req *uacsta.Message, reply func(*uacsta.Message, error)) {
	devices := req.Devices()
	last := devices[len(devices)-1].ID()
	w.got = append(w.got, last)
	if req.Name() == "MakeCall" && !has(w.t, w.file, "asked", last) {
		w.t.Errorf("%s is carried out, and is not in the audit file", req)
	}
	w.flaky.Request(req, reply)
}

// has reports whether a file that is being written has an entry of a kind about a device or
// destination.
func has(t *testing.T, file, kind, device string) bool {
	t.Helper()
	data := contents(t, file)
	whole := data[:strings.LastIndexByte(data, '\n')+1]
	return slices.ContainsFunc(read(t, whole), func(e audit.Entry) bool {
		return e.Kind == kind && slices.Contains(slices.Concat(e.Devices, e.Destinations), device)
	})
}

// Of requests that a client sends without waiting, each is in the audit file before the link gets it,
// and its outcome before the client gets the response. The order stays.
func TestAuditedBeforeForwarded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "audit.log")
		log, err := audit.Open(audit.Config{Path: file, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		w := &witness{flaky: flaky{lose: make(chan error)}, t: t, file: file}
		p := start(t, w, policy.FromGrants(nil, policy.Grant{Who: "one", Control: []string{"100"}, Observe: []string{"*"}, Dial: []string{"2*"}}), func(cfg *proxy.Config) { cfg.Audit = log })
		s, _ := open(t, p, "one")
		var asked, carried, answered []string
		for n := range 60 {
			var req any
			device, kind := fmt.Sprint(200+n), ""
			switch n % 3 {
			case 0:
				req, kind = uacsta.MakeCall{CallingDevice: uacsta.Dev("100"), CalledDirectoryNumber: uacsta.Dev(device)}, "done"
			case 1:
				req = uacsta.GetForwarding{Device: uacsta.Dev(device)}
			default:
				req, kind = uacsta.MakeCall{CallingDevice: uacsta.Dev(device), CalledDirectoryNumber: uacsta.Dev("200")}, "refused"
			}
			asked = append(asked, device)
			if kind != "refused" {
				carried = append(carried, device)
			}
			s.Request(uacsta.Encode(req, uacsta.Edition3), func(m *uacsta.Message) {
				answered = append(answered, device)
				if (m.Err() != nil) != (kind == "refused") {
					t.Errorf("%s is answered with %s", device, m)
				}
				if kind != "" && !has(t, file, kind, device) {
					t.Errorf("%s is answered, and that is not in the audit file", device)
				}
			})
		}
		synctest.Wait()
		if !slices.Equal(answered, asked) || !slices.Equal(w.got, carried) {
			t.Errorf("asked were %v\ncarried out are %v\nanswered are %v", asked, w.got, answered)
		}
		if err := log.Close(); err != nil {
			t.Fatal(err)
		}
		if m := call(s, "100"); m != "" {
			t.Error("a call is made that cannot be written down")
		}
	})
}

// A session is audited once it has an identity and sends a request. Clients that only connect and
// disconnect are counted.
func TestIdleSessionsAreNotAudited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file, discard := filepath.Join(t.TempDir(), "audit.log"), slog.New(slog.DiscardHandler)
		log, err := audit.Open(audit.Config{Path: file, Log: discard})
		if err != nil {
			t.Fatal(err)
		}
		strangers, err := audit.OpenTally(audit.Config{Path: file, Log: discard})
		if err != nil {
			t.Fatal(err)
		}
		p := start(t, &flaky{lose: make(chan error)}, demo, nil)
		p.SetAudit(log, strangers)
		for n := range 50 {
			s, _ := open(t, p, "one")
			if n == 7 {
				request(s, uacsta.RequestSystemStatus{})
			}
			s.Close(nil)
			p.Refused("sip", fmt.Sprintf("udp:192.0.2.1:%d", 1000+n), "mallory", "wrong password")
			p.Refused("xml", fmt.Sprintf("[2001:db8::%d]:1000", n), "", "not trusted")
		}
		if err := errors.Join(log.Close(), strangers.Close()); err != nil {
			t.Fatal(err)
		}
		for _, e := range entries(t, audit.TallyPath(file)) {
			if e.Peer != "" && e.Count == 0 && !slices.Contains([]string{"192.0.2.1:1000", "[2001:db8::]:1000"}, e.Peer) {
				t.Errorf("%+v: of which address?", e)
			}
			if e.Kind == "refused" && e.Count > 0 && (e.Front == "" || e.Reason == "") {
				t.Errorf("%+v: refused by what, and why?", e)
			}
		}
		var lines []string
		for _, e := range slices.Concat(entries(t, file), entries(t, audit.TallyPath(file))) {
			lines = append(lines, strings.TrimSpace(fmt.Sprint(e.Kind, " ", e.Who, " ", e.Count)))
		}
		slices.Sort(lines)
		if want := "closed  48,closed one 0,closed one 0,opened one 0,refused  0,refused  49,refused  49,refused mallory 0,stopped  0,stopped  0"; strings.Join(lines, ",") != want {
			t.Errorf("%s, want %s", strings.Join(lines, ","), want)
		}
	})
}
