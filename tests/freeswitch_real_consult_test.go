package tests

import (
	"slices"
	"strings"
	"testing"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// consulted is a call of 1001 with 1002, while 1001 consults. Each end of it is a program's, a telephone's, the dialplan's
// or FreeSWITCH's.
type consulted struct {
	t            *testing.T
	f            *realSwitch
	c            *cardTalk
	phones       []*telephone // 1001 to 1003
	near, waits  *leg         // of 1001 and 1002
	held, active uacsta.ConnectionID
	log          map[string][]string // events by device
}

// consultation begins one: 1001 consults number.
func consultation(t *testing.T, f *realSwitch, r *running, phones []*telephone, number string) *consulted {
	t.Helper()
	x := &consulted{t: t, f: f, c: talkTo(r, "1001", "1002", "1003"), phones: phones, log: map[string][]string{}}
	x.near = phones[0].dials("1002")
	x.waits = phones[1].rings().answers()
	x.near.up()
	x.until("1001", "Established 1002")
	x.log = map[string][]string{}
	own := x.c.must(uacsta.SnapshotDevice{SnapshotObject: uacsta.Dev("1001")}).Connections()
	x.held = uacsta.Conn(own[0].CallID(), "1001")
	hearEachOther(x.near, x.waits)
	x.active = x.c.consults(x.held, number)
	x.until("1001", "Originated 1001 active")
	return x
}

// line is an event in short: its name, its device, and its cause.
func (x *consulted) line(m *uacsta.Message) string {
	line := strings.TrimSuffix(m.Name(), "Event")
	if list := m.Connections(); len(list) > 0 {
		line += " " + list[0].DeviceID()
		switch list[0].CallID() {
		case x.held.CallID:
			line += " held"
		case x.active.CallID:
			line += " active"
		}
	}
	return line + " " + m.Text("cause")
}

// until reads events up to one of a device that begins so.
func (x *consulted) until(device, prefix string) {
	x.t.Helper()
	for _, line := range x.log[device] {
		if strings.HasPrefix(line, prefix) {
			return
		}
	}
	for {
		m := x.c.hear()
		at, line := x.c.watched[m.CrossRef()], x.line(m)
		x.log[at] = append(x.log[at], line)
		if at == device && strings.HasPrefix(line, prefix) {
			return
		}
	}
}

// answered has the consulted telephone answer.
func (x *consulted) answered() *leg {
	x.t.Helper()
	far := x.phones[2].rings().answers()
	x.until("1001", "Established")
	hearEachOther(x.near, far)
	return far
}

// retrieved takes the waiting call back, and ends it.
func (x *consulted) retrieved() {
	x.t.Helper()
	x.until("1001", "ConnectionCleared 1001 active")
	x.c.must(uacsta.RetrieveCall{CallToBeRetrieved: x.held})
	x.again()
}

func (x *consulted) again() {
	x.t.Helper()
	x.until("1001", "Retrieved 1001 held")
	hearEachOther(x.near, x.waits)
	x.near.hangsUp()
	x.waits.ends()
	x.until("1002", "ConnectionCleared 1002 held")
}

// calledBack has the telephone take the call that waits when FreeSWITCH calls it back.
func (x *consulted) calledBack() {
	x.t.Helper()
	x.near.ends()
	again := x.phones[0].rings()
	x.until("1001", "Delivered 1001 held recall")
	again.answers()
	x.until("1001", "Established 1001 held recall")
	hearEachOther(again, x.waits)
	again.hangsUp()
	x.waits.ends()
	x.until("1002", "ConnectionCleared 1002 held")
}

// Whatever ends a consultation, the call that waits stays, until its own end.
func TestRealConsultationEnds(t *testing.T) {
	f := realFreeSWITCH(t)
	phones := f.telephones("1001", "1002", "1003")
	r := f.front()
	for _, tt := range []struct {
		name, number string
		do           func(x *consulted)
		want         []string // what 1001 hears after the consultation has begun
	}{
		{
			"the consulted party hangs up", "1003", func(x *consulted) {
				x.answered().hangsUp()
				x.retrieved()
			}, []string{"Delivered 1003 active newCall", "Established 1003 active newCall", "ConnectionCleared 1003 active normalClearing", "ConnectionCleared 1001 active normalClearing", "Retrieved 1001 held normal"},
		},
		{
			"busy", "71003", func(x *consulted) {
				x.phones[2].rings()
				x.retrieved()
			}, []string{"Failed 1003 active busy", "ConnectionCleared 1001 active normalClearing", "Retrieved 1001 held normal"},
		},
		{
			"rejected", "71003", func(x *consulted) {
				x.phones[2].rings().decline(603)
				x.retrieved()
			}, []string{"Delivered 1003 active newCall", "Failed 1003 active busy", "ConnectionCleared 1003 active busy", "ConnectionCleared 1001 active normalClearing", "Retrieved 1001 held normal"},
		},
		{
			"nobody answers", "71003", func(x *consulted) {
				x.phones[2].rings().ends()
				x.retrieved()
			}, []string{"Delivered 1003 active newCall", "Failed 1003 active callNotAnswered", "ConnectionCleared 1003 active callNotAnswered", "ConnectionCleared 1001 active normalClearing", "Retrieved 1001 held normal"},
		},
		{
			"no such number", "999999", func(x *consulted) { x.retrieved() },
			[]string{"Failed 999999 active destNotObtainable", "ConnectionCleared 1001 active normalClearing", "Retrieved 1001 held normal"},
		},
		{
			"no telephone there", "71009", func(x *consulted) { x.retrieved() },
			[]string{"Failed 71009 active destOutOfOrder", "ConnectionCleared 1001 active normalClearing", "Retrieved 1001 held normal"},
		},
		{
			"the program clears it", "1003", func(x *consulted) {
				far := x.answered()
				x.c.must(uacsta.ClearConnection{ConnectionToBeCleared: x.active})
				far.ends()
				x.retrieved()
			}, []string{"Delivered 1003 active newCall", "Established 1003 active newCall", "ConnectionCleared 1001 active normalClearing", "Retrieved 1001 held normal"},
		},
		{
			"the program clears it while it rings", "1003", func(x *consulted) {
				far := x.phones[2].rings()
				x.until("1001", "Delivered")
				x.c.must(uacsta.ClearConnection{ConnectionToBeCleared: x.active})
				far.ends()
				x.retrieved()
			}, []string{"Delivered 1003 active newCall", "ConnectionCleared 1001 active normalClearing", "Retrieved 1001 held normal"},
		},
		{
			"the program clears the consulted party", "1003", func(x *consulted) {
				far := x.answered()
				x.c.must(uacsta.ClearConnection{ConnectionToBeCleared: uacsta.Conn(x.active.CallID, "1003")})
				far.ends()
				x.retrieved()
			}, []string{"Delivered 1003 active newCall", "Established 1003 active newCall", "ConnectionCleared 1003 active normalClearing", "ConnectionCleared 1001 active normalClearing", "Retrieved 1001 held normal"},
		},
		{
			"reconnected", "1003", func(x *consulted) {
				far := x.answered()
				x.c.must(uacsta.ReconnectCall{HeldCall: x.held, ActiveCall: x.active})
				far.ends()
				x.again()
			}, []string{"Delivered 1003 active newCall", "Established 1003 active newCall", "ConnectionCleared 1001 active normalClearing", "Retrieved 1001 held normal"},
		},
		{
			"reconnected while it rings", "1003", func(x *consulted) {
				far := x.phones[2].rings()
				x.until("1001", "Delivered")
				x.c.must(uacsta.ReconnectCall{HeldCall: x.held, ActiveCall: x.active})
				far.ends()
				x.again()
			}, []string{"Delivered 1003 active newCall", "ConnectionCleared 1001 active normalClearing", "Retrieved 1001 held normal"},
		},
		{
			"the consulting telephone hangs up", "1003", func(x *consulted) {
				far := x.answered()
				x.near.hangsUp()
				far.ends()
				x.waits.ends()
				x.until("1002", "ConnectionCleared 1002 held")
			}, []string{"Delivered 1003 active newCall", "Established 1003 active newCall", "ConnectionCleared 1001 active normalClearing", "ConnectionCleared 1001 held normalClearing"},
		},
		{
			"the consulting telephone hangs up while it rings", "1003", func(x *consulted) {
				far := x.phones[2].rings()
				x.until("1001", "Delivered")
				x.near.hangsUp()
				far.ends()
				x.waits.ends()
				x.until("1002", "ConnectionCleared 1002 held")
			}, []string{"Delivered 1003 active newCall", "ConnectionCleared 1001 active normalClearing", "ConnectionCleared 1001 held normalClearing"},
		},
		{
			"the consulting telephone hangs up after its end", "999999", func(x *consulted) {
				x.until("1001", "ConnectionCleared 1001 active")
				x.near.hangsUp()
				x.waits.ends()
				x.until("1002", "ConnectionCleared 1002 held")
			}, []string{"Failed 999999 active destNotObtainable", "ConnectionCleared 1001 active normalClearing", "ConnectionCleared 1001 held normalClearing"},
		},
		{
			"the waiting party hangs up", "1003", func(x *consulted) {
				far := x.answered()
				x.waits.hangsUp()
				x.until("1001", "ConnectionCleared 1001 held")
				hearEachOther(x.near, far)
				far.hangsUp()
				x.near.ends()
				x.until("1001", "ConnectionCleared 1001 active")
			}, []string{"Delivered 1003 active newCall", "Established 1003 active newCall", "ConnectionCleared 1002 held normalClearing", "ConnectionCleared 1001 held normalClearing", "ConnectionCleared 1003 active normalClearing", "ConnectionCleared 1001 active normalClearing"},
		},
		{
			"the waiting party hangs up after its end", "999999", func(x *consulted) {
				x.until("1001", "ConnectionCleared 1001 active")
				x.waits.hangsUp()
				x.near.ends()
				x.until("1001", "ConnectionCleared 1001 held")
			}, []string{"Failed 999999 active destNotObtainable", "ConnectionCleared 1001 active normalClearing", "ConnectionCleared 1002 held normalClearing", "ConnectionCleared 1001 held normalClearing"},
		},
		{
			"the program clears the waiting call", "1003", func(x *consulted) {
				far := x.answered()
				x.c.must(uacsta.ClearConnection{ConnectionToBeCleared: x.held})
				x.waits.ends()
				x.until("1001", "ConnectionCleared 1001 held")
				hearEachOther(x.near, far)
				x.near.hangsUp()
				far.ends()
				x.until("1001", "ConnectionCleared 1001 active")
			}, []string{"Delivered 1003 active newCall", "Established 1003 active newCall", "ConnectionCleared 1001 held normalClearing", "ConnectionCleared 1001 active normalClearing"},
		},
		{
			"the program clears the waiting party", "1003", func(x *consulted) {
				far := x.answered()
				x.c.must(uacsta.ClearConnection{ConnectionToBeCleared: uacsta.Conn(x.held.CallID, "1002")})
				x.waits.ends()
				x.until("1001", "ConnectionCleared 1001 held")
				hearEachOther(x.near, far)
				x.near.hangsUp()
				far.ends()
				x.until("1001", "ConnectionCleared 1001 active")
			}, []string{"Delivered 1003 active newCall", "Established 1003 active newCall", "ConnectionCleared 1002 held normalClearing", "ConnectionCleared 1001 held normalClearing", "ConnectionCleared 1001 active normalClearing"},
		},
		{
			"transferred", "1003", func(x *consulted) {
				far := x.answered()
				x.c.must(uacsta.TransferCall{HeldCall: x.held, ActiveCall: x.active})
				x.near.ends()
				hearEachOther(x.waits, far)
				far.hangsUp()
				x.waits.ends()
				x.until("1003", "ConnectionCleared 1003")
			}, []string{"Delivered 1003 active newCall", "Established 1003 active newCall", "Transfered 1001 held transfer"},
		},
		{
			"transferred while it rings", "1003", func(x *consulted) {
				far := x.phones[2].rings()
				x.until("1001", "Delivered")
				x.c.must(uacsta.TransferCall{HeldCall: x.held, ActiveCall: x.active})
				x.near.ends()
				far.ends()
				far = x.phones[2].rings().answers()
				hearEachOther(x.waits, far)
				x.waits.hangsUp()
				far.ends()
				x.until("1003", "ConnectionCleared 1003")
				x.until("1001", "Transfered")
			}, []string{"Delivered 1003 active newCall", "Transfered 1001 held transfer"},
		},
		{
			"alternated, and the other one hangs up", "1003", func(x *consulted) {
				far := x.answered()
				x.c.must(uacsta.AlternateCall{HeldCall: x.held, ActiveCall: x.active})
				hearEachOther(x.near, x.waits)
				x.waits.hangsUp()
				x.until("1001", "ConnectionCleared 1001 held")
				x.c.must(uacsta.RetrieveCall{CallToBeRetrieved: x.active})
				hearEachOther(x.near, far)
				far.hangsUp()
				x.near.ends()
				x.until("1001", "ConnectionCleared 1001 active")
			}, []string{"Delivered 1003 active newCall", "Established 1003 active newCall", "Held 1001 active alternate", "Retrieved 1001 held alternate", "ConnectionCleared 1002 held normalClearing", "ConnectionCleared 1001 held normalClearing", "Retrieved 1001 active normal", "ConnectionCleared 1003 active normalClearing", "ConnectionCleared 1001 active normalClearing"},
		},
		{
			"alternated, and the program clears the active call", "1003", func(x *consulted) {
				far := x.answered()
				x.c.must(uacsta.AlternateCall{HeldCall: x.held, ActiveCall: x.active})
				hearEachOther(x.near, x.waits)
				x.c.must(uacsta.ClearConnection{ConnectionToBeCleared: x.held})
				x.waits.ends()
				x.until("1001", "ConnectionCleared 1001 held")
				x.c.must(uacsta.RetrieveCall{CallToBeRetrieved: x.active})
				hearEachOther(x.near, far)
				x.near.hangsUp()
				far.ends()
				x.until("1001", "ConnectionCleared 1001 active")
			}, []string{"Delivered 1003 active newCall", "Established 1003 active newCall", "Held 1001 active alternate", "Retrieved 1001 held alternate", "ConnectionCleared 1001 held normalClearing", "Retrieved 1001 active normal", "ConnectionCleared 1001 active normalClearing"},
		},
		{
			"the dialplan ends", "770", func(x *consulted) { x.retrieved() },
			[]string{"ConnectionCleared 1001 active normalClearing", "Retrieved 1001 held normal"},
		},
		{
			"the dialplan hangs up", "771", func(x *consulted) { x.calledBack() },
			[]string{"Failed 771 active busy", "ConnectionCleared 1001 active busy", "ConnectionCleared 1001 held busy", "Delivered 1001 held recall", "Established 1001 held recall", "ConnectionCleared 1001 held normalClearing"},
		},
		{
			"the dialplan transfers it to a number that is not there", "772", func(x *consulted) { x.calledBack() },
			[]string{"Failed 772 active destNotObtainable", "ConnectionCleared 1001 active destNotObtainable", "ConnectionCleared 1001 held destNotObtainable", "Delivered 1001 held recall", "Established 1001 held recall", "ConnectionCleared 1001 held normalClearing"},
		},
		{
			"the dialplan transfers it", "773", func(x *consulted) {
				x.answered().hangsUp()
				x.retrieved()
			}, []string{"Delivered 1003 active newCall", "Established 1003 active newCall", "ConnectionCleared 1003 active normalClearing", "ConnectionCleared 1001 active normalClearing", "Retrieved 1001 held normal"},
		},
		{
			"the dialplan transfers it, and the telephone is busy", "773", func(x *consulted) {
				x.phones[2].rings()
				x.retrieved()
			}, []string{"Failed 1003 active busy", "ConnectionCleared 1001 active normalClearing", "Retrieved 1001 held normal"},
		},
		{
			"the dialplan refuses it", "774", func(x *consulted) { x.calledBack() },
			[]string{"Failed 774 active busy", "ConnectionCleared 1001 active busy", "ConnectionCleared 1001 held busy", "Delivered 1001 held recall", "Established 1001 held recall", "ConnectionCleared 1001 held normalClearing"},
		},
		{
			"nobody is at the telephone that is called back", "771", func(x *consulted) {
				x.near.ends()
				x.phones[0].rings().decline(486)
				x.waits.ends()
				x.until("1002", "ConnectionCleared 1002 held")
			}, []string{"Failed 771 active busy", "ConnectionCleared 1001 active busy", "ConnectionCleared 1001 held busy", "Delivered 1001 held recall", "Failed 1001 held busy", "ConnectionCleared 1001 held busy"},
		},
		{
			"the waiting party hangs up while the telephone is called back", "771", func(x *consulted) {
				x.near.ends()
				again := x.phones[0].rings()
				x.until("1001", "Delivered 1001")
				x.waits.hangsUp()
				again.ends()
				x.until("1001", "ConnectionCleared 1002 held")
			}, []string{"Failed 771 active busy", "ConnectionCleared 1001 active busy", "ConnectionCleared 1001 held busy", "Delivered 1001 held recall", "ConnectionCleared 1002 held normalClearing"},
		},
		{
			"the telephone transfers the consulted party", "1003", func(x *consulted) {
				far := x.answered()
				x.near.refer("9196")
				x.until("1001", "Transfered")
				x.c.must(uacsta.RetrieveCall{CallToBeRetrieved: x.held})
				x.again()
				far.hangsUp()
			}, []string{"Delivered 1003 active newCall", "Established 1003 active newCall", "Transfered 1001 active singleStepTransfer", "Retrieved 1001 held normal", "ConnectionCleared 1001 held normalClearing"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f.api("global_setvar ring_time=3")
			phones[2].rejects.Store(0)
			if strings.HasSuffix(tt.name, "busy") {
				phones[2].rejects.Store(486)
			}
			x := consultation(t, f, r, phones, tt.number)
			tt.do(x)
			want := append([]string{"Held 1001 held consultation", "ServiceInitiated 1001 active consultation", "Originated 1001 active newCall"}, tt.want...)
			if got := x.log["1001"][:min(len(x.log["1001"]), len(want))]; !slices.Equal(got, want) {
				t.Errorf("1001 hears\n%s\nnot\n%s", strings.Join(x.log["1001"], "\n"), strings.Join(want, "\n"))
			}
			f.idle()
		})
	}
}

// A consultation that ends while the link is down has ended when it comes up. The call that waits is still there.
func TestRealConsultationLinkLost(t *testing.T) {
	f := realFreeSWITCH(t)
	phones := f.telephones("1001", "1002", "1003")
	r := f.front()
	parked := func(number int) {
		waitFor(t, "parked channels", func() bool {
			return strings.Count(f.api("show channels"), ",CS_EXECUTE,")+strings.Count(f.api("show channels"), ",CS_PARK,") >= number
		})
	}
	for _, tt := range []struct {
		name string
		do   func(x *consulted, far *leg)
		want int // calls of 1001
	}{
		{"nothing happens", func(*consulted, *leg) {}, 2},
		{"the consulted party hangs up", func(_ *consulted, far *leg) { far.hangsUp(); parked(2) }, 1},
		{"the waiting party hangs up", func(x *consulted, _ *leg) { x.waits.hangsUp() }, 1},
		{"both hang up", func(x *consulted, far *leg) { x.waits.hangsUp(); far.hangsUp() }, 0},
		{"the telephone hangs up", func(x *consulted, _ *leg) { x.near.hangsUp() }, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			x := consultation(t, f, r, phones, "1003")
			far := x.answered()
			f.down()
			r.cut("fs")
			tt.do(x, far)
			f.up()
			r.linked("fs")
			waitFor(t, "the calls of 1001", func() bool {
				return len(x.c.must(uacsta.SnapshotDevice{SnapshotObject: uacsta.Dev("1001")}).Connections()) == tt.want
			})
			calls := x.c.must(uacsta.SnapshotDevice{SnapshotObject: uacsta.Dev("1001")})
			switch tt.want {
			case 2:
				far.hangsUp()
				waitFor(t, "the end of the consultation", func() bool {
					calls = x.c.must(uacsta.SnapshotDevice{SnapshotObject: uacsta.Dev("1001")})
					return len(calls.Connections()) == 1
				})
				fallthrough
			case 1:
				only := calls.Connections()[0]
				if x.waits.lives() {
					x.c.must(uacsta.RetrieveCall{CallToBeRetrieved: uacsta.Conn(only.CallID(), "1001")})
					hearEachOther(x.near, x.waits)
					x.waits.hangsUp()
				} else {
					far.hangsUp()
				}
			}
			x.near.ends()
			f.idle()
		})
	}
}

