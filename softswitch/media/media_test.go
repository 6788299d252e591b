package media

import (
	"errors"
	"math"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/audio"
)

var loopback, outside = netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.AddrFrom4([4]byte{192, 0, 2, 1})

// Messages and recordings last their time, to the millisecond, and say why they ended; also in a room where nobody
// has a leg, as in a call of virtual phones.
func TestEnds(t *testing.T) {
	d, err := audio.OpenDirectory(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	clip := audio.NewClip(make([]int16, audio.SamplesIn(250*time.Millisecond)))
	ends := make(chan End, 3)
	r := New(Config{}).NewRoom()
	defer r.Close()
	next := func(what string, want End, least time.Duration, begun time.Time) {
		t.Helper()
		select {
		case why := <-ends:
			if took := time.Since(begun); why != want || took < least {
				t.Errorf("%s: %q after %v", what, why, took)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("%s does not end", what)
		}
	}
	begun := time.Now()
	r.Play(Play(clip), 0, func(why End) { ends <- why })
	next("a message", AtEnd, 230*time.Millisecond, begun)
	begun = time.Now()
	r.Play(Loop(clip), 130*time.Millisecond, func(why End) { ends <- why })
	next("a message with a limit", AtLimit, 110*time.Millisecond, begun)
	r.Play(Loop(clip), 0, func(why End) { ends <- why }).Stop()
	next("a message that is stopped", Stopped, 0, begun)
	rec, err := d.Record("short", 1234*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	begun = time.Now()
	r.Record(rec, func(why End, _ error) { ends <- why })
	next("a recording", AtLimit, 1200*time.Millisecond, begun)
	if c, err := d.Load("short"); err != nil || len(c.Samples()) != audio.SamplesIn(1234*time.Millisecond) {
		t.Errorf("%d samples, %v", len(c.Samples()), err)
	}
}

// late is silence whose first frame takes its time.
type late struct{ begun bool }

func (l *late) next(into []int16) bool {
	if !l.begun {
		time.Sleep(300 * time.Millisecond) // ticks are dropped meanwhile
	}
	l.begun = true
	clear(into)
	return true
}

// A clock that has missed ticks makes up for them, so that a second of a recording is a second.
func TestLateClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, err := audio.OpenDirectory(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		rec, err := d.Record("late", time.Second)
		if err != nil {
			t.Fatal(err)
		}
		r := New(Config{}).NewRoom()
		defer r.Close()
		begun, took := time.Now(), time.Duration(0)
		over := make(chan struct{})
		r.Play(&late{}, 0, func(End) {})
		r.Record(rec, func(End, error) { took = time.Since(begun); close(over) })
		<-over
		if took != time.Second {
			t.Errorf("a second took %v", took)
		}
	})
}

const offer = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n"

// ear collects what a leg reports to its watcher.
type ear struct {
	digits chan rune
	dead   chan error
}

func newEar() *ear { return &ear{make(chan rune, 100), make(chan error, 1)} }

func (e *ear) Digit(d rune)   { e.digits <- d }
func (e *ear) Dead(err error) { e.dead <- err }

// pair joins a leg of ours and one that stands for a telephone.
func pair(t *testing.T, e *Engine, secure bool) (ours, theirs *Leg, at, atPhone *ear) {
	t.Helper()
	at, atPhone = newEar(), newEar()
	open := func(w Watcher) *Leg {
		l, err := e.Open(loopback, w)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(l.Close)
		return l
	}
	ours, theirs = open(at), open(atPhone)
	if secure {
		theirs.Encrypt(Required)
	}
	text := theirs.Propose(SendRecv, secure)
	answer, _, err := ours.Answer(text, SendRecv, Peer{loopback, secure})
	if err != nil {
		t.Fatal(err)
	}
	ours.Begin()
	if err := theirs.Answered(answer, Peer{loopback, secure}); err != nil {
		t.Fatal(err)
	}
	return ours, theirs, at, atPhone
}

// room makes a room where one leg hears a source.
func room(t *testing.T, e *Engine, s Source, legs ...*Leg) *Room {
	r := e.NewRoom()
	t.Cleanup(r.Close)
	var members []Member
	for _, l := range legs {
		members = append(members, Member{Leg: l})
	}
	r.Set(members, s)
	return r
}

// level listens to a leg for a while and returns how much of it is at a frequency.
func level(t *testing.T, e *Engine, l *Leg, hertz float64) float64 {
	t.Helper()
	dir, err := audio.OpenDirectory(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	rec, err := dir.Record("x", time.Second)
	if err != nil {
		t.Fatal(err)
	}
	r := room(t, e, nil, l)
	done := make(chan error, 1)
	r.Record(rec, func(_ End, err error) { done <- err })
	select {
	case err := <-done:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("nothing is recorded")
	}
	c, err := dir.Load("x")
	if err != nil {
		t.Fatal(err)
	}
	var sin, cos, power float64
	for i, s := range c.Samples() {
		a := 2 * math.Pi * hertz * float64(i) / audio.Rate
		sin += float64(s) * math.Sin(a)
		cos += float64(s) * math.Cos(a)
		power += float64(s) * float64(s)
	}
	if power == 0 {
		return 0
	}
	return (sin*sin + cos*cos) / (power * float64(len(c.Samples())) / 2)
}

// Sound played into a leg arrives at its other end, plain and encrypted. SRTP keys sent without
// TLS are refused.
func TestLegs(t *testing.T) {
	for _, secure := range []bool{false, true} {
		e := New(Config{MinPort: 36000, MaxPort: 36100})
		ours, theirs, _, _ := pair(t, e, secure)
		if ours.Secure() != secure {
			t.Errorf("secure: %v", ours.Secure())
		}
		room(t, e, &tone{hertz: []float64{600}, on: 1}, ours)
		if got := level(t, e, theirs, 600); got < 0.5 {
			t.Errorf("secure %v: %.2f of what is heard is the tone", secure, got)
		}
	}
	e := New(Config{MinPort: 36000, MaxPort: 36100})
	l, err := e.Open(loopback, newEar())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	text := offer + "m=audio 4000 RTP/SAVP 8\r\na=crypto:2 AES_CM_128_HMAC_SHA1_80 inline:" + strings.Repeat("A", 40) + "\r\n"
	if _, _, err := l.Answer([]byte(text), SendRecv, Peer{Addr: outside}); err == nil || !strings.Contains(err.Error(), "TLS") {
		t.Errorf("plain keys: %v", err)
	}
}

// Digits pass through a room and are reported once each.
func TestDigits(t *testing.T) {
	e := New(Config{MinPort: 36200, MaxPort: 36300})
	a, phoneA, atA, _ := pair(t, e, false)
	b, _, _, atPhone := pair(t, e, false)
	room(t, e, nil, a, b)
	keys := room(t, e, nil, phoneA)
	keys.SendDigits(nil, "12*d", 60*time.Millisecond, 40*time.Millisecond)
	for _, want := range "12*D" {
		for name, at := range map[string]*ear{"the switch": atA, "the other telephone": atPhone} {
			select {
			case got := <-at.digits:
				if got != want {
					t.Errorf("%s: %c, want %c", name, got, want)
				}
			case <-time.After(5 * time.Second):
				t.Fatalf("%s: no %c", name, want)
			}
		}
	}
}

// A telephone that has died is noticed; one that is on hold has not.
func TestDead(t *testing.T) {
	e := New(Config{MinPort: 36400, MaxPort: 36500, Timeout: 100 * time.Millisecond})
	_, _, at, _ := pair(t, e, false)
	select {
	case err := <-at.dead:
		if !errors.Is(err, ErrSilent) {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Error("nobody has noticed")
	}
}

// A telephone that has no answer yet, because its call still rings, need not send.
func TestSilentWhileRinging(t *testing.T) {
	e := New(Config{MinPort: 36400, MaxPort: 36500})
	l, err := e.Open(loopback, newEar())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, _, err := l.Answer([]byte(strings.ReplaceAll(offer, "192.0.2.1", "127.0.0.1")+"m=audio 4000 RTP/AVP 8\r\n"), SendRecv, Peer{Addr: loopback}); err != nil {
		t.Fatal(err)
	}
	later := time.Now().Add(time.Hour)
	if err := l.silent(later); err != nil {
		t.Error(err)
	}
	l.Begin()
	if err := l.silent(later); !errors.Is(err, ErrSilent) {
		t.Error(err)
	}
	if err := l.silent(time.Now()); err != nil {
		t.Error(err)
	}
}

func TestPorts(t *testing.T) {
	e := New(Config{MinPort: 36600, MaxPort: 36607})
	var legs []*Leg
	for range 4 {
		l, err := e.Open(loopback, newEar())
		if err != nil {
			t.Fatal(err)
		}
		legs = append(legs, l)
	}
	if _, err := e.Open(loopback, newEar()); err == nil {
		t.Error("a port too many")
	}
	legs[2].Close()
	l, err := e.Open(loopback, newEar())
	if err != nil {
		t.Error(err)
	} else {
		l.Close()
	}
	for _, l := range legs {
		l.Close()
	}
	if n := e.Legs(); n != 0 {
		t.Errorf("%d legs are left", n)
	}
}

// Strangers are not heard, and do not draw the voice to themselves.
func TestStranger(t *testing.T) {
	e := New(Config{MinPort: 36800, MaxPort: 36900})
	ours, theirs, _, _ := pair(t, e, false)
	ours.packet([]byte{0x80, 8, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 1, 2, 3}, netip.MustParseAddrPort("198.51.100.1:4000"))
	if ours.anyIn || ours.to.Port() != uint16(theirs.port) {
		t.Error("a stranger is listened to")
	}
}

func FuzzDescription(f *testing.F) {
	f.Add([]byte(offer + "m=audio 4000 RTP/AVP 8\r\nc=IN IP6 ff02::1\r\na=rtcp:4001 IN IP4 255.255.255.255\r\n"))
	f.Add([]byte(offer + "m=audio 4000 RTP/AVP 0 8 101\r\na=rtpmap:101 telephone-event/8000\r\na=sendonly\r\n"))
	f.Add([]byte(offer + "m=audio 4000 RTP/SAVP 8\r\na=crypto:2 AES_CM_128_HMAC_SHA1_80 inline:" + strings.Repeat("A", 40) + "\r\n"))
	f.Add([]byte(offer + "a=setup:active\r\na=fingerprint:SHA-256 00" + strings.Repeat(":0f", 31) + "\r\nm=audio 4000 UDP/TLS/RTP/SAVPF 8\r\na=rtcp-mux\r\n"))
	f.Add([]byte(offer + "m=audio 4000 RTP/AVP 8\r\na=setup:passive\r\na=fingerprint:sha-1 00" + strings.Repeat(":00", 19) + "\r\na=fingerprint:sha-512 FF" + strings.Repeat(":FF", 63) + "\r\n"))
	e := New(Config{MinPort: 37000, MaxPort: 37100})
	l, err := e.Open(loopback, newEar())
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(l.Close)
	f.Fuzz(func(t *testing.T, data []byte) {
		answer, _, err := l.Answer(data, SendRecv, Peer{outside, true})
		if err != nil {
			return
		}
		if to := l.peer.address.Addr(); to.IsValid() && to != outside {
			t.Fatalf("voice goes to %s", to)
		}
		again, err := read(answer, outside, nil)
		switch {
		case err != nil:
			t.Fatalf("our answer is not readable: %v\n%s", err, answer)
		case err == nil && again.keying != l.peer.keying:
			t.Fatalf("keys are agreed on in another way than the answer says:\n%s", answer)
		case err == nil && again.keying == byDTLS && (again.prints[0] != e.identity.fingerprint || again.setup == l.peer.setup || again.setup == setupBoth):
			t.Fatalf("the offer\n%s is answered\n%s", data, answer)
		}
	})
}

func FuzzPacket(f *testing.F) {
	f.Add([]byte{0x80, 8, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 1, 2, 3})
	f.Add([]byte{0x80, 101, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 5, 0x8a, 1, 0x40})
	e := New(Config{MinPort: 37200, MaxPort: 37300})
	l, err := e.Open(loopback, newEar())
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(l.Close)
	if _, _, err := l.Answer([]byte(strings.ReplaceAll(offer, "192.0.2.1", "127.0.0.1")+"m=audio 4000 RTP/AVP 8 101\r\na=rtpmap:101 telephone-event/8000\r\n"), SendRecv, Peer{Addr: loopback}); err != nil {
		f.Fatal(err)
	}
	l.watcher = deaf{}
	from := netip.MustParseAddrPort("127.0.0.1:4000")
	f.Fuzz(func(_ *testing.T, data []byte) { l.packet(data, from) })
}

type deaf struct{}

func (deaf) Digit(rune) {}
func (deaf) Dead(error) {}
