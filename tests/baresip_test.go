package tests

import "testing"

// A baresip answers a second call: it holds the first and accepts the other at once. Then its user swaps the two: it
// holds one and takes the other back in one burst.
func TestBaresipWaitingAndSwap(t *testing.T) {
	x, a, b, c := withConsole(t, "baresip", func(x *exchange) *softphone { return x.phone("100", "manual") })
	a.do("dial", "101")
	b.hears("100")
	for n := range rounds {
		c.do("dial", "100")
		a.sees("CALL_INCOMING", n+1)
		a.do("accept", "")
		c.hears("100")
		b.hears("music")
		a.do("hold", "") // of the second
		a.do("line", "1")
		a.do("resume", "")
		b.hears("100")
		c.hears("music")
		c.do("hangup", "")
		c.sees("CALL_CLOSED", n+1)
		a.sees("CALL_CLOSED", n+1)
	}
	x.stop()
}
