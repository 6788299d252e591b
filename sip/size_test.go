package sip

import (
	"strings"
	"testing"

	"github.com/tr87proxy/tr87proxy/internal/wait"
)

// A peer that is not known opens no dialog by large headers, and has no large requests in one;
// nothing is kept of them. A peer that is known may send both.
func TestLargeRequests(t *testing.T) {
	subject := "Subject: " + strings.Repeat("x", strangerHead)
	body := strings.Repeat("x", strangerBody+1)
	for _, transport := range []string{"UDP", "TCP"} {
		ua, rec, addr := serve(t, transport, nil)
		if res := dialRaw(t, transport, addr).invite(subject); res.code() != 513 {
			t.Errorf("%s: a stranger's large INVITE: %s", transport, res.start)
		}
		await(t, "the end of the refused INVITE", func() bool { dialogs, _, transactions := ua.Counts(); return dialogs+transactions == 0 })

		p := dialRaw(t, transport, addr)
		if res := p.invite(); res.code() != 200 {
			t.Fatal(res.start)
		}
		d := wait.Next(t, rec.dialogs, "the dialog")
		await(t, "the ACK", func() bool { return !d.waitsForACK() })
		before := len(rec.requests)
		if res := p.ask("INFO", "small"); res.code() != 200 {
			t.Errorf("%s: a stranger's small INFO: %s", transport, res.start)
		}
		_, _, transactions := ua.Counts()
		for _, large := range []string{
			p.request("INFO", 3, body), p.request("INFO", 4, "x", subject), p.request("INVITE", 5, body), p.request("NEGOTIATE", 6, body), p.request("BYE", 7, "", subject),
		} {
			want := 513
			if strings.HasPrefix(large, "NEGOTIATE") {
				want = 405
			}
			p.write(large)
			if res := p.must(); res.code() != want {
				t.Errorf("%s: a stranger's %.10q: %s", transport, large, res.start)
			}
		}
		if got := len(rec.requests); got != before+1 {
			t.Errorf("%s: the handler got %d requests", transport, got-before)
		}
		await(t, "the end of the refused requests", func() bool { _, _, now := ua.Counts(); return now <= transactions })

		d.Trust()
		p.cseq = 7
		if res := p.ask("INFO", body, subject); res.code() != 200 {
			t.Errorf("%s: a large INFO of a peer that is known: %s", transport, res.start)
		}
	}
	_, _, addr := serve(t, "UDP", func(c *Config) { c.Known = func(Peer) bool { return true } })
	if res := dialRaw(t, "UDP", addr).invite(subject); res.code() != 200 {
		t.Errorf("a large INVITE of a peer that is known: %s", res.start)
	}
}

// A dialog does not keep the INVITE that opened it.
func TestAcceptedInvite(t *testing.T) {
	_, rec, addr := serve(t, "TCP", nil)
	dialRaw(t, "TCP", addr).invite()
	d := wait.Next(t, rec.dialogs, "the dialog")
	if d.invitation.waiting() != nil || d.Ours() {
		t.Error("the INVITE is still there, or the dialog is taken for one of ours")
	}
}

func (d *Dialog) waitsForACK() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.repeat != nil
}

// A dialog of a stranger keeps few answers, and none when it has ended.
func TestKeptAnswers(t *testing.T) {
	ua, rec, addr := serve(t, "UDP", nil)
	p := dialRaw(t, "UDP", addr)
	if res := p.invite(); res.code() != 200 {
		t.Fatal(res.start)
	}
	d := wait.Next(t, rec.dialogs, "the dialog")
	for range 10 {
		p.ask("INFO", "x")
	}
	await(t, "few transactions", func() bool { _, _, transactions := ua.Counts(); return transactions == maxAnswers })
	d.Drop()
	await(t, "the end of all transactions", func() bool { _, _, transactions := ua.Counts(); return transactions == 0 })
}
