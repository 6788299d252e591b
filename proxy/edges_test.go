package proxy_test

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/audit"
	"github.com/tr87proxy/tr87proxy/policy"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// Incomplete requests are refused, and nothing starts.
func TestIncomplete(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &flaky{lose: make(chan error)}
		p := start(t, f, demo, func(c *proxy.Config) { c.Accounts = book{"crm": true} })
		s, _ := open(t, p, "a")
		for _, doc := range []string{
			`<StartApplicationSession xmlns="` + uacsta.NamespaceApplSession + `"/>`, `<ResetApplicationSessionTimer xmlns="` + uacsta.NamespaceApplSession + `"/>`,
			`<SystemRegister/>`, `<MonitorStart/>`, `<ChangeMonitorFilter/>`, `<MonitorStart><monitorObject><deviceObject>a b</deviceObject></monitorObject></MonitorStart>`,
			`<GetSwitchingFunctionDevices><requestedDeviceID>a b</requestedDeviceID></GetSwitchingFunctionDevices>`, `<RouteRegister><routeingDevice>a b</routeingDevice></RouteRegister>`,
			`<RouteSelect><crossRefIdentifier>1</crossRefIdentifier><routeSelected>a b</routeSelected></RouteSelect>`,
		} {
			m, err := uacsta.Parse([]byte(doc))
			if err != nil {
				t.Fatal(err)
			}
			var res *uacsta.Message
			s.Request(m, func(m *uacsta.Message) { res = m })
			synctest.Wait()
			if res == nil || why(res) == "" {
				t.Errorf("%s: %s", doc, res)
			}
		}
		if st := p.Status(); len(f.asked) != 0 || st.Monitors != 0 || st.Applications != 0 {
			t.Errorf("the link is asked %v; %+v", f.asked, st)
		}
	})
}

// opens has a link open something under a reference.
func opens(ref string) answers {
	return answers{
		"StartDataCollection":  text(`<StartDataCollectionResponse><dcollCrossRefID>` + ref + `</dcollCrossRefID></StartDataCollectionResponse>`),
		"StartCDRTransmission": text(`<StartCDRTransmissionResponse><cdrCrossRefID>` + ref + `</cdrCrossRefID></StartCDRTransmissionResponse>`),
		"EscapeRegister":       text(`<EscapeRegisterResponse><escapeRegisterID>` + ref + `</escapeRegisterID></EscapeRegisterResponse>`),
		"SnapshotDevice":       text(`<SnapshotDeviceResponse><crossRefIDorSnapshotData><serviceCrossRefID>` + ref + `</serviceCrossRefID></crossRefIDorSnapshotData></SnapshotDeviceResponse>`),
	}
}

