package webhook

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	cryptotls "crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/eventlog"
	"github.com/tr87proxy/tr87proxy/internal/wait"
)

// lines is a log that tests read.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// bench is a sender with its log.
type bench struct {
	*Sender

	t      testing.TB
	events *eventlog.Log
	said   lines
	stop   func() // ends Run, and waits
	next   map[string]int
}

func filterOdd(owner string, e eventlog.Entry) bool {
	return owner == "alice" && strings.HasPrefix(e.Device, "1")
}

// sender returns a sender that runs, with a log in a file or, with "", in memory.
func sender(t testing.TB, path string, hooks ...Hook) *bench {
	t.Helper()
	return aged(t, path, 0, hooks...)
}

// aged is sender with a log that keeps events for a time.
func aged(t testing.TB, path string, age time.Duration, hooks ...Hook) *bench {
	t.Helper()
	events, err := eventlog.Open(path, eventlog.Limits{Unsynced: true, Age: age}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{t: t, events: events, next: map[string]int{}}
	b.run(hooks...)
	t.Cleanup(func() {
		b.stop()
		_ = events.Close()
	})
	return b
}

func (b *bench) run(hooks ...Hook) {
	b.t.Helper()
	var err error
	if b.Sender, err = New(b.events, filterOdd, slog.New(slog.NewTextHandler(&b.said, nil))); err != nil {
		b.t.Fatal(err)
	}
	if err := b.Set(hooks); err != nil {
		b.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); b.Run(ctx) }()
	b.stop = func() { cancel(); <-done }
}

// add appends an event of a device, whose member n counts those of the device.
func (b *bench) add(device string) uint64 {
	b.t.Helper()
	b.next[device]++
	return b.append(device, "delivered", fmt.Sprintf(`{"time":"2026-01-02T03:04:05.678Z","type":"delivered","device":%q,"n":%d}`, device, b.next[device]))
}

func (b *bench) append(device, kind, data string) uint64 {
	b.t.Helper()
	seq := make(chan uint64, 1)
	if err := b.events.Append([]eventlog.Entry{{Device: device, Kind: kind, Data: []byte(data)}}, func(n uint64, _ error) { seq <- n }); err != nil {
		b.t.Fatal(err)
	}
	return <-seq
}

func (b *bench) status(name string) Status {
	for _, s := range b.All() {
		if s.Name == name {
			return s
		}
	}
	return Status{}
}

// got is a request that a receiver got.
type got struct {
	header http.Header
	path   string
	body   []byte
	device string
	n      int
}

// read reads a request.
func read(r *http.Request) got {
	body, _ := io.ReadAll(r.Body)
	g := got{header: r.Header, path: r.URL.Path, body: body}
	var v struct {
		Data struct {
			Device string
			N      int
		}
	}
	_ = json.Unmarshal(body, &v)
	g.device, g.n = v.Data.Device, v.Data.N
	return g
}

// receiver is a server that says what it got, after it has decided on a response.
func receiver(t testing.TB, respond func(got) int) (url string, requests chan got) {
	t.Helper()
	requests = make(chan got, 10_000)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g := read(r)
		status := respond(g)
		w.WriteHeader(status)
		requests <- g
	}))
	t.Cleanup(server.Close)
	return server.URL, requests
}

func always(status int) func(got) int { return func(got) int { return status } }

