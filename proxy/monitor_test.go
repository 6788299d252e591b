package proxy_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tr87proxy/tr87proxy/policy"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// count returns how many requests of a name a link has got.
func (f *flaky) count(name string) (n int) {
	synctest.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, m := range f.asked {
		if m.Name() == name {
			n++
		}
	}
	return n
}

// Clients share one monitor on a device, each with its own cross reference. The last client's
// departure stops it at the link.
func TestSharedMonitor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &flaky{lose: make(chan error)}
		p := start(t, f, demo, nil)
		first, one := open(t, p, "a")
		second, two := open(t, p, "b")
		refs := []string{request(first, monitorOf("100")).CrossRef(), request(first, monitorOf("100")).CrossRef(), request(second, monitorOf("100")).CrossRef()}
		if slices.Contains(refs, "") || refs[0] == refs[1] || f.count("MonitorStart") != 1 {
			t.Fatalf("references %v, %d monitors at the link", refs, f.count("MonitorStart"))
		}
		if d := p.DeviceList()[0]; d.Clients != 3 || !slices.Equal(d.Identities, []string{first.Identity().String(), second.Identity().String()}) {
			t.Errorf("the monitor is %+v", d)
		}
		f.event()
		synctest.Wait()
		if got := one.take(); len(got) != 2 || got[0].CrossRef() != refs[0] || got[1].CrossRef() != refs[1] {
			t.Errorf("the first client hears %v", got)
		}
		if got := two.take(); len(got) != 1 || got[0].CrossRef() != refs[2] {
			t.Errorf("the second client hears %v", got)
		}
		if p.Stats().Events.Load() != 3 {
			t.Errorf("%d events are counted", p.Stats().Events.Load())
		}
		if why := refusal(request(second, uacsta.MonitorStop{MonitorCrossRefID: refs[0]})); why != uacsta.InvalidMonitorCrossRefID {
			t.Errorf("another's monitor is stopped: %q", why)
		}
		if m := request(first, uacsta.MonitorStop{MonitorCrossRefID: refs[0]}); m.Name() != "MonitorStopResponse" {
			t.Error(m)
		}
		if why := refusal(request(first, uacsta.MonitorStop{MonitorCrossRefID: refs[0]})); why != uacsta.InvalidMonitorCrossRefID {
			t.Errorf("stopped twice: %q", why)
		}
		first.Close(nil)
		if f.count("MonitorStop") != 0 {
			t.Error("the monitor of another client is stopped")
		}
		f.event()
		if got := names(two); got != "DoNotDisturbEvent" {
			t.Errorf("the last client hears %q", got)
		}
		request(second, uacsta.MonitorStop{MonitorCrossRefID: refs[2]})
		if f.count("MonitorStop") != 1 || len(p.DeviceList()) != 0 {
			t.Errorf("the link was asked %d times to stop; %v", f.count("MonitorStop"), p.DeviceList())
		}
		f.event() // its monitor has just been stopped
		if got := names(two); got != "" || p.Stats().StrayEvents.Load() != 1 {
			t.Errorf("afterwards: %q; %d belong to nobody", got, p.Stats().StrayEvents.Load())
		}
	})
}

// A client that joins a monitor on a device that is out of service is told so after its response, unless its filter
// suppresses that; in the next life of the link the switch says it again.
func TestJoinOutOfService(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &flaky{lose: make(chan error)}
		p := start(t, f, demo, nil)
		joins := func() string {
			t.Helper()
			s, l := open(t, p, "a")
			if m := request(s, monitorOf("100")); m.Err() != nil {
				t.Fatal(m)
			}
			synctest.Wait()
			got := l.take()
			for _, m := range got {
				if m.Text("device/deviceIdentifier") != "100" || m.CrossRef() == "" {
					t.Error(m)
				}
			}
			return strings.Join(namesOf(got), " ")
		}
		reports := func(event any) {
			f.up.Event(uacsta.Encode(event, uacsta.Edition3))
			synctest.Wait()
		}
		joins()
		reports(uacsta.OutOfServiceEvent{MonitorCrossRefID: "link1", Device: uacsta.Ext("100"), Cause: uacsta.CauseNormal})
		if got := joins(); got != "OutOfServiceEvent" {
			t.Errorf("while it is away: %q", got)
		}
		s, l := open(t, p, "a")
		filter := monitorOf("100")
		filter.RequestedMonitorFilter = &uacsta.MonitorFilter{Maintenance: &uacsta.DeviceMaintenanceEvents{OutOfService: true}}
		if m := request(s, filter); m.Err() != nil || names(l) != "" {
			t.Errorf("with a filter: %s", m)
		}
		reports(uacsta.BackInServiceEvent{MonitorCrossRefID: "link1", Device: uacsta.Ext("100"), Cause: uacsta.CauseNormal})
		if got := joins(); got != "" {
			t.Errorf("after it is back: %q", got)
		}
		reports(uacsta.OutOfServiceEvent{MonitorCrossRefID: "link1", Device: uacsta.Ext("100"), Cause: uacsta.CauseNormal})
		f.loses()
		synctest.Wait()
		if got := joins(); got != "" {
			t.Errorf("in the next life: %q", got)
		}
	})
}

