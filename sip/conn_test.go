package sip

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/tr87proxy/tr87proxy/internal/wait"
)

// A message whose body comes in single octets behind a long head is handled, and the octets behind
// it are the next.
func TestDrip(t *testing.T) {
	_, rec, addr := serve(t, "TCP", func(c *Config) { c.Known = func(Peer) bool { return true } })
	p := dialRaw(t, "TCP", addr)
	p.invite()
	wait.Next(t, rec.dialogs, "dialog")
	p.cseq++
	info := p.request("INFO", p.cseq, "drop by drop", "Subject: "+strings.Repeat("x", 20<<10))
	p.cseq++
	info += p.request("INFO", p.cseq, "next")
	for i := range 16 {
		p.write(info[i*len(info)/16 : (i+1)*len(info)/16])
	}
	for _, want := range []string{"drop by drop", "next"} {
		if got := wait.Next(t, rec.requests, "INFO"); got != want {
			t.Errorf("%q, not %q", got, want)
		}
	}
}

// The head of a message is read once: how much is missing is known from then on.
func TestMissing(t *testing.T) {
	ua := New(Config{})
	t.Cleanup(ua.Close)
	c := &streamConn{ua: ua, kind: "TCP", remote: netip.MustParseAddrPort("192.0.2.1:1")}
	for name, tt := range map[string]struct {
		data    string
		missing int
		ok      bool
	}{
		"a body":          {"\r\nINFO sip:a SIP/2.0\r\nl:100\r\n\r\nxy", 98, true},
		"a head":          {"INFO sip:a SIP/2.0\r\nl:100\r\n", 1, true},
		"nothing":         {"\r\n", 1, true},
		"a long head":     {"INFO sip:a SIP/2.0\r\nl:" + strings.Repeat(" ", maxStrangeHead-22), 1, true},
		"a head too long": {"INFO sip:a SIP/2.0\r\nl:" + strings.Repeat(" ", maxStrangeHead), 0, false},
	} {
		if _, missing, ok := c.messages([]byte(tt.data)); missing != tt.missing || ok != tt.ok {
			t.Errorf("%s: %d, %v", name, missing, ok)
		}
	}
	c.standing.Store(int32(known))
	if _, _, ok := c.messages([]byte(strings.Repeat("x", 2*maxStrangeHead))); !ok {
		t.Error("a known peer's head is bounded as a stranger's")
	}
}
