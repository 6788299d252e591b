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

// router is a link that sends route requests. It numbers its registrations.
func router() *flaky {
	f := &flaky{lose: make(chan error)}
	n := 0
	f.answers = answers{"RouteRegister": func(*uacsta.Message) (*uacsta.Message, error) {
		n++
		return uacsta.Encode(uacsta.RouteRegisterResponse{RouteRegisterReqID: fmt.Sprint("reg", n)}, uacsta.Edition3), nil
	}}
	return f
}

// routes registers for a device, or for all if it is "", and returns the registration or the refusal.
func routes(s *proxy.Session, device string) string {
	req := uacsta.RouteRegister{}
	if device != "" {
		d := uacsta.Dev(device)
		req.RouteingDevice = &d
	}
	m := request(s, req)
	return m.Text("routeRegisterReqID") + refusal(m)
}

// asksFor has a link ask where to send a call.
func asksFor(f *flaky, dialogue, registration string) {
	_ = f.up.Request(uacsta.Encode(uacsta.RouteRequest{CrossRefIdentifier: dialogue, RouteRegisterReqID: registration, CurrentRoute: uacsta.Ext("100")}, uacsta.Edition3))
	synctest.Wait()
}

// said lists the requests about routeing that a link got, with their dialogue and registration.
func (f *flaky) said() string {
	synctest.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	var list []string
	for _, m := range f.asked {
		if strings.HasPrefix(m.Name(), "Route") && m.Name() != "RouteRegister" {
			list = append(list, strings.Join(strings.Fields(m.Name()+" "+m.Text("crossRefIdentifier")+" "+m.Text("routeRegisterReqID")), " "))
		}
	}
	f.asked = nil
	return strings.Join(list, ", ")
}

// A registered client decides where calls go: it and the link exchange messages in a dialogue, each
// under its own references, until one of them ends it.
func TestRouteingDialogue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := router()
		p := start(t, f, demo, nil)
		s, l := open(t, p, "a")
		other, quiet := open(t, p, "b")
		reg := routes(s, "100")
		asksFor(f, "d1", "reg1")
		got := l.take()
		if len(got) != 1 || got[0].Name() != "RouteRequest" || got[0].Text("routeRegisterReqID") != reg || got[0].Text("crossRefIdentifier") == "d1" {
			t.Fatalf("the client is asked %v", got)
		}
		ref := got[0].Text("crossRefIdentifier")
		if why := refusal(request(other, uacsta.RouteSelect{CrossRefIdentifier: ref, RouteSelected: uacsta.Dev("101")})); why != uacsta.InvalidRouteingCrossRefID {
			t.Errorf("another client answers: %q", why)
		}
		request(s, uacsta.RouteSelect{CrossRefIdentifier: ref, RouteRegisterReqID: reg, RouteSelected: uacsta.Dev("101")})
		if got := f.said(); got != "RouteSelect d1 reg1" {
			t.Errorf("the link hears %s", got)
		}
		for _, m := range []any{
			uacsta.ReRoute{CrossRefIdentifier: "d1", RouteRegisterReqID: "reg1"}, uacsta.RouteUsed{CrossRefIdentifier: "d1", RouteRegisterReqID: "reg1", RouteUsed: uacsta.Ext("101")},
			uacsta.ReRoute{CrossRefIdentifier: "d2", RouteRegisterReqID: "reg1"}, uacsta.RouteEnd{CrossRefIdentifier: "d1", RouteRegisterReqID: "reg1"}, uacsta.RouteUsed{CrossRefIdentifier: "d1", RouteUsed: uacsta.Ext("101")},
		} {
			if err := f.up.Request(uacsta.Encode(m, uacsta.Edition3)); err != nil {
				t.Error(err)
			}
		}
		synctest.Wait()
		var told []string
		for _, m := range l.take() {
			told = append(told, m.Name())
			if m.Text("crossRefIdentifier") != ref || m.Text("routeRegisterReqID") != reg {
				t.Errorf("%s", m)
			}
		}
		if got := strings.Join(told, " "); got != "ReRoute RouteUsed RouteEnd" || p.Stats().StrayEvents.Load() != 2 {
			t.Errorf("the client hears %s; %d belong to nobody", got, p.Stats().StrayEvents.Load())
		}
		if why := refusal(request(s, uacsta.RouteSelect{CrossRefIdentifier: ref, RouteSelected: uacsta.Dev("101")})); why != uacsta.InvalidRouteingCrossRefID {
			t.Errorf("after the end: %q", why)
		}
		for n, req := range []func(string) any{
			func(ref string) any { return uacsta.RouteReject{CrossRefIdentifier: ref, RouteRegisterReqID: reg} },
			func(ref string) any { return uacsta.RouteEnd{CrossRefIdentifier: ref, RouteRegisterReqID: reg} },
		} {
			d := fmt.Sprint("e", n)
			asksFor(f, d, "reg1")
			ref := l.take()[0].Text("crossRefIdentifier")
			m := uacsta.Encode(req(ref), uacsta.Edition3)
			if why := refusal(request(s, req(ref))); why != "" {
				t.Error(why)
			}
			if got := f.said(); got != m.Name()+" "+d+" reg1" {
				t.Errorf("the link hears %s", got)
			}
			again := refusal(request(s, req(ref)))
			f.said()
			if ended := again == uacsta.InvalidRouteingCrossRefID; ended != (m.Name() == "RouteEnd") {
				t.Errorf("%s once more: %q", m.Name(), again)
			}
		}
		if got := quiet.take(); len(got) != 0 {
			t.Errorf("another client hears %v", got)
		}
	})
}

