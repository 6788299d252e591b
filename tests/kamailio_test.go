package tests

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// frontEnd starts Kamailio as record-routing proxy in front of a tr87proxy.
func frontEnd(t *testing.T, r *running, kind string) (port int) {
	t.Helper()
	port, _ = startFrontEnd(t, r, kind)
	return port
}

func startFrontEnd(t *testing.T, r *running, kind string) (port int, p *process) {
	t.Helper()
	template, err := os.ReadFile("testdata/kamailio.cfg")
	if err != nil {
		t.Fatal(err)
	}
	port = freePort(t)
	next := r.port
	if kind == "tls" {
		next = r.tlsPort
	}
	dir := r.dir
	config := strings.NewReplacer("127.0.0.1:PORT", fmt.Sprintf("127.0.0.1:%d", port), "SIDE", fmt.Sprint(freePort(t)), "NEXT", fmt.Sprint(next), "KIND", kind, "DIR", dir).Replace(string(template))
	tlsConfig := fmt.Sprintf("[server:default]\nmethod = TLSv1.2+\ncertificate = %[1]s/cert.pem\nprivate_key = %[1]s/key.pem\n"+
		"[client:default]\nmethod = TLSv1.2+\nverify_certificate = yes\nca_list = %[1]s/cert.pem\ncertificate = %[1]s/cert.pem\nprivate_key = %[1]s/key.pem\n", dir)
	for name, content := range map[string]string{"kamailio.cfg": config, "tls.cfg": tlsConfig} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p = start(t, tool(t, "kamailio"), "-f", filepath.Join(dir, "kamailio.cfg"), "-DD", "-E", "-m", "64", "-Y", dir)
	waitFor(t, "Kamailio", func() bool {
		if p.ended() {
			t.Fatalf("Kamailio ended:\n%s", p.out)
		}
		return listening(port)
	})
	return port, p
}

// Clients behind a record-routing proxy: requests and events through its routes,
// over its own connection to us.
func TestBehindKamailio(t *testing.T) {
	long(t)
	for kind, access := range map[string]string{
		"tcp": "trusted: [{address: 127.0.0.1}, {address: 127.0.0.9}]\ngrants: [{who: \"*\", control: [\"*\"]}]\n",
		// Over TLS the front end is known by its certificate and by nothing else.
		"tls": "trusted: [{certificate: \"fe1.contoso.com\"}, {address: 127.0.0.9}]\ngrants: [{who: \"sip:user1*@contoso.com\", control: [\"1*\"], dial: [\"2*\"]}, {who: 127.0.0.9, control: [\"1*\"]}]\n",
	} {
		t.Run(kind, func(t *testing.T) {
			r := serveSlow(t, access)
			port := frontEnd(t, r, kind)
			clients := startSipp(t, tr87Client(false, ""), fmt.Sprintf("127.0.0.1:%d", port), "t1", 100, 50)
			clients.together(r, 100, "127.0.0.9")
			clients.succeeds()
			if n := r.metric("tr87proxy_sessions_total"); n != 101 { // that of together is one
				t.Errorf("%v sessions were opened, want 101", n)
			}
			if n := r.metric("tr87proxy_sip_connections"); n > 2 {
				t.Errorf("%v connections: events did not go back over the front end's own", n)
			}
			r.stop()
		})
	}
}
