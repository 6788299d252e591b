package gate

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// knock is an incoming connection.
type knock struct {
	net.Conn
	from net.Addr
}

func (k knock) RemoteAddr() net.Addr { return k.from }

// door is a listener with its accepted connections.
type door struct {
	t     *testing.T
	gate  *Gate
	knock chan net.Conn

	mu      sync.Mutex
	guests  []string // addresses of accepted connections, in order of arrival
	all     []*Guest
	known   map[string]*Guest // the last of an address
	ended   map[string]error
	refused []string
}

func (d *door) Accept() (net.Conn, error) {
	nc, open := <-d.knock
	if !open {
		return nil, net.ErrClosed
	}
	return nc, nil
}

func (d *door) Addr() net.Addr { return &net.TCPAddr{} }
func (d *door) Close() error   { return nil }

// open runs a test with a gate, in a time of its own. Peers in 192.0.2.0/24 are trusted.
func open(t *testing.T, cfg Config, secure bool, test func(d *door)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		d := &door{t: t, knock: make(chan net.Conn), known: map[string]*Guest{}, ended: map[string]error{}}
		cfg.Trusts = netip.MustParsePrefix("192.0.2.0/24").Contains
		cfg.Refused = func(nc net.Conn, why string) {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.refused = append(d.refused, nc.RemoteAddr().(*net.TCPAddr).IP.String()+": "+why)
		}
		d.gate = New(cfg)
		var l net.Listener = d
		if secure {
			l = tls.NewListener(d, &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return nil, errors.ErrUnsupported }})
		}
		done := make(chan error, 1)
		go func() {
			done <- d.gate.Serve(context.Background(), l, func(ctx context.Context, guest *Guest) {
				name := AddrOf(guest.Conn).String()
				d.mu.Lock()
				d.guests = append(d.guests, name)
				d.known[name] = guest
				d.all = append(d.all, guest)
				d.mu.Unlock()
				<-ctx.Done()
				d.mu.Lock()
				defer d.mu.Unlock()
				d.guests = slices.DeleteFunc(d.guests, func(g string) bool { return g == name })
				d.ended[name] = context.Cause(ctx)
			})
		}()
		test(d)
		close(d.knock)
		if err := <-done; !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
		if connections, octets := d.gate.cfg.Strangers.Counts(); connections != 0 || octets != 0 {
			t.Errorf("%d connections and %d octets are left", connections, octets)
		}
		if total, _ := d.gate.places.Counts(); total != 0 {
			t.Errorf("%d places are left", total)
		}
	})
}

func (d *door) come(addresses ...string) {
	for _, a := range addresses {
		near, _ := net.Pipe()
		d.knock <- knock{near, &net.TCPAddr{IP: net.ParseIP(a)}}
		synctest.Wait()
	}
}

func (d *door) expect(guests ...string) {
	d.t.Helper()
	synctest.Wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	if !slices.Equal(d.guests, guests) {
		d.t.Errorf("in are %v, not %v", d.guests, guests)
	}
}

// turned compares the refused connections and the reasons.
func (d *door) turned(want ...string) {
	d.t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	if !slices.Equal(d.refused, want) {
		d.t.Errorf("turned away were %v, not %v", d.refused, want)
	}
}

// leave ends all that have come in.
func (d *door) leave() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, g := range d.all {
		g.end(nil)
	}
}

