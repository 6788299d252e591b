package proxy_test

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tr87proxy/tr87proxy/policy"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// pbx is a switch on a wire with the calls that the test sets, by callID. It answers snapshots,
// accepts all other requests, and checks the callID only.
type pbx struct {
	flaky
	calls map[string][]string
}

func newPBX(calls map[string][]string) *pbx {
	p := &pbx{flaky: flaky{lose: make(chan error)}, calls: calls}
	p.answers = map[string]func(*uacsta.Message) (*uacsta.Message, error){
		"SnapshotDevice": func(req *uacsta.Message) (*uacsta.Message, error) {
			list := &uacsta.SnapshotDeviceDataList{}
			for id, parties := range p.calls {
				for _, device := range parties {
					if device == req.Text("snapshotObject") {
						list.SnapshotDeviceResponseInfo = append(list.SnapshotDeviceResponseInfo, uacsta.SnapshotDeviceResponseInfo{ConnectionIdentifier: uacsta.Conn(id, device)})
					}
				}
			}
			return uacsta.Encode(uacsta.SnapshotDeviceResponse{CrossRefIDorSnapshotData: uacsta.CrossRefIDorSnapshotDeviceData{SnapshotData: list}}, uacsta.Edition3), nil
		},
		"SnapshotCall": func(req *uacsta.Message) (*uacsta.Message, error) {
			list := &uacsta.SnapshotCallDataList{}
			id := req.Text("snapshotObject/callID")
			for _, device := range p.calls[id] {
				x := uacsta.Conn(id, device)
				list.SnapshotCallResponseInfo = append(list.SnapshotCallResponseInfo, uacsta.SnapshotCallResponseInfo{DeviceOnCall: uacsta.Ext(device), CallIdentifier: &x, LocalConnectionInfo: uacsta.Connected})
			}
			return uacsta.Encode(uacsta.SnapshotCallResponse{CrossRefIDorSnapshotData: uacsta.CrossRefIDorSnapshotCallData{SnapshotData: list}}, uacsta.Edition3), nil
		},
	}
	return p
}

// got lists the requests that reached the switch, without snapshots, as names and connections.
func (p *pbx) got() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var list []string
	for _, m := range p.asked {
		if strings.HasPrefix(m.Name(), "Snapshot") || m.Name() == "MonitorStart" {
			continue
		}
		line := m.Name()
		for _, c := range m.Connections() {
			line += " " + c.CallID() + "@" + c.DeviceID()
		}
		list = append(list, line)
	}
	p.asked = nil
	return strings.Join(list, ", ")
}

// shown returns the callID that clients see of a call of a device.
func shown(t *testing.T, s *proxy.Session, device string) string {
	t.Helper()
	calls := request(s, uacsta.SnapshotDevice{SnapshotObject: uacsta.Dev(device)}).Connections()
	if len(calls) != 1 {
		t.Fatalf("%s is in %d calls", device, len(calls))
	}
	return calls[0].CallID()
}

func refusal(m *uacsta.Message) string {
	if m == nil || m.Err() == nil {
		return ""
	}
	return m.Err().Value
}

var threeRules = policy.FromGrants(func(n string) bool { return len(n) == 3 },
	policy.Grant{Who: "alice", Control: []string{"100"}}, policy.Grant{Who: "mallory", Control: []string{"200"}},
	policy.Grant{Who: "both", Control: []string{"100", "200"}}, policy.Grant{Who: "boss", Control: []string{"*"}, Dial: []string{"*"}},
	policy.Grant{Who: "outside", Control: []string{"103"}}, policy.Grant{Who: "dialler", Control: []string{"200"}, Dial: []string{"0[1-8]*", "0"}})