// Monitors of another type, on another object, or with private data are not shared.
func TestMonitorsThatAreNotShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &flaky{lose: make(chan error), answers: answers{"SnapshotDevice": text(inCall)}}
		p := start(t, f, demo, nil)
		s, _ := open(t, p, "a")
		own := call(s, "100")
		const device = `<monitorObject><deviceObject>100</deviceObject></monitorObject>`
		private := func(what string) string {
			return device + `<extensions><privateData><private>` + what + `</private></privateData></extensions>`
		}
		for i, tt := range []struct {
			inside string
			starts int // at the link, in all
		}{
			{device, 1}, {device + `<monitorType>device</monitorType>`, 1}, {device + `<monitorType>call</monitorType>`, 2}, {device + `<monitorType>call</monitorType>`, 2},
			{device + `<requestedMonitorMediaClass><voice>true</voice></requestedMonitorMediaClass>`, 3}, {device + `<requestedMonitorMediaClass><voice>true</voice></requestedMonitorMediaClass>`, 3},
			{device + `<requestedMonitorMediaClass><data>true</data></requestedMonitorMediaClass>`, 4},
			{`<monitorObject><callObject><callID>` + own + `</callID><deviceID>100</deviceID></callObject></monitorObject>`, 5},
			{`<monitorObject><callObject><callID>` + own + `</callID><deviceID>100</deviceID></callObject></monitorObject>`, 5},
			{private(`<x>1</x>`), 6}, {private(`<x>1</x>`), 6}, {private(`<x>2</x>`), 7}, {private(`<lcs:line xmlns:lcs="urn:lcs">sip:a@b</lcs:line>`), 7},
			{`<monitorObject><deviceObject>101</deviceObject></monitorObject>`, 8},
		} {
			var res *uacsta.Message
			s.Request(parse(t, `<MonitorStart>`+tt.inside+`</MonitorStart>`), func(m *uacsta.Message) { res = m })
			if n := f.count("MonitorStart"); n != tt.starts || res.CrossRef() == "" {
				t.Errorf("%d: %d monitors at the link, want %d: %s", i, n, tt.starts, res)
			}
		}
		var list []string
		for _, d := range p.DeviceList() {
			if d.Link != "flaky" || !d.Active || d.Clients == 0 {
				t.Errorf("%+v", d)
			}
			list = append(list, d.Device+" "+d.Call)
		}
		if want := []string{"100 ", "100 ", "100 ", "100 ", "100 ", "100 ", "100 " + own, "101 "}; len(list) != len(want) {
			t.Errorf("devices: %q", list)
		}
	})
}

// Later clients of a monitor also get what the link said in its response to MonitorStart: private
// data, and monitorExistingCalls.
func TestMonitorStartResponse(t *testing.T) {
	for _, tt := range []struct{ answer, want string }{
		{``, ``}, {`<monitorExistingCalls>true</monitorExistingCalls>`, `true`}, {`<monitorExistingCalls>false</monitorExistingCalls>`, `false`},
	} {
		synctest.Test(t, func(t *testing.T) {
			f := &flaky{lose: make(chan error), answers: answers{
				"MonitorStart": text(`<MonitorStartResponse><monitorCrossRefID>m</monitorCrossRefID>` + tt.answer + `<extensions><privateData><private><v:x xmlns:v="urn:v">of the switch</v:x></private></privateData></extensions></MonitorStartResponse>`),
			}}
			p := start(t, f, demo, nil)
			s, _ := open(t, p, "a")
			for range 2 {
				m := request(s, monitorOf("100"))
				if m.Text("monitorExistingCalls") != tt.want || !strings.Contains(m.String(), "of the switch") || m.CrossRef() == "m" || m.CrossRef() == "" {
					t.Errorf("%s", m)
				}
			}
		})
	}
}

