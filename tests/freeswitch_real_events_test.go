package tests

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// witness is a program that notes what it is told of each device: the event, its first connection's device, the state
// of the device itself, and the cause.
type witness struct {
	*cardTalk
	told map[string][]string
}

func witnessOf(r *running, devices ...string) *witness {
	return &witness{talkTo(r, devices...), map[string][]string{}}
}

// next waits until something is told of a device.
func (w *witness) next(device string) {
	w.t.Helper()
	for n := len(w.told[device]); len(w.told[device]) == n; {
		m := w.hear()
		line := strings.TrimSuffix(m.Name(), "Event")
		if list := m.Connections(); len(list) > 0 {
			line += " " + list[0].DeviceID()
		}
		if state := m.Text("localConnectionInfo"); state != "" {
			line += " " + state
		}
		at := w.watched[m.CrossRef()]
		w.told[at] = append(w.told[at], line+" "+m.Text("cause"))
	}
}

// expects waits for events of a device, and compares them.
func (w *witness) expects(device string, want ...string) {
	w.t.Helper()
	for len(w.told[device]) < len(want) {
		w.next(device)
	}
	if got := w.told[device][:len(want)]; !slices.Equal(got, want) {
		w.t.Fatalf("%s is told\n%s\nnot\n%s", device, strings.Join(w.told[device], "\n"), strings.Join(want, "\n"))
	}
	w.told[device] = w.told[device][len(want):]
}

// forgets drops what was told of a device.
func (w *witness) forgets(devices ...string) {
	for _, device := range devices {
		delete(w.told, device)
	}
}

var dialled = []string{"ServiceInitiated 1000 initiated normal", "Originated 1000 connected newCall"}

// A device has one connection, whatever the number of its registrations.
func TestRealRegisteredTwice(t *testing.T) {
	t.Parallel()
	f := realFreeSWITCH(t)
	list := f.telephones("1000", "1001", "1001", "1002")
	r := f.front()
	w := witnessOf(r, "1000", "1001")
	for n, answers := range []int{1, 2, 1, 2} {
		caller := list[0].dials("71001")
		first, second := list[1].rings(), list[2].rings()
		mine, others := first, second
		if answers == 2 {
			mine, others = second, first
		}
		if n > 1 {
			others.decline(486)
			others.ends()
		}
		mine.answers()
		caller.up()
		others.ends()
		w.expects("1001", "Delivered 1001 alerting newCall", "Established 1001 connected newCall")
		mine.hold()
		w.expects("1001", "Held 1001 hold normal")
		mine.retrieve()
		w.expects("1001", "Retrieved 1001 connected normal")
		caller.hangsUp()
		w.expects("1001", "ConnectionCleared 1000 connected normalClearing", "ConnectionCleared 1001 null normalClearing")
		mine.ends()
	}
	caller := list[0].dials("71001")
	list[1].rings().decline(486)
	list[2].rings().decline(486)
	caller.fails()
	w.expects("1001", "Delivered 1001 alerting newCall", "Failed 1001 fail busy", "ConnectionCleared 1001 null busy")
	list[0].dials("71001")
	list[1].rings()
	list[2].rings()
	w.expects("1001", "Delivered 1001 alerting newCall")
	w.must(uacsta.AnswerCall{CallToBeAnswered: w.calls("1001")[0]})
	w.expects("1001", "Established 1001 connected newCall")
	w.must(uacsta.ClearConnection{ConnectionToBeCleared: w.calls("1001")[0]})
	w.expects("1001", "ConnectionCleared 1001 null normalClearing")
	f.idle()
	w.must(call("1001", "1002")) // both answer by themselves, and FreeSWITCH ends one
	list[1].rings()
	list[2].rings()
	other := list[3].rings().answers()
	w.expects("1001", "ServiceInitiated 1001 initiated makeCall", "Originated 1001 connected newCall", "Delivered 1002 connected newCall", "Established 1002 connected newCall")
	w.must(uacsta.ClearConnection{ConnectionToBeCleared: w.calls("1001")[0]})
	w.expects("1001", "ConnectionCleared 1001 null normalClearing")
	other.ends()
	f.idle()
	list[1].unregister()
	list[2].unregister()
	w.expects("1001", "OutOfService normal") // once
	f.telephone("1001")
	w.expects("1001", "BackInService normal")
	r.stop()
}

