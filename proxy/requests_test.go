package proxy_test

import (
	"bytes"
	"errors"
	"log/slog"
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

// An identity may place a limited number of calls per time, in all its sessions and by any service.
// Other services do not count, and the count recovers.
func TestCallsPerMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		f := &flaky{lose: make(chan error)}
		p := start(t, f, demo, func(c *proxy.Config) {
			c.MaxCalls, c.Log = policy.Rate{Count: 3, Per: time.Minute}, slog.New(slog.NewTextHandler(&log, nil))
		})
		first, _ := open(t, p, "a")
		second, _ := open(t, p, "a")
		other, _ := open(t, p, "b")
		makeCall := uacsta.MakeCall{CallingDevice: uacsta.Dev("100"), CalledDirectoryNumber: uacsta.Dev("109")}
		predictive := uacsta.MakePredictiveCall{CallingDevice: uacsta.Dev("100"), CalledDirectoryNumber: uacsta.Dev("109")}
		for i, tt := range []struct {
			s    *proxy.Session
			req  any
			want string
		}{
			{first, makeCall, ""}, {second, makeCall, ""}, {first, predictive, ""}, {first, makeCall, uacsta.PerformanceLimitExceeded}, {second, predictive, uacsta.PerformanceLimitExceeded},
			{first, uacsta.SetDoNotDisturb{Device: uacsta.Dev("100"), DoNotDisturbOn: true}, ""}, {first, uacsta.ConsultationCall{ExistingCall: uacsta.Conn("", "100"), ConsultedDevice: uacsta.Dev("109")}, ""},
			{other, makeCall, ""},
		} {
			m := request(tt.s, tt.req)
			if got := refusal(m); got != tt.want || tt.want != "" && m.Err().Category != uacsta.PerformanceManagement {
				t.Errorf("%d: %s", i, m)
			}
		}
		if n := strings.Count(log.String(), "limits.calls-per-minute"); n != 2 || p.Stats().Denials.Load() != 2 {
			t.Errorf("%d lines name the limit, %d denials are counted", n, p.Stats().Denials.Load())
		}
		time.Sleep(20 * time.Second)
		if got := refusal(request(first, makeCall)) + refusal(request(second, makeCall)); got != uacsta.PerformanceLimitExceeded {
			t.Errorf("after a third of the while: %q", got)
		}
	})
}

// An identity may send a limited number of requests per time, in all its sessions. Clients without an
// identity at one address count together.
func TestRequestsPerSecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, &flaky{lose: make(chan error)}, demo, func(c *proxy.Config) {
			c.MaxRequests, c.Accounts = policy.Rate{Count: 2, Per: time.Second}, book{}
			c.Sessions.Tries = 100
		})
		ask := func(s *proxy.Session) string { return refusal(request(s, uacsta.RequestSystemStatus{})) }
		first, _ := open(t, p, "a")
		second, _ := open(t, p, "a")
		other, _ := open(t, p, "b")
		for i, tt := range []struct {
			s    *proxy.Session
			want string
		}{{first, ""}, {second, ""}, {first, uacsta.PerformanceLimitExceeded}, {second, uacsta.PerformanceLimitExceeded}, {other, ""}} {
			if got := ask(tt.s); got != tt.want {
				t.Errorf("%d: %q", i, got)
			}
		}
		time.Sleep(time.Second)
		if got := ask(first); got != "" {
			t.Errorf("a second later: %q", got)
		}
		one, _ := bound(t, p)
		two, _ := bound(t, p)
		if a, b, c := ask(one), ask(two), ask(one); a != uacsta.Generic || b != uacsta.Generic || c != uacsta.PerformanceLimitExceeded {
			t.Errorf("nobody: %q, %q, %q", a, b, c)
		}
	})
}