// Private data of a link's response are kept up to a limit.
func TestPrivateDataOfResponseIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &flaky{lose: make(chan error), answers: answers{
			"MonitorStart": text(`<MonitorStartResponse><monitorCrossRefID>m</monitorCrossRefID><extensions><privateData><private>` + strings.Repeat("<x>much</x>", 300) + `</private></privateData></extensions></MonitorStartResponse>`),
		}}
		p := start(t, f, demo, nil)
		s, _ := open(t, p, "a")
		for range 2 {
			if m := request(s, monitorOf("100")); m.CrossRef() == "" || strings.Contains(m.String(), "much") {
				t.Errorf("%s", m)
			}
		}
	})
}

// Clients that request a monitor while MonitorStart is out all get its response. One that leaves
// meanwhile leaves nothing at the link.
func TestJoinWhileStarting(t *testing.T) {
	for name, tt := range map[string]struct {
		refuse error
		leave  bool // all clients do
	}{"taken": {}, "refused": {refuse: uacsta.Refuse(uacsta.Operation, uacsta.InvalidMonitorObject)}, "left": {leave: true}} {
		synctest.Test(t, func(t *testing.T) {
			f := &flaky{lose: make(chan error), mute: "MonitorStart"}
			p := start(t, f, demo, nil)
			answers := make(chan *uacsta.Message, 10)
			var sessions []*proxy.Session
			for range 3 {
				s, _ := open(t, p, "a")
				sessions = append(sessions, s)
				s.Request(uacsta.Encode(monitorOf("100"), uacsta.Edition3), func(m *uacsta.Message) { answers <- m })
			}
			synctest.Wait()
			if len(f.holding) != 1 || len(answers) != 0 {
				t.Fatalf("%s: the link is asked %d times, %d answers", name, len(f.holding), len(answers))
			}
			if devices := p.DeviceList(); len(devices) != 1 || devices[0].Active {
				t.Errorf("%s: %v", name, devices)
			}
			if tt.leave {
				for _, s := range sessions {
					s.Close(nil)
				}
				synctest.Wait()
			}
			f.mute = ""
			if tt.refuse != nil {
				f.holding[0](nil, tt.refuse)
			} else {
				f.holding[0](uacsta.Encode(uacsta.MonitorStartResponse{MonitorCrossRefID: "link0"}, uacsta.Edition3), nil)
			}
			synctest.Wait()
			count := len(answers)
			for range count {
				if m := <-answers; (m.Err() != nil) != (tt.refuse != nil || tt.leave) {
					t.Errorf("%s: %s", name, m)
				}
			}
			stops, list := f.count("MonitorStop"), p.DeviceList()
			if count != 3 || (stops == 1) != tt.leave || (len(list) == 1) != (name == "taken") {
				t.Errorf("%s: %d answers, %d monitors stopped, %v", name, count, stops, list)
			}
		})
	}
}

// A monitor that the switching function stops, stops for its clients, without a request to the link. A
// later client gets a new one.
func TestMonitorEndedByTheSwitch(t *testing.T) {
	for _, way := range []string{"event", "request"} {
		synctest.Test(t, func(t *testing.T) {
			f := &flaky{lose: make(chan error)}
			p := start(t, f, demo, nil)
			s, l := open(t, p, "a")
			ref := request(s, monitorOf("100")).CrossRef()
			stop := uacsta.Encode(uacsta.MonitorStop{MonitorCrossRefID: "link1"}, uacsta.Edition3)
			if way == "event" {
				f.up.Event(stop)
			} else if err := f.up.Request(stop); err != nil {
				t.Error(err)
			}
			synctest.Wait()
			if got := l.take(); len(got) != 1 || got[0].Name() != "MonitorStop" || got[0].CrossRef() != ref {
				t.Errorf("the client hears %v", got)
			}
			if f.count("MonitorStop") != 0 || len(p.DeviceList()) != 0 {
				t.Errorf("the link is asked; %v", p.DeviceList())
			}
			if next := request(s, monitorOf("100")).CrossRef(); next == "" || next == ref || f.count("MonitorStart") != 2 {
				t.Errorf("the next one is %q", next)
			}
		})
	}
}

