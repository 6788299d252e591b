package softswitch

import (
	"testing"
	"testing/synctest"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// Every service in a wrong state or with a wrong name: the error, and nothing
// else happens.
func TestRefusals(t *testing.T) {
	const (
		noConnection = "operation/invalidConnectionID"
		held         = "operation/invalidHeldConnectionID"
		active       = "operation/invalidActiveConnectionID"
	)
	digits := func(w *world, c, s string, mode uacsta.DigitMode) any {
		return uacsta.GenerateDigits{ConnectionToSendDigits: w.conn(c), DigitMode: mode, CharactersToSend: s}
	}
	onHold := func(w *world) { w.talking(); w.must(w.hold("X100")) }
	failed := func(w *world) { w.must(w.makeCall("100", "999")) }
	for _, tt := range []struct {
		name  string
		setup func(*world)
		do    func(*world) any
		want  string
	}{
		{"MakeCall from nobody", nil, func(w *world) any { return w.makeCall("999", "101") }, "operation/invalidCallingDeviceID"},
		{"MakeCall to nothing", nil, func(w *world) any { return w.makeCall("100", "") }, "operation/invalidCalledDeviceID"},
		{"MakeCall while talking", (*world).talking, func(w *world) any { return w.makeCall("100", "102") }, "stateIncompatibility/connectedCallExists"},
		{"MakeCall while hearing a tone", failed, func(w *world) any { return w.makeCall("100", "102") }, "stateIncompatibility/connectedCallExists"},
		{"MakeCall with all lines in use", func(w *world) {
			onHold(w)
			w.must(w.makeCall("102", "100"))
		}, func(w *world) any { return w.makeCall("100", "103") }, "stateIncompatibility/invalidCallingDeviceState"},
		{"AnswerCall of nothing", nil, func(w *world) any { return w.answer("X100") }, noConnection},
		{"AnswerCall at no device", (*world).ringing, func(w *world) any { return w.answer("X999") }, noConnection},
		{"AnswerCall by a bystander", (*world).ringing, func(w *world) any { return w.answer("X102") }, noConnection},
		{"AnswerCall by the caller", (*world).ringing, func(w *world) any { return w.answer("X100") }, "stateIncompatibility/noCallToAnswer"},
		{"AnswerCall twice", (*world).talking, func(w *world) any { return w.answer("X101") }, "stateIncompatibility/noCallToAnswer"},
		{"AnswerCall on hold", onHold, func(w *world) any { return w.answer("X100") }, "stateIncompatibility/noCallToAnswer"},
		{"AnswerCall of a failed call", failed, func(w *world) any { return w.answer("X100") }, "stateIncompatibility/noCallToAnswer"},
		{"AnswerCall while talking", func(w *world) { w.talking(); w.must(w.makeCall("102", "101")) }, func(w *world) any { return w.answer("Y101") }, "stateIncompatibility/connectedCallExists"},
		{"ClearConnection of nothing", nil, func(w *world) any { return w.clear("X100") }, noConnection},
		{"HoldCall of nothing", nil, func(w *world) any { return w.hold("X100") }, noConnection},
		{"HoldCall while ringing", (*world).ringing, func(w *world) any { return w.hold("X101") }, "stateIncompatibility/noActiveCall"},
		{"HoldCall twice", onHold, func(w *world) any { return w.hold("X100") }, "stateIncompatibility/noActiveCall"},
		{"HoldCall of a failed call", failed, func(w *world) any { return w.hold("X100") }, "stateIncompatibility/noActiveCall"},
		{"RetrieveCall of nothing", nil, func(w *world) any { return w.retrieve("X100") }, noConnection},
		{"RetrieveCall while talking", (*world).talking, func(w *world) any { return w.retrieve("X100") }, "stateIncompatibility/noHeldCall"},
		{"RetrieveCall while ringing", (*world).ringing, func(w *world) any { return w.retrieve("X101") }, "stateIncompatibility/noHeldCall"},
		{"RetrieveCall while consulting", (*world).consulted, func(w *world) any { return w.retrieve("X100") }, "stateIncompatibility/connectedCallExists"},
		{"ConsultationCall of nothing", nil, func(w *world) any { return w.consult("X100", "102") }, noConnection},
		{"ConsultationCall while ringing", (*world).ringing, func(w *world) any { return w.consult("X101", "102") }, "stateIncompatibility/noActiveCall"},
		{"ConsultationCall on hold", onHold, func(w *world) any { return w.consult("X100", "102") }, "stateIncompatibility/noActiveCall"},
		{"ConsultationCall to nothing", (*world).talking, func(w *world) any { return w.consult("X100", "") }, "operation/invalidCalledDeviceID"},
		{"a third call", (*world).consulted, func(w *world) any { return w.consult("Y100", "103") }, "stateIncompatibility/invalidCallingDeviceState"},
		{"AlternateCall of nothing", nil, func(w *world) any { return w.alternate("X100", "Y100") }, held},
		{"AlternateCall without active call", onHold, func(w *world) any { return w.alternate("X100", "Y100") }, active},
		{"AlternateCall the wrong way round", (*world).consulted, func(w *world) any { return w.alternate("Y100", "X100") }, "stateIncompatibility/invalidHeldConnectionState"},
		{"AlternateCall of two devices", (*world).consulted, func(w *world) any { return w.alternate("X100", "Y102") }, "operation/notSameDevice"},
		{"AlternateCall of one call", (*world).consulted, func(w *world) any { return w.alternate("X100", "X100") }, active},
		{"AlternateCall with a call that rings here", func(w *world) { onHold(w); w.must(w.makeCall("102", "100")) }, func(w *world) any { return w.alternate("X100", "Y100") }, "stateIncompatibility/invalidActiveConnectionState"},
		{"ReconnectCall of nothing", nil, func(w *world) any { return w.reconnect("Y100", "X100") }, held},
		{"ReconnectCall with a call that rings here", func(w *world) { onHold(w); w.must(w.makeCall("102", "100")) }, func(w *world) any { return w.reconnect("Y100", "X100") }, "stateIncompatibility/invalidActiveConnectionState"},
		{"TransferCall of nothing", nil, func(w *world) any { return w.transfer("X100", "Y100") }, held},
		{"TransferCall the wrong way round", (*world).consulted, func(w *world) any { return w.transfer("Y100", "X100") }, "stateIncompatibility/invalidHeldConnectionState"},
		{"TransferCall of two devices", (*world).consulted, func(w *world) any { return w.transfer("X100", "Y102") }, "operation/notSameDevice"},
		{"TransferCall to a busy phone", func(w *world) { w.talking(); w.must(w.consult("X100", "104")) }, func(w *world) any { return w.transfer("X100", "Y100") }, "stateIncompatibility/invalidActiveConnectionState"},
		{"TransferCall to no number", func(w *world) { w.talking(); w.must(w.consult("X100", "999")) }, func(w *world) any { return w.transfer("X100", "Y100") }, "stateIncompatibility/invalidActiveConnectionState"},
		{"TransferCall to the same party", func(w *world) { w.talking(); w.must(w.consult("X100", "101")) }, func(w *world) any { return w.transfer("X100", "Y100") }, "operation/notDifferentDevices"},
		{"SingleStepTransferCall of nothing", nil, func(w *world) any { return w.singleStep("X100", "102") }, active},
		{"SingleStepTransferCall while ringing", (*world).ringing, func(w *world) any { return w.singleStep("X101", "102") }, "stateIncompatibility/invalidActiveConnectionState"},
		{"SingleStepTransferCall before the answer", (*world).ringing, func(w *world) any { return w.singleStep("X100", "102") }, "stateIncompatibility/invalidActiveConnectionState"},
		{"SingleStepTransferCall on hold", onHold, func(w *world) any { return w.singleStep("X100", "102") }, "stateIncompatibility/invalidActiveConnectionState"},
		{"SingleStepTransferCall to nobody", (*world).talking, func(w *world) any { return w.singleStep("X100", "999") }, "operation/invalidDestination"},
		{"SingleStepTransferCall to itself", (*world).talking, func(w *world) any { return w.singleStep("X100", "100") }, "operation/invalidDestination"},
		{"SingleStepTransferCall to the other party", (*world).talking, func(w *world) any { return w.singleStep("X100", "101") }, "operation/notDifferentDevices"},
		{"ConferenceCall of nothing", nil, func(w *world) any { return w.conference("X100", "Y100") }, held},
		{"ConferenceCall while the third party rings", (*world).consulting, func(w *world) any { return w.conference("X100", "Y100") }, "stateIncompatibility/invalidActiveConnectionState"},
		{"DeflectCall of nothing", nil, func(w *world) any { return w.deflect("X101", "102") }, noConnection},
		{"DeflectCall after the answer", (*world).talking, func(w *world) any { return w.deflect("X101", "102") }, "stateIncompatibility/invalidConnectionState"},
		{"DeflectCall by the caller", (*world).ringing, func(w *world) any { return w.deflect("X100", "102") }, "stateIncompatibility/invalidConnectionState"},
		{"DeflectCall to nobody", (*world).ringing, func(w *world) any { return w.deflect("X101", "999") }, "operation/invalidDestination"},
		{"DeflectCall to the caller", (*world).ringing, func(w *world) any { return w.deflect("X101", "100") }, "operation/invalidDestination"},
		{"ClearCall of nothing", nil, func(w *world) any { return w.clearCall("X100") }, noConnection},
		{"SingleStepConferenceCall of nothing", nil, func(w *world) any { return w.add("X100", "102", uacsta.ParticipationActive) }, active},
		{"SingleStepConferenceCall before the answer", (*world).ringing, func(w *world) any { return w.add("X100", "102", uacsta.ParticipationActive) }, "stateIncompatibility/invalidActiveConnectionState"},
		{"SingleStepConferenceCall on hold", onHold, func(w *world) any { return w.add("X100", "102", uacsta.ParticipationActive) }, "stateIncompatibility/invalidActiveConnectionState"},
		{"SingleStepConferenceCall with nobody", (*world).talking, func(w *world) any { return w.add("X100", "999", uacsta.ParticipationActive) }, "operation/invalidDestination"},
		{"SingleStepConferenceCall with a party", (*world).talking, func(w *world) any { return w.add("X100", "101", uacsta.ParticipationActive) }, "operation/notDifferentDevices"},
		{"SingleStepConferenceCall with a busy phone", (*world).talking, func(w *world) any { return w.add("X100", "104", uacsta.ParticipationActive) }, "stateIncompatibility/invalidDestinationDeviceState"},
		{"SingleStepConferenceCall in no way", (*world).talking, func(w *world) any { return w.add("X100", "102", "none") }, "operation/invalidParticipationType"},
		{"DirectedPickupCall of nothing", nil, func(w *world) any { return w.pickUp("X101", "102") }, noConnection},
		{"DirectedPickupCall after the answer", (*world).talking, func(w *world) any { return w.pickUp("X101", "102") }, "stateIncompatibility/invalidConnectionState"},
		{"DirectedPickupCall by nobody", (*world).ringing, func(w *world) any { return w.pickUp("X101", "999") }, "operation/invalidDestination"},
		{"DirectedPickupCall by the caller", (*world).ringing, func(w *world) any { return w.pickUp("X101", "100") }, "operation/notDifferentDevices"},
		{"DirectedPickupCall by a busy phone", (*world).ringing, func(w *world) any { return w.pickUp("X101", "104") }, "stateIncompatibility/invalidDestinationDeviceState"},
		{"GenerateDigits of nothing", nil, func(w *world) any { return digits(w, "X100", "1", uacsta.DTMF) }, noConnection},
		{"GenerateDigits while ringing", (*world).ringing, func(w *world) any { return digits(w, "X101", "1", uacsta.DTMF) }, "stateIncompatibility/noActiveCall"},
		{"GenerateDigits by pulses", (*world).talking, func(w *world) any { return digits(w, "X100", "1", uacsta.RotaryPulse) }, "operation/digitModeNotSupported"},
		{"GenerateDigits of letters", (*world).talking, func(w *world) any { return digits(w, "X100", "1x", uacsta.DTMF) }, "operation/charactersToSendNotSupported"},
		{"SetForwarding of nobody", nil, func(w *world) any { return w.forward("999", uacsta.ForwardImmediate, true, "102", 0) }, "operation/invalidDeviceID"},
		{"SetForwarding to nobody", nil, func(w *world) any { return w.forward("101", uacsta.ForwardImmediate, true, "999", 0) }, "operation/invalidForwardingDestination"},
		{"SetForwarding to itself", nil, func(w *world) any { return w.forward("101", uacsta.ForwardImmediate, true, "101", 0) }, "operation/invalidForwardingDestination"},
		{"SetForwarding of another type", nil, func(w *world) any { return w.forward("101", "forwardAlways", true, "102", 0) }, "operation/invalidForwardingType"},
		{"SetForwarding after too many rings", nil, func(w *world) any { return w.forward("101", uacsta.ForwardNoAns, true, "102", 101) }, "operation/invalidRingCount"},
		{"GetForwarding of nobody", nil, func(*world) any { return uacsta.GetForwarding{Device: uacsta.Dev("999")} }, "operation/invalidDeviceID"},
		{"GetDoNotDisturb of nobody", nil, func(*world) any { return uacsta.GetDoNotDisturb{Device: uacsta.Dev("999")} }, "operation/invalidDeviceID"},
		{"SetDoNotDisturb of nobody", nil, func(*world) any { return uacsta.SetDoNotDisturb{Device: uacsta.Dev("999")} }, "operation/invalidDeviceID"},
		{"SnapshotDevice of nobody", nil, func(*world) any { return uacsta.SnapshotDevice{SnapshotObject: uacsta.Dev("999")} }, "operation/invalidDeviceID"},
		{"SnapshotCall of nothing", nil, func(w *world) any { return uacsta.SnapshotCall{SnapshotObject: w.conn("X100")} }, noConnection},
		{"MonitorStart on nobody", nil, func(*world) any {
			d := uacsta.Dev("999")
			return uacsta.MonitorStart{MonitorObject: uacsta.MonitorObject{DeviceObject: &d}}
		}, "operation/invalidDeviceID"},
		{"MonitorStart on a call of the device type", (*world).talking, func(w *world) any {
			c := w.conn("X100")
			return uacsta.MonitorStart{MonitorObject: uacsta.MonitorObject{CallObject: &c}, MonitorType: uacsta.MonitorDevice}
		}, "operation/invalidMonitorType"},
		{"MonitorStart on no call", nil, func(w *world) any {
			c := w.conn("X100")
			return uacsta.MonitorStart{MonitorObject: uacsta.MonitorObject{CallObject: &c}}
		}, noConnection},
		{"MonitorStart on nothing", nil, func(*world) any { return uacsta.MonitorStart{} }, "operation/invalidMonitorObject"},
		{"MonitorStop of nothing", nil, func(*world) any { return uacsta.MonitorStop{MonitorCrossRefID: "x"} }, "operation/invalidMonitorCrossRefID"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				if tt.setup != nil {
					tt.setup(w)
				}
				w.events()
				_, err := w.do(tt.do(w))
				if got := refusal(err); got != tt.want {
					t.Errorf("refused with %q, want %q", got, tt.want)
				}
				w.expect(tt.name, "answer")
				w.finish()
			})
		})
	}
}