// Calls take their default route at once if no client can be asked: under an unknown registration, and
// when the client leaves, whose registration is cancelled after that.
func TestDefaultRoute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := router()
		p := start(t, f, demo, nil)
		asksFor(f, "d0", "reg9")
		if got := f.said(); got != "RouteEnd d0 reg9" {
			t.Errorf("where nobody has registered: %s", got)
		}
		s, l := open(t, p, "a")
		reg := routes(s, "100")
		asksFor(f, "d1", "reg1")
		asksFor(f, "", "reg1")
		if got := f.said(); got != "" || len(l.take()) != 1 {
			t.Errorf("a question without a reference, which nobody could answer: %s", got)
		}
		s.Close(nil)
		got := strings.Split(f.said(), ", ")
		slices.Sort(got)
		if strings.Join(got, ", ") != "RouteEnd d1 reg1, RouteRegisterCancel reg1" {
			t.Errorf("when the client leaves: %s", got)
		}
		s, l = open(t, p, "a")
		if next := routes(s, "100"); next == reg {
			t.Errorf("registration %s comes again", next)
		}
		request(s, uacsta.RouteRegisterCancel{RouteRegisterReqID: reg})
		if got := f.said(); got != "" {
			t.Errorf("one of a client that has left is cancelled: %s", got)
		}
		asksFor(f, "d2", "reg2")
		if got := l.take(); len(got) != 1 {
			t.Errorf("the next one hears %v", got)
		}
	})
}

// Registrations are refused if the client has no right on the device, or on all devices, if no link
// has it, if the link refuses, or if the link's reference is missing or in use.
func TestRouteRegisterRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := router()
		p := start(t, f, threeRules, nil)
		alice, _ := open(t, p, "alice")
		boss, heard := open(t, p, "boss")
		for i, tt := range []struct {
			s            *proxy.Session
			device, want string
		}{
			{alice, "", uacsta.PrivilegeViolationSpecifiedDevice}, {alice, "101", uacsta.PrivilegeViolationSpecifiedDevice}, {boss, "900", uacsta.InvalidDeviceID}, {boss, "a b", uacsta.InvalidDeviceID},
		} {
			if got := routes(tt.s, tt.device); got != tt.want {
				t.Errorf("%d: %q, want %q", i, got, tt.want)
			}
		}
		if f.last("RouteRegister").Name() == "RouteRegister" {
			t.Error("the link is asked")
		}
		if got := routes(alice, "100"); got == "" || strings.Contains(got, "Violation") {
			t.Errorf("a device of hers: %q", got)
		}
		if got := routes(boss, ""); got == "" || strings.Contains(got, "Violation") {
			t.Errorf("all devices: %q", got)
		}
		for name, tt := range map[string]struct {
			answer func(*uacsta.Message) (*uacsta.Message, error)
			want   string
		}{
			"the link refuses": {func(*uacsta.Message) (*uacsta.Message, error) {
				return nil, uacsta.Refuse(uacsta.Operation, uacsta.InvalidMonitorObject)
			}, uacsta.InvalidMonitorObject},
			"no reference":       {text(`<RouteRegisterResponse/>`), "unspecified"},
			"another's":          {text(`<RouteRegisterResponse><routeRegisterReqID>reg1</routeRegisterReqID></RouteRegisterResponse>`), "unspecified"},
			"one without an end": {text(`<RouteRegisterResponse><routeRegisterReqID>` + strings.Repeat("r", 1025) + `</routeRegisterReqID></RouteRegisterResponse>`), "unspecified"},
		} {
			f.mu.Lock()
			f.answers["RouteRegister"] = tt.answer
			f.mu.Unlock()
			d := uacsta.Dev("102")
			m := request(boss, uacsta.RouteRegister{RouteingDevice: &d})
			if m.Err() == nil || !strings.Contains(m.Err().Error(), tt.want) {
				t.Errorf("%s: %s", name, m)
			}
		}
		if got := request(boss, uacsta.GetRegistrations{}).String(); strings.Count(got, "<registrationListEntry>") != 1 {
			t.Errorf("what was refused is registered: %s", got)
		}
		asksFor(f, "d1", "reg1")
		if got := heard.take(); len(got) != 0 {
			t.Errorf("another's calls: %v", got)
		}
	})
}

