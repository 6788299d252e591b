package phones

import (
	"testing"

	"github.com/tr87proxy/tr87proxy/softswitch"
)

// Whatever a number says, the trunk's peer stays where the call goes.
func TestTrunkTarget(t *testing.T) {
	for number, want := range map[string]string{
		"0301234": "sips:0301234@isp.example:5061;transport=tls", "#31#0": "sips:%2331%230@isp.example:5061;transport=tls",
		"0123@127.0.0.66:5066?": "sips:0123%40127.0.0.66%3A5066%3F@isp.example:5061;transport=tls",
		"01@x SIP/2.0\r\nX: y":  "sips:01%40x%20SIP%2F2.0%0D%0AX%3A%20y@isp.example:5061;transport=tls",
		"0123;maddr=127.0.0.66": "sips:0123%3Bmaddr=127.0.0.66@isp.example:5061;transport=tls",
	} {
		trunk := &trunk{Trunk: Trunk{Number: "900", Peer: "sips:isp.example:5061;transport=tls"}}
		if inv := trunk.invite(&softswitch.View{}, &softswitch.Party{Number: number}); inv.To != want || inv.From != "sip:900@isp.example" {
			t.Errorf("%q: %s from %s", number, inv.To, inv.From)
		}
	}
}
