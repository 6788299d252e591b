package phones

import (
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/wait"
	"github.com/tr87proxy/tr87proxy/sip"
	"github.com/tr87proxy/tr87proxy/softswitch"
)

// Whatever a number says, the trunk's peer stays where the call goes.
func TestTrunkTarget(t *testing.T) {
	for number, want := range map[string]string{
		"0301234": "sips:0301234@isp.example:5061;transport=tls", "#31#0": "sips:%2331%230@isp.example:5061;transport=tls",
		"0123@127.0.0.66:5066?": "sips:0123%40127.0.0.66%3A5066%3F@isp.example:5061;transport=tls",
		"01@x SIP/2.0\r\nX: y":  "sips:01%40x%20SIP%2F2.0%0D%0AX%3A%20y@isp.example:5061;transport=tls",
		"0123;maddr=127.0.0.66": "sips:0123%3Bmaddr=127.0.0.66@isp.example:5061;transport=tls",
	} {
		trunk := &trunk{Trunk: Trunk{Number: "900", Peer: "sips:isp.example:5061;transport=tls"}}
		if inv := trunk.invite(&softswitch.View{}, &softswitch.Party{Number: number}); inv.To != want || inv.From != "sip:900@isp.example" {
			t.Errorf("%q: %s from %s", number, inv.To, inv.From)
		}
	}
}

// provider is the peer of a trunk that responds as long as it is not mute.
type provider struct {
	mute  atomic.Bool
	last  atomic.Int64 // when it last responded, in nanoseconds
	asked chan string  // methods
}

