package proxy_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tr87proxy/tr87proxy/policy"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// The basis of a right may have changed by the time the right is used.

const inCall = `<SnapshotDeviceResponse><crossRefIDorSnapshotData><snapshotData><snapshotDeviceResponseInfo><connectionIdentifier><callID>call1</callID><deviceID>100</deviceID></connectionIdentifier><localCallState><compoundCallState><localConnectionState>connected</localConnectionState></compoundCallState></localCallState></snapshotDeviceResponseInfo></snapshotData></crossRefIDorSnapshotData></SnapshotDeviceResponse>`

const inNone = `<SnapshotDeviceResponse><crossRefIDorSnapshotData><snapshotData/></crossRefIDorSnapshotData></SnapshotDeviceResponse>`

type answers = map[string]func(*uacsta.Message) (*uacsta.Message, error)

// Digits that the switch refused are not part of the number. While the outcome is unknown, further
// digits are refused: policy would decide on another number than the switch dials.
func TestDialledDigits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var fails error
		f := &flaky{lose: make(chan error), answers: answers{
			"DialDigits": func(*uacsta.Message) (*uacsta.Message, error) {
				return uacsta.Encode(uacsta.DialDigitsResponse{}, uacsta.Edition3), fails
			},
			"SnapshotDevice": text(inCall),
		}}
		rules := policy.FromGrants(nil, policy.Grant{Who: "a", Control: []string{"100"}, Dial: []string{"*"}})
		rules.Rules = append([]policy.Rule{{Name: "fraud", Deny: true, Destinations: []string{"1090900*"}}}, rules.Rules...)
		p := start(t, f, rules, nil)
		s, _ := open(t, p, "a")
		own := uacsta.Conn(call(s, "100"), "100") // it has dialled 109
		dial := func(digits string) string {
			return refusal(request(s, uacsta.DialDigits{DiallingConnection: own, DiallingSequence: uacsta.Dev(digits)}))
		}
		fails = uacsta.Refuse(uacsta.StateIncompatibility, uacsta.InvalidConnectionState)
		if got := dial("2"); got != uacsta.InvalidConnectionState {
			t.Fatal(got)
		}
		fails = nil
		if got := dial("0900"); got != uacsta.PrivilegeViolationCalledDevice {
			t.Errorf("after digits that were refused: %q", got)
		}

		f.mute = "DialDigits"
		s.Request(uacsta.Encode(uacsta.DialDigits{DiallingConnection: own, DiallingSequence: uacsta.Dev("2")}, 3), func(*uacsta.Message) {})
		synctest.Wait()
		f.mute = ""
		if got := dial("0900"); got != uacsta.OutstandingReqLimitExceeded {
			t.Errorf("while digits wait for their answer: %q", got)
		}
		f.holding[0](nil, uacsta.Refuse(uacsta.SystemResourceAvailability, uacsta.Generic)) // it took too long
		synctest.Wait()
		if got := dial("0900"); got != uacsta.OutstandingReqLimitExceeded {
			t.Errorf("when nobody knows what was dialled: %q", got)
		}
	})
}

// Digits that were refused for want of room, or whose turn did not come, were not dialled, so others
// can be.
func TestDigitsWithoutRoom(t *testing.T) {
	for _, why := range []*uacsta.Error{
		uacsta.Refuse(uacsta.SubscribedResourceAvailability, uacsta.OutstandingReqLimitExceeded),
		uacsta.Refuse(uacsta.SystemResourceAvailability, uacsta.ResourceBusy),
		uacsta.Refuse(uacsta.SystemResourceAvailability, uacsta.ResourceLimitExceeded),
	} {
		synctest.Test(t, func(t *testing.T) {
			var fails error = why
			f := &flaky{lose: make(chan error), answers: answers{
				"DialDigits": func(*uacsta.Message) (*uacsta.Message, error) {
					return uacsta.Encode(uacsta.DialDigitsResponse{}, uacsta.Edition3), fails
				},
			}}
			rules := policy.FromGrants(nil, policy.Grant{Who: "a", Control: []string{"100"}, Dial: []string{"*"}})
			rules.Rules = append([]policy.Rule{{Name: "fraud", Deny: true, Destinations: []string{"1090900*"}}}, rules.Rules...)
			p := start(t, f, rules, nil)
			s, _ := open(t, p, "a")
			own := uacsta.Conn(call(s, "100"), "100") // it has dialled 109
			dial := func(digits string) string {
				return refusal(request(s, uacsta.DialDigits{DiallingConnection: own, DiallingSequence: uacsta.Dev(digits)}))
			}
			if got := dial("2"); got != why.Value {
				t.Fatalf("%q, want %q", got, why.Value)
			}
			fails = nil
			if got := dial("0900"); got != uacsta.PrivilegeViolationCalledDevice {
				t.Errorf("after %v the number is not known: %q", why, got)
			}
			if got := dial("3"); got != "" {
				t.Errorf("after %v nobody can dial: %q", why, got)
			}
		})
	}
}