// When strangers hold all places, the oldest connection of the one with the most is closed for
// another; a /64 is one peer. Others stay, and have a reserve.
func TestPlaces(t *testing.T) {
	open(t, Config{MaxConnections: 8, MaxPeer: 4}, false, func(d *door) {
		d.come("10.0.0.1", "2001:db8::1", "2001:db8::2", "2001:db8::3", "10.0.0.2", "10.0.0.3")
		d.expect("10.0.0.1", "2001:db8::1", "2001:db8::2", "2001:db8::3", "10.0.0.2", "10.0.0.3")
		d.come("10.0.0.4")
		d.expect("10.0.0.1", "2001:db8::2", "2001:db8::3", "10.0.0.2", "10.0.0.3", "10.0.0.4")
		if err := d.ended["2001:db8::1"]; !errors.Is(err, errPlace) {
			t.Error(err)
		}
		d.known["10.0.0.4"].Prove() // it has logged in
		d.come("10.0.0.5", "192.0.2.1")
		d.expect("10.0.0.1", "2001:db8::2", "2001:db8::3", "10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "192.0.2.1")
		d.come("192.0.2.2", "192.0.2.3", "192.0.2.4", "192.0.2.5", "192.0.2.6", "192.0.2.7")
		d.expect("10.0.0.4", "192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4", "192.0.2.5", "192.0.2.6", "192.0.2.7")
		d.come("10.0.0.6", "192.0.2.8")
		d.turned("10.0.0.6: too many connections: the table is full", "192.0.2.8: too many connections: the table is full")
		if d.gate.cfg.Strangers.Refused.Load() != 2 || d.gate.cfg.Strangers.Evicted.Load() != 7 {
			t.Error(d.gate.cfg.Strangers.Refused.Load(), d.gate.cfg.Strangers.Evicted.Load())
		}
		d.leave()
	})
}

// One peer has a rate and a share, trusted ones the share alone.
func TestRate(t *testing.T) {
	open(t, Config{MaxPeer: 4, PeerRate: 1, PeerBurst: 2}, false, func(d *door) {
		d.come("10.0.0.1", "10.0.0.1", "10.0.0.1", "2001:db8::1", "2001:db8::2", "2001:db8::3", "192.0.2.1", "192.0.2.1", "192.0.2.1", "192.0.2.1", "192.0.2.1")
		want := []string{"10.0.0.1: too many new connections", "2001:db8::3: too many new connections", "192.0.2.1: too many connections: the peer has reached its limit"}
		d.turned(want...)
		time.Sleep(time.Second)
		d.come("10.0.0.1")
		d.turned(want...)
		d.leave()
	})
}

// A handshake has a time, and proves nothing before it is over: not even where the address is
// trusted.
func TestHandshakes(t *testing.T) {
	open(t, Config{MaxConnections: 4, HandshakeTime: 5 * time.Second}, true, func(d *door) {
		d.come("192.0.2.1", "192.0.2.1", "192.0.2.1")
		if n, octets := d.gate.cfg.Strangers.Counts(); n != 3 || octets != 3*secureCost {
			t.Error(n, octets)
		}
		d.come("10.0.0.1")
		d.turned("192.0.2.1: TLS handshake failed: " + errPlace.Error())
		time.Sleep(6 * time.Second)
		if n, _ := d.gate.cfg.Strangers.Counts(); n != 0 {
			t.Error(n)
		}
	})
}

// The memory of all strangers is limited; the oldest connection of the peer with the most is
// closed. Other peers do not count.
func TestMemory(t *testing.T) {
	open(t, Config{Strangers: NewStrangers(2*equalShare + 2*plainCost)}, false, func(d *door) {
		d.come("10.0.0.1", "2001:db8::1", "2001:db8::2", "192.0.2.1")
		d.known["10.0.0.1"].Take(equalShare - plainCost)
		d.known["192.0.2.1"].Take(100 * equalShare)
		d.expect("10.0.0.1", "2001:db8::1", "2001:db8::2", "192.0.2.1")
		d.known["2001:db8::2"].Take(equalShare + 1)
		d.expect("10.0.0.1", "2001:db8::2", "192.0.2.1")
		if err := d.ended["2001:db8::1"]; !errors.Is(err, errMemory) {
			t.Error(err)
		}
		d.known["2001:db8::2"].Give(equalShare + 1)
		d.known["2001:db8::1"].Take(plainCost) // it is closed, and counts no more
		if n, octets := d.gate.cfg.Strangers.Counts(); n != 2 || octets != equalShare+plainCost {
			t.Error(n, octets)
		}
		d.known["10.0.0.1"].Prove()
		d.known["10.0.0.1"].Give(plainCost)
		if n, octets := d.gate.cfg.Strangers.Counts(); n != 1 || octets != plainCost {
			t.Error(n, octets)
		}
		d.known["2001:db8::2"].Take(3 * equalShare)
		d.expect("10.0.0.1", "192.0.2.1")
		d.leave()
	})
}

// Peers with little memory count as equal: a client that sends its login does not lose to older
// idle connections.
func TestIdleStrangersGiveWay(t *testing.T) {
	open(t, Config{Strangers: NewStrangers(4 * plainCost)}, false, func(d *door) {
		d.come("10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.3", "10.0.0.4")
		d.expect("10.0.0.2", "10.0.0.3", "10.0.0.3", "10.0.0.4")
		d.known["10.0.0.4"].Take(plainCost)
		d.expect("10.0.0.3", "10.0.0.3", "10.0.0.4")
		d.leave()
	})
}

// A peer is cut off that sends what it should not too often, a stranger earlier; the log has one
// line a second of each kind, with the count of the others.
func TestStrikes(t *testing.T) {
	var log strings.Builder
	open(t, Config{Log: slog.New(slog.NewTextHandler(&log, nil))}, false, func(d *door) {
		d.come("10.0.0.1", "192.0.2.1")
		for name, most := range map[string]int{"10.0.0.1": 20, "192.0.2.1": 200} {
			n := 0
			for d.known[name].Strike(slog.LevelWarn, "nonsense") == nil {
				n++
			}
			if n != most {
				t.Errorf("%s has %d strikes", name, n)
			}
			time.Sleep(4 * time.Second)
			if err := d.known[name].Strike(slog.LevelWarn, "nonsense"); err != nil {
				t.Error(err)
			}
		}
		if d.gate.cfg.Strangers.Struck.Load() != 2 {
			t.Error(d.gate.cfg.Strangers.Struck.Load())
		}
		d.leave()
	})
	if lines := strings.Count(log.String(), "\n"); lines != 6 || !strings.Contains(log.String(), "suppressed=20") || !strings.Contains(log.String(), "count=201") {
		t.Errorf("%d lines: %s", lines, log.String())
	}
}

// A struck peer may continue after a while: a stranger after three seconds, others after a
// tenth of a second.
func TestStrikesAreForgiven(t *testing.T) {
	open(t, Config{}, false, func(d *door) {
		d.come("10.0.0.1", "192.0.2.1")
		for name, pause := range map[string]time.Duration{"10.0.0.1": 3 * time.Second, "192.0.2.1": 100 * time.Millisecond} {
			strike := func() error { return d.known[name].Strike(slog.LevelWarn, "nonsense") }
			for strike() == nil {
				continue
			}
			time.Sleep(pause - time.Millisecond)
			if strike() == nil {
				t.Error(name, "may go on too early")
			}
			time.Sleep(time.Millisecond)
			if err := strike(); err != nil || strike() == nil {
				t.Error(name, "may not go on, or as often as it likes:", err)
			}
		}
		d.leave()
	})
}

// An idle stranger's connection counts 24 KiB, over TLS 64 KiB, of 64 MiB. Up to 320 KiB counts
// as little.
func TestMemoryOfStrangers(t *testing.T) {
	var nobody *Guest
	nobody.Prove() // a connection of ours
	nobody.Take(1 << 40)
	nobody.Give(1 << 40)
	for secure, cost := range map[bool]int{false: 24 << 10, true: 64 << 10} {
		open(t, Config{}, secure, func(d *door) {
			d.come("10.0.0.1")
			if n, octets := d.gate.cfg.Strangers.Counts(); n != 1 || octets != cost {
				t.Error(n, octets)
			}
			time.Sleep(time.Minute) // the handshake ends
			d.leave()
		})
	}
	open(t, Config{}, false, func(d *door) {
		d.come("10.0.0.1")
		d.known["10.0.0.1"].Take(64<<20 - 24<<10)
		d.expect("10.0.0.1")
		d.known["10.0.0.1"].Take(1)
		d.expect()
	})
	for more, victim := range map[int]string{0: "10.0.0.1", 1: "10.0.0.40"} {
		open(t, Config{Strangers: NewStrangers(40*24<<10 + 320<<10)}, false, func(d *door) {
			var all []string
			for i := range 40 {
				all = append(all, fmt.Sprint("10.0.0.", i+1))
			}
			d.come(all...)
			d.known["10.0.0.40"].Take(320<<10 - 24<<10 + more)
			d.expect(all...)
			d.known["10.0.0.2"].Take(24<<10 - more + 1)
			d.expect(slices.DeleteFunc(slices.Clone(all), func(s string) bool { return s == victim })...)
			d.leave()
		})
	}
}

// Very many peers that do the same have ten lines a second together, and long texts of theirs are cut.
func TestManyPeersStrike(t *testing.T) {
	var log strings.Builder
	open(t, Config{Log: slog.New(slog.NewTextHandler(&log, nil))}, false, func(d *door) {
		long := strings.Repeat("ä", 1000)
		for i := range 20 {
			peer := fmt.Sprint("10.0.1.", i)
			d.come(peer)
			_ = d.known[peer].Strike(slog.LevelWarn, "nonsense", "err", errors.New(long))
			_ = d.known[peer].Strike(slog.LevelWarn, "nonsense", "text", long)
		}
		_ = d.known["10.0.1.0"].Strike(slog.LevelWarn, "others", "members", []string{long, long})
		time.Sleep(time.Second)
		_ = d.known["10.0.1.0"].Strike(slog.LevelWarn, "nonsense", "text", long)
		d.leave()
	})
	// suppressed: the second line of the first peer, and the first ones of peers after ten
	// lines
	if lines := strings.Count(log.String(), "\n"); lines != 12 || !strings.Contains(log.String(), "suppressed=11") || len(log.String()) > 12*500 {
		t.Errorf("%d lines: %s", lines, log.String())
	}
}

// The queue is limited in octets, but one frame always fits. A sender that may not wait gets an
// error.
func TestQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		p := NewPeer[int](near, Limits{QueueOctets: 1000, WriteTime: time.Hour}, Numbering{Batch: 64})
		done := make(chan error, 1)
		go func() {
			done <- p.Serve(context.Background(), func() error { <-p.Ended(); return nil })
		}()
		if err := p.Push(make([]byte, 5000)); err != nil { // it is being written
			t.Error(err)
		}
		synctest.Wait()
		if err := p.offer([]byte{1}); !errors.Is(err, ErrSlow) {
			t.Error(err)
		}
		pushed := make(chan error, 1)
		go func() { pushed <- p.Push(make([]byte, 600)) }()
		synctest.Wait()
		if len(pushed) != 0 {
			t.Error("it did not wait")
		}
		read := make([]byte, 5000)
		if _, err := far.Read(read); err != nil {
			t.Error(err)
		}
		if err := <-pushed; err != nil {
			t.Error(err)
		}
		if err := p.offer(make([]byte, 400)); err != nil {
			t.Error(err)
		}
		go func() { pushed <- p.Push(make([]byte, 600)) }()
		synctest.Wait()
		p.Close(nil)
		if err := <-pushed; !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
		if err := <-done; !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
	})
}