// A response makes room for another request, also if the session has closed meanwhile. Every request
// is answered once.
func TestOutstandingRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &flaky{lose: make(chan error), hold: true}
		p := start(t, f, demo, func(c *proxy.Config) { c.MaxOutstanding = 2 })
		s, _ := open(t, p, "a")
		got := map[string]int{}
		ask := func(n int) {
			for range n {
				s.Request(uacsta.Encode(uacsta.GetDoNotDisturb{Device: uacsta.Dev("100")}, uacsta.Edition3), func(m *uacsta.Message) { got[refusal(m)]++ })
			}
			synctest.Wait()
		}
		ask(3)
		if got[uacsta.OutstandingReqLimitExceeded] != 1 || len(got) != 1 {
			t.Errorf("three at a time: %v", got)
		}
		f.release(uacsta.Encode(uacsta.GetDoNotDisturbResponse{}, uacsta.Edition3))
		synctest.Wait()
		f.hold = true
		ask(2)
		if got[""] != 2 || got[uacsta.OutstandingReqLimitExceeded] != 1 {
			t.Errorf("after they were answered: %v", got)
		}
		s.Close(nil)
		f.release(uacsta.Encode(uacsta.GetDoNotDisturbResponse{}, uacsta.Edition3))
		synctest.Wait()
		if got[""] != 4 || len(got) != 2 {
			t.Errorf("of a session that has ended: %v", got)
		}
		if p.Stats().Requests.Load() != 5 || p.Stats().Refusals.Load() != 1 {
			t.Errorf("%d requests are counted, %d refusals", p.Stats().Requests.Load(), p.Stats().Refusals.Load())
		}
	})
}

// Events are in the edition of the client's last message that names one, and responses in that of their request. A
// client without an edition gets edition 3.
func TestEditions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &flaky{lose: make(chan error)}
		p := start(t, f, demo, nil)
		for _, tt := range []struct{ written, want string }{
			{uacsta.Edition6.Namespace(), uacsta.Edition6.Namespace()}, {uacsta.NamespaceED3, uacsta.NamespaceED3}, {"", uacsta.NamespaceED3}, {"urn:x", uacsta.NamespaceED3},
			{uacsta.NamespaceED3 + "/priv1", uacsta.NamespaceED3 + "/priv1"},
		} {
			s, l := open(t, p, "a")
			var res *uacsta.Message
			s.Request(parse(t, `<MonitorStart xmlns="`+tt.written+`"><monitorObject><deviceObject>100</deviceObject></monitorObject></MonitorStart>`), func(m *uacsta.Message) { res = m })
			synctest.Wait()
			f.event()
			synctest.Wait()
			got := l.take()
			if len(got) != 1 || got[0].Namespace() != tt.want || res.Namespace() != tt.want {
				t.Errorf("%q: the answer is %s, the event %v", tt.written, res, got)
			}
			s.Request(parse(t, `<ResetApplicationSessionTimer xmlns="`+uacsta.NamespaceApplSession+`"><sessionID>1</sessionID><requestedSessionDuration>1</requestedSessionDuration></ResetApplicationSessionTimer>`), func(*uacsta.Message) {})
			f.event()
			synctest.Wait()
			if got := l.take(); len(got) != 1 || got[0].Namespace() != tt.want {
				t.Errorf("%q: after a request about application sessions the event is %v", tt.written, got)
			}
			for _, request := range []string{"<GetMonitors xmlns=\"" + tt.written + "\"/>", `<MonitorStop xmlns="` + tt.written + `"><monitorCrossRefID>1</monitorCrossRefID></MonitorStop>`} {
				s.Request(parse(t, request), func(m *uacsta.Message) { res = m })
				synctest.Wait()
				if res.Namespace() != tt.want {
					t.Errorf("%q: the response to %s is %s", tt.written, request, res)
				}
			}
			_, err := uacsta.Parse([]byte(`<MonitorStop xmlns="` + tt.written + `"><monitorCrossRefID>1</monitorCrossRefID><monitorCrossRefID>2</monitorCrossRefID></MonitorStop>`))
			var unclear *uacsta.Unclear
			if !errors.As(err, &unclear) {
				t.Fatal(err)
			}
			other, _ := open(t, p, "b")
			other.Unclear(unclear, func(m *uacsta.Message) { res = m })
			synctest.Wait()
			if res.Namespace() != tt.want {
				t.Errorf("%q: the refusal is %s", tt.written, res)
			}
			s.Close(nil)
		}
	})
}