// newProvider starts the peer of a trunk, and returns its address.
func newProvider(t *testing.T) (*provider, netip.AddrPort) {
	t.Helper()
	c := &provider{asked: make(chan string, 1000)}
	ua := sip.New(sip.Config{Requests: map[string]func(*sip.Request){"OPTIONS": c.ask, "REGISTER": c.ask}})
	t.Cleanup(ua.Close)
	at, err := ua.ListenUDP("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return c, at
}

func (c *provider) ask(r *sip.Request) {
	if !c.mute.Load() {
		c.last.Store(time.Now().UnixNano())
		r.Respond(sip.Answer{})
	}
	select {
	case c.asked <- r.Method():
	default:
	}
}

// A trunk whose peer stops responding is out of service within Qualify of its last response, and back when it responds:
// to REGISTER if it has an account, since the peer may have lost our registration. The end of the server says nothing of
// the peer.
func TestTrunkQualify(t *testing.T) {
	for _, register := range []bool{false, true} {
		t.Run(fmt.Sprint("register ", register), func(t *testing.T) {
			t.Parallel()
			c, at := newProvider(t)
			const qualify = 2 * time.Second
			log := make(lines, 1000)
			w := aWorld(t, "sip:"+at.String()+";transport=udp", func(cfg *Config) {
				cfg.Telephones.Log = slog.New(slog.NewTextHandler(log, nil))
				cfg.Trunks[0].Qualify, cfg.Trunks[0].Register, cfg.Trunks[0].Name = qualify, register, "acme"
			})
			says := func(parts ...string) {
				t.Helper()
				line := wait.Next(t, log, parts[0])
				for ; !strings.Contains(line, parts[0]); line = wait.Next(t, log, parts[0]) {
				}
				for _, part := range append(parts, "trunk=900", "peer=\"sip:"+at.String(), "addresses=[127.0.0.1]") {
					if !strings.Contains(line, part) {
						t.Errorf("no %s in %s", part, line)
					}
				}
			}
			method := "OPTIONS"
			if register {
				method = "REGISTER"
			}
			w.event("900", "BackInService")
			says(`level=INFO msg="trunk in service"`, "method="+method)
			for wait.Next(t, c.asked, "OPTIONS") != "OPTIONS" {
			}
			c.mute.Store(true)
			w.event("900", "OutOfService")
			if late := time.Since(time.Unix(0, c.last.Load())); late > 2*qualify { // a busy machine needs time, too
				t.Errorf("out of service %s after the last response", late)
			}
			says(`level=WARN msg="trunk out of service"`, "method=OPTIONS", `err="no response in time"`)
			c.mute.Store(false)
			w.event("900", "BackInService")
			says(`level=INFO msg="trunk in service"`, "method="+method)
			c.mute.Store(true)
			for len(c.asked) > 0 {
				<-c.asked
			}
			wait.Next(t, c.asked, "a question without response")
			w.Close()
			for len(log) > 0 {
				if line := <-log; strings.Contains(line, "WARN") {
					t.Error(line)
				}
			}
		})
	}
	for _, qualify := range []time.Duration{time.Second, 30 * time.Second, time.Hour} {
		tr := &trunk{Trunk: Trunk{Qualify: qualify}}
		pause, timeout := tr.schedule()
		if pause+timeout >= qualify || timeout < min(qualify/2, trunkTimeout) {
			t.Errorf("%s: %s and %s", qualify, pause, timeout)
		}
		tr.Register = true
		if again, _ := tr.schedule(); again != min(pause, trunkRefresh) {
			t.Errorf("%s: registers again after %s", qualify, again)
		}
		tr.renew = time.Now().Add(trunkExpires / 2)
		if renew, _ := tr.schedule(); renew > pause || renew > trunkExpires/2 {
			t.Errorf("%s: renews its registration after %s", qualify, renew)
		}
	}
}

// A registration is renewed before it ends, also if the peer keeps it for less time than we ask for, and not at any rate that
// the peer may want.
func TestTrunkRenews(t *testing.T) {
	for _, tt := range []struct {
		headers string
		renew   time.Duration
	}{
		{"", trunkExpires / 2},
		{"Expires: 60", 30 * time.Second},
		{"Expires: 600\nContact: <sip:acme@192.0.2.1>;expires=120", time.Minute},
		{"Contact: <sip:acme@192.0.2.1>;expires=120\nContact: <sip:acme@192.0.2.2>;expires=3600", time.Minute},
		{"Expires: 0", trunkRenewal}, {"Expires: 99999999999999999999", trunkExpires / 2}, {"Expires: soon", trunkExpires / 2},
	} {
		ua := sip.New(sip.Config{Requests: map[string]func(*sip.Request){"REGISTER": func(r *sip.Request) {
			a := sip.Answer{}
			for line := range strings.Lines(tt.headers) {
				name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
				a.Headers = append(a.Headers, sip.Header{Name: name, Value: value})
			}
			r.Respond(a)
		}}})
		at, err := ua.ListenUDP("127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		w := aWorld(t, "", nil)
		tr := &trunk{Trunk: Trunk{Number: "901", Peer: "sip:" + at.String() + ";transport=udp", Name: "acme", Register: true}, server: w.Server}
		before := time.Now()
		if _, err := tr.checked(); err != nil {
			t.Fatal(err)
		}
		if early, late := tr.renew.Sub(before), time.Until(tr.renew); early < tt.renew || late > tt.renew {
			t.Errorf("%q: renews after %s", tt.headers, late)
		}
		if wait, _ := tr.schedule(); wait > tt.renew {
			t.Errorf("%q: looks after the trunk after %s", tt.headers, wait)
		}
		ua.Close()
	}
}

// A trunk that is not checked registers all the same.
func TestTrunkUnchecked(t *testing.T) {
	_, at := newProvider(t)
	w := aWorld(t, "", nil)
	for _, register := range []bool{false, true} {
		tr := &trunk{Trunk: Trunk{Number: "901", Peer: "sip:" + at.String() + ";transport=udp", Name: "acme", Register: register}, server: w.Server}
		var methods []string
		for range 2 {
			method, err := tr.checked()
			if err != nil {
				t.Error(err)
			}
			methods = append(methods, method)
		}
		want := " "
		if register {
			want = "REGISTER "
		}
		if got := strings.Join(methods, " "); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
