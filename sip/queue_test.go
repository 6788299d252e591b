package sip

import (
	"errors"
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/wait"
)

// The send queue of a dialog is limited in octets, too: the dialog ends when a few large
// messages fill it, as when many small ones do.
func TestQueueOctets(t *testing.T) {
	_, rec, addr := serve(t, "UDP", func(c *Config) { c.EventWait, c.Known = time.Minute, func(Peer) bool { return true } })
	p := dialRaw(t, "UDP", addr)
	p.invite()
	d := wait.Next(t, rec.dialogs, "dialog")
	const size = 30000
	overflow := make(chan int, 100)
	for n := range 100 {
		d.Send("INFO", "text/plain", make([]byte, size), func(res Result) {
			if errors.Is(res.Err, ErrOverflow) {
				overflow <- n
			}
		})
	}
	if n := wait.Next(t, overflow, "overflow"); n != maxQueued/size+1 { // one is on its way
		t.Errorf("message %d is one too many", n)
	}
}