// When FreeSWITCH fails, both calls have ended.
func TestRealConsultationRestart(t *testing.T) {
	f := realFreeSWITCH(t)
	phones := f.telephones("1001", "1002", "1003")
	r := f.front()
	x := consultation(t, f, r, phones, "1003")
	x.answered()
	f.restarts()
	x.until("1001", "ConnectionCleared 1001 active")
	x.until("1001", "ConnectionCleared 1001 held")
	x.until("1002", "ConnectionCleared 1002 held")
	f.idle()
}

// A telephone that is made to answer does not make the others answer: those that it calls, and consults, ring.
func TestRealAutoAnswer(t *testing.T) {
	f := realFreeSWITCH(t)
	phones := f.telephones("1001", "1002", "1003")
	r := f.front("auto-answer: 'sip_auto_answer=true,sip_h_Alert-Info=<http://127.0.0.1>;info=alert-autoanswer'", "answer: auto-answer")
	c := talkTo(r, "1001", "1002", "1003")
	c.must(uacsta.MakeCall{CallingDevice: uacsta.Dev("1001"), CalledDirectoryNumber: uacsta.Dev("1002"), AutoOriginate: uacsta.DoNotPrompt})
	near := phones[0].rings().answeredHere()
	rings := func(p *telephone) *leg {
		l := p.rings()
		if l.invite.header("Call-Info") != "" || l.invite.header("Alert-Info") != "" {
			t.Errorf("%s is told to answer: %s", p.number, l.invite.header("Call-Info")+l.invite.header("Alert-Info"))
		}
		return l
	}
	waits := rings(phones[1])
	ringing := c.await("1002", "Delivered")
	c.must(uacsta.AnswerCall{CallToBeAnswered: ringing})
	waits.ends()
	waits = phones[1].rings().answeredHere()
	hearEachOther(near, waits)
	own := c.await("1002", "Established")
	held := uacsta.Conn(own.CallID, "1002")
	second := c.consults(held, "1003")
	far := rings(phones[2]).answers()
	hearEachOther(waits, far)
	c.must(uacsta.TransferCall{HeldCall: held, ActiveCall: second})
	hearEachOther(near, far)
	far.hangsUp()
	near.ends()
	f.idle()
}

