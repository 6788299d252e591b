package tests

import (
	"context"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/sip"
	"github.com/tr87proxy/tr87proxy/tls"
)

// serveDTLS runs a proxy with a DTLS listener of its own.
func serveDTLS(t *testing.T, folder string) (*running, int) {
	t.Helper()
	port := freePort(t)
	r := administer(t, "trusted: [{certificate: \"sip:crm@contoso.com\"}]\ncertificate-names: [uri]\ngrants: [{who: \"*\", control: [\"*\"]}]\n")
	r.edit("sip:\n  listen:\n", fmt.Sprintf("sip:\n  listen:\n  - {transport: dtls, address: \"127.0.0.1:%d\", certificate: %[2]s/server.pem, key: %[2]s/server.key, client-ca: %[2]s/ca.pem, client-auth: required, crl: %[2]s/ca.crl}\n", port, folder))
	r.admin(0, "reload")
	return r.running, port
}

// A whole conversation over DTLS: calls, events, and a name in the certificate that counts;
// other certificates get nothing.
func TestDTLS(t *testing.T) {
	t.Parallel()
	folder := lab(t)
	r, port := serveDTLS(t, folder)
	server := fmt.Sprintf("--server=sip:x@localhost:%d;transport=dtls", port)
	as := func(name string) []string {
		return []string{server, "--timeout", "3s", "--ca", filepath.Join(folder, "ca.pem"), "--certificate", filepath.Join(folder, name+".pem"), "--key", filepath.Join(folder, name+".key")}
	}
	monitor := start(t, program(t), append([]string{"monitor", "1001", "--count", "2"}, as("good")...)...)
	waitFor(t, "the monitor", func() bool { return r.metric("tr87proxy_link_monitors") == 1 })
	if out, status := command(t, append([]string{"call", "1000", "1001", "--trace"}, as("good")...)...); status != 0 || !strings.Contains(out, "Via: SIP/2.0/DTLS-UDP ") || !strings.Contains(out, "transport=dtls>") {
		t.Errorf("%d %s", status, out)
	}
	if out, status := command(t, append([]string{"clear", "1000"}, as("good")...)...); status != 0 {
		t.Error(out)
	}
	if err := monitor.wait(patience); err != nil || !strings.Contains(monitor.out.String(), "1001 rings, from 1000") {
		t.Errorf("%v\n%s", err, monitor.out)
	}
	for _, name := range []string{"revoked", "wrongname", "notclient", "evil/good"} {
		if out, status := command(t, append([]string{"system-status"}, as(name)...)...); status != 1 {
			t.Errorf("%s: %d %s", name, status, out)
		}
	}
	r.stop()
}

// openssl, which shares nothing with us, sends OPTIONS over DTLS and gets the answer.
func TestDTLSFromOpenSSL(t *testing.T) {
	t.Parallel()
	folder := lab(t)
	r, port := serveDTLS(t, folder)
	cmd := exec.CommandContext(t.Context(), tool(t, "openssl"), append([]string{"s_client", "-dtls1_2", "-connect", fmt.Sprintf("127.0.0.1:%d", port), "-CAfile", filepath.Join(folder, "ca.pem"), "-verify_return_error", "-mtu", "1200", "-ign_eof"}, pair(folder, "good")...)...)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	limit := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	defer limit.Stop()
	read := func(until string) string {
		var got strings.Builder
		for buffer := make([]byte, 4096); !strings.Contains(got.String(), until); {
			n, err := out.Read(buffer)
			got.Write(buffer[:n])
			if err != nil {
				t.Fatalf("%q does not come: %v\n%s", until, err, &got)
			}
		}
		return got.String()
	}
	read("---\n")
	_, _ = io.WriteString(in, "OPTIONS sip:x@localhost SIP/2.0\r\nVia: SIP/2.0/DTLS-UDP 127.0.0.1:9;branch=z9hG4bKdtls1;rport\r\nFrom: <sip:a@localhost>;tag=1\r\nTo: <sip:x@localhost>\r\nCall-ID: dtls\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n")
	if answer := read("Content-Length"); !strings.Contains(answer, "SIP/2.0 200 OK") || !strings.Contains(answer, "SIP/2.0/DTLS-UDP 127.0.0.1:9;branch=z9hG4bKdtls1;rport=") {
		t.Error(answer)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait() // it was killed
	r.stop()
}

// To openssl as a server we connect, and refuse one with another's certificate.
func TestDTLSToOpenSSL(t *testing.T) {
	t.Parallel()
	folder := lab(t)
	port := freePort(t)
	server := start(t, "sh", "-c", fmt.Sprintf("tail -f /dev/null | exec %s s_server -dtls1_2 -port %d -mtu 1200 -cert %[3]s/server.pem -key %[3]s/server.key -CAfile %[3]s/ca.pem -Verify 1 -verify_return_error -quiet", tool(t, "openssl"), port, folder))
	good := tls.Files{Certificate: filepath.Join(folder, "good.pem"), Key: filepath.Join(folder, "good.key"), CA: filepath.Join(folder, "ca.pem")}
	evil := good
	evil.CA = filepath.Join(folder, "evil", "ca.pem")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := tls.DialDTLS(ctx, fmt.Sprintf("127.0.0.1:%d", port), "other.contoso.com", good); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Error("another's certificate:", err)
	}
	if _, err := tls.DialDTLS(ctx, fmt.Sprintf("127.0.0.1:%d", port), "localhost", evil); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Error("another authority's certificate:", err)
	}
	ua := sip.New(sip.Config{DTLSClient: &good})
	go func() {
		_, _, _ = ua.Invite(ctx, sip.Invite{To: fmt.Sprintf("sip:x@localhost:%d;transport=dtls", port), From: "sip:a@localhost"}, nil) // nobody answers it
	}()
	waitFor(t, "the INVITE", func() bool { return strings.Contains(server.out.String(), "INVITE sip:x@localhost") })
	ua.Close()
}
