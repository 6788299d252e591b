package api

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"

	record "github.com/tr87proxy/tr87proxy/api/events"
	"github.com/tr87proxy/tr87proxy/internal/config"
	"github.com/tr87proxy/tr87proxy/internal/kind"
	"github.com/tr87proxy/tr87proxy/internal/wait"
	"github.com/tr87proxy/tr87proxy/policy"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/proxy/fronttest"
	"github.com/tr87proxy/tr87proxy/softswitch"
)

// office is a server with the built-in switch behind it. Who comes from this machine may use the devices 100 to 102.
type office struct {
	*testing.T
	server *Server
	http   *httptest.Server
	core   *proxy.Proxy
	rules  func(devices ...string) // changes what may be used
}

func newOffice(t *testing.T, change ...func(*Settings)) *office {
	t.Helper()
	sw, err := softswitch.New(softswitch.Config{Extensions: []softswitch.Extension{{Number: "100"}, {Number: "101"}, {Number: "102"}, {Number: "199"}}, ParkDevices: []softswitch.ParkDevice{{Number: "400"}}})
	if err != nil {
		t.Fatal(err)
	}
	internal := func(n string) bool { return len(n) == 3 }
	log := slog.New(slog.DiscardHandler)
	numbers := &policy.Numbers{Extensions: internal}
	allow := func(devices ...string) *policy.Policy {
		p := policy.FromGrants(internal, policy.Grant{Who: "127.0.0.1", Control: devices}, policy.Grant{Who: "crm", Control: devices})
		p.Trusted = []policy.Peer{{Network: netip.MustParsePrefix("127.0.0.1/32")}}
		return p
	}
	o := &office{T: t, core: proxy.New(proxy.Config{Policy: allow("100", "101", "102"), Numbers: numbers, Log: log})}
	o.rules = func(devices ...string) { o.core.SetRules(allow(devices...), numbers) }
	o.core.AddLink("switch", sw, sw.Has)
	ctx, cancel := context.WithCancel(context.Background())
	over := make(chan struct{})
	go func() { defer close(over); o.core.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-over })
	if err := o.core.Await(t.Context(), "switch"); err != nil {
		t.Fatal(err)
	}
	settings := &Settings{RequestTimeout: time.Minute, Events: defaultEvents}
	for _, f := range change {
		f(settings)
	}
	if o.server, err = NewServer(settings, &kind.FrontEnv{Proxy: o.core, Log: log, Config: &config.Config{}, Admits: func(netip.Addr) bool { return true }}); err != nil {
		t.Fatal(err)
	}
	if err := o.server.Start(); err != nil {
		t.Fatal(err)
	}
	o.http = httptest.NewUnstartedServer(o.server)
	_ = o.http.Listener.Close()
	if o.http.Listener, _, err = fronttest.Sockets(); err != nil { // their buffers are small
		t.Fatal(err)
	}
	o.http.Start()
	t.Cleanup(func() { o.http.CloseClientConnections(); o.server.Close(); o.http.Close() })
	return o
}

// narrow is a client whose connections hold little that it has not read.
var narrow = &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: (&net.Dialer{
	Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { _ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4<<10) })
	},
}).DialContext}}

// peer is a client on a WebSocket.
type peer struct {
	o    *office
	conn *websocket.Conn
	held []heard // events, while a response is waited for
}

// heard is what tests look at of a message.
type heard struct {
	ID, Type, Device, Call, Caller, Called, State, Reason string
	Seq                                                   uint64
	Status                                                int
	Body                                                  json.RawMessage
	CSTA                                                  map[string]json.RawMessage
	Calls                                                 []struct{ Call, State, Caller string }
	Headers                                               map[string]string
	Devices, Waiting                                      []string
	Refused                                               map[string]string
}

