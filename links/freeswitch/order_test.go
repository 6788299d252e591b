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
		left <- len(tr.link.later.events)
		tr.link.later.alarmed = true // and nothing comes
		tr.link.hurry(time.Now())
		tr.link.hurry(time.Now().Add(time.Second))
		left <- len(tr.link.later.events)
		tr.link.begin(tr.core)
		if tr.link.later.alarmed {
			t.Error("no event of the next connection waits for its time")
		}
	})
	if before, after := <-left, <-left; before != 1 || after != 0 {
		t.Errorf("%d events wait, then %d", before, after)
	}
}

// A caller who hangs up before FreeSWITCH has connected the two does so after the answer.
func TestHangsUpAtOnce(t *testing.T) {
	tr := newTrial(t, LinkConfig{}, "1001", "1002")
	tr.tell(calls1002 + "CHANNEL_ANSWER id=B of=A\nCHANNEL_ANSWER id=A\nCHANNEL_HANGUP id=A why=NORMAL_CLEARING variable_sip_term_status=200\nCHANNEL_HANGUP id=B why=NORMAL_CLEARING\n")
	tr.hears("1001", "ServiceInitiated 1001 initiated normal", "Originated 1001 connected newCall", "Delivered 1002 connected newCall", "Established 1002 connected newCall", "ConnectionCleared 1001 null normalClearing")
	tr.hears("1002", "Delivered 1002 alerting newCall", "Established 1002 connected newCall", "ConnectionCleared 1001 connected normalClearing", "ConnectionCleared 1002 null normalClearing")
}
