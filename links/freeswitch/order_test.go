package freeswitch

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// Calls that wait are listed in the order in which they came.
func TestWaitingCallsStandInOrder(t *testing.T) {
	l := fuzzed(t)
	defer l.socket.Close(errBroken)
	var want []string
	for i := range 20 {
		caller := fmt.Sprintf("caller%02d", i)
		for _, lines := range []string{
			"Event-Name: CHANNEL_CREATE\nUnique-ID: " + caller + "\nCall-Direction: inbound\nCaller-Caller-ID-Number: 555\nCaller-Destination-Number: 9500\n",
			"Event-Name: CUSTOM\nEvent-Subclass: csta::queue\nUnique-ID: " + caller + "\nQueue: 9501\n",
		} {
			e, err := (&message{body: lines}).event()
			if err != nil {
				t.Fatal(err)
			}
			l.handle(e)
		}
		want = append(want, caller)
	}
	answer := l.snapshot(l.queueDevice("9501")).(uacsta.SnapshotDeviceResponse)
	var got []string
	for _, info := range answer.CrossRefIDorSnapshotData.SnapshotData.SnapshotDeviceResponseInfo {
		got = append(got, info.ConnectionIdentifier.CallID)
	}
	if !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// An event that waits is handled even if the inbox had no room when its time was over.
func TestCrowdedInbox(t *testing.T) {
	tr := newTrial(t, LinkConfig{}, "1001")
	tr.tell(talking)
	tr.tell("CHANNEL_HANGUP id=B why=NORMAL_CLEARING variable_last_bridge_hangup_cause=NORMAL_CLEARING") // another one may have hung up before
	left := make(chan int, 1)
	tr.link.inbox.Post(func() {
		left <- len(tr.link.later)
		tr.link.alarmed = true // and nothing comes
		tr.link.hurry(time.Now())
		tr.link.hurry(time.Now().Add(time.Second))
		left <- len(tr.link.later)
		tr.link.begin(tr.core)
		if tr.link.alarmed {
			t.Error("no event of the next connection waits for its time")
		}
	})
	if before, after := <-left, <-left; before != 1 || after != 0 {
		t.Errorf("%d events wait, then %d", before, after)
	}
}