// A connection is a device in a call: another client's callID with one's own device is refused,
// although the switch would accept it. A callID alone is the client's own connection.
func TestConnectionsAreBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		link := newPBX(map[string][]string{"A": {"100", "101"}, "M": {"200", "201"}})
		p := start(t, link, threeRules, nil)
		alice, _ := open(t, p, "alice")
		mallory, _ := open(t, p, "mallory")
		both, _ := open(t, p, "both")
		theirs, own := shown(t, alice, "100"), shown(t, mallory, "200")
		for _, id := range []string{theirs, own} {
			if n, err := strconv.Atoi(id); err != nil || n < 1 || n >= 1<<31 {
				t.Errorf("callID %q is no number that clients can read", id)
			}
		}
		time.Sleep(time.Minute) // what was heard of the calls is old
		for _, tt := range []struct {
			s    *proxy.Session
			req  any
			want string // what reaches the switch; "" where the request is refused
		}{
			{mallory, uacsta.HoldCall{CallToBeHeld: uacsta.Conn(own, "200")}, "HoldCall M@200"},
			{mallory, uacsta.HoldCall{CallToBeHeld: uacsta.Conn(own, "")}, "HoldCall M@200"},
			{mallory, uacsta.HoldCall{CallToBeHeld: uacsta.Conn("", "200")}, "HoldCall @200"},
			{mallory, uacsta.HoldCall{CallToBeHeld: uacsta.Conn(theirs, "200")}, ""},
			{mallory, uacsta.HoldCall{CallToBeHeld: uacsta.Conn(theirs, "100")}, ""},
			{mallory, uacsta.HoldCall{CallToBeHeld: uacsta.Conn(theirs, "")}, ""},
			{mallory, uacsta.HoldCall{CallToBeHeld: uacsta.Conn("A", "200")}, ""},
			{mallory, uacsta.HoldCall{CallToBeHeld: uacsta.Conn("M", "200")}, ""}, // the switch's own name is nobody's
			{mallory, uacsta.SnapshotCall{SnapshotObject: uacsta.Conn(theirs, "200")}, ""},
			{mallory, uacsta.MonitorStart{MonitorObject: uacsta.MonitorObject{CallObject: &uacsta.ConnectionID{CallID: theirs, DeviceID: uacsta.Dev("200")}}}, ""},
			{mallory, uacsta.JoinCall{ActiveCall: uacsta.Conn(theirs, ""), JoiningDevice: uacsta.Dev("200")}, ""},
			{mallory, uacsta.DirectedPickupCall{CallToBePickedUp: uacsta.Conn(theirs, ""), RequestingDevice: uacsta.Dev("200")}, ""},
			{mallory, uacsta.ClearCall{CallToBeCleared: uacsta.Conn(theirs, "200")}, ""},
			{mallory, uacsta.TransferCall{HeldCall: uacsta.Conn(own, "200"), ActiveCall: uacsta.Conn(theirs, "200")}, ""},
			{mallory, uacsta.SingleStepConferenceCall{ActiveCall: uacsta.Conn(theirs, "200"), DeviceToJoin: uacsta.Dev("201")}, ""},
			{both, uacsta.HoldCall{CallToBeHeld: uacsta.Conn(theirs, "")}, "HoldCall A@100"},
			{alice, uacsta.HoldCall{CallToBeHeld: uacsta.Conn(theirs, "100")}, "HoldCall A@100"},
		} {
			link.got()
			m := request(tt.s, tt.req)
			if got := link.got(); got != tt.want || (refusal(m) == "") != (tt.want != "") {
				t.Errorf("%T %+v: the switch gets %q, want %q; the client %s", tt.req, tt.req, got, tt.want, m)
			}
		}
		link.calls["A"] = append(link.calls["A"], "200") // now both of the client's devices are in it
		shown(t, both, "100")
		request(both, uacsta.SnapshotCall{SnapshotObject: uacsta.Conn(theirs, "100")})
		if m := request(both, uacsta.HoldCall{CallToBeHeld: uacsta.Conn(theirs, "")}); refusal(m) != uacsta.InvalidConnectionID {
			t.Errorf("which of two connections is held? %s", m)
		}
	})
}

// While a request waits for the switch to say who is in a call, later requests of the client wait,
// too, and the responses come in order.
func TestVerifiedInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		link := newPBX(map[string][]string{"M": {"200", "201"}})
		p := start(t, link, threeRules, nil)
		mallory, _ := open(t, p, "mallory")
		own := shown(t, mallory, "200")
		time.Sleep(time.Minute)
		link.got()
		slow := link.answers["SnapshotDevice"]
		link.answers["SnapshotDevice"] = func(req *uacsta.Message) (*uacsta.Message, error) {
			time.Sleep(time.Second)
			return slow(req)
		}
		var answers []string
		for _, req := range []any{
			uacsta.HoldCall{CallToBeHeld: uacsta.Conn(own, "200")}, uacsta.SetDoNotDisturb{Device: uacsta.Dev("200")}, uacsta.RetrieveCall{CallToBeRetrieved: uacsta.Conn(own, "200")},
			uacsta.HoldCall{CallToBeHeld: uacsta.Conn("77", "200")}, uacsta.SetDoNotDisturb{Device: uacsta.Dev("200"), DoNotDisturbOn: true},
		} {
			mallory.Request(uacsta.Encode(req, uacsta.Edition3), func(m *uacsta.Message) {
				answers = append(answers, fmt.Sprintf("%T %s", req, refusal(m)))
			})
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := link.got(); got != "HoldCall M@200, SetDoNotDisturb, RetrieveCall M@200, SetDoNotDisturb" {
			t.Error(got)
		}
		if got := strings.Join(answers, ", "); got != "uacsta.HoldCall , uacsta.SetDoNotDisturb , uacsta.RetrieveCall , uacsta.HoldCall invalidConnectionID, uacsta.SetDoNotDisturb " {
			t.Error(got)
		}
	})
}

