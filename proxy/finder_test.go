package proxy_test

import (
	"log/slog"
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

// finder is a switch that says which connections an identifier may stand for. One that is held cannot be held.
type finder struct {
	*pbx
	held   map[string]bool   // by callID@device
	former map[string]string // callIDs of calls that have become others
}

func (*finder) KeepsConnections() {}

func (f *finder) FindConnections(service, _ string, id uacsta.ConnectionID) []proxy.Candidate {
	if now := f.former[id.CallID]; now != "" {
		id.CallID = now
	}
	var list []proxy.Candidate
	for call, devices := range f.calls {
		for _, d := range devices {
			if (id.CallID == "" || id.CallID == call) && (id.DeviceID.ID == "" || id.DeviceID.ID == d) {
				list = append(list, proxy.Candidate{ID: uacsta.Conn(call, d), Fits: service != uacsta.NameHoldCall || !f.held[call+"@"+d]})
			}
		}
	}
	return list
}

// An identifier that lacks a half, or has the callID that a call had before, is made the one connection that it stands
// for before policy decides. That connection is audited and carried out. Connections of others do not count, and an
// identifier that may stand for several is refused.
func TestConnectionsAreFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		link := &finder{pbx: newPBX(map[string][]string{"A": {"100", "101"}, "B": {"100", "200"}, "C": {"300", "301"}}), held: map[string]bool{"A@100": true}}
		file := filepath.Join(t.TempDir(), "audit.log")
		log, err := audit.Open(audit.Config{Path: file, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		rules := policy.FromGrants(func(n string) bool { return len(n) == 3 },
			policy.Grant{Who: "one", Control: []string{"100"}}, policy.Grant{Who: "two", Control: []string{"100", "101"}}, policy.Grant{Who: "other", Control: []string{"200"}})
		p := start(t, link, rules, func(cfg *proxy.Config) { cfg.Audit = log })
		one, _ := open(t, p, "one")
		two, _ := open(t, p, "two")
		other, _ := open(t, p, "other")
		ids := map[string]string{}
		for _, c := range request(one, uacsta.SnapshotDevice{SnapshotObject: uacsta.Dev("100")}).Connections() {
			ids[map[bool]string{true: "A", false: "B"}[len(ids) == 0]] = c.CallID()
		}
		// The snapshot's order is the map's: ask the switch which is which.
		link.got()
		request(one, uacsta.ClearConnection{ConnectionToBeCleared: uacsta.Conn(ids["A"], "100")})
		if got := link.got(); got != "ClearConnection A@100" {
			ids["A"], ids["B"] = ids["B"], ids["A"]
		}
		var audited []string
		hold := func(s *proxy.Session, callID, device string) (string, string) {
			m := request(s, uacsta.HoldCall{CallToBeHeld: uacsta.Conn(callID, device)})
			got := strings.TrimPrefix(link.got(), "HoldCall ")
			if got != "" {
				audited = append(audited, got)
			}
			return got, refusal(m)
		}
		for _, tt := range []struct {
			s            *proxy.Session
			call, device string
			want         string // what the switch gets; "" where the request is refused with invalidConnectionID
		}{
			{one, "", "100", "B@100"},                 // A is on hold
			{one, ids["A"], "", "A@100"},              // its only connection there; the switch refuses
			{two, ids["A"], "", "A@101"},              // the one of its two that can be held
			{two, ids["B"], "", "B@100"},              // of 200 it may control nothing
			{one, ids["B"], "100", "B@100"},           // whole
			{one, ids["B"], "101", ""},                // no right
			{other, ids["B"], "", "B@200"},            //
			{other, ids["A"], "", ""},                 // in the call it has nothing
			{other, "", "100", ""},                    // no right
			{one, "", "sip:100@pbx", "B@100"},         // numbers as clients write them
			{one, "", "", ""},                         //
			{one, "C", "", ""}, {one, "C", "300", ""}, // callIDs of the switch are nobody's
		} {
			got, why := hold(tt.s, tt.call, tt.device)
			if got != tt.want || why != "" && tt.want != "" || why == "" && tt.want == "" {
				t.Errorf("%q@%q: the switch gets %q, want %q; refused: %s", tt.call, tt.device, got, tt.want, why)
			}
		}
		link.held["B@100"] = true
		if got, why := hold(one, "", "100"); got != "" || why != uacsta.InvalidConnectionID {
			t.Errorf("none of several can be held: %q %s", got, why)
		}
		clear(link.held)
		if got, why := hold(one, "", "100"); got != "" || why != uacsta.InvalidConnectionID {
			t.Errorf("several can be held: %q %s", got, why)
		}
		// A becomes D by a transfer: 100 leaves, 102 enters.
		delete(link.calls, "A")
		link.calls["D"], link.former = []string{"101", "102"}, map[string]string{"A": "D"}
		if got, _ := hold(two, ids["A"], "101"); got != "D@101" {
			t.Errorf("by the old callID: %q", got)
		}
		if got, _ := hold(two, ids["A"], ""); got != "D@101" {
			t.Errorf("by the old callID alone: %q", got)
		}
		if got, why := hold(one, ids["A"], "101"); got != "" || why == "" {
			t.Errorf("by the old callID, without right: %q %s", got, why)
		}
		if err := log.Close(); err != nil {
			t.Fatal(err)
		}
		shown := map[string]string{ids["A"]: "A", ids["B"]: "B"}
		var written []string
		for _, e := range entries(t, file) {
			if e.Kind == "asked" && e.Service == uacsta.NameHoldCall {
				for _, c := range e.Connections {
					call, device, _ := strings.Cut(c, "@")
					if shown[call] == "" {
						shown[call] = "D"
					}
					written = append(written, shown[call]+"@"+device)
				}
			}
		}
		if !slices.Equal(written, audited) {
			t.Errorf("the audit file has %v, the switch got %v", written, audited)
		}
	})
}