// A snapshot may leave out states: connections without one are in the call, too.
func TestClearCallOfStatelessSnapshot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &flaky{lose: make(chan error), answers: answers{
			"SnapshotDevice": text(inCall),
			"SnapshotCall": text(`<SnapshotCallResponse><crossRefIDorSnapshotData><snapshotData>` +
				`<snapshotCallResponseInfo><deviceOnCall><deviceIdentifier>100</deviceIdentifier></deviceOnCall></snapshotCallResponseInfo>` +
				`<snapshotCallResponseInfo><deviceOnCall><deviceIdentifier>101</deviceIdentifier></deviceOnCall></snapshotCallResponseInfo>` +
				`<snapshotCallResponseInfo><deviceOnCall><deviceIdentifier>102</deviceIdentifier></deviceOnCall></snapshotCallResponseInfo>` +
				`</snapshotData></crossRefIDorSnapshotData></SnapshotCallResponse>`),
		}}
		p := start(t, f, policy.FromGrants(nil, policy.Grant{Who: "a", Control: []string{"100"}, Dial: []string{"*"}}), nil)
		s, _ := open(t, p, "a")
		own := uacsta.Conn(call(s, "100"), "100")
		if got := refusal(request(s, uacsta.ClearCall{CallToBeCleared: own})); got != uacsta.PrivilegeViolationSpecifiedDevice {
			t.Errorf("a conference is cleared by one who controls one device: %q", got)
		}
	})
}

// If a switch reports that it may have lost events, it may have lost that a device left its call.
func TestMessagesLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &flaky{lose: make(chan error), answers: answers{"SnapshotDevice": text(inCall)}}
		p := start(t, f, policy.FromGrants(nil, policy.Grant{Who: "a", Control: []string{"100"}, Dial: []string{"*"}}), nil)
		s, _ := open(t, p, "a")
		request(s, monitorOf("100"))
		own := uacsta.Conn(call(s, "100"), "100")
		time.Sleep(time.Minute)
		if got := refusal(request(s, uacsta.HoldCall{CallToBeHeld: own})); got != "" {
			t.Fatal(got)
		}
		f.mu.Lock()
		f.answers["SnapshotDevice"] = text(inNone)
		f.mu.Unlock()
		if err := f.up.Request(parse(t, `<SystemStatus><systemStatus>messagesLost</systemStatus></SystemStatus>`)); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		time.Sleep(time.Minute)
		if got := refusal(request(s, uacsta.HoldCall{CallToBeHeld: own})); got != uacsta.InvalidConnectionID {
			t.Errorf("a call that the device has left: %q", got)
		}
	})
}