// If a switch reuses the callID of an ended call, nobody gains a right on the new call.
func TestCallIDReused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		link := newPBX(map[string][]string{"5": {"200", "201"}})
		p := start(t, link, threeRules, nil)
		mallory, _ := open(t, p, "mallory")
		id := shown(t, mallory, "200")
		link.calls["5"] = []string{"100", "101"}
		time.Sleep(time.Minute)
		if m := request(mallory, uacsta.SnapshotCall{SnapshotObject: uacsta.Conn(id, "200")}); refusal(m) != uacsta.InvalidConnectionID {
			t.Errorf("%s", m)
		}
	})
}

// Clearing a conference needs the right on every device of the switch in it.
func TestClearConference(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		link := newPBX(map[string][]string{"1": {"200", "201"}, "2": {"100", "200", "102"}, "3": {"103", "+4930123", "+4930124"}})
		p := start(t, link, threeRules, nil)
		mallory, _ := open(t, p, "mallory")
		boss, _ := open(t, p, "boss")
		pair, conference := shown(t, boss, "201"), shown(t, boss, "102")
		for _, tt := range []struct {
			s        *proxy.Session
			id, want string
		}{{mallory, pair, ""}, {mallory, conference, uacsta.PrivilegeViolationSpecifiedDevice}, {boss, conference, ""}} {
			if m := request(tt.s, uacsta.ClearCall{CallToBeCleared: uacsta.Conn(tt.id, "200")}); refusal(m) != tt.want {
				t.Errorf("%s", m)
			}
		}
		outside, _ := open(t, p, "outside")
		if m := request(outside, uacsta.ClearCall{CallToBeCleared: uacsta.Conn(shown(t, outside, "103"), "103")}); refusal(m) != "" {
			t.Errorf("one with others that are not ours: %s", m)
		}
	})
}

// A monitor on a call stops for a client whose own device has left the call, unless the client has a
// right on another device in it.
func TestCallMonitorLosesRight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		link := newPBX(map[string][]string{"1": {"200", "201"}})
		p := start(t, link, threeRules, nil)
		mallory, heard := open(t, p, "mallory")
		boss, heardToo := open(t, p, "boss")
		id := shown(t, mallory, "200")
		for s, device := range map[*proxy.Session]string{mallory: "200", boss: "200"} {
			if m := request(s, uacsta.MonitorStart{MonitorObject: uacsta.MonitorObject{CallObject: &uacsta.ConnectionID{CallID: id, DeviceID: uacsta.Dev(device)}}}); m.CrossRef() == "" {
				t.Fatal(m)
			}
		}
		told := func(l *listener) (names []string) {
			for _, m := range l.take() {
				names = append(names, m.Name())
			}
			return names
		}
		link.mu.Lock()
		ref := fmt.Sprint("link", link.refs)
		link.mu.Unlock()
		say := func(ev any) {
			link.up.Event(uacsta.Encode(ev, uacsta.Edition3))
			synctest.Wait()
		}
		say(uacsta.HeldEvent{MonitorCrossRefID: ref, HeldConnection: uacsta.Conn("1", "200"), HoldingDevice: uacsta.Ext("200")})
		say(uacsta.ConnectionClearedEvent{MonitorCrossRefID: ref, DroppedConnection: uacsta.Conn("1", "200"), ReleasingDevice: uacsta.Ext("200")})
		say(uacsta.HeldEvent{MonitorCrossRefID: ref, HeldConnection: uacsta.Conn("1", "201"), HoldingDevice: uacsta.Ext("201")})
		if got := strings.Join(told(heard), " "); got != "HeldEvent ConnectionClearedEvent MonitorStop" {
			t.Error(got)
		}
		if got := strings.Join(told(heardToo), " "); got != "HeldEvent ConnectionClearedEvent HeldEvent" {
			t.Error(got)
		}
	})
}

