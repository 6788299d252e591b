package tests

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/sip"
)

var exhaustive = flag.Bool("exhaustive", false, "TestSoak has a thousand clients, and kills the switch 20 times under the calls of 200 and of 2000 devices; it takes a quarter of an hour")

// size is how large a soak is.
type size struct {
	xml, tr87, passers int // clients: of either kind, and those that come and go
	links, devices     int // devices of each link
	watched            int // devices of each client
	kills              int
	steps              int           // that the callers take between two things that happen
	pace               time.Duration // of the callers of five devices
}

// A switch is killed under its calls, or a connection to it, again and again: it comes back with its
// calls or without any, and uses its references anew. Clients that know nothing but the events that
// they were told have the right picture whenever there is quiet: nothing was lost, told twice, or told
// of a device that they do not watch.
func TestSoak(t *testing.T) {
	long(t)
	sizes := []size{{xml: 80, tr87: 20, passers: 2, links: 2, devices: 25, watched: 3, kills: 3, steps: 80, pace: 50 * time.Millisecond}}
	if *exhaustive {
		sizes = []size{
			{xml: 800, tr87: 200, passers: 20, links: 4, devices: 50, watched: 5, kills: 20, steps: 500, pace: 500 * time.Millisecond},
			{xml: 800, tr87: 200, passers: 20, links: 4, devices: 500, watched: 10, kills: 20, steps: 2000, pace: 3 * time.Second},
		}
	}
	for _, size := range sizes {
		t.Run(fmt.Sprint(size.links*size.devices), func(t *testing.T) { newSoak(t, size).run() })
	}
}

// soak is clients of a proxy, its links, and the switch behind them.
type soak struct {
	size
	t           *testing.T
	rng         *rand.Rand
	back, front *running
	wires       []*wire
	numbers     []*numbering // of the links in CSTA-XML; nil for the others
	devices     [][]string   // of each link
	viewers     []*viewer
	uas         []*sip.UA
	began       time.Time

	calm                    sync.RWMutex // who does something holds it for reading
	over                    chan struct{}
	workers                 sync.WaitGroup
	steps, requests, passed atomic.Int64
	callers                 []*atomic.Pointer[frames] // clients at the switch itself

	mu     sync.Mutex
	faults []string
	found  int
}

// fault takes note of something that must not be.
func (s *soak) fault(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.found++; len(s.faults) < 20 {
		s.faults = append(s.faults, fmt.Sprintf(format, args...))
	}
}

// report fails the test where there were faults.
func (s *soak) report() {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, fault := range s.faults {
		s.t.Error(fault)
	}
	if s.found > 0 {
		s.t.Fatalf("%d faults", s.found)
	}
}

// newSoak starts a switch, a proxy with links to it, every other in ASN.1, and the clients.
func newSoak(t *testing.T, size size) *soak {
	s := &soak{size: size, t: t, rng: rand.New(rand.NewPCG(1, 1)), over: make(chan struct{}), began: time.Now()}
	const room = `limits: {monitors-per-session: 5000, monitors-per-identity: 100000, sessions-per-identity: 5000, requests-per-second: 100000, calls-per-minute: 1000000}
trusted: [{address: 127.0.0.0/8}]
log: {level: warn}
grants: [{who: "*", control: ["*"], dial: ["*"]}]
`
	var extensions strings.Builder
	for l := range s.links {
		s.devices = append(s.devices, nil)
		for n := range size.devices {
			s.devices[l] = append(s.devices[l], fmt.Sprintf("%d%03d", 3+l, n))
			fmt.Fprintf(&extensions, "  - {number: \"%d%03d\"}\n", 3+l, n)
		}
	}
	asn1 := freePort(t)
	s.back = serve(t, extensions.String()+"  alert-time: 10h\n  fail-time: 10h\n"+room+fmt.Sprintf("asn1:\n  listen:\n  - {transport: tcp, address: \"127.0.0.1:%d\", dialect: phase3}\n", asn1))
	links := "links:\n"
	for l := range s.links {
		w := &wire{t: t, back: fmt.Sprintf("127.0.0.1:%d", s.back.xmlPort), read: readXML}
		var n *numbering
		kind := "edition: 6"
		if l%2 == 0 {
			n = &numbering{calls: newNames()}
			w.pass = n.passage
		} else {
			w.back, w.read, kind = fmt.Sprintf("127.0.0.1:%d", asn1), readASN1, "type: csta-asn1, dialect: phase3"
		}
		w.listen()
		s.wires, s.numbers = append(s.wires, w), append(s.numbers, n)
		links += fmt.Sprintf("- {name: link%d, addresses: [\"127.0.0.1:%d\"], devices: [\"%d???\"], %s, heartbeat: 2s, timeout: 10s}\n", l, w.port(), 3+l, kind)
	}
	s.front = serveSlow(t, links+room)
	s.linked()
	s.callers = make([]*atomic.Pointer[frames], 8)
	for i := range s.callers {
		s.callers[i] = &atomic.Pointer[frames]{}
	}
	s.connect()
	s.uas = []*sip.UA{sip.New(sip.Config{}), sip.New(sip.Config{})}
	all := slices.Concat(s.devices...)
	s.viewers = make([]*viewer, s.xml+s.tr87)
	s.each(len(s.viewers), func(n int) {
		v := &viewer{s: s, name: fmt.Sprint("client ", n), whole: true}
		s.viewers[n] = v
		if n < s.xml {
			v.dial(1 + n%4) // one address may have 500 connections
		} else {
			v.invite(s.uas[n%2])
		}
		for i := range s.watched {
			v.watch(all[(n*s.watched+i)%len(all)])
		}
	})
	s.report()
	return s
}