// An application session settles the edition for documents without a namespace, and a document in a foreign namespace changes
// neither its own response's edition nor that of later events.
func TestEditionOfSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &flaky{lose: make(chan error)}
		p := start(t, f, demo, nil)
		s, l := open(t, p, "a")
		const private = uacsta.NamespaceED3 + "/priv7"
		open := uacsta.Login{}.Opening("app", uacsta.LoginPlain, time.Minute)
		open.RequestedProtocolVersions = []string{private}
		if res := request(s, open); res.Text("actualProtocolVersion") != private {
			t.Fatal(res)
		}
		for _, document := range []string{
			`<MonitorStart><monitorObject><deviceObject>100</deviceObject></monitorObject></MonitorStart>`,
			`<GetDoNotDisturb xmlns="http://www.avaya.com/csta"><device>100</device></GetDoNotDisturb>`, `<GetDeviceHistory xmlns="urn:x"/>`, `<RequestSystemStatus/>`,
		} {
			var res *uacsta.Message
			s.Request(parse(t, document), func(m *uacsta.Message) { res = m })
			synctest.Wait()
			f.event()
			synctest.Wait()
			if got := l.take(); len(got) != 1 || got[0].Namespace() != private || res.Namespace() != private {
				t.Errorf("%s: the response is %s, the event %v", document, res, got)
			}
		}
	})
}

// Messages of a client that are no requests are not carried out: responses have no response, events
// are refused.
func TestNoRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &flaky{lose: make(chan error)}
		p := start(t, f, demo, nil)
		s, _ := open(t, p, "a")
		answered := 0
		s.Request(uacsta.Encode(uacsta.SystemStatusResponse{}, uacsta.Edition3), func(m *uacsta.Message) {
			if answered++; m != nil {
				t.Errorf("an answer is answered with %s", m)
			}
		})
		synctest.Wait()
		if why := refusal(request(s, uacsta.DoNotDisturbEvent{MonitorCrossRefID: "1", Device: uacsta.Ext("100")})); why != uacsta.ServiceNotSupported || answered != 1 {
			t.Errorf("an event is answered with %q; %d answers", why, answered)
		}
		if m := request(s, uacsta.SystemStatus{SystemStatus: uacsta.StatusNormal}); m.Name() != "SystemStatusResponse" {
			t.Errorf("SystemStatus is answered with %s", m)
		}
		if len(f.asked) != 0 {
			t.Errorf("the link is asked %v", f.asked)
		}
	})
}

// A request without a device is refused with what is missing, and does not reach a link.
func TestNoDeviceNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &flaky{lose: make(chan error)}
		p := start(t, f, demo, nil)
		s, _ := open(t, p, "a")
		for doc, want := range map[string]string{
			`<MonitorStart><monitorObject/></MonitorStart>`: uacsta.InvalidMonitorObject, `<GetDoNotDisturb/>`: uacsta.InvalidDeviceID, `<SetDoNotDisturb/>`: uacsta.InvalidDeviceID,
			`<SnapshotDevice/>`: uacsta.InvalidDeviceID, `<MakeCall/>`: uacsta.InvalidCallingDeviceID, `<GetDeviceHistory/>`: uacsta.ServiceNotSupported, `<SetCallMode><device>100</device></SetCallMode>`: uacsta.ServiceNotSupported,
			`<MakeCall><callingDevice> </callingDevice><calledDirectoryNumber>101</calledDirectoryNumber></MakeCall>`: uacsta.InvalidCallingDeviceID,
			`<HoldCall><callToBeHeld/></HoldCall>`:                                          uacsta.InvalidConnectionID,
			`<StopDataCollection><dcollCrossRefID>1</dcollCrossRefID></StopDataCollection>`: uacsta.InvalidCrossRefID, `<StopDataCollection/>`: uacsta.ServiceNotSupported,
		} {
			var res *uacsta.Message
			s.Request(parse(t, doc), func(m *uacsta.Message) { res = m })
			synctest.Wait()
			if got := refusal(res); got != want {
				t.Errorf("%s: %q, want %q", doc, got, want)
			}
		}
		if len(f.asked) != 0 {
			t.Errorf("the link is asked %v", f.asked)
		}
		if why := refusal(request(s, uacsta.GetDoNotDisturb{Device: uacsta.Dev("900")})); why != uacsta.InvalidDeviceID {
			t.Errorf("a device of no link: %q", why)
		}
	})
}

