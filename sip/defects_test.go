package sip

import (
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/wait"
)

// The tests of this file are one for each defect of the stock library that the
// package exists to mend (see the package comment).

func TestOrderOfPipelinedRequests(t *testing.T) {
	for _, transport := range []string{"TCP", "UDP"} {
		t.Run(transport, func(t *testing.T) {
			_, rec, addr := serve(t, transport, nil)
			p := dialRaw(t, transport, addr)
			p.invite()
			const bursts, size = 100, 5
			for b := range bursts {
				var all strings.Builder
				for i := range size {
					p.cseq++
					one := p.request("INFO", p.cseq, fmt.Sprintf("%d.%d", b, i))
					if transport == "UDP" {
						p.write(one)
					} else {
						all.WriteString(one)
					}
				}
				p.write(all.String())
				for i := range size {
					if got, want := wait.Next(t, rec.requests, "INFO"), fmt.Sprintf("%d.%d", b, i); got != want {
						t.Fatalf("burst out of order: %s, want %s", got, want)
					}
					if res := p.must(); res.body != fmt.Sprintf("re %d.%d", b, i) {
						t.Fatalf("answer out of order: %s", res.body)
					}
				}
			}
		})
	}
}

func TestQuotedViaComesBackUntouched(t *testing.T) {
	_, _, addr := serve(t, "TCP", nil)
	p := dialRaw(t, "TCP", addr)
	vias := []string{
		`SIP/2.0/TLS 127.0.0.1:5061;branch=z9hG4bK4A5E.9D0A;branched=FALSE;ms-internal-info="caA;b=1,cQAA";x=1`,
		`SIP/2.0/tls 10.1.2.3:49221;ms-received-port=49221;ms-received-cid=1E00`,
		`SIP/2.0/TCP a.example;branch=z9hG4bK1, SIP/2.0/UDP b.example;x="a,b"`,
	}
	rr := `<sip:fe1.contoso.com:5061;transport=tls;opaque=state:F:Ci.R4a5e00;lr>;tag=abc`
	req := p.request("INVITE", 1, "", "Record-Route: "+rr)
	from := `"Alice, \"A\""<sip:alice@contoso.com>;tag=` + p.tag + `;epid=abb2`
	req = strings.Replace(req, "From: <sip:peer@localhost>;tag="+p.tag, "From: "+from, 1)
	start := strings.Index(req, "Via: ")
	end := start + strings.Index(req[start:], "\r\n")
	req = req[:start] + "Via: " + strings.Join(vias, "\r\nVia: ") + req[end:]
	p.write(req)
	res := p.must()
	var got []string
	for _, l := range res.lines {
		if v, ok := strings.CutPrefix(l, "Via: "); ok {
			got = append(got, v)
		}
	}
	if strings.Join(got, "\n") != strings.Join(vias, "\n") {
		t.Errorf("Vias\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(vias, "\n"))
	}
	if got := res.header("Record-Route"); got != rr {
		t.Errorf("Record-Route %s", got)
	}
	if got := res.header("From"); got != from {
		t.Errorf("From %s", got)
	}
}

// Requests in a dialog go to that dialog's peer, whatever other peers have connected since.
func TestRequestsGoToTheirOwnPeer(t *testing.T) {
	_, rec, addr := serve(t, "TCP", nil)
	var peers []*rawPeer
	var dialogs []*Dialog
	for range 5 {
		p := dialRaw(t, "TCP", addr)
		p.invite()
		peers = append(peers, p)
		dialogs = append(dialogs, wait.Next(t, rec.dialogs, "dialog"))
	}
	for i, d := range dialogs {
		d.Send("INFO", "text/plain", []byte(strconv.Itoa(i)), nil)
		if m := peers[i].must(); m.body != strconv.Itoa(i) || m.header("Call-ID") != peers[i].callID {
			t.Errorf("peer %d got %q of %s", i, m.body, m.header("Call-ID"))
		}
	}
}

func TestCSeqOfConcurrentRequests(t *testing.T) {
	_, rec, addr := serve(t, "TCP", nil)
	p := dialRaw(t, "TCP", addr)
	p.invite()
	d := wait.Next(t, rec.dialogs, "dialog")
	const senders, each = 20, 10
	var group sync.WaitGroup
	for range senders {
		group.Go(func() {
			for range each {
				d.Send("INFO", "text/plain", []byte("x"), nil)
			}
		})
	}
	for i := 1; i <= senders*each; i++ {
		m := p.must()
		if number, _, _ := parseCSeq(m.header("CSeq")); int(number) != i {
			t.Fatalf("CSeq %d on the wire as number %d", number, i)
		}
		p.answer(m, 200)
	}
	group.Wait()
}

// A UDP transaction that is kept for retransmissions must not keep the messages.
func TestMemoryOfAnsweredTransactions(t *testing.T) {
	ua, _, addr := serve(t, "UDP", func(c *Config) { c.MaxDialogsPerPeer, c.Known = 1<<20, func(Peer) bool { return true } })
	p := dialRaw(t, "UDP", addr)
	p.invite()
	heap := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	body := strings.Repeat("x", 1000)
	p.ask("INFO", body)
	before := heap()
	const n = 2000
	for range n {
		p.ask("INFO", body)
	}
	used := float64(heap()-before) / n
	if _, _, transactions := ua.Counts(); transactions < n {
		t.Fatalf("%d transactions are kept, want %d", transactions, n)
	}
	// The answer alone is 1.4 KB: it carries the body back.
	if used > 4096 {
		t.Errorf("%.0f octets for each answered transaction", used)
	}
	p.write(p.request("BYE", p.cseq+1, ""))
}

// A peer that stops reading tears a message: nothing may follow it.
func TestStalledPeerIsCutOff(t *testing.T) {
	_, rec, addr := serve(t, "TCP", func(c *Config) { c.WriteTimeout = 200 * time.Millisecond; c.Grace = 100 * time.Millisecond })
	p := dialRaw(t, "TCP", addr)
	p.invite()
	d := wait.Next(t, rec.dialogs, "dialog")
	body := []byte(strings.Repeat("x", 60000))
	for range 200 {
		d.Send("INFO", "text/plain", body, nil)
	}
	if reason := wait.Next(t, rec.ended, "end of the dialog"); reason == nil {
		t.Error("the dialog ended without reason")
	}
	whole := 0
	for {
		m, err := p.read()
		if err != nil {
			break // the torn message is the last thing there is
		}
		if len(m.body) != len(body) {
			t.Fatalf("a message of %d octets", len(m.body))
		}
		whole++
	}
	if whole == 0 || whole == 200 {
		t.Errorf("%d whole messages arrived", whole)
	}
}

func TestPanicEndsTheMessageOnly(t *testing.T) {
	panics := func(c *Config) {
		c.Handler.(*recorder).onInfo = func(_ *Dialog, r *Request) {
			if string(r.Body()) == "panic" {
				panic("as told")
			}
			r.Respond(Answer{})
		}
	}
	_, _, addr := serve(t, "TCP", panics)
	p := dialRaw(t, "TCP", addr)
	p.invite()
	p.cseq++
	p.write(p.request("INFO", p.cseq, "panic"))
	if res := p.ask("INFO", "fine"); res.code() != 200 {
		t.Errorf("after a panic: %s", res.start)
	}
	// The same for a request that waited for one that is lost.
	_, _, addr = serve(t, "UDP", panics)
	p = dialRaw(t, "UDP", addr)
	p.invite()
	p.write(p.request("INFO", 3, "panic"))
	p.write(p.request("INFO", 4, "fine"))
	if res := p.must(); res.code() != 200 {
		t.Errorf("after a panic out of order: %s", res.start)
	}
	parser := newPanickingMessage()
	if _, err := parse(parser); err == nil || errors.Is(err, errIncomplete) {
		t.Errorf("malformed message: %v", err)
	}
}

// A panic while a response is sent keeps no lock that a repetition of the request would wait for.
func TestPanicInTransaction(t *testing.T) {
	_, _, addr := serve(t, "UDP", func(c *Config) {
		c.Known = func(Peer) bool { return true }
		c.Trace = func(m Traced) {
			out, data := m.Out, m.Data
			if out && strings.HasSuffix(string(data), "re panic") {
				panic("as told")
			}
		}
	})
	p := dialRaw(t, "UDP", addr)
	p.invite()
	p.cseq++
	repeated := p.request("INFO", p.cseq, "panic")
	p.write(repeated)
	p.write(repeated)
	if res := p.ask("INFO", "fine"); res.code() != 200 || res.body != "re fine" {
		t.Errorf("after a panic: %s", res.start)
	}
}

// newPanickingMessage is a message whose header value parsers have crashed on.
func newPanickingMessage() []byte {
	return []byte("INVITE sip:a@b SIP/2.0\r\nContent-Length: -1\r\n\r\n")
}
