package media

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/audio"
	"github.com/tr87proxy/tr87proxy/internal/share"
)

// mourner waits for the end of a leg.
type mourner struct{ dead chan struct{} }

func (mourner) Digit(rune)   {}
func (m mourner) Dead(error) { m.dead <- struct{}{} }

// A socket that can be read no more, and a packet whose handling panics, end the leg: it says so, once.
func TestLegFails(t *testing.T) {
	for name, most := range map[string]int{"a persistent error": 12, "a panic": 0} {
		t.Run(name, func(t *testing.T) {
			m := mourner{make(chan struct{}, 10)}
			l, err := New(Config{}).Open(loopback, m)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			conn, err := listen(loopback, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if most > 0 {
				err = conn.SetReadDeadline(time.Unix(1, 0)) // each read fails at once
			} else {
				_, err = l.conn.WriteToUDP([]byte("x"), conn.LocalAddr().(*net.UDPAddr))
			}
			if err != nil {
				t.Fatal(err)
			}
			over := make(chan struct{})
			go func() {
				defer close(over)
				l.listen(conn, share.Retries{Most: most}, func([]byte, netip.AddrPort) { panic("as told") })
			}()
			for _, ch := range []chan struct{}{m.dead, over} {
				select {
				case <-ch:
				case <-time.After(10 * time.Second):
					t.Fatal("the leg goes on")
				}
			}
			l.die(nil)
			if len(m.dead) > 0 {
				t.Error("the leg has died twice")
			}
		})
	}
}

// A disk that takes nothing ends the recording, and does not stop the clock of the room.
func TestRecordingToASlowDisk(t *testing.T) {
	in, out, err := os.Pipe() // some packets fit in before one is read
	if err != nil {
		t.Fatal(err)
	}
	recording, err := audio.NewRecording(out, 24*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	told := make(chan error, 2)
	r := New(Config{}).NewRoom()
	taking := r.Record(recording, func(_ End, err error) { told <- err })
	n := 0
	for r.mu.Lock(); taking.take(make([]int16, audio.Frame)); n++ {
	}
	r.mu.Unlock()
	if n < maxUnwritten || n > maxUnwritten+(1<<20)/audio.Frame {
		t.Errorf("%d frames wait", n)
	}
	_ = in.Close() // now writing fails
	taking.Stop()
	r.Close()
	if err := <-told; !errors.Is(err, errSlowDisk) || len(told) > 0 {
		t.Error(err, len(told))
	}
}
