package tr87_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/policy"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/sip"
	"github.com/tr87proxy/tr87proxy/tr87"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

const (
	status = `<RequestSystemStatus xmlns="` + uacsta.NamespaceED3 + `"/>`
	bulky  = `<RequestSystemStatus xmlns="` + uacsta.NamespaceED3 + `"><extensions><privateData><private>%s</private></privateData></extensions></RequestSystemStatus>`
)

// optional makes application sessions optional.
func optional(front *tr87.ServerConfig, _ *sip.Config) { front.Sessions = proxy.SessionsOptional }

// dialog opens a dialog with a body of CSTA.
func dialog(t *testing.T, to, body string, headers ...sip.Header) (*sip.Dialog, *ending, error) {
	t.Helper()
	ua := sip.New(sip.Config{})
	t.Cleanup(ua.Close)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	h := &ending{why: make(chan error, 1)}
	d, _, err := ua.Invite(ctx, sip.Invite{To: to, From: "sip:alice@contoso.com", ContentType: tr87.ContentType, Body: []byte(body), Headers: headers}, h)
	return d, h, err
}

// ending is a handler that tells how its dialog ends.
type ending struct {
	silent
	why chan error
}

func (e *ending) Ended(reason error) { e.why <- reason }

// A stranger cannot open a session with a large INVITE, and cannot send anything large before
// it logs in. A trusted peer can, and so can a client that has logged in.
func TestLargeRequests(t *testing.T) {
	var (
		large    = fmt.Sprintf(bulky, strings.Repeat("x", 4096))
		elements = fmt.Sprintf(bulky, strings.Repeat("<a/>", 200))
		subject  = sip.Header{Name: "Subject", Value: strings.Repeat("x", 4096)}
	)
	nobody := policy.FromGrants(nil, policy.Grant{Who: "crm", Control: []string{"*"}})
	for name, rules := range map[string]*policy.Policy{"trusted": alice, "stranger": nobody} {
		to := server(t, rules, optional)
		want := map[string]int{"trusted": 0, "stranger": 513}[name]
		for what, body := range map[string]string{"octets": large, "elements": elements, "": status} {
			var headers []sip.Header
			if what == "" {
				headers = []sip.Header{subject}
			}
			if d, _, err := dialog(t, to, body, headers...); code(err) != want || want == 0 && err != nil {
				t.Errorf("%s: %d octets of body, %d headers: %v", name, len(body), len(headers), err)
			} else if d != nil {
				d.Bye()
			}
		}
		d, _, err := dialog(t, to, status)
		if err != nil {
			t.Fatal(err)
		}
		for _, body := range []string{large, elements} {
			if got := send(d, "INFO", tr87.ContentType, body); got != 513 && want != 0 || got != 200 && want == 0 {
				t.Errorf("%s: INFO with %d octets: %d", name, len(body), got)
			}
		}
		login := uacsta.Encode(uacsta.Login{User: "crm", Password: "pw"}.Opening("x", uacsta.LoginPlain, time.Minute, uacsta.Edition3), uacsta.Edition3)
		if got := send(d, "INFO", tr87.ContentType, string(login.Bytes())); got != 200 {
			t.Errorf("login: %d", got)
		}
		for _, body := range []string{large, elements} {
			if got := send(d, "INFO", tr87.ContentType, body); got != 200 {
				t.Errorf("%s: INFO with %d octets after the login: %d", name, len(body), got)
			}
		}
		d.Bye()
	}
}