// After an unclean disconnect, a monitor stays for Linger, for a client that returns. A client that
// leaves properly stops it.
func TestLinger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &flaky{lose: make(chan error)}
		p := start(t, f, demo, func(c *proxy.Config) { c.Linger = 10 * time.Second })
		watch := func() *proxy.Session {
			s, _ := open(t, p, "a")
			if request(s, monitorOf("100")).CrossRef() == "" {
				t.Fatal("no monitor")
			}
			return s
		}
		gone := errors.New("gone")
		s := watch()
		s.Disconnected(gone)
		time.Sleep(9 * time.Second)
		s = watch()
		if f.count("MonitorStart") != 1 {
			t.Error("the link is asked for the monitor anew")
		}
		time.Sleep(8 * time.Second) // more than it lingers in all
		s.Disconnected(gone)
		time.Sleep(9 * time.Second)
		if f.count("MonitorStop") != 0 {
			t.Error("it lingers from the first loss on")
		}
		time.Sleep(2 * time.Second)
		if f.count("MonitorStop") != 1 || len(p.DeviceList()) != 0 {
			t.Errorf("nobody has come back, and it was stopped %d times", f.count("MonitorStop"))
		}
		s, other := watch(), watch()
		s.Disconnected(gone)
		time.Sleep(time.Minute)
		if f.count("MonitorStop") != 1 {
			t.Error("the monitor of another client is stopped")
		}
		other.Close(nil)
		if f.count("MonitorStop") != 2 {
			t.Error("it outlives a client that took leave")
		}
	})
}

// A client whose monitor is refused gets the reason; so do later clients until the retry.
func TestMonitorOfALostLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &flaky{lose: make(chan error), mute: "MonitorStart"}
		p := start(t, f, demo, nil)
		s, _ := open(t, p, "a")
		var res *uacsta.Message
		s.Request(uacsta.Encode(monitorOf("100"), uacsta.Edition3), func(m *uacsta.Message) { res = m })
		synctest.Wait()
		f.mute = ""
		f.lose <- errors.New("lost")
		synctest.Wait()
		if refusal(res) != uacsta.ResourceOutOfService || len(p.DeviceList()) != 0 {
			t.Errorf("%s, %v", res, p.DeviceList())
		}
		if why := refusal(request(s, monitorOf("100"))); why != uacsta.ResourceOutOfService || len(p.DeviceList()) != 0 {
			t.Errorf("while it is down: %q, %v", why, p.DeviceList())
		}
		time.Sleep(5 * time.Second)
		if f.count("MonitorStart") != 0 {
			t.Error("a monitor that nobody has is started")
		}
		if request(s, monitorOf("100")).CrossRef() == "" {
			t.Error("no monitor after the link has come back")
		}
	})
}

// A client changes the filters of its own monitors only.
func TestChangeMonitorFilter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &flaky{lose: make(chan error)}
		p := start(t, f, demo, nil)
		s, l := open(t, p, "a")
		other, heard := open(t, p, "b")
		ref := request(s, monitorOf("100")).CrossRef()
		request(other, monitorOf("100"))
		filter := func(s *proxy.Session, ref string, on bool) *uacsta.Message {
			return request(s, uacsta.ChangeMonitorFilter{MonitorCrossRefID: ref, RequestedFilterList: uacsta.MonitorFilter{LogicalDeviceFeature: &uacsta.LogicalDeviceFeatureEvents{DoNotDisturb: on}}})
		}
		for _, tt := range []struct {
			on   bool
			want string
		}{{true, ""}, {false, "DoNotDisturbEvent"}} {
			if m := filter(s, ref, tt.on); (m.Text("actualFilterList/logicalDeviceFeature/doNotDisturb") == "true") != tt.on {
				t.Errorf("%s", m)
			}
			f.event()
			if got := names(l); got != tt.want {
				t.Errorf("suppressed: %v, and it hears %q", tt.on, got)
			}
			if got := names(heard); got != "DoNotDisturbEvent" {
				t.Errorf("another client hears %q", got)
			}
		}
		if why := refusal(filter(other, ref, true)); why != uacsta.InvalidMonitorCrossRefID {
			t.Errorf("another's: %q", why)
		}
	})
}

