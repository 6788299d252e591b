package tests

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/wait"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// undisturbed compares what clients are told with what the switch tells, while nothing is killed.
func (s *soak) undisturbed() {
	s.t.Helper()
	losses := s.losses()
	witness := &viewer{s: s, name: "the witness", views: map[string]*view{}}
	f, err := dialFrames(s.back.xmlPort, func(document string) {
		if m, err := uacsta.Parse([]byte(document)); err == nil {
			witness.hear(m)
		}
	})
	if err != nil {
		s.t.Fatal(err)
	}
	defer f.close()
	witness.link = f
	all := slices.Concat(s.devices...)
	s.quiet(nobody, func() {
		s.each(len(all), func(n int) {
			if witness.watch(all[n]) == "" {
				s.t.Errorf("the witness may not watch %s", all[n])
			}
		})
	})
	s.await(s.size.steps)
	s.quiet(func() *viewer {
		if s.losses() != losses {
			s.t.Log("a link was lost although nothing was killed: the machine has too much to do")
			return nil
		}
		return witness
	}, func() {})
}

// losses counts the times that links went down.
func (s *soak) losses() int { return strings.Count(s.front.out.String(), "link down") }

// quiet stops all calls, as they are, compares what clients know with what the switch says, and does
// something before they go on.
func (s *soak) quiet(beside func() *viewer, then func()) {
	s.t.Helper()
	s.calm.Lock()
	defer s.calm.Unlock()
	s.linked()
	s.settle()
	truth, witness := s.truth(), beside()
	var wrong []string
	wait.Within(4*patience, func() bool { wrong = s.compare(truth, witness); return len(wrong) == 0 })
	s.each(len(s.viewers), func(n int) { s.viewers[n].ask(uacsta.RequestSystemStatus{}) }) // what comes late comes before its answer
	if len(wrong) == 0 {
		wrong = s.compare(s.truth(), witness)
	}
	for _, what := range wrong {
		s.fault("%s", what)
	}
	for _, v := range s.viewers {
		if v.ended() {
			s.fault("%s was cut off", v.name)
		}
		v.forget()
	}
	s.report()
	then()
}

func nobody() *viewer { return nil }

// settle waits until nothing but heartbeats passes on the wires.
func (s *soak) settle() {
	s.t.Helper()
	passed := func() (frames int64) {
		for _, w := range s.wires {
			frames += w.frames.Load()
		}
		return frames
	}
	since, before := time.Now(), passed()
	waitLong(s.t, 5*patience, "quiet", func() bool {
		if passed()-before > int64(4*s.links) {
			since, before = time.Now(), passed()
		}
		return time.Since(since) > time.Second/2
	})
}

// truth is what the switch says of its calls: the state of each device in each.
func (s *soak) truth() map[string]map[string]string {
	s.t.Helper()
	var mu sync.Mutex
	truth := map[string]map[string]string{}
	all := slices.Concat(s.devices...)
	s.each(len(all), func(n int) {
		m, err := s.callers[n%len(s.callers)].Load().ask(uacsta.SnapshotDevice{SnapshotObject: uacsta.Dev(all[n])})
		var shot uacsta.SnapshotDeviceResponse
		if err != nil || m.Decode(&shot) != nil {
			s.t.Errorf("no snapshot of %s: %v, %s", all[n], err, m)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		for _, info := range shot.CrossRefIDorSnapshotData.SnapshotData.SnapshotDeviceResponseInfo {
			id := info.ConnectionIdentifier.CallID
			if truth[id] == nil {
				truth[id] = map[string]string{}
			}
			truth[id][all[n]] = string(info.LocalCallState.CompoundCallState[0])
		}
	})
	return truth
}

// lines are calls without their callIDs, which are others at each side.
func lines(calls map[string]map[string]string) []string {
	var lines []string
	for _, parties := range calls {
		var states []string
		for _, device := range slices.Sorted(maps.Keys(parties)) {
			states = append(states, device+" "+parties[device])
		}
		lines = append(lines, strings.Join(states, ", "))
	}
	slices.Sort(lines)
	return lines
}

// apart returns where two lists part ways; "" where they are one and the same.
func apart(a, b []string) string {
	for i := range max(len(a), len(b)) {
		if i >= len(a) || i >= len(b) || a[i] != b[i] {
			return fmt.Sprintf("of %d %q, of %d %q", len(a), a[i:min(i+2, len(a))], len(b), b[i:min(i+2, len(b))])
		}
	}
	return ""
}

// compare returns what is wrong with the clients' pictures: they must agree with one another, with
// the switch, and, where there is one, with a witness of all events.
func (s *soak) compare(truth map[string]map[string]string, witness *viewer) (wrong []string) {
	type sample struct {
		view
		of string
	}
	one := map[string]sample{} // of the views of a device
	calls := map[string]map[string]string{}
	for _, v := range s.viewers {
		for device, w := range v.now() {
			first, there := one[device]
			if !there {
				one[device] = sample{w, v.name}
				for id, state := range w.known {
					if id[1] == device {
						if calls[id[0]] == nil {
							calls[id[0]] = map[string]string{}
						}
						calls[id[0]][device] = state
					}
				}
				continue
			}
			if !maps.Equal(first.known, w.known) {
				wrong = append(wrong, fmt.Sprintf("%s knows %v of %s, and %s %v", v.name, w.known, device, first.of, first.known))
			} else if what := apart(w.told, first.told); what != "" {
				wrong = append(wrong, fmt.Sprintf("of %s, %s was told other events than %s: %s", device, v.name, first.of, what))
			}
		}
	}
	for device, w := range one {
		for id, state := range w.known {
			if calls[id[0]][id[1]] != state {
				wrong = append(wrong, fmt.Sprintf("%s believes of %s that %v is %q, and whoever watches that knows %q", w.of, device, id, state, calls[id[0]][id[1]]))
			}
		}
	}
	if witness != nil {
		for device, w := range witness.now() {
			if what := apart(one[device].told, w.told); what != "" {
				wrong = append(wrong, fmt.Sprintf("of %s, %s was told other events than the switch told: %s", device, one[device].of, what))
			}
		}
	}
	known, said := lines(calls), lines(truth)
	for _, line := range known {
		if !slices.Contains(said, line) {
			wrong = append(wrong, "clients know a call that the switch does not have: "+line)
		}
	}
	for _, line := range said {
		if !slices.Contains(known, line) {
			wrong = append(wrong, "clients do not know a call that the switch has: "+line)
		}
	}
	if len(known) != len(said) {
		wrong = append(wrong, fmt.Sprintf("clients know %d calls, and the switch has %d", len(known), len(said)))
	}
	for l, n := range s.numbers {
		if n == nil {
			continue
		}
		watched := n.watched()
		for _, device := range s.devices[l] {
			if watched[device] != 1 {
				wrong = append(wrong, fmt.Sprintf("the switch has %d monitors on %s by link %d", watched[device], device, l))
			}
		}
	}
	return wrong
}
