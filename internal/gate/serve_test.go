package gate_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/gate"
)

// end is one end of a connection whose other end is at an address. It tells when it is closed.
type end struct {
	net.Conn
	from   net.Addr
	closed chan struct{}
	once   sync.Once
}

func (e *end) RemoteAddr() net.Addr { return e.from }

func (e *end) Close() error {
	e.once.Do(func() { close(e.closed) })
	return e.Conn.Close()
}

func (e *end) isClosed() bool {
	select {
	case <-e.closed:
		return true
	default:
		return false
	}
}

// connect makes a connection from an address, and returns both its ends.
func connect(address string) (*end, net.Conn) {
	near, far := net.Pipe()
	return &end{Conn: near, from: &net.TCPAddr{IP: net.ParseIP(address)}, closed: make(chan struct{})}, far
}

// incoming is a listener that returns the test's connections and errors.
type incoming chan any

func (in incoming) Accept() (net.Conn, error) {
	switch what := (<-in).(type) {
	case net.Conn:
		return what, nil
	case error:
		return nil, what
	}
	return nil, net.ErrClosed
}

func (in incoming) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 8882} }

func (in incoming) Close() error {
	close(in)
	return nil
}

// refusals collects refused connections and the reasons.
type refusals []string

func (r *refusals) note(nc net.Conn, why string) { *r = append(*r, gate.AddrOf(nc).String()+": "+why) }

// An address that is not admitted is refused first of all, and its connection closed.
func TestAdmission(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var refused refusals
		strangers := gate.NewStrangers(0)
		g := gate.New(gate.Config{Admits: netip.MustParsePrefix("10.0.0.0/8").Contains, Refused: refused.note, Strangers: strangers})
		in := make(incoming)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		served := 0
		go func() {
			done <- g.Serve(ctx, in, func(context.Context, *gate.Guest) { served++ })
		}()
		for _, from := range []string{"10.0.0.1", "192.0.2.1", "::ffff:10.0.0.2"} {
			nc, _ := connect(from)
			in <- nc
			synctest.Wait()
			if !nc.isClosed() {
				t.Error(from, "is left open")
			}
		}
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		if want := []string{"192.0.2.1: address not admitted"}; !slices.Equal(refused, want) || served != 2 || strangers.Refused.Load() != 1 {
			t.Errorf("refused are %v, %d in all; served %d", refused, strangers.Refused.Load(), served)
		}
	})
}

// A gate without Refused closes what it refuses, and continues.
func TestNobodyHearsOfRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := gate.New(gate.Config{Admits: netip.MustParsePrefix("10.0.0.0/8").Contains})
		in := make(incoming)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		served := 0
		go func() {
			done <- g.Serve(ctx, in, func(context.Context, *gate.Guest) { served++ })
		}()
		stranger, _ := connect("192.0.2.1")
		in <- stranger
		friend, _ := connect("10.0.0.1")
		in <- friend
		synctest.Wait()
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) || !stranger.isClosed() || served != 1 {
			t.Errorf("%v; the stranger's connection is closed: %t; served %d", err, stranger.isClosed(), served)
		}
	})
}

// When a gate ends, it ends its connections, waits for them, and closes what they leave open.
func TestServeEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := gate.New(gate.Config{})
		in := make(incoming)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			done <- g.Serve(ctx, in, func(ctx context.Context, _ *gate.Guest) {
				<-ctx.Done()
				time.Sleep(time.Minute) // what it still has to do
			})
		}()
		nc, _ := connect("10.0.0.1")
		in <- nc
		synctest.Wait()
		began := time.Now()
		cancel()
		synctest.Wait()
		if nc.isClosed() || len(done) > 0 {
			t.Error("it does not wait for those who are in")
		}
		if err := <-done; !errors.Is(err, context.Canceled) || time.Since(began) != time.Minute || !nc.isClosed() {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}

// An error of the listener is said, and it is tried again, the later the more there were: 5 ms to a
// second. A connection ends that, and so does the end of the gate.
func TestAcceptFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		g := gate.New(gate.Config{Log: slog.New(slog.NewTextHandler(&out, nil))})
		in := make(incoming)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			done <- g.Serve(ctx, in, func(context.Context, *gate.Guest) {})
		}()
		began := time.Now()
		var waits []time.Duration
		for range 11 {
			last := time.Now()
			in <- errors.New("no file descriptors")
			if wait := time.Since(last); wait > 0 {
				waits = append(waits, wait)
			}
		}
		if got := fmt.Sprint(waits); got != "[5ms 10ms 20ms 40ms 80ms 160ms 320ms 640ms 1s 1s]" {
			t.Errorf("%s in %v", got, time.Since(began))
		}
		nc, _ := connect("10.0.0.1")
		in <- nc
		in <- errors.New("no file descriptors")
		last := time.Now()
		in <- errors.New("no file descriptors")
		if wait := time.Since(last); wait != 5*time.Millisecond {
			t.Error("after a connection it waits", wait)
		}
		last = time.Now()
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) || time.Since(last) != 0 {
			t.Errorf("%v after %v", err, time.Since(last))
		}
		if n := strings.Count(out.String(), `level=ERROR msg="could not accept connection" listener=127.0.0.1:8882 err="no file descriptors"`); n != 13 {
			t.Errorf("%d lines: %s", n, out.String())
		}
	})
}

