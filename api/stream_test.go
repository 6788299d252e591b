package api

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/eventlog"
	"github.com/tr87proxy/tr87proxy/proxy"
)

// slowWriter is a client that takes its time for each event.
type slowWriter struct {
	*httptest.ResponseRecorder

	events int
	last   string
	revoke func()
}

func (w *slowWriter) Write(data []byte) (int, error) {
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
	r := httptest.NewRequestWithContext(withClient(t.Context(), c), http.MethodGet, eventsPath+"?devices=100&after=0", nil)
	w := &slowWriter{ResponseRecorder: httptest.NewRecorder(), revoke: func() { valid.Store(false) }}
	o.server.serveEvents(w, r)
	if w.events >= len(entries) || !strings.Contains(w.last, `"type":"end"`) || !strings.Contains(w.last, "the token has been revoked") {
		t.Errorf("%d events after the token was revoked; the last: %s", w.events, w.last)
	}
}