func (o *office) dial(query string, protocols ...string) *peer {
	o.Helper()
	ctx, cancel := context.WithTimeout(o.Context(), wait.Limit)
	defer cancel()
	conn, res, err := websocket.Dial(ctx, o.http.URL+eventsPath+query, &websocket.DialOptions{Subprotocols: protocols, HTTPClient: narrow})
	if err != nil {
		o.Fatalf("%v: %+v", err, res)
	}
	conn.SetReadLimit(1 << 20)
	o.Cleanup(func() { _ = conn.CloseNow() })
	return &peer{o: o, conn: conn}
}

func (p *peer) read() (h heard) {
	p.o.Helper()
	ctx, cancel := context.WithTimeout(p.o.Context(), wait.Limit)
	defer cancel()
	_, data, err := p.conn.Read(ctx)
	if err != nil {
		p.o.Fatal(err)
	}
	if err := json.Unmarshal(data, &h); err != nil {
		p.o.Fatalf("%s: %v", data, err)
	}
	return h
}

// next returns the next event.
func (p *peer) next() heard {
	p.o.Helper()
	if len(p.held) > 0 {
		h := p.held[0]
		p.held = p.held[1:]
		return h
	}
	return p.read()
}

func (p *peer) write(text string) {
	p.o.Helper()
	if err := p.conn.Write(p.o.Context(), websocket.MessageText, []byte(text)); err != nil {
		p.o.Fatal(err)
	}
}

// ask sends a request and waits for its response.
func (p *peer) ask(id, method, path, body string) heard {
	p.o.Helper()
	message := fmt.Sprintf(`{"id":%q,"method":%q,"path":%q`, id, method, path)
	if body != "" {
		message += `,"body":` + body
	}
	p.write(message + "}")
	return p.answer(id)
}

func (p *peer) answer(id string) heard {
	p.o.Helper()
	for {
		h := p.read()
		if h.Status != 0 {
			if h.ID != id {
				p.o.Fatalf("a response to %q: %+v", h.ID, h)
			}
			return h
		}
		p.held = append(p.held, h)
	}
}

// closed waits until the server closes the connection, and returns the code and the reason.
func (p *peer) closed() (websocket.StatusCode, string) {
	p.o.Helper()
	ctx, cancel := context.WithTimeout(p.o.Context(), wait.Limit)
	defer cancel()
	for {
		_, _, err := p.conn.Read(ctx)
		if err == nil {
			continue
		}
		var ce websocket.CloseError
		if !asClose(err, &ce) {
			p.o.Fatalf("closed without a reason: %v", err)
		}
		return ce.Code, ce.Reason
	}
}

func asClose(err error, ce *websocket.CloseError) bool {
	ce.Code = websocket.CloseStatus(err)
	_, ce.Reason, _ = strings.Cut(err.Error(), "reason = ")
	return ce.Code != -1
}

// A program watches a telephone and makes a call over one WebSocket.
func TestSocket(t *testing.T) {
	o := newOffice(t)
	p := o.dial("?devices=101")
	if h := p.next(); h.Type != "ready" || !slices.Equal(h.Devices, []string{"101"}) || h.Seq == 0 {
		t.Fatalf("%+v", h)
	}
	made := p.ask("1", "POST", "/v1/devices/100/calls", `{"to":"101"}`)
	if made.Status != http.StatusCreated || len(made.Body) == 0 {
		t.Fatalf("%+v", made)
	}
	h := p.next()
	if h.Type != "delivered" || h.Device != "101" || h.Caller != "100" || h.Called != "101" || h.State != "alerting" || h.CSTA["DeliveredEvent"] == nil {
		t.Fatalf("%+v", h)
	}
	if a := p.ask("2", "POST", "/v1/devices/101/calls/"+h.Call+"/answer", ""); a.Status != http.StatusOK {
		t.Errorf("%+v %s", a, a.Body)
	}
	if h := p.next(); h.Type != "established" {
		t.Errorf("%+v", h)
	}
	if a := p.ask("3", "GET", "/v1/devices", ""); a.Status != http.StatusOK || !strings.Contains(string(a.Body), `"102"`) {
		t.Errorf("%+v %s", a, a.Body)
	}
	if a := p.ask("4", "POST", "/v1/devices/199/calls", `{"to":"101"}`); a.Status != http.StatusForbidden {
		t.Errorf("%+v %s", a, a.Body)
	}
	if a := p.ask("5", "GET", "/v1/events", ""); a.Status != http.StatusConflict {
		t.Errorf("%+v %s", a, a.Body)
	}
}

