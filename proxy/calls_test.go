package proxy

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// Calls that never end have a bound in octets, whatever they are called and whoever is in them;
// those that were heard of longest ago are forgotten, of those that are over first.
func TestCallsAreBounded(t *testing.T) {
	c := newCalls(newReferences())
	c.most = 4 << 20
	now := time.Now()
	show := func(call, device string) string {
		m := uacsta.Encode(uacsta.EstablishedEvent{EstablishedConnection: uacsta.Conn(call, device)}, uacsta.Edition3)
		c.show(m, now)
		return m.Text("establishedConnection/callID")
	}
	first := show("first", "100")
	pad := strings.Repeat("x", maxCallID-10)
	for n := range 2 * c.most / (maxCallID + knownCallSize) {
		show(fmt.Sprint(pad, n), fmt.Sprint(strings.Repeat("9", 200), n))
		if n%1000 == 0 && show("first", "100") != first {
			t.Fatal("a call that lives is forgotten")
		}
	}
	octets := 0
	for link, k := range c.byLink {
		octets += knownCallSize + len(link)
		for device := range k.parties {
			octets += knownPartySize + len(device)
		}
	}
	if c.octets != octets || octets > c.most || octets < c.most/2 || len(c.byLink) != len(c.byShown) || len(c.byLink) != c.living.Len() {
		t.Errorf("%d octets, counted as %d, of %d calls", octets, c.octets, len(c.byLink))
	}
	living := c.living.Len()
	c.forget()
	if c.over.Len() != living || c.living.Len() != 0 || c.octets >= octets {
		t.Errorf("after a loss there are %d calls, of %d octets", c.over.Len(), c.octets)
	}
}
