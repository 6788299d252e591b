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

// A client whose line is named apart from its requests means its own connection if it names another
// one that it may not control. It may use one that it may control, and other clients' connections stay
// as they are.
func TestNamedLineMeansOwnConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		link := newPBX(map[string][]string{"A": {"100", "101", "102"}})
		rules := policy.FromGrants(nil, policy.Grant{Who: "a", Control: []string{"100", "102"}, Observe: []string{"101"}})
		p := start(t, link, rules, nil)
		for _, tt := range []struct {
			named  bool
			line   string
			device string
			want   string // what the link is asked to hold; "" where it is not asked
		}{
			{true, "100", "100", "A@100"}, {true, "100", "101", "A@100"}, {true, "100", "109", "A@100"}, {true, "100", "a b", "A@100"}, {true, "100", "102", "A@102"}, {true, "100", "", "A@100"},
			{false, "100", "100", "A@100"}, {false, "100", "101", ""}, {false, "100", "102", "A@102"}, {false, "100", "", "A@100"},
			{true, "", "101", ""}, {true, "", "102", "A@102"}, {false, "", "", ""}, // it has two in the call
		} {
			s, err := p.Open(proxy.Opening{Identity: policy.Identity{Name: "a"}, Line: tt.line, Named: tt.named}, &listener{})
			if err != nil {
				t.Fatal(err)
			}
			id := shown(t, s, "100")
			request(s, uacsta.SnapshotCall{SnapshotObject: uacsta.Conn(id, "100")})
			link.got()
			m := request(s, uacsta.HoldCall{CallToBeHeld: uacsta.ConnectionID{CallID: id, DeviceID: uacsta.Dev(tt.device)}})
			if got := strings.TrimPrefix(link.got(), "HoldCall "); got != tt.want || (refusal(m) == "") != (tt.want != "") {
				t.Errorf("%+v: the link gets %q, the client %s", tt, got, m)
			}
			s.Close(nil)
		}
	})
}

// The link is asked who is in a call only if nobody has reported it lately and no monitor would have
// reported that the device has left.
func TestWhenTheLinkIsAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		link := newPBX(map[string][]string{"A": {"100", "101"}})
		p := start(t, link, demo, nil)
		s, _ := open(t, p, "a")
		id := shown(t, s, "100")
		asked := func(req any) bool {
			before := link.count("SnapshotDevice") + link.count("SnapshotCall")
			if why := refusal(request(s, req)); why != "" {
				t.Errorf("%T is refused: %s", req, why)
			}
			return link.count("SnapshotDevice")+link.count("SnapshotCall") > before
		}
		hold := uacsta.HoldCall{CallToBeHeld: uacsta.Conn(id, "100")}
		time.Sleep(2 * time.Second)
		if asked(hold) {
			t.Error("it is asked two seconds after it has said so")
		}
		time.Sleep(3 * time.Second)
		if !asked(hold) {
			t.Error("it is not asked, after a while")
		}
		if asked(hold) {
			t.Error("it is asked twice at once")
		}
		before, denied := link.count("SnapshotDevice"), p.Stats().Denials.Load()
		if why := refusal(request(s, uacsta.HoldCall{CallToBeHeld: uacsta.Conn("77", "100")})); why != uacsta.InvalidConnectionID || link.count("SnapshotDevice") != before || p.Stats().Denials.Load() != denied+1 {
			t.Errorf("a call that nobody knows is %q, or the link is asked about it", why)
		}
		time.Sleep(time.Minute)
		request(s, monitorOf("100"))
		if !asked(hold) {
			t.Error("the monitor has not told of what was before it, and the link is not asked")
		}
		time.Sleep(time.Minute)
		if asked(hold) {
			t.Error("it is asked although the monitor would have told")
		}
		if !asked(uacsta.HoldCall{CallToBeHeld: uacsta.Conn(id, "101")}) {
			t.Error("of another device the monitor does not tell, and the link is not asked")
		}
		if !asked(uacsta.ClearCall{CallToBeCleared: uacsta.Conn(id, "100")}) {
			t.Error("a call is cleared without asking who is in it")
		}
	})
}

