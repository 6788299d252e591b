package sip

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/accounts"
	"github.com/tr87proxy/tr87proxy/internal/wait"
)

// certificate makes a self-signed one for loopback.
func certificate(t *testing.T, name string) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(parsed)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

// Two user agents: a dialog with requests both ways over every transport.
func TestBothSides(t *testing.T) {
	cert, pool := certificate(t, "gw.example")
	for _, transport := range []string{"UDP", "TCP", "TLS", "UDP6", "TCP6"} {
		t.Run(transport, func(t *testing.T) {
			rec := newRecorder(t)
			server := New(Config{Handler: rec})
			t.Cleanup(server.Close)
			host := "127.0.0.1"
			if strings.HasSuffix(transport, "6") {
				host = "[::1]"
			}
			var addr netip.AddrPort
			var err error
			switch transport {
			case "UDP", "UDP6":
				addr, err = server.ListenUDP(host + ":0")
			case "TCP", "TCP6":
				addr, err = server.ListenTCP(host+":0", nil)
			case "TLS":
				addr, err = server.ListenTCP(host+":0", &tls.Config{Certificates: []tls.Certificate{cert}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS12})
			}
			if err != nil {
				t.Fatal(err)
			}
			client := New(Config{TLSClient: &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}})
			t.Cleanup(client.Close)
			other := newRecorder(t)
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			to := "sip:ua@" + addr.String() + ";transport=" + strings.ToLower(strings.TrimSuffix(transport, "6"))
			d, res, err := client.Invite(ctx, Invite{To: to, From: "sip:client@localhost", ContentType: "text/plain", Body: []byte("hello")}, other)
			if err != nil {
				t.Fatal(err)
			}
			if string(res.Body()) != "welcome" {
				t.Errorf("answer %q", res.Body())
			}
			far := wait.Next(t, rec.dialogs, "dialog")
			if transport == "TLS" && (len(far.Peer().Names) == 0 || far.Peer().Names[0] != "gw.example") {
				t.Errorf("names of the peer: %v", far.Peer().Names)
			}
			answer := make(chan Result, 1)
			d.Send("INFO", "text/plain", []byte("ping"), func(r Result) { answer <- r })
			if r := wait.Next(t, answer, "answer"); r.Err != nil || string(r.Response.Body()) != "re ping" {
				t.Errorf("answer %v", r)
			}
			far.Send("INFO", "text/plain", []byte("pong"), func(r Result) { answer <- r })
			if r := wait.Next(t, answer, "answer"); r.Err != nil || string(r.Response.Body()) != "re pong" {
				t.Errorf("answer %v", r)
			}
			d.Bye()
			if reason := wait.Next(t, rec.ended, "end"); !errors.Is(reason, ErrBye) {
				t.Errorf("ended: %v", reason)
			}
		})
	}
}

func TestTLSNameIsVerified(t *testing.T) {
	cert, _ := certificate(t, "gw.example")
	_, stranger := certificate(t, "gw.example")
	server := New(Config{Handler: newRecorder(t)})
	t.Cleanup(server.Close)
	addr, err := server.ListenTCP("127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12})
	if err != nil {
		t.Fatal(err)
	}
	client := New(Config{TLSClient: &tls.Config{RootCAs: stranger, MinVersion: tls.VersionTLS12}})
	t.Cleanup(client.Close)
	_, _, err = client.Invite(t.Context(), Invite{To: "sip:ua@" + addr.String() + ";transport=tls", From: "sip:c@localhost"}, newRecorder(t))
	if err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("a certificate of an unknown authority: %v", err)
	}
}

// guard is a handler that wants digest credentials.
type guard struct {
	*recorder
	digest *Digest
	users  chan string
}

func (g *guard) Invite(in *Invitation) {
	user, err := g.digest.Check(in.Request)
	if err != nil {
		return
	}
	g.users <- user
	g.recorder.Invite(in)
}

func TestDigest(t *testing.T) {
	users := func(user string) (string, bool) { return "s3cret", user == "alice" }
	for _, algorithm := range []string{"SHA-256", "MD5"} {
		t.Run(algorithm, func(t *testing.T) {
			g := &guard{newRecorder(t), NewDigest("example", map[bool][]string{true: {SHA256, MD5}, false: {SHA256}}[algorithm == "MD5"], accounts.NewGuard(accounts.GuardConfig{}), users), make(chan string, 10)}
			server := New(Config{Handler: g})
			t.Cleanup(server.Close)
			addr, err := server.ListenTCP("127.0.0.1:0", nil)
			if err != nil {
				t.Fatal(err)
			}
			client := New(Config{})
			t.Cleanup(client.Close)
			try := func(user, password string) error {
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				d, _, err := client.Invite(ctx, Invite{To: "sip:ua@" + addr.String() + ";transport=tcp", From: "sip:c@localhost", Username: user, Password: password}, newRecorder(t))
				if err == nil {
					d.Bye()
				}
				return err
			}
			for range 3 { // one after the other, in the same second
				if err := try("alice", "s3cret"); err != nil {
					t.Errorf("right password: %v", err)
				}
				if user := wait.Next(t, g.users, "user"); user != "alice" {
					t.Errorf("user %q", user)
				}
			}
			var refusal *Refusal
			for _, wrong := range [][2]string{{"alice", "wrong"}, {"mallory", "s3cret"}, {"", ""}} {
				if err := try(wrong[0], wrong[1]); !errors.As(err, &refusal) || refusal.Response.Code() != 401 {
					t.Errorf("%v: %v", wrong, err)
				}
			}
		})
	}
}