// Forwarding that is activated without a number may go anywhere: only a client that may call any
// number may do that.
func TestForwardingToStoredNumber(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rules := policy.FromGrants(func(n string) bool { return len(n) == 3 }, policy.Grant{Who: "few", Control: []string{"200"}, Dial: []string{"2*"}}, policy.Grant{Who: "any", Control: []string{"200"}, Dial: []string{"*"}})
		denied := policy.FromGrants(nil, policy.Grant{Who: "any", Control: []string{"200"}, Dial: []string{"*"}})
		denied.Rules = append([]policy.Rule{{Name: "fraud", Deny: true, May: []string{"new-calls"}, Destinations: []string{"0900*"}}}, denied.Rules...)
		for _, tt := range []struct {
			rules    *policy.Policy
			who      string
			activate bool
			want     string
		}{
			{rules, "few", true, uacsta.PrivilegeViolationDestinationDevice}, {rules, "few", false, ""}, {rules, "any", true, ""},
			{denied, "any", true, uacsta.PrivilegeViolationDestinationDevice}, {denied, "any", false, ""},
		} {
			link := newPBX(nil)
			p := start(t, link, tt.rules, nil)
			s, _ := open(t, p, tt.who)
			if got := refusal(request(s, uacsta.SetForwarding{Device: uacsta.Dev("200"), ActivateForward: tt.activate})); got != tt.want {
				t.Errorf("%s %v: %q", tt.who, tt.activate, got)
			}
			number := uacsta.Dev("201")
			if got := refusal(request(s, uacsta.SetForwarding{Device: uacsta.Dev("200"), ActivateForward: true, ForwardDN: &number})); got != "" {
				t.Errorf("%s, to a number that it may call: %q", tt.who, got)
			}
		}
	})
}

// Policy decides DialDigits on the whole number, however many pieces it comes in.
func TestDialledInPieces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		link := newPBX(map[string][]string{})
		p := start(t, link, threeRules, nil)
		dialler, _ := open(t, p, "dialler")
		made := request(dialler, uacsta.MakeCall{CallingDevice: uacsta.Dev("200"), CalledDirectoryNumber: uacsta.Dev("0")})
		id := made.Text("callingDevice/callID")
		link.calls["call1"] = []string{"200"}
		dial := func(sequence string) string {
			return refusal(request(dialler, uacsta.DialDigits{DiallingConnection: uacsta.Conn(id, "200"), DiallingSequence: uacsta.Dev(sequence)}))
		}
		if got := dial("900123"); got != uacsta.PrivilegeViolationCalledDevice {
			t.Errorf("0900123 is dialled: %q", got)
		}
		for _, who := range []string{"dialler", "mallory"} { // what would happen changes nothing, and does not tell what was dialled
			s, _ := open(t, p, who)
			look := s.Outlook(uacsta.Encode(uacsta.DialDigits{DiallingConnection: uacsta.Conn(id, "200"), DiallingSequence: uacsta.Dev("12")}, uacsta.Edition3))
			if !slices.Equal(look.Destinations, []string{"12"}) {
				t.Errorf("%+v", look)
			}
		}
		if got := dial("123"); got != "" {
			t.Errorf("0123 is refused: %q", got)
		}
		if got := dial("9"); got != "" {
			t.Errorf("01239 is refused: %q", got)
		}
		if got := dial("1;x"); got != uacsta.InvalidDestination && got != uacsta.InvalidCalledDeviceID {
			t.Errorf("%q", got)
		}
		link.got()
		again := request(dialler, uacsta.MakeCall{CallingDevice: uacsta.Dev("200"), CalledDirectoryNumber: uacsta.Dev("0")}).Text("callingDevice/callID")
		link.calls["call2"] = []string{"200"}
		id = again
		refused := 0
		for _, digit := range "900123" { // all at once
			dialler.Request(uacsta.Encode(uacsta.DialDigits{DiallingConnection: uacsta.Conn(id, "200"), DiallingSequence: uacsta.Dev(string(digit))}, uacsta.Edition3), func(m *uacsta.Message) {
				if refusal(m) != "" {
					refused++
				}
			})
		}
		synctest.Wait()
		if refused == 0 || strings.Contains(link.got(), "DialDigits call2@200, DialDigits call2@200, DialDigits call2@200, DialDigits call2@200, DialDigits call2@200, DialDigits call2@200") {
			t.Error("0900123 is dialled digit by digit")
		}
	})
}