// Associations end at the link when their client leaves, and for the client when the link goes down. A
// reference that is in use or too long opens nothing.
func TestAssociationsEnd(t *testing.T) {
	device := uacsta.Dev("100")
	for name, tt := range map[string]struct {
		start         any
		stop, aborted string // the request that ends it at the link, and what the client is told
		element       string
	}{
		"digits":  {uacsta.StartDataCollection{Object: &uacsta.CallObject{Device: &device}}, "StopDataCollection", "StopDataCollection", "dcollCrossRefID"},
		"records": {uacsta.StartCDRTransmission{TransferMode: "transferAtEndOfCall"}, "StopCDRTransmission", "StopCDRTransmission", "cdrCrossRefID"},
		"escapes": {uacsta.EscapeRegister{}, "EscapeRegisterCancel", "EscapeRegisterAbort", "escapeRegisterID"},
	} {
		synctest.Test(t, func(t *testing.T) {
			f := &flaky{lose: make(chan error), answers: opens("r1")}
			p := start(t, f, demo, nil)
			s, _ := open(t, p, "a")
			other, heard := open(t, p, "b")
			ref := request(s, tt.start).Text(tt.element)
			if ref == "" || ref == "r1" {
				t.Fatalf("%s: %q", name, ref)
			}
			if m := request(other, tt.start); m.Err() == nil {
				t.Errorf("%s: the link's reference has two clients: %s", name, m)
			}
			f.mu.Lock()
			f.answers = opens(strings.Repeat("r", 1025))
			f.mu.Unlock()
			if m := request(other, tt.start); m.Err() == nil {
				t.Errorf("%s: a reference of 1025 octets: %s", name, m)
			}
			other.Close(nil)
			if n := f.count(tt.stop); n != 0 {
				t.Errorf("%s: the other client ends it", name)
			}
			s.Close(nil)
			if n, m := f.count(tt.stop), f.last(tt.stop); n != 1 || m.Text(tt.element) != "r1" {
				t.Errorf("%s: the link hears %d times, the last %s", name, n, m)
			}
			s, l := open(t, p, "a")
			f.mu.Lock()
			f.answers = opens("r1")
			f.mu.Unlock()
			ref = request(s, tt.start).Text(tt.element)
			f.lose <- errors.New("lost")
			synctest.Wait()
			var told []string
			for _, m := range l.take() {
				if m.Name() != "SystemStatus" {
					told = append(told, m.Name()+" "+m.Text(tt.element))
				}
			}
			if want := []string{tt.aborted + " " + ref}; !slices.Equal(told, want) {
				t.Errorf("%s: when the link is lost the client hears %v, want %v", name, told, want)
			}
			stop := uacsta.NewMessage(uacsta.NamespaceED3, tt.stop)
			s.Request(parse(t, `<`+tt.stop+`><`+tt.element+`>`+ref+`</`+tt.element+`></`+tt.stop+`>`), func(m *uacsta.Message) { stop = m })
			synctest.Wait()
			if refusal(stop) != uacsta.InvalidCrossRefID {
				t.Errorf("%s: what has gone with the link is ended with %s", name, stop)
			}
			if m := request(s, tt.start); refusal(m) != uacsta.ResourceOutOfService {
				t.Errorf("%s: while it is down: %s", name, m)
			}
			time.Sleep(time.Minute)
			before := f.count(tt.stop)
			s.Close(nil)
			if f.count(tt.stop) != before {
				t.Errorf("%s: what a life has taken along is ended in the next", name)
			}
			if got := heard.take(); len(got) != 0 {
				t.Errorf("%s: another client hears %v", name, got)
			}
		})
	}
}

// A request about the whole switch is refused if there is none.
func TestNoSwitch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, &flaky{lose: make(chan error)}, demo, nil)
		s, _ := open(t, p, "a")
		p.SetLinks(nil)
		for _, req := range []any{uacsta.EscapeRegister{}, uacsta.StartCDRTransmission{TransferMode: "transferAtEndOfCall"}} {
			if why := refusal(request(s, req)); why != uacsta.ResourceOutOfService {
				t.Errorf("%T: %q", req, why)
			}
		}
	})
}

// A client has a limited number of associations; one that ends makes room. What the link has opened
// beyond the limit is released there.
func TestAssociationsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		f := &flaky{lose: make(chan error), answers: answers{"StartDataCollection": func(*uacsta.Message) (*uacsta.Message, error) {
			n++
			return uacsta.Encode(uacsta.StartDataCollectionResponse{DcollCrossRefID: fmt.Sprint("c", n)}, uacsta.Edition3), nil
		}}}
		p := start(t, f, demo, func(c *proxy.Config) { c.MaxOutstanding = 1000 })
		s, _ := open(t, p, "a")
		device := uacsta.Dev("100")
		ask := uacsta.StartDataCollection{Object: &uacsta.CallObject{Device: &device}}
		var last string
		refused := 0
		for range 501 {
			s.Request(uacsta.Encode(ask, uacsta.Edition3), func(m *uacsta.Message) {
				if m.Err() != nil {
					refused++
				} else {
					last = m.Text("dcollCrossRefID")
				}
			})
		}
		synctest.Wait()
		if n, stop := f.count("StopDataCollection"), f.last("StopDataCollection"); refused != 1 || stop.Text("dcollCrossRefID") != "c501" || n != 1 {
			t.Errorf("%d are refused; the link hears %s", refused, stop)
		}
		request(s, uacsta.StopDataCollection{DcollCrossRefID: last})
		if why := refusal(request(s, uacsta.StopDataCollection{DcollCrossRefID: last})); why != uacsta.InvalidCrossRefID {
			t.Errorf("ended twice: %q", why)
		}
		if why := refusal(request(s, ask)); why != "" {
			t.Errorf("after one has ended: %q", why)
		}
	})
}