// A called device, and a trunk, learn that the attempt has failed.
func TestRealUnreached(t *testing.T) {
	t.Parallel()
	f := realFreeSWITCH(t)
	list := f.telephones("1000", "1001", "1002")
	carrier := f.carrier()
	r := f.front()
	w := witnessOf(r, "1000", "1001", "1002", "01carrier", "029500")
	caller := list[0].dials("71001")
	list[1].rings().decline(603)
	caller.fails()
	w.expects("1001", "Delivered 1001 alerting newCall", "Failed 1001 fail busy", "ConnectionCleared 1001 null busy")
	w.expects("1000", append(slices.Clone(dialled), "Delivered 1001 connected newCall", "Failed 1001 connected busy", "ConnectionCleared 1001 connected busy", "ConnectionCleared 1000 null busy")...)
	caller = list[0].dials("2000")
	first := list[1].rings()
	second := list[2].rings()
	first.decline(486)
	first.ends()
	second.answers()
	caller.up()
	caller.hangsUp()
	second.ends()
	for list := w.told["1002"]; ; list = w.told["1002"] { // whichever rings first
		if n := len(list); n > 0 && list[n-1] == "ConnectionCleared 1002 null normalClearing" {
			if !slices.Contains(list, "ConnectionCleared 1001 alerting busy") || slices.ContainsFunc(list, func(line string) bool { return strings.HasPrefix(line, "Failed") }) {
				t.Errorf("1002 is told\n%s", strings.Join(list, "\n"))
			}
			break
		}
		w.next("1002")
	}
	f.idle()
	w.forgets("1000", "1001", "1002")
	carrier.rejects.Store(486)
	caller = list[0].dials("0555123")
	caller.fails()
	w.expects("01carrier", "NetworkReached 555123 newCall", "Failed 555123 fail busy", "ConnectionCleared 555123 null busy")
	list[1].rejects.Store(486)
	w.must(uacsta.MakePredictiveCall{CallingDevice: uacsta.Dev("029500"), CalledDirectoryNumber: uacsta.Dev("1001")})
	w.expects("029500", "Failed 029500 null busy")
	w.must(uacsta.MakePredictiveCall{CallingDevice: uacsta.Dev("1002"), CalledDirectoryNumber: uacsta.Dev("1000")})
	called := list[0].rings()
	called.answers()
	calling := list[2].rings()
	calling.answers()
	hearEachOther(called, calling)
	called.hangsUp()
	calling.ends()
	f.idle()
	f.api("sofia profile external killgw carrier")
	w.expects("01carrier", "OutOfService normal")
	r.stop()
}