// A registration that the client cancels is cancelled at the link, once, and by no other client. If
// the link aborts one, the client is notified, and calls take their default route.
func TestRouteRegistrationEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := router()
		p := start(t, f, demo, nil)
		s, l := open(t, p, "a")
		other, _ := open(t, p, "b")
		cancel := func(s *proxy.Session, reg string) string {
			return refusal(request(s, uacsta.RouteRegisterCancel{RouteRegisterReqID: reg}))
		}
		first, second := routes(s, "100"), routes(s, "101")
		if why := cancel(other, first); why != uacsta.InvalidRouteRegistrationCrossRefID {
			t.Errorf("another's: %q", why)
		}
		if why, again := cancel(s, first), cancel(s, first); why != "" || again != uacsta.InvalidRouteRegistrationCrossRefID {
			t.Errorf("cancelled: %q, and once more: %q", why, again)
		}
		if got := f.said(); got != "RouteRegisterCancel reg1" {
			t.Errorf("the link hears %s", got)
		}
		if err := f.up.Request(uacsta.Encode(uacsta.RouteRegisterAbort{RouteRegisterReqID: "reg2"}, uacsta.Edition3)); err != nil {
			t.Error(err)
		}
		_ = f.up.Request(uacsta.Encode(uacsta.RouteRegisterAbort{RouteRegisterReqID: "reg2"}, uacsta.Edition3))
		synctest.Wait()
		if got := l.take(); len(got) != 1 || got[0].Name() != "RouteRegisterAbort" || got[0].Text("routeRegisterReqID") != second {
			t.Errorf("the client hears %v", got)
		}
		asksFor(f, "d1", "reg2")
		if got := f.said(); got != "RouteEnd d1 reg2" {
			t.Errorf("after it is aborted the link hears %s", got)
		}
		if why := cancel(s, second); why != uacsta.InvalidRouteRegistrationCrossRefID {
			t.Errorf("cancelled after it is aborted: %q", why)
		}
	})
}

// When a link goes down, the dialogues of its clients end with the reason. Registrations are renewed
// silently and keep their references; one that the link refuses ends.
func TestRouteingAfterLoss(t *testing.T) {
	for _, refused := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			f := router()
			p := start(t, f, demo, nil)
			s, err := p.Open(proxy.Opening{Identity: policy.Identity{Name: "a"}, Peer: "test"}, &listener{})
			if err != nil {
				t.Fatal(err)
			}
			s.Close(nil)
			s, l := open(t, p, "a")
			reg := routes(s, "100")
			asksFor(f, "d1", "reg1")
			ref := l.take()[0].Text("crossRefIdentifier")
			if refused {
				f.mu.Lock()
				f.answers["RouteRegister"] = func(*uacsta.Message) (*uacsta.Message, error) {
					return nil, uacsta.Refuse(uacsta.Operation, uacsta.InvalidDeviceID)
				}
				f.mu.Unlock()
			}
			f.said()
			f.lose <- errors.New("lost")
			synctest.Wait()
			if got := l.take(); len(got) != 1 || got[0].Name() != "RouteEnd" || got[0].Text("crossRefIdentifier") != ref || got[0].Text("errorValue/"+string(uacsta.SystemResourceAvailability)) != uacsta.ResourceOutOfService {
				t.Errorf("when the link is lost: %v", got)
			}
			if why := refusal(request(s, uacsta.RouteSelect{CrossRefIdentifier: ref, RouteSelected: uacsta.Dev("101")})); why != uacsta.InvalidRouteingCrossRefID {
				t.Errorf("in a dialogue of before: %q", why)
			}
			time.Sleep(5 * time.Second)
			synctest.Wait()
			got := l.take()
			if refused {
				if len(got) != 1 || got[0].Name() != "RouteRegisterAbort" || got[0].Text("routeRegisterReqID") != reg {
					t.Errorf("that it is not renewed is told as %v", got)
				}
				return
			}
			if len(got) != 0 {
				t.Errorf("that it is renewed is told: %v", got)
			}
			asksFor(f, "d1", "reg1") // which is nobody's now
			asksFor(f, "d2", "reg2")
			if got := l.take(); len(got) != 1 || got[0].Name() != "RouteRequest" || got[0].Text("routeRegisterReqID") != reg {
				t.Errorf("afterwards: %v", got)
			}
			if got := f.said(); got != "RouteEnd d1 reg1" {
				t.Errorf("the link hears %s", got)
			}
		})
	}
}

