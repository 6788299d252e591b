package kind

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
)

// What net/http logs becomes fixed messages: a failed handshake with its peer and reason, once a minute for each peer.
func TestHTTPLog(t *testing.T) {
	var out bytes.Buffer
	log := errorLog(slog.New(slog.NewTextHandler(&out, nil)))
	for range 3 {
		log.Printf("http: TLS handshake error from %s: %v", "192.0.2.7:5000", "remote error: tls: unknown certificate authority")
	}
	log.Printf("http: TLS handshake error from %s: %v", "[2001:db8::1]:5000", "EOF")
	log.Printf("http: Accept error: %v; retrying in %v\nlevel=ERROR", "too many open files", "5ms")
	for _, want := range []string{
		`level=WARN msg="TLS handshake failed" peer=192.0.2.7:5000 err="remote error: tls: unknown certificate authority"`,
		`level=WARN msg="TLS handshake failed" peer=[2001:db8::1]:5000 err=EOF`,
		`level=INFO msg="HTTP server reports a fault" text="http: Accept error: too many open files; retrying in 5ms\nlevel=ERROR"`,
	} {
		if strings.Count(out.String(), want) != 1 {
			t.Errorf("not once: %s\n%s", want, out.String())
		}
	}
	if lines := strings.Count(out.String(), "\n"); lines != 3 {
		t.Errorf("%d lines\n%s", lines, out.String())
	}
}
