package sip

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	gosip "github.com/emiago/sipgo/sip"

	"github.com/tr87proxy/tr87proxy/internal/share"
	"github.com/tr87proxy/tr87proxy/internal/wait"
)

// answering answers a request with the code that its To names, with all that could make an
// answer long.
type answering struct{ *recorder }

func (a answering) answer(r *Request) Answer {
	code, _ := strconv.Atoi(ParseURI(r.To().URI).User)
	return Answer{
		Code: code, Reason: strings.Repeat("because ", 20), ContentType: "text/plain", Body: bytes.Repeat([]byte("x"), 1000),
		Headers: []Header{{"Allow", r.ua.allow}, {"Accept", "text/plain"}, {"Retry-After", "10"}},
	}
}

func (a answering) Invite(in *Invitation) {
	wanted := a.answer(in.Request)
	if wanted.Code < 200 {
		_, _ = in.Progress(a, wanted)
		wanted.Code = 486
	}
	if wanted.Code == 200 {
		_, _ = in.Accept(a, wanted)
		return
	}
	in.Reject(wanted)
}

// small is the shortest legal form of a request.
func small(method, to string, extra ...string) string {
	const shortest = "%s sip:a SIP/2.0\r\nv:SIP/2.0/UDP a;rport;branch=z9hG4bK%s\r\nf:<sip:a>;tag=1\r\nt:<%s\r\ni:%s\r\nCSeq:1 %s\r\n%s\r\n"
	id := newTag()[:8]
	return fmt.Sprintf(shortest, method, id, to, id, method, strings.Join(append(extra, ""), "\r\n"))
}