// If a link goes down again before it has renewed a registration, the next life does.
func TestLostWhileRenewing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := router()
		p := start(t, f, demo, nil)
		s, l := open(t, p, "a")
		reg := routes(s, "100")
		f.mute = "RouteRegister"
		f.loses()
		f.mute = ""
		f.loses()
		asksFor(f, "d1", "reg2")
		var told []string
		for _, m := range l.take() {
			if m.Name() != "SystemStatus" {
				told = append(told, m.Name()+" "+m.Text("routeRegisterReqID"))
			}
		}
		if !slices.Equal(told, []string{"RouteRequest " + reg}) {
			t.Errorf("the client hears %v", told)
		}
	})
}

// The registrations of one session are limited.
func TestPlacesOfRegistrations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := router()
		p := start(t, f, demo, func(c *proxy.Config) { c.MaxOutstanding = 1000 })
		s, _ := open(t, p, "a")
		var last string
		device := uacsta.Dev("100")
		for range 500 {
			s.Request(uacsta.Encode(uacsta.RouteRegister{RouteingDevice: &device}, uacsta.Edition3), func(m *uacsta.Message) { last = m.Text("routeRegisterReqID") + refusal(m) })
		}
		synctest.Wait()
		if got := routes(s, "100"); got != uacsta.ObjectRegistrationLimitExceeded {
			t.Errorf("one too many: %s", got)
		}
		request(s, uacsta.RouteRegisterCancel{RouteRegisterReqID: last})
		if got := routes(s, "100"); got == uacsta.ObjectRegistrationLimitExceeded {
			t.Errorf("after one is cancelled: %s", got)
		}
	})
}

// Messages of either side keep a dialogue alive.
func TestDialogueLives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := router()
		p := start(t, f, demo, nil)
		s, l := open(t, p, "a")
		routes(s, "100")
		asksFor(f, "d1", "reg1")
		asksFor(f, "d2", "reg1")
		for range 3 {
			time.Sleep(100 * time.Second)
			_ = f.up.Request(uacsta.Encode(uacsta.ReRoute{CrossRefIdentifier: "d1"}, uacsta.Edition3))
		}
		if got := names(l); got != "RouteRequest RouteRequest ReRoute RouteEnd ReRoute ReRoute" {
			t.Errorf("told: %s", got)
		}
		if got := f.said(); got != "RouteEnd d2 reg1" {
			t.Errorf("the link hears %s", got)
		}
		s.Close(nil)
	})
}

// A link that is removed takes its registrations with it.
func TestRoutersOfRemovedLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := router()
		p := start(t, f, demo, nil)
		s, l := open(t, p, "a")
		reg := routes(s, "100")
		p.SetLinks(nil)
		synctest.Wait()
		var aborted []string
		for _, m := range l.take() {
			if m.Name() == "RouteRegisterAbort" {
				aborted = append(aborted, m.Text("routeRegisterReqID"))
			}
		}
		if !slices.Equal(aborted, []string{reg}) {
			t.Errorf("aborted: %v", aborted)
		}
		if why := refusal(request(s, uacsta.RouteRegisterCancel{RouteRegisterReqID: reg})); why != uacsta.InvalidRouteRegistrationCrossRefID {
			t.Errorf("cancelled afterwards: %q", why)
		}
	})
}