// Each transfer by hand is told as one, whatever overtakes what.
func TestRealTransfers(t *testing.T) {
	t.Parallel()
	f := realFreeSWITCH(t)
	list := f.telephones("1000", "1001", "1002")
	r := f.front()
	w := witnessOf(r, "1000", "1001", "1002")
	talk := func() (a, b *leg) {
		a = list[0].dials("1001")
		b = list[1].rings()
		w.expects("1001", "Delivered 1001 alerting newCall")
		b.answers()
		a.up()
		w.expects("1001", "Established 1001 connected newCall")
		w.expects("1000", append(slices.Clone(dialled), "Delivered 1001 connected newCall", "Established 1001 connected newCall")...)
		return a, b
	}
	taken := func(stays string, other *leg) {
		t.Helper()
		third := list[2].rings()
		third.answers()
		w.expects("1002", "Delivered 1002 alerting redirected", "Established 1002 connected redirected")
		w.expects(stays, "Delivered 1002 connected redirected", "Established 1002 connected redirected")
		hearEachOther(other, third)
		third.hangsUp()
		w.expects("1002", "ConnectionCleared 1002 null normalClearing")
		w.expects(stays, "ConnectionCleared 1002 connected normalClearing", fmt.Sprintf("ConnectionCleared %s null normalClearing", stays))
		other.ends()
	}
	for range 20 {
		a, b := talk()
		a.refer("1002")
		w.expects("1000", "Transfered 1000 null singleStepTransfer")
		w.expects("1001", "Transfered 1000 connected singleStepTransfer")
		taken("1001", b)
		a, b = talk()
		b.refer("1002")
		w.expects("1001", "Transfered 1001 null singleStepTransfer")
		w.expects("1000", "Transfered 1001 connected singleStepTransfer")
		taken("1000", a)
		a, b = talk()
		w.must(uacsta.SingleStepTransferCall{ActiveCall: w.calls("1000")[0], TransferredTo: uacsta.Dev("1002")})
		w.expects("1000", "Transfered 1000 null singleStepTransfer")
		w.expects("1001", "Transfered 1000 connected singleStepTransfer")
		taken("1001", b)
		a.ends()
	}
	for n := range 20 {
		a, b := talk()
		a.hold()
		w.expects("1000", "Held 1000 hold normal")
		w.expects("1001", "Held 1000 connected normal")
		second := list[0].dials("1002")
		third := list[2].rings()
		w.expects("1000", append(slices.Clone(dialled), "Delivered 1002 connected newCall")...)
		w.expects("1002", "Delivered 1002 alerting newCall")
		state, early := "connected", n%2 == 1
		if early {
			state = "alerting"
			second.ringing()
		} else {
			third.answers()
			second.up()
			w.expects("1000", "Established 1002 connected newCall")
			w.expects("1002", "Established 1002 connected newCall")
		}
		a.referTo(second)
		w.expects("1000", "Transfered 1000 null transfer")
		w.expects("1001", "Transfered 1000 connected transfer")
		w.expects("1002", "Transfered 1000 "+state+" transfer")
		if early {
			third.answers()
			w.expects("1001", "Established 1002 connected redirected")
			w.expects("1002", "Established 1002 connected redirected")
		}
		hearEachOther(b, third)
		b.hangsUp()
		w.expects("1001", "ConnectionCleared 1001 null normalClearing")
		w.expects("1002", "ConnectionCleared 1001 connected normalClearing", "ConnectionCleared 1002 null normalClearing")
		third.ends()
		f.idle()
	}
	r.stop()
}

// Who holds and hangs up has not retrieved the call; a conference that is cleared clears what was introduced; voicemail
// behind mod_loopback is no device.
func TestRealEnds(t *testing.T) {
	t.Parallel()
	f := realFreeSWITCH(t)
	list := f.telephones("1000", "1001")
	r := f.front(`devices: ["10??", "02*", "3001"]`)
	w := witnessOf(r, "1000", "1001", "3001")
	a := list[0].dials("1001")
	b := list[1].rings().answers()
	a.up()
	w.expects("1001", "Delivered 1001 alerting newCall", "Established 1001 connected newCall")
	b.hold()
	w.expects("1001", "Held 1001 hold normal")
	b.hangsUp()
	w.expects("1001", "ConnectionCleared 1001 null normalClearing")
	a.ends()
	w.expects("1000", append(slices.Clone(dialled), "Delivered 1001 connected newCall", "Established 1001 connected newCall", "Held 1001 connected normal", "ConnectionCleared 1001 connected normalClearing", "ConnectionCleared 1000 null normalClearing")...)
	list[0].dials("3001").up()
	w.expects("3001", "Established 3001 connected newCall")
	list[1].dials("3001").up()
	w.expects("3001", "Conferenced 3001 connected conference")
	w.must(uacsta.ClearConnection{ConnectionToBeCleared: w.calls("3001")[0]})
	f.idle()
	w.expects("1000", append(slices.Clone(dialled), "Established 3001 connected newCall", "Conferenced 3001 connected conference")...)
	if w.next("1000"); w.told["1000"][0] == "ConnectionCleared 1001 connected normalClearing" { // whoever is first
		w.expects("1000", "ConnectionCleared 1001 connected normalClearing")
	}
	w.expects("1000", "ConnectionCleared 1000 null normalClearing")
	w.forgets("1001")
	list[1].rejects.Store(486)
	a = list[0].dials("1001").up() // voicemail
	w.expects("1000", append(slices.Clone(dialled), "Failed 1001 connected busy")...)
	a.hangsUp()
	w.expects("1000", "ConnectionCleared 1000 null normalClearing")
	f.idle()
	r.stop()
}
