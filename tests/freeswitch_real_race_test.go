package tests

import (
	"strings"
	"testing"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// A program goes on as soon as a response has come, while FreeSWITCH is still connecting two channels: with a consultation,
// or with whatever else moves one of them.
func TestRealWhileConnecting(t *testing.T) {
	f := realFreeSWITCH(t)
	phones := f.telephones("1001", "1002", "1003", "1004")
	r := f.front()
	phones[2].auto.Store(true)
	phones[3].auto.Store(true)
	for _, first := range []string{"reconnect", "retrieve", "alternate", "transfer"} {
		for _, next := range []string{"consult", "transfer", "park", "conference"} {
			t.Run(first+", "+next, func(t *testing.T) {
				c := talkTo(r, "1001", "1002", "1003", "1004")
				other := phones[1].dials("1001")
				near := phones[0].rings().answers()
				other.up()
				held := uacsta.Conn(c.await("1001", "Established").CallID, "1001")
				to := "1003"
				if first == "retrieve" {
					to = "999999"
				}
				active := c.consults(held, to)
				var far *leg
				if first == "retrieve" {
					c.await("1001", "ConnectionCleared")
				} else {
					c.await("1003", "Established")
					far = phones[2].rings()
					hearEachOther(near, far)
				}
				own := held // the connection that moves next
				stays := near
				switch first {
				case "reconnect":
					c.must(uacsta.ReconnectCall{HeldCall: held, ActiveCall: active})
				case "retrieve":
					c.must(uacsta.RetrieveCall{CallToBeRetrieved: held})
				case "alternate":
					c.must(uacsta.AlternateCall{HeldCall: held, ActiveCall: active})
				case "transfer":
					call := c.must(uacsta.TransferCall{HeldCall: held, ActiveCall: active}).Text("transferredCall/callID")
					own, stays = uacsta.Conn(call, "1002"), other
					near.ends()
				}
				switch {
				case next == "consult" && first == "alternate":
					c.must(uacsta.AlternateCall{HeldCall: active, ActiveCall: held})
					hearEachOther(near, far)
				case next == "consult":
					second := c.consults(own, "1004")
					hearEachOther(stays, phones[3].rings())
					c.must(uacsta.ReconnectCall{HeldCall: own, ActiveCall: second})
				case next == "transfer" && first == "alternate":
					c.must(uacsta.TransferCall{HeldCall: active, ActiveCall: held})
					near.ends()
					hearEachOther(other, far)
				case next == "transfer":
					c.must(uacsta.SingleStepTransferCall{ActiveCall: own, TransferredTo: uacsta.Dev("1004")})
					stays.ends()
					phones[3].rings()
				case next == "park":
					c.must(uacsta.ParkCall{Parking: own, ParkTo: uacsta.Dev("6001")})
					if first != "alternate" { // it has another call
						stays.ends()
					}
					waitFor(t, "the parked call", func() bool { return strings.Contains(f.api("valet_info"), "6001") })
				case next == "conference" && first == "alternate":
					c.must(uacsta.ConferenceCall{HeldCall: active, ActiveCall: held})
					waitFor(t, "three members", func() bool { return strings.Contains(f.api("conference list"), "3 members") })
				case next == "conference":
					c.must(uacsta.SingleStepConferenceCall{ActiveCall: own, DeviceToJoin: uacsta.Dev("1004"), ParticipationType: uacsta.ParticipationActive})
					phones[3].rings()
					waitFor(t, "three members", func() bool { return strings.Contains(f.api("conference list"), "3 members") })
				}
				if near.lives() { // a consulting telephone that does not hang up itself is called back
					near.hangsUp()
				}
				f.api("hupall NORMAL_CLEARING")
				f.idle()
			})
		}
	}
}
