package events

import (
	"strings"
	"testing"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// An event with much user data has a mark instead of the CSTA event, so that a client cannot fill the log of all by it.
// What is small stays.
func TestLargeEvents(t *testing.T) {
	w := newWorld(t, "")
	s := w.subscribe(Wish{Devices: []string{"101"}})
	s.until(Ready, "")
	call := w.call("100", "101").CallID
	w.answer(call, "101")
	s.until("established", "101")
	for octets, omitted := range map[int]bool{100: false, 30_000: true} {
		w.ask(uacsta.SendUserInformation{ExistingCall: uacsta.Conn(call, "100"), UserData: uacsta.Data{String: strings.Repeat("ab", octets)}})
		all := s.until("callInformation", "101")
		e := all[len(all)-1]
		if e.CSTAOmitted != omitted || (len(e.CSTA) == 0) != omitted || e.Call != call {
			t.Errorf("%d octets: %+v", octets, e)
		}
	}
}

// A device whose events have much in them cannot fill the log: above a rate they have a mark instead. Those of another device
// still have all.
func TestMuchOfOneDevice(t *testing.T) {
	w := newWorld(t, "")
	s := w.subscribe(Wish{Devices: []string{"101", "103"}, Types: []string{"established", "callInformation"}})
	s.until(Ready, "")
	call, other := w.call("100", "101").CallID, w.call("102", "103").CallID
	w.answer(call, "101")
	s.until("established", "101")
	w.answer(other, "103")
	s.until("established", "103")
	tell := func(call, from, to string) seen {
		w.ask(uacsta.SendUserInformation{ExistingCall: uacsta.Conn(call, from), UserData: uacsta.Data{String: strings.Repeat("ab", 7000)}})
		all := s.until("callInformation", to)
		return all[len(all)-1]
	}
	sum, n := 0, 0
	for ; ; n++ {
		e := tell(call, "100", "101")
		if sum += len(e.CSTA); e.CSTAOmitted {
			break
		}
		if n > 10_000 {
			t.Fatalf("%d octets are recorded of one device", sum)
		}
	}
	if sum < burstCSTA-maxCSTA {
		t.Errorf("only %d octets of CSTA are recorded", sum)
	}
	if e := tell(other, "102", "103"); e.CSTAOmitted {
		t.Error("another device has no room")
	}
}
