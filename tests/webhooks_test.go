package tests

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// hookReceiver receives the events of a webhook. Each request gets the status that says returns.
type hookReceiver struct {
	t       *testing.T
	address string
	secure  string // folder of certificate and key; "": http

	mu     sync.Mutex
	says   func(told) int
	got    []told // that were taken, in order
	server *http.Server
}

func receiveHooks(t *testing.T, address, secure string) *hookReceiver {
	t.Helper()
	r := &hookReceiver{t: t, address: address, secure: secure}
	r.open()
	t.Cleanup(r.close)
	return r
}

func (r *hookReceiver) open() {
	r.t.Helper()
	var l net.Listener
	waitFor(r.t, "the port of the receiver", func() (open bool) {
		var err error
		l, err = net.Listen("tcp", r.address)
		return err == nil
	})
	server := &http.Server{Handler: r, ReadHeaderTimeout: patience}
	r.server = server
	go func() {
		if r.secure != "" {
			_ = server.ServeTLS(l, filepath.Join(r.secure, "cert.pem"), filepath.Join(r.secure, "key.pem"))
			return
		}
		_ = server.Serve(l)
	}()
}

// close ends the receiver at once, with what is under way.
func (r *hookReceiver) close() { _ = r.server.Close() }

func (r *hookReceiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	data, err := io.ReadAll(req.Body)
	if err != nil { // the proxy was killed, or the receiver closed, in the middle of it
		return
	}
	var cloud struct{ Data told }
	if err := json.Unmarshal(data, &cloud); err != nil || cloud.Data.Seq == 0 {
		r.t.Errorf("a webhook gets %q: %v", data, err)
	}
	r.mu.Lock()
	says := r.says
	r.mu.Unlock()
	status := http.StatusOK
	if says != nil {
		status = says(cloud.Data)
	}
	if status == http.StatusOK {
		r.mu.Lock()
		r.got = append(r.got, cloud.Data)
		r.mu.Unlock()
	}
	w.WriteHeader(status)
}

// answers has the receiver respond as says wants from now on; nil: 200.
func (r *hookReceiver) answers(says func(told) int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.says = says
}

func (r *hookReceiver) taken() []told {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.got)
}

// missing returns which of some events have not been taken.
func (r *hookReceiver) missing(events []told) (seqs []uint64) {
	have := map[uint64]bool{}
	for _, e := range r.taken() {
		have[e.Seq] = true
	}
	for _, e := range events {
		if !have[e.Seq] {
			seqs = append(seqs, e.Seq)
		}
	}
	return seqs
}

// inOrder checks that events of a device have come in order; a repetition counts at its first time. but is the event that
// was delivered by hand.
func (r *hookReceiver) inOrder(but uint64) {
	r.t.Helper()
	last, seen := map[string]uint64{}, map[uint64]bool{but: true}
	for _, e := range r.taken() {
		if seen[e.Seq] {
			continue
		}
		if seen[e.Seq] = true; e.Seq < last[e.Device] {
			r.t.Errorf("event %d of device %s comes after %d", e.Seq, e.Device, last[e.Device])
		}
		last[e.Device] = e.Seq
	}
}

// calls has some telephones call others, and ends the calls. It returns the last call.
func (i *interfaced) calls(n int) (last string) {
	i.t.Helper()
	for at := range n {
		status, call := i.post(fmt.Sprintf("/v1/devices/%d/calls", 1000+at), fmt.Sprintf(`{"to":"%d"}`, 2000+at))
		if status != http.StatusCreated {
			i.t.Fatalf("a call: status %d", status)
		}
		if status, _ = i.post(fmt.Sprintf("/v1/devices/%d/calls/%s/clear", 1000+at, call), ""); status != http.StatusOK {
			i.t.Fatalf("the end of a call: status %d", status)
		}
		last = call
	}
	return last
}