// What is no request is refused, and the WebSocket stays open.
func TestSocketRefusals(t *testing.T) {
	o := newOffice(t)
	p := o.dial("?devices=")
	for message, status := range map[string]int{
		`{"method":"GET","path":"/v1/devices"}`:                                      400,
		`{"id":"1","method":"GET","path":"/v1/devices","id":"1"}`:                    400,
		`{"id":"1","method":"GET","path":"/v1/devices","other":1}`:                   400,
		`{"id":"1","method":"HEAD","path":"/v1/devices"}`:                            400,
		`{"id":"1","method":"GET","path":"http://other/v1/devices"}`:                 400,
		`{"id":"1","method":"GET","path":"//other/v1/devices"}`:                      400,
		`{"id":1,"method":"GET","path":"/v1/devices"}`:                               400,
		`{"id":"1","method":"GET","path":"/v1/nothing"}`:                             404,
		`{"id":"1","method":"GET","path":"/v1/devices","headers":{"Cookie":"a"}}`:    400,
		`{"id":"1","method":"PUT","path":"/v1/events","body":{"devices":["199"]}}`:   403,
		`{"id":"1","method":"PUT","path":"/v1/events","body":{"types":["nothing"]}}`: 422,
		`{"id":"1","method":"PUT","path":"/v1/events","body":{"device":["101"]}}`:    422,
		`{"id":"1","method":"POST","path":"/v1/csta","body":{"Nothing":{}}}`:         422,
		`[]`:    400,
		`{`:     400,
		`{} {}`: 400,
		``:      400,
	} {
		p.write(message)
		if h := p.read(); h.Status != status {
			t.Errorf("%s: %+v %s", message, h, h.Body)
		}
	}
	if h := p.ask("1", "GET", "/v1/devices/101", ""); h.Status != 200 {
		t.Errorf("%+v", h)
	}
	if err := p.conn.Write(t.Context(), websocket.MessageBinary, []byte("{}")); err != nil {
		t.Fatal(err)
	}
	if code, reason := p.closed(); code != websocket.StatusUnsupportedData || reason == "" {
		t.Error(code, reason)
	}
}

// The subscription of an open WebSocket changes, and no event is missing or there twice.
func TestResubscribe(t *testing.T) {
	o := newOffice(t)
	p, other := o.dial("?devices="), o.dial("?devices=")
	if h := p.ask("1", "PUT", "/v1/events", `{"devices":["101"]}`); h.Status != http.StatusNoContent {
		t.Fatalf("%+v %s", h, h.Body)
	}
	if h := p.next(); h.Type != "ready" {
		t.Errorf("%+v", h)
	}
	if h := other.ask("1", "POST", "/v1/devices/100/calls", `{"to":"101"}`); h.Status != http.StatusCreated {
		t.Errorf("%+v", h)
	}
	first := p.next()
	if h := p.ask("2", "PUT", "/v1/events", `{"devices":["101","102"],"types":["delivered"]}`); h.Status != http.StatusNoContent {
		t.Fatalf("%+v %s", h, h.Body)
	}
	if h := p.next(); h.Type != "ready" || h.Seq < first.Seq {
		t.Errorf("%+v", h)
	}
	if h := other.ask("2", "POST", "/v1/devices/100/calls/"+first.Call+"/clear", ""); h.Status != http.StatusOK {
		t.Errorf("%+v %s", h, h.Body)
	}
	if h := other.ask("3", "POST", "/v1/devices/100/calls", `{"to":"102"}`); h.Status != http.StatusCreated {
		t.Errorf("%+v %s", h, h.Body)
	}
	if h := p.next(); h.Type != "delivered" || h.Device != "102" {
		t.Errorf("%+v", h)
	}
}