// Over UDP a request that waits for the ACK is carried out when it comes.
func TestRequestWaitsForACK(t *testing.T) {
	ua := start(t, policy.FromGrants(nil, policy.Grant{Who: "crm", Control: []string{"*"}}), optional)
	addr, err := ua.ListenUDP("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c, err := open(t, tr87.Dial{To: "sip:tr87@" + addr.String(), Account: uacsta.Login{User: "crm", Password: "pw"}, Application: "x"})
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}

// Clients that have not logged in have so many dialogs and no more: the oldest gives way. Those
// that have do not.
func TestGuests(t *testing.T) {
	rules := policy.FromGrants(nil, policy.Grant{Who: "crm", Control: []string{"*"}})
	to := server(t, rules, func(front *tr87.ServerConfig, wire *sip.Config) {
		optional(front, wire)
		front.MaxGuests = 2
	})
	login := string(uacsta.Encode(uacsta.Login{User: "crm", Password: "pw"}.Opening("x", uacsta.LoginPlain, time.Minute, uacsta.Edition3), uacsta.Edition3).Bytes())
	var dialogs []*sip.Dialog
	for _, body := range []string{login, status, status, status} {
		d, _, err := dialog(t, to, body)
		if err != nil {
			t.Fatal(err)
		}
		dialogs = append(dialogs, d)
	}
	for i, want := range []int{200, 481, 200, 200} {
		if got := send(dialogs[i], "INFO", tr87.ContentType, status); got != want {
			t.Errorf("dialog %d: %d, want %d", i, got, want)
		}
	}
}

// INVITEs over UDP, whose sender can be forged, do not keep a client at the same address from
// opening a session over TCP.
func TestForgedKnocks(t *testing.T) {
	ua := start(t, policy.FromGrants(nil, policy.Grant{Who: "crm", Control: []string{"*"}}), optional)
	udp, err := ua.ListenUDP("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	tcp, err := ua.ListenTCP("127.0.0.1:0", nil)
	if err != nil {
		t.Fatal(err)
	}
	nc, err := net.Dial("udp", udp.String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = nc.Close() }()
	_ = nc.SetReadDeadline(time.Now().Add(patience))
	sent := 0
	// exhaust sends INVITEs until one is refused.
	exhaust := func() {
		t.Helper()
		for buf := make([]byte, 65536); ; {
			for range 20 {
				sent++
				const form = "INVITE sip:a SIP/2.0\r\nv:SIP/2.0/UDP a;rport;branch=z9hG4bK%[1]d\r\nf:<sip:a>;tag=1\r\nt:<sip:a>\r\ni:%[1]d\r\nCSeq:1 INVITE\r\nm:<sip:a>\r\nSubject:%[2]s\r\n\r\n"
				_, _ = fmt.Fprintf(nc, form, sent, strings.Repeat("x", 500))
			}
			for range 20 {
				n, err := nc.Read(buf)
				if err != nil {
					t.Fatal("no INVITE was refused")
				}
				if bytes.HasPrefix(buf[:n], []byte("SIP/2.0 503")) {
					return
				}
			}
		}
	}
	for range 10 {
		exhaust()
		if d, _, err := dialog(t, "sip:tr87@"+tcp.String()+";transport=tcp", status); err != nil {
			t.Fatal(err)
		} else {
			d.Bye()
		}
	}
}

// A client that sends one bad INVITE after the other does not fill the log.
func TestRefusedInvitesInLog(t *testing.T) {
	var log bytes.Buffer
	to := server(t, alice, func(front *tr87.ServerConfig, _ *sip.Config) { front.Log = slog.New(slog.NewTextHandler(&log, nil)) })
	const invites = 30
	began := time.Now()
	for range invites {
		if _, _, err := dialog(t, to, "<half"); code(err) != 400 {
			t.Fatal(err)
		}
	}
	if most := 1 + int(time.Since(began)/time.Second); strings.Count(log.String(), "INVITE refused") > most {
		t.Errorf("%d INVITEs, more than %d lines:\n%s", invites, most, log.String())
	}
}

// While a login is looked at, few requests behind it wait; once it is right, they are answered.
func TestPendingRequests(t *testing.T) {
	rules := policy.FromGrants(nil, policy.Grant{Who: "slow", Control: []string{"*"}})
	d, _, err := dialog(t, server(t, rules, optional), status)
	if err != nil {
		t.Fatal(err)
	}
	login := uacsta.Encode(uacsta.Login{User: "slow", Password: "pw"}.Opening("x", uacsta.LoginPlain, time.Minute, uacsta.Edition3), uacsta.Edition3)
	answers := make(chan int, 10)
	for _, body := range []string{string(login.Bytes()), status, status, status, status, status} {
		d.Send("INFO", tr87.ContentType, []byte(body), func(r sip.Result) { answers <- r.Code() })
	}
	for i, want := range []int{503, 503, 200, 200, 200, 200} {
		if i == 2 {
			slow <- struct{}{}
		}
		if got := <-answers; got != want {
			t.Errorf("answer %d: %d, want %d", i, got, want)
		}
	}
	if got := send(d, "INFO", tr87.ContentType, status); got != 200 {
		t.Errorf("after the login: %d", got)
	}
}