// Before anything of ours has come back from an address, it gets at most three times the
// octets that have come from there, whatever they ask for.
func TestAmplification(t *testing.T) {
	if !shortTimers(t) {
		return
	}
	cases := map[string][]string{
		"Require":                {small("INVITE", "sip:200@a>", "Require:a,b,c", "m:<sip:a>")},
		"no Contact":             {small("INVITE", "sip:200@a>")},
		"To tag":                 {small("INVITE", "sip:200@a>;tag=x", "m:<sip:a>")},
		"bad Session-Expires":    {small("INVITE", "sip:200@a>", "x:soon", "m:<sip:a>")},
		"small Session-Expires":  {small("INVITE", "sip:200@a>", "k:timer", "x:1", "m:<sip:a>")},
		"version":                {strings.Replace(small("OPTIONS", "sip:a>"), "SIP/2.0\r\n", "SIP/3.0\r\n", 1)},
		"CSeq of another method": {strings.Replace(small("OPTIONS", "sip:a>"), "1 OPTIONS", "1 INFO", 1)},
		"no From":                {strings.Replace(small("OPTIONS", "sip:a>"), "f:", "F1:", 1)},
		"header without colon":   {small("OPTIONS", "sip:a>", "x")},
		"many headers":           {small("OPTIONS", "sip:a>", strings.Repeat("x:\r\n", 200)+"x:")},
		"bad Replaces":           {small("INVITE", "sip:200@a>", "Replaces:a", "m:<sip:a>")},
		"unknown method":         {small("A", "sip:a>")},
		"OPTIONS":                {small("OPTIONS", "sip:a>")},
		"challenge":              {small("REGISTER", "sip:a>")},
		"several Via":            {small("OPTIONS", "sip:a>", "v:SIP/2.0/UDP b", "v:SIP/2.0/UDP c", "Record-Route:<sip:a>")},
		"BYE":                    {small("BYE", "sip:a>")},
		"CANCEL":                 {small("CANCEL", "sip:a>")},
		"ACK":                    {small("ACK", "sip:a>")},
		"nothing":                {"\r\n\r\n"},
		"response":               {"SIP/2.0 200 OK\r\nv:SIP/2.0/UDP a\r\n\r\n"},
	}
	for code := range maps.Keys(reasons) {
		if code > 100 {
			cases[fmt.Sprint("INVITE ", code)] = []string{small("INVITE", fmt.Sprintf("sip:%d@a>", code), "m:<sip:a>")}
		}
		if code >= 200 {
			cases[fmt.Sprint("MESSAGE ", code)] = []string{small("MESSAGE", fmt.Sprintf("sip:%d@a>", code))}
		}
	}
	for name, data := range maps.Clone(cases) {
		cases[name+", again"] = slices.Repeat(data, 3)
	}
	large := small("INVITE", "sip:200@a>", "m:<sip:a>", "Subject:"+strings.Repeat("x", 600))
	cases["accepted"] = []string{large}
	cases["accepted, again"] = []string{large, large, large}
	cases["accepted, and cancelled"] = []string{large, strings.ReplaceAll(strings.Replace(large, "m:", "X:", 1), "INVITE", "CANCEL")}

	var digest *Digest
	ua, rec, addr := serve(t, "UDP", func(c *Config) {
		digest = NewDigest("example", []string{SHA256, MD5}, nil, func(string) (string, bool) { return "", false })
		a := answering{c.Handler.(*recorder)}
		c.Handler, c.Supports = a, []string{"replaces"}
		c.Requests = map[string]func(*Request){
			"REGISTER": func(r *Request) { digest.Check(r) },
			"MESSAGE":  func(r *Request) { r.Respond(a.answer(r)) },
		}
	})
	type stranger struct {
		*net.UDPConn
		sent int
	}
	peers := map[string]*stranger{}
	for name, datagrams := range cases {
		nc, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(addr))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = nc.Close() }()
		peers[name] = &stranger{UDPConn: nc}
		for _, data := range datagrams {
			n, err := nc.Write([]byte(data))
			if err != nil {
				t.Fatal(err)
			}
			peers[name].sent += n
		}
	}
	// A message after all others is answered after them.
	last := dialRaw(t, "UDP", addr)
	last.write(last.request("OPTIONS", 1, ""))
	last.must()
	for range 3 {
		if reason := wait.Next(t, rec.ended, "the end of what nobody acknowledged"); !errors.Is(reason, ErrNoAck) {
			t.Error(reason)
		}
	}
	await(t, "the end of all transactions", func() bool { dialogs, _, transactions := ua.Counts(); return dialogs+transactions == 0 })
	silent := map[string]bool{}
	for name, p := range peers {
		buf := make([]byte, 65536)
		back, answers := 0, 0
		_ = p.SetReadDeadline(time.Now().Add(10 * time.Millisecond)) // it has all come, but the clock must not be behind
		for {
			n, err := p.Read(buf)
			if err != nil {
				break
			}
			back += n
			answers++
		}
		if back > 3*p.sent {
			t.Errorf("%s: %d octets in, %d out", name, p.sent, back)
		}
		if answers > len(cases[name]) {
			t.Errorf("%s: %d datagrams in, %d out", name, len(cases[name]), answers)
		}
		silent[name] = answers == 0
	}
	for _, name := range []string{"Require", "no Contact", "To tag", "bad Session-Expires", "small Session-Expires", "OPTIONS", "accepted", "INVITE 180", "INVITE 403", "MESSAGE 503"} {
		if silent[name] {
			t.Errorf("%s: no answer at all", name)
		}
	}
	if n := ua.Stats().Withheld.Load(); !silent["challenge"] || n == 0 {
		t.Errorf("a challenge for the smallest REGISTER: silent is %v, %d withheld", silent["challenge"], n)
	}
}

// The REGISTER of a real telephone is large enough to be answered with our challenge.
func TestChallengeFits(t *testing.T) {
	digest := NewDigest("communications.example.com", []string{SHA256, MD5}, nil, func(string) (string, bool) { return "", false })
	_, _, addr := serve(t, "UDP", func(c *Config) {
		c.Requests = map[string]func(*Request){"REGISTER": func(r *Request) { digest.Check(r) }}
	})
	p := dialRaw(t, "UDP", addr)
	p.write(p.request("REGISTER", 1, ""))
	if res := p.must(); res.code() != 401 || strings.Count(strings.Join(res.lines, "\n"), "WWW-Authenticate") != 2 {
		t.Errorf("%s\n%s", res.start, strings.Join(res.lines, "\n"))
	}
}

