package tests

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/policy"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// twice is a call in which trunk 900 has two lines: it came in, and extension 101 has sent it out again. It returns the
// callID and the connection of the second line.
func (o *office) twice(boss *member) (callID string, second uacsta.ConnectionID) {
	o.t.Helper()
	trunk, mobile := uacsta.Dev("900"), uacsta.Dev("0170123")
	boss.want(uacsta.SetForwarding{Device: uacsta.Dev("101"), ForwardingType: uacsta.ForwardImmediate, ActivateForward: true, ForwardDN: &mobile}, "SetForwardingResponse")
	boss.want(uacsta.MonitorStart{MonitorObject: uacsta.MonitorObject{DeviceObject: &trunk}}, "MonitorStartResponse")
	callID = boss.want(call("900", "5550101"), "MakeCallResponse").Text("callingDevice/callID")
	told := boss.hears("ServiceInitiatedEvent", "OriginatedEvent", "DivertedEvent", "NetworkReachedEvent", "DeliveredEvent")
	reached := told[3].Connections()[0]
	if first := told[1].Connections()[0]; first.DeviceID() != "900" || first.DeviceType() != "" {
		o.t.Errorf("the first line: %s", told[1])
	}
	if reached.CallID() != callID || reached.DeviceType() != uacsta.Dynamic || told[3].Text("networkInterfaceUsed/deviceIdentifier") != "900" {
		o.t.Errorf("the second line: %s", told[3])
	}
	return callID, uacsta.ConnectionID{CallID: callID, DeviceID: uacsta.Typed(reached.DeviceID(), uacsta.Dynamic)}
}

// A line of a trunk is subject to the rules for the trunk, however it is written.
func TestRightsOnChannels(t *testing.T) {
	t.Parallel()
	grants := []policy.Grant{
		{Who: "boss", Control: []string{"*"}, Dial: []string{"*"}},
		{Who: "alice", Control: []string{"101"}, Dial: []string{"*"}},
		{Who: "watcher", Observe: []string{"900"}},
		{Who: "operator", Control: []string{"900"}},
	}
	inOffice(t, grants, func(o *office) {
		boss, alice, watcher, operator := o.open("boss", ""), o.open("alice", ""), o.open("watcher", ""), o.open("operator", "")
		id, second := o.twice(boss)
		denied := "operation/privilegeViolationSpecifiedDevice"
		octets := second.DeviceID.ID
		own := strings.ToUpper(hex.EncodeToString([]byte("101-1")))
		for _, written := range []uacsta.DeviceID{
			second.DeviceID, uacsta.Dev(octets), uacsta.Dev("dynamic:" + octets), uacsta.Typed(own, uacsta.Dynamic), uacsta.Typed(octets+"2D", uacsta.Dynamic),
		} {
			x := uacsta.ConnectionID{CallID: id, DeviceID: written}
			alice.want(uacsta.ClearConnection{ConnectionToBeCleared: x}, denied)
			alice.want(uacsta.SnapshotCall{SnapshotObject: x}, denied)
			alice.want(uacsta.MonitorStart{MonitorObject: uacsta.MonitorObject{CallObject: &x}}, denied)
		}
		alice.want(uacsta.ClearConnection{ConnectionToBeCleared: uacsta.ConnectionID{CallID: "9" + id, DeviceID: second.DeviceID}}, denied)
		watcher.want(uacsta.ClearConnection{ConnectionToBeCleared: second}, denied)
		watcher.want(uacsta.SnapshotCall{SnapshotObject: second}, "SnapshotCallResponse")
		watcher.want(uacsta.MonitorStart{MonitorObject: uacsta.MonitorObject{CallObject: &second}}, "MonitorStartResponse")
		operator.want(uacsta.HoldCall{CallToBeHeld: second}, "stateIncompatibility/noActiveCall")
		operator.want(uacsta.ClearConnection{ConnectionToBeCleared: uacsta.ConnectionID{CallID: id}}, "operation/invalidConnectionID") // which of them?
		lower := uacsta.ConnectionID{CallID: id, DeviceID: uacsta.Typed(strings.ToLower(octets), uacsta.Dynamic)}
		operator.want(uacsta.ClearConnection{ConnectionToBeCleared: lower}, "operation/invalidDeviceID")
		operator.want(uacsta.ClearConnection{ConnectionToBeCleared: second}, "ClearConnectionResponse")
		watcher.hears("ConnectionClearedEvent", "ConnectionClearedEvent", "CallClearedEvent", "MonitorStop")
		boss.hears("ConnectionClearedEvent", "ConnectionClearedEvent")
	})
}

