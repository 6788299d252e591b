package softswitch

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tr87proxy/tr87proxy/tests/schema"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// Every service from a situation it fits: the answer, then what each party's
// monitor sees (ECMA-269 call model).
func TestServices(t *testing.T) {
	var emitted []*uacsta.Message
	for _, tt := range []struct {
		name  string
		setup func(*world)
		do    func(*world) any
		want  []string
	}{
		{"MakeCall without prompt", nil, func(w *world) any { return w.makeCall("100", "101") }, []string{
			"answer", "100: ServiceInitiated X100 initiated makeCall", "100: Originated X100 connected newCall",
			"100: Delivered X101 connected newCall", "101: Delivered X101 alerting newCall",
		}},
		{"MakeCall with prompt", nil, func(*world) any {
			return uacsta.MakeCall{CallingDevice: uacsta.Dev("100"), CalledDirectoryNumber: uacsta.Dev("101")}
		}, []string{"answer", "100: ServiceInitiated X100 initiated makeCall"}},
		{"AnswerCall of a prompted phone", func(w *world) {
			w.must(uacsta.MakeCall{CallingDevice: uacsta.Dev("100"), CalledDirectoryNumber: uacsta.Dev("101"), AutoOriginate: uacsta.Prompt})
		}, func(w *world) any { return w.answer("X100") }, []string{
			"answer", "100: Originated X100 connected newCall", "100: Delivered X101 connected newCall", "101: Delivered X101 alerting newCall",
		}},
		{"MakeCall to a busy phone", nil, func(w *world) any { return w.makeCall("100", "104") }, []string{
			"answer", "100: ServiceInitiated X100 initiated makeCall", "100: Originated X100 connected newCall",
			"100: Failed X104 connected busy", "104: Failed X104 fail busy",
		}},
		{"MakeCall to no number", nil, func(w *world) any { return w.makeCall("100", "999") }, []string{
			"answer", "100: ServiceInitiated X100 initiated makeCall", "100: Originated X100 connected newCall", "100: Failed X100 fail destNotObtainable",
		}},
		{"MakeCall to itself", nil, func(w *world) any { return w.makeCall("100", "100") }, []string{
			"answer", "100: ServiceInitiated X100 initiated makeCall", "100: Originated X100 connected newCall", "100: Failed X100 fail busy",
		}},
		{"MakeCall to a phone not to be disturbed", func(w *world) {
			w.must(uacsta.SetDoNotDisturb{Device: uacsta.Dev("101"), DoNotDisturbOn: true})
		}, func(w *world) any { return w.makeCall("100", "101") }, []string{
			"answer", "100: ServiceInitiated X100 initiated makeCall", "100: Originated X100 connected newCall",
			"100: Failed X101 connected doNotDisturb", "101: Failed X101 fail doNotDisturb",
		}},
		{"AnswerCall", (*world).ringing, func(w *world) any { return w.answer("X101") }, []string{
			"answer", "100: Established X101 connected newCall", "101: Established X101 connected newCall",
		}},
		{"ClearConnection by the caller, unanswered", (*world).ringing, func(w *world) any { return w.clear("X100") }, []string{
			"answer", "100: ConnectionCleared X100 null callCancelled", "101: ConnectionCleared X100 alerting callCancelled", "101: ConnectionCleared X101 null callNotAnswered",
		}},
		{"ClearConnection by the called", (*world).talking, func(w *world) any { return w.clear("X101") }, []string{
			"answer", "101: ConnectionCleared X101 null normalClearing", "100: ConnectionCleared X101 connected normalClearing", "100: ConnectionCleared X100 null normalClearing",
		}},
		{"ClearConnection after busy", func(w *world) { w.must(w.makeCall("100", "104")) }, func(w *world) any { return w.clear("X100") }, []string{
			"answer", "100: ConnectionCleared X100 null normalClearing", "104: ConnectionCleared X100 fail normalClearing", "104: ConnectionCleared X104 null normalClearing",
		}},
		{"HoldCall", (*world).talking, func(w *world) any { return w.hold("X100") }, []string{
			"answer", "100: Held X100 hold normal", "101: Held X100 connected normal",
		}},
		{"RetrieveCall", func(w *world) { w.talking(); w.must(w.hold("X100")) }, func(w *world) any { return w.retrieve("X100") }, []string{
			"answer", "100: Retrieved X100 connected normal", "101: Retrieved X100 connected normal",
		}},
		{"ConsultationCall", (*world).talking, func(w *world) any { return w.consult("X100", "102") }, []string{
			"answer", "100: Held X100 hold consultation", "101: Held X100 connected consultation",
			"100: ServiceInitiated Y100 initiated consultation", "100: Originated Y100 connected consultation",
			"100: Delivered Y102 connected consultation", "102: Delivered Y102 alerting consultation",
		}},
		{"AlternateCall", (*world).consulted, func(w *world) any { return w.alternate("X100", "Y100") }, []string{
			"answer", "100: Held Y100 hold alternate", "102: Held Y100 connected alternate", "100: Retrieved X100 connected alternate", "101: Retrieved X100 connected alternate",
		}},
		{"ReconnectCall", (*world).consulted, func(w *world) any { return w.reconnect("Y100", "X100") }, []string{
			"answer", "100: ConnectionCleared Y100 null normalClearing", "102: ConnectionCleared Y100 connected normalClearing", "102: ConnectionCleared Y102 null normalClearing",
			"100: Retrieved X100 connected normal", "101: Retrieved X100 connected normal",
		}},
		{"TransferCall", (*world).consulted, func(w *world) any { return w.transfer("X100", "Y100") }, []string{
			"answer", "100: Transfered X100 Y100 Z101 Z102 null transfer", "101: Transfered X100 Y100 Z101 Z102 connected transfer", "102: Transfered X100 Y100 Z101 Z102 connected transfer",
		}},
		{"TransferCall while the third party rings", (*world).consulting, func(w *world) any { return w.transfer("X100", "Y100") }, []string{
			"answer", "100: Transfered X100 Y100 Z101 Z102 null transfer", "101: Transfered X100 Y100 Z101 Z102 connected transfer", "102: Transfered X100 Y100 Z101 Z102 alerting transfer",
		}},
		{"AnswerCall after that", func(w *world) { w.consulting(); w.must(w.transfer("X100", "Y100")) }, func(w *world) any { return w.answer("Z102") }, []string{
			"answer", "101: Established Z102 via100 connected newCall", "102: Established Z102 via100 connected newCall",
		}},
		{"SingleStepTransferCall", (*world).talking, func(w *world) any { return w.singleStep("X100", "102") }, []string{
			"answer", "100: Transfered X100 Y101 Y102 null singleStepTransfer", "101: Transfered X100 Y101 Y102 connected singleStepTransfer",
			"101: Delivered Y102 via100 connected singleStepTransfer", "102: Delivered Y102 via100 alerting singleStepTransfer",
		}},
		{"SingleStepTransferCall to a busy phone", (*world).talking, func(w *world) any { return w.singleStep("X100", "104") }, []string{
			"answer", "100: Transfered X100 Y101 Y104 null singleStepTransfer", "101: Transfered X100 Y101 Y104 connected singleStepTransfer",
			"104: Diverted Y104 100 via100 null recallBusy", "101: Diverted Y104 100 via100 connected recallBusy",
			"101: Delivered Y100 via104 connected recallBusy", "100: Delivered Y100 via104 alerting recallBusy",
		}},
		{"ConferenceCall", (*world).consulted, func(w *world) any { return w.conference("X100", "Y100") }, []string{
			"answer", "100: Conferenced X100 Y100 Z100 Z101 Z102 connected conference", "101: Conferenced X100 Y100 Z100 Z101 Z102 connected conference", "102: Conferenced X100 Y100 Z100 Z101 Z102 connected conference",
		}},
		{"ClearConnection in a conference", func(w *world) { w.consulted(); w.must(w.conference("X100", "Y100")) }, func(w *world) any { return w.clear("Z100") }, []string{
			"answer", "100: ConnectionCleared Z100 null normalClearing", "101: ConnectionCleared Z100 connected normalClearing", "102: ConnectionCleared Z100 connected normalClearing",
		}},
		{"DeflectCall", (*world).ringing, func(w *world) any { return w.deflect("X101", "102") }, []string{
			"answer", "101: Diverted X101 102 null redirected", "100: Diverted X101 102 connected redirected",
			"100: Delivered X102 via101 connected redirected", "102: Delivered X102 via101 alerting redirected",
		}},
		{"ClearCall", (*world).talking, func(w *world) any { return w.clearCall("X101") }, []string{
			"answer", "100: ConnectionCleared X100 null normalClearing", "101: ConnectionCleared X100 connected normalClearing", "101: ConnectionCleared X101 null normalClearing",
		}},
		{"ClearCall of a conference", func(w *world) { w.consulted(); w.must(w.conference("X100", "Y100")) }, func(w *world) any { return w.clearCall("Z100") }, []string{
			"answer", "100: ConnectionCleared Z100 null normalClearing", "101: ConnectionCleared Z100 connected normalClearing", "102: ConnectionCleared Z100 connected normalClearing",
			"101: ConnectionCleared Z101 null normalClearing", "102: ConnectionCleared Z101 connected normalClearing", "102: ConnectionCleared Z102 null normalClearing",
		}},
		{"SingleStepConferenceCall", (*world).talking, func(w *world) any { return w.add("X100", "102", uacsta.ParticipationActive) }, []string{
			"answer", "100: Conferenced X100 X100 X101 X102 connected activeParticipation", "101: Conferenced X100 X100 X101 X102 connected activeParticipation", "102: Conferenced X100 X100 X101 X102 connected activeParticipation",
		}},
		{"SingleStepConferenceCall, silent", (*world).talking, func(w *world) any { return w.add("X100", "102", uacsta.ParticipationSilent) }, []string{
			"answer", "100: Conferenced X100 X100 X101 X102 connected silentParticipation", "101: Conferenced X100 X100 X101 X102 connected silentParticipation", "102: Conferenced X100 X100 X101 X102 connected silentParticipation",
		}},
		{"DirectedPickupCall", (*world).ringing, func(w *world) any { return w.pickUp("X101", "102") }, []string{
			"answer", "101: Diverted X101 102 null callPickup", "100: Diverted X101 102 connected callPickup",
			"100: Established X102 via101 connected callPickup", "102: Established X102 via101 connected callPickup",
		}},
		{"DirectedPickupCall from hold", func(w *world) { w.talking(); w.must(w.hold("X101")) }, func(w *world) any { return w.pickUp("X101", "102") }, []string{
			"answer", "101: Diverted X101 102 null callPickup", "100: Diverted X101 102 connected callPickup",
			"100: Established X102 via101 connected callPickup", "102: Established X102 via101 connected callPickup",
		}},
		{"GenerateDigits", (*world).talking, func(w *world) any {
			return uacsta.GenerateDigits{ConnectionToSendDigits: w.conn("X100"), DigitMode: uacsta.DTMF, CharactersToSend: "1#"}
		}, []string{"answer", "100: DigitsGenerated X100 1#", "101: DigitsGenerated X100 1#", "101: DtmfDetected X100 normal 1", "101: DtmfDetected X100 normal #"}},
		{"SetForwarding", nil, func(w *world) any { return w.forward("101", uacsta.ForwardImmediate, true, "102", 0) }, []string{"answer", "101: Forwarding forwardImmediate true"}},
		{"SetForwarding as it is", func(w *world) { w.must(w.forward("101", uacsta.ForwardBusy, true, "102", 0)) }, func(w *world) any { return w.forward("101", uacsta.ForwardBusy, true, "102", 0) }, []string{"answer"}},
		{"SetDoNotDisturb", nil, func(*world) any { return uacsta.SetDoNotDisturb{Device: uacsta.Dev("101"), DoNotDisturbOn: true} }, []string{"answer", "101: DoNotDisturb true"}},
		{"a call forwarded always", func(w *world) { w.must(w.forward("101", uacsta.ForwardImmediate, true, "102", 0)) }, func(w *world) any { return w.makeCall("100", "101") }, []string{
			"answer", "100: ServiceInitiated X100 initiated makeCall", "100: Originated X100 connected newCall",
			"101: Diverted X101 102 null callForwardImmediate", "100: Diverted X101 102 connected callForwardImmediate",
			"100: Delivered X102 via101 connected callForwardImmediate", "102: Delivered X102 via101 alerting callForwardImmediate",
		}},
		{"a call forwarded on busy", func(w *world) { w.must(w.forward("104", uacsta.ForwardBusy, true, "102", 0)) }, func(w *world) any { return w.makeCall("100", "104") }, []string{
			"answer", "100: ServiceInitiated X100 initiated makeCall", "100: Originated X100 connected newCall",
			"104: Diverted X104 102 null callForwardBusy", "100: Diverted X104 102 connected callForwardBusy",
			"100: Delivered X102 via104 connected callForwardBusy", "102: Delivered X102 via104 alerting callForwardBusy",
		}},
		{"a chain of forwarding", func(w *world) {
			w.must(w.forward("101", uacsta.ForwardImmediate, true, "104", 0))
			w.must(w.forward("104", uacsta.ForwardBusy, true, "102", 0))
		}, func(w *world) any { return w.makeCall("100", "101") }, []string{
			"answer", "100: ServiceInitiated X100 initiated makeCall", "100: Originated X100 connected newCall",
			"101: Diverted X101 104 null callForwardImmediate", "100: Diverted X101 104 connected callForwardImmediate",
			"104: Diverted X104 102 via101 null callForwardBusy", "100: Diverted X104 102 via101 connected callForwardBusy",
			"100: Delivered X102 via104 connected callForwardBusy", "102: Delivered X102 via104 alerting callForwardBusy",
		}},
		{"a circle of forwarding", func(w *world) {
			w.must(w.forward("101", uacsta.ForwardImmediate, true, "102", 0))
			w.must(w.forward("102", uacsta.ForwardImmediate, true, "101", 0))
		}, func(w *world) any { return w.makeCall("100", "101") }, []string{
			"answer", "100: ServiceInitiated X100 initiated makeCall", "100: Originated X100 connected newCall",
			"101: Diverted X101 102 null callForwardImmediate", "100: Diverted X101 102 connected callForwardImmediate",
			"102: Diverted X102 101 via101 null callForwardImmediate", "100: Diverted X102 101 via101 connected callForwardImmediate",
			"101: Diverted X101 102 via102 null callForwardImmediate", "100: Diverted X101 102 via102 connected callForwardImmediate",
			"102: Diverted X102 101 via101 null callForwardImmediate", "100: Diverted X102 101 via101 connected callForwardImmediate",
			"101: Diverted X101 102 via102 null callForwardImmediate", "100: Diverted X101 102 via102 connected callForwardImmediate",
			"100: Failed X100 via101 fail destNotObtainable",
		}},
		{"a second call waits", (*world).talking, func(w *world) any { return w.makeCall("102", "101") }, []string{
			"answer", "102: ServiceInitiated Y102 initiated makeCall", "102: Originated Y102 connected newCall", "102: Delivered Y101 connected newCall", "101: Delivered Y101 alerting newCall",
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				if tt.setup != nil {
					tt.setup(w)
				}
				w.events()
				w.must(tt.do(w))
				w.expect(tt.name, tt.want...)
				w.finish()
				emitted = append(emitted, w.raw...)
			})
		})
	}
	for _, edition := range []uacsta.Edition{uacsta.Edition3, uacsta.Edition6} {
		docs := map[string][]byte{}
		for i, m := range emitted {
			m.SetNamespace(edition.Namespace())
			docs[fmt.Sprintf("%s-%d", m.Name(), i)] = m.Bytes()
		}
		schema.Validate(t, int(edition), docs)
	}
}

