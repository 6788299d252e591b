package proxy_test

import (
	"context"
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

// pair is a proxy with two links, for the devices that begin with 1 and with 2.
func pair(t *testing.T, rules *policy.Policy, change func(*proxy.Config)) (p *proxy.Proxy, one, two *flaky) {
	t.Helper()
	cfg := proxy.Config{Policy: rules, Numbers: threeDigits}
	if change != nil {
		change(&cfg)
	}
	p = proxy.New(cfg)
	one, two = &flaky{lose: make(chan error)}, &flaky{lose: make(chan error), refs: 100}
	p.AddLink("one", one, func(d string) bool { return d[0] == '1' })
	p.AddLink("two", two, func(d string) bool { return d[0] == '2' })
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { p.Run(ctx); close(done) }()
	t.Cleanup(func() { cancel(); <-done })
	synctest.Wait()
	return p, one, two
}

// lists has links respond with references of device lists.
func lists(f *flaky, ref string) {
	f.answers = answers{"GetSwitchingFunctionDevices": func(*uacsta.Message) (*uacsta.Message, error) {
		return uacsta.Encode(uacsta.GetSwitchingFunctionDevicesResponse{ServiceCrossRefID: ref}, uacsta.Edition3), nil
	}}
}

// segmentOf has a link send devices of its list.
func segmentOf(f *flaky, ref string, last bool, devices ...string) {
	list := uacsta.SwitchingFunctionDevices{ServiceCrossRefID: ref, LastSegment: last}
	for _, device := range devices {
		id := uacsta.Dev(device)
		list.DeviceList = append(list.DeviceList, uacsta.DeviceListItem{DeviceID: &id})
	}
	_ = f.up.Request(uacsta.Encode(list, uacsta.Edition3))
	synctest.Wait()
}

// received returns the segments that a client got: the number of devices in each, and whether it is
// the last.
func received(t *testing.T, l *listener, ref string) (segments string, devices []string) {
	t.Helper()
	var list []string
	for i, m := range l.take() {
		var s uacsta.SwitchingFunctionDevices
		if err := m.Decode(&s); err != nil || s.ServiceCrossRefID != ref || s.SegmentID == nil {
			t.Errorf("%s: %v", m, err)
			continue
		}
		for _, item := range s.DeviceList {
			devices = append(devices, item.DeviceID.ID)
		}
		list = append(list, fmt.Sprint(len(s.DeviceList), s.LastSegment))
		if *s.SegmentID < i+1 {
			t.Errorf("segment %d has the number %d", i+1, *s.SegmentID)
		}
	}
	return strings.Join(list, ", "), devices
}

// A client gets the devices of all links that it may observe, in segments of which only the last is
// marked so, whatever the links' segments are.
func TestListOfDevices(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rules := policy.FromGrants(nil, policy.Grant{Who: "a", Observe: []string{"1*", "2*"}}, policy.Grant{Who: "b", Observe: []string{"101"}})
		p, one, two := pair(t, rules, nil)
		lists(one, "L1")
		lists(two, "L2")
		s, l := open(t, p, "a")
		ask := func(s *proxy.Session) string {
			m := request(s, uacsta.GetSwitchingFunctionDevices{})
			return m.Text("serviceCrossRefID") + refusal(m)
		}
		ref := ask(s)
		many := func(from, n int) (list []string) {
			for i := range n {
				list = append(list, fmt.Sprint(from+i))
			}
			return list
		}
		segmentOf(one, "L1", false, many(100, 50)...)
		if got, _ := received(t, l, ref); got != "" {
			t.Errorf("before there is more: %s", got)
		}
		segmentOf(one, "L1", false, many(150, 21)...)
		segmentOf(one, "L1", false, "201", "x y") // the other's, and none
		if got, _ := received(t, l, ref); got != "50 false" {
			t.Errorf("after 71 devices: %s", got)
		}
		segmentOf(two, "L2", true, "200", "201")
		if got, _ := received(t, l, ref); got != "" {
			t.Errorf("before the first link has ended: %s", got)
		}
		segmentOf(two, "L2", true, "202") // it has ended
		segmentOf(one, "L1", true, many(171, 28)...)
		got, devices := received(t, l, ref)
		if got != "50 false, 1 true" || devices[len(devices)-1] != "198" || !slices.Contains(devices, "200") || slices.Contains(devices, "202") {
			t.Errorf("the rest: %s, %v", got, devices)
		}
		few, heard := open(t, p, "b")
		ref = ask(few)
		segmentOf(one, "L1", true, "100", "101")
		segmentOf(two, "L2", true)
		if got, devices := received(t, heard, ref); got != "1 true" || devices[0] != "101" {
			t.Errorf("who may observe one: %s, %v", got, devices)
		}
		if why := ask(s); why == "" {
			t.Error("no other list")
		}
		if p.Stats().StrayEvents.Load() != 1 {
			t.Errorf("%d segments belong to nobody", p.Stats().StrayEvents.Load())
		}
	})
}

