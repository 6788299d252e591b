package tests

import (
	"context"
	octets "encoding/binary"
	"fmt"
	"math"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// voice is the RTP of a handset: it says a tone, and keeps what it hears.
type voice struct {
	conn *net.UDPConn
	port int

	mu    sync.Mutex
	heard []int16
	fresh int // samples since somebody last looked
}

// speak begins to say a tone to an address, until ctx ends.
func (v *voice) speak(ctx context.Context, to string, hertz float64) {
	peer, err := net.ResolveUDPAddr("udp", to)
	if err != nil {
		return
	}
	go func() {
		buf := make([]byte, 1500)
		for {
			n, _, err := v.conn.ReadFromUDP(buf)
			if err != nil {
				return
			}
			if n <= 12 || buf[1]&0x7f != 8 {
				continue
			}
			v.mu.Lock()
			for _, b := range buf[12:n] {
				v.heard = append(v.heard, fromALaw(b))
			}
			v.heard = v.heard[max(0, len(v.heard)-8000):]
			v.fresh += n - 12
			v.mu.Unlock()
		}
	}()
	go func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		packet := make([]byte, 12+160)
		packet[0], packet[1] = 0x80, 8
		nearest := nearestALaw()
		for n := uint32(0); ; n++ {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			octets.BigEndian.PutUint16(packet[2:], uint16(n))
			octets.BigEndian.PutUint32(packet[4:], n*160)
			for i := range 160 {
				packet[12+i] = nearest[int(4000*math.Sin(2*math.Pi*hertz*float64(int(n)*160+i)/8000)+32768)/16]
			}
			_, _ = v.conn.WriteToUDP(packet, peer)
		}
	}()
}

// hears reports whether the last half second is a tone.
func (v *voice) hears(hertz float64) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.heard) < 4000 || v.fresh < 800 {
		return false
	}
	v.fresh = 0
	return share(v.heard[len(v.heard)-4000:], hertz) > 0.5
}

// A-law by its definition (G.711): the nearest value.
var aLaw = func() (values [256]float64) {
	for i := range values {
		b := i ^ 0x55
		v := float64(b&15)*16 + 8
		if segment := b >> 4 & 7; segment > 0 {
			v = (v + 256) * float64(int(1)<<(segment-1))
		}
		if b&0x80 == 0 {
			v = -v
		}
		values[i] = v
	}
	return values
}()

func fromALaw(b byte) int16 { return int16(aLaw[b]) }

// nearestALaw has the nearest value for each sample, from -32768 on in steps of 16.
var nearestALaw = sync.OnceValue(func() (nearest [4096]byte) {
	for n := range nearest {
		distance := math.Inf(1)
		for i, v := range aLaw {
			if d := math.Abs(v - float64(16*n-32768)); d < distance {
				nearest[n], distance = byte(i), d
			}
		}
	}
	return nearest
})

// Fifty telephones register, and twenty calls at once have voice both ways. They come and
// go, and nothing is left of them.
func TestTwentyCalls(t *testing.T) {
	long(t)
	var extensions strings.Builder
	for n := 200; n < 250; n++ {
		fmt.Fprintf(&extensions, "  - {number: \"%d\", sip: {password: secret%d}}\n", n, n)
	}
	x := serveTelephones(t, extensions.String(), "")
	var list []*handset
	for n := 200; n < 250; n++ {
		number := fmt.Sprint(n)
		h := newHandset(t, []string{"udp", "tcp"}[n%2], x.sip, number, "secret"+number)
		if m := h.register(600); m.code() != 200 {
			t.Fatal(m.start)
		}
		list = append(list, h)
	}
	o := x.watch("200")
	before := 0.0
	for round := range 2 {
		ctx, stop := context.WithCancel(t.Context())
		var voices []*voice
		for range 40 {
			conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			voices = append(voices, &voice{conn: conn, port: conn.LocalAddr().(*net.UDPAddr).Port})
		}
		tone := func(i int) float64 { return 400 + 60*float64(i) }
		var dialogs []*sipDialog
		for i := range 20 {
			a, b := list[2*i], list[2*i+1]
			d := a.dialog(b.number)
			calling := d.challenged([]string{sdpHeader}, description(voices[2*i].port, "sendrecv"))
			invite := b.expect("INVITE")
			b.reply(invite, 200, "b", description(voices[2*i+1].port, "sendrecv"))
			b.expect("ACK")
			m := calling.final()
			d.follow(m)
			d.ack(m)
			voices[2*i].speak(ctx, mediaOf(t, m), tone(2*i))
			voices[2*i+1].speak(ctx, mediaOf(t, invite), tone(2*i+1))
			dialogs = append(dialogs, d)
		}
		for i, v := range voices {
			other := tone(i ^ 1)
			waitFor(t, fmt.Sprintf("the voice of %d", i), func() bool { return v.hears(other) })
		}
		for i, d := range dialogs {
			d.ask("BYE", nil, "")
			b := list[2*i+1]
			b.answer(b.expect("BYE"), 200, nil, "")
		}
		stop()
		waitFor(t, "the end of the calls", func() bool { return x.metric("tr87proxy_telephone_legs") == 0 })
		if n := len(o.calls("200")); n != 0 {
			t.Errorf("%d calls are left", n)
		}
		goroutines := func() float64 { return x.metric("go_goroutines") }
		if round == 0 {
			before = goroutines()
		} else {
			waitFor(t, fmt.Sprintf("as many goroutines as before, %v", before), func() bool { return goroutines() <= before+2 })
		}
	}
	x.stop()
}

// mediaOf is the address in a session description.
func mediaOf(t *testing.T, m *sipText) string {
	t.Helper()
	_, rest, ok := strings.Cut(m.body, "m=audio ")
	if !ok {
		t.Fatalf("no voice in %s\n%s", m.start, m.body)
	}
	return "127.0.0.1:" + strings.Fields(rest)[0]
}
