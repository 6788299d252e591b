package front

import (
	"errors"
	"testing"

	"github.com/tr87proxy/tr87proxy/uacsta"
	"github.com/tr87proxy/tr87proxy/wire/asn1"
)

// A client that has as many monitors as there are cross references is refused one more, and has one
// again when it ends one.
func TestAllCrossReferences(t *testing.T) {
	c := &client{}
	for n := range 0xFFFF {
		own := c.refs.reserve()
		if own == 0 {
			t.Fatalf("refused after %d", n)
		}
		if n%2 == 0 {
			c.refs.set(string(rune('a'))+string(rune(0x10000+n)), own)
		}
	}
	var answer *uacsta.Message
	device := uacsta.Dev("100")
	c.Request(uacsta.Encode(uacsta.MonitorStart{MonitorObject: uacsta.MonitorObject{DeviceObject: &device}}, asn1.Edition), func(m *uacsta.Message) { answer = m })
	if answer == nil || !errors.Is(answer.Err(), uacsta.Refuse(uacsta.SystemResourceAvailability, uacsta.OverallMonitorLimitExceeded)) {
		t.Errorf("%v", answer)
	}
	if ref := c.refs.core("0002"); ref != "0002" {
		t.Errorf("a monitor that is being started has the cross reference %q", ref)
	}
	c.refs.remove(c.refs.core("0001"))
	c.refs.release(2) // it was refused
	if one, two, three := c.refs.reserve(), c.refs.reserve(), c.refs.reserve(); one != 1 || two != 2 || three != 0 {
		t.Errorf("%d, %d, %d", one, two, three)
	}
}