// Timers: no answer, prompting, failed calls, phones that answer.
func TestTimes(t *testing.T) {
	for _, tt := range []struct {
		name  string
		phone Behaviour // of 101
		setup func(*world)
		after time.Duration
		want  []string
	}{
		{"forwarding on no answer", Behaviour{}, func(w *world) {
			w.must(w.forward("101", uacsta.ForwardNoAns, true, "102", 2))
			w.ringing()
		}, 10 * second, []string{
			"101: Diverted X101 102 null callForwardNoAnswer", "100: Diverted X101 102 connected callForwardNoAnswer",
			"100: Delivered X102 via101 connected callForwardNoAnswer", "102: Delivered X102 via101 alerting callForwardNoAnswer",
		}},
		{"nobody answers at all", Behaviour{}, (*world).ringing, 3 * time.Minute, []string{
			"101: ConnectionCleared X101 null callNotAnswered", "100: ConnectionCleared X101 connected callNotAnswered", "100: ConnectionCleared X100 null normalClearing",
		}},
		{"a prompted phone is not lifted", Behaviour{}, func(w *world) {
			w.must(uacsta.MakeCall{CallingDevice: uacsta.Dev("100"), CalledDirectoryNumber: uacsta.Dev("101")})
		}, 30 * second, []string{"100: ConnectionCleared X100 null callNotAnswered"}},
		{"a failed call is cleared", Behaviour{Busy: true}, (*world).ringing, 30 * second, []string{
			"101: ConnectionCleared X101 null normalClearing", "100: ConnectionCleared X101 connected normalClearing", "100: ConnectionCleared X100 null normalClearing",
		}},
		{"a phone that answers", Behaviour{Answer: 2 * second}, (*world).ringing, 2 * second, []string{
			"100: Established X101 connected newCall", "101: Established X101 connected newCall",
		}},
		{"a phone that is lifted when prompted", Behaviour{Answer: 2 * second}, func(w *world) {
			w.must(uacsta.MakeCall{CallingDevice: uacsta.Dev("101"), CalledDirectoryNumber: uacsta.Dev("102")})
		}, 2 * second, []string{
			"101: Originated X101 connected newCall", "101: Delivered X102 connected newCall", "102: Delivered X102 alerting newCall",
		}},
		{"a call answered in time is not forwarded", Behaviour{}, func(w *world) {
			w.must(w.forward("101", uacsta.ForwardNoAns, true, "102", 2))
			w.talking()
		}, time.Hour, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, Extension{Number: "100"}, Extension{Number: "101", Phone: tt.phone}, Extension{Number: "102"})
				tt.setup(w)
				w.events()
				time.Sleep(tt.after - time.Millisecond)
				synctest.Wait()
				w.expect(tt.name + ", too early")
				time.Sleep(2 * time.Millisecond)
				synctest.Wait()
				w.expect(tt.name, tt.want...)
				w.finish()
			})
		})
	}
}
