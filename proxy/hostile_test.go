package proxy_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tr87proxy/tr87proxy/policy"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// What a malicious or faulty switching function can do to the core.

func says(t *testing.T, f *flaky, status string) {
	t.Helper()
	_ = f.up.Request(parse(t, `<SystemStatus><systemStatus>`+status+`</systemStatus></SystemStatus>`))
}

func statuses(l *listener) string {
	var told []string
	for _, m := range l.take() {
		if m.Name() == "SystemStatus" {
			told = append(told, m.Text("systemStatus"))
		}
	}
	return strings.Join(told, " ")
}

// A status that keeps changing is sent and logged once a second. The last one is always sent, and lost
// messages are always reported.
func TestStatusIsPaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		f := &flaky{lose: make(chan error)}
		p := start(t, f, demo, func(cfg *proxy.Config) { cfg.Log = slog.New(slog.NewTextHandler(&log, nil)) })
		s, l := open(t, p, "a")
		request(s, monitorOf("100"))
		log.Reset()
		for range 1000 {
			says(t, f, "overloadReached")
			says(t, f, "normal")
		}
		says(t, f, "messagesLost")
		says(t, f, "overloadImminent")
		synctest.Wait()
		if got := statuses(l); got != "overloadReached" {
			t.Errorf("told at once: %s", got)
		}
		if m := request(s, uacsta.RequestSystemStatus{}); m.Text("systemStatus") != "overloadImminent" {
			t.Errorf("who asks gets %s", m)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if got := statuses(l); got != "messagesLost overloadImminent" {
			t.Errorf("told a second later: %s", got)
		}
		if f.last("SnapshotDevice").Name() != "SnapshotDevice" {
			t.Error("nobody looks for what was lost")
		}
		says(t, f, "normal")
		says(t, f, "overloadImminent")
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := statuses(l); got != "" {
			t.Errorf("told that it is as it was: %s", got)
		}
		says(t, f, "normal")
		says(t, f, "overloadReached")
		f.lose <- errors.New("as told")
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := statuses(l); got != "normal disabled normal" {
			t.Errorf("told after the loss: %s", got)
		}
		if lines := strings.Count(log.String(), "\n"); lines > 10 {
			t.Errorf("%d lines in the log:\n%s", lines, log.String())
		}
	})
}

// Unsupported requests are logged once a second, with their number.
func TestUnsupportedRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		f := &flaky{lose: make(chan error)}
		start(t, f, demo, func(cfg *proxy.Config) { cfg.Log = slog.New(slog.NewTextHandler(&log, nil)) })
		log.Reset()
		for range 2 {
			for n := range 1000 {
				if err := f.up.Request(uacsta.NewMessage(uacsta.NamespaceED3, fmt.Sprint("Wash", n))); err == nil {
					t.Fatal("it is served")
				}
			}
			time.Sleep(time.Second)
		}
		if lines := strings.Count(log.String(), "\n"); lines != 2 || !strings.Contains(log.String(), "suppressed=999") {
			t.Errorf("%d lines in the log:\n%s", lines, log.String())
		}
	})
}

// When all queues together exceed their limit, the client with the longest is disconnected.
func TestLargestQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &flaky{lose: make(chan error)}
		p := start(t, f, demo, func(cfg *proxy.Config) { cfg.QueueOctets, cfg.QueuesOctets = 1<<30, 1<<20 })
		clients := map[string]*busy{}
		for name, monitors := range map[string]int{"greedy": 5, "slow": 1, "slower": 2} {
			l := &busy{release: make(chan struct{})}
			s, err := p.Open(proxy.Opening{Identity: policy.Identity{Name: name}}, l)
			if err != nil {
				t.Fatal(err)
			}
			for range monitors {
				s.Request(uacsta.Encode(monitorOf("100"), 3), func(*uacsta.Message) {})
			}
			clients[name] = l
		}
		synctest.Wait()
		const events = 30 // of 10000 octets
		for range events {
			f.up.Event(parse(t, `<HeldEvent><monitorCrossRefID>link1</monitorCrossRefID><heldConnection><callID>1</callID><deviceID>100</deviceID></heldConnection><correlatorData><private>`+strings.Repeat("0", 10000)+`</private></correlatorData></HeldEvent>`))
		}
		synctest.Wait()
		for name, l := range clients {
			close(l.release)
			synctest.Wait()
			want := map[string]int{"slow": events, "slower": 2 * events}[name]
			if cut := errors.Is(l.closed, proxy.ErrSlow); cut != (name == "greedy") || !cut && l.got != want {
				t.Errorf("%s: %d events, closed: %v", name, l.got, l.closed)
			}
		}
	})
}