// The log names the key whose bound is reached, and tells a peer that has its share from a table
// that is full.
func TestBoundsAreNamed(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(slog.NewTextHandler(&out, nil))
	open(t, Config{MaxConnections: 4, MaxPeer: 2, Keys: "xml", Log: log}, false, func(d *door) {
		d.come("192.0.2.1", "192.0.2.1", "192.0.2.1", "192.0.2.2", "192.0.2.2", "192.0.2.3")
		d.turned("192.0.2.1: too many connections: the peer has reached its limit (xml.max-connections-per-peer)", "192.0.2.3: too many connections: the table is full (xml.max-connections)")
		d.leave()
	})
	open(t, Config{MaxConnections: 4, MaxPeer: 2, Keys: "xml", Log: log}, false, func(d *door) {
		d.come("10.0.0.1", "10.0.0.1", "10.0.0.1", "10.0.0.2", "10.0.0.3")
		d.leave()
	})
	for _, want := range []string{
		`connection closed to make room for a newer one of its peer" peer=10.0.0.1:0 err="closed to make room for a newer connection of the peer: it has reached its limit (xml.max-connections-per-peer)"`,
		`connection closed to make room for others" peer=10.0.0.1:0 err="closed to make room for others: too many connections (xml.max-connections)"`,
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %s in\n%s", want, out.String())
		}
	}
}
