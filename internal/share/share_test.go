package share

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestOf(t *testing.T) {
	for addr, want := range map[string]string{
		"192.0.2.7": "192.0.2.7/32", "::ffff:192.0.2.7": "192.0.2.7/32", "2001:db8:1:2:3:4:5:6": "2001:db8:1:2::/64", "fe80::1%eth0": "fe80::/64", "::1": "::/64",
	} {
		if got := Of(netip.MustParseAddr(addr)).String(); got != want {
			t.Errorf("%s is of %s, not of %s", addr, got, want)
		}
	}
	if zero := Of(netip.Addr{}); zero.IsValid() {
		t.Error("no address is of", zero)
	}
}

// entered is an entry as the model of the table below has it.
type entered struct {
	*Entry
	peer   int
	class  Class
	yields bool
}

// TestTable compares a table with the plainest one there is: a list that is searched.
func TestTable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := Limits{Most: rapid.IntRange(1, 12).Draw(t, "most"), Unproved: rapid.IntRange(0, 5).Draw(t, "unproved"), Peer: rapid.IntRange(0, 7).Draw(t, "peer")}
		l.Reserve = rapid.IntRange(0, l.Most).Draw(t, "reserve")
		l.Strange = rapid.IntRange(0, 3).Draw(t, "strange")
		l.Trusted = rapid.IntRange(0, l.Reserve).Draw(t, "for the trusted")
		table := New(l)
		var list []*entered // in the order in which they came
		var evicted []*entered
		var because error
		count := func(matches func(*entered) bool) (n int, first *entered) {
			for _, e := range list {
				if matches(e) {
					if n++; first == nil {
						first = e
					}
				}
			}
			return n, first
		}
		drop := func(e *entered) {
			for i := range list {
				if list[i] == e {
					list = append(list[:i:i], list[i+1:]...)
					return
				}
			}
		}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			peer := rapid.IntRange(0, 4).Draw(t, "who")
			addr := netip.AddrFrom4([4]byte{192, 0, 2, byte(peer)})
			switch rapid.SampledFrom([]string{"enter", "enter", "enter", "prove", "raise", "leave"}).Draw(t, "what") {
			case "enter":
				class := Class(rapid.IntRange(0, int(Trusted)).Draw(t, "class"))
				held := class > Stranger && rapid.Bool().Draw(t, "held") // for good
				all, _ := count(func(e *entered) bool { return e.peer == peer })
				unproved, _ := count(func(e *entered) bool { return e.peer == peer && e.class == Stranger })
				strangers, _ := count(func(e *entered) bool { return e.class == Stranger })
				others, _ := count(func(e *entered) bool { return e.class < Trusted })
				var victim *entered
				var want, reason error
				switch {
				case l.Peer > 0 && all >= l.Peer && (class < Trusted || !held), class == Stranger && l.Unproved > 0 && unproved >= l.Unproved:
					for c := Stranger; c <= class && victim == nil; c++ {
						_, victim = count(func(e *entered) bool { return e.peer == peer && e.class == c && e.yields })
					}
					if reason = ErrPeer; victim == nil {
						want = ErrPeer
					}
				case len(list) >= l.Most, class < Trusted && others >= l.Most-l.Trusted, class == Stranger && strangers >= l.Most-l.Reserve:
					order := []Class{Stranger, Known}
					if class == Stranger {
						order = order[:1]
						if strangers < l.Strange {
							order = []Class{Known, Stranger}
						}
					}
					for _, c := range order {
						if victim != nil {
							break
						}
						most := 0
						for _, e := range list {
							if n, first := count(func(o *entered) bool { return o.peer == e.peer && o.class == c && o.yields }); e.class == c && e.yields && n > most {
								most, victim = n, first
							}
						}
					}
					if reason = ErrFull; victim == nil {
						want = ErrFull
					}
				}
				e := &entered{peer: peer, class: class, yields: class < Trusted && !held}
				evicted = nil
				gives := func(why error) { evicted, because = append(evicted, e), why }
				enter := func() (*Entry, error) { return table.EnterAs(addr, class, gives) }
				switch {
				case held && class == Trusted:
					enter = func() (*Entry, error) { return table.EnterTrusted(addr) }
				case held, class == Stranger:
					enter = func() (*Entry, error) { return table.Enter(addr, held, gives) }
				}
				entry, err := enter()
				if !errors.Is(err, want) || (err == nil) != (want == nil) {
					t.Fatalf("entered with %v, not %v", err, want)
				}
				if victim == nil != (len(evicted) == 0) || victim != nil && evicted[0] != victim {
					t.Fatalf("%v gave way, not %v", evicted, victim)
				}
				if victim != nil && !errors.Is(because, reason) {
					t.Fatalf("it gave way because %v, not because %v", because, reason)
				}
				if victim != nil {
					drop(victim)
				}
				if err == nil {
					e.Entry = entry
					list = append(list, e)
				}
			case "prove":
				if len(list) > 0 {
					e := rapid.SampledFrom(list).Draw(t, "entry")
					e.Prove()
					e.class, e.yields = max(e.class, Known), false
				}
			case "raise":
				if len(list) > 0 {
					e := rapid.SampledFrom(list).Draw(t, "entry")
					class := Class(rapid.IntRange(0, int(Trusted)).Draw(t, "class"))
					e.Raise(class)
					if class > e.class { // it is behind those of its class
						e.class, e.yields = class, class < Trusted
						drop(e)
						list = append(list, e)
					}
				}
			case "leave":
				if len(list) > 0 {
					e := rapid.SampledFrom(list).Draw(t, "entry")
					e.Leave()
					e.Leave()
					e.Prove()
					drop(e)
				}
			}
			strangers, _ := count(func(e *entered) bool { return e.class == Stranger })
			if total, unproved := table.Counts(); total != len(list) || unproved != strangers {
				t.Fatalf("%d entries, %d unproved; not %d, %d", total, unproved, len(list), strangers)
			}
		}
		for _, e := range list {
			e.Leave()
		}
		if len(table.peers) != 0 || len(table.offenders[Stranger].peers)+len(table.offenders[Known].peers) != 0 {
			t.Fatalf("left: %v %v", table.peers, table.offenders)
		}
	})
}

