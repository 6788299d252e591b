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