// A stranger's ACK proves its address: what waited for it goes out then.
func TestAckProves(t *testing.T) {
	ua, rec, addr := serve(t, "UDP", nil)
	p := dialRaw(t, "UDP", addr)
	invite := p.request("INVITE", 1, "", "Subject: "+strings.Repeat("x", 500))
	p.write(invite)
	res := p.must()
	d := wait.Next(t, rec.dialogs, "dialog")
	d.Send("INFO", "text/plain", []byte("an event"), nil)
	p.write(invite) // the 200 was lost
	again := p.must()
	if res.code() != 200 || again.start != res.start || again.header("To") != res.header("To") {
		t.Errorf("%s, again %s", res.start, again.start)
	}
	_, p.toTag, _ = strings.Cut(res.header("To"), ";tag=")
	p.write(p.request("ACK", 1, ""))
	if m := p.must(); m.method != "INFO" || m.body != "an event" {
		t.Errorf("%s", m.start)
	}
	if _, _, transactions := ua.Counts(); transactions == 0 {
		t.Error("the INFO is not repeated")
	}
}

// A peer that the configuration names gets our 2xx until it has acknowledged it.
func TestTrustedAreRepeated(t *testing.T) {
	_, _, addr := serve(t, "UDP", func(c *Config) { c.Known = func(Peer) bool { return true } })
	p := dialRaw(t, "UDP", addr)
	p.write(p.request("INVITE", 1, "hello"))
	for range 2 {
		if res := p.must(); res.code() != 200 {
			t.Errorf("%s", res.start)
		}
	}
}

// authenticating believes everybody, and refuses what they want.
type authenticating struct{ *recorder }

func (authenticating) Invite(in *Invitation) {
	in.authenticated()
	in.Reject(Answer{Code: 404})
}

// A peer that has authenticated is known from then on, by its connection, or by its address and
// port.
func TestAuthenticatedAreKnown(t *testing.T) {
	for _, transport := range []string{"TCP", "UDP"} {
		t.Run(transport, func(t *testing.T) {
			ua, _, addr := serve(t, transport, func(c *Config) { c.Handler = authenticating{} })
			kept := func() int { _, _, n := ua.Counts(); return n }
			p := dialRaw(t, transport, addr)
			p.write(p.request("BYE", 1, ""))
			if res := p.must(); res.code() != 481 || kept() != 0 {
				t.Errorf("%s, %d transactions are kept", res.start, kept())
			}
			p.write(p.request("INVITE", 1, ""))
			if res := p.must(); res.code() != 404 || kept() != 1 {
				t.Errorf("%s, %d transactions are kept", res.start, kept())
			}
			other := dialRaw(t, transport, addr)
			for p, want := range map[*rawPeer]standing{p: known, other: stranger} {
				p.write(p.request("OPTIONS", 3, ""))
				for p.must().code() != 200 { // the refusal is repeated, over UDP
				}
				h := hop{ua.socketOf(transport, p.nc.LocalAddr()), addrPort(p.nc.LocalAddr())}
				if got := ua.standingOf(h); got != want {
					t.Errorf("%d, want %d", got, want)
				}
			}
		})
	}
}

// socketOf returns what a peer's messages come by.
func (ua *UA) socketOf(transport string, peer net.Addr) conn {
	ua.mu.Lock()
	defer ua.mu.Unlock()
	if transport == "UDP" {
		return ua.sockets[0]
	}
	for c := range ua.streams {
		if c.remote == addrPort(peer) {
			return c
		}
	}
	return nil
}

func await(t *testing.T, what string, is func() bool) {
	t.Helper()
	for until := time.Now().Add(patience); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("%s did not come", what)
		}
	}
}

// pending answers only the sender good, and keeps the first request of the others.
type pending struct {
	*recorder
	first chan *Invitation
}

func (p pending) Invite(in *Invitation) {
	if strings.Contains(in.Header("Subject"), "good") {
		p.recorder.Invite(in)
		return
	}
	select {
	case p.first <- in:
	default: // there is one
	}
}

