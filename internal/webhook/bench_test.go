package webhook

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/eventlog"
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
	holds  func(owner string, by json.RawMessage) error
	stop   func() // ends Run, and waits
	next   map[string]int
	mu     sync.Mutex // held while a receiver of [fake] decides
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
	if b.Sender, err = New(b.events, Rights{Observe: filterOdd, Holds: b.holds}, slog.New(slog.NewTextHandler(&b.said, nil))); err != nil {
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
