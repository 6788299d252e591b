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

// inCalls returns the snapshot of a device in calls, each given as callID and state.
func inCalls(device string, calls ...string) *uacsta.Message {
	list := &uacsta.SnapshotDeviceDataList{}
	for _, one := range calls {
		id, state, _ := strings.Cut(one, " ")
		info := uacsta.SnapshotDeviceResponseInfo{ConnectionIdentifier: uacsta.Conn(id, device)}
		if state != "" {
			info.LocalCallState.CompoundCallState = []uacsta.LocalConnectionState{uacsta.LocalConnectionState(state)}
		}
		list.SnapshotDeviceResponseInfo = append(list.SnapshotDeviceResponseInfo, info)
	}
	return uacsta.Encode(uacsta.SnapshotDeviceResponse{CrossRefIDorSnapshotData: uacsta.CrossRefIDorSnapshotDeviceData{SnapshotData: list}}, uacsta.Edition3)
}

// looks has a link answer snapshots of a device, and refuse those of calls.
func (f *flaky) looks(device string, calls ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answers = answers{
		"SnapshotDevice": func(*uacsta.Message) (*uacsta.Message, error) { return inCalls(device, calls...), nil },
		"SnapshotCall": func(*uacsta.Message) (*uacsta.Message, error) {
			return nil, uacsta.Refuse(uacsta.Operation, uacsta.ServiceNotSupported)
		},
	}
}

// loses takes a link down and waits until it is back.
func (f *flaky) loses() {
	f.lose <- errors.New("lost")
	time.Sleep(2 * time.Second)
	synctest.Wait()
}

// calls returns the call events that a client got, with the connection of each.
func calls(l *listener) string {
	synctest.Wait()
	var list []string
	for _, m := range l.take() {
		if c := m.Connections(); m.Kind() == uacsta.Event && len(c) > 0 {
			list = append(list, m.Name()+" "+c[0].CallID()+"@"+c[0].DeviceID())
		} else if m.Kind() == uacsta.Event {
			list = append(list, m.Name())
		}
	}
	return strings.Join(list, ", ")
}

// What happened to each call while the link was down is reported as events: it began, was answered,
// held or retrieved, or ended. What has not changed is not reported.
func TestMissedEvents(t *testing.T) {
	for _, tt := range []struct {
		before string // the event that came before the loss, if one did
		after  []string
		want   string // X is the call
	}{
		{"", nil, ""}, {"", []string{"A alerting"}, "DeliveredEvent X@100"}, {"", []string{"A connected"}, "EstablishedEvent X@100"},
		{"alerting", nil, "ConnectionClearedEvent X@100"}, {"alerting", []string{"A alerting"}, ""}, {"alerting", []string{"A connected"}, "EstablishedEvent X@100"},
		{"connected", []string{"A connected"}, ""}, {"connected", []string{"A hold"}, "HeldEvent X@100"}, {"connected", nil, "ConnectionClearedEvent X@100"}, {"connected", []string{"A"}, ""},
		{"hold", []string{"A connected"}, "RetrievedEvent X@100"}, {"hold", []string{"A hold"}, ""},
	} {
		synctest.Test(t, func(t *testing.T) {
			f := &flaky{lose: make(chan error)}
			f.looks("100")
			p := start(t, f, demo, nil)
			s, l := open(t, p, "a")
			request(s, monitorOf("100"))
			id := uacsta.Conn("A", "100")
			switch tt.before {
			case "alerting":
				f.up.Event(uacsta.Encode(uacsta.DeliveredEvent{MonitorCrossRefID: "link1", Connection: id, AlertingDevice: uacsta.Ext("100")}, uacsta.Edition3))
			case "connected":
				f.up.Event(uacsta.Encode(uacsta.EstablishedEvent{MonitorCrossRefID: "link1", EstablishedConnection: id, AnsweringDevice: uacsta.Ext("100")}, uacsta.Edition3))
			case "hold":
				f.up.Event(uacsta.Encode(uacsta.HeldEvent{MonitorCrossRefID: "link1", HeldConnection: id, HoldingDevice: uacsta.Ext("100")}, uacsta.Edition3))
			}
			synctest.Wait()
			l.take()
			f.looks("100", tt.after...)
			f.loses()
			got := calls(l)
			if at := strings.Index(got, "@"); at > 0 {
				got = got[:strings.LastIndex(got[:at], " ")+1] + "X" + got[at:]
			}
			if got != tt.want {
				t.Errorf("before %q, after %v: %q, want %q", tt.before, tt.after, got, tt.want)
			}
			f.loses()
			if got := calls(l); got != "" {
				t.Errorf("before %q, after %v: it is told twice: %q", tt.before, tt.after, got)
			}
			if len(tt.after) == 0 {
				return
			}
			f.looks("100")
			says(t, f, "messagesLost")
			time.Sleep(time.Second)
			if got := calls(l); !strings.HasPrefix(got, "ConnectionClearedEvent") {
				t.Errorf("before %q, after %v: when messages are lost: %q", tt.before, tt.after, got)
			}
		})
	}
}