// The body is a CloudEvent, and each secret signs it, as somebody else computes it who follows the standard.
func TestDelivered(t *testing.T) {
	requests := make(chan got, 10)
	server := httptest.NewTLSServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { requests <- read(r) }))
	defer server.Close()
	keys := [][]byte{bytes.Repeat([]byte{1}, 24), bytes.Repeat([]byte{2}, 64)}
	file := filepath.Join(t.TempDir(), "secrets")
	text := "whsec_" + base64.StdEncoding.EncodeToString(keys[0]) + "\nwhsec_" + base64.StdEncoding.EncodeToString(keys[1]) + "\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	b := sender(t, "", Hook{Name: "crm", URL: server.URL + "/hook?x=1", SecretsFile: file, Private: true})
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	b.clients[true].Transport.(*http.Transport).TLSClientConfig = &cryptotls.Config{RootCAs: roots} //nolint:forcetypeassert // it is
	seq := b.add("100")
	g := wait.Next(t, requests, "the request")
	var v struct {
		Version string `json:"specversion"`
		ID, Source, Type, Subject,
		Time, DataContentType string
		Data map[string]any
	}
	if err := json.Unmarshal(g.body, &v); err != nil {
		t.Fatal(err)
	}
	id := strconv.FormatUint(seq, 10)
	if v.Version != "1.0" || v.ID != id || v.Source != "urn:tr87proxy:"+b.instance || v.Type != "tr87proxy.delivered" || v.Subject != "100" || v.DataContentType != "application/json" || v.Data["id"] != id || v.Data["n"] != 1.0 {
		t.Errorf("%s", g.body)
	}
	if _, err := time.Parse(time.RFC3339, v.Time); err != nil || !strings.HasSuffix(v.Time, "Z") {
		t.Error(v.Time, err)
	}
	if g.header.Get("Content-Type") != "application/cloudevents+json" || g.path != "/hook" || g.header.Get("webhook-id") != b.instance+"-"+id || strings.Contains(g.header.Get("webhook-id"), ".") {
		t.Error(g.header, g.path)
	}
	at, err := strconv.ParseInt(g.header.Get("webhook-timestamp"), 10, 64)
	if err != nil || time.Since(time.Unix(at, 0)) > wait.Limit {
		t.Error(at, err)
	}
	var want []string
	for _, key := range keys {
		mac := hmac.New(sha256.New, key)
		fmt.Fprintf(mac, "%s.%d.%s", g.header.Get("webhook-id"), at, g.body)
		want = append(want, "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	}
	if signed := g.header.Get("webhook-signature"); signed != strings.Join(want, " ") {
		t.Errorf("signed %q, want %q", signed, want)
	}
}

// The signature of the example in the documents of Standard Webhooks' libraries.
func TestSignature(t *testing.T) {
	h := Hook{Name: "n", URL: "https://a.example", Secrets: []string{"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}}
	keys, err := h.keys()
	if err != nil {
		t.Fatal(err)
	}
	header := http.Header{}
	(&target{keys: keys}).sign(header, "msg_p5jXN8AQM9LWM0D4loKWxJek", time.Unix(1614265330, 0), []byte(`{"test": 2432232314}`))
	if got := header.Get("webhook-signature"); got != "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=" {
		t.Error(got)
	}
}

// A device whose event fails gets it again, in order; other devices do not wait.
func TestOrder(t *testing.T) {
	var mu sync.Mutex
	failed, free := 0, false
	url, requests := receiver(t, func(g got) int {
		mu.Lock()
		defer mu.Unlock()
		if g.device == "100" && !free {
			failed++
			return http.StatusInternalServerError
		}
		return http.StatusNoContent
	})
	b := sender(t, "", Hook{Name: "crm", URL: url, Private: true})
	seen := map[string][]int{}
	b.add("100")
	for range 50 {
		for _, device := range []string{"100", "101", "102"} {
			b.add(device)
		}
	}
	for len(seen["101"]) < 50 || len(seen["102"]) < 50 {
		if g := wait.Next(t, requests, "events of other devices"); g.device != "100" {
			seen[g.device] = append(seen[g.device], g.n)
		} else if g.n != 1 {
			t.Fatalf("event %d comes before event 1", g.n)
		}
	}
	mu.Lock()
	free = true
	mu.Unlock()
	for len(seen["100"]) < 51 {
		if g := wait.Next(t, requests, "events of the device"); len(seen["100"]) > 0 || g.n == 1 {
			seen["100"] = append(seen["100"], g.n)
		}
	}
	for device, numbers := range seen {
		if numbers = slices.Compact(numbers); !slices.IsSorted(numbers) || numbers[0] != 1 || numbers[len(numbers)-1] != len(numbers) {
			t.Errorf("%s: %v", device, numbers)
		}
	}
	wait.For(t, "the counts", func() bool { return b.status("crm").Delivered == 151 })
	if s := b.status("crm"); s.Failed != int64(failed) || s.Retried != s.Failed || s.Dead+s.Lost+s.Waiting > 0 || s.Failure != "" {
		t.Errorf("%+v, %d failures", s, failed)
	}
	for _, text := range []string{"could not deliver to webhook: trying again", "webhook delivers again"} {
		if !strings.Contains(b.said.String(), text) {
			t.Error(b.said.String())
		}
	}
}

// After a restart a hook goes on with what waits, and sends nothing again.
func TestResume(t *testing.T) {
	var mu sync.Mutex
	free := false
	seen := map[string][]int{}
	url, _ := receiver(t, func(g got) int {
		mu.Lock()
		defer mu.Unlock()
		if g.device == "100" && !free {
			return http.StatusInternalServerError
		}
		seen[g.device] = append(seen[g.device], g.n)
		return http.StatusOK
	})
	path := filepath.Join(t.TempDir(), "events.db")
	hook := Hook{Name: "crm", URL: url, Private: true}
	b := sender(t, path, hook)
	for range 20 {
		b.add("100")
		b.add("101")
	}
	wait.For(t, "the other device", func() bool { return b.status("crm").Delivered == 20 })
	b.stop()
	b.add("101")
	b.run(hook)
	b.add("100")
	wait.For(t, "the other device", func() bool { return b.status("crm").Delivered == 1 })
	mu.Lock()
	free = true
	mu.Unlock()
	wait.For(t, "the rest", func() bool { return b.status("crm").Delivered == 22 })
	mu.Lock()
	defer mu.Unlock()
	for _, numbers := range seen {
		if len(numbers) != 21 || !slices.IsSorted(numbers) || len(slices.Compact(numbers)) != 21 {
			t.Error(seen)
		}
	}
}

// A hook gets the devices and types that it wants, and its owner may observe.
func TestWanted(t *testing.T) {
	url, requests := receiver(t, always(http.StatusOK))
	b := sender(t, "",
		Hook{Name: "some", URL: url + "/some", Private: true, Devices: []string{"10?", "200-299"}, Types: []string{"held", "delivered"}},
		Hook{Name: "all", URL: url + "/all", Private: true})
	for _, e := range []struct{ device, kind string }{{"101", "held"}, {"1000", "held"}, {"200", "delivered"}, {"102", "retrieved"}, {"103", "held"}} {
		b.append(e.device, e.kind, fmt.Sprintf(`{"device":%q}`, e.device))
	}
	seen := map[string][]string{}
	for range 8 {
		g := wait.Next(t, requests, "the requests")
		seen[g.path] = append(seen[g.path], g.device)
	}
	slices.Sort(seen["/some"])
	if len(seen["/all"]) != 5 || !slices.Equal(seen["/some"], []string{"101", "103", "200"}) {
		t.Error(seen)
	}
}

// Redirects are failures, and nobody follows them. A response of any length is a success by its status.
func TestRedirect(t *testing.T) {
	elsewhere, strays := receiver(t, always(http.StatusOK))
	var mu sync.Mutex
	tries := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if tries++; tries == 1 {
			http.Redirect(w, r, elsewhere, http.StatusTemporaryRedirect)
			return
		}
		w.WriteHeader(http.StatusOK)
		for range 1000 {
			if _, err := w.Write(make([]byte, 1<<16)); err != nil {
				return
			}
		}
	}))
	defer server.Close()
	b := sender(t, "", Hook{Name: "crm", URL: server.URL, Private: true})
	b.add("100")
	wait.For(t, "the redirect", func() bool { return strings.HasPrefix(b.status("crm").Failure, "307 Temporary Redirect") })
	wait.For(t, "the success", func() bool { return b.status("crm").Delivered == 1 })
	if len(strays) > 0 {
		t.Error("somebody follows")
	}
}