// recorded returns the events from one on, up to the end of a call at both of its telephones.
func (i *interfaced) recorded(after, call string) (events []told) {
	i.t.Helper()
	s, err := i.subscriber("?devices=*&after=" + after)
	if err != nil {
		i.t.Fatal(err)
	}
	defer s.close()
	for ends := 0; ends < 2; {
		e, err := s.next()
		if err != nil {
			i.t.Fatal(err)
		}
		if e.Type == "ready" || e.Type == "heartbeat" {
			continue
		}
		events = append(events, e)
		if e.Type == "connectionCleared" && e.Call == call && e.State == "null" {
			ends++
		}
	}
	return events
}

// A webhook of the configuration and one of a client get every event at least once, those of a device in order, although
// their receivers fail, are slow and are killed, and the proxy is killed twice. The administrator sees what is wrong, and
// delivers what was refused.
func TestWebhooksThroughKills(t *testing.T) {
	tool(t, "ip")
	if !alone(t) { // a webhook of a client reaches public addresses only: here, one is this machine's
		return
	}
	if out, err := exec.CommandContext(t.Context(), "ip", "address", "add", publicAddress+"/32", "dev", "lo").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	dir := t.TempDir()
	certificates(t, dir)
	t.Setenv("SSL_CERT_FILE", filepath.Join(dir, "cert.pem"))
	configured := receiveHooks(t, fmt.Sprintf("127.0.0.1:%d", freePort(t)), "")
	own := receiveHooks(t, fmt.Sprintf("%s:%d", publicAddress, freePort(t)), dir)
	i := &interfaced{address: fmt.Sprintf("127.0.0.1:%d", freePort(t)), rest: &http.Client{Timeout: patience}}
	a := administer(t, fmt.Sprintf("%slimits: {calls-per-minute: 100000}\napi:\n  listen: [{transport: tcp, address: %q}]\n  events: {file: %s}\n  webhooks: [{name: calls, url: \"http://%s/secret\", private: true}]\n",
		everybody, i.address, filepath.Join(dir, "events.db"), configured.address))
	i.running = a.running
	c := &webClient{t: t, client: checking(t, "127.0.0.1"), server: "http://" + i.address}

	for _, host := range []string{"localhost", "10.1.1.1", "[::1]"} {
		if said := c.ask("POST", "/v1/webhooks", fmt.Sprintf(`{"name":"own","url":"https://%s:9000/"}`, host)); said.status != http.StatusUnprocessableEntity || !strings.Contains(said.String(), "not public") {
			t.Errorf("a webhook to %s: %s", host, said)
		}
	}
	if said := c.ask("POST", "/v1/webhooks", fmt.Sprintf(`{"name":"own","url":"https://%s/"}`, own.address)); said.status != http.StatusCreated {
		t.Fatal(said)
	}
	if said := c.ask("GET", "/v1/webhooks/own", ""); said.status != http.StatusOK || !strings.Contains(said.String(), `"noRoom":false`) || strings.Contains(said.String(), "whsec") {
		t.Error(said)
	}
	if said := c.ask("GET", "/v1/webhooks/calls", ""); said.status != http.StatusNotFound {
		t.Errorf("a client sees a webhook of the configuration: %s", said)
	}
	i.watched()
	first, err := i.subscriber("?devices=*")
	if err != nil {
		t.Fatal(err)
	}
	before, err := first.next()
	if err != nil {
		t.Fatal(err)
	}
	first.close()

	fails := func(told) int { return http.StatusInternalServerError }
	slow := func(told) int {
		<-time.After(20 * time.Millisecond)
		return http.StatusOK
	}
	i.calls(3)
	configured.answers(fails)
	own.answers(slow)
	i.calls(3)
	waitFor(t, "a failure", func() bool {
		return strings.Contains(a.admin(0, "webhooks", "list"), "fails: 500 Internal Server Error")
	})
	if out := a.admin(0, "status"); !strings.Contains(out, "2 webhooks: failing 1, disabled 0, waiting for room 0; dead letters: 0;") {
		t.Error(out)
	}
	i.killed()
	i.watched()
	configured.answers(slow)
	own.close()
	last := i.calls(3)
	i.recorded(before.ID, last) // the kill does not overtake it
	i.killed()
	i.watched()
	own.open()
	own.answers(nil)

	var refused told // the event that the receiver does not take
	var mu sync.Mutex
	configured.answers(func(e told) int {
		mu.Lock()
		defer mu.Unlock()
		if refused.Seq == 0 && e.Device == "2001" && e.Type == "delivered" && e.ID > before.ID {
			refused = e
		}
		if e.Seq == refused.Seq {
			return http.StatusUnprocessableEntity
		}
		return http.StatusOK
	})
	last = i.calls(3)
	events := i.recorded(before.ID, last)
	at := before.Seq
	for _, e := range events {
		if e.Seq != at+1 {
			t.Fatalf("event %d follows %d", e.Seq, at)
		}
		at = e.Seq
	}
	a.process = i.process
	var dead []struct{ ID, Device, Reason string }
	waitFor(t, "the dead letter", func() bool {
		return json.Unmarshal([]byte(a.admin(0, "webhooks", "dead", "calls", "--json")), &dead) == nil && len(dead) == 1
	})
	if dead[0].Device != "2001" || !strings.HasPrefix(dead[0].Reason, "422") || dead[0].ID != refused.ID {
		t.Errorf("%+v", dead)
	}
	waitFor(t, "all events but one", func() bool { return slices.Equal(configured.missing(events), []uint64{refused.Seq}) })
	waitFor(t, "all events", func() bool { return len(own.missing(events)) == 0 })
	if out := a.admin(1, "webhooks", "replay", "calls", refused.ID); !strings.Contains(out, refused.ID+": failed: 422") {
		t.Error(out)
	}
	configured.answers(nil)
	if out := a.admin(0, "status"); !strings.Contains(out, "dead letters: 1") {
		t.Error(out)
	}
	if out := a.admin(0, "webhooks", "replay", "calls", "--all"); out != refused.ID+": delivered\n" || len(configured.missing(events)) > 0 {
		t.Error(out)
	}
	if out := a.admin(0, "webhooks", "dead", "calls"); out != "there are no dead letters\n" {
		t.Error(out)
	}
	configured.inOrder(refused.Seq)
	own.inOrder(0)
	t.Logf("%d events; %d and %d requests taken", len(events), len(configured.taken()), len(own.taken()))

	// A receiver that wants no events gets none until the administrator enables the webhook.
	own.answers(func(told) int { return http.StatusGone })
	i.calls(1)
	waitFor(t, "the webhook to be disabled", func() bool {
		return strings.Contains(a.admin(0, "webhooks", "list"), "disabled: its receiver says 410 Gone")
	})
	own.answers(nil)
	a.admin(1, "webhooks", "enable", "own")
	a.admin(0, "webhooks", "enable", "own", "--owner", "127.0.0.1")
	last = i.calls(1)
	events = i.recorded(before.ID, last)
	waitFor(t, "the events after the webhook is enabled", func() bool { return len(own.missing(events)) == 0 })

	// The administrator removes a webhook of a client, whatever its name; not one of the configuration.
	if said := c.ask("POST", "/v1/webhooks", fmt.Sprintf(`{"name":"calls","url":"https://%s/"}`, own.address)); said.status != http.StatusCreated {
		t.Fatal(said)
	}
	a.admin(0, "webhooks", "replay", "calls", "--all")
	a.admin(0, "webhooks", "remove", "calls", "--owner", "127.0.0.1")
	if said := c.ask("GET", "/v1/webhooks/calls", ""); said.status != http.StatusNotFound {
		t.Errorf("a webhook that the administrator has removed: %s", said)
	}
	a.admin(1, "webhooks", "remove", "calls")
	a.admin(1, "webhooks", "enable", "none")
	a.admin(1, "webhooks", "dead", "own", "--owner", "")
	a.admin(1, "webhooks", "drop", "calls", "1")
	a.admin(2, "webhooks", "replay", "calls")
	a.admin(2, "webhooks", "drop", "calls", "1", "--all")
	if out := a.admin(0, "webhooks", "list"); !strings.Contains(out, "(configuration)") || !strings.Contains(out, "  127.0.0.1  ") || strings.Contains(out, "secret") {
		t.Error(out)
	}
	if out, _ := command(t, "__complete", "webhooks", "--socket", a.socket, "dead", ""); !strings.Contains(out, "calls\t(configuration)\n") || !strings.Contains(out, "own\t") {
		t.Error(out)
	}
}
