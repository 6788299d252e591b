package tests

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// binary returns the path of the real program, which is built once. It has the race detector, except in quick
// runs, when its speed is measured, and for a thousand clients.
var binary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "tr87proxy")
	if err != nil {
		return "", err
	}
	file := filepath.Join(dir, "tr87proxy")
	args := []string{"build", "-o", file}
	if !testing.Short() && !*floodBeside && !*exhaustive {
		args = append(args, "-race")
	}
	out, err := exec.Command("go", append(args, "../cmd/tr87proxy")...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return file, nil
})

func TestMain(m *testing.M) {
	if what := os.Getenv(flooderVariable); what != "" {
		flood(what)
	}
	// A program with the race detector waits a second before it exits.
	if err := os.Setenv("GORACE", "atexit_sleep_ms=50"); err != nil {
		panic(err)
	}
	code := m.Run()
	endChromium()
	if file, err := binary(); err == nil {
		_ = os.RemoveAll(filepath.Dir(file))
	}
	os.Exit(code)
}

func program(t *testing.T) string {
	t.Helper()
	file, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// tool returns the path of another program, and skips the test if it is not
// installed. scripts/test installs all of them and forbids skipping.
func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		if os.Getenv("TR87_NO_SKIP") != "" {
			t.Fatalf("%s is not installed", name)
		}
		t.Skipf("%s is not installed", name)
	}
	return path
}

// optional returns the path of a program that has no Debian package, and skips the test if it is not installed.
func optional(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%s is not installed", name)
	}
	return path
}

// process is a running program.
type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	out    *log
	exited chan error
}

// log collects output.
type log struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func start(t *testing.T, name string, args ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.Command(name, args...), out: &log{}, exited: make(chan error, 1)}
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.out
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p.cmd.Dir = t.TempDir()
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { p.exited <- p.cmd.Wait() }()
	t.Cleanup(func() {
		_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
		if out := p.out.String(); t.Failed() && out != "" {
			t.Logf("%s said:\n%s", filepath.Base(name), out[max(0, len(out)-2000):])
		}
	})
	return p
}

// wait waits until a program has ended by itself.
func (p *process) wait(limit time.Duration) error {
	select {
	case err := <-p.exited:
		p.exited <- err
		return err
	case <-time.After(limit):
		return fmt.Errorf("still running after %v", limit)
	}
}

// ended reports whether a program has ended.
func (p *process) ended() bool {
	select {
	case err := <-p.exited:
		p.exited <- err
		return true
	default:
		return false
	}
}

// running is a running tr87proxy.
type running struct {
	*process
	port, tlsPort, ops  int
	xmlPort, xmlTLSPort int
	dir                 string
}

// ports is the next port that freePort tries, above those that the system gives to outgoing
// connections.
var ports = func() *atomic.Int32 {
	var next atomic.Int32
	next.Store(int32(os.Getpid() % manyPorts))
	return &next
}()

const (
	firstPort = 61000
	manyPorts = 4500
)

// freePort returns a port that is free for UDP and TCP.
func freePort(t *testing.T) int {
	t.Helper()
	for range manyPorts {
		port := firstPort + int(ports.Add(1))%manyPorts
		address := fmt.Sprintf("127.0.0.1:%d", port)
		l, err := net.Listen("tcp", address)
		if err != nil {
			continue
		}
		pc, err := net.ListenPacket("udp", address)
		_ = l.Close()
		if err != nil {
			continue
		}
		_ = pc.Close()
		return port
	}
	t.Fatal("no free port")
	return 0
}

// serve starts tr87proxy. extra is YAML for the end of its configuration, and
// operations has more lines for the key operations.
func serve(t *testing.T, extra string, operations ...string) *running {
	t.Helper()
	return serveBy(t, program(t), extra, operations...)
}

// serveBy starts another build of the program as serve does.
func serveBy(t *testing.T, program, extra string, operations ...string) *running {
	t.Helper()
	return serveWith(t, program, "100ms", "500ms", extra, operations...)
}

// serveSlow is serve with a long T1, for sipp, which must get its turn on the processor before anything
// is sent again: over UDP it takes a repeated request for the next one, and it ends when a repeated 200 to
// an INVITE comes before it has sent the ACK. No event overtakes one that is repeated.
func serveSlow(t *testing.T, extra string) *running {
	t.Helper()
	return serveWith(t, program(t), "4s", "30s", extra)
}

