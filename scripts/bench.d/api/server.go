package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// server is a running program that clients get events from.
type server struct {
	cmd     *exec.Cmd
	address string // of its HTTP listener
	other   string // of the operators' port; of the plain program, where it takes events
	dir     string
}

// startProxy starts the proxy with virtual telephones.
func startProxy(ctx context.Context, s *setting) (*server, error) {
	dir, err := os.MkdirTemp("", "bench-api")
	if err != nil {
		return nil, err
	}
	var ports [3]int
	for i := range ports {
		if ports[i], err = freePort(ctx); err != nil {
			return nil, err
		}
	}
	var extensions strings.Builder
	for pair := range s.devices / 2 {
		fmt.Fprintf(&extensions, "  - {number: %q}\n  - {number: %q, answer-after: 20ms}\n", caller(pair), callee(pair))
	}
	config := fmt.Sprintf(`
log: {level: error}
demo: true
sip: {listen: [{transport: udp, address: "127.0.0.1:%d"}]}
xml: {listen: []}
api: {listen: [{transport: tcp, address: "127.0.0.1:%d"}], events: {devices: ["*"]}}
limits: {requests-per-second: 1000000, calls-per-minute: 1000000}
operations: {address: "127.0.0.1:%d", pprof: true}
switch:
  extensions:
%s`, ports[0], ports[1], ports[2], extensions.String())
	file := filepath.Join(dir, "config.yaml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		return nil, err
	}
	p := &server{cmd: exec.Command(s.program, "serve", "-c", file), address: fmt.Sprintf("127.0.0.1:%d", ports[1]), other: fmt.Sprintf("127.0.0.1:%d", ports[2]), dir: dir} //nolint:noctx // stop ends it
	p.cmd.Stdout, p.cmd.Stderr = os.Stderr, os.Stderr
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	for range 600 {
		if page, err := p.get(ctx, "/readyz"); err == nil && bytes.HasPrefix(page, []byte("ready")) {
			return p, nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	p.stop()
	return nil, errors.New("the proxy is not ready after a minute")
}

// startPeer starts the plain program.
func startPeer(ctx context.Context, _ *setting) (*server, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &server{}
	var ports [2]int
	for i := range ports {
		if ports[i], err = freePort(ctx); err != nil {
			return nil, err
		}
	}
	p.address, p.other = fmt.Sprintf("127.0.0.1:%d", ports[0]), fmt.Sprintf("127.0.0.1:%d", ports[1])
	p.cmd = exec.Command(self, "peer", p.address, p.other) //nolint:noctx // stop ends it
	p.cmd.Stderr = os.Stderr
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	for range 600 {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", p.address)
		if err == nil {
			_ = conn.Close()
			return p, nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	p.stop()
	return nil, errors.New("the plain program is not ready after a minute")
}

// stop ends the program.
func (p *server) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	kill := time.AfterFunc(20*time.Second, func() { _ = p.cmd.Process.Kill() })
	_ = p.cmd.Wait()
	kill.Stop()
	if p.dir != "" {
		_ = os.RemoveAll(p.dir)
	}
}

// get returns a page of the operators' port.
func (p *server) get(ctx context.Context, path string) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.other+path, nil)
	if err != nil {
		return nil, err
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close() //nolint:errcheck // it was read
	return io.ReadAll(res.Body)
}

// resident returns the memory of the program, in octets.
func (p *server) resident() int {
	data, _ := os.ReadFile(fmt.Sprintf("/proc/%d/statm", p.cmd.Process.Pid))
	var size, pages int
	_, _ = fmt.Sscan(string(data), &size, &pages)
	return pages * os.Getpagesize()
}

// cpu returns the processor time that the program has used, of user and system.
func (p *server) cpu() time.Duration {
	data, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	_, rest, _ := bytes.Cut(data, []byte(") "))
	fields := strings.Fields(string(rest))
	if len(fields) < 13 {
		return 0
	}
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return time.Duration(user+system) * (time.Second / 100) // Linux counts in hundredths towards programs
}

// freePort returns a port that is free.
func freePort(ctx context.Context) (int, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close() //nolint:errcheck // nothing was written
	return l.Addr().(*net.TCPAddr).Port, nil
}

// load returns the load of the machine in the last minute.
func load() string {
	data, _ := os.ReadFile("/proc/loadavg")
	minute, _, _ := strings.Cut(string(data), " ")
	return minute
}

func caller(pair int) string { return strconv.Itoa(10000 + pair) }
func callee(pair int) string { return strconv.Itoa(20000 + pair) }
