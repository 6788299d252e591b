package tests

import (
	"testing"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// A program has a call made, consulted, alternated and transferred by a real FreeSWITCH, and each telephone hears who it
// is connected to.
func TestRealFreeSWITCH(t *testing.T) {
	t.Parallel()
	f := realFreeSWITCH(t)
	list := f.telephones("1001", "1002", "1003")
	r := f.front()
	o := talkTo(r, "1001", "1002", "1003")
	held := uacsta.Conn(o.must(call("1001", "1002")).Text("callingDevice/callID"), "1001")
	a := list[0].rings().answers()
	o.await("1001", "Originated")
	b := list[1].rings()
	o.await("1002", "Delivered")
	b.answers()
	o.await("1002", "Established")
	hearEachOther(a, b)
	active := o.consults(held, "1003")
	o.await("1002", "Held")
	c := list[2].rings()
	o.await("1003", "Delivered")
	c.answers()
	o.await("1003", "Established")
	hearEachOther(a, c)
	o.must(uacsta.AlternateCall{HeldCall: held, ActiveCall: active})
	o.await("1002", "Retrieved")
	hearEachOther(a, b)
	o.must(uacsta.AlternateCall{HeldCall: active, ActiveCall: held})
	o.await("1003", "Retrieved")
	hearEachOther(a, c)
	o.must(uacsta.TransferCall{HeldCall: held, ActiveCall: active})
	o.await("1001", "Transfered")
	o.await("1002", "Transfered")
	a.ends()
	hearEachOther(b, c)
	own := o.calls("1003")[0]
	o.must(uacsta.HoldCall{CallToBeHeld: own})
	o.await("1002", "Held")
	c.held()
	o.must(uacsta.RetrieveCall{CallToBeRetrieved: own})
	o.await("1002", "Retrieved")
	c.retrieved()
	b.hangsUp()
	o.await("1003", "ConnectionCleared")
	c.ends()
	f.idle()
	r.stop()
}