// Events are held during a resynchronisation. A client that joins meanwhile gets those that come after
// it, and nothing that it has not missed.
func TestJoinDuringResync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &flaky{lose: make(chan error)}
		f.looks("100")
		p := start(t, f, demo, nil)
		first, old := open(t, p, "a")
		request(first, monitorOf("100"))
		f.mute = "SnapshotDevice"
		f.loses()
		old.take()
		say := func(on bool) {
			f.up.Event(uacsta.Encode(uacsta.DoNotDisturbEvent{MonitorCrossRefID: "link2", Device: uacsta.Ext("100"), DoNotDisturbOn: on}, uacsta.Edition3))
			synctest.Wait()
		}
		say(true)
		second, young := open(t, p, "b")
		if request(second, monitorOf("100")).CrossRef() == "" {
			t.Fatal("no monitor")
		}
		say(false)
		if got := calls(old) + calls(young); got != "" {
			t.Errorf("before the device was looked at: %q", got)
		}
		f.mu.Lock()
		holding := f.holding
		f.mute, f.holding = "", nil
		f.mu.Unlock()
		if len(holding) != 1 {
			t.Fatalf("the link is asked %d times", len(holding))
		}
		holding[0](inCalls("100", "A connected"), nil)
		if a, b := calls(old), calls(young); !strings.HasPrefix(a, "EstablishedEvent") || strings.Count(a, "DoNotDisturbEvent") != 2 || b != "DoNotDisturbEvent" {
			t.Errorf("who was there hears %q, who came %q", a, b)
		}
		say(true)
		if a, b := calls(old), calls(young); a != "DoNotDisturbEvent" || b != a {
			t.Errorf("afterwards: %q, %q", a, b)
		}
	})
}

// Held events that the snapshot includes are not sent twice.
func TestHeldEventsAreNotDoubled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &flaky{lose: make(chan error)}
		f.looks("100")
		p := start(t, f, demo, nil)
		s, l := open(t, p, "a")
		request(s, monitorOf("100"))
		f.mute = "SnapshotDevice"
		f.loses()
		l.take()
		f.up.Event(uacsta.Encode(uacsta.EstablishedEvent{MonitorCrossRefID: "link2", EstablishedConnection: uacsta.Conn("A", "100"), AnsweringDevice: uacsta.Ext("100")}, uacsta.Edition3))
		f.up.Event(uacsta.Encode(uacsta.HeldEvent{MonitorCrossRefID: "link2", HeldConnection: uacsta.Conn("A", "100"), HoldingDevice: uacsta.Ext("100")}, uacsta.Edition3))
		f.mu.Lock()
		holding := f.holding
		f.mute, f.holding = "", nil
		f.mu.Unlock()
		holding[0](inCalls("100", "A connected"), nil)
		got := calls(l)
		if strings.Count(got, "EstablishedEvent") != 1 || strings.Count(got, "HeldEvent") != 1 || strings.Index(got, "Held") < strings.Index(got, "Established") {
			t.Errorf("told: %q", got)
		}
	})
}

// A client's own snapshot brings stale clients up to date. The others get nothing from it, and after a
// reconnect nobody gets anything twice.
func TestSnapshotUpdatesStaleClients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &flaky{lose: make(chan error)}
		f.looks("100")
		p := start(t, f, demo, func(c *proxy.Config) { c.Retry = time.Hour }) // it is not looked at again for long
		first, old := open(t, p, "a")
		request(first, monitorOf("100"))
		f.mu.Lock()
		f.answers["SnapshotDevice"] = func(*uacsta.Message) (*uacsta.Message, error) {
			return nil, uacsta.Refuse(uacsta.SystemResourceAvailability, uacsta.Generic)
		}
		f.mu.Unlock()
		f.loses()
		second, young := open(t, p, "b")
		request(second, monitorOf("100"))
		calls(old)
		f.looks("100", "A hold", "B alerting")
		request(second, uacsta.SnapshotDevice{SnapshotObject: uacsta.Dev("100")})
		got := calls(old)
		if strings.Count(got, "@100") != 3 || !strings.Contains(got, "HeldEvent") || !strings.Contains(got, "DeliveredEvent") {
			t.Errorf("who has missed something hears %q", got)
		}
		if got := calls(young); got != "" {
			t.Errorf("who has asked hears %q", got)
		}
		f.looks("100", "A", "B") // which does not say in which state they are
		request(second, uacsta.SnapshotDevice{SnapshotObject: uacsta.Dev("100")})
		if got := calls(old) + calls(young); got != "" {
			t.Errorf("of a snapshot without states they hear %q", got)
		}
		f.looks("100", "A connected", "B alerting")
		request(second, uacsta.SnapshotDevice{SnapshotObject: uacsta.Dev("100")})
		if got := calls(old); !strings.HasPrefix(got, "RetrievedEvent") || strings.Count(got, "@") != 1 {
			t.Errorf("at the next change who has missed something hears %q", got)
		}
		f.looks("100")
		f.loses()
		if a, b := calls(old), calls(young); strings.Count(a, "ConnectionClearedEvent") != 2 || strings.Count(b, "ConnectionClearedEvent") != 2 {
			t.Errorf("when both are over they hear %q and %q", a, b)
		}
	})
}