// If some links have no list, go down, or do not complete theirs, the client gets the devices of the
// others. If no link has a list, it gets a refusal.
func TestListsThatFail(t *testing.T) {
	no := func(*uacsta.Message) (*uacsta.Message, error) {
		return nil, uacsta.Refuse(uacsta.Operation, uacsta.ServiceNotSupported)
	}
	for name, tt := range map[string]struct {
		first, second func(*uacsta.Message) (*uacsta.Message, error) // nil: it lists
		then          func(one, two *flaky)
		want          string
	}{
		"one has none":   {first: no, then: func(_, two *flaky) { segmentOf(two, "L2", true, "200") }, want: "1 true"},
		"both have none": {first: no, second: no, then: func(_, _ *flaky) {}, want: uacsta.ServiceNotSupported},
		"one is lost": {then: func(one, two *flaky) {
			segmentOf(one, "L1", false, "100")
			one.lose <- errors.New("lost")
			segmentOf(two, "L2", true, "200")
		}, want: "2 true"},
		"both are lost": {then: func(one, two *flaky) {
			one.lose <- errors.New("lost")
			two.lose <- errors.New("lost")
		}, want: "0 true"},
		"one does not end": {then: func(one, two *flaky) {
			segmentOf(one, "L1", false, "100")
			segmentOf(two, "L2", true, "200")
			time.Sleep(31 * time.Second)
			segmentOf(one, "L1", true, "101")
		}, want: "2 true"},
		"no reference": {first: text(`<GetSwitchingFunctionDevicesResponse/>`), second: no, then: func(_, _ *flaky) {}, want: uacsta.ServiceNotSupported},
	} {
		synctest.Test(t, func(t *testing.T) {
			p, one, two := pair(t, demo, nil)
			lists(one, "L1")
			lists(two, "L2")
			if tt.first != nil {
				one.answers["GetSwitchingFunctionDevices"] = tt.first
			}
			if tt.second != nil {
				two.answers["GetSwitchingFunctionDevices"] = tt.second
			}
			s, l := open(t, p, "a")
			m := request(s, uacsta.GetSwitchingFunctionDevices{})
			tt.then(one, two)
			synctest.Wait()
			time.Sleep(time.Minute)
			synctest.Wait()
			var segments []*uacsta.Message
			for _, m := range l.take() {
				if m.Name() == "SwitchingFunctionDevices" {
					segments = append(segments, m)
				}
			}
			l.got = segments
			got, _ := received(t, l, m.Text("serviceCrossRefID"))
			if got += refusal(m); got != tt.want {
				t.Errorf("%s: %s, want %s", name, got, tt.want)
			}
			for range 20 { // each has given its place back
				request(s, uacsta.GetSwitchingFunctionDevices{})
				time.Sleep(31 * time.Second)
			}
			lists(one, "L1")
			if why := refusal(request(s, uacsta.GetSwitchingFunctionDevices{})); why == uacsta.ResourceLimitExceeded {
				t.Errorf("%s: places are not given back", name)
			}
		})
	}
}