// each does something so many times, some at a time.
func (s *soak) each(times int, do func(n int)) {
	var group sync.WaitGroup
	slots := make(chan struct{}, 32)
	for n := range times {
		slots <- struct{}{}
		group.Go(func() {
			defer func() { <-slots }()
			do(n)
		})
	}
	group.Wait()
}

// connect connects the callers with the switch.
func (s *soak) connect() {
	s.t.Helper()
	for _, c := range s.callers {
		f, err := dialFrames(s.back.xmlPort, func(string) {})
		if err != nil {
			s.t.Fatal(err)
		}
		c.Store(f)
	}
}

// linked waits until every link is up. After so many losses, a link waits before it tries again.
func (s *soak) linked() {
	s.t.Helper()
	waitLong(s.t, 2*patience, "the links", func() bool {
		for l := range s.wires {
			if s.front.metric(fmt.Sprintf(`tr87proxy_link_up{link="link%d"}`, l)) != 1 {
				return false
			}
		}
		return true
	})
}

// await lets the callers take some steps.
func (s *soak) await(steps int) {
	s.t.Helper()
	want := s.steps.Load() + int64(steps)
	waitLong(s.t, 5*patience, "the calls", func() bool { return s.steps.Load() >= want })
}

// kill kills the switch, or the connection of a link to it, and waits until the proxy has it again.
func (s *soak) kill(how string, l int) {
	s.t.Helper()
	hit := s.wires
	if how != "process" && how != "process, cut" {
		hit = s.wires[l : l+1]
	}
	var want []int64
	for _, w := range hit {
		lost := int64(1)
		if strings.Contains(how, ", ") && w == s.wires[l] {
			lost = 2
		}
		want = append(want, w.begun.Load()+lost)
	}
	after := breakage{how: "torn", after: 1 + s.rng.IntN(2*s.size.devices)}
	switch how {
	case "process", "process, cut":
		_ = s.back.cmd.Process.Kill()
		_ = s.back.wait(patience)
		for _, n := range s.numbers {
			if n != nil {
				n.anew()
			}
		}
		if how == "process, cut" {
			s.wires[l].mu.Lock()
			s.wires[l].next = after
			s.wires[l].mu.Unlock()
		}
		s.back.process = start(s.t, program(s.t), "serve", "-c", filepath.Join(s.back.dir, "config.yaml"))
		waitFor(s.t, "readiness", func() bool { return s.back.get("/readyz") == "ready\n" })
		s.connect()
	case "cut, torn":
		hit[0].breaks("cut", after)
	default:
		hit[0].breaks(how)
	}
	s.await(s.size.steps / 2)
	waitLong(s.t, 5*patience, "another connection", func() bool {
		for i, w := range hit {
			if w.begun.Load() < want[i] || w.begun.Load() != w.ended.Load()+1 {
				return false
			}
		}
		return true
	})
	s.linked()
}

// run kills the switch again and again.
func (s *soak) run() {
	for l := range s.devices {
		for i := 0; i+group <= len(s.devices[l]); i += group {
			c := &caller{s, rand.New(rand.NewPCG(uint64(l*1000+i), 2)), s.devices[l][i : i+group], s.callers[i/group%len(s.callers)]}
			s.workers.Go(c.run)
		}
	}
	for n := range s.passers {
		s.workers.Go(func() { s.passer(n) })
	}
	defer s.workers.Wait()
	end := sync.OnceFunc(func() { close(s.over) })
	defer end()
	hows := []string{"cut, torn", "process", "torn", "process, cut", "cut", "silent", "process"}
	for n := range s.kills {
		s.await(s.size.steps)
		how, l := hows[n%len(hows)], s.rng.IntN(s.links)
		s.t.Logf("%v: kill %d: %s (link %d)", time.Since(s.began).Round(time.Second), n+1, how, l)
		s.kill(how, l)
		s.await(s.size.steps / 4)
		switch {
		case n%4 == 0 || n == s.kills-1:
			s.undisturbed()
		case n%2 == 0:
			s.quiet(nobody, func() {})
		}
	}
	end()
	s.workers.Wait()
	events := 0
	for _, v := range s.viewers {
		for _, w := range v.now() {
			events += w.all
		}
	}
	took := time.Since(s.began)
	s.t.Logf("%d clients, %d devices, %d kills, %v: %d requests, %d steps of calls, %d events (%d with the clients that came and went)", len(s.viewers), s.links*s.size.devices, s.kills,
		took.Round(time.Second), s.requests.Load(), s.steps.Load(), events, s.passed.Load())
	s.leave()
}

// leave ends all clients: nothing of them is left.
func (s *soak) leave() {
	s.t.Helper()
	s.each(len(s.viewers), func(n int) { s.viewers[n].link.close() })
	goodbye, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for _, ua := range s.uas {
		ua.Shutdown(goodbye)
	}
	for _, c := range s.callers {
		c.Load().close()
	}
	for r, sessions := range map[*running]int{s.front: 0, s.back: s.links} {
		waitLong(s.t, 2*patience, "the end of every session and monitor", func() bool {
			return r.metric("tr87proxy_link_monitors") == 0 && r.metric("tr87proxy_sessions") == float64(sessions)
		})
	}
	s.front.stop()
	s.back.stop()
	s.report()
}