const inSegments = `<SnapshotDeviceResponse><crossRefIDorSnapshotData><serviceCrossRefID>7</serviceCrossRefID></crossRefIDorSnapshotData></SnapshotDeviceResponse>`

func segment(t *testing.T, name string, octets int, last string) *uacsta.Message {
	t.Helper()
	return parse(t, `<`+name+`><serviceCrossRefID>7</serviceCrossRefID>`+last+`<extensions><privateData><private>`+strings.Repeat("0", octets)+`</private></privateData></extensions></`+name+`>`)
}

// After a loss of the link, a snapshot with endless segments is given up before it fills the memory.
// The held events are sent, and later snapshots work.
func TestEndlessSegments(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &flaky{lose: make(chan error), answers: map[string]func(*uacsta.Message) (*uacsta.Message, error){"SnapshotDevice": text(inSegments)}}
		p := start(t, f, demo, nil)
		s, l := open(t, p, "a")
		request(s, monitorOf("100"))
		for _, test := range []struct{ octets, most int }{{50000, 100}, {100, 1001}} { // octets count, and segments
			f.lose <- errors.New("as told")
			time.Sleep(2 * time.Second)
			synctest.Wait()
			l.take()
			f.event()
			taken := 0
			for ; taken < 2000; taken++ {
				if err := f.up.Request(segment(t, "SnapshotDeviceData", test.octets, "")); err != nil {
					break
				}
				synctest.Wait()
			}
			if taken > test.most {
				t.Errorf("%d segments of %d octets are taken", taken, test.octets)
			}
			if got := l.take(); len(got) != 1 || got[0].Name() != "DoNotDisturbEvent" {
				t.Errorf("afterwards: %v", got)
			}
		}
		res := request(s, uacsta.SnapshotDevice{SnapshotObject: uacsta.Dev("100")})
		if err := f.up.Request(segment(t, "SnapshotDeviceData", 1, "<lastSegment>true</lastSegment>")); err != nil || res.Err() != nil {
			t.Errorf("a later snapshot: %s, %v", res, err)
		}
	})
}

// Events that are held for a snapshot are limited in octets, for all monitors of a link together.
func TestHeldEventsAreBounded(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes a while")
	}
	synctest.Test(t, func(t *testing.T) {
		f := &flaky{lose: make(chan error), mute: "SnapshotDevice"}
		p := start(t, f, demo, func(cfg *proxy.Config) { cfg.QueueLength, cfg.QueueOctets, cfg.QueuesOctets = 1<<20, 1<<30, 1<<30 })
		s, l := open(t, p, "a")
		for n := range 5 {
			request(s, monitorOf(fmt.Sprint(100+n)))
		}
		f.lose <- errors.New("as told")
		time.Sleep(2 * time.Second)
		synctest.Wait()
		l.take()
		data := strings.Repeat("0", 60000)
		const events = 400
		for range events {
			for n := range 5 {
				f.up.Event(uacsta.Encode(uacsta.DoNotDisturbEvent{MonitorCrossRefID: fmt.Sprint("link", 6+n), Device: uacsta.Ext(data)}, uacsta.Edition3))
			}
		}
		synctest.Wait()
		if told := len(l.take()); told < 5*events-64<<20/60000 || told == 5*events {
			t.Errorf("%d of %d events are not held back", told, 5*events)
		}
		for _, reply := range f.holding {
			reply(nil, uacsta.Refuse(uacsta.Operation, uacsta.Generic))
		}
	})
}