// A changed subscription brings the calls of all its devices if the client asks for them, also of those that are recorded
// already.
func TestResubscribeSnapshot(t *testing.T) {
	o := newOffice(t)
	other := o.dial("?devices=102")
	other.next()
	p := o.dial("?devices=101")
	p.next()
	made := other.ask("1", "POST", "/v1/devices/100/calls", `{"to":"102"}`)
	if h := other.next(); h.Type != "delivered" || h.Device != "102" {
		t.Errorf("%+v", h)
	}
	if h := p.ask("1", "PUT", "/v1/events", `{"devices":["101","102"],"snapshot":true}`); h.Status != http.StatusNoContent {
		t.Fatalf("%+v %s", h, h.Body)
	}
	calls := map[string]int{}
	for len(calls) < 2 {
		if h := p.next(); h.Type == "snapshot" {
			calls[h.Device] = len(h.Calls)
			if len(h.Calls) > 0 && h.Calls[0].Call != callIn(made) {
				t.Errorf("%+v", h)
			}
		}
	}
	if calls["101"] != 0 || calls["102"] != 1 {
		t.Error(calls)
	}
}

// A subscription to what one may not observe, or that cannot be read, is refused before the WebSocket opens, with a
// problem.
func TestSubscriptionRefused(t *testing.T) {
	o := newOffice(t)
	for query, status := range map[string]int{
		"?devices=199": 403, "?devices=555": 403, "?devices=101,199": 403, "?types=nothing": 422, "?after=x": 422, "?device=101": 422, "?snapshot=2": 422,
		"?devices=/1.*/": 422, "?devices=1*2*3*": 422, "?devices=101&link=a&link=b": 422, "?devices=" + strings.Repeat("1*,", record.MostPatterns+1): 422,
	} {
		res, err := http.Get(o.http.URL + eventsPath + query)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		_, again, err := websocket.Dial(t.Context(), o.http.URL+eventsPath+query, nil)
		if res.StatusCode != status || err == nil || again.StatusCode != status || again.Header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: %d, %+v", query, res.StatusCode, again)
		}
	}
}

// Server-Sent Events are the same events. A client that reconnects goes on where it was.
func TestServerSentEvents(t *testing.T) {
	o := newOffice(t)
	p := o.dial("?devices=")
	lines, stop := o.listen("?devices=101", "")
	if got := next(t, lines); got.Type != "ready" {
		t.Fatalf("%+v", got)
	}
	first := p.ask("1", "POST", "/v1/devices/100/calls", `{"to":"101"}`)
	got := next(t, lines)
	if got.Type != "delivered" || got.Caller != "100" {
		t.Errorf("%+v", got)
	}
	stop()
	var made struct{ Call string }
	_ = json.Unmarshal(first.Body, &made)
	if h := p.ask("2", "POST", "/v1/devices/101/calls/"+made.Call+"/answer", ""); h.Status != http.StatusOK {
		t.Errorf("%+v %s", h, h.Body)
	}
	lines, stop = o.listen("?devices=101&after=1", got.ID)
	defer stop()
	if got := next(t, lines); got.Type != "ready" {
		t.Errorf("%+v", got)
	}
	if got := next(t, lines); got.Type != "established" || got.Call != made.Call {
		t.Errorf("%+v", got)
	}
}