// A receiver that does not respond fails in time, and a token in its URL does not appear in the log.
func TestSilent(t *testing.T) {
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer server.Close()
	defer close(release)
	b := sender(t, "")
	b.clients[true].Timeout = 50 * time.Millisecond
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	password := strings.Replace(closed.URL, "://", "://user:secret-password@", 1)
	if err := b.Set([]Hook{{Name: "silent", URL: server.URL + "/secret-token", Private: true}, {Name: "closed", URL: password + "/secret-token?secret-query", Private: true}, {Name: "nowhere", URL: "http://host.invalid/secret-token", Private: true}}); err != nil {
		t.Fatal(err)
	}
	b.add("100")
	for name, reason := range map[string]string{"silent": "no response in time", "closed": "connection refused", "nowhere": "the host of the URL cannot be resolved"} {
		wait.For(t, "the failure of "+name, func() bool {
			return strings.Contains(b.status(name).Failure, reason) || name == "nowhere" && b.status(name).Failure == "no response in time"
		})
		if reason := b.status(name).Failure; strings.Contains(reason, "secret") {
			t.Error(reason)
		}
	}
	if strings.Contains(b.said.String(), "secret") {
		t.Error(b.said.String())
	}
}

// 410 disables a hook, also after a restart, until somebody enables it or the URL is another one. Nothing is lost.
func TestGone(t *testing.T) {
	var mu sync.Mutex
	gone := true
	url, requests := receiver(t, func(got) int {
		mu.Lock()
		defer mu.Unlock()
		if gone {
			return http.StatusGone
		}
		return http.StatusOK
	})
	path := filepath.Join(t.TempDir(), "events.db")
	hook := Hook{Name: "crm", URL: url, Private: true}
	b := sender(t, path, hook)
	b.add("100")
	wait.Next(t, requests, "the request")
	wait.For(t, "the end", func() bool { return b.status("crm").Disabled })
	b.add("100")
	b.stop()
	b.run(hook)
	if !b.status("crm").Disabled || !strings.Contains(b.said.String(), "webhook disabled: its receiver says 410 Gone") {
		t.Error(b.said.String())
	}
	mu.Lock()
	gone = false
	mu.Unlock()
	if len(requests) > 0 {
		t.Error("a disabled hook sends")
	}
	if err := b.Enable("", "crm"); err != nil {
		t.Fatal(err)
	}
	for n := 1; n <= 2; n++ {
		if g := wait.Next(t, requests, "the events"); g.n != n {
			t.Errorf("event %d instead of %d", g.n, n)
		}
	}
	if err := b.Enable("", "other"); !errors.Is(err, ErrNone) {
		t.Error(err)
	}
}