// Who has no right on a trunk does not clear a conference with a line of it, even if that is its second one; who has it
// finds its only connection by the callID alone.
func TestConferenceWithChannels(t *testing.T) {
	t.Parallel()
	grants := []policy.Grant{{Who: "boss", Control: []string{"*"}, Dial: []string{"*"}}, {Who: "alice", Control: []string{"102", "103"}}, {Who: "operator", Control: []string{"900"}}}
	inOffice(t, grants, func(o *office) {
		boss, alice, operator := o.open("boss", ""), o.open("alice", ""), o.open("operator", "")
		held := boss.want(call("900", "5550102"), "MakeCallResponse").Text("callingDevice/callID")
		boss.want(uacsta.AnswerCall{CallToBeAnswered: uacsta.Conn(held, "102")}, "AnswerCallResponse")
		active := boss.want(uacsta.ConsultationCall{ExistingCall: uacsta.Conn(held, "102"), ConsultedDevice: uacsta.Dev("0170123")}, "ConsultationCallResponse").Text("initiatedCall/callID")
		time.Sleep(5 * time.Second) // somebody answers
		conference := boss.want(uacsta.ConferenceCall{HeldCall: uacsta.Conn(held, "102"), ActiveCall: uacsta.Conn(active, "102")}, "ConferenceCallResponse").Text("conferenceCall/callID")
		boss.want(uacsta.SingleStepConferenceCall{ActiveCall: uacsta.Conn(conference, "102"), DeviceToJoin: uacsta.Dev("103"), ParticipationType: uacsta.ParticipationActive}, "SingleStepConferenceCallResponse")
		boss.want(uacsta.ClearConnection{ConnectionToBeCleared: uacsta.Conn(conference, "900")}, "ClearConnectionResponse")
		alice.want(uacsta.ClearCall{CallToBeCleared: uacsta.Conn(conference, "102")}, "operation/privilegeViolationSpecifiedDevice")
		boss.want(uacsta.SnapshotDevice{SnapshotObject: uacsta.Dev("900")}, "SnapshotDeviceResponse") // so that the core knows of the line
		operator.want(uacsta.ClearConnection{ConnectionToBeCleared: uacsta.ConnectionID{CallID: conference}}, "ClearConnectionResponse")
		alice.want(uacsta.ClearCall{CallToBeCleared: uacsta.Conn(conference, "102")}, "ClearCallResponse")
	})
}

// After a loss of the link, a monitor on a trunk tells what became of each of its lines.
func TestChannelsAfterLoss(t *testing.T) {
	t.Parallel()
	inOffice(t, everything, func(o *office) {
		boss, trunk := o.open("boss", ""), uacsta.Dev("900")
		boss.want(uacsta.MonitorStart{MonitorObject: uacsta.MonitorObject{DeviceObject: &trunk}}, "MonitorStartResponse")
		held := boss.want(call("900", "5550102"), "MakeCallResponse").Text("callingDevice/callID")
		boss.want(uacsta.AnswerCall{CallToBeAnswered: uacsta.Conn(held, "102")}, "AnswerCallResponse")
		active := boss.want(uacsta.ConsultationCall{ExistingCall: uacsta.Conn(held, "102"), ConsultedDevice: uacsta.Dev("0170123")}, "ConsultationCallResponse").Text("initiatedCall/callID")
		time.Sleep(5 * time.Second) // somebody answers
		conference := boss.want(uacsta.ConferenceCall{HeldCall: uacsta.Conn(held, "102"), ActiveCall: uacsta.Conn(active, "102")}, "ConferenceCallResponse").Text("conferenceCall/callID")
		boss.told()
		// lost has the link lost while the switch does something, and returns what the monitor hears afterwards.
		lost := func(do func(), want ...string) []*uacsta.Message {
			t.Helper()
			o.link.lose <- struct{}{}
			boss.told()
			do()
			time.Sleep(time.Minute)
			told := boss.hears(append([]string{"SystemStatus"}, want...)...)
			if o.t.Failed() {
				o.t.FailNow()
			}
			return told[1:]
		}
		lost(func() {})
		told := lost(func() { o.direct(uacsta.ClearConnection{ConnectionToBeCleared: uacsta.Conn(o.callOf("102"), "900")}) }, "ConnectionClearedEvent")
		if c := told[0].Connections()[0]; c.CallID() != conference || c.DeviceID() != "900" || told[0].Text("localConnectionInfo") != "connected" {
			t.Errorf("of the line that has left: %s", told[0])
		}
		lost(func() {})
		told = lost(func() { o.direct(uacsta.ClearConnection{ConnectionToBeCleared: uacsta.Conn(o.callOf("102"), "102")}) }, "ConnectionClearedEvent")
		if c := told[0].Connections()[0]; c.CallID() != conference || c.DeviceType() != uacsta.Dynamic || told[0].Text("releasingDevice/deviceIdentifier") != "900" || told[0].Text("localConnectionInfo") != "null" {
			t.Errorf("of its last line: %s", told[0])
		}
		boss = o.open("boss", "")
		id, second := o.twice(boss)
		lost(func() {})
		told = lost(func() { o.direct(uacsta.ClearConnection{ConnectionToBeCleared: uacsta.Conn(o.callOf("900"), "900")}) }, "ConnectionClearedEvent", "ConnectionClearedEvent")
		if a, b := told[0].Connections()[0], told[1].Connections()[0]; a.CallID() != id || b.CallID() != id || a.DeviceID() != "900" || b.DeviceID() != second.DeviceID.ID {
			t.Errorf("of both: %s, %s", told[0], told[1])
		}
	})
}