// Two calls on two lines of a telephone become a conference, whoever has called, and so do three parties.
func TestRealConferenceOfLines(t *testing.T) {
	f := realFreeSWITCH(t)
	phones := f.telephones("1001", "1002", "1003")
	r := f.front()
	for _, transfers := range []bool{false, true} {
		for i := range 4 {
			c := talkTo(r, "1001", "1002", "1003")
			call := func(from, to *telephone) (own, other *leg) {
				l := from.dials(to.number)
				o := to.rings().answers()
				return l.up(), o
			}
			var first, waits, second, far *leg
			if i%2 == 0 { // 1001 is called
				waits, first = call(phones[1], phones[0])
			} else {
				first, waits = call(phones[0], phones[1])
			}
			held := uacsta.Conn(c.await("1001", "Established").CallID, "1001")
			hearEachOther(first, waits)
			c.must(uacsta.HoldCall{CallToBeHeld: held})
			c.await("1001", "Held")
			waitFor(t, "music", func() bool { return strings.Contains(f.api("show channels"), ",playback,") })
			if i < 2 {
				far, second = call(phones[2], phones[0])
			} else {
				second, far = call(phones[0], phones[2])
			}
			active := uacsta.Conn(c.await("1001", "Established").CallID, "1001")
			hearEachOther(second, far)
			if transfers {
				c.must(uacsta.TransferCall{HeldCall: held, ActiveCall: active})
				c.await("1001", "Transfered")
			} else {
				c.must(uacsta.ConferenceCall{HeldCall: held, ActiveCall: active})
				c.await("1001", "Conferenced")
			}
			first.ends()
			if transfers {
				second.ends()
				hearEachOther(waits, far)
			} else {
				waitFor(t, "three members", func() bool { return strings.Contains(f.api("conference list"), "3 members") })
				second.hangsUp()
			}
			far.hangsUp()
			waits.ends()
			f.idle()
		}
	}
}