// Requests that wait behind one for which the link is asked get a response when their client leaves,
// and are not carried out.
func TestHeldRequestsOfClosedSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		link := newPBX(map[string][]string{"A": {"100", "101"}})
		p := start(t, link, demo, nil)
		s, _ := open(t, p, "a")
		id := shown(t, s, "100")
		time.Sleep(time.Minute)
		link.got()
		link.mute = "SnapshotDevice"
		var answers []string
		for _, req := range []any{uacsta.HoldCall{CallToBeHeld: uacsta.Conn(id, "100")}, uacsta.SetDoNotDisturb{Device: uacsta.Dev("100")}, uacsta.GetDoNotDisturb{Device: uacsta.Dev("100")}} {
			s.Request(uacsta.Encode(req, uacsta.Edition3), func(m *uacsta.Message) { answers = append(answers, refusal(m)) })
		}
		synctest.Wait()
		s.Close(nil)
		link.holding[0](nil, uacsta.Refuse(uacsta.Operation, uacsta.Generic))
		synctest.Wait()
		if len(answers) != 3 || slices.Contains(answers, "") || link.got() != "" {
			t.Errorf("answers: %q", answers)
		}
	})
}

// A refusal of the link to observe a connection is audited; a success is not.
func TestRefusedObservationsAreAudited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "audit.log")
		log, err := audit.Open(audit.Config{Path: file, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		link := newPBX(map[string][]string{"A": {"100", "101"}})
		p := start(t, link, demo, func(c *proxy.Config) { c.Audit = log })
		s, _ := open(t, p, "a")
		id := shown(t, s, "100")
		look := uacsta.SnapshotCall{SnapshotObject: uacsta.Conn(id, "100")}
		for _, pause := range []time.Duration{0, time.Minute} { // a minute later the link is asked who is in the call
			time.Sleep(pause)
			if why := refusal(request(s, look)); why != "" {
				t.Error(why)
			}
		}
		link.answers["SnapshotCall"] = func(*uacsta.Message) (*uacsta.Message, error) {
			return nil, uacsta.Refuse(uacsta.Operation, uacsta.InvalidConnectionID)
		}
		if why := refusal(request(s, look)); why != uacsta.InvalidConnectionID {
			t.Errorf("%q", why)
		}
		if err := log.Close(); err != nil {
			t.Fatal(err)
		}
		var lines []string
		for _, e := range entries(t, file) {
			if e.Service != "" {
				lines = append(lines, fmt.Sprint(e.Kind, " ", e.Service, " ", e.Connections, " ", strings.Contains(e.Reason, uacsta.InvalidConnectionID)))
			}
		}
		if want := []string{"refused SnapshotCall [" + id + "@100] true"}; !slices.Equal(lines, want) {
			t.Errorf("written: %v, want %v", lines, want)
		}
	})
}

// A monitor on a call starts with a snapshot, segmented or not: parties from before are known and can
// leave the call.
func TestCallMonitorStartsWithSnapshot(t *testing.T) {
	for _, segments := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			link := newPBX(map[string][]string{"A": {"200", "201"}})
			p := start(t, link, threeRules, nil)
			s, l := open(t, p, "mallory")
			id := shown(t, s, "200")
			if segments {
				link.answers["SnapshotCall"] = func(*uacsta.Message) (*uacsta.Message, error) {
					go func() {
						time.Sleep(time.Millisecond)
						for i, device := range link.calls["A"] {
							x := uacsta.Conn("A", device)
							_ = link.up.Request(uacsta.Encode(uacsta.SnapshotCallData{ServiceCrossRefID: "s", LastSegment: i == 1, SnapshotData: []uacsta.SnapshotCallResponseInfo{{DeviceOnCall: uacsta.Ext(device), CallIdentifier: &x, LocalConnectionInfo: uacsta.Connected}}}, uacsta.Edition3))
						}
					}()
					return parse(t, `<SnapshotCallResponse><crossRefIDorSnapshotData><serviceCrossRefID>s</serviceCrossRefID></crossRefIDorSnapshotData></SnapshotCallResponse>`), nil
				}
			}
			ref := request(s, uacsta.MonitorStart{MonitorObject: uacsta.MonitorObject{CallObject: &uacsta.ConnectionID{CallID: id, DeviceID: uacsta.Dev("200")}}}).CrossRef()
			if ref == "" {
				t.Fatal("no monitor")
			}
			time.Sleep(time.Second)
			synctest.Wait()
			l.take()
			// The other party leaves, which is reported; then the client's own device, and the client
			// loses the monitor.
			for _, device := range []string{"201", "200"} {
				link.up.Event(uacsta.Encode(uacsta.ConnectionClearedEvent{MonitorCrossRefID: "link1", DroppedConnection: uacsta.Conn("A", device), ReleasingDevice: uacsta.Ext(device)}, uacsta.Edition3))
				synctest.Wait()
				want := "ConnectionClearedEvent"
				if got := names(l); got != want {
					t.Errorf("in segments: %v; when %s leaves the client hears %q", segments, device, got)
				}
			}
			if d := p.DeviceList(); len(d) != 1 || d[0].Call != id {
				t.Errorf("%+v", d)
			}
		})
	}
}