// Zero fields have the defaults that Config documents.
func TestDefaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var refused refusals
		trusted := netip.MustParsePrefix("192.0.2.0/24")
		run := func(cfg gate.Config, l net.Listener, test func()) {
			refused = nil
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error)
			cfg.Refused = refused.note
			g := gate.New(cfg)
			go func() {
				done <- g.Serve(ctx, l, func(ctx context.Context, _ *gate.Guest) { <-ctx.Done() })
			}()
			test()
			cancel()
			<-done
		}
		in := make(incoming)
		come := func(n int, from string) {
			for range n {
				nc, _ := connect(from)
				in <- nc
			}
			synctest.Wait()
		}
		run(gate.Config{}, in, func() { // a rate for each peer
			come(201, "10.0.0.1")
			if len(refused) != 1 || refused[0] != "10.0.0.1: too many new connections" {
				t.Error(refused)
			}
			time.Sleep(time.Second)
			come(51, "10.0.0.1")
			if len(refused) != 2 {
				t.Error(len(refused), "are refused after a second")
			}
		})
		in = make(incoming)
		run(gate.Config{Trusts: trusted.Contains}, in, func() { // trusted peers have no rate, but a share
			come(501, "192.0.2.1")
			if len(refused) != 1 || refused[0] != "192.0.2.1: too many connections: the peer has reached its limit" {
				t.Error(refused)
			}
			for _, peer := range []string{"192.0.2.2", "192.0.2.3"} {
				come(500, peer)
			}
			come(501, "192.0.2.4") // of 2000 places
			if len(refused) != 2 {
				t.Error(refused)
			}
			come(1, "192.0.2.5")
			if len(refused) != 3 || refused[2] != "192.0.2.5: too many connections: the table is full" {
				t.Error(refused)
			}
		})
		in = make(incoming)
		began := time.Now()
		run(gate.Config{}, tls.NewListener(in, &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return nil, errors.ErrUnsupported }}), func() {
			nc, _ := connect("10.0.0.1") // it says nothing
			in <- nc
			<-nc.closed
			synctest.Wait()
			if took := time.Since(began); took != 10*time.Second || len(refused) != 1 || !strings.HasPrefix(refused[0], "10.0.0.1: TLS handshake failed: ") {
				t.Errorf("%v after %v", refused, took)
			}
		})
	})
}

// A certificate proves nothing but its names: those of the kinds that count, in their order.
func TestNames(t *testing.T) {
	cert, pool := certificate(t)
	for _, tt := range []struct {
		kinds []string
		auth  tls.ClientAuthType
		want  []string
	}{
		{nil, tls.RequireAndVerifyClientCert, []string{"crm.example", "sip:crm@example", "CRM"}},
		{[]string{"cn", "dns"}, tls.RequireAndVerifyClientCert, []string{"CRM", "crm.example"}},
		{nil, tls.RequestClientCert, nil}, // not verified
	} {
		synctest.Test(t, func(t *testing.T) {
			in := make(incoming)
			ctx, cancel := context.WithCancel(t.Context())
			done, names := make(chan error), make(chan []string, 1)
			strangers := gate.NewStrangers(0)
			g := gate.New(gate.Config{NameKinds: tt.kinds, Strangers: strangers, Refused: func(_ net.Conn, why string) { t.Error(why) }})
			go func() {
				done <- g.Serve(ctx, tls.NewListener(in, &tls.Config{Certificates: []tls.Certificate{cert}, ClientAuth: tt.auth, ClientCAs: pool}), func(ctx context.Context, guest *gate.Guest) {
					names <- guest.Names
					<-ctx.Done()
				})
			}()
			nc, far := connect("10.0.0.1")
			in <- nc
			client := tls.Client(far, &tls.Config{RootCAs: pool, ServerName: "crm.example", Certificates: []tls.Certificate{cert}, MaxVersion: tls.VersionTLS12})
			if err := client.HandshakeContext(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := <-names; !slices.Equal(got, tt.want) {
				t.Errorf("%v: %v, not %v", tt.kinds, got, tt.want)
			}
			if n, _ := strangers.Counts(); n != 1 {
				t.Error(n, "strangers: a certificate alone proves that the peer may be here")
			}
			cancel()
			<-done
			_ = far.Close()
		})
	}
}

// A connection that is no TCP has no address.
func TestAddrOf(t *testing.T) {
	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	if addr := gate.AddrOf(near); addr.IsValid() {
		t.Error(addr)
	}
	nc, _ := connect("::ffff:10.0.0.1")
	if addr := gate.AddrOf(nc); addr != netip.MustParseAddr("10.0.0.1") {
		t.Error(addr)
	}
}