// The refusal of a device alone does not tell what calls the device has.
func TestRefusalTellsNothingOfCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, calls := range []map[string][]string{{}, {"A": {"100", "101"}}, {"A": {"100", "101"}, "B": {"101", "102"}}} {
			link := &finder{pbx: newPBX(calls)}
			p := start(t, link, policy.FromGrants(nil, policy.Grant{Who: "one", Control: []string{"100"}, Observe: []string{"101"}}), nil)
			for _, named := range []bool{false, true} {
				s, err := p.Open(proxy.Opening{Identity: policy.Identity{Name: "one"}, Named: named}, &listener{})
				if err != nil {
					t.Fatal(err)
				}
				for _, device := range []string{"101", "102"} {
					if why := refusal(request(s, uacsta.HoldCall{CallToBeHeld: uacsta.Conn("", device)})); why != uacsta.PrivilegeViolationSpecifiedDevice {
						t.Errorf("%s, with the calls %v: %q", device, calls, why)
					}
				}
			}
		}
	})
}

// What is decided on the whole call is refused for a device alone if nobody says which call that is.
func TestWholeCallNeedsCallID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := map[string][]string{"A": {"100", "101", "102"}}
		finds := &finder{pbx: newPBX(map[string][]string{})}
		rules := policy.FromGrants(nil, policy.Grant{Who: "one", Control: []string{"100"}, Dial: []string{"*"}})
		rules.Rules = append([]policy.Rule{{Name: "fraud", Deny: true, Destinations: []string{"0900*"}}}, rules.Rules...)
		for _, link := range []proxy.Link{newPBX(calls), keeper{newPBX(calls)}, finds} {
			p := start(t, link, rules, nil)
			s, _ := open(t, p, "one")
			for _, req := range []any{
				uacsta.ClearCall{CallToBeCleared: uacsta.Conn("", "100")},
				uacsta.DialDigits{DiallingConnection: uacsta.Conn("", "100"), DiallingSequence: uacsta.Dev("123")}, // after 0900
			} {
				if why := refusal(request(s, req)); why != uacsta.InvalidConnectionID {
					t.Errorf("%T: %+v: %q", link, req, why)
				}
			}
		}
		p := start(t, finds, rules, nil)
		s, _ := open(t, p, "one")
		finds.calls["B"] = []string{"100", "103"}
		if why := refusal(request(s, uacsta.ClearCall{CallToBeCleared: uacsta.Conn("", "100")})); why != "" {
			t.Errorf("the link says which call it is: %q", why)
		}
	})
}

// Policy decides on each of several destinations, and the audit file has them all.
func TestDeflectToSeveral(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		link := newPBX(map[string][]string{"A": {"100", "101"}})
		file := filepath.Join(t.TempDir(), "audit.log")
		log, err := audit.Open(audit.Config{Path: file, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		rules := policy.FromGrants(func(n string) bool { return len(n) == 3 }, policy.Grant{Who: "a", Control: []string{"100"}, Dial: []string{"10?", "0[1-8]*"}})
		p := start(t, link, rules, func(cfg *proxy.Config) { cfg.Audit = log })
		s, _ := open(t, p, "a")
		own := uacsta.Conn(shown(t, s, "100"), "100")
		var want []string
		for _, tt := range []struct {
			to      []string
			refused string
		}{
			{[]string{"102", "0170", "103"}, ""},
			{[]string{"102", "0900", "103"}, uacsta.PrivilegeViolationDestinationDevice},
			{[]string{"0900", "0170"}, uacsta.PrivilegeViolationDestinationDevice},
			{[]string{"102", "0170", "0900"}, uacsta.PrivilegeViolationDestinationDevice},
		} {
			link.got()
			req := uacsta.DeflectCall{CallToBeDiverted: own}
			for _, n := range tt.to {
				req.NewDestination = append(req.NewDestination, uacsta.Dev(n))
			}
			var got []string
			m := uacsta.Encode(req, uacsta.Edition6)
			var res *uacsta.Message
			s.Request(m, func(m *uacsta.Message) { res = m })
			synctest.Wait()
			if asked := link.last(uacsta.NameDeflectCall); link.got() != "" {
				for _, d := range asked.Devices() {
					if !d.InConnection {
						got = append(got, d.ID())
					}
				}
			}
			if why := refusal(res); why != tt.refused || why == "" && !slices.Equal(got, tt.to) || why != "" && got != nil {
				t.Errorf("to %v: %s; the switch gets %v", tt.to, res, got)
			}
			want = append(want, strings.Join(tt.to, " "))
		}
		if err := log.Close(); err != nil {
			t.Fatal(err)
		}
		var written []string
		for _, e := range entries(t, file) {
			if e.Service == uacsta.NameDeflectCall && e.Kind != "done" {
				written = append(written, strings.Join(e.Destinations, " "))
			}
		}
		if !slices.Equal(written, want) {
			t.Errorf("the audit file has %q, want %q", written, want)
		}
	})
}

