package linktest

import (
	"fmt"
	"slices"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// actors is the number of concurrent actors.
const actors = 3

// histories runs random lives: several actors do random things at the same time, and the life ends at
// a random moment in a random way.
func histories(t *testing.T, kit Kit) {
	var shared *bench
	if !kit.Bubble {
		shared = newBench(t, kit)
		defer shared.over()
	}
	rapid.Check(t, func(rt *rapid.T) {
		steps := rapid.SliceOfN(rapid.IntRange(0, 1<<16), 1, 60).Draw(rt, "steps")
		lives := rapid.IntRange(1, 3).Draw(rt, "lives")
		end := rapid.IntRange(0, 3).Draw(rt, "end")
		var problem error
		kit.inside(t, func(t *testing.T) {
			b := shared
			if b == nil {
				b = newBench(t, kit)
			}
			var mu sync.Mutex
			b.mu.Lock()
			b.broken, b.fail = 0, func(format string, args ...any) {
				mu.Lock()
				defer mu.Unlock()
				if problem == nil {
					problem = fmt.Errorf(format, args...)
				}
			}
			b.mu.Unlock()
			for range lives {
				b.lead(steps, end)
			}
			mu.Lock()
			defer mu.Unlock()
		})
		if problem != nil {
			rt.Fatal(problem)
		}
	})
}

// lead runs one life.
func (b *bench) lead(steps []int, end int) {
	l := b.up()
	var group sync.WaitGroup
	for a := range actors {
		group.Go(func() {
			var refs []string
			var calls []*question
			for n := a; n < len(steps); n += actors {
				switch what := steps[n]; what % 8 {
				case 0, 1:
					q := l.ask(l.start())
					if q.answered() && q.err == nil {
						refs = append(refs, q.res.CrossRef())
					}
				case 2:
					if len(refs) > 0 {
						i := what / 8 % len(refs)
						l.ask(uacsta.MonitorStop{MonitorCrossRefID: refs[i]})
						refs = slices.Delete(refs, i, i+1)
					}
				case 3:
					calls = append(calls, l.ask(l.call()))
				case 4:
					if len(calls) > 0 {
						if q := calls[what/8%len(calls)]; q.answered() && q.err == nil {
							l.ask(uacsta.ClearConnection{ConnectionToBeCleared: uacsta.Conn(q.res.Text("callingDevice/callID"), b.rig.Device)})
						}
					}
				case 5:
					l.ask(l.snapshot())
				default:
					b.rig.Tell()
				}
			}
		})
	}
	switch relay := b.rig.Relay; {
	case end == 0: // while the actors run
		l.end()
	case end == 1 && relay != nil:
		relay.cut()
	case end == 2 && relay != nil:
		relay.cutAfter(toLink, len(steps))
		group.Wait()
		relay.cut()
	default:
		group.Wait()
		l.end()
	}
	if b.lasts {
		group.Wait()
		l.end()
	}
	l.returned("at the end of a history")
	group.Wait()
}