// After a switch was restarted, a callID may be another call's: a monitor on it restarts only if its
// device is in the call.
func TestMonitorOnCallAfterRestart(t *testing.T) {
	for snapshot, lives := range map[string]bool{inCall: true, inNone: false} {
		synctest.Test(t, func(t *testing.T) {
			f := &flaky{lose: make(chan error), answers: answers{"SnapshotDevice": text(inCall)}}
			p := start(t, f, policy.FromGrants(nil, policy.Grant{Who: "a", Control: []string{"100"}, Dial: []string{"*"}}), nil)
			s, l := open(t, p, "a")
			own := uacsta.Conn(call(s, "100"), "100")
			if m := request(s, uacsta.MonitorStart{MonitorObject: uacsta.MonitorObject{CallObject: &own}}); m.Err() != nil {
				t.Fatal(m)
			}
			f.mu.Lock()
			f.answers["SnapshotDevice"] = text(snapshot)
			f.mu.Unlock()
			f.lose <- errors.New("lost")
			time.Sleep(time.Minute)
			f.mu.Lock()
			starts := f.starts
			f.mu.Unlock()
			if (starts == 2) != lives {
				t.Errorf("the monitor was started %d times", starts)
			}
			stopped := false
			for _, m := range l.take() {
				stopped = stopped || m.Name() == "MonitorStop"
			}
			if stopped == lives {
				t.Errorf("the client is told that the monitor has ended: %v", stopped)
			}
		})
	}
}

// The client may lose its rights, or leave, while the link is asked who is in a call.
func TestRightsChangeWhileVerifying(t *testing.T) {
	nobody := policy.FromGrants(nil, policy.Grant{Who: "a", Control: []string{"100"}, Observe: []string{"100"}})
	nobody.Rules = append([]policy.Rule{{Name: "no more", Deny: true, May: []string{"HoldCall"}}}, nobody.Rules...)
	for name, lose := range map[string]func(*proxy.Proxy, *proxy.Session){
		"rules":  func(p *proxy.Proxy, _ *proxy.Session) { p.SetRules(nobody, &policy.Numbers{}) },
		"closed": func(_ *proxy.Proxy, s *proxy.Session) { s.Close(errors.New("gone")) },
	} {
		synctest.Test(t, func(t *testing.T) {
			f := &flaky{lose: make(chan error), answers: answers{"SnapshotDevice": text(inCall)}}
			p := start(t, f, policy.FromGrants(nil, policy.Grant{Who: "a", Control: []string{"100"}, Dial: []string{"*"}}), nil)
			s, _ := open(t, p, "a")
			own := uacsta.Conn(call(s, "100"), "100")
			time.Sleep(time.Minute)
			f.mute = "SnapshotDevice"
			s.Request(uacsta.Encode(uacsta.HoldCall{CallToBeHeld: own}, 3), func(*uacsta.Message) {})
			synctest.Wait()
			lose(p, s)
			f.holding[0](parse(t, inCall), nil)
			synctest.Wait()
			if m := f.last("HoldCall"); m.Name() == "HoldCall" {
				t.Errorf("%s: it is carried out: %s", name, m)
			}
		})
	}
}

// CallIDs of a switch cannot fill the memory: longer ones are hidden and cannot be used.
func TestHugeCallID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &flaky{lose: make(chan error)}
		p := start(t, f, policy.FromGrants(nil, policy.Grant{Who: "a", Control: []string{"100"}}), nil)
		s, l := open(t, p, "a")
		request(s, monitorOf("100"))
		f.up.Event(uacsta.Encode(uacsta.HeldEvent{MonitorCrossRefID: "link1", HeldConnection: uacsta.Conn(strings.Repeat("7", 60000), "100"), Cause: "normal"}, 3))
		synctest.Wait()
		got := l.take()
		if len(got) != 1 || got[0].Text("heldConnection/callID") != "0" {
			t.Fatal(len(got))
		}
		if got := refusal(request(s, uacsta.RetrieveCall{CallToBeRetrieved: uacsta.Conn("0", "100")})); got != uacsta.InvalidConnectionID {
			t.Error(got)
		}
	})
}

// The number of a button is a destination, not a device of the client.
func TestButtonNumberIsADestination(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &flaky{lose: make(chan error)}
		rules := policy.FromGrants(nil, policy.Grant{Who: "a", Control: []string{"*"}, Dial: []string{"*"}})
		rules.Rules = append([]policy.Rule{{Name: "fraud", Deny: true, May: []string{"new-calls"}, Destinations: []string{"0900*"}}}, rules.Rules...)
		p := start(t, f, rules, nil)
		s, _ := open(t, p, "a")
		set := func(number string) string {
			device, associated := uacsta.Dev("100"), uacsta.Dev(number)
			return refusal(request(s, uacsta.SetButtonInformation{Device: &device, Button: "1", ButtonAssociatedNumber: &associated}))
		}
		if got := set("0900123"); got != uacsta.PrivilegeViolationDestinationDevice {
			t.Errorf("a button dials what nobody may: %q", got)
		}
		if got := set("109"); got != "" {
			t.Error(got)
		}
	})
}

