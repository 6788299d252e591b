package tests

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/tr87proxy/tr87proxy/internal/wait"
)

// stopTime is what the unit of contrib gives the program to stop.
const stopTime = 15 * time.Second

// While requests wait for a switch that says nothing, streams are open, clients of HTTP and SIP do not respond, requests have come
// in part, and a webhook fails, SIGTERM ends the program in time. Every client is told: requests have responses, streams an
// event end, WebSockets of either direction are closed with 1001. After a restart the webhook gets what it lacks.
func TestAPIStops(t *testing.T) {
	long(t)
	h := newHostilePBX(t)
	h.silent = "MakeCall"
	closedApplication := make(chan error, 1)
	connected := make(chan struct{}, 1)
	application := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		select {
		case connected <- struct{}{}:
		default:
		}
		for err == nil {
			_, _, err = conn.Read(context.Background())
		}
		select {
		case closedApplication <- err:
		default:
		}
	}))
	t.Cleanup(application.Close)
	hooks := receiveHooks(t, fmt.Sprintf("127.0.0.1:%d", freePort(t)), "")
	silence := make(chan struct{})
	hooks.answers(func(told) int { <-silence; return http.StatusInternalServerError })
	i := &interfaced{address: fmt.Sprintf("127.0.0.1:%d", freePort(t)), rest: &http.Client{Timeout: patience}}
	i.running = serve(t, fmt.Sprintf(`links: [{name: pbx, addresses: ["%s"], devices: ["9???"], edition: 3, timeout: 5m}]
api:
  listen: [{transport: tcp, address: "%s"}]
  request-timeout: 5m
  events: {file: %s}
  webhooks: [{name: calls, url: "http://%s/", private: true, devices: ["1000"]}]
  connect: [{url: "ws%s/", as: crm, devices: ["1000"]}]
`, h.address, i.address, filepath.Join(t.TempDir(), "events.db"), hooks.address, strings.TrimPrefix(application.URL, "http"))+diallers)
	i.linked("pbx")
	wait.Next(t, connected, "the connection to the application")

	request := make(chan said, 1)
	go func() {
		web := &webClient{t: t, client: checking(t, "127.0.0.1"), server: "http://" + i.address}
		request <- web.ask("POST", "/v1/devices/9001/calls", `{"to": "9002"}`)
	}()
	var sockets []*subscriber
	for range 3 {
		s, err := i.subscriber("?devices=1000")
		if err != nil {
			t.Fatal(err)
		}
		defer s.close()
		sockets = append(sockets, s)
	}
	for n, s := range sockets[1:] { // the second waits for a response, too; the last one never reads
		body := fmt.Sprintf(`{"id": "%d", "method": "POST", "path": "/v1/devices/900%d/calls", "body": {"to": "9002"}}`, n, n)
		if err := s.conn.Write(t.Context(), websocket.MessageText, []byte(body)); err != nil {
			t.Fatal(err)
		}
	}
	waitFor(t, "three requests at the switch", func() bool { asked, _ := h.got("MakeCall"); return asked == 3 })
	stream := i.raw("GET /v1/events?devices=1000 HTTP/1.1\r\nHost: localhost\r\n\r\n")
	lines := bufio.NewScanner(stream)
	wants := func(part string) {
		t.Helper()
		for lines.Scan() {
			if strings.Contains(lines.Text(), part) {
				return
			}
		}
		t.Errorf("the stream has no %s: %v", part, lines.Err())
	}
	wants(`"type":"ready"`)
	i.raw("POST /v1/devices/1001/calls HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{")
	i.raw("GET /v1/devices HTTP/1.1\r\nHost: loc")
	i.calls(1)
	wants(`"type":"connectionCleared"`)
	dialog := newHandset(t, "udp", i.running.port, "crm", "").dialog("x") // which will not respond to BYE
	opened := dialog.begin("INVITE", nil, "").final()
	if opened.code() != http.StatusOK {
		t.Fatal(opened.start)
	}
	dialog.follow(opened)
	dialog.ack(opened)

	began := time.Now()
	if err := i.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if w := wait.Next(t, request, "a response"); w.status != http.StatusGatewayTimeout || w.problem().Type != "/problems/timeout" {
		t.Errorf("the request gets %s", w)
	}
	wants(`"type":"end"`)
	if !strings.Contains(lines.Text(), "the proxy is stopping") {
		t.Errorf("the stream ends with %s", lines.Text())
	}
	for lines.Scan() {
	}
	if lines.Err() != nil {
		t.Errorf("the stream is torn: %v", lines.Err())
	}
	for n, s := range sockets[:2] {
		var err error
		for err == nil {
			_, err = s.next()
		}
		if websocket.CloseStatus(err) != websocket.StatusGoingAway {
			t.Errorf("WebSocket %d ends with %v", n, err)
		}
	}
	if err := wait.Next(t, closedApplication, "the end of the connection to the application"); websocket.CloseStatus(err) != websocket.StatusGoingAway {
		t.Errorf("the application gets %v", err)
	}
	if err := i.wait(stopTime); err != nil {
		t.Fatalf("stopped with %v after %s\n%s", err, time.Since(began), i.out)
	}
	if took := time.Since(began); took > stopTime {
		t.Errorf("it stopped after %s", took)
	}

	hooks.answers(nil)
	close(silence)
	i.process = start(t, program(t), "serve", "-c", filepath.Join(i.dir, "config.yaml"))
	waitFor(t, "the events that the webhook lacks", func() bool {
		for _, e := range hooks.taken() {
			if e.Type == "connectionCleared" {
				return true
			}
		}
		return false
	})
	i.stop()
}

