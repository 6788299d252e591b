package tests

import (
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/certs"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

const day = 24 * time.Hour

// lab is a folder with an authority and certificates of every sort.
func lab(t *testing.T) string {
	t.Helper()
	folder := t.TempDir()
	steps := []error{
		certs.Init(folder, "Lab", 3650*day, false),
		certs.Issue(folder, certs.Wish{Name: "server", Kind: certs.Server, Names: []string{"localhost", "127.0.0.1"}, Valid: 100 * day}),
		certs.Issue(folder, certs.Wish{Name: "second", Kind: certs.Server, Names: []string{"second.contoso.com"}, Valid: 100 * day}),
		certs.Issue(folder, certs.Wish{Name: "oldserver", Kind: certs.Server, Names: []string{"localhost"}, Valid: 100 * day, RSA: true}),
		certs.Issue(folder, certs.Wish{Name: "good", Kind: certs.Client, Names: []string{"sip:crm@contoso.com"}, Valid: 100 * day}),
		certs.Issue(folder, certs.Wish{Name: "wrongname", Kind: certs.Client, Valid: 100 * day}),
		certs.Issue(folder, certs.Wish{Name: "notclient", Kind: certs.Server, Names: []string{"sip:crm@contoso.com"}, Valid: 100 * day}),
		certs.Issue(folder, certs.Wish{Name: "expired", Kind: certs.Client, Names: []string{"sip:crm@contoso.com"}, Valid: time.Second}),
		certs.Issue(folder, certs.Wish{Name: "revoked", Kind: certs.Client, Names: []string{"sip:crm@contoso.com"}, Valid: 100 * day}),
		certs.Init(filepath.Join(folder, "evil"), "Lab", 3650*day, false),
		certs.Issue(filepath.Join(folder, "evil"), certs.Wish{Name: "good", Kind: certs.Client, Names: []string{"sip:crm@contoso.com"}, Valid: 100 * day}),
	}
	for _, err := range steps {
		if err != nil {
			t.Fatal(err)
		}
	}
	revoke(t, folder, "revoked", time.Hour)
	return folder
}

// revoke writes the authority's list of revoked certificates.
func revoke(t *testing.T, folder, name string, valid time.Duration) {
	t.Helper()
	ca, err := tls.LoadX509KeyPair(filepath.Join(folder, "ca.pem"), filepath.Join(folder, "ca.key"))
	if err != nil {
		t.Fatal(err)
	}
	cert, err := tls.LoadX509KeyPair(filepath.Join(folder, name+".pem"), filepath.Join(folder, name+".key"))
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{
		Number: big.NewInt(time.Now().UnixNano()), ThisUpdate: time.Now().Add(-time.Hour), NextUpdate: time.Now().Add(valid),
		RevokedCertificateEntries: []x509.RevocationListEntry{{SerialNumber: cert.Leaf.SerialNumber, RevocationTime: time.Now()}},
	}, ca.Leaf, ca.PrivateKey.(crypto.Signer))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, "ca.crl"), pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