// GetSwitchingFunctionCaps is answered by the switching function. A client without a link gets a
// refusal.
func TestCapabilities(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, one, two := pair(t, demo, nil)
		s, _ := open(t, p, "a")
		of := func(line string) *proxy.Session {
			s, err := p.Open(proxy.Opening{Identity: policy.Identity{Name: "a"}, Line: line}, &listener{})
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
		second := of("201")
		request(s, uacsta.GetSwitchingFunctionCaps{})
		if a, b := one.count("GetSwitchingFunctionCaps"), two.count("GetSwitchingFunctionCaps"); a != 1 || b != 0 {
			t.Errorf("without a line: %d, %d", a, b)
		}
		request(second, uacsta.GetSwitchingFunctionCaps{})
		if a, b := one.count("GetSwitchingFunctionCaps"), two.count("GetSwitchingFunctionCaps"); a != 1 || b != 1 {
			t.Errorf("with a line of the second: %d, %d", a, b)
		}
		if f := request(s, uacsta.GetCSTAFeatures{}).Features(); !slices.Contains(f.Services, uacsta.NameSystemRegister) || slices.Contains(f.Services, uacsta.NameMakeCall) {
			t.Errorf("a link that does not say what it can: %v", f)
		}
		p.SetLinks(nil)
		synctest.Wait()
		if why := refusal(request(s, uacsta.GetSwitchingFunctionCaps{})); why != uacsta.ResourceOutOfService {
			t.Errorf("without a link: %q", why)
		}
		if f := request(s, uacsta.GetCSTAFeatures{}).Features(); !slices.Contains(f.Services, uacsta.NameSystemRegister) {
			t.Errorf("without a link: %v", f)
		}
	})
}

// For a session without a line the status is normal while any link is up; with a line, while its link
// is up.
func TestStatusOfALine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, one, two := pair(t, demo, nil)
		status := func(line string) string {
			s, err := p.Open(proxy.Opening{Identity: policy.Identity{Name: "a"}, Line: line}, &listener{})
			if err != nil {
				return err.Error()
			}
			defer s.Close(nil)
			return request(s, uacsta.RequestSystemStatus{}).Text("systemStatus")
		}
		says(t, two, "overloadReached")
		for _, tt := range []struct {
			lose                 *flaky
			none, first, seconds string
		}{{nil, "normal", "normal", "overloadReached"}, {one, "overloadReached", proxy.ErrLinkDown.Error(), "overloadReached"}, {two, proxy.ErrLinkDown.Error(), proxy.ErrLinkDown.Error(), proxy.ErrLinkDown.Error()}} {
			if tt.lose != nil {
				tt.lose.lose <- errors.New("lost")
				synctest.Wait()
			}
			if none, first, second := status(""), status("100"), status("201"); none != tt.none || first != tt.first || second != tt.seconds {
				t.Errorf("%s, %s, %s; want %+v", none, first, second, tt)
			}
		}
		if got := status("301"); got != proxy.ErrUnknownLine.Error() {
			t.Errorf("a line of no link: %s", got)
		}
	})
}