// However many requests strangers leave unanswered, known peers are served, in dialogs and
// outside. The late response of an evicted request is not sent and does no harm.
func TestStrangersFillTransactions(t *testing.T) {
	for _, transport := range []string{"TCP", "UDP"} {
		t.Run(transport, func(t *testing.T) {
			const most = 40
			first := make(chan *Invitation, 1)
			ua, rec, addr := serve(t, transport, func(c *Config) {
				c.Handler, c.MaxTransactions = pending{c.Handler.(*recorder), first}, most
				c.Known = func(p Peer) bool { return p.Addr.Addr() == netip.MustParseAddr("127.0.0.2") }
			})
			trusted := dialRawFrom(t, transport, "127.0.0.2", addr)
			invite := trusted.invite("Subject: good")
			if invite.code() != 200 {
				t.Fatal(invite.start)
			}
			wait.Next(t, rec.dialogs, "dialog")
			flood := func(from string, n int) *rawPeer {
				p := dialRawFrom(t, transport, from, addr)
				for range n {
					p.write(p.request("INVITE", 1, ""))
				}
				p.write(p.request("OPTIONS", 2, ""))
				for {
					if m := p.must(); m.code() == 200 {
						return p
					}
				}
			}
			for i := 3; i < 33; i++ { // each has its part, all have three quarters
				flood(fmt.Sprintf("127.0.0.%d", i), 5)
			}
			_, _, transactions := ua.Counts()
			if evicted := ua.Stats().EvictedTransactions.Load(); transactions > most || evicted == 0 {
				t.Errorf("%d transactions, %d evicted", transactions, evicted)
			}
			if _, err := wait.Next(t, first, "invitation").Accept(rec, Answer{}); !errors.Is(err, ErrCancelled) {
				t.Errorf("what gave way first was accepted: %v", err)
			}
			for range 5 {
				if res := trusted.ask("INFO", "still"); res.code() != 200 {
					t.Errorf("in a dialog: %s", res.start)
				}
			}
			outside := dialRawFrom(t, transport, "127.0.0.2", addr)
			outside.write(outside.request("OPTIONS", 1, ""))
			if res := outside.must(); res.code() != 200 {
				t.Errorf("outside: %s", res.start)
			}
			if n := ua.Stats().Refused.Load(); n != 0 {
				t.Errorf("%d requests were refused", n)
			}
		})
	}
}

// While strangers hold the table of connections a new peer gets in, and those that are known
// stay.
func TestStrangersFillConnections(t *testing.T) {
	const most = 40
	ua, rec, addr := serve(t, "TCP", func(c *Config) {
		c.MaxConnections, c.MaxConnectionsPerPeer = most, most/4
		c.Known = func(p Peer) bool { return p.Addr.Addr() == netip.MustParseAddr("127.0.0.2") }
	})
	trusted := dialRawFrom(t, "TCP", "127.0.0.2", addr)
	trusted.invite()
	wait.Next(t, rec.dialogs, "dialog")
	idle := dialRawFrom(t, "TCP", "127.0.0.2", addr)
	for i := range 4 * most {
		nc, err := dialFrom("TCP", fmt.Sprintf("127.0.0.%d", 3+i%4), addr)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = nc.Close() }()
	}
	fresh := dialRawFrom(t, "TCP", "127.0.0.99", addr)
	fresh.write(fresh.request("OPTIONS", 1, ""))
	if res := fresh.must(); res.code() != 200 {
		t.Errorf("a new peer: %s", res.start)
	}
	if res := trusted.ask("INFO", "still"); res.code() != 200 {
		t.Errorf("the dialog: %s", res.start)
	}
	idle.write(idle.request("OPTIONS", 1, ""))
	if res := idle.must(); res.code() != 200 {
		t.Errorf("a trusted peer that waited: %s", res.start)
	}
	await(t, "the end of those that gave way", func() bool { _, n, _ := ua.Counts(); return n <= most })
	if n := ua.Stats().EvictedConnections.Load(); n < 3*most {
		t.Errorf("%d gave way", n)
	}
}