// Segmented snapshots of clients that stall or never end free their places.
func TestPlacesOfSegments(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes a while")
	}
	synctest.Test(t, func(t *testing.T) {
		ref := 0
		f := &flaky{lose: make(chan error), answers: map[string]func(*uacsta.Message) (*uacsta.Message, error){"SnapshotDevice": func(*uacsta.Message) (*uacsta.Message, error) {
			ref++
			return parse(t, strings.ReplaceAll(inSegments, "7", fmt.Sprint(ref))), nil
		}}}
		p := start(t, f, demo, nil)
		s, l := open(t, p, "a")
		ask := func() string { return refusal(request(s, uacsta.SnapshotDevice{SnapshotObject: uacsta.Dev("100")})) }
		for range 500 {
			if why := ask(); why != "" {
				t.Fatal(why)
			}
		}
		if why := ask(); why != uacsta.ResourceLimitExceeded {
			t.Errorf("one too many: %q", why)
		}
		time.Sleep(29 * time.Second)
		if err := f.up.Request(segment(t, "SnapshotDeviceData", 1, "")); err != nil { // the seventh goes on
			t.Error(err)
		}
		time.Sleep(2 * time.Second)
		if why := ask(); why != "" {
			t.Errorf("after a pause: %q", why)
		}
		l.take()
		taken := 1
		for ; f.up.Request(segment(t, "SnapshotDeviceData", 1, "")) == nil; taken++ {
			synctest.Wait()
		}
		if taken != 1000 || len(l.take()) != taken-1 {
			t.Errorf("%d segments", taken)
		}
	})
}

// A routeing dialogue without messages ends for both sides and frees its place.
func TestPlacesOfDialogues(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes a while")
	}
	synctest.Test(t, func(t *testing.T) {
		f := &flaky{lose: make(chan error), answers: map[string]func(*uacsta.Message) (*uacsta.Message, error){
			"RouteRegister": text(`<RouteRegisterResponse><routeRegisterReqID>reg</routeRegisterReqID></RouteRegisterResponse>`),
		}}
		p := start(t, f, demo, nil)
		s, l := open(t, p, "a")
		device := uacsta.Dev("100")
		request(s, uacsta.RouteRegister{RouteingDevice: &device})
		ask := func(n int) {
			_ = f.up.Request(uacsta.Encode(uacsta.RouteRequest{CrossRefIdentifier: fmt.Sprint("d", n), RouteRegisterReqID: "reg", CurrentRoute: uacsta.Ext("100")}, uacsta.Edition3))
			synctest.Wait()
		}
		for n := range 1000 {
			ask(n)
		}
		asked := l.take()
		ask(1000)
		if got := l.take(); len(asked) != 1000 || len(got) != 0 || f.last("RouteEnd").Text("crossRefIdentifier") != "d1000" {
			t.Fatalf("%d dialogues, then %v and %s at the link", len(asked), got, f.last("RouteEnd"))
		}
		ask(5) // the reference again: the dialogue before is over
		if got := l.take(); len(got) != 2 || got[0].Name() != "RouteEnd" || got[0].Text("crossRefIdentifier") != asked[5].Text("crossRefIdentifier") || got[1].Name() != "RouteRequest" {
			t.Errorf("the same reference again: %v", got)
		}
		time.Sleep(119 * time.Second)
		living := asked[7].Text("crossRefIdentifier")
		request(s, uacsta.RouteSelect{CrossRefIdentifier: living, RouteSelected: uacsta.Dev("101")})
		time.Sleep(10 * time.Second)
		synctest.Wait()
		ended := l.take()
		if len(ended) != 999 {
			t.Errorf("%d dialogues end", len(ended))
		}
		for _, m := range ended {
			if m.Name() != "RouteEnd" || m.Text("errorValue/operation") != uacsta.RouteingTimerExpired || m.Text("crossRefIdentifier") == living {
				t.Fatalf("%s", m)
			}
		}
		if m := f.last("RouteEnd"); m.Text("routeRegisterReqID") != "reg" || m.Text("errorValue/operation") != uacsta.RouteingTimerExpired {
			t.Errorf("the link is told %s", m)
		}
		ask(2000)
		if got := l.take(); len(got) != 1 || got[0].Name() != "RouteRequest" {
			t.Errorf("another one: %v", got)
		}
		s.Close(nil)
	})
}