// A message that the standard does not define passes where a rule names it, and nowhere else.
func TestPassThrough(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rules := policy.FromGrants(nil, policy.Grant{Who: "*", Control: []string{"*"}, Dial: []string{"*"}})
		rules.Rules = append(rules.Rules,
			policy.Rule{Name: "washing", Who: []string{"maid"}, May: []string{policy.PassThrough + "WashDishes"}},
			policy.Rule{Name: "one device", Who: []string{"guest"}, May: []string{policy.PassThrough + "WashDishes"}, Devices: []string{"100"}})
		link := newPBX(nil)
		p := start(t, link, rules, nil)
		for who, want := range map[string]string{"maid": "", "guest": uacsta.ServiceNotSupported, "boss": uacsta.ServiceNotSupported} {
			s, _ := open(t, p, who)
			var res *uacsta.Message
			s.Request(parse(t, `<WashDishes xmlns="urn:vendor"><device>100</device></WashDishes>`), func(m *uacsta.Message) { res = m })
			synctest.Wait()
			if refusal(res) != want {
				t.Errorf("%s: %s", who, res)
			}
			if who == "maid" && refusal(request(s, uacsta.SnapshotDevice{SnapshotObject: uacsta.Dev("100")})) != "" {
				t.Error("the grant to everybody is gone")
			}
		}
		if got := link.got(); got != "WashDishes" {
			t.Error(got)
		}
		only := &policy.Policy{Rules: []policy.Rule{{Name: "washing", Who: []string{"maid"}, May: []string{policy.PassThrough + "WashDishes"}}}}
		for _, action := range []policy.Action{policy.Observe, policy.Control} {
			if only.Decide(policy.Request{Who: policy.Identity{Name: "maid"}, Action: action, Device: policy.Whole}).Allowed {
				t.Errorf("whoever may pass a message through may %s", action)
			}
		}
	})
}

// An invalid number, and an ambiguous request, is refused with the standard's errors and does not
// reach the switch.
func TestInvalidNumbersAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		link := newPBX(nil)
		p := start(t, link, threeRules, nil)
		boss, _ := open(t, p, "boss")
		for document, want := range map[string]string{
			`<MakeCall><callingDevice>0/9</callingDevice><calledDirectoryNumber>101</calledDirectoryNumber></MakeCall>`:                                            uacsta.InvalidCallingDeviceID,
			`<MakeCall><callingDevice>100</callingDevice><calledDirectoryNumber>0123@127.0.0.66:5066?</calledDirectoryNumber></MakeCall>`:                          uacsta.InvalidCalledDeviceID,
			`<MakeCall><callingDevice>100</callingDevice><calledDirectoryNumber>0900x</calledDirectoryNumber></MakeCall>`:                                          uacsta.InvalidCalledDeviceID,
			`<MakeCall><callingDevice>100</callingDevice><calledDirectoryNumber typeOfNumber="explicitPublic:national">5551234</calledDirectoryNumber></MakeCall>`: uacsta.InvalidCalledDeviceID,
			`<SetForwarding><device>100</device><activateForward>true</activateForward><forwardDN>tel:%39</forwardDN></SetForwarding>`:                             uacsta.InvalidForwardingDestination,
			`<ConsultationCall><existingCall><callID>1</callID><deviceID>100</deviceID></existingCall><consultedDevice>1,2</consultedDevice></ConsultationCall>`:   uacsta.InvalidDestination,
			`<MonitorInfo><lastSegment>true</lastSegment></MonitorInfo>`:                                                                                           uacsta.ServiceNotSupported, // a switching function's
			`<GetForwarding><device>a b</device></GetForwarding>`:                                                                                                  uacsta.InvalidDeviceID,
		} {
			var res *uacsta.Message
			boss.Request(parse(t, document), func(m *uacsta.Message) { res = m })
			synctest.Wait()
			if refusal(res) != want {
				t.Errorf("%s: %s", document, res)
			}
		}
		var res *uacsta.Message
		_, err := uacsta.Parse([]byte(`<GetForwarding><device>100<x/></device><device>200</device></GetForwarding>`))
		var unclear *uacsta.Unclear
		if !errors.As(err, &unclear) {
			t.Fatal(err)
		}
		boss.Unclear(unclear, func(m *uacsta.Message) { res = m })
		synctest.Wait()
		if refusal(res) != uacsta.InvalidParameterValue || p.Stats().Denials.Load() != 9 {
			t.Errorf("%s, %d denials", res, p.Stats().Denials.Load())
		}
		if got := link.got(); got != "" {
			t.Errorf("the switch gets %s", got)
		}
	})
}
