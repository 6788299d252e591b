package tests

import (
	"testing"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// placed calls a virtual phone and returns the callID.
func (o *overseer) placed(from, to string) string {
	o.t.Helper()
	return o.must(call(from, to)).Text("callingDevice/callID")
}

// answered is placed, and the called phone answers.
func (o *overseer) answered(from, to string) string {
	o.t.Helper()
	id := o.placed(from, to)
	o.must(uacsta.AnswerCall{CallToBeAnswered: uacsta.Conn(id, to)})
	return id
}

// refuses sends a request that must be refused with an error.
func (o *overseer) refuses(req any, value string) {
	o.t.Helper()
	if res := o.ask(req); res.Err() == nil || res.Err().Value != value {
		o.t.Errorf("%T: %s", req, res)
	}
}

// A request with the callID that a call had before its transfer reaches the resulting connection.
func TestOldCallIDs(t *testing.T) {
	t.Parallel()
	r := serve(t, everybody)
	o := r.watch("1001", "1002")
	first := o.answered("1000", "1001")
	second := o.must(uacsta.ConsultationCall{ExistingCall: uacsta.Conn(first, "1000"), ConsultedDevice: uacsta.Dev("1002")}).Text("initiatedCall/callID")
	o.must(uacsta.AnswerCall{CallToBeAnswered: uacsta.Conn(second, "1002")})
	o.must(uacsta.TransferCall{HeldCall: uacsta.Conn(first, "1000"), ActiveCall: uacsta.Conn(second, "1000")})
	o.must(uacsta.HoldCall{CallToBeHeld: uacsta.Conn(first, "1001")})
	o.until("1001", "Transfered")
	held := o.until("1001", "Held")
	if id := held.Text("heldConnection/callID"); id == first || id == second || id == "" {
		t.Errorf("%s", held)
	}
	o.refuses(uacsta.HoldCall{CallToBeHeld: uacsta.Conn(first, "1000")}, uacsta.InvalidConnectionID)
	o.must(uacsta.RetrieveCall{CallToBeRetrieved: uacsta.Conn(first, "1001")})
	o.must(uacsta.ClearConnection{ConnectionToBeCleared: uacsta.Conn(second, "1002")})
	o.until("1001", "ConnectionCleared")
	r.stop()
}

// A callID alone, or a device alone, stands for the one connection that the service can be carried out on.
func TestConnectionsNamedInPart(t *testing.T) {
	t.Parallel()
	r := serve(t, everybody)
	o := r.watch("1001")
	first := o.placed("1000", "1001")
	o.must(uacsta.AnswerCall{CallToBeAnswered: uacsta.Conn(first, "")}) // of the two that are in the call only one rings
	o.until("1001", "Established")
	o.refuses(uacsta.HoldCall{CallToBeHeld: uacsta.Conn(first, "")}, uacsta.InvalidConnectionID)
	o.must(uacsta.HoldCall{CallToBeHeld: uacsta.Conn("", "1001")})
	o.until("1001", "Held")
	second := o.placed("1002", "1001")
	o.must(uacsta.AnswerCall{CallToBeAnswered: uacsta.Conn("", "1001")})
	if ev := o.until("1001", "Established"); ev.Text("establishedConnection/callID") != second {
		t.Errorf("%s", ev)
	}
	o.refuses(uacsta.ClearConnection{ConnectionToBeCleared: uacsta.Conn("", "1001")}, uacsta.InvalidConnectionID)
	o.must(uacsta.TransferCall{HeldCall: uacsta.Conn("", "1001"), ActiveCall: uacsta.Conn("", "1001")})
	o.until("1001", "Transfered")
	o.refuses(uacsta.HoldCall{CallToBeHeld: uacsta.Conn("", "1001")}, uacsta.InvalidConnectionID)
	r.stop()
}

// A call that is deflected to several numbers rings at all of them; the first that answers has it, and the others stop.
func TestDeflectToSeveral(t *testing.T) {
	t.Parallel()
	r := serve(t, "  trunks: [{number: \"900\", prefixes: [\"0\"]}]\n"+diallers)
	o := r.watch("1000", "1002", "1003")
	id := o.placed("1000", "1001")
	to := []uacsta.DeviceID{uacsta.Dev("1002"), uacsta.Dev("1003"), uacsta.Dev("0170")}
	o.must(uacsta.DeflectCall{CallToBeDiverted: uacsta.Conn(id, "1001"), NewDestination: to})
	for _, d := range to {
		if ev := o.until("1000", "Diverted"); ev.Text("newDestination/deviceIdentifier") != d.ID {
			t.Errorf("%s", ev)
		}
	}
	for _, device := range []string{"1002", "1003"} {
		if ev := o.until("1000", "Delivered"); ev.Text("alertingDevice/deviceIdentifier") != device || ev.Text("cause") != "redirected" {
			t.Errorf("%s", ev)
		}
	}
	o.must(uacsta.AnswerCall{CallToBeAnswered: uacsta.Conn(id, "1003")})
	o.until("1003", "Established")
	o.until("1002", "ConnectionCleared")
	if left := o.calls("1000"); len(left) != 1 {
		t.Errorf("%v", left)
	}
	for _, device := range []string{"1002", "900"} {
		if left := o.calls(device); len(left) != 0 {
			t.Errorf("%s: %v", device, left)
		}
	}
	o.refuses(uacsta.DeflectCall{CallToBeDiverted: uacsta.Conn(id, "1003"), NewDestination: to}, uacsta.InvalidConnectionState)
	// The deflected call is one where all are busy: refused, and it goes on ringing.
	for _, n := range []string{"1005", "1006"} {
		o.must(uacsta.SetDoNotDisturb{Device: uacsta.Dev(n), DoNotDisturbOn: true})
	}
	second := o.placed("1007", "1002")
	o.refuses(uacsta.DeflectCall{CallToBeDiverted: uacsta.Conn(second, "1002"), NewDestination: []uacsta.DeviceID{uacsta.Dev("1005"), uacsta.Dev("1006")}}, uacsta.InvalidDestinationDeviceState)
	o.must(uacsta.AnswerCall{CallToBeAnswered: uacsta.Conn(second, "1002")})
	r.stop()
}

// A call that a client transfers returns to the device that has transferred it, if nobody takes it: neither the device
// that rings, nor a busy one on which it camps. A call that camps by itself fails again.
func TestRecall(t *testing.T) {
	t.Parallel()
	r := serve(t, "  - {number: \"1900\", busy: true}\n  alert-time: 5s\n  camp-on-time: 3s\n"+everybody)
	o := r.watch("1000", "1001")
	returns := func(id, cause string) {
		t.Helper()
		if ev := o.until("1000", "Diverted"); ev.Text("newDestination/deviceIdentifier") != "1001" || ev.Text("cause") != cause {
			t.Errorf("%s", ev)
		}
		if ev := o.until("1001", "Delivered"); ev.Text("alertingDevice/deviceIdentifier") != "1001" || ev.Text("cause") != cause || ev.Text("connection/callID") != id {
			t.Errorf("%s", ev)
		}
		o.must(uacsta.AnswerCall{CallToBeAnswered: uacsta.Conn(id, "1001")})
		o.until("1001", "Established")
		o.must(uacsta.ClearConnection{ConnectionToBeCleared: uacsta.Conn(id, "1001")})
		o.until("1000", "ConnectionCleared")
	}

	id := o.answered("1000", "1001")
	id = o.must(uacsta.SingleStepTransferCall{ActiveCall: uacsta.Conn(id, "1001"), TransferredTo: uacsta.Dev("1002")}).Text("transferredCall/callID")
	o.until("1001", "Transfered")
	returns(id, "recallNoAnswer")

	id = o.answered("1000", "1001")
	o.until("1000", "Delivered")
	second := o.must(uacsta.ConsultationCall{ExistingCall: uacsta.Conn(id, "1001"), ConsultedDevice: uacsta.Dev("1900")}).Text("initiatedCall/callID")
	o.until("1001", "Failed")
	o.must(uacsta.CamponCall{CamponConnection: uacsta.Conn(second, "1001")})
	o.until("1001", "Queued")
	if ev := o.until("1001", "Failed"); ev.Text("cause") != "busy" { // its time is over
		t.Errorf("%s", ev)
	}
	o.must(uacsta.CamponCall{CamponConnection: uacsta.Conn(second, "1001")})
	id = o.must(uacsta.TransferCall{HeldCall: uacsta.Conn(id, "1001"), ActiveCall: uacsta.Conn(second, "1001")}).Text("transferredCall/callID")
	o.until("1001", "Transfered")
	returns(id, "recallBusy")
	r.stop()
}

// An extension with a second number: calls to it reach the extension, requests and monitors that name it are about the
// extension, and the extension calls from it.
func TestSecondNumber(t *testing.T) {
	t.Parallel()
	r := serve(t, "  - {number: \"1900\", second-numbers: [\"1950\"]}\n"+everybody)
	o := r.watch("1950")
	says := func(ev *uacsta.Message, fields map[string]string) {
		t.Helper()
		for path, want := range fields {
			if ev.Text(path+"/deviceIdentifier") != want {
				t.Errorf("%s is not %s: %s", path, want, ev)
			}
		}
	}
	id := o.placed("1000", "1950")
	says(o.until("1950", "Delivered"), map[string]string{"alertingDevice": "1900", "calledDevice": "1950"})
	o.must(uacsta.AnswerCall{CallToBeAnswered: uacsta.Conn(id, "1950")})
	says(o.until("1950", "Established"), map[string]string{"answeringDevice": "1900", "calledDevice": "1950"})
	o.must(uacsta.ClearConnection{ConnectionToBeCleared: uacsta.Conn(id, "1900")})
	o.until("1950", "ConnectionCleared")
	id = o.placed("1950", "1001")
	says(o.until("1950", "Delivered"), map[string]string{"callingDevice": "1950", "calledDevice": "1001"})
	if own := o.calls("1950"); len(own) != 1 || own[0].CallID != id || own[0].DeviceID.ID != "1900" {
		t.Errorf("%+v", own)
	}
	if info := o.must(uacsta.GetLogicalDeviceInformation{Device: uacsta.Dev("1950")}); info.PrivateText("secondNumbers") != "1950" {
		t.Errorf("%s", info)
	}
	r.stop()
}
