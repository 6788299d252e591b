package proxy

import (
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/policy"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// lines is a link with a trunk 7900, whose further connections have the dynamic identifiers 0A31 and 9001.
type lines struct{ Link }

func (lines) StaticDevice(dynamic string) string {
	return map[string]string{"0A31": "7900", "9001": "7900", "AA": "7555"}[dynamic]
}

// The number rules of a link concern the devices that have dynamic identifiers, and never the identifiers. They mean a
// device in the calls of their link alone.
func TestDynamicIdentifiers(t *testing.T) {
	rule := func(match string, strip int, add string) policy.NumberRules {
		r, err := policy.ParseNumberRule(match, strip, add, "")
		if err != nil {
			t.Fatal(err)
		}
		return policy.NumberRules{r}
	}
	p := New(Config{Policy: &policy.Policy{Demo: true}, Numbers: &policy.Numbers{Extensions: func(n string) bool { return n == "900" }}})
	numbers := Translation{Out: rule("9x.", 0, "7"), In: rule("7x.", 1, "")}
	p.SetLinks([]NamedLink{{Name: "lines", Link: lines{}, Devices: func(n string) bool { return n == "900" }, Numbers: numbers}, {Name: "other", Devices: func(string) bool { return true }}})
	link, other := p.list()[0], p.list()[1]
	event := uacsta.Encode(uacsta.EstablishedEvent{
		EstablishedConnection: uacsta.ConnectionID{CallID: "A", DeviceID: uacsta.Typed("9001", uacsta.Dynamic)}, AnsweringDevice: uacsta.Ext("7900"),
	}, uacsta.Edition3)
	link.inward(event)
	x := event.Connections()[0]
	if x.DeviceID() != "dynamic:9001" || x.DeviceType() != uacsta.Dynamic || event.Text("answeringDevice/deviceIdentifier") != "900" {
		t.Errorf("the core gets %s", event)
	}
	req := uacsta.Encode(uacsta.HoldCall{CallToBeHeld: uacsta.Conn(x.CallID(), "dynamic:9001")}, uacsta.Edition3)
	if x := req.Connections()[0]; !link.outward(req) || x.CallID() != "A" || x.DeviceID() != "9001" || x.DeviceType() != uacsta.Dynamic {
		t.Errorf("the link gets %s", req)
	}
	foreign := other.calls.sees(time.Now(), uacsta.EstablishedEvent{EstablishedConnection: uacsta.Conn("A", "100")})
	for _, tt := range []struct{ call, id, want string }{
		{x.CallID(), "9001", "900"}, {x.CallID(), "0A31", "900"}, {x.CallID(), "0A32", "dynamic:0A32"}, {x.CallID(), "AA", "dynamic:AA"}, // 555 is not the link's
		{foreign, "9001", "dynamic:9001"}, {"A", "9001", "dynamic:9001"}, {"", "9001", "dynamic:9001"},
	} {
		n, err := p.numbers().Parse(tt.id, uacsta.Dynamic)
		if err != nil {
			t.Fatal(err)
		}
		if got := p.static(tt.call, n); got.String() != tt.want {
			t.Errorf("%s in call %q is %s, want %s", tt.id, tt.call, got, tt.want)
		}
	}
	if n, _ := p.numbers().Parse("900", ""); p.static(x.CallID(), n) != n {
		t.Error("a static identifier is another device")
	}
}
