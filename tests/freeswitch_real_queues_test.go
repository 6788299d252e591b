package tests

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// told waits for an event about a connection, and checks its cause.
func (c *cardTalk) told(device, event string, at uacsta.ConnectionID, cause uacsta.EventCause) {
	c.t.Helper()
	m := c.event(device, event)
	list := m.Connections()
	if len(list) == 0 || list[0].CallID() != at.CallID || list[0].DeviceID() != at.DeviceID.ID || m.Text("cause") != string(cause) {
		c.t.Errorf("%s is told %s, not of %v with %s", device, m, at, cause)
	}
}

// Whatever a program does with messages at the queue of the documents, its caller waits.
func TestRealFreeSWITCHQueue(t *testing.T) {
	t.Parallel()
	f := realFreeSWITCH(t)
	list := f.telephones("1001", "1002")
	r := f.front()
	o := talkTo(r, "1001", "1002", "029500")
	a := list[0].dials("9500").up()
	at := o.await("029500", "Queued")
	if at.DeviceID.ID != "029500" {
		t.Fatalf("%s waits", at.DeviceID.ID)
	}
	caller := uacsta.Conn(at.CallID, "1001")
	a.press("*")
	o.told("029500", "DtmfDetected", caller, uacsta.CauseDTMFDigitDetected)
	moment := 300
	for _, tt := range []struct {
		play  uacsta.PlayMessage
		end   func()
		cause uacsta.EventCause
	}{
		{uacsta.PlayMessage{}, func() { o.must(uacsta.Stop{Connection: at}) }, uacsta.CauseEndOfMessageDetected},
		{uacsta.PlayMessage{Duration: &moment}, func() {}, uacsta.CauseMessageDurationExceeded},
		{uacsta.PlayMessage{Termination: &uacsta.TerminatingConditions{DTMFDigitDetected: true}}, func() { a.press("5") }, uacsta.CauseDTMFDigitDetected},
	} {
		tt.play.MessageToBePlayed, tt.play.OverConnection = "tone", at
		o.must(tt.play)
		o.told("029500", "Play", at, uacsta.CauseNormal)
		a.hearsMusic()
		tt.end()
		o.told("029500", "Stop", at, tt.cause)
	}
	o.must(uacsta.PlayMessage{MessageToBePlayed: "nofile", OverConnection: at})
	o.told("029500", "Stop", at, uacsta.CauseResourcesNotAvailable)
	recorded := o.must(uacsta.RecordMessage{CallToBeRecorded: at}).Text("resultingMessage")
	o.told("029500", "Record", at, uacsta.CauseNormal)
	waitFor(t, "something recorded", func() bool {
		file, err := os.Stat(filepath.Join(f.Dir, recorded))
		return err == nil && file.Size() > 4000
	})
	o.must(uacsta.Stop{Connection: at})
	o.told("029500", "Stop", at, uacsta.CauseMessageDurationExceeded)
	o.must(uacsta.PlayMessage{MessageToBePlayed: recorded, OverConnection: at}) // the folder of messages is that of recordings
	o.told("029500", "Play", at, uacsta.CauseNormal)
	o.told("029500", "Stop", at, uacsta.CauseEndOfMessageDetected)
	if !a.lives() {
		t.Fatal("the caller has lost the call")
	}
	o.must(uacsta.DeflectCall{CallToBeDiverted: at, NewDestination: []uacsta.DeviceID{uacsta.Dev("1002")}})
	o.await("029500", "Diverted")
	b := list[1].rings()
	o.await("1002", "Delivered")
	hearEachOther(a, b.answers())
	o.await("1002", "Established")
	a.hangsUp()
	o.await("1002", "ConnectionCleared")
	f.idle()
	r.stop()
}