// A stranger with one dialog too many loses its oldest one; an authenticated peer gets a
// refusal.
func TestDialogsOfStrangers(t *testing.T) {
	ua, rec, addr := serve(t, "TCP", func(c *Config) { c.MaxDialogsPerPeer = 2 })
	first := dialRaw(t, "TCP", addr)
	for i := range 3 {
		p := first
		if i > 0 {
			p = dialRaw(t, "TCP", addr)
		}
		if res := p.invite(); res.code() != 200 {
			t.Fatal(res.start)
		}
	}
	if m := first.must(); m.method != "BYE" {
		t.Errorf("got %s, want BYE", m.start)
	}
	if reason := wait.Next(t, rec.ended, "end"); !errors.Is(reason, ErrCrowded) || ua.Stats().EvictedDialogs.Load() != 1 {
		t.Errorf("ended: %v", reason)
	}
	for range 3 { // one of them has ended
		wait.Next(t, rec.dialogs, "dialog").Trust()
	}
	if res := dialRaw(t, "TCP", addr).invite(); res.code() != 486 {
		t.Errorf("beside two that stay: %s", res.start)
	}
}

// An address is known with its port, for a while, and each peer has its part of these.
func TestAcquaintances(t *testing.T) {
	m, now := newAcquaintances(), time.Now()
	one := netip.MustParseAddrPort("192.0.2.1:5060")
	m.meet(one, now)
	for addr, want := range map[string]bool{"192.0.2.1:5060": true, "192.0.2.1:5061": false, "192.0.2.2:5060": false} {
		if m.knows(netip.MustParseAddrPort(addr), now) != want {
			t.Errorf("%s is known: %v", addr, !want)
		}
	}
	if m.knows(one, now.Add(acquainted)) {
		t.Error("it is known for ever")
	}
	for port := range uint16(maxAcquaintances / 10) {
		m.meet(netip.AddrPortFrom(netip.MustParseAddr("192.0.2.9"), 10000+port), now)
	}
	m.meet(netip.MustParseAddrPort("192.0.2.9:1"), now)
	if !m.knows(one, now) || m.knows(netip.MustParseAddrPort("192.0.2.9:10000"), now) || len(m.peers) != maxAcquaintances/10+1 {
		t.Errorf("%d are known", len(m.peers))
	}
}

// The idle timeout of a connection depends on the standing of its peer.
func TestDeadlines(t *testing.T) {
	now := time.Now()
	for _, tt := range []struct {
		standing standing
		spoken   bool
		began    time.Time
		want     time.Duration
	}{
		{stranger, false, time.Time{}, firstTimeout - time.Second}, {stranger, false, now, firstTimeout - time.Second}, {stranger, true, time.Time{}, idleStranger},
		{stranger, true, now, partialTimeout}, {known, false, time.Time{}, idleTimeout}, {trusted, false, now, partialTimeout},
	} {
		c := &streamConn{opened: now.Add(-time.Second), spoken: tt.spoken}
		c.standing.Store(int32(tt.standing))
		if got := c.deadline(tt.began).Sub(now); got < tt.want || got > tt.want+time.Since(now) {
			t.Errorf("%+v: %v", tt, got)
		}
	}
}

// Log lines that strangers cause repeatedly appear once, with the number suppressed.
func TestStrangersAreHushed(t *testing.T) {
	var out bytes.Buffer
	ua := New(Config{Log: slog.New(slog.NewTextHandler(&out, nil))})
	t.Cleanup(ua.Close)
	for port := range uint16(1000) {
		ua.warn("TLS handshake failed", netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), port))
		ua.warn("TLS handshake failed", netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, byte(port >> 8), byte(port)}), port))
	}
	if lines := strings.Count(out.String(), "\n"); lines == 0 || lines > 10 {
		t.Errorf("%d lines", lines)
	}
}