// A stranger costs nothing: it gets one response, and nothing is kept.
func TestStrangersCostNothing(t *testing.T) {
	g := &guard{newRecorder(t), NewDigest("example", []string{SHA256}, nil, func(string) (string, bool) { return "", false }), make(chan string, 1)}
	ua := New(Config{Handler: g})
	t.Cleanup(ua.Close)
	addr, err := ua.ListenUDP("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := dialRaw(t, "UDP", addr)
	for range 3 {
		p.write(p.request("INVITE", 1, ""))
		if res := p.must(); res.code() != 401 {
			t.Errorf("%s", res.start)
		}
	}
	if _, _, transactions := ua.Counts(); transactions != 0 {
		t.Errorf("%d transactions are kept", transactions)
	}
}

// A seal holds as long as the user has the same password.
func TestSeal(t *testing.T) {
	passwords := map[string]string{"alice": "one", "bob": "one"}
	d := NewDigest("example", []string{SHA256}, nil, func(user string) (string, bool) { p, ok := passwords[user]; return p, ok })
	alice := d.seal("alice")
	if !d.Holds("alice", alice) || d.Holds("bob", alice) || d.Holds("nobody", d.seal("nobody")) {
		t.Error("a seal fits another user, or nobody, or not its own")
	}
	passwords["alice"] = "two"
	if d.Holds("alice", alice) {
		t.Error("the seal of another password holds")
	}
	passwords["alice"] = "one"
	if !d.Holds("alice", alice) {
		t.Error("the seal of the same password does not hold")
	}
	delete(passwords, "alice")
	if d.Holds("alice", alice) {
		t.Error("the seal of a user who is gone holds")
	}
}

// The client lengthens its session interval when the server asks for it.
func TestClientAccepts422(t *testing.T) {
	_, _, addr := serve(t, "TCP", func(c *Config) { c.MinSE, c.SessionExpires = time.Hour, 2*time.Hour })
	client := New(Config{})
	t.Cleanup(client.Close)
	_, res, err := client.Invite(t.Context(), Invite{To: "sip:ua@" + addr.String() + ";transport=tcp", From: "sip:c@localhost"}, newRecorder(t))
	if err != nil || res.Header("Session-Expires") != "3600;refresher=uac" {
		t.Errorf("%v %v", err, res)
	}
}

// The client refreshes its session at half the interval.
func TestClientRefreshes(t *testing.T) {
	_, rec, addr := serve(t, "UDP", func(c *Config) { c.MinSE, c.SessionExpires = time.Second, 2*time.Second })
	client := New(Config{SessionExpires: 2 * time.Second, MinSE: time.Second})
	t.Cleanup(client.Close)
	other := newRecorder(t)
	other.refresh = func() (string, []byte) { return "text/plain", []byte("refresh") }
	if _, _, err := client.Invite(t.Context(), Invite{To: "sip:ua@" + addr.String(), From: "sip:c@localhost"}, other); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if got := wait.Next(t, rec.requests, "refresh"); got != "refresh" {
			t.Errorf("got %q", got)
		}
	}
}

// A final response that arrives after the caller has stopped waiting ends the dialog at once.
func TestLateAnswer(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	client := New(Config{})
	t.Cleanup(client.Close)
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error, 1)
	go func() {
		_, _, err := client.Invite(ctx, Invite{To: "sip:ua@" + ln.Addr().String() + ";transport=tcp", From: "sip:c@localhost"}, newRecorder(t))
		failed <- err
	}()
	nc, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	p := &rawPeer{t: t, nc: nc, in: newReader(nc)}
	invite := p.must()
	cancel()
	if err := wait.Next(t, failed, "failure"); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	p.answer(invite, 200)
	for _, want := range []string{"ACK", "BYE"} {
		if m := p.must(); m.method != want {
			t.Errorf("got %s, want %s", m.start, want)
		}
	}
}

func TestInviteToNobody(t *testing.T) {
	client := New(Config{})
	t.Cleanup(client.Close)
	for _, to := range []string{"tel:100", "sip:127.0.0.1:1;transport=tcp", "sip:127.0.0.1;transport=ws", "sips:127.0.0.1:1", ""} {
		if _, _, err := client.Invite(t.Context(), Invite{To: to, From: "sip:c@localhost"}, newRecorder(t)); err == nil {
			t.Errorf("%q: no error", to)
		}
	}
}