// Two proxies in a row, whatever they speak with each other: a client of the one finds both lines of a trunk of the other
// in a conference, and clears the second alone.
func TestChannelsThroughLinks(t *testing.T) {
	t.Parallel()
	for _, dialect := range []string{"phase3", "hipath", "phase1", "xml"} {
		t.Run(dialect, func(t *testing.T) {
			t.Parallel()
			var back, front *running
			if dialect == "xml" {
				back = serve(t, everyKind)
				front = serve(t, fmt.Sprintf(`links:
- {name: back, type: csta-xml, addresses: ["127.0.0.1:%d"], devices: ["*"]}
trusted: [{address: 127.0.0.1}]
grants: [{who: "*", control: ["*"], dial: ["*"]}]
`, back.xmlPort))
				front.linked("back")
			} else {
				var port int
				back, port = asn1Switch(t, dialect, "")
				front = beforeASN1(t, dialect, port, "")
			}
			o := front.watch("1000")
			own := func(callID string) uacsta.ConnectionID { return uacsta.Conn(callID, "1000") }
			held := o.must(call("1000", "05550198")).Text("callingDevice/callID")
			o.until("1000", "Established")
			active := o.must(uacsta.ConsultationCall{ExistingCall: own(held), ConsultedDevice: uacsta.Dev("05550199")}).Text("initiatedCall/callID")
			o.until("1000", "Established")
			o.must(uacsta.ConferenceCall{HeldCall: own(held), ActiveCall: own(active)})
			var lines []uacsta.ConnectionID
			for _, x := range o.until("1000", "Conferenced").Connections() {
				if x.Name() == "newConnection" && x.DeviceID() != "1000" {
					lines = append(lines, uacsta.ConnectionID{CallID: x.CallID(), DeviceID: uacsta.Typed(x.DeviceID(), x.DeviceType())})
				}
			}
			if len(lines) != 2 || lines[0].DeviceID.ID != "900" || lines[1].DeviceID.Type() != uacsta.Dynamic {
				t.Fatalf("the conference has the lines %v", lines)
			}
			o.must(uacsta.ClearConnection{ConnectionToBeCleared: lines[1]})
			if x := o.until("1000", "ConnectionCleared").Connections()[0]; x.CallID() != lines[1].CallID || x.DeviceID() != lines[1].DeviceID.ID || x.DeviceType() != uacsta.Dynamic {
				t.Errorf("cleared is %s in call %s", x.DeviceID(), x.CallID())
			}
			o.must(uacsta.ClearConnection{ConnectionToBeCleared: lines[0]})
			front.stop()
			back.stop()
		})
	}
}

// A caller from a trunk is forwarded out by the same trunk, whose peer has no room, and so by the next one; clients learn of
// that one only.
func TestNextTrunk(t *testing.T) {
	t.Parallel()
	ports := []int{freePort(t), freePort(t)}
	x := serveTelephones(t, fmt.Sprintf(`  trunks:
  - {number: "900", prefixes: ["0"], inward: [{number: "5550100", to: "100"}], sip: {uri: "sip:127.0.0.1:%d;transport=udp"}}
  - {number: "901", prefixes: ["03"], inward: [], sip: {uri: "sip:127.0.0.1:%d;transport=udp"}}
`, ports[0], ports[1]), "trusted: [{address: 127.0.0.1}]\ngrants: [{who: \"*\", control: [\"*\"], dial: [\"*\"]}]\n")
	o := x.watch("900", "901")
	first, second := listenHandset(t, ports[0], x.sip, "acme", "isp"), listenHandset(t, ports[1], x.sip, "other", "isp")
	for range 2 {
		for m := o.hear(); m.Name() != "BackInServiceEvent"; m = o.hear() {
			continue
		}
	}
	to := uacsta.Dev("0301234")
	o.must(uacsta.SetForwarding{Device: uacsta.Dev("100"), ForwardingType: uacsta.ForwardImmediate, ActivateForward: true, ForwardDN: &to})
	in := first.dialog("5550100")
	in.local = "<sip:0309876@127.0.0.1>;tag=in"
	calling := in.begin("INVITE", []string{sdpHeader}, description(6600, "sendrecv"))
	out := first.expect("INVITE")
	if !strings.HasPrefix(out.start, "INVITE sip:0301234@") {
		t.Error(out.start)
	}
	first.reply(out, 503, "full", "")
	callee := second.accept(second.expect("INVITE"), "second", 6602)
	m := calling.final()
	if m.code() != 200 {
		t.Fatal(m.start)
	}
	in.follow(m)
	in.ack(m)
	for _, want := range []string{"ServiceInitiated", "Originated", "Diverted", "NetworkReached", "Delivered", "Established"} {
		m := o.until("900", want)
		if reached := m.Connections()[0].DeviceID(); slices.Contains([]string{"NetworkReached", "Delivered", "Established"}, want) && reached != "901" {
			t.Errorf("%s: %s", want, m)
		}
	}
	callee.ask("BYE", nil, "")
	first.answer(first.expect("BYE"), 200, nil, "")
	x.stop()
}