// keeper is a switch that checks connections itself.
type keeper struct{ *pbx }

func (keeper) KeepsConnections() {}

// A link that checks connections itself is asked who is in a call only for ClearCall.
func TestKeeperIsNotAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		link := newPBX(map[string][]string{"A": {"200", "201", "100"}})
		p := start(t, keeper{link}, threeRules, nil)
		s, _ := open(t, p, "mallory")
		id := shown(t, s, "200")
		time.Sleep(time.Minute)
		before := link.count("SnapshotDevice")
		if why := refusal(request(s, uacsta.HoldCall{CallToBeHeld: uacsta.Conn(id, "200")})); why != "" || link.count("SnapshotDevice") != before {
			t.Errorf("%q, and it is asked", why)
		}
		if why := refusal(request(s, uacsta.HoldCall{CallToBeHeld: uacsta.Conn("77", "200")})); why != uacsta.InvalidConnectionID {
			t.Errorf("a call that nobody knows: %q", why)
		}
		if why := refusal(request(s, uacsta.ClearCall{CallToBeCleared: uacsta.Conn(id, "200")})); why != uacsta.PrivilegeViolationSpecifiedDevice || link.count("SnapshotCall") != 1 {
			t.Errorf("others are thrown out: %q", why)
		}
		if why := refusal(request(s, uacsta.ClearCall{CallToBeCleared: uacsta.Conn("77", "200")})); why != uacsta.InvalidConnectionID {
			t.Errorf("a call that nobody knows is cleared: %q", why)
		}
	})
}

// For a link without snapshots, its reports about a call count; if a snapshot fails for another
// reason, the request is refused.
func TestWithoutSnapshots(t *testing.T) {
	for why, want := range map[*uacsta.Error]string{
		uacsta.Refuse(uacsta.Operation, uacsta.ServiceNotSupported):              "",
		uacsta.Refuse(uacsta.SystemResourceAvailability, uacsta.Generic):         uacsta.InvalidConnectionID,
		uacsta.Refuse(uacsta.SystemResourceAvailability, "resourceOutOfService"): uacsta.InvalidConnectionID,
	} {
		synctest.Test(t, func(t *testing.T) {
			f := &flaky{lose: make(chan error), answers: answers{"SnapshotDevice": func(*uacsta.Message) (*uacsta.Message, error) { return nil, why }, "SnapshotCall": func(*uacsta.Message) (*uacsta.Message, error) { return nil, why }}}
			p := start(t, f, demo, nil)
			s, _ := open(t, p, "a")
			id := call(s, "100")
			time.Sleep(time.Minute)
			if got := refusal(request(s, uacsta.HoldCall{CallToBeHeld: uacsta.Conn(id, "100")})); got != want {
				t.Errorf("%v: %q", why, got)
			}
			if got := refusal(request(s, uacsta.HoldCall{CallToBeHeld: uacsta.Conn(id, "101")})); got != uacsta.InvalidConnectionID {
				t.Errorf("%v: of a device that nobody has heard of: %q", why, got)
			}
			if got := refusal(request(s, uacsta.ClearCall{CallToBeCleared: uacsta.Conn(id, "100")})); got != want {
				t.Errorf("%v: cleared: %q", why, got)
			}
		})
	}
}

// When a link goes down, the core forgets who is in its calls. Their callIDs stay.
func TestCallsAfterLoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		link := newPBX(map[string][]string{"A": {"100", "101"}})
		p := start(t, link, demo, nil)
		s, _ := open(t, p, "a")
		id := shown(t, s, "100")
		link.lose <- errors.New("lost")
		synctest.Wait()
		if why := refusal(request(s, uacsta.HoldCall{CallToBeHeld: uacsta.Conn(id, "100")})); why != uacsta.InvalidConnectionID {
			t.Errorf("while it is down: %q", why)
		}
		time.Sleep(time.Minute)
		if why := refusal(request(s, uacsta.HoldCall{CallToBeHeld: uacsta.Conn(id, "100")})); why != "" {
			t.Errorf("when it is back: %q", why)
		}
		if again := shown(t, s, "100"); again != id {
			t.Errorf("the call is %s, and was %s", again, id)
		}
	})
}