// Without private: true a hook reaches no private address, whatever name its URL has.
func TestPrivate(t *testing.T) {
	requests := make(chan struct{}, 10)
	server := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { requests <- struct{}{} }))
	defer server.Close()
	b := sender(t, "", Hook{Name: "crm", URL: strings.Replace(server.URL, "127.0.0.1", "localhost", 1)})
	b.add("100")
	wait.For(t, "the failure", func() bool { return b.status("crm").Failure == errAddress.Error() })
	if len(requests) > 0 {
		t.Error("the request has arrived")
	}
}

// A reload keeps the position of hooks that stay, and forgets those that do not.
func TestSet(t *testing.T) {
	url, requests := receiver(t, always(http.StatusOK))
	hook := func(name, path string) Hook { return Hook{Name: name, URL: url + path, Private: true} }
	b := sender(t, "", hook("a", "/1"), hook("b", "/1"))
	expect := func(want ...string) {
		t.Helper()
		var paths []string
		for range want {
			g := wait.Next(t, requests, "the request")
			paths = append(paths, fmt.Sprint(g.path, g.n))
		}
		if slices.Sort(paths); !slices.Equal(paths, want) || len(requests) > 0 {
			t.Errorf("%v instead of %v", paths, want)
		}
	}
	b.add("100")
	expect("/11", "/11")
	for name, bad := range map[string][]Hook{"twice": {hook("a", ""), hook("a", "")}, "wrong": {hook("c", "/3"), {Name: "d", URL: "ftp://x"}}, "owned": {{Name: "a", URL: "https://a.example", Owner: "alice"}}} {
		if err := b.Set(bad); err == nil || len(b.All()) != 2 {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := b.Set([]Hook{hook("a", "/2"), hook("c", "/3")}); err != nil {
		t.Fatal(err)
	}
	b.add("100")
	expect("/22", "/32")
	if s := b.status("a"); len(b.All()) != 2 {
		t.Errorf("%+v", s)
	}
	if data, err := b.events.Get(positions, id("", "b")); data != nil || err != nil {
		t.Errorf("%s %v", data, err)
	}
	wait.For(t, "the counts", func() bool { return b.status("a").Delivered == 2 && b.status("c").Delivered == 1 })
}

// Hooks that are added at run time survive a restart, count for their owner only, and never show their secrets.
func TestAdd(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events.db")
	b := sender(t, path)
	var arrived sync.Map
	client := &http.Client{Transport: transport(func(r *http.Request) int {
		arrived.Store(read(r).device+r.URL.Host, r.Header.Get("webhook-signature"))
		return http.StatusOK
	})}
	b.clients[false] = client
	hook := Hook{Name: "crm", URL: "https://one.example/", Owner: "alice", Devices: []string{"1*", "2*"}}
	added, err := b.Add(hook)
	if err != nil || len(added.Secrets) != 1 {
		t.Fatal(added, err)
	}
	if _, err := b.Add(hook); !errors.Is(err, ErrExists) {
		t.Error(err)
	}
	for _, bad := range []Hook{{Name: "x", URL: "https://a.example", Owner: "alice", Private: true}, {Name: "x", URL: "https://a.example", Owner: "alice", SecretsFile: "/etc/passwd"}, {Name: "x", URL: "https://a.example"}} {
		var faults Faults
		if _, err := b.Add(bad); !errors.As(err, &faults) || strings.Contains(err.Error(), "root") {
			t.Errorf("%+v: %v", bad, err)
		}
	}
	other := hook
	other.Owner, other.URL = "bob", "https://two.example/"
	if _, err := b.Add(other); err != nil {
		t.Error(err)
	}
	b.add("100")
	b.add("200")
	b.add("101")
	signed := func(at string) bool { _, ok := arrived.Load(at); return ok }
	wait.For(t, "the event", func() bool { return signed("101one.example") && signed("100one.example") })
	if signed("200one.example") || signed("100two.example") {
		t.Error("an owner gets what she may not observe")
	}
	b.stop()
	b.run()
	b.clients[false].Transport = client.Transport
	if list := b.List("alice"); len(list) != 1 || list[0].Name != "crm" || list[0].Secrets != nil || list[0].Delivered != 0 {
		t.Errorf("%+v", list)
	}
	if text, err := json.Marshal(b.All()); err != nil || bytes.Contains(text, []byte("whsec")) {
		t.Error(string(text), err)
	}
	b.add("102")
	wait.For(t, "the event", func() bool { return signed("102one.example") })
	if text, _ := arrived.Load("102one.example"); text == "" {
		t.Error("the secret is gone")
	}
	for n := 1; n < mostOfOne; n++ {
		hook.Name = fmt.Sprint(n)
		if _, err := b.Add(hook); err != nil {
			t.Fatal(err)
		}
	}
	hook.Name = "more"
	if _, err := b.Add(hook); !errors.Is(err, ErrTooMany) {
		t.Error(err)
	}
	for _, name := range [][2]string{{"bob", "none"}, {"", "crm"}, {"carol", "crm"}} {
		if err := b.Remove(name[0], name[1]); !errors.Is(err, ErrNone) {
			t.Error(name, err)
		}
	}
	if err := b.Remove("bob", "crm"); err != nil || len(b.List("bob")) > 0 || len(b.List("alice")) != mostOfOne {
		t.Error(err, len(b.List("bob")))
	}
	b.stop()
	b.run()
	if len(b.All()) != mostOfOne {
		t.Errorf("%d hooks", len(b.All()))
	}
}

// transport is a receiver without a network.
type transport func(*http.Request) int

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	recorder := httptest.NewRecorder()
	status := f(r)
	if status/1000 > 0 {
		recorder.Header().Set("Retry-After", strconv.Itoa(status/1000))
	}
	recorder.WriteHeader(status % 1000)
	return recorder.Result(), nil
}
