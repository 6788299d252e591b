package proxy_test

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/audit"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// times returns how often the link was asked for a service.
func (f *flaky) times(name string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(slices.DeleteFunc(slices.Clone(f.asked), func(m *uacsta.Message) bool { return m.Name() != name }))
}

// registers is a link that accepts route registrations: r1, r2 and so on.
func registers() *flaky {
	n := 0
	return &flaky{lose: make(chan error), answers: answers{
		"RouteRegister": func(*uacsta.Message) (*uacsta.Message, error) {
			n++
			return uacsta.Encode(uacsta.RouteRegisterResponse{RouteRegisterReqID: fmt.Sprint("r", n)}, uacsta.Edition3), nil
		},
	}}
}

func routesOf(device string) uacsta.RouteRegister {
	d := uacsta.Dev(device)
	return uacsta.RouteRegister{RouteingDevice: &d}
}

// route has the link ask where to send a call.
func (f *flaky) route(ref, registration string) error {
	return f.up.Request(uacsta.Encode(uacsta.RouteRequest{CrossRefIdentifier: ref, RouteRegisterReqID: registration, CurrentRoute: uacsta.Ext("100")}, uacsta.Edition3))
}

func namesOf(messages []*uacsta.Message) (list []string) {
	for _, m := range messages {
		list = append(list, m.Name())
	}
	return list
}

// No registration stays at the link of a client that leaves while its request is being audited.
func TestRegistrationsOfClosedSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, err := audit.Open(audit.Config{Path: filepath.Join(t.TempDir(), "audit"), Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		f := registers()
		p := start(t, f, demo, func(c *proxy.Config) { c.Audit = log })
		answered := 0
		for range 50 {
			s, _ := open(t, p, "a")
			s.Request(uacsta.Encode(routesOf("101"), uacsta.Edition3), func(*uacsta.Message) { answered++ })
			s.Close(errors.New("bye"))
			synctest.Wait()
		}
		registered, cancelled := f.times("RouteRegister"), f.times("RouteRegisterCancel")
		f.lose <- errors.New("lost")
		time.Sleep(time.Minute)
		synctest.Wait()
		if renewed := f.times("RouteRegister") - registered; answered != 50 || cancelled != registered || renewed > 0 {
			t.Errorf("of 50 registrations %d were answered, %d asked for, %d cancelled, and %d renewed after a loss", answered, registered, cancelled, renewed)
		}
		if err := log.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// A route registration that the switch refuses after a reconnect for want of resources is retried
// until it succeeds; one that it refuses for good ends.
func TestRegistrationIsRetried(t *testing.T) {
	for _, tt := range []struct {
		refusal *uacsta.Error
		asked   int
		told    int // RouteRegisterAbort
	}{
		{uacsta.Refuse(uacsta.SystemResourceAvailability, uacsta.ResourceOutOfService), 5, 0},
		{uacsta.Refuse(uacsta.SubscribedResourceAvailability, uacsta.OutstandingReqLimitExceeded), 5, 0},
		{uacsta.Refuse(uacsta.Operation, uacsta.InvalidDeviceID), 2, 1},
		{uacsta.Refuse(uacsta.SubscribedResourceAvailability, uacsta.ObjectRegistrationLimitExceeded), 2, 1},
	} {
		synctest.Test(t, func(t *testing.T) {
			f := registers()
			p := start(t, f, demo, nil)
			s, l := open(t, p, "a")
			request(s, routesOf("101"))
			take, refusals := f.answers["RouteRegister"], 0
			f.mu.Lock()
			f.answers["RouteRegister"] = func(m *uacsta.Message) (*uacsta.Message, error) {
				if refusals++; refusals <= 3 {
					return nil, tt.refusal
				}
				return take(m)
			}
			f.mu.Unlock()
			f.lose <- errors.New("lost")
			time.Sleep(time.Minute)
			synctest.Wait()
			told := slices.DeleteFunc(namesOf(l.take()), func(name string) bool { return name != "RouteRegisterAbort" })
			if n := f.times("RouteRegister"); n != tt.asked || len(told) != tt.told {
				t.Errorf("%v: asked %d times, the client is told %v", tt.refusal, n, told)
			}
			err := f.route("x", "r2")
			synctest.Wait()
			if got := namesOf(l.take()); err != nil || len(got) != 1-tt.told {
				t.Errorf("%v: a call: %v, %v", tt.refusal, got, err)
			}
		})
	}
}

// The retries end when the client cancels the registration.
func TestRegistrationCancelledMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := registers()
		p := start(t, f, demo, nil)
		s, _ := open(t, p, "a")
		ref := request(s, routesOf("101")).Text("routeRegisterReqID")
		f.mu.Lock()
		f.answers["RouteRegister"] = func(*uacsta.Message) (*uacsta.Message, error) {
			return nil, uacsta.Refuse(uacsta.SystemResourceAvailability, uacsta.Generic)
		}
		f.mu.Unlock()
		f.lose <- errors.New("lost")
		time.Sleep(5 * time.Second)
		request(s, uacsta.RouteRegisterCancel{RouteRegisterReqID: ref})
		before := f.times("RouteRegister")
		time.Sleep(10 * time.Minute)
		if n := f.times("RouteRegister"); before < 2 || n != before {
			t.Errorf("asked %d times, and %d times after it was cancelled", before, n-before)
		}
	})
}

// moved returns the links after a reload that gives device 101 to another one.
func moved(to proxy.Link) []proxy.NamedLink {
	return []proxy.NamedLink{
		{Name: "new", Link: to, Devices: func(d string) bool { return d == "101" }},
		{Name: "flaky", Devices: func(d string) bool { return d != "101" }},
	}
}