// Calls may be sent to numbers, to devices of the switch, and to names, but not to what only resembles
// one.
func TestDestinations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &flaky{lose: make(chan error)}
		p := start(t, f, demo, func(c *proxy.Config) {
			c.Numbers = &policy.Numbers{Extensions: func(n string) bool { return n == "7hall" || len(n) == 3 }}
		})
		s, _ := open(t, p, "a")
		for destination, want := range map[string]string{
			"109": "", "*21#": "", "+4930123": "", "alice": "", "Zoe": "", "7hall": "", "8shed": uacsta.InvalidCalledDeviceID, "{x}": uacsta.InvalidCalledDeviceID,
		} {
			m := request(s, uacsta.MakeCall{CallingDevice: uacsta.Dev("100"), CalledDirectoryNumber: uacsta.Dev(destination)})
			if got := refusal(m); got != want {
				t.Errorf("to %s: %q, want %q", destination, got, want)
			}
		}
		for _, kind := range []string{"deviceNumber", "dynamic"} {
			var res *uacsta.Message
			s.Request(parse(t, `<MakeCall><callingDevice>100</callingDevice><calledDirectoryNumber typeOfNumber="`+kind+`">77</calledDirectoryNumber></MakeCall>`), func(m *uacsta.Message) { res = m })
			synctest.Wait()
			if got := refusal(res); got != uacsta.InvalidCalledDeviceID {
				t.Errorf("to a device by its %s: %q", kind, got)
			}
		}
	})
}

// The number dialled by a consultation is known, too.
func TestDialledInAConsultation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &flaky{lose: make(chan error), answers: answers{
			"ConsultationCall": text(`<ConsultationCallResponse><initiatedCall><callID>second</callID><deviceID>100</deviceID></initiatedCall></ConsultationCallResponse>`),
		}}
		rules := policy.FromGrants(nil, policy.Grant{Who: "a", Control: []string{"100"}, Dial: []string{"*"}})
		rules.Rules = append([]policy.Rule{{Name: "fraud", Deny: true, Destinations: []string{"0900*"}}}, rules.Rules...)
		p := start(t, f, rules, nil)
		s, _ := open(t, p, "a")
		own := uacsta.Conn(call(s, "100"), "100")
		m := request(s, uacsta.ConsultationCall{ExistingCall: own, ConsultedDevice: uacsta.Dev("09")})
		dial := uacsta.DialDigits{DiallingConnection: uacsta.Conn(m.Text("initiatedCall/callID"), "100"), DiallingSequence: uacsta.Dev("00123")}
		if why := refusal(request(s, dial)); why != uacsta.PrivilegeViolationCalledDevice {
			t.Errorf("0900123 is dialled in pieces: %q, after %s", why, m)
		}
		dial.DiallingSequence = uacsta.Dev("10")
		if why := refusal(request(s, dial)); why != "" {
			t.Errorf("0910 is refused: %q", why)
		}
	})
}

// A callID alone means the client's own device in the call, if there is one. A party that is not a
// number is nobody's.
func TestOwnDeviceInACall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		link := newPBX(map[string][]string{"A": {"100", "not a number"}, "B": {"101", "900"}})
		p := start(t, link, demo, nil)
		s, _ := open(t, p, "a")
		for device, want := range map[string]string{"100": "HoldCall A@100", "101": "HoldCall B@101"} { // 900 is another link's
			id := shown(t, s, device)
			request(s, uacsta.SnapshotCall{SnapshotObject: uacsta.Conn(id, device)})
			link.got()
			m := request(s, uacsta.HoldCall{CallToBeHeld: uacsta.ConnectionID{CallID: id}})
			if got := link.got(); got != want {
				t.Errorf("the link gets %q, the client %s", got, m)
			}
		}
	})
}