// A program answers callers at a queue, asks them what they want, and sends them on. The calls come in by a trunk that
// the dialplan names, and its monitor is told, too.
func TestRealFreeSWITCHMenu(t *testing.T) {
	t.Parallel()
	f := realFreeSWITCH(t)
	list, network := f.telephones("1002"), f.carrier()
	r := f.front()
	o := talkTo(r, "0120", "029400", "029401", "1002")
	for _, queue := range []string{"9400", "9401"} {
		a := network.dials("556" + queue)
		caller := o.await("0120", "Originated")
		at := o.await("02"+queue, "Queued")
		o.await("0120", "Queued")
		if queue == "9400" {
			o.must(uacsta.AnswerCall{CallToBeAnswered: at})
		}
		o.told("02"+queue, "Established", at, uacsta.CauseNewCall)
		a.up()
		o.must(uacsta.PlayMessage{MessageToBePlayed: "tone", OverConnection: at, Termination: &uacsta.TerminatingConditions{DTMFDigitDetected: true}})
		o.told("0120", "Play", at, uacsta.CauseNormal)
		a.hearsMusic()
		a.press("2")
		o.told("02"+queue, "DtmfDetected", caller, uacsta.CauseDTMFDigitDetected)
		o.told("0120", "DtmfDetected", caller, uacsta.CauseDTMFDigitDetected)
		o.told("02"+queue, "Stop", at, uacsta.CauseDTMFDigitDetected)
		o.must(uacsta.SingleStepTransferCall{ActiveCall: at, TransferredTo: uacsta.Dev("1002")})
		o.told("02"+queue, "Transfered", at, uacsta.CauseSingleStepTransfer)
		b := list[0].rings()
		o.await("1002", "Delivered")
		hearEachOther(a, b.answers())
		o.await("1002", "Established")
		b.hangsUp()
		o.told("0120", "ConnectionCleared", uacsta.Conn(at.CallID, "1002"), uacsta.CauseNormalClearing)
		o.told("0120", "ConnectionCleared", caller, uacsta.CauseNormalClearing)
		f.idle()
	}
	r.stop()
}

// When the link is lost and comes again, or a proxy starts, calls are what they were, whatever they do.
func TestRealFreeSWITCHComesBack(t *testing.T) {
	t.Parallel()
	f := realFreeSWITCH(t)
	list, network := f.telephones(f.Users...), f.carrier()
	r := f.front()
	devices := append([]string{"029500", "029600", "029700", "3001", "01carrier"}, f.Users...)
	named := []string{"0120", "029400"} // as nobody but an event of the dialplan has said
	o := talkTo(r, append(named, devices...)...)
	talk := func(from, to int) (at uacsta.ConnectionID, a, b *leg) {
		a = list[from].dials(list[to].number)
		b = list[to].rings().answers()
		return uacsta.Conn(o.await(list[from].number, "Established").CallID, list[from].number), a.up(), b
	}
	consult := func(from, to, other int) (held, active uacsta.ConnectionID) {
		held, _, _ = talk(from, to)
		active = o.consults(held, list[other].number)
		list[other].rings().answers()
		o.await(list[other].number, "Established")
		return held, active
	}
	for _, begin := range []func(){
		func() {
			list[0].dials("9500").up()
			o.await("1000", "Queued")
			list[1].dials("9500").up()
			o.await("1001", "Queued")
			list[2].dials("9400")
			o.await("1002", "Queued")
			list[3].dials("9700").up()
			o.await("1003", "Queued")
			for _, at := range []int{4, 5} {
				list[at].dials("9196").up()
				o.await(list[at].number, "Originated")
			}
			at, _, _ := talk(7, 8)
			o.must(uacsta.HoldCall{CallToBeHeld: at})
			o.await("1007", "Held")
			held, active := consult(9, 10, 11)
			o.must(uacsta.ConferenceCall{HeldCall: held, ActiveCall: active})
			o.await("1011", "Conferenced")
			for _, at := range []int{12, 13} {
				list[at].dials("3001").up()
				o.await("1012", map[int]string{12: "Established", 13: "Conferenced"}[at])
			}
			list[14].dials("1015").ringing()
			o.await("1015", "Delivered")
			o.must(uacsta.MakeCall{CallingDevice: uacsta.Dev("1016"), CalledDirectoryNumber: uacsta.Dev("1000")})
			list[16].rings()
			o.await("1016", "ServiceInitiated")
			o.must(uacsta.MakeCall{CallingDevice: uacsta.Dev("1017"), CalledDirectoryNumber: uacsta.Dev("1018")})
			list[17].rings().answers()
			list[18].rings()
			o.await("1018", "Delivered")
			list[19].dials("9600").up()
			list[6].rings()
			o.await("1006", "Delivered")
		},
		func() {
			list[19].dials("9600").up()
			list[6].rings().answers()
			o.await("1006", "Established")
			consult(0, 1, 2)
			held, active := consult(3, 4, 5)
			o.must(uacsta.TransferCall{HeldCall: held, ActiveCall: active})
			o.await("1005", "Transfered")
			a := list[8].dials("07123")
			network.rings().answers()
			a.up()
			o.await("01carrier", "Established")
			a = network.dials("5561009")
			list[9].rings().answers()
			a.up()
			o.await("0120", "Established")
		},
	} {
		begin()
		before := o.pictures(true, append(named, devices...)...)
		f.cut()
		waitFor(t, "the next connection", f.connected)
		r.linked("fs")
		if got := o.pictures(true, append(named, devices...)...); got != before {
			t.Errorf("there are\n%s\nnot\n%s", got, before)
		}
		other := f.front()
		if got, want := o.pictures(false, devices...), talkTo(other).pictures(false, devices...); !slices.Equal(queueless(got), queueless(want)) {
			t.Errorf("to a proxy that starts there are\n%s\nnot\n%s", got, want)
		}
		other.stop()
		f.api("hupall")
		f.idle()
		waitFor(t, "the end of all calls", func() bool { return o.pictures(false, append(named, devices...)...) == "" })
		for _, p := range append(list, network) { // calls that rang
			for len(p.arrived) > 0 {
				<-p.arrived
			}
		}
		o.early, o.news = nil, nil
	}
	r.stop()
}

