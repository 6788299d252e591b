package api

import (
	"encoding/json"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/tr87proxy/tr87proxy/internal/wait"
)

// sockets returns the WebSockets of the server.
func (o *office) sockets() (list []*socket) {
	e := o.server.events
	e.mu.Lock()
	defer e.mu.Unlock()
	for k := range e.sockets {
		list = append(list, k)
	}
	return list
}

// callIn returns the call that a response names.
func callIn(h heard) string {
	var made struct{ Call string }
	_ = json.Unmarshal(h.Body, &made)
	return made.Call
}

// A client that has nothing to read gets a heartbeat and a ping, and the heartbeat's number moves on with events of others.
func TestHeartbeat(t *testing.T) {
	o := newOffice(t)
	p, other := o.dial("?devices=102"), o.dial("?devices=101")
	ready := p.next()
	other.next()
	made := other.ask("1", "POST", "/v1/devices/100/calls", `{"to":"101"}`)
	if made.Status != http.StatusCreated {
		t.Fatalf("%+v", made)
	}
	delivered := other.next()
	for _, k := range o.sockets() {
		wait.For(t, "nothing is being written", func() bool { return k.since.Load() == 0 })
		k.pulse(time.Now().Add(beatInterval))
	}
	if h := p.next(); h.Type != "heartbeat" || h.Seq < delivered.Seq || h.Seq <= ready.Seq {
		t.Errorf("%+v after %+v", h, delivered)
	}
	if h := other.next(); h.Type != "heartbeat" || h.Seq < delivered.Seq {
		t.Errorf("%+v", h)
	}
	if h := p.ask("2", "GET", "/v1/devices/102", ""); h.Status != http.StatusOK { // it is alive
		t.Errorf("%+v", h)
	}
}

// A client that does not read in time is told, and can resume.
func TestSlowSocket(t *testing.T) {
	o := newOffice(t)
	p := o.dial("?devices=101,102")
	p.next()
	busy := o.dial("?devices=")
	for range 400 { // each has six events of these devices, so more wait than may
		made := busy.ask("1", "POST", "/v1/devices/101/calls", `{"to":"102"}`)
		if made.Status != http.StatusCreated {
			t.Fatalf("%+v %s", made, made.Body)
		}
		if h := busy.ask("2", "POST", "/v1/devices/101/calls/"+callIn(made)+"/clear", ""); h.Status != http.StatusOK {
			t.Fatalf("%+v %s", h, h.Body)
		}
	}
	all := []heard{p.next()}
	for all[len(all)-1].Type != "slow" {
		all = append(all, p.next())
	}
	last := all[len(all)-1]
	if code, reason := p.closed(); code != websocket.StatusTryAgainLater || reason == "" {
		t.Error(code, reason)
	}
	again := o.dial("?devices=101,102&after=" + last.ID)
	if h := again.next(); h.Type != "ready" || h.Seq != last.Seq {
		t.Errorf("%+v, the last was %+v", h, last)
	}
	next := again.next()
	if before := all[len(all)-2]; next.Seq <= before.Seq || slices.ContainsFunc(all, func(h heard) bool { return h.Type != "slow" && h.Seq == next.Seq }) {
		t.Errorf("%+v follows %+v", next, before)
	}
}

// A client whose identity has no rights any more is told why its WebSocket closes.
func TestRightsAreGone(t *testing.T) {
	o := newOffice(t)
	p := o.dial("?devices=101")
	p.next()
	o.rules()
	if code, reason := p.closed(); code != websocket.StatusPolicyViolation || reason == "" {
		t.Error(code, reason)
	}
}

// A client that may not observe a device any more gets none of its events, and those of others go on.
func TestFewerRights(t *testing.T) {
	o := newOffice(t)
	p, other := o.dial("?devices=101,102"), o.dial("?devices=")
	p.next()
	o.rules("100", "102")
	if h := p.next(); h.Type != "revoked" || !slices.Equal(h.Devices, []string{"101"}) || h.Reason == "" { // although nothing happens
		t.Errorf("%+v", h)
	}
	for _, to := range []string{"101", "102"} {
		made := other.ask(to, "POST", "/v1/devices/100/calls", `{"to":"`+to+`"}`)
		if made.Status != http.StatusCreated {
			t.Fatalf("%+v %s", made, made.Body)
		}
		if h := other.ask("clear", "POST", "/v1/devices/100/calls/"+callIn(made)+"/clear", ""); h.Status != http.StatusOK {
			t.Fatalf("%+v %s", h, h.Body)
		}
	}
	if h := p.next(); h.Type != "delivered" || h.Device != "102" {
		t.Errorf("%+v", h)
	}
	if h := p.ask("1", "PUT", "/v1/events", `{"devices":["101"]}`); h.Status != http.StatusForbidden {
		t.Errorf("%+v", h)
	}
}