// A limited number of devices of a link resynchronise at a time.
func TestResyncsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &flaky{lose: make(chan error)}
		p := start(t, f, demo, func(c *proxy.Config) { c.MaxAtLink = 1000 })
		s, _ := open(t, p, "a")
		for n := range 120 {
			request(s, monitorOf(fmt.Sprint(100+n)))
		}
		f.mute = "SnapshotDevice"
		f.loses()
		asked := func() int {
			synctest.Wait()
			f.mu.Lock()
			defer f.mu.Unlock()
			return len(f.holding)
		}
		if n := asked(); n != 100 {
			t.Fatalf("%d devices are looked at", n)
		}
		for range 3 {
			f.mu.Lock()
			reply := f.holding[0]
			f.holding = f.holding[1:]
			f.mu.Unlock()
			reply(inCalls("100"), nil)
			if n := asked(); n != 100 {
				t.Fatalf("%d devices are looked at after one is done", n)
			}
		}
		f.mute = ""
		f.lose <- errors.New("lost again") // those who wait give up
		time.Sleep(time.Minute)
		if n := f.count("SnapshotDevice"); n != 120 {
			t.Errorf("%d devices are looked at when it is back", n)
		}
	})
}

// A snapshot with missing segments is given up after a while, and the held events are sent.
func TestMissingSegments(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &flaky{lose: make(chan error)}
		p := start(t, f, demo, nil)
		s, l := open(t, p, "a")
		request(s, monitorOf("100"))
		f.answers = answers{"SnapshotDevice": text(inSegments)}
		f.lose <- errors.New("lost")
		for f.count("SnapshotDevice") == 0 {
			time.Sleep(10 * time.Millisecond)
		}
		names(l)
		f.event()
		if err := f.up.Request(segment(t, "SnapshotDeviceData", 1, "")); err != nil {
			t.Error(err)
		}
		time.Sleep(9 * time.Second)
		if got := calls(l); got != "" {
			t.Errorf("while more may come: %q", got)
		}
		time.Sleep(2 * time.Second)
		if got := calls(l); got != "DoNotDisturbEvent" {
			t.Errorf("afterwards: %q", got)
		}
		if err := f.up.Request(segment(t, "SnapshotDeviceData", 1, "")); err == nil {
			t.Error("a segment that nobody wants is taken")
		}
		f.event()
		if got := calls(l); got != "DoNotDisturbEvent" {
			t.Errorf("later: %q", got)
		}
		time.Sleep(time.Hour)
		if n := f.count("SnapshotDevice"); n != 1 {
			t.Errorf("what does not come to its end is asked for %d times", n)
		}
	})
}

// If the link goes down during a segmented snapshot, the device is resynchronised again, and the held
// events are sent.
func TestLostWhileSegmentsCome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &flaky{lose: make(chan error)}
		f.looks("100")
		p := start(t, f, demo, nil)
		s, l := open(t, p, "a")
		request(s, monitorOf("100"))
		f.up.Event(uacsta.Encode(uacsta.EstablishedEvent{MonitorCrossRefID: "link1", EstablishedConnection: uacsta.Conn("A", "100"), AnsweringDevice: uacsta.Ext("100")}, uacsta.Edition3))
		synctest.Wait()
		f.mu.Lock()
		f.answers["SnapshotDevice"] = text(inSegments)
		f.mu.Unlock()
		f.loses()
		calls(l)
		f.event()
		f.looks("100")
		f.loses()
		got := strings.Split(calls(l), ", ")
		slices.Sort(got)
		if len(got) != 2 || !strings.HasPrefix(got[0], "ConnectionClearedEvent") || got[1] != "DoNotDisturbEvent" {
			t.Errorf("told: %q", got)
		}
	})
}

