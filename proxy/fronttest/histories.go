package fronttest

import (
	"flag"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tr87proxy/tr87proxy/policy"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

var exhaustive = flag.Bool("exhaustive", false, "histories of a front: a hundred times as many; it takes some minutes")

// history is one random history: the steps that programs and the world take concurrently, each in its
// own order, and how it ends.
type history struct {
	steps  []int
	linger bool // monitors outlive clients whose connection fails
	slow   bool // a program stops reading at the end
	end    int
}

// programs is the number of concurrent programs, besides the world.
const programs = 3

// spread turns random numbers into numbers of all sizes, most of them small.
const spread = 40503

var drawn = rapid.Custom(func(t *rapid.T) history {
	return history{
		steps:  rapid.SliceOfN(rapid.IntRange(0, 1<<16-1), 20, 120).Draw(t, "steps"),
		linger: rapid.Bool().Draw(t, "linger"), slow: rapid.Bool().Draw(t, "slow"), end: rapid.IntRange(0, 5).Draw(t, "end"),
	}
})

// histories runs random histories. If a front can run in a bubble, some run over sockets, too, when
// there is time.
func histories(t *testing.T, kit Kit, bubble bool) {
	rounds := 1
	switch {
	case *exhaustive:
		rounds = 100
	case kit.Bubble && !bubble:
		t.Skip("-exhaustive is not set")
	}
	for range rounds {
		rapid.Check(t, func(rt *rapid.T) {
			h := drawn.Draw(rt, "history")
			if err := inside(t, bubble, func() error { return h.play(kit, bubble) }); err != nil {
				rt.Fatal(err)
			}
		})
		if t.Failed() {
			return
		}
	}
}

// play runs the history with a new front.
func (h history) play(kit Kit, bubble bool) error {
	c := check{run: func(b *bench) { newWorld(b).live(h) }}
	if h.linger {
		c.linger = 20 * time.Millisecond
	}
	return c.play(kit, bubble)
}

// world is what happens around the programs, with all that they hear.
type world struct {
	*bench
	told map[string][]int // marks that the core got, by device
	next map[string]int   // the next mark of a device
	lost bool             // the link is down
	away bool             // the last device has no link

	disturbed atomic.Int64 // how often the link or the configuration has refused something
	disturbs  atomic.Bool  // it refuses something now
	purged    atomic.Int64 // how often the core has closed all sessions
	purges    atomic.Bool
	disorder  atomic.Bool // responses may come in another order than requests
	over      atomic.Bool // the history is ending

	mu     sync.Mutex
	first  error // the first breach of the contract
	people []*program
}

func newWorld(b *bench) *world {
	return &world{bench: b, told: map[string][]int{}, next: map[string]int{}}
}

// breach records a breach of the contract.
func (w *world) breach(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.first == nil {
		w.first = err
	}
}

// all returns all programs so far.
func (w *world) all() []*program {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.people
}

// live runs a history.
func (w *world) live(h history) {
	defer w.close()
	if err := w.sw.Perform(uacsta.SetDoNotDisturb{Device: uacsta.Dev(Devices[1]), DoNotDisturbOn: true}); err != nil {
		fail("%w", err)
	}
	var steps [programs + 1][]int
	for _, s := range h.steps {
		s = s * spread % (1 << 16)
		steps[s>>14] = append(steps[s>>14], s%(1<<14))
	}
	var group sync.WaitGroup
	for n := range programs {
		group.Go(func() {
			a := &actor{w: w, device: Devices[n]}
			if err := try(func() {
				for _, s := range steps[n] {
					a.step(s%16, s/16)
				}
			}); err != nil {
				w.breach(err)
			}
		})
	}
	for _, s := range steps[programs] {
		w.step(s%16, s/16)
	}
	switch h.end {
	case 0: // while the programs run
		w.over.Store(true)
		w.stop()
	case 1:
		w.over.Store(true)
		w.halt()
		<-w.halted
	default:
		w.quieten()
	}
	if w.over.Load() {
		w.wake()
		group.Wait()
		w.wake()
		w.ends(w.all())
	} else {
		group.Wait()
		w.quiet(h)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.first != nil {
		fail("%w", w.first)
	}
}

// step takes one step of the world.
func (w *world) step(what, arg int) {
	device := Devices[arg%len(Devices)]
	switch what {
	case 0, 1, 2, 3, 4:
		w.marks(device, 1+arg%3)
	case 5:
		w.sw.hold()
	case 6:
		w.sw.release(false)
	case 7:
		if w.kit.Without["answers out of order"] == "" {
			w.disorder.Store(true)
			w.sw.release(true)
		}
	case 8:
		w.lose()
	case 9:
		w.restore()
	case 10:
		w.disturb(func() { w.sw.refuse(1 + arg%3) })
	case 11:
		w.disturb(func() { w.move(!w.away) })
	case 12:
		if arg%4 == 0 {
			w.purge()
		}
	default:
		w.pause(arg)
	}
}

// pause lets some of the bubble's time pass.
func (w *world) pause(arg int) {
	if w.bubble {
		time.Sleep(time.Duration(arg%8) * 30 * time.Millisecond)
	}
}

// marks sends marks to the monitors of a device.
func (w *world) marks(device string, n int) {
	for range n {
		mark := w.next[device]
		w.next[device]++
		if w.sw.tellAll(device, func(ref string) any { return w.kit.Mark(ref, device, mark) }) {
			w.told[device] = append(w.told[device], mark)
		}
	}
}

// disturb does something after which programs may be refused what they would otherwise get.
func (w *world) disturb(what func()) {
	w.disturbs.Store(true)
	w.disturbed.Add(1)
	what()
}

func (w *world) up() bool { return w.core.Status().Links[0].Up }

func (w *world) lose() {
	if !w.lost && w.up() {
		w.lost = true
		w.disturb(w.sw.lose)
	}
}

func (w *world) restore() {
	if !w.lost {
		return
	}
	w.await("the link is down", func() bool { return !w.up() })
	w.sw.restore()
	w.await("the link is up", w.up)
	w.lost = false
}

// move takes the last device from the link or gives it back.
func (w *world) move(away bool) {
	w.away = away
	last := Devices[len(Devices)-1]
	w.core.SetLinks([]proxy.NamedLink{{Name: linkName, Devices: func(device string) bool { return !away || device != last }}})
}

// purge makes the core close all sessions.
func (w *world) purge() {
	w.purges.Store(true)
	w.purged.Add(1)
	w.core.SetRules(&policy.Policy{}, w.numbers)
	w.core.SetRules(&policy.Policy{Demo: true}, w.numbers)
	w.purges.Store(false)
}

// quieten ends all disturbances.
func (w *world) quieten() {
	w.sw.refuse(0)
	w.restore()
	w.move(false)
	w.sw.release(false)
	w.disturbs.Store(false)
}

// wake makes all programs read again.
func (w *world) wake() {
	for _, p := range w.all() {
		p.read(true)
	}
}

// close closes the remaining connections.
func (w *world) close() {
	w.over.Store(true)
	if w.lost {
		w.sw.restore()
	}
	for _, p := range w.all() {
		p.read(true)
		_ = p.nc.Close()
	}
}

// ends waits until associations have ended.
func (w *world) ends(people []*program) {
	for _, p := range people {
		w.await("the association of "+p.device+" ends", p.isOver)
	}
}

// prompt is how soon programs must hear what is due while another one does not read: before a front
// disconnects that one.
const prompt = 100 * time.Millisecond

// lastMarks is more than can be in transit to a program that has just stopped reading.
const lastMarks = 4

// watched waits until the switching function has monitors for everything that programs monitor.
func (w *world) watched(people []*program) {
	for _, p := range people {
		if w.kit.Watched && len(p.watched()) > 0 {
			w.await(p.device+" has a monitor", func() bool { return p.isOver() || w.monitors(p) > 0 })
		}
		for _, device := range p.watched() {
			w.await(device+" is watched", func() bool {
				refs, _ := w.sw.watching(device)
				return len(refs) > 0 || p.isOver() || !slices.Contains(p.watched(), device) // it is told only now
			})
		}
	}
}

// monitors returns how many monitors the core has of a program.
func (w *world) monitors(p *program) int {
	for _, s := range w.core.SessionList() {
		if strings.HasSuffix(s.Peer, p.nc.LocalAddr().String()) {
			return s.Monitors
		}
	}
	return 0
}

// finish sends the last marks of each device and waits until programs have heard them.
func (w *world) finish(people []*program) {
	for _, device := range Devices {
		w.marks(device, lastMarks)
	}
	for _, p := range people {
		w.await(p.device+" hears everything", func() bool { return p.isOver() || p.hasAll() })
	}
}

// cutOff waits until programs that do not read are disconnected, while the others remain.
func (w *world) cutOff(slow []*program, others int) {
	for range w.kit.Patience / prompt {
		bored := others
		for _, p := range slow {
			devices := p.watched()
			if len(devices) == 0 { // there may be nothing for it to hear
				bored++
			}
			for _, device := range devices {
				w.marks(device, lastMarks)
			}
		}
		if w.core.Status().Sessions <= bored {
			return
		}
		time.Sleep(prompt)
	}
	fail("a client that does not read is not disconnected within %s", w.kit.Patience)
}

// quiet checks that every program has heard everything once the disturbances have ended.
func (w *world) quiet(h history) {
	var here, slow, left []*program
	for _, p := range w.all() {
		switch {
		case p.hasLeft():
			left = append(left, p)
		case p.isOver():
		case p.isSlow():
			slow = append(slow, p)
		default:
			here = append(here, p)
		}
	}
	w.ends(left)
	for _, p := range here {
		p.settle()
	}
	if w.bubble && h.slow && len(here) > 1 {
		here[0].read(false)
		slow, here = append(slow, here[0]), here[1:]
	}
	patience := w.kit.Patience
	w.watched(here)
	if w.bubble && len(slow) > 0 {
		w.kit.Patience = prompt
	}
	w.finish(here)
	w.kit.Patience = patience
	if w.bubble {
		w.cutOff(slow, len(here))
	}
	w.wake()
	for _, p := range slow {
		p.settle()
	}
	w.watched(slow)
	w.finish(append(slow, here...))
	for _, p := range w.all() {
		p.verify()
	}
	if h.end == 2 {
		for _, p := range here {
			p.leave()
		}
		w.ends(here)
	}
}
