package tests

import (
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/tests/samples"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// Peers that end as programs do, or do not, and that write samples which were damaged: a program
// that behaves well is served meanwhile, and nothing is left of them.
func TestASN1Abuse(t *testing.T) {
	long(t)
	r, p1, p3 := forPrograms(t, everyKind)
	var damaged [][]byte
	for _, s := range samples.ASN1 {
		for range 8 {
			data := s.Octets()
			for range 1 + rand.N(4) {
				data[rand.N(len(data))] ^= byte(1 << rand.N(8))
			}
			damaged = append(damaged, data)
		}
	}
	abuse := func(n int) {
		conn, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", []int{p3, p1}[n%2]), patience)
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		write := func(data []byte) { _, _ = conn.Write(data) } // it may have been cut off
		if n%10 == 0 {                                         // looking at passwords takes its time
			write(sample(t, "hipath", "AARQ with name and password"))
		}
		for i := range 10 {
			write(damaged[(n*10+i)%len(damaged)])
		}
		switch n % 4 {
		case 0:
			write(sample(t, "hipath", "ABRT"))
		case 1:
			write([]byte("\x26\x80\x02\x62\x00")) // RLRQ
		case 2:
			write([]byte("\x26\x80")) // half a frame
		}
		_ = conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		buffer := make([]byte, 4096)
		for err == nil {
			_, err = conn.Read(buffer)
		}
	}
	crowd := func(n int, goesOn func() bool) { // n times each, and as long as it goes on
		var group sync.WaitGroup
		for worker := range 20 {
			group.Go(func() {
				for i := 0; i < n || goesOn(); i++ {
					abuse(worker*n + i)
				}
			})
		}
		group.Wait()
	}
	crowd(5, func() bool { return false })
	quiet := func() bool { return r.metric("tr87proxy_sessions") == 0 && r.metric("tr87proxy_link_monitors") == 0 }
	waitFor(t, "the end of the first crowd", quiet)
	goroutines := r.metric("go_goroutines")
	good := r.xml()
	good.monitor("1001")
	var calls atomic.Int64
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		crowd(10, func() bool { return calls.Load() < 5 && !t.Failed() })
	}()
	defer func() { <-ended }()
	for busy := true; busy; calls.Add(1) {
		id := good.ask(call("1000", "1001")).Text("callingDevice/callID")
		good.ask(uacsta.ClearConnection{ConnectionToBeCleared: uacsta.Conn(id, "1000")})
		select {
		case <-ended:
			busy = false
		default:
		}
	}
	_ = good.conn.Close()
	waitFor(t, "the end of the crowd", quiet)
	waitFor(t, fmt.Sprintf("as many goroutines as before, %v", goroutines), func() bool { return r.metric("go_goroutines") <= goroutines+2 })
	r.stop()
}