// A refused session takes no place. A closed one gives its place back, once.
func TestPlacesOfSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, &flaky{lose: make(chan error)}, policy.FromGrants(nil, policy.Grant{Who: "a", Observe: []string{"100"}}), func(c *proxy.Config) { c.MaxSessions = 2 })
		for range 3 { // those that are refused take no place
			if _, err := p.Open(proxy.Opening{Identity: policy.Identity{Name: "b"}}, &listener{}); !errors.Is(err, proxy.ErrForbidden) {
				t.Error(err)
			}
			if _, err := p.Open(proxy.Opening{Identity: policy.Identity{Name: "a"}, Line: "a b"}, &listener{}); !errors.Is(err, proxy.ErrUnknownLine) {
				t.Error(err)
			}
			if _, err := p.Open(proxy.Opening{Identity: policy.Identity{Name: "a"}, Valid: func() bool { return false }}, &listener{}); !errors.Is(err, proxy.ErrForbidden) {
				t.Error(err)
			}
		}
		if p.Stats().Sessions.Load() != 0 || p.Stats().Denials.Load() != 6 {
			t.Errorf("%d sessions, %d denials", p.Stats().Sessions.Load(), p.Stats().Denials.Load())
		}
		first, _ := open(t, p, "a")
		open(t, p, "a")
		if _, err := p.Open(proxy.Opening{Identity: policy.Identity{Name: "a"}}, &listener{}); !errors.Is(err, proxy.ErrTooMany) {
			t.Error(err)
		}
		first.Close(nil)
		first.Close(nil) // it is closed
		open(t, p, "a")
		if _, err := p.Open(proxy.Opening{Identity: policy.Identity{Name: "a"}}, &listener{}); !errors.Is(err, proxy.ErrTooMany) {
			t.Error(err)
		}
	})
}

// Sessions count against their identity, or against the address without one. No identity uses up
// another's limit.
func TestSessionsOfAnIdentity(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, &flaky{lose: make(chan error)}, demo, func(c *proxy.Config) { c.MaxIdentity = 2 })
		for i, tt := range []struct {
			who, from string
			taken     bool
		}{
			{"a", "192.0.2.1", true}, {"a", "192.0.2.2", true}, {"a", "192.0.2.3", false}, {"b", "192.0.2.1", true}, {"", "192.0.2.1", true}, {"", "192.0.2.1", true}, {"", "192.0.2.1", false},
			{"", "192.0.2.2", true}, {"b", "192.0.2.1", true}, {"", "2001:db8::1", true}, {"", "2001:db8::2", true}, {"", "2001:db8::3", false},
		} {
			_, err := p.Open(proxy.Opening{Identity: policy.Identity{Name: tt.who}, Addr: netip.MustParseAddr(tt.from), Sessions: proxy.SessionsOptional}, &listener{})
			if (err == nil) != tt.taken {
				t.Errorf("%d: %v", i, err)
			}
		}
	})
}