// sclient speaks to a TLS port with openssl: it sends a frame, and returns what came until
// the answer, or until the server hung up.
func sclient(t *testing.T, port int, args ...string) string {
	t.Helper()
	document := string(uacsta.Encode(uacsta.RequestSystemStatus{}, uacsta.Edition3).Bytes())
	cmd := exec.CommandContext(t.Context(), tool(t, "openssl"), append([]string{"s_client", "-connect", fmt.Sprintf("127.0.0.1:%d", port), "-ign_eof"}, args...)...)
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
	_, _ = in.Write(append([]byte{0, 0, 0, byte(8 + len(document))}, "0001"+document...)) // it may have been refused
	var got strings.Builder
	for buffer := make([]byte, 4096); ; {
		n, err := out.Read(buffer)
		got.Write(buffer[:n])
		if err != nil || strings.Contains(got.String(), "RequestSystemStatusResponse>") {
			break
		}
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait() // it was killed
	return got.String()
}

// serveTLS runs a proxy with a listener of its own for CSTA-XML over TLS.
func serveTLS(t *testing.T, folder, keys string) (*running, int) {
	t.Helper()
	port := freePort(t)
	r := serve(t, "trusted: [{certificate: \"sip:crm@contoso.com\"}]\ncertificate-names: [uri]\ngrants: [{who: \"sip:crm@contoso.com\", control: [\"*\"]}]\n")
	_ = r.cmd.Process.Kill()
	_ = r.wait(patience)
	file := filepath.Join(r.dir, "config.yaml")
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	listener := fmt.Sprintf("xml:\n  listen:\n  - {transport: tls, address: \"127.0.0.1:%d\", certificate: %[2]s/server.pem, key: %[2]s/server.key, client-ca: %[2]s/ca.pem, client-auth: required%[3]s}\n", port, folder, keys)
	if err := os.WriteFile(file, []byte(strings.Replace(string(data), "xml:\n  listen:\n", listener, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	r.process = start(t, program(t), "serve", "-c", file)
	waitFor(t, "readiness", func() bool { return r.get("/readyz") == "ready\n" })
	return r, port
}

func pair(folder, name string) []string {
	return []string{"-cert", filepath.Join(folder, name+".pem"), "-key", filepath.Join(folder, name+".key")}
}

// Only a certificate of the right authority, that is valid, for clients, not revoked, and
// has a name that is trusted, gets an answer.
func TestClientCertificates(t *testing.T) {
	t.Parallel()
	folder := lab(t)
	r, port := serveTLS(t, folder, ", crl: "+folder+"/ca.crl")
	expired, err := tls.LoadX509KeyPair(filepath.Join(folder, "expired.pem"), filepath.Join(folder, "expired.key"))
	if err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the end of a certificate", func() bool { return time.Now().After(expired.Leaf.NotAfter) })
	for name, args := range map[string][]string{
		"good": pair(folder, "good"), "none": nil, "wrong authority": pair(filepath.Join(folder, "evil"), "good"), "expired": pair(folder, "expired"),
		"wrong name": pair(folder, "wrongname"), "not for clients": pair(folder, "notclient"), "revoked": pair(folder, "revoked"),
	} {
		out := sclient(t, port, args...)
		if got := strings.Contains(out, ">normal</systemStatus>"); got != (name == "good") {
			t.Errorf("%s: %v\n%s", name, got, out[max(0, len(out)-500):])
		}
	}
	if out := sclient(t, port, append(pair(folder, "good"), "-verify_return_error", "-CAfile", filepath.Join(folder, "ca.pem"), "-verify_hostname", "localhost")...); !strings.Contains(out, ">normal<") {
		t.Error(out)
	}
	// the list is read again: what is revoked now is refused at once, and a stale one lets nobody in
	revoke(t, folder, "good", time.Hour)
	waitFor(t, "the revocation", func() bool { return !strings.Contains(sclient(t, port, pair(folder, "good")...), ">normal<") })
	revoke(t, folder, "revoked", time.Hour)
	waitFor(t, "the pardon", func() bool { return strings.Contains(sclient(t, port, pair(folder, "good")...), ">normal<") })
	revoke(t, folder, "revoked", -time.Minute)
	waitFor(t, "the stale list", func() bool { return !strings.Contains(sclient(t, port, pair(folder, "good")...), ">normal<") })
	r.stop()
}

// A certificate that is renewed is shown at the next handshake; connections that there are
// go on; one that cannot be used changes nothing. Others are shown for other names.
func TestCertificateReload(t *testing.T) {
	t.Parallel()
	folder := lab(t)
	r, port := serveTLS(t, folder, fmt.Sprintf(", more-certificates: [{certificate: %[1]s/second.pem, key: %[1]s/second.key}]", folder))
	mine, err := tls.LoadX509KeyPair(filepath.Join(folder, "good.pem"), filepath.Join(folder, "good.key"))
	if err != nil {
		t.Fatal(err)
	}
	shown := func(name string) *x509.Certificate {
		conn, err := tls.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port), &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{mine}, ServerName: name})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0]
	}
	if name := shown("second.contoso.com").Subject.CommonName; name != "second" {
		t.Errorf("%s is shown for the second name", name)
	}
	conn, err := tls.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port), &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{mine}})
	c := dialXML(t, conn, err)
	before := shown("localhost").SerialNumber
	if err := certs.Renew(folder, "server", 20*day); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the new certificate", func() bool { return shown("localhost").SerialNumber.Cmp(before) != 0 })
	after := shown("localhost").SerialNumber
	if err := os.WriteFile(filepath.Join(folder, "server.pem"), []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the complaint", func() bool {
		shown("localhost")
		return strings.Contains(r.out.String(), "certificate files cannot be used")
	})
	if shown("localhost").SerialNumber.Cmp(after) != 0 {
		t.Error("another certificate is shown")
	}
	if m := c.ask(uacsta.RequestSystemStatus{}); m.Text("systemStatus") != "normal" {
		t.Errorf("%s", m)
	}
	r.stop()
	r, _ = serveTLS(t, lab(t), "")
	if log := r.out.String(); strings.Contains(log, "expires soon") && !strings.Contains(log, "cert.pem") {
		t.Error("warned of a certificate that is good for long")
	}
	if !strings.Contains(r.get("/metrics"), `tr87proxy_certificate_not_after_seconds{file="`) {
		t.Error("no metric of certificates")
	}
	waitFor(t, "the warning", func() bool { return strings.Contains(r.out.String(), "certificate expires soon") }) // that of the other listeners, an hour
	r.stop()
}