// A client may ask about one device: only its link is asked. If no link is up, the client gets a
// refusal.
func TestListOfOneDevice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, one, two := pair(t, demo, nil)
		lists(one, "L1")
		lists(two, "L2")
		s, l := open(t, p, "a")
		ask := func(device string) *uacsta.Message {
			d := uacsta.Dev(device)
			return request(s, uacsta.GetSwitchingFunctionDevices{RequestedDeviceID: &d})
		}
		m := ask("201")
		segmentOf(two, "L2", true, "201")
		if got, devices := received(t, l, m.Text("serviceCrossRefID")); got != "1 true" || devices[0] != "201" || one.count("GetSwitchingFunctionDevices") != 0 {
			t.Errorf("%s, %v; the other link was asked %d times", got, devices, one.count("GetSwitchingFunctionDevices"))
		}
		if why := refusal(ask("301")); why != uacsta.InvalidDeviceID {
			t.Errorf("a device of no link: %q", why)
		}
		one.lose <- errors.New("lost")
		two.lose <- errors.New("lost")
		synctest.Wait()
		if why := refusal(request(s, uacsta.GetSwitchingFunctionDevices{})); why != uacsta.ResourceOutOfService {
			t.Errorf("while both are down: %q", why)
		}
		p.SetLinks(nil)
		if why := refusal(request(s, uacsta.GetSwitchingFunctionDevices{})); why != uacsta.ResourceOutOfService {
			t.Errorf("without links: %q", why)
		}
	})
}

// A front that asks learns which links have listed their devices: not those that refuse, or whose list breaks off.
func TestListedLinks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, one, two := pair(t, demo, nil)
		lists(one, "L1")
		lists(two, "L2")
		s, err := p.Open(proxy.Opening{Identity: policy.Identity{Name: "a"}, Lists: true}, &listener{})
		if err != nil {
			t.Fatal(err)
		}
		ask := func() string { return request(s, uacsta.GetSwitchingFunctionDevices{}).Text("serviceCrossRefID") }
		ref := ask()
		segmentOf(one, "L1", true, "100")
		segmentOf(two, "L2", true, "200")
		if got := s.Listed(ref); !slices.Equal(got, []string{"one", "two"}) {
			t.Error(got)
		}
		if got := s.Listed(ref); got != nil {
			t.Errorf("again: %v", got)
		}
		ref = ask()
		segmentOf(one, "L1", true, "100")
		time.Sleep(time.Minute) // the other's never ends
		if got := s.Listed(ref); !slices.Equal(got, []string{"one"}) {
			t.Error(got)
		}
		for range 100 { // nobody asks
			ref = ask()
			segmentOf(one, "L1", true)
			segmentOf(two, "L2", true)
		}
		if got := s.Listed(ref); len(got) != 2 {
			t.Error(got)
		}
	})
}

// A list that never ends is cut after a limited number of devices.
func TestTooManyDevices(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes a while")
	}
	synctest.Test(t, func(t *testing.T) {
		p, one, two := pair(t, demo, func(c *proxy.Config) { c.QueueLength, c.QueueOctets, c.QueuesOctets = 1<<20, 1<<30, 1<<30 })
		lists(one, "L1")
		two.answers = answers{"GetSwitchingFunctionDevices": func(*uacsta.Message) (*uacsta.Message, error) {
			return nil, uacsta.Refuse(uacsta.Operation, uacsta.ServiceNotSupported)
		}}
		s, l := open(t, p, "a")
		ref := request(s, uacsta.GetSwitchingFunctionDevices{}).Text("serviceCrossRefID")
		list := uacsta.SwitchingFunctionDevices{ServiceCrossRefID: "L1"}
		for range 5000 {
			id := uacsta.Dev("201") // which it has not
			list.DeviceList = append(list.DeviceList, uacsta.DeviceListItem{DeviceID: &id})
		}
		m := uacsta.Encode(list, uacsta.Edition3)
		for n := range 21 {
			if got := len(l.take()); got != 0 {
				t.Fatalf("it ends after %d devices", n*5000)
			}
			_ = one.up.Request(m.Clone())
			synctest.Wait()
		}
		if got, _ := received(t, l, ref); got != "0 true" {
			t.Errorf("after 105000 devices: %s", got)
		}
	})
}