// raw opens a connection to the front, and sends octets.
func (i *interfaced) raw(octets string) net.Conn {
	i.t.Helper()
	nc, err := net.Dial("tcp", i.address)
	if err != nil {
		i.t.Fatal(err)
	}
	i.t.Cleanup(func() { _ = nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(nc, octets); err != nil {
		i.t.Fatal(err)
	}
	return nc
}

// Clients that send the head or the body of a request slowly are cut off after 10 s, a body with a response; meanwhile the
// proxy serves others.
func TestAPISlowSenders(t *testing.T) {
	long(t)
	t.Parallel()
	i := serveAPI(t)
	const post = "POST /v1/devices/1001/calls HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n"
	type ended struct {
		what, said string
		after      time.Duration
	}
	ends := make(chan ended, 10)
	began := time.Now()
	for what, octets := range map[string]string{
		"nothing":              "",
		"a part of a head":     "GET /v1/devices HTTP/1.1\r\nHost: loc",
		"a part of a body":     post + "\r\n{",
		"a part, with a key":   post + "Idempotency-Key: one\r\n\r\n{",
		"a part of a document": "POST /v1/csta HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/xml\r\nContent-Length: 100\r\n\r\n<",
	} {
		nc := i.raw(octets)
		go func() {
			data, _ := io.ReadAll(nc)
			ends <- ended{what, string(data), time.Since(began)}
		}()
	}
	go func() { // one octet a second keeps no body open
		nc := i.raw(post + "\r\n")
		for tick := time.NewTicker(time.Second); ; <-tick.C {
			if _, err := io.WriteString(nc, " "); err != nil {
				tick.Stop()
				data, _ := io.ReadAll(nc)
				ends <- ended{"an octet a second", string(data), time.Since(began)}
				return
			}
		}
	}()
	i.calls(3)
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("others wait %s", took)
	}
	for range 6 {
		e := wait.Next(t, ends, "the end of a connection")
		if e.after < 5*time.Second || e.after > 20*time.Second {
			t.Errorf("%s: cut after %s", e.what, e.after)
		}
		if headless := e.what == "nothing" || e.what == "a part of a head"; headless && e.said != "" ||
			!headless && (!strings.HasPrefix(e.said, "HTTP/1.1 408 ") || !strings.Contains(e.said, "within 10 seconds")) {
			t.Errorf("%s: %s", e.what, e.said)
		}
	}
}