// A device list that never ends is ended for the client, with the devices so far. Later segments are
// ignored and do not count against later lists.
func TestEndlessListOfDevices(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lists := 0
		f := &flaky{lose: make(chan error), answers: map[string]func(*uacsta.Message) (*uacsta.Message, error){
			"GetSwitchingFunctionDevices": func(*uacsta.Message) (*uacsta.Message, error) {
				lists++
				return uacsta.Encode(uacsta.GetSwitchingFunctionDevicesResponse{ServiceCrossRefID: fmt.Sprint(lists)}, uacsta.Edition3), nil
			},
		}}
		p := start(t, f, demo, nil)
		s, l := open(t, p, "a")
		more := func() {
			list := uacsta.SwitchingFunctionDevices{ServiceCrossRefID: fmt.Sprint(lists)}
			for n := range 40 {
				id := uacsta.Dev(fmt.Sprint(880 + n)) // 900 is another link's
				list.DeviceList = append(list.DeviceList, uacsta.DeviceListItem{DeviceID: &id})
			}
			_ = f.up.Request(uacsta.Encode(list, uacsta.Edition3))
			synctest.Wait()
		}
		for range 20 {
			if why := refusal(request(s, uacsta.GetSwitchingFunctionDevices{})); why != "" {
				t.Fatal(why)
			}
			for range 3 {
				more()
			}
			devices, last := 0, ""
			time.Sleep(30 * time.Second)
			synctest.Wait()
			for _, m := range l.take() {
				devices += strings.Count(m.String(), "<deviceID")
				last = m.Text("lastSegment")
				if strings.Contains(m.String(), ">900<") {
					t.Error("a link lists a device of another")
				}
			}
			if devices != 3*39 || last != "true" {
				t.Fatalf("%d devices, the last segment: %q", devices, last)
			}
			more()
			if got := l.take(); len(got) != 0 {
				t.Fatalf("later: %v", got)
			}
		}
		for range 16 {
			request(s, uacsta.GetSwitchingFunctionDevices{})
		}
		if why := refusal(request(s, uacsta.GetSwitchingFunctionDevices{})); why != uacsta.ResourceLimitExceeded {
			t.Errorf("one too many at a time: %q", why)
		}
	})
}

// Reports of a link about another link's devices reach none of those devices' monitors and give no
// rights.
func TestEventsOfAnotherLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		good, bad := &flaky{lose: make(chan error)}, &flaky{lose: make(chan error), refs: 100}
		rules := policy.FromGrants(func(n string) bool { return len(n) == 3 }, policy.Grant{Who: "victim", Control: []string{"100"}}, policy.Grant{Who: "other", Control: []string{"900"}})
		p := proxy.New(proxy.Config{Policy: rules, Numbers: &policy.Numbers{Extensions: func(n string) bool { return len(n) == 3 }}})
		p.AddLink("bad", bad, func(d string) bool { return d == "900" })
		p.AddLink("good", good, func(d string) bool { return d != "900" })
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { p.Run(ctx); close(done) }()
		defer func() { cancel(); <-done }()
		synctest.Wait()
		victim, seen := open(t, p, "victim")
		other, heard := open(t, p, "other")
		request(victim, monitorOf("100"))
		request(other, monitorOf("900"))
		established := func(ref string) *uacsta.Message {
			return uacsta.Encode(uacsta.EstablishedEvent{
				MonitorCrossRefID: ref, EstablishedConnection: uacsta.Conn("call1", "100"), AnsweringDevice: uacsta.Ext("100"), CallingDevice: uacsta.Ext("900"), CalledDevice: uacsta.Ext("100"),
			}, uacsta.Edition3)
		}
		for _, ref := range []string{"link1", "", "link101"} { // the good link's, none, its own
			bad.up.Event(established(ref))
		}
		_ = bad.up.Request(parse(t, `<MonitorStop><monitorCrossRefID>link1</monitorCrossRefID></MonitorStop>`))
		says(t, bad, "overloadReached")
		synctest.Wait()
		if got := seen.take(); len(got) != 0 {
			t.Errorf("who watches a device of the good link is told %v", got)
		}
		got := heard.take()
		if !slices.ContainsFunc(got, func(m *uacsta.Message) bool { return m.Name() == "EstablishedEvent" }) {
			t.Fatalf("who watches the bad link's device is told %v", got)
		}
		call := got[0].Text("establishedConnection/callID")
		if why := refusal(request(victim, uacsta.ClearConnection{ConnectionToBeCleared: uacsta.Conn(call, "100")})); why != uacsta.InvalidConnectionID {
			t.Errorf("a call that the bad link tells of is cleared at the good one: %q", why)
		}
		good.up.Event(established("link1"))
		synctest.Wait()
		if got := seen.take(); len(got) != 1 {
			t.Errorf("the good link: %v", got)
		}
	})
}
