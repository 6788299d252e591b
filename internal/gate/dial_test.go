package gate_test

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
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/gate"
)

// certificate is a certificate of 127.0.0.1 with a name of every kind, and a pool that trusts
// it.
func certificate(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "CRM"}, DNSNames: []string{"crm.example"}, URIs: []*url.URL{{Scheme: "sip", Opaque: "crm@example"}},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotBefore: time.Unix(0, 0), NotAfter: time.Now().AddDate(100, 0, 0), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

// listen takes connections at a port of its own, and hands them over.
func listen(t *testing.T, secure *tls.Config) (address string, taken <-chan net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address = l.Addr().String()
	if secure != nil {
		l = tls.NewListener(l, secure)
	}
	all, done := make(chan net.Conn, 10), make(chan struct{})
	go func() {
		defer close(done)
		for {
			nc, err := l.Accept()
			if err != nil {
				close(all)
				return
			}
			if t, ok := nc.(*tls.Conn); ok {
				_ = t.Handshake() // what is wrong with it the other side says
			}
			all <- nc
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-done
		for nc := range all {
			_ = nc.Close()
		}
	})
	return address, all
}

// closed is an address without a listener.
func closed(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	return l.Addr().String()
}

// The first address that takes the connection has it; one without port has the usual one.
func TestDial(t *testing.T) {
	first, _ := listen(t, nil)
	second, _ := listen(t, nil)
	host, port, err := net.SplitHostPort(first)
	if err != nil {
		t.Fatal(err)
	}
	dead := closed(t)
	for _, tt := range []struct {
		addresses []string
		port      string
		want      string
	}{
		{[]string{first, second}, "1", first}, {[]string{second, first}, "1", second}, {[]string{dead, second}, "1", second}, {[]string{host}, port, first}, {[]string{"[" + host + "]"}, port, first},
	} {
		nc, err := gate.Dial(t.Context(), tt.addresses, tt.port, nil, 10*time.Second)
		if err != nil {
			t.Errorf("%v: %v", tt.addresses, err)
			continue
		}
		if got := nc.RemoteAddr().String(); got != tt.want {
			t.Errorf("%v: connected to %s", tt.addresses, got)
		}
		if gate.AddrOf(nc).String() != "127.0.0.1" {
			t.Error(gate.AddrOf(nc))
		}
		_ = nc.Close()
	}
}

// If no address accepts the connection, the error lists each failure.
func TestDialFails(t *testing.T) {
	one, other := closed(t), closed(t)
	nc, err := gate.Dial(t.Context(), []string{one, other}, "1", nil, 10*time.Second)
	if nc != nil || err == nil || !strings.Contains(err.Error(), one+": ") || !strings.Contains(err.Error(), other+": ") {
		t.Error(nc, err)
	}
	alive, _ := listen(t, nil)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if nc, err := gate.Dial(ended, []string{alive}, "1", nil, 10*time.Second); nc != nil || !errors.Is(err, context.Canceled) {
		t.Error(nc, err)
	}
}

// Over TLS Dial completes the handshake, within the time limit.
func TestDialTLS(t *testing.T) {
	cert, pool := certificate(t)
	secure, _ := listen(t, &tls.Config{Certificates: []tls.Certificate{cert}})
	silent, _ := listen(t, nil)
	cfg := &tls.Config{RootCAs: pool}
	nc, err := gate.Dial(t.Context(), []string{silent, secure}, "1", func() *tls.Config { return cfg }, 200*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if conn, ok := nc.(*tls.Conn); !ok || !conn.ConnectionState().HandshakeComplete || nc.RemoteAddr().String() != secure {
		t.Errorf("%T to %v", nc, nc.RemoteAddr())
	}
	began := time.Now()
	if _, err := gate.Dial(t.Context(), []string{silent}, "1", func() *tls.Config { return cfg }, 50*time.Millisecond); !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(began) > 5*time.Second {
		t.Error(err, time.Since(began))
	}
	if _, err := gate.Dial(t.Context(), []string{secure}, "1", func() *tls.Config { return &tls.Config{RootCAs: x509.NewCertPool()} }, 10*time.Second); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Error(err)
	}
}
