package softswitch

import (
	"testing"

	"github.com/tr87proxy/tr87proxy/proxy/linktest"
)

func TestLinkContract(t *testing.T) {
	const nobody = "requests and events are carried by no wire"
	linktest.Test(t, linktest.Kit{
		Bubble: true,
		Without: map[string]string{
			"RefusedWhileDialling": nobody, "CutRequest": nobody, "CutAnswer": nobody, "SilentSwitch": nobody, "Garbage": nobody,
			"OrderOfRequests": "a request is carried out while Request is called",
		},
		New: func(t testing.TB) *linktest.Rig {
			sw, err := New(Config{Extensions: []Extension{{Number: "100", Lines: 1000}, {Number: "101", Lines: 1000}, {Number: "102", Lines: 1000}}})
			if err != nil {
				t.Fatal(err)
			}
			return &linktest.Rig{Link: sw, Device: "100", Called: "101", Tell: func() {
				if key, err := sw.Dial("102", "100", 0, false, nil); err == nil {
					sw.HungUp("102", key, "")
				}
			}}
		},
	})
}