// After a switching function was out of service, events may be missing; after it was busy, none are.
func TestResyncAfterStatus(t *testing.T) {
	for status, looks := range map[string]bool{"disabled": true, "partiallyDisabled": true, "overloadReached": false, "initializing": false} {
		synctest.Test(t, func(t *testing.T) {
			f := &flaky{lose: make(chan error)}
			f.looks("100", "A connected")
			p := start(t, f, demo, nil)
			s, l := open(t, p, "a")
			request(s, monitorOf("100"))
			says(t, f, status)
			time.Sleep(2 * time.Second)
			if got := calls(l); got != "" || f.count("SnapshotDevice") != 0 {
				t.Errorf("%s: before it is over: %q", status, got)
			}
			says(t, f, "normal")
			time.Sleep(2 * time.Second)
			if got := calls(l); (got != "") != looks || (f.count("SnapshotDevice") == 1) != looks {
				t.Errorf("%s: the client hears %q", status, got)
			}
		})
	}
}

// After a reconnect a monitor on a call reports who has left the call meanwhile. A client loses it if
// its own device has left.
func TestCallMonitorAfterLoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		link := newPBX(map[string][]string{"1": {"200", "201", "202"}})
		p := start(t, link, threeRules, nil)
		mallory, heard := open(t, p, "mallory")
		boss, heardToo := open(t, p, "boss")
		id := shown(t, mallory, "200")
		for _, s := range []*proxy.Session{mallory, boss} {
			if m := request(s, uacsta.MonitorStart{MonitorObject: uacsta.MonitorObject{CallObject: &uacsta.ConnectionID{CallID: id, DeviceID: uacsta.Dev("200")}}}); m.CrossRef() == "" {
				t.Fatal(m)
			}
		}
		link.calls["1"] = []string{"200", "201"}
		link.mu.Lock()
		link.mute = "SnapshotCall"
		link.mu.Unlock()
		link.loses()
		told := func(l *listener) string {
			var list []string
			for _, m := range l.take() {
				if m.Name() != "SystemStatus" {
					list = append(list, strings.TrimSpace(m.Name()+" "+m.Text("droppedConnection/deviceID")))
				}
			}
			return strings.Join(list, ", ")
		}
		link.up.Event(uacsta.Encode(uacsta.ConnectionClearedEvent{MonitorCrossRefID: fmt.Sprint("link", link.refs), DroppedConnection: uacsta.Conn("1", "200"), ReleasingDevice: uacsta.Ext("200")}, uacsta.Edition3))
		synctest.Wait()
		if a, b := told(heard), told(heardToo); a != "" || b != "" {
			t.Errorf("before the call is looked at: %q, %q", a, b)
		}
		link.mu.Lock()
		holding := link.holding
		link.mute, link.holding = "", nil
		link.mu.Unlock()
		if len(holding) != 1 {
			t.Fatalf("the call is looked at %d times", len(holding))
		}
		holding[0](link.answers["SnapshotCall"](uacsta.Encode(uacsta.SnapshotCall{SnapshotObject: uacsta.Conn("1", "200")}, uacsta.Edition3)))
		synctest.Wait()
		if a, b := told(heard), told(heardToo); a != "ConnectionClearedEvent 202, ConnectionClearedEvent 200, MonitorStop" || b != "ConnectionClearedEvent 202, ConnectionClearedEvent 200" {
			t.Errorf("afterwards: %q, %q", a, b)
		}
	})
}

// A refused snapshot is retried after growing delays.
func TestPausesBetweenSnapshots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked []time.Time
		f := &flaky{lose: make(chan error), answers: answers{"SnapshotDevice": func(*uacsta.Message) (*uacsta.Message, error) {
			asked = append(asked, time.Now())
			return nil, uacsta.Refuse(uacsta.SystemResourceAvailability, uacsta.Generic)
		}}}
		p := start(t, f, demo, nil)
		s, _ := open(t, p, "a")
		request(s, monitorOf("100"))
		f.loses()
		time.Sleep(time.Minute)
		synctest.Wait()
		if len(asked) < 4 {
			t.Fatalf("it is asked %d times", len(asked))
		}
		for i, about := range []time.Duration{time.Second, 2 * time.Second, 4 * time.Second} {
			if pause := asked[i+1].Sub(asked[i]); pause < about/2 || pause > about*3/2 {
				t.Errorf("pause %d is %v", i, pause)
			}
		}
	})
}
