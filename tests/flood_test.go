package tests

import (
	"context"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/sip"
	"github.com/tr87proxy/tr87proxy/tr87"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// For scripts/bench --flood.
var (
	floodTime   = flag.Duration("flood", 1500*time.Millisecond, "how long TestFlood floods")
	floodKind   = flag.String("flood-kind", "", "the only kind of flood; all without")
	floodBeside = flag.Bool("flood-beside", false, "measure the same while the flood goes elsewhere, too")
)

// goodClient does what clients that behave do, and measures how long it takes.
type goodClient struct {
	t     *testing.T
	x     *exchange
	udp   *tr87.Client // a session that is open
	phone *sip.UA
	xml   *xmlClient
	ref   string // of its monitor
	took  map[string][]time.Duration

	registered, connected time.Time
}

const (
	goodName     = "crm"
	goodPassword = "pw"
)

// opened opens a TR/87 session on a user agent of its own.
func (g *goodClient) opened(transport string) (*tr87.Client, *sip.UA) {
	g.t.Helper()
	ua := sip.New(sip.Config{})
	g.t.Cleanup(ua.Close)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := tr87.Open(ctx, ua, tr87.Dial{To: fmt.Sprintf("sip:gw@127.0.0.1:%d;transport=%s", g.x.port, transport), From: "sip:boss@contoso.com", Line: "1000", Username: goodName, Password: goodPassword})
	if err != nil {
		g.t.Fatalf("a good client may not open a session over %s: %v", transport, err)
	}
	return c, ua
}

// asks asks for something in a TR/87 session.
func (g *goodClient) asks(c *tr87.Client) {
	g.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if _, err := c.Request(ctx, uacsta.Encode(uacsta.SnapshotDevice{SnapshotObject: uacsta.Dev("1000")}, uacsta.Edition3)); err != nil {
		g.t.Fatalf("a request of a good client: %v", err)
	}
}

func newGoodClient(t *testing.T, x *exchange) *goodClient {
	g := &goodClient{t: t, x: x, phone: sip.New(sip.Config{}), took: map[string][]time.Duration{}}
	t.Cleanup(g.phone.Close)
	g.udp, _ = g.opened("udp")
	g.xml = x.xml()
	if m := g.xml.login(goodName, goodPassword, uacsta.LoginPlain, 600); m.Name() != "StartApplicationSessionPosResponse" {
		t.Fatalf("%s", m)
	}
	g.ref = g.xml.monitor("1001")
	return g
}

// round does each thing once.
func (g *goodClient) round() {
	g.t.Helper()
	for _, thing := range []struct {
		name string
		do   func() bool // false: it is not its time
	}{
		{"INFO over UDP", func() bool { g.asks(g.udp); return true }},
		{"new TCP connection", func() bool {
			if time.Since(g.connected) < 30*time.Millisecond { // more often is refused
				return false
			}
			g.connected = time.Now()
			c, ua := g.opened("tcp")
			g.asks(c)
			c.Close()
			ua.Close()
			return true
		}},
		{"REGISTER over UDP", func() bool {
			if time.Since(g.registered) < 150*time.Millisecond { // more often is refused
				return false
			}
			g.registered = time.Now()
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			who := fmt.Sprintf("sip:101@127.0.0.1:%d", g.x.sip)
			res, err := g.phone.Request(ctx, "REGISTER", sip.Invite{
				To: who, From: who, Target: fmt.Sprintf("sip:127.0.0.1:%d", g.x.sip), Username: "101", Password: "secret101", Headers: []sip.Header{{Name: "Contact", Value: "<sip:101@127.0.0.1:9>"}},
			})
			if err != nil || res.Code() != 200 {
				g.t.Fatalf("a telephone's REGISTER: %v %v", res, err)
			}
			return true
		}},
		{"call over CSTA-XML", func() bool {
			id := g.xml.ask(call("1000", "1001")).Text("callingDevice/callID")
			g.xml.ask(uacsta.ClearConnection{ConnectionToBeCleared: uacsta.Conn(id, "1000")})
			for {
				if ev := g.xml.hear(); ev.Name() == "ConnectionClearedEvent" && ev.CrossRef() == g.ref && ev.Text("droppedConnection/deviceID") == "1001" {
					return true
				}
			}
		}},
	} {
		began := time.Now()
		if !thing.do() {
			continue
		}
		g.took[thing.name] = append(g.took[thing.name], time.Since(began))
	}
}

// rest ends a part of the measurement: how long 99 of 100 took, and how many there were.
func (g *goodClient) rest() (p99 map[string]time.Duration, rounds int) {
	p99 = map[string]time.Duration{}
	for name, took := range g.took {
		slices.Sort(took)
		p99[name], rounds = took[len(took)*99/100], len(took)
	}
	g.took = map[string][]time.Duration{}
	return p99, rounds
}

// resident is the memory of the proxy, in octets.
func (r *running) resident() int {
	var size, pages int
	data, _ := os.ReadFile(fmt.Sprintf("/proc/%d/statm", r.cmd.Process.Pid))
	_, _ = fmt.Sscan(string(data), &size, &pages)
	return pages * os.Getpagesize()
}

// While strangers flood it, or a switching function that it is linked to does, clients that behave
// well are served: none of what they do fails, and afterwards nothing of the flood is left. How
// long it takes them is printed for scripts/bench, beside how long it takes while the same flood
// goes to somebody else on the machine.
func TestFlood(t *testing.T) {
	long(t)
	for _, kind := range []string{"INVITE", "OPTIONS", "REGISTER", "SUBSCRIBE", "connections", "XML", "half TLS", "PBX"} {
		if *floodKind != "" && *floodKind != kind {
			continue
		}
		t.Run(kind, func(t *testing.T) { floodOf(t, kind) })
	}
}

// floodable starts a proxy for a good client: with a link, if there is a port of one.
func floodable(t *testing.T, link int) *goodClient {
	file := t.TempDir() + "/accounts"
	account(t, file, goodName, goodPassword)
	links := ""
	if link != 0 {
		links = fmt.Sprintf("links: [{name: bad, addresses: [\"127.0.0.1:%d\"], devices: [\"5*\"]}]\n", link)
	}
	x := serveTelephones(t, "", fmt.Sprintf(`application-sessions: {accounts: %s, xml: mandatory}
limits: {calls-per-minute: 1000000, requests-per-second: 100000}
digest: {users: [{name: %s, password: %s}]}
trusted: [{address: 192.0.2.1}]
grants: [{who: %[2]s, control: ["*"], dial: ["*"]}]
`, file, goodName, goodPassword)+links)
	g := newGoodClient(t, x)
	g.during(*floodTime / 4) // what is made once is there then
	g.rest()
	return g
}

// beside measures what a good client does while a flood goes to somebody else on the machine;
// of a switching function's flood, while there is none.
func beside(t *testing.T, kind string) map[string]time.Duration {
	g := floodable(t, 0)
	if kind != "PBX" {
		elsewhere := freePort(t)
		defer flooder(t, "sink", elsewhere).end()
		defer flooder(t, kind, elsewhere).end()
	}
	g.during(*floodTime)
	took, _ := g.rest()
	g.x.stop()
	return took
}

func floodOf(t *testing.T, kind string) {
	var before map[string]time.Duration
	if *floodBeside {
		before = beside(t, kind)
	}
	var g *goodClient
	var f *process
	if kind == "PBX" {
		port := freePort(t)
		f = flooder(t, kind, port)
		g = floodable(t, port)
	} else {
		g = floodable(t, 0)
	}
	x := g.x
	resident, heap, sessions := x.resident(), x.metric("go_memstats_heap_alloc_bytes"), x.metric("tr87proxy_sessions")
	if f == nil {
		f = flooder(t, kind, map[string]int{
			"INVITE": x.port, "OPTIONS": x.port, "REGISTER": x.sip, "SUBSCRIBE": x.sip, "connections": x.port, "XML": x.xmlPort, "half TLS": x.xmlTLSPort,
		}[kind])
	}
	most := g.during(*floodTime)
	took, rounds := g.rest()
	f.end()
	for name, p99 := range took {
		if before == nil {
			t.Logf("%s: %s: 99 of 100 in %v, %d times", kind, name, p99, rounds)
			continue
		}
		t.Logf("flood of %-12s %-20s %10v %10v %5.2f", kind, name, p99.Round(10*time.Microsecond), before[name].Round(10*time.Microsecond), float64(p99)/float64(before[name]))
	}
	left := func() string {
		return fmt.Sprintf("connections %.0f, sessions %.0f of %.0f, heap %.1f of %.1f MiB", x.metric("tr87proxy_sip_connections"), x.metric("tr87proxy_sessions"), sessions,
			x.metric("go_memstats_heap_alloc_bytes")/(1<<20), heap/(1<<20))
	}
	for until := time.Now().Add(time.Minute); ; g.round() { // whose garbage makes the collector run
		if x.metric("tr87proxy_sip_connections") == 0 && x.metric("tr87proxy_sessions") == sessions && x.metric("go_memstats_heap_alloc_bytes") < heap+8<<20 {
			break
		}
		if time.Now().After(until) {
			t.Fatalf("a minute after the flood: %s", left())
		}
	}
	t.Logf("memory of %-12s %d MiB before, %d in the flood, %d after", kind, resident>>20, most>>20, x.resident()>>20)
	if lines := strings.Count(x.out.String(), "\n"); lines > 2000 {
		t.Errorf("%d lines of log", lines)
	}
	x.stop()
}

// during works on for a while, and returns how much memory the proxy takes at most.
func (g *goodClient) during(span time.Duration) (resident int) {
	g.t.Helper()
	for until := time.Now().Add(span); time.Now().Before(until); {
		g.round()
		resident = max(resident, g.x.resident())
	}
	return resident
}