// A star code of the dialplan consults on the channel that the telephone has, too.
func TestRealStarCode(t *testing.T) {
	f := realFreeSWITCH(t)
	phones := f.telephones("1001", "1002", "1003")
	r := f.front()
	consulting := []string{"Held 1002 held consultation", "ServiceInitiated 1002 active consultation", "Originated 1002 active newCall"}
	for _, tt := range []struct {
		name string
		do   func(x *consulted)
		want []string
	}{
		{"transferred", func(x *consulted) {
			far := x.phones[2].rings().answers()
			x.until("1002", "Established")
			hearEachOther(x.waits, far)
			x.waits.hangsUp()
			hearEachOther(x.near, far)
			x.until("1001", "Transfered")
			far.hangsUp()
			x.near.ends()
		}, []string{"Delivered 1003 active newCall", "Established 1003 active newCall", "Transfered 1002 held transfer"}},
		{"the consulted party hangs up", func(x *consulted) {
			far := x.phones[2].rings().answers()
			x.until("1002", "Established")
			far.hangsUp()
			x.until("1002", "Retrieved")
			hearEachOther(x.near, x.waits)
			x.waits.hangsUp()
			x.near.ends()
		}, []string{"Delivered 1003 active newCall", "Established 1003 active newCall", "ConnectionCleared 1003 active normalClearing", "ConnectionCleared 1002 active normalClearing", "Retrieved 1002 held normal"}},
		{"rejected", func(x *consulted) {
			x.phones[2].rings().decline(486)
			x.until("1002", "Retrieved")
			hearEachOther(x.near, x.waits)
			x.near.hangsUp()
			x.waits.ends()
		}, []string{"Delivered 1003 active newCall", "Failed 1003 active busy", "ConnectionCleared 1003 active busy", "ConnectionCleared 1002 active normalClearing", "Retrieved 1002 held normal"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			x := &consulted{t: t, f: f, c: talkTo(r, "1001", "1002", "1003"), phones: phones, log: map[string][]string{}}
			x.near = phones[0].dials("1002")
			x.waits = phones[1].rings().answers()
			x.near.up()
			hearEachOther(x.near, x.waits)
			x.held = uacsta.Conn(x.c.must(uacsta.SnapshotDevice{SnapshotObject: uacsta.Dev("1002")}).Connections()[0].CallID(), "1002")
			x.waits.press("*4")
			waitFor(t, "the star code", func() bool { return strings.Contains(f.api("show channels"), ",read,") })
			x.waits.press("1003")
			begun := func() *uacsta.Message { return x.c.must(uacsta.SnapshotDevice{SnapshotObject: uacsta.Dev("1002")}) }
			waitFor(t, "the consultation", func() bool { return len(begun().Connections()) == 2 })
			for _, own := range begun().Connections() {
				if own.CallID() != x.held.CallID {
					x.active = uacsta.Conn(own.CallID(), "1002")
				}
			}
			tt.do(x)
			want := append(slices.Clone(consulting), tt.want...)
			heard := slices.DeleteFunc(x.log["1002"], func(line string) bool { return strings.HasPrefix(line, "Dtmf") })
			if i := slices.Index(heard, want[0]); i < 0 || !slices.Equal(heard[i:min(i+len(want), len(heard))], want) {
				t.Errorf("1002 hears\n%s\nnot\n%s", strings.Join(heard, "\n"), strings.Join(want, "\n"))
			}
			f.idle()
		})
	}
}

