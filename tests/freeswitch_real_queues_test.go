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

// pictures are the connections of devices, with their states.
func (c *cardTalk) pictures(devices ...string) string {
	var lines []string
	for _, device := range devices {
		var res uacsta.SnapshotDeviceResponse
		if err := c.ask(uacsta.SnapshotDevice{SnapshotObject: uacsta.Dev(device)}).Decode(&res); err != nil {
			c.t.Fatal(err)
		}
		for _, info := range res.CrossRefIDorSnapshotData.SnapshotData.SnapshotDeviceResponseInfo {
			states := []string{device, info.ConnectionIdentifier.CallID[:4]}
			for _, state := range info.LocalCallState.CompoundCallState {
				states = append(states, string(state))
			}
			slices.Sort(states[3:])
			lines = append(lines, strings.Join(states, " "))
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}
