package tests

import "testing"

// byHand is a FreeSWITCH with a program that watches three telephones, whose users do everything by hand.
type byHand struct {
	t       *testing.T
	f       *realSwitch
	o       *cardTalk
	a, b, c *telephone
}

// talks has 1001 call 1002.
func (h *byHand) talks() (from, to *leg) {
	h.t.Helper()
	from = h.a.dials("1002")
	h.o.await("1001", "Originated")
	to = h.b.rings()
	h.o.await("1002", "Delivered")
	to.answers()
	h.o.await("1001", "Established")
	h.o.await("1002", "Established")
	hearEachOther(from.up(), to)
	return from, to
}

// ends checks that two telephones, and nobody else, are in a call together, and clears it.
func (h *byHand) ends(x, y *leg) {
	h.t.Helper()
	hearEachOther(x, y)
	var callID string
	for _, device := range []string{"1001", "1002", "1003"} {
		own := h.o.calls(device)
		switch in := device == x.phone.number || device == y.phone.number; {
		case in && len(own) == 1 && (callID == "" || own[0].CallID == callID):
			callID = own[0].CallID
		case in || len(own) > 0:
			h.t.Errorf("%s is in %v, the call of %s and %s in %s", device, own, x.phone.number, y.phone.number, callID)
		}
	}
	x.hangsUp()
	y.ends()
	h.f.idle()
	for _, device := range []string{"1001", "1002", "1003"} {
		waitFor(h.t, "the end of all calls of "+device, func() bool { return len(h.o.calls(device)) == 0 })
	}
}

// What users do by hand causes the same events, whichever of FreeSWITCH's own events comes first.
func TestRealFreeSWITCHByHand(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		times int
		play  func(h *byHand)
	}{
		"keys and hold": {5, func(h *byHand) {
			from, to := h.talks()
			from.press("12#")
			to.hearsKeys("12#")
			h.o.await("1002", "DtmfDetected")
			to.info("5")
			h.o.await("1001", "DtmfDetected")
			from.hold()
			h.o.await("1002", "Held")
			from.retrieve()
			h.o.await("1002", "Retrieved")
			h.ends(from, to)
		}},
		"REFER by the caller": {20, func(h *byHand) {
			from, to := h.talks()
			from.refer("1003")
			third := h.c.rings()
			h.o.await("1001", "Transfered")
			h.o.await("1002", "Transfered")
			h.o.await("1003", "Delivered")
			third.answers()
			h.o.await("1003", "Established")
			from.ends()
			h.ends(to, third)
		}},
		"REFER by the called one": {20, func(h *byHand) {
			from, to := h.talks()
			to.refer("1003")
			third := h.c.rings()
			h.o.await("1001", "Transfered")
			h.o.await("1002", "Transfered")
			third.answers()
			h.o.await("1003", "Established")
			to.ends()
			h.ends(from, third)
		}},
		"REFER with Replaces": {20, func(h *byHand) {
			from, to := h.talks()
			from.hold()
			h.o.await("1002", "Held")
			second := h.a.dials("1003")
			third := h.c.rings().answers()
			second.up()
			h.o.await("1003", "Established")
			from.referTo(second)
			for _, device := range []string{"1001", "1002", "1003"} {
				h.o.await(device, "Transfered")
			}
			from.ends()
			second.ends()
			h.ends(to, third)
		}},
		"REFER with Replaces while it rings": {20, func(h *byHand) {
			from, to := h.talks()
			from.hold()
			h.o.await("1002", "Held")
			second := h.a.dials("1003")
			third := h.c.rings()
			second.ringing()
			h.o.await("1003", "Delivered")
			from.referTo(second)
			h.o.await("1001", "Transfered")
			h.o.await("1002", "Transfered")
			from.ends()
			h.ends(to, third.answers())
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := realFreeSWITCH(t)
			list := f.telephones("1001", "1002", "1003")
			r := f.front()
			for range tt.times {
				tt.play(&byHand{t, f, talkTo(r, "1001", "1002", "1003"), list[0], list[1], list[2]})
			}
			r.stop()
		})
	}
}