// A reload that gives a device to another link ends what clients have of it at the first. They are
// notified and can open it at the other.
func TestReloadMoves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, g := registers(), registers()
		f.answers["StartDataCollection"] = text(`<StartDataCollectionResponse><dcollCrossRefID>d1</dcollCrossRefID></StartDataCollectionResponse>`)
		p := start(t, f, demo, nil)
		s, l := open(t, p, "a")
		stays, quiet := open(t, p, "b")
		request(s, routesOf("101"))
		request(stays, routesOf("102"))
		collect := func(s *proxy.Session, device string) *uacsta.Message {
			digits := uacsta.Conn(call(s, device), device)
			return request(s, uacsta.StartDataCollection{Object: &uacsta.CallObject{Call: &digits}})
		}
		collect(s, "101")
		if err := errors.Join(f.route("x", "r1"), f.route("y", "r2")); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		asked := l.take()
		quiet.take()
		p.SetLinks(moved(g))
		synctest.Wait()
		if got, want := namesOf(l.take()), []string{"RouteEnd", "RouteRegisterAbort", "StopDataCollection"}; len(asked) != 1 || !slices.Equal(got, want) {
			t.Errorf("the client is told %v, want %v", got, want)
		}
		if got := namesOf(quiet.take()); len(got) != 0 {
			t.Errorf("one with a device that stays is told %v", got)
		}
		if end := f.last("RouteEnd"); end.Text("crossRefIdentifier") != "x" || end.Text("routeRegisterReqID") != "r1" || f.times("RouteEnd") != 1 {
			t.Errorf("its call: %s", end)
		}
		if cancel := f.last("RouteRegisterCancel"); cancel.Text("routeRegisterReqID") != "r1" || f.times("RouteRegisterCancel") != 1 {
			t.Errorf("its registration: %s", cancel)
		}
		if stop := f.last("StopDataCollection"); stop.Text("dcollCrossRefID") != "d1" {
			t.Errorf("its collection: %s", stop)
		}
		if m := request(s, routesOf("101")); m.Err() != nil || g.times("RouteRegister") != 1 {
			t.Errorf("at the other link: %s", m)
		}
	})
}

// What a link opens just when a reload moves its device is released there.
func TestOpenedDuringReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := registers()
		p := start(t, f, demo, nil)
		s, l := open(t, p, "a")
		digits := uacsta.Conn(call(s, "101"), "101")
		opens := text(`<StartDataCollectionResponse><dcollCrossRefID>d1</dcollCrossRefID></StartDataCollectionResponse>`)
		f.answers["StartDataCollection"] = func(m *uacsta.Message) (*uacsta.Message, error) {
			p.SetLinks(moved(registers()))
			return opens(m)
		}
		m := request(s, uacsta.StartDataCollection{Object: &uacsta.CallObject{Call: &digits}})
		if got := l.take(); m.Err() == nil || len(got) != 0 {
			t.Errorf("the client is answered %s, and told %v", m, got)
		}
		if stop := f.last("StopDataCollection"); stop.Text("dcollCrossRefID") != "d1" || f.times("StopDataCollection") != 1 {
			t.Errorf("%s", stop)
		}
	})
}

// A registration for all calls of a link stays at that link, whatever the order after a reload, and
// ends with the link.
func TestReloadOfAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := registers()
		p := start(t, f, demo, nil)
		s, l := open(t, p, "a")
		request(s, uacsta.RouteRegister{})
		p.SetLinks(moved(registers()))
		synctest.Wait()
		if err := f.route("x", "r1"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if got := namesOf(l.take()); !slices.Equal(got, []string{"RouteRequest"}) {
			t.Errorf("the client is told %v", got)
		}
		p.SetLinks(moved(registers())[:1])
		synctest.Wait()
		if got := namesOf(l.take()); !slices.Equal(got, []string{"RouteEnd", "RouteRegisterAbort"}) {
			t.Errorf("of a link that is not there any more, the client is told %v", got)
		}
	})
}

// What starts while a reload moves its device does not stay at the old link.
func TestStartedDuringReload(t *testing.T) {
	for name, tt := range map[string]struct {
		request any
		begins  string // the service that the link is asked for where nothing ends it
	}{
		"a monitor":      {monitorOf("101"), "MonitorStart"},
		"a registration": {routesOf("101"), "RouteRegister"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := registers()
				reload := func() {}
				p := start(t, &flaky{lose: make(chan error)}, demo, nil)
				p.SetLinks([]proxy.NamedLink{{Name: "old", Link: f, Devices: func(d string) bool {
					if d == "101" {
						reload()
					}
					return true
				}}})
				synctest.Wait()
				s, _ := open(t, p, "a")
				// The session selects the link just before the reload.
				reload = func() {
					reload = func() {}
					p.SetLinks([]proxy.NamedLink{
						{Name: "new", Link: registers(), Devices: func(d string) bool { return d == "101" }},
						{Name: "old", Devices: func(d string) bool { return d != "101" }},
					})
				}
				m := request(s, tt.request)
				synctest.Wait()
				if n := f.times(tt.begins); m.Err() == nil || n != 0 {
					t.Errorf("the client is answered %s; the link was asked %d times", m, n)
				}
				if list := p.DeviceList(); len(list) != 0 {
					t.Errorf("monitors: %+v", list)
				}
				if m := request(s, tt.request); m.Err() != nil {
					t.Errorf("once more: %s", m)
				}
			})
		})
	}
}