func TestUnknownService(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		for _, doc := range []string{"<WashDishes/>", "<PlayMessage/>"} {
			m, err := uacsta.Parse([]byte(doc))
			if err != nil {
				t.Fatal(err)
			}
			w.sw.Request(m, func(_ *uacsta.Message, err error) {
				if got := refusal(err); got != "operation/serviceNotSupported" {
					t.Errorf("%s: %q", doc, got)
				}
			})
		}
		w.finish()
	})
}

func TestSnapshots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.consulting()
		var device uacsta.SnapshotDeviceResponse
		if err := w.must(uacsta.SnapshotDevice{SnapshotObject: uacsta.Dev("100")}).Decode(&device); err != nil {
			t.Fatal(err)
		}
		calls := device.CrossRefIDorSnapshotData.SnapshotData.SnapshotDeviceResponseInfo
		if len(calls) != 2 || calls[0].ConnectionIdentifier.CallID != w.conn("X100").CallID || calls[0].EndpointDevice.Device.ID != "101" ||
			calls[0].LocalCallState.CompoundCallState[0] != uacsta.Hold || calls[0].LocalCallState.CompoundCallState[1] != uacsta.Connected ||
			calls[1].LocalCallState.CompoundCallState[0] != uacsta.Connected || calls[1].LocalCallState.CompoundCallState[1] != uacsta.Alerting {
			t.Errorf("%+v", calls)
		}
		var call uacsta.SnapshotCallResponse
		if err := w.must(uacsta.SnapshotCall{SnapshotObject: w.conn("Y102")}).Decode(&call); err != nil {
			t.Fatal(err)
		}
		parties := call.CrossRefIDorSnapshotData.SnapshotData.SnapshotCallResponseInfo
		if len(parties) != 2 || parties[1].LocalConnectionInfo != uacsta.Alerting || call.CallingDevice.Device.ID != "100" || call.CalledDevice.Device.ID != "102" {
			t.Errorf("%+v", call)
		}
		var none uacsta.SnapshotDeviceResponse
		if err := w.must(uacsta.SnapshotDevice{SnapshotObject: uacsta.Dev("103")}).Decode(&none); err != nil || none.CrossRefIDorSnapshotData.SnapshotData == nil {
			t.Errorf("a device without calls: %v %+v", err, none)
		}
		var forwarding uacsta.GetForwardingResponse
		w.must(w.forward("101", uacsta.ForwardNoAns, true, "102", 4))
		if err := w.must(uacsta.GetForwarding{Device: uacsta.Dev("101")}).Decode(&forwarding); err != nil {
			t.Fatal(err)
		}
		if l := forwarding.ForwardingList; len(l) != 3 || l[0].ForwardStatus || !l[2].ForwardStatus || l[2].ForwardDN.ID != "102" || *l[2].RingCount != 4 {
			t.Errorf("%+v", l)
		}
		w.finish()
	})
}
