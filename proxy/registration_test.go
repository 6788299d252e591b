package proxy_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// register registers for SystemStatus and returns the registration's identifier.
func register(s *proxy.Session, filter *uacsta.StatusFilter) string {
	return request(s, uacsta.SystemRegister{RequestTypes: uacsta.RequestTypes{SystemStatus: true}, RequestedStatusFilter: filter}).Text("sysStatRegisterID")
}

// told returns the statuses that a client got, with their registrations.
func told(l *listener) string {
	synctest.Wait()
	var list []string
	for _, m := range l.take() {
		if m.Name() != "SystemStatus" {
			list = append(list, m.Name())
			continue
		}
		list = append(list, m.Text("systemStatus")+"@"+m.Text("sysStatRegisterID"))
	}
	return strings.Join(list, " ")
}

// A client that registers gets SystemStatus at every change and at intervals, under its registration,
// until it cancels or registers again. A client that does not register gets the status of its own line
// only.
func TestSystemRegister(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &flaky{lose: make(chan error)}
		p := start(t, f, demo, func(c *proxy.Config) { c.Heartbeat = 10 * time.Second })
		s, l := open(t, p, "a")
		quiet, nothing := open(t, p, "b")
		first := register(s, nil)
		if first == "" {
			t.Fatal("no registration")
		}
		time.Sleep(25 * time.Second)
		if got := told(l); got != "normal@"+first+" normal@"+first {
			t.Errorf("in 25 s: %q", got)
		}
		says(t, f, "overloadReached")
		if got := told(l); got != "overloadReached@"+first {
			t.Errorf("at a change: %q", got)
		}
		second := register(s, nil)
		if second == first || second == "" {
			t.Errorf("the second registration is %s", second)
		}
		if why := refusal(request(s, uacsta.SystemRegisterCancel{SysStatRegisterID: first})); why != uacsta.InvalidCrossRefID {
			t.Errorf("a registration that was replaced is cancelled: %q", why)
		}
		time.Sleep(10 * time.Second)
		if got := told(l); got != "overloadReached@"+second {
			t.Errorf("after the second registration: %q", got)
		}
		f.lose <- errors.New("lost")
		if got := told(l); got != "disabled@"+second {
			t.Errorf("when the link is lost: %q", got)
		}
		time.Sleep(5 * time.Second)
		if got := told(l); got != "normal@"+second {
			t.Errorf("when it is back: %q", got)
		}
		if m := request(s, uacsta.SystemRegisterCancel{SysStatRegisterID: second}); m.Name() != "SystemRegisterCancelResponse" {
			t.Error(m)
		}
		if why := refusal(request(s, uacsta.SystemRegisterCancel{SysStatRegisterID: second})); why != uacsta.InvalidCrossRefID {
			t.Errorf("cancelled twice: %q", why)
		}
		says(t, f, "overloadReached")
		time.Sleep(time.Minute)
		if got := told(l); got != "" {
			t.Errorf("after it is cancelled: %q", got)
		}
		register(s, nil)
		s.Close(nil)
		time.Sleep(time.Minute)
		if got := told(l) + told(nothing); got != "" {
			t.Errorf("who has left, or has not registered: %q", got)
		}
		quiet.Close(nil)
	})
}