// queueless is a picture without the caller at the queue that only an event has named: 1002.
func queueless(picture string) []string {
	return slices.DeleteFunc(strings.Split(picture, "\n"), func(line string) bool {
		return strings.HasPrefix(line, "1002 connected queued") || line == "1002 connected"
	})
}

// Telephones of two domains have the same numbers, and are two devices.
func TestRealFreeSWITCHDomains(t *testing.T) {
	t.Parallel()
	f := realFreeSWITCH(t, func(f *realSwitch) { f.Other = "other.test" })
	here, domain := f.telephones("1001", "1002"), f.Domain
	f.Domain = f.Other
	there := f.telephones("1001", "1002")
	f.Domain = domain
	r := f.front(`devices: ["10??", "81???"]`, "domains: [other.test]",
		`numbers: {out: [{match: "/8(1\\d\\d\\d)/", replace: "$1@other.test"}], in: [{match: "/(1\\d\\d\\d)@other\\.test/", replace: "8$1"}]}`)
	devices := []string{"1001", "1002", "81001", "81002"}
	o := talkTo(r, devices...)
	o.must(uacsta.MakeCall{CallingDevice: uacsta.Dev("81001"), CalledDirectoryNumber: uacsta.Dev("1002")})
	a := there[0].rings().answers()
	o.await("81001", "Originated")
	b := there[1].rings()
	o.await("81002", "Delivered")
	hearEachOther(a, b.answers())
	o.await("81002", "Established")
	if got, want := o.pictures(false, devices...), "81001 connected connected\n81002 connected connected"; got != want {
		t.Errorf("there are\n%s\nnot\n%s", got, want)
	}
	c := here[0].dials("1002")
	here[1].rings().answers()
	o.await("1002", "Established")
	before := o.pictures(true, devices...)
	f.cut()
	waitFor(t, "the next connection", f.connected)
	r.linked("fs")
	if got := o.pictures(true, devices...); got != before {
		t.Errorf("there are\n%s\nnot\n%s", got, before)
	}
	c.hangsUp()
	o.await("1002", "ConnectionCleared")
	a.hangsUp()
	o.await("81002", "ConnectionCleared")
	f.idle()
	r.stop()
}

// pictures are the connections of devices, with the states of all devices in the call, and the identifiers of calls if
// they matter.
func (c *cardTalk) pictures(identified bool, devices ...string) string {
	var lines []string
	for _, device := range devices {
		var res uacsta.SnapshotDeviceResponse
		if err := c.ask(uacsta.SnapshotDevice{SnapshotObject: uacsta.Dev(device)}).Decode(&res); err != nil {
			c.t.Fatal(err)
		}
		for _, info := range res.CrossRefIDorSnapshotData.SnapshotData.SnapshotDeviceResponseInfo {
			line := []string{device}
			if identified {
				line = append(line, info.ConnectionIdentifier.CallID)
			}
			states := info.LocalCallState.CompoundCallState
			slices.Sort(states[1:])
			for _, state := range states {
				line = append(line, string(state))
			}
			lines = append(lines, strings.Join(line, " "))
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}