// The log line of a refused connection names the configuration key of the limit reached, if
// there is one.
func TestWhyRefused(t *testing.T) {
	for _, c := range []struct {
		keys string
		err  error
		want string
	}{
		{"sip", share.ErrPeer, "too many connections: the peer has reached its limit (sip.max-connections-per-peer)"},
		{"sip", share.ErrFull, "too many connections: the table is full (sip.max-connections)"},
		{"", share.ErrFull, "too many connections: the table is full"},
		{"sip", errNotAdmitted, "address not admitted"},
	} {
		if got := (&UA{cfg: Config{Keys: c.keys}}).whyRefused(c.err); got != c.want {
			t.Errorf("%v of %q: %s", c.err, c.keys, got)
		}
	}
}

// forger is a peer that the configuration trusts by its address, which others can forge over UDP.
const forger = "127.0.0.2"

func trustForger(c *Config) {
	c.Known = func(p Peer) bool {
		return p.Addr.Addr() == netip.MustParseAddr(forger) || p.Addr.Addr() == netip.MustParseAddr("127.0.0.9")
	}
}

// Whatever comes from a trusted address over UDP, it takes no place of another trusted peer, and
// nothing is kept of what is answered at once.
func TestForgedTrustedAddress(t *testing.T) {
	const most = 40
	ua, _, addr := serve(t, "UDP", func(c *Config) {
		trustForger(c)
		c.Handler, c.MaxTransactions = pending{c.Handler.(*recorder), make(chan *Invitation, 1)}, most
		c.Requests = map[string]func(*Request){"MESSAGE": func(r *Request) { r.Respond(Answer{Code: 403}) }}
	})
	tcp, err := ua.ListenTCP("127.0.0.1:0", nil)
	if err != nil {
		t.Fatal(err)
	}
	kept := func() int { _, _, n := ua.Counts(); return n }
	for _, from := range []string{forger, "127.0.0.9"} {
		p := dialRawFrom(t, "UDP", from, addr)
		for _, method := range []string{"OPTIONS", "MESSAGE", "BYE"} {
			p.write(p.request(method, 1, ""))
			p.must()
		}
		if n := kept(); from == forger && n != 0 {
			t.Errorf("%d transactions are kept", n)
		}
		for range 2 * most {
			p.write(p.request("INVITE", 1, ""))
		}
	}
	await(t, "transactions that give way", func() bool { return ua.Stats().EvictedTransactions.Load() > 2*most })
	good := dialRawFrom(t, "TCP", "127.0.0.9", tcp)
	for range most / 8 { // INVITEs that are not answered stay
		good.write(good.request("INVITE", 1, ""))
	}
	good.write(good.request("OPTIONS", 2, ""))
	for m := good.must(); m.code() != 200 || m.header("CSeq") != "2 OPTIONS"; m = good.must() {
		if m.code() >= 300 {
			t.Fatal(m.start)
		}
	}
	if n := ua.Stats().Refused.Load(); n != 0 {
		t.Errorf("%d requests were refused", n)
	}
}

// Dialogs that a trusted address opens over UDP give way until they are acknowledged.
func TestForgedDialogs(t *testing.T) {
	ua, rec, addr := serve(t, "UDP", func(c *Config) { trustForger(c); c.MaxDialogs = 8 })
	good := dialRawFrom(t, "UDP", "127.0.0.9", addr)
	if res := good.invite(); res.code() != 200 {
		t.Fatal(res.start)
	}
	wait.Next(t, rec.dialogs, "dialog")
	forged := dialRawFrom(t, "UDP", forger, addr)
	for range 20 {
		forged.callID = newTag()
		forged.write(forged.request("INVITE", 1, ""))
	}
	await(t, "dialogs that give way", func() bool { return ua.Stats().EvictedDialogs.Load() >= 14 })
	for good.cseq = 1; ; {
		if m := good.ask("INFO", "still"); m.code() == 200 && m.body == "re still" {
			break
		}
	}
	if total, unproved := ua.dialogShares.Counts(); unproved != total-1 {
		t.Errorf("%d of %d dialogs are not proved, and one was acknowledged", unproved, total)
	}
}