// A call that its user holds is retrieved by NOTIFY talk; a telephone that does not obey goes on holding, and no event says otherwise.
// The calling telephone of MakeCall can be made to answer.
func TestRealTalk(t *testing.T) {
	f := realFreeSWITCH(t)
	phones := f.telephones("1001", "1002")
	r := f.front()
	c := talkTo(r, "1001", "1002")
	id := c.must(uacsta.MakeCall{CallingDevice: uacsta.Dev("1001"), CalledDirectoryNumber: uacsta.Dev("1002")}).Text("callingDevice/callID")
	first := phones[0].rings()
	own := uacsta.Conn(id, "1001")
	c.await("1001", "ServiceInitiated")
	c.must(uacsta.AnswerCall{CallToBeAnswered: own})
	first.answeredHere()
	c.await("1001", "Originated")
	second := phones[1].rings().answers()
	c.await("1001", "Established")
	hearEachOther(first, second)
	first.hold()
	c.await("1002", "Held")
	c.must(uacsta.RetrieveCall{CallToBeRetrieved: own})
	c.await("1002", "Retrieved")
	hearEachOther(first, second)
	phones[0].deaf.Store(true)
	first.hold()
	c.await("1002", "Held")
	c.must(uacsta.RetrieveCall{CallToBeRetrieved: own})
	if calls := c.must(uacsta.SnapshotDevice{SnapshotObject: uacsta.Dev("1001")}); !strings.Contains(calls.String(), "hold") {
		t.Errorf("who holds has the calls %s", calls)
	}
	first.retrieve()
	c.await("1002", "Retrieved")
	second.hangsUp()
	first.ends()
	f.idle()
}