// namer is a switch whose device 100 has the second number 150.
type namer struct{ *pbx }

func (namer) Device(number string) string {
	if number == "150" {
		return "100"
	}
	return number
}

// A request that names the second number of a device is about the device: policy decides on that, and the audit file and
// the switch get it. Only a call from a second number keeps it, and needs a right on both.
func TestSecondNumbers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		link := namer{newPBX(map[string][]string{"A": {"100", "101"}})}
		file := filepath.Join(t.TempDir(), "audit.log")
		log, err := audit.Open(audit.Config{Path: file, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		rules := policy.FromGrants(func(n string) bool { return len(n) == 3 },
			policy.Grant{Who: "own", Control: []string{"100"}}, policy.Grant{Who: "both", Control: []string{"100", "150"}}, policy.Grant{Who: "second", Control: []string{"150"}})
		p := start(t, link, rules, func(cfg *proxy.Config) { cfg.Audit = log })
		own, _ := open(t, p, "own")
		both, _ := open(t, p, "both")
		second, _ := open(t, p, "second")
		id := shown(t, own, "150")
		hold := uacsta.HoldCall{CallToBeHeld: uacsta.Conn(id, "150")}
		from := func(number string) uacsta.MakeCall {
			return uacsta.MakeCall{CallingDevice: uacsta.Dev(number), CalledDirectoryNumber: uacsta.Dev("150")}
		}
		var audited []string
		for _, tt := range []struct {
			s       *proxy.Session
			req     any
			device  string // that the switch gets; "" where the request is refused
			audited string
		}{
			{own, hold, "100", "asked 100"},
			{second, hold, "", "refused 100"},
			{own, from("100"), "100", "asked 100"},
			{own, from("150"), "", "refused 100 150"},
			{both, from("150"), "150", "asked 100 150"},
			{second, from("150"), "", "refused 100"},
			{own, uacsta.SetDoNotDisturb{Device: uacsta.Dev("150"), DoNotDisturbOn: true}, "100", "asked 100"},
			{second, uacsta.SetDoNotDisturb{Device: uacsta.Dev("150"), DoNotDisturbOn: true}, "", "refused 100"},
		} {
			link.got()
			m := uacsta.Encode(tt.req, uacsta.Edition3)
			name, device := m.Name(), ""
			var res *uacsta.Message
			tt.s.Request(m, func(m *uacsta.Message) { res = m })
			synctest.Wait()
			if asked := link.last(name); link.got() != "" {
				device = asked.Devices()[0].ID()
				if name == uacsta.NameMakeCall && asked.Text("calledDirectoryNumber") != "150" {
					t.Errorf("the number dialled: %s", asked)
				}
			}
			if device != tt.device || (refusal(res) == "") != (tt.device != "") {
				t.Errorf("%+v: the switch gets %q, the client %s", tt.req, device, res)
			}
			audited = append(audited, tt.audited)
		}
		for range 2 {
			request(own, monitorOf("150"))
			request(own, monitorOf("100"))
		}
		if n := link.count(uacsta.NameMonitorStart); n != 1 || link.last(uacsta.NameMonitorStart).Text("monitorObject/deviceObject") != "100" {
			t.Errorf("%d monitors of one device, the last %s", n, link.last(uacsta.NameMonitorStart))
		}
		for name, may := range map[string]bool{"own": true, "second": false} {
			s, err := p.Open(proxy.Opening{Identity: policy.Identity{Name: name}, Line: "150"}, &listener{})
			if (err == nil) != may {
				t.Errorf("%s opens a session for 150: %v", name, err)
			}
			if s != nil && err == nil {
				link.got()
				request(s, uacsta.HoldCall{CallToBeHeld: uacsta.Conn(id, "")})
				if got := link.got(); got != "HoldCall A@100" {
					t.Errorf("the line's own connection: %q", got)
				}
				audited = append(audited, "asked 100")
			}
		}
		if err := log.Close(); err != nil {
			t.Fatal(err)
		}
		var written []string
		for _, e := range entries(t, file) {
			if e.Service != "" && e.Kind != "done" {
				written = append(written, e.Kind+" "+strings.Join(e.Devices, " "))
			}
		}
		if !slices.Equal(written, audited) {
			t.Errorf("the audit file has %q, want %q", written, audited)
		}
	})
}
