package api

import (
	"context"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/eventlog"
	"github.com/tr87proxy/tr87proxy/internal/kind"
	"github.com/tr87proxy/tr87proxy/internal/wait"
	"github.com/tr87proxy/tr87proxy/proxy"
)

// slowClient is a connection to a client that takes its time for each event.
type slowClient struct {
	net.Conn

	events int
	last   string
	revoke func()
}

func (w *slowClient) Write(data []byte) (int, error) {
	if strings.HasPrefix(string(data), "id:") {
		w.events++
		w.last = string(data)
		w.revoke()
		time.Sleep(10 * time.Millisecond)
	}
	return len(data), nil
}

// A stream ends when its client's token is revoked, also if the client never catches up with the events.
func TestRevokedBehind(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	entries := make([]eventlog.Entry, 2000)
	for i := range entries {
		entries[i] = eventlog.Entry{Time: time.Now(), Device: "100", Kind: "held", Data: []byte(`{"type":"held","device":"100"}`)}
	}
	first := make(chan uint64, 1)
	if err := o.server.events.kept.Append(entries, func(n uint64, _ error) { first <- n }); err != nil {
		t.Fatal(err)
	}
	<-first
	var valid atomic.Bool
	valid.Store(true)
	known, err := o.core.Identify(t.Context(), proxy.Proof{Token: &proxy.Token{Name: "crm", How: "token", Valid: valid.Load}})
	if err != nil {
		t.Fatal(err)
	}
	c, err := o.server.open(caller{identified: known}, "127.0.0.1:40000", nil, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.session.Close(nil)
	want, err := c.wish(Subscription{Devices: []string{"100"}, After: "0"})
	if err != nil {
		t.Fatal(err)
	}
	client, conn := net.Pipe()
	defer client.Close()
	w := &slowClient{Conn: conn, revoke: func() { valid.Store(false) }}
	l := &lineStream{server: o.server, client: c, conn: w, woken: make(chan struct{}, 1)}
	want.Wake = l.wake
	if l.sub, err = o.server.events.recorder.Subscribe(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	l.over = l.sub.Close
	l.run()
	if w.events >= len(entries) || !strings.Contains(w.last, `"type":"end"`) || !strings.Contains(w.last, "the token has been revoked") {
		t.Errorf("%d events after the token was revoked; the last: %s", w.events, w.last)
	}
}

// A stream ends when its client leaves or the proxy stops, and frees its session and subscription. The response to HEAD has
// no stream.
func TestStreamEnds(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	users := func() (n int) {
		o.server.clients.mu.Lock()
		defer o.server.clients.mu.Unlock()
		for _, c := range o.server.clients.table {
			n += c.users
		}
		return n
	}
	freed := func() bool { return users() == 0 && o.server.events.recorder.Status().Subscribers == 0 }
	events, leave := o.listen("?devices=101", "")
	if e := next(t, events); e.Type != "ready" || freed() {
		t.Errorf("%+v; %d users", e, users())
	}
	leave()
	wait.For(t, "the end of the stream", freed)

	req, err := http.NewRequestWithContext(t.Context(), http.MethodHead, o.http.URL+eventsPath, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil || res.Header.Get("Content-Type") != typeStream {
		t.Fatalf("%v %+v", err, res)
	}
	_ = res.Body.Close()
	wait.For(t, "the end of the request", freed)

	events, leave = o.listen("?devices=101", "")
	defer leave()
	next(t, events)
	o.server.Close()
	if e := next(t, events); e.Type != "end" || e.Reason != errStopping.Error() || !freed() {
		t.Errorf("%+v; %d users", e, users())
	}
}

// A stream of a client that another front has identified says that the client has logged out, not that the proxy stops.
func TestStreamOfVisitor(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	known, err := o.core.Identify(t.Context(), proxy.Proof{Token: &proxy.Token{Name: "crm", How: "token", Valid: func() bool { return true }}})
	if err != nil {
		t.Fatal(err)
	}
	login, logOut := context.WithCancel(t.Context())
	v := &kind.Visitor{Identified: known, Front: "console", Valid: func() bool { return login.Err() == nil }}
	c, err := o.server.open(caller{identified: known, visitor: v}, "127.0.0.1:40000", nil, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.session.Close(nil)
	want, err := c.wish(Subscription{Devices: []string{"100"}})
	if err != nil {
		t.Fatal(err)
	}
	client, conn := net.Pipe()
	defer client.Close()
	w := &slowClient{Conn: conn, revoke: logOut} // with the first event
	l := &lineStream{server: o.server, client: c, conn: w, woken: make(chan struct{}, 1), leaving: login.Done()}
	want.Wake = l.wake
	if l.sub, err = o.server.events.recorder.Subscribe(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	l.over = l.sub.Close
	l.run()
	if !strings.Contains(w.last, errLeft.Error()) {
		t.Error(w.last)
	}
}