// listen reads Server-Sent Events.
func (o *office) listen(query, last string) (<-chan heard, func()) {
	o.Helper()
	ctx, stop := context.WithCancel(o.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, o.http.URL+eventsPath+query, nil)
	if err != nil {
		o.Fatal(err)
	}
	if last != "" {
		req.Header.Set("Last-Event-ID", last)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil || res.StatusCode != http.StatusOK || res.Header.Get("Content-Type") != "text/event-stream" {
		o.Fatalf("%v %+v", err, res)
	}
	events := make(chan heard, 100)
	go func() { // it ends with the response
		defer close(events)
		defer func() { _ = res.Body.Close() }()
		id := ""
		for s := bufio.NewScanner(res.Body); s.Scan(); {
			if text, ok := strings.CutPrefix(s.Text(), "id: "); ok {
				id = text
			}
			if text, ok := strings.CutPrefix(s.Text(), "data: "); ok {
				var h heard
				if json.Unmarshal([]byte(text), &h) == nil && h.ID == id {
					events <- h
				}
			}
		}
	}()
	return events, stop
}

func next(t *testing.T, events <-chan heard) heard {
	t.Helper()
	return wait.Next(t, events, "an event")
}

// The proxy opens a WebSocket to an application, which controls telephones over it. After a break it goes on after what the
// application has acknowledged.
func TestConnect(t *testing.T) {
	arrived := make(chan *websocket.Conn, 10)
	application := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{protocolEvents}})
		if err != nil || r.Header.Get("Authorization") != "Bearer secret" || r.Header.Get("X-Tenant") != "7" || conn.Subprotocol() != protocolEvents {
			t.Errorf("%v %+v", err, r.Header)
			return
		}
		arrived <- conn
	}))
	defer application.Close()
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	o := newOffice(t, func(s *Settings) {
		s.Connect = []Connection{{URL: "ws" + strings.TrimPrefix(application.URL, "http"), As: "crm", TokenFile: token, Headers: map[string]string{"X-Tenant": "7"}, Devices: []string{"101"}}}
	})
	p := &peer{o: o, conn: wait.Next(t, arrived, "a connection")}
	if h := p.next(); h.Type != "ready" {
		t.Fatalf("%+v", h)
	}
	made := p.ask("1", "POST", "/v1/devices/100/calls", `{"to":"101"}`)
	if made.Status != http.StatusCreated {
		t.Fatalf("%+v %s", made, made.Body)
	}
	first := p.next()
	p.write(`{"ack":"` + first.ID + `"}`)
	if h := p.ask("2", "POST", "/v1/devices/101/calls/"+first.Call+"/answer", ""); h.Status != http.StatusOK {
		t.Errorf("%+v %s", h, h.Body)
	}
	second := p.next()
	_ = p.conn.CloseNow()
	p = &peer{o: o, conn: wait.Next(t, arrived, "another connection")}
	if h := p.next(); h.Type != "ready" {
		t.Errorf("%+v", h)
	}
	if h := p.next(); h.Type != "established" || h.Seq != second.Seq {
		t.Errorf("%+v, want it again: %+v", h, second)
	}
}

// The description of the WebSocket has each message, and only references that lead somewhere.
func TestAsyncAPI(t *testing.T) {
	o := newOffice(t)
	res, err := http.Get(o.http.URL + "/asyncapi.json")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	var document map[string]any
	if err := json.NewDecoder(res.Body).Decode(&document); err != nil || document["asyncapi"] != "3.0.0" {
		t.Fatal(err, document)
	}
	references := 0
	var walk func(any)
	walk = func(v any) {
		switch v := v.(type) {
		case []any:
			for _, item := range v {
				walk(item)
			}
		case map[string]any:
			if ref, ok := v["$ref"].(string); ok {
				references++
				at := any(document)
				for name := range strings.SplitSeq(strings.TrimPrefix(ref, "#/"), "/") {
					inside, _ := at.(map[string]any)
					at = inside[name]
				}
				if at == nil {
					t.Errorf("%s leads nowhere", ref)
				}
			}
			for _, item := range v {
				walk(item)
			}
		}
	}
	walk(document)
	if references < 30 {
		t.Errorf("%d references", references)
	}
	text, _ := json.Marshal(document)
	for _, want := range []string{"delivered", "agentReady", "doNotDisturb", "heartbeat", "lastRedirection"} {
		if !strings.Contains(string(text), `"`+want+`"`) {
			t.Errorf("%s is missing", want)
		}
	}
}