// The filter of a registration suppresses the statuses that it names, and the client can change it.
func TestStatusFilters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &flaky{lose: make(chan error)}
		p := start(t, f, demo, nil)
		s, l := open(t, p, "a")
		say := func(status uacsta.SystemStatusValue) string {
			f.mu.Lock()
			f.asked = nil
			f.mu.Unlock()
			says(t, f, "enabled")
			time.Sleep(2 * time.Second)
			says(t, f, "normal")
			time.Sleep(2 * time.Second)
			told(l)
			says(t, f, string(status))
			time.Sleep(2 * time.Second)
			return told(l)
		}
		filters := map[uacsta.SystemStatusValue]uacsta.StatusFilter{
			uacsta.StatusInitializing: {Initializing: true}, uacsta.StatusMessagesLost: {MessageLost: true}, uacsta.StatusDisabled: {Disabled: true},
			uacsta.StatusPartiallyDisabled: {PartiallyDisabled: true}, uacsta.StatusOverloadImminent: {OverloadImminent: true},
			uacsta.StatusOverloadReached: {OverloadReached: true}, uacsta.StatusOverloadRelieved: {OverloadRelieved: true},
		}
		for status := range filters {
			for other, filter := range filters {
				want := string(status)
				if status == other {
					want = ""
				}
				id := register(s, &filter)
				if got := strings.ReplaceAll(say(status), "@"+id, ""); got != want {
					t.Errorf("%s, where %s is not to be told: %q", status, other, got)
				}
			}
		}
		for status, filter := range map[uacsta.SystemStatusValue]uacsta.StatusFilter{uacsta.StatusEnabled: {Enabled: true}, uacsta.StatusNormal: {Normal: true}} {
			id := register(s, &filter)
			says(t, f, "overloadImminent")
			time.Sleep(2 * time.Second)
			told(l)
			for _, one := range []uacsta.SystemStatusValue{uacsta.StatusOverloadReached, status} {
				says(t, f, string(one))
				time.Sleep(2 * time.Second)
			}
			if got := told(l); got != "overloadReached@"+id {
				t.Errorf("%s is not to be told: %q", status, got)
			}
		}
		id := register(s, &uacsta.StatusFilter{OverloadReached: true})
		change := func(id string, filter *uacsta.StatusFilterList) *uacsta.Message {
			return request(s, uacsta.ChangeSysStatFilter{SysStatRegisterID: id, RequestedStatusFilter: filter})
		}
		if m := change(id, &uacsta.StatusFilterList{Disabled: true}); m.Text("actualStatusFilter/disabled") != "true" {
			t.Error(m)
		}
		if got := say(uacsta.StatusOverloadReached) + say(uacsta.StatusDisabled); got != "overloadReached@"+id {
			t.Errorf("with another filter: %q", got)
		}
		if m := change("", nil); m.Err() != nil { // the only one there is; nothing is filtered
			t.Error(m)
		}
		if got := say(uacsta.StatusDisabled); got != "disabled@"+id {
			t.Errorf("without a filter: %q", got)
		}
		if why := refusal(change(id+"0", &uacsta.StatusFilterList{Disabled: true})); why != uacsta.InvalidCrossRefID {
			t.Errorf("of another registration: %q", why)
		}
		if got := say(uacsta.StatusDisabled); got != "disabled@"+id {
			t.Errorf("after a change of another registration: %q", got)
		}
		request(s, uacsta.SystemRegister{RequestTypes: uacsta.RequestTypes{RequestSystemStatus: true}})
		if got := say(uacsta.StatusDisabled); got != "" {
			t.Errorf("who has not asked for SystemStatus: %q", got)
		}
		request(s, uacsta.SystemRegisterCancel{SysStatRegisterID: ""})
		if why := refusal(change("", nil)); why != uacsta.InvalidCrossRefID {
			t.Errorf("where there is no registration: %q", why)
		}
	})
}

// GetRegistrations lists the client's own registrations, of the kinds that it requests.
func TestListOfRegistrations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		f := &flaky{lose: make(chan error), answers: answers{"RouteRegister": func(*uacsta.Message) (*uacsta.Message, error) {
			n++
			return uacsta.Encode(uacsta.RouteRegisterResponse{RouteRegisterReqID: fmt.Sprint("r", n)}, uacsta.Edition3), nil
		}}}
		p := start(t, f, demo, nil)
		s, _ := open(t, p, "a")
		other, _ := open(t, p, "b")
		device := uacsta.Dev("100")
		list := func(s *proxy.Session, kinds ...uacsta.RegistrationType) []string {
			var res uacsta.GetRegistrationsResponse
			m := request(s, uacsta.GetRegistrations{RequestedRegTypes: kinds})
			if err := m.Decode(&res); err != nil {
				t.Fatal(err, m)
			}
			entries := []string{}
			if data := res.CrossRefIDorRegistrationData; data != nil && data.RegistrationList != nil {
				for _, e := range data.RegistrationList.RegistrationListEntry {
					device := ""
					if e.RegistrationObject != nil {
						device = e.RegistrationObject.ID
					}
					entries = append(entries, string(e.RegistrationType)+" "+e.RegistrationID+" "+device)
				}
			}
			return entries
		}
		if got := list(s); len(got) != 0 {
			t.Errorf("who has none: %q", got)
		}
		status := string(uacsta.RegistrationTypeSysStatRegister) + " " + register(s, nil) + " "
		route := string(uacsta.RegistrationTypeRouteRegister) + " " + request(s, uacsta.RouteRegister{RouteingDevice: &device}).Text("routeRegisterReqID") + " 100"
		for _, tt := range []struct {
			kinds []uacsta.RegistrationType
			want  []string
		}{
			{nil, []string{status, route}},
			{[]uacsta.RegistrationType{uacsta.RegistrationTypeRouteRegister}, []string{route}},
			{[]uacsta.RegistrationType{uacsta.RegistrationTypeSysStatRegister}, []string{status}},
			{[]uacsta.RegistrationType{uacsta.RegistrationTypeSysStatRegister, uacsta.RegistrationTypeRouteRegister}, []string{status, route}},
		} {
			if got := list(s, tt.kinds...); !slices.Equal(got, tt.want) {
				t.Errorf("of the kinds %v: %q, want %q", tt.kinds, got, tt.want)
			}
		}
		if got := list(other); len(got) != 0 {
			t.Errorf("another client: %q", got)
		}
	})
}