// GetMonitors lists the client's own monitors only.
func TestListOfMonitors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, &flaky{lose: make(chan error)}, demo, nil)
		s, _ := open(t, p, "a")
		other, _ := open(t, p, "b")
		request(other, monitorOf("102"))
		want := map[string]string{}
		for _, device := range []string{"100", "101"} {
			want[request(s, monitorOf(device)).CrossRef()] = device
		}
		var res uacsta.GetMonitorsResponse
		if err := request(s, uacsta.GetMonitors{}).Decode(&res); err != nil {
			t.Fatal(err)
		}
		list := res.CrossRefIDorRegistrationData.MonitorList.MonitorListEntry
		for _, e := range list {
			if want[e.MonitorCrossRefID] != e.MonitorObject.ID {
				t.Errorf("%+v", e)
			}
		}
		if len(list) != len(want) {
			t.Errorf("%d monitors", len(list))
		}
	})
}

// Monitors count against an identity in all its sessions, until they stop, however they stop.
func TestMonitorsOfAnIdentity(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &flaky{lose: make(chan error)}
		p := start(t, f, demo, func(c *proxy.Config) { c.MaxWatches, c.MaxMonitors = 3, 2 })
		watch := func(s *proxy.Session, device string) string { return refusal(request(s, monitorOf(device))) }
		first, _ := open(t, p, "a")
		second, _ := open(t, p, "a")
		other, _ := open(t, p, "b")
		for i, tt := range []struct {
			s    *proxy.Session
			want string
		}{{first, ""}, {first, ""}, {first, uacsta.ObjectMonitorLimitExceeded}, {second, ""}, {second, uacsta.ObjectMonitorLimitExceeded}, {other, ""}} {
			if got := watch(tt.s, fmt.Sprint(101+i)); got != tt.want {
				t.Errorf("monitor %d: %q", i, got)
			}
		}
		f.up.Event(uacsta.Encode(uacsta.MonitorStop{MonitorCrossRefID: "link1"}, uacsta.Edition3)) // the switch ends one
		synctest.Wait()
		if got := watch(second, "110"); got != "" {
			t.Errorf("after the switch has ended one: %q", got)
		}
		first.Close(nil)
		third, _ := open(t, p, "a")
		if got := watch(third, "111"); got != "" {
			t.Errorf("after a session has ended: %q", got)
		}
		if got := watch(third, "112"); got != uacsta.ObjectMonitorLimitExceeded {
			t.Errorf("one too many again: %q", got)
		}
	})
}

// A client that loses its right while MonitorStart is out does not get the monitor.
func TestRightsChangeWhileStarting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &flaky{lose: make(chan error), mute: "MonitorStart"}
		p := start(t, f, policy.FromGrants(nil, policy.Grant{Who: "a", Observe: []string{"100", "101"}}), nil)
		s, l := open(t, p, "a")
		var res *uacsta.Message
		s.Request(uacsta.Encode(monitorOf("100"), uacsta.Edition3), func(m *uacsta.Message) { res = m })
		synctest.Wait()
		p.SetRules(policy.FromGrants(nil, policy.Grant{Who: "a", Observe: []string{"101"}}), threeDigits)
		f.release(uacsta.Encode(uacsta.MonitorStartResponse{MonitorCrossRefID: "link0"}, uacsta.Edition3))
		synctest.Wait()
		if why := refusal(res); why != uacsta.PrivilegeViolationSpecifiedDevice || f.count("MonitorStop") != 1 {
			t.Errorf("%q, %d monitors are stopped", why, f.count("MonitorStop"))
		}
		f.event()
		if got := names(l); got != "" {
			t.Errorf("it hears %q", got)
		}
	})
}
