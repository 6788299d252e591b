package tests

import (
	"sync"
	"testing"
)

// 500 calls, ten at a time: a program is told each from its beginning to its end, once.
func TestRealFreeSWITCHLoad(t *testing.T) {
	t.Parallel()
	f := realFreeSWITCH(t)
	r := f.front()
	const pairs, rounds = 10, 50
	var devices []string
	var from, to []*telephone
	for i := range pairs {
		a, b := f.telephone(f.Users[2*i]), f.telephone(f.Users[2*i+1])
		a.voiceless, b.voiceless = true, true
		b.auto.Store(true)
		from, to = append(from, a), append(to, b)
		devices = append(devices, a.number, b.number)
	}
	o := talkTo(r, devices...)
	done := make(chan map[string]int)
	go func() {
		counts := map[string]int{}
		for counts["ConnectionClearedEvent"] < 3*pairs*rounds {
			_, m, err := o.read()
			if err != nil {
				t.Error(err)
				break
			}
			counts[m.Name()]++
		}
		done <- counts
	}()
	var group sync.WaitGroup
	for i := range pairs {
		group.Go(func() {
			for range rounds {
				l := from[i].dials(to[i].number)
				l.up()
				far := to[i].rings()
				l.hangsUp()
				far.ends()
			}
		})
	}
	group.Wait()
	counts := <-done
	for event, times := range map[string]int{"ServiceInitiatedEvent": 1, "OriginatedEvent": 1, "DeliveredEvent": 2, "EstablishedEvent": 2, "ConnectionClearedEvent": 3} {
		if counts[event] != times*pairs*rounds {
			t.Errorf("%d %ss, want %d", counts[event], event, times*pairs*rounds)
		}
	}
	f.idle()
	r.stop()
}