// A control request that cannot be audited is refused and does not reach the link; one that observes
// is carried out.
func TestUnauditedControlIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, err := audit.Open(audit.Config{Path: filepath.Join(t.TempDir(), "audit.log"), Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		f := &flaky{lose: make(chan error), answers: answers{"SnapshotDevice": text(inCall)}}
		p := start(t, f, policy.FromGrants(nil, policy.Grant{Who: "a", Control: []string{"100", "101"}, Dial: []string{"*"}}), func(c *proxy.Config) { c.Audit = log })
		s, _ := open(t, p, "a")
		own := uacsta.Conn(call(s, "100"), "100")
		device := uacsta.Dev("100")
		controls := []any{
			uacsta.MakeCall{CallingDevice: device, CalledDirectoryNumber: uacsta.Dev("109")}, uacsta.SetDoNotDisturb{Device: device}, uacsta.HoldCall{CallToBeHeld: own},
			uacsta.RouteRegister{RouteingDevice: &device},
		}
		for _, req := range controls[:3] {
			if why := refusal(request(s, req)); why != "" {
				t.Errorf("%T: %q", req, why)
			}
		}
		if err := log.Close(); err != nil {
			t.Fatal(err)
		}
		for _, wait := range []time.Duration{0, time.Minute} { // a minute later the link is asked who is in the call
			time.Sleep(wait)
			f.mu.Lock()
			f.asked = nil
			f.mu.Unlock()
			for _, req := range controls {
				m := request(s, req)
				if refusal(m) != uacsta.ResourceLimitExceeded || m.Err().Category != uacsta.SystemResourceAvailability {
					t.Errorf("%T: %s", req, m)
				}
			}
			for _, m := range f.asked {
				if m.Name() != "SnapshotDevice" {
					t.Errorf("the link is asked for %s", m.Name())
				}
			}
			for _, req := range []any{uacsta.SnapshotDevice{SnapshotObject: device}, monitorOf("100"), uacsta.GetDoNotDisturb{Device: device}} {
				if why := refusal(request(s, req)); why != "" {
					t.Errorf("%T: %q", req, why)
				}
			}
		}
	})
}

// The audit file has the outcome of a control request: carried out, refused by the link, or failed.
func TestOutcomesAreAudited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "audit.log")
		log, err := audit.Open(audit.Config{Path: file, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		f := &flaky{lose: make(chan error), answers: answers{}}
		p := start(t, f, demo, func(c *proxy.Config) { c.Audit = log })
		s, _ := open(t, p, "a")
		refused := uacsta.Refuse(uacsta.StateIncompatibility, uacsta.InvalidConnectionState)
		want := map[string]string{"100": "ok", "101": refused.Error(), "102": "failed"}
		for device, why := range map[string]error{"100": nil, "101": refused, "102": errors.New("wires are cut")} {
			f.answers["SetDoNotDisturb"] = func(*uacsta.Message) (*uacsta.Message, error) {
				return uacsta.Encode(uacsta.SetDoNotDisturbResponse{}, uacsta.Edition3), why
			}
			request(s, uacsta.SetDoNotDisturb{Device: uacsta.Dev(device)})
		}
		request(s, uacsta.GetDoNotDisturb{Device: uacsta.Dev("103")})
		s.Close(errors.New("good bye"))
		if err := log.Close(); err != nil {
			t.Fatal(err)
		}
		got := map[string]string{}
		asked := 0
		for _, e := range entries(t, file) {
			switch e.Kind {
			case "done":
				got[e.Devices[0]] = e.Outcome
			case "asked":
				asked++
			case "closed":
				if e.Reason != "good bye" || e.Who != "a" {
					t.Errorf("%+v", e)
				}
			}
			if slices.Contains(e.Devices, "103") {
				t.Errorf("what only observes is written down: %+v", e)
			}
		}
		for device, outcome := range want {
			if got[device] != outcome {
				t.Errorf("%s: %q, want %q", device, got[device], outcome)
			}
		}
		if asked != 3 || len(got) != 3 {
			t.Errorf("%d asked, %v", asked, got)
		}
	})
}
