package desk

import (
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/proxy/linktest"
	"github.com/tr87proxy/tr87proxy/sip/registrar"
)

func TestLinkContract(t *testing.T) {
	linktest.Test(t, linktest.Kit{
		Outlasts: true,
		Patience: time.Minute, // a transaction of SIP waits 32 s for its answer
		Without: map[string]string{
			"RefusedWhileDialling": "the link is ready before its telephones are there; a request waits for a session that is being opened",
		},
		New: func(t testing.TB) *linktest.Rig {
			h := newHandset(t)
			at, err := h.ua.ListenTCP("127.0.0.1:0", nil)
			if err != nil {
				t.Fatal(err)
			}
			relay := linktest.NewRelay(t, at.String())
			d := New(
				registrar.Config{Users: []registrar.User{{Number: "7001", Contact: "sip:7001@" + relay.Address() + ";transport=tcp"}}},
				[]Listening{{Transport: "udp", Address: "127.0.0.1:0"}, {Transport: "tcp", Address: "127.0.0.1:0"}},
			)
			return &linktest.Rig{Link: d, Device: "7001", Called: "101", Tell: func() { h.pbx.Ring(deskPhoneURI) }, Relay: relay, Heard: h.pbx.Heard}
		},
	})
}