// A request about the whole switch needs the right on all of it, whatever the service.
func TestRightOnTheWholeSwitch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &flaky{lose: make(chan error)}
		p := start(t, f, threeRules, nil)
		alice, _ := open(t, p, "alice")
		boss, _ := open(t, p, "boss")
		for _, doc := range []string{`<EscapeRegister/>`, `<Escape><privateData/></Escape>`, `<StartCDRTransmission><transferMode>transferAtEndOfCall</transferMode></StartCDRTransmission>`, `<PrivateDataVersionSelection/>`} {
			ask := func(s *proxy.Session) (res *uacsta.Message) {
				s.Request(parse(t, doc), func(m *uacsta.Message) { res = m })
				synctest.Wait()
				return res
			}
			if m := ask(alice); refusal(m) != uacsta.PrivilegeViolationSpecifiedDevice || len(f.asked) != 0 {
				t.Errorf("%s of alice: %s; the link is asked %v", doc, m, f.asked)
			}
			if m := ask(boss); m.Err() != nil || len(f.asked) != 1 {
				t.Errorf("%s of the boss: %s; the link is asked %v", doc, m, f.asked)
			}
			f.asked = nil
		}
	})
}

// If a link returns no response to a request that has one, the client gets a refusal.
func TestNoResponse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nothing := func(*uacsta.Message) (*uacsta.Message, error) { return nil, nil }
		f := &flaky{lose: make(chan error), answers: answers{"GetDoNotDisturb": nothing, "MonitorStart": nothing, "SnapshotDevice": nothing, "RouteRegister": nothing, "GetSwitchingFunctionDevices": nothing, "EscapeRegister": nothing, "MakeCall": nothing}}
		p := start(t, f, demo, nil)
		s, _ := open(t, p, "a")
		for _, req := range []any{
			uacsta.GetDoNotDisturb{Device: uacsta.Dev("100")}, monitorOf("100"), uacsta.SnapshotDevice{SnapshotObject: uacsta.Dev("100")}, uacsta.RouteRegister{}, uacsta.GetSwitchingFunctionDevices{}, uacsta.EscapeRegister{},
			uacsta.MakeCall{CallingDevice: uacsta.Dev("100"), CalledDirectoryNumber: uacsta.Dev("101")},
		} {
			if m := request(s, req); m == nil || m.Err() == nil {
				t.Errorf("%T: %s", req, m)
			}
		}
	})
}

// The queue of a client that has left does not count against the others.
func TestQueueOfClosedSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &flaky{lose: make(chan error)}
		p := start(t, f, demo, func(c *proxy.Config) { c.QueuesOctets = 1 << 20 })
		event := parse(t, `<HeldEvent><monitorCrossRefID>link1</monitorCrossRefID><heldConnection><callID>1</callID><deviceID>100</deviceID></heldConnection><correlatorData><private>`+strings.Repeat("0", 10000)+`</private></correlatorData></HeldEvent>`)
		for range 3 {
			l := &busy{release: make(chan struct{})}
			defer close(l.release)
			s, err := p.Open(proxy.Opening{Identity: policy.Identity{Name: "a"}}, l)
			if err != nil {
				t.Fatal(err)
			}
			request(s, monitorOf("100"))
			for range 60 {
				f.up.Event(event.Clone())
			}
			synctest.Wait()
			if l.closed != nil {
				t.Error(l.closed)
			}
			s.Close(nil)
			f.mu.Lock()
			event.SetCrossRef(fmt.Sprint("link", f.refs+1))
			f.mu.Unlock()
		}
	})
}

// Peers without an address are told apart by their names.
func TestPeersWithoutAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := audit.Config{Path: filepath.Join(t.TempDir(), "audit.log"), Log: slog.New(slog.DiscardHandler)}
		strangers, err := audit.OpenTally(cfg)
		if err != nil {
			t.Fatal(err)
		}
		p := start(t, &flaky{lose: make(chan error)}, demo, nil)
		p.SetAudit(nil, strangers)
		for range 3 {
			for _, peer := range []string{"pipe", "another pipe", "192.0.2.1:5060", "tcp:192.0.2.1:5061"} {
				p.Refused("xml", peer, "", "not trusted")
			}
		}
		if err := strangers.Close(); err != nil {
			t.Fatal(err)
		}
		counts := map[string]int64{}
		for _, e := range entries(t, audit.TallyPath(cfg.Path)) {
			if e.Kind == "refused" {
				counts[e.Peer] += max(e.Count, 1)
			}
		}
		if want := map[string]int64{"pipe": 3, "another pipe": 3, "192.0.2.1:5060": 1, "192.0.2.1/32": 5}; !maps.Equal(counts, want) {
			t.Errorf("refused: %v, want %v", counts, want)
		}
	})
}