// A trusted address that never answers gets ten times the octets that came from there, and a BYE.
func TestForgedInvite(t *testing.T) {
	if !shortTimers(t) {
		return
	}
	_, rec, addr := serve(t, "UDP", trustForger)
	p := dialRawFrom(t, "UDP", forger, addr)
	invite := small("INVITE", "sip:a>", "m:<sip:a>")
	p.write(invite)
	if reason := wait.Next(t, rec.ended, "end"); !errors.Is(reason, ErrNoAck) {
		t.Error(reason)
	}
	octets, byes := 0, 0
	buf := make([]byte, 65536)
	_ = p.nc.SetReadDeadline(time.Now().Add(10 * gosip.T1)) // a BYE that is repeated comes after one and two
	for {
		n, err := p.nc.Read(buf)
		if err != nil {
			break
		}
		if bytes.HasPrefix(buf[:n], []byte("BYE")) {
			byes++
		} else {
			octets += n
		}
	}
	if most := knownCreditFactor * len(invite); octets == 0 || octets > most || byes != 1 {
		t.Errorf("%d octets, at most %d; %d BYEs", octets, most, byes)
	}
}

// Connections of a peer that has authenticated and does nothing give way to those of others, and
// never take the part of trusted peers.
func TestKnownFillConnections(t *testing.T) {
	const most = 16
	ua, _, addr := serve(t, "TCP", func(c *Config) {
		trustForger(c)
		c.Handler, c.MaxConnections = authenticating{c.Handler.(*recorder)}, most
	})
	enter := func(from string) *rawPeer {
		t.Helper()
		p := dialRawFrom(t, "TCP", from, addr)
		p.write(p.request("INVITE", 1, ""))
		if res := p.must(); res.code() != 404 {
			t.Fatalf("%s: %s", from, res.start)
		}
		return p
	}
	stays := enter("127.0.0.3")
	for range 2 * most {
		enter("127.0.0.4")
	}
	if _, n, _ := ua.Counts(); n > most {
		t.Errorf("%d connections", n)
	}
	enter(forger)
	stays.write(stays.request("OPTIONS", 2, ""))
	if res := stays.must(); res.code() != 200 {
		t.Errorf("one of another peer: %s", res.start)
	}
}

// Over TLS and DTLS no peer is trusted before the handshake: the first datagrams of DTLS can be
// forged.
func TestStrangersUntilHandshake(t *testing.T) {
	ua := New(Config{Known: func(Peer) bool { return true }})
	t.Cleanup(ua.Close)
	for kind, want := range map[string]standing{"TCP": trusted, "TLS": stranger, dtlsKind: stranger} {
		c := &streamConn{ua: ua, kind: kind, listener: &net.TCPListener{}, remote: netip.MustParseAddrPort("192.0.2.1:1")}
		if err := c.enter(); err != nil || standing(c.standing.Load()) != want {
			t.Errorf("%s: %d, %v", kind, c.standing.Load(), err)
		}
		if c.identified(nil); standing(c.standing.Load()) != trusted {
			t.Errorf("%s: %d after the handshake", kind, c.standing.Load())
		}
	}
	if _, strangers := ua.connectionShares.Counts(); strangers != 0 {
		t.Errorf("%d are strangers", strangers)
	}
}

// A stranger that opens connections too fast is refused; trusted addresses and other peers are not.
func TestPace(t *testing.T) {
	ua, _, addr := serve(t, "TCP", trustForger)
	for range newcomerBurst + newcomerRate {
		nc, err := dialFrom("TCP", "127.0.0.3", addr)
		if err != nil {
			t.Fatal(err)
		}
		_ = nc.Close()
		if nc, err = dialFrom("TCP", forger, addr); err != nil {
			t.Fatal(err)
		}
		_ = nc.Close()
	}
	for _, from := range []string{forger, "127.0.0.4"} {
		p := dialRawFrom(t, "TCP", from, addr)
		p.write(p.request("OPTIONS", 1, ""))
		if res := p.must(); res.code() != 200 {
			t.Errorf("%s: %s", from, res.start)
		}
	}
	if n := ua.Stats().Paced.Load(); n == 0 || n > newcomerRate {
		t.Errorf("%d connections were refused", n)
	}
}