func serveWith(t *testing.T, program, t1, eventWait, extra string, operations ...string) *running {
	t.Helper()
	r := &running{port: freePort(t), tlsPort: freePort(t), ops: freePort(t), xmlPort: freePort(t), xmlTLSPort: freePort(t), dir: t.TempDir()}
	certificates(t, r.dir)
	var extensions strings.Builder
	for i := range 500 {
		fmt.Fprintf(&extensions, "  - {number: \"%d\", outside: [\"0\"]}\n  - {number: \"%d\", answer-after: 20ms}\n", 1000+i, 2000+i)
	}
	linger := "monitor-linger: 0s" // tests look for what is left
	if strings.Contains(extra, "monitor-linger:") {
		linger = ""
	}
	config := fmt.Sprintf(`
sip:
  listen:
  - {transport: udp, address: "127.0.0.1:%[1]d"}
  - {transport: tcp, address: "127.0.0.1:%[1]d"}
  - {transport: tls, address: "127.0.0.1:%[2]d", certificate: %[4]s/cert.pem, key: %[4]s/key.pem, client-ca: %[4]s/cert.pem, client-auth: optional}
  connection-grace: 1s
  t1: %[11]s
  event-wait: %[12]s
operations: {address: "127.0.0.1:%[3]d"%[7]s}
%[10]s
xml:
  listen:
  - {transport: tcp, address: "127.0.0.1:%[8]d"}
  - {transport: tls, address: "127.0.0.1:%[9]d", certificate: %[4]s/cert.pem, key: %[4]s/key.pem, client-ca: %[4]s/cert.pem, client-auth: optional}
switch:
  extensions:
%[5]s%[6]s`, r.port, r.tlsPort, r.ops, r.dir, extensions.String(), extra, strings.Join(append([]string{""}, operations...), ", "), r.xmlPort, r.xmlTLSPort, linger, t1, eventWait)
	file := filepath.Join(r.dir, "config.yaml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	r.process = start(t, program, "serve", "-c", file)
	waitFor(t, "readiness", func() bool { return r.get("/readyz") == "ready\n" })
	return r
}

const everybody = "trusted: [{address: 127.0.0.1}]\ngrants: [{who: \"*\", control: [\"*\"]}]\n"

// diallers lets everybody on the machine control everything, and dial every number.
const diallers = "trusted: [{address: 127.0.0.1}]\ngrants: [{who: \"*\", control: [\"*\"], dial: [\"*\"]}]\n"

// get returns a page of the operators' port.
func (r *running) get(path string) string {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d%s", r.ops, path), nil)
	if err != nil {
		return ""
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return ""
	}
	defer res.Body.Close()
	body, _ := io.ReadAll(res.Body)
	return string(body)
}

// metric returns the value of a metric.
func (r *running) metric(name string) float64 {
	for line := range strings.Lines(r.get("/metrics")) {
		if v, ok := strings.CutPrefix(line, name+" "); ok {
			n, _ := strconv.ParseFloat(strings.TrimSpace(v), 64)
			return n
		}
	}
	return -1
}

// stop stops the proxy as an init system would, and checks its exit status.
func (r *running) stop() {
	r.t.Helper()
	_ = r.cmd.Process.Signal(syscall.SIGTERM)
	if err := r.wait(patience); err != nil {
		r.t.Errorf("stopped with %v\n%s", err, r.out)
	}
	if s := r.out.String(); strings.Contains(s, "DATA RACE") || strings.Contains(s, "panic") {
		r.t.Errorf("the log has\n%s", s)
	}
}

// publicAddress is one that tests in a network of their own give to the machine.
const publicAddress = "9.9.9.9"

// certificates writes a self-signed certificate for loopback and publicAddress.
func certificates(t *testing.T, dir string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "fe1.contoso.com"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{"localhost", "fe1.contoso.com"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.ParseIP(publicAddress)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{"cert.pem": {Type: "CERTIFICATE", Bytes: der}, "key.pem": {Type: "PRIVATE KEY", Bytes: keyDER}} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