// Which versions and ciphers openssl can agree on with the proxy: by default none without
// forward secrecy and authenticated encryption; with the switch for old peers, more.
func TestVersionsAndCiphers(t *testing.T) {
	t.Parallel()
	long(t)
	folder := lab(t)
	list, err := exec.CommandContext(t.Context(), tool(t, "openssl"), "ciphers", "ALL:COMPLEMENTOFALL:@SECLEVEL=0").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, legacy := range []bool{false, true} {
		keys := ""
		if legacy {
			keys = fmt.Sprintf(", legacy-tls: true, more-certificates: [{certificate: %[1]s/oldserver.pem, key: %[1]s/oldserver.key}]", folder)
		}
		r, port := serveTLS(t, folder, keys)
		agree := func(args ...string) bool {
			return strings.Contains(sclient(t, port, append(args, pair(folder, "good")...)...), ">normal<")
		}
		for version, want := range map[string]bool{"-tls1_3": true, "-tls1_2": true, "-tls1_1": legacy, "-tls1": legacy} {
			if got := agree(version, "-cipher", "ALL:@SECLEVEL=0"); got != want {
				t.Errorf("legacy %v, %s: %v", legacy, version, got)
			}
		}
		weak := 0
		for cipher := range strings.SplitSeq(strings.TrimSpace(string(list)), ":") {
			if strings.HasPrefix(cipher, "TLS_") || strings.Contains(cipher, "PSK") || strings.Contains(cipher, "SRP") || strings.Contains(cipher, "CAMELLIA") || strings.Contains(cipher, "ARIA") {
				continue
			}
			strong := strings.HasPrefix(cipher, "ECDHE-") && (strings.Contains(cipher, "GCM") || strings.Contains(cipher, "CHACHA20"))
			if strong {
				continue
			}
			weak++
			if got := agree("-tls1_2", "-cipher", cipher+":@SECLEVEL=0"); got && !legacy {
				t.Errorf("%s is taken", cipher)
			}
		}
		if weak < 20 {
			t.Errorf("only %d ciphers were tried", weak)
		}
		if legacy && !agree("-tls1_2", "-cipher", "AES128-SHA:@SECLEVEL=0") {
			t.Error("the switch for old peers lets none in")
		}
		r.stop()
	}
}