// An ambiguous request counts like any other: against the rate, and as a strike of an unidentified
// client.
func TestAmbiguousRequestsCount(t *testing.T) {
	unclear := func(s *proxy.Session) string {
		var res *uacsta.Message
		s.Unclear(&uacsta.Unclear{Name: "MakeCall", Refusal: uacsta.Refuse(uacsta.Operation, uacsta.InvalidParameterValue)}, func(m *uacsta.Message) { res = m })
		synctest.Wait()
		return refusal(res)
	}
	synctest.Test(t, func(t *testing.T) {
		p := start(t, &flaky{lose: make(chan error)}, demo, func(c *proxy.Config) { c.MaxRequests = policy.Rate{Count: 2, Per: time.Hour} })
		s, _ := open(t, p, "a")
		if first, second, third := unclear(s), unclear(s), unclear(s); first != uacsta.InvalidParameterValue || second != first || third != uacsta.PerformanceLimitExceeded {
			t.Error(first, second, third)
		}
		if n, denied := p.Stats().Requests.Load(), p.Stats().Denials.Load(); n != 3 || denied != 2 {
			t.Errorf("%d requests are counted, and %d denials", n, denied)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		p := start(t, &flaky{lose: make(chan error)}, demo, func(c *proxy.Config) { c.Sessions.Tries = 3 })
		l := &listener{}
		s, err := p.Open(proxy.Opening{Sessions: proxy.SessionsMandatory}, l)
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			unclear(s)
		}
		if l.over() == nil {
			t.Error("a client that has not said who it is sends as many as it likes")
		}
	})
}

// The private data of a monitor are limited.
func TestPrivateDataOfMonitorIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, &flaky{lose: make(chan error)}, demo, nil)
		s, _ := open(t, p, "a")
		for private, want := range map[string]string{"<a/>": "", strings.Repeat("<a/>", 3000): uacsta.ResourceLimitExceeded} {
			var res *uacsta.Message
			s.Request(parse(t, `<MonitorStart><monitorObject><deviceObject>100</deviceObject></monitorObject><extensions><privateData><private>`+private+`</private></privateData></extensions></MonitorStart>`), func(m *uacsta.Message) { res = m })
			synctest.Wait()
			if got := refusal(res); got != want {
				t.Errorf("%q, want %q", got, want)
			}
		}
	})
}

// Events with much data do not fill the memory: a client with many monitors that does not read is
// disconnected.
func TestQueueOfLargeEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &flaky{lose: make(chan error)}
		p := start(t, f, demo, func(cfg *proxy.Config) { cfg.MaxMonitors, cfg.MaxOutstanding = 100, 100 })
		l := &busy{release: make(chan struct{})}
		s, err := p.Open(proxy.Opening{Identity: policy.Identity{Name: "a"}}, l)
		if err != nil {
			t.Fatal(err)
		}
		for range 100 {
			s.Request(uacsta.Encode(monitorOf("100"), 3), func(*uacsta.Message) {})
		}
		synctest.Wait()
		f.up.Event(parse(t, `<HeldEvent><monitorCrossRefID>link1</monitorCrossRefID><heldConnection><callID>1</callID><deviceID>100</deviceID></heldConnection><correlatorData><private>`+strings.Repeat("<a/>", 4000)+`</private></correlatorData></HeldEvent>`))
		close(l.release)
		synctest.Wait()
		if l.got > 70 || !errors.Is(l.closed, proxy.ErrSlow) {
			t.Errorf("%d large events, closed: %v", l.got, l.closed)
		}
	})
}

// busy blocks in events until it is released.
type busy struct {
	release chan struct{}
	got     int
	closed  error
}

func (b *busy) Event(*uacsta.Message) {
	<-b.release
	b.got++
}

func (b *busy) Closed(err error) { b.closed = err }