func TestHush(t *testing.T) {
	h := LogLimit[string]{Every: time.Second, Most: 2}
	now := time.Now()
	for i, step := range []struct {
		kind       string
		after      time.Duration
		tell       bool
		suppressed int
	}{
		{"a", 0, true, 0}, {"a", 0, false, 0}, {"b", 0, true, 0}, {"a", 999 * time.Millisecond, false, 0}, {"a", time.Second, true, 2}, {"a", 2 * time.Second, true, 0},
		{"c", 2 * time.Second, true, 0}, {"b", 2 * time.Second, true, 0}, {"a", 2 * time.Second, true, 0}, // each was forgotten
	} {
		if tell, suppressed := h.Allow(step.kind, now.Add(step.after)); tell != step.tell || suppressed != step.suppressed {
			t.Errorf("step %d: %v %d", i, tell, suppressed)
		}
	}
}

func TestRates(t *testing.T) {
	r := NewRates(1, 2, 2)
	now := time.Now()
	one, two, three := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("192.0.2.3")
	for i, step := range []struct {
		addr    netip.Addr
		after   time.Duration
		allowed bool
	}{
		{one, 0, true}, {one, 0, true}, {one, 0, false}, {two, 0, true}, {netip.MustParseAddr("2001:db8::2"), 0, true}, {two, 0, false}, {one, time.Second, true}, {one, time.Second, false},
		{three, time.Second, true}, {one, time.Second, false}, {two, time.Second, true}, {two, time.Second, true}, // it was idle longest, and is new
	} {
		left, allowed := r.Left(step.addr, now.Add(step.after)), r.Allow(step.addr, now.Add(step.after))
		if left != step.allowed || allowed != step.allowed {
			t.Errorf("step %d: left %v, allowed %v", i, left, allowed)
		}
	}
}

// A rate may change while it is used, and what is left of it stays.
func TestMeter(t *testing.T) {
	var m Meter[string]
	now := time.Now()
	for i, step := range []struct {
		perSecond float64
		burst     int
		after     time.Duration
		taken     bool
	}{
		{1, 2, 0, true}, {1, 2, 0, true}, {1, 2, 0, false}, {10, 2, 0, false}, {10, 2, 100 * time.Millisecond, true}, {10, 2, 100 * time.Millisecond, false},
		{10, 5, time.Hour, true}, {10, 5, time.Hour, true}, {10, 5, time.Hour, false}, // it was full with the burst before
	} {
		if taken := m.Take("key", step.perSecond, step.burst, now.Add(step.after)); taken != step.taken {
			t.Errorf("step %d: %v", i, taken)
		}
	}
}