// A program consults, or transfers, as soon as it hears that the call is answered.
func TestRealConsultationAtOnce(t *testing.T) {
	f := realFreeSWITCH(t)
	phones := f.telephones("1001", "1002", "1003")
	r := f.front()
	phones[1].auto.Store(true)
	phones[2].auto.Store(true)
	for i := range 8 {
		c := talkTo(r, "1001", "1002", "1003")
		who, other := "1001", "1002"
		if i%2 == 1 {
			who, other = other, who
		}
		near := phones[0].dials("1002")
		held := uacsta.Conn(c.await(who, "Established").CallID, who)
		if i >= 4 {
			c.must(uacsta.SingleStepTransferCall{ActiveCall: held, TransferredTo: uacsta.Dev("1003")})
			stays, leaves, far := phones[1].rings(), near, phones[2].rings()
			if who == "1002" {
				stays, leaves = leaves, stays
			}
			leaves.ends()
			c.await(other, "Transfered")
			hearEachOther(stays, far)
			far.hangsUp()
			stays.ends()
			f.idle()
			continue
		}
		active := c.consults(held, "1003")
		c.await("1003", "Established")
		waits, far := phones[1].rings(), phones[2].rings()
		c.must(uacsta.ReconnectCall{HeldCall: held, ActiveCall: active})
		c.await(other, "Retrieved")
		far.ends()
		hearEachOther(near, waits)
		near.hangsUp()
		waits.ends()
		f.idle()
	}
}
