package link

import (
	"strings"
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/proxy/linktest"
)

func TestLinkContract(t *testing.T) {
	linktest.Test(t, linktest.Kit{New: func(t testing.TB) *linktest.Rig {
		f := newFake(t)
		relay := linktest.NewRelay(t, f.l.Addr().String())
		l := New(Config{Ports: []Port{{Number: "201", Port: 1, Address: relay.Address()}}, CallerTime: time.Hour, RingTime: time.Hour, Timeout: 5 * time.Second})
		return &linktest.Rig{Link: l, Device: "201", Called: "101", Relay: relay, Tell: func() {
			f.say(strings.Join([]string{"ring", "cid 0301", "hangup"}, "\n"))
		}}
	}, Without: map[string]string{
		"OrderOfRequests": "a port has one call at a time, and refuses the others",
	}})
}
