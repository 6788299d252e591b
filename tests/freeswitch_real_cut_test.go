package tests

import (
	"fmt"
	"slices"
	"testing"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// stands lists the calls of three telephones as a program sees them: the connections of each, sorted.
func stands(o *cardTalk) [][]string {
	calls := map[string][]string{}
	for _, device := range []string{"1001", "1002", "1003"} {
		var snapshot uacsta.SnapshotDeviceResponse
		if err := o.must(uacsta.SnapshotDevice{SnapshotObject: uacsta.Dev(device)}).Decode(&snapshot); err != nil {
			o.t.Fatal(err)
		}
		data := snapshot.CrossRefIDorSnapshotData.SnapshotData
		if data == nil {
			continue
		}
		for _, c := range data.SnapshotDeviceResponseInfo {
			state := "?"
			if states := c.LocalCallState.CompoundCallState; len(states) > 0 {
				state = string(states[0])
			}
			id := c.ConnectionIdentifier.CallID
			calls[id] = append(calls[id], device+" "+state)
		}
	}
	var all [][]string
	for _, call := range calls {
		all = append(all, call)
	}
	slices.SortFunc(all, slices.Compare)
	return all
}

// The event socket is lost at twenty moments of two calls, while things go on: when the link is up again, a program sees
// what there is.
func TestRealFreeSWITCHLinkLost(t *testing.T) {
	t.Parallel()
	talk, held, rings := []string{"1001 connected", "1002 connected"}, []string{"1001 hold", "1002 connected"}, []string{"1001 connected", "1003 alerting"}
	after := [][][]string{ // each step
		{{"1001 connected", "1002 alerting"}}, {talk}, {held}, {talk}, {held}, {rings, held}, {{"1001 connected", "1003 connected"}, held},
		{{"1002 connected", "1003 connected"}}, nil,
	}
	for name, lost := range map[string]struct {
		moments int
		steps   int // that happen while it is lost
	}{"cut": {7, 0}, "a step is missed": {7, 1}, "two steps are missed": {6, 2}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := realFreeSWITCH(t)
			list := f.telephones("1001", "1002", "1003")
			for moment := range lost.moments {
				r := f.front() // a link that is lost again and again waits longer before it comes back
				var from, to, second, third *leg
				steps := []func(){
					func() { from = list[0].dials("1002"); to = list[1].rings(); from.ringing() },
					func() { to.answers(); hearEachOther(from.up(), to) },
					func() { from.hold() },
					func() { from.retrieve(); hearEachOther(from, to) },
					func() { from.hold() },
					func() { second = list[0].dials("1003"); third = list[2].rings(); second.ringing() },
					func() { third.answers(); hearEachOther(second.up(), third) },
					func() { from.referTo(second); from.ends(); second.ends(); hearEachOther(to, third) },
					func() { to.hangsUp(); third.ends(); f.idle() },
				}
				o := talkTo(r, "1001", "1002", "1003")
				for i, step := range steps {
					switch i {
					case moment:
						if f.down(); lost.steps == 0 {
							f.up()
						}
					case moment + lost.steps:
						f.up()
						r.linked("fs")
					}
					step()
					if i >= moment && i < moment+lost.steps {
						continue
					}
					now := ""
					waitFor(t, fmt.Sprintf("what there is after step %d, the link lost at %d", i, moment), func() bool {
						if r.metric(`tr87proxy_link_up{link="fs"}`) != 1 {
							return false
						}
						if seen := fmt.Sprint(stands(o)); seen != now {
							now = seen
							t.Logf("lost at %d, step %d: %s", moment, i, now)
						}
						return now == fmt.Sprint(after[i])
					})
				}
				r.stop()
			}
		})
	}
}
