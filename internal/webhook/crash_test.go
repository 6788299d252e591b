package webhook

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/tr87proxy/tr87proxy/internal/eventlog"
	"github.com/tr87proxy/tr87proxy/internal/wait"
)

// childEnv gives a child process the file of its log, the URL of a receiver, the format of the hook, and the number of
// its first event.
const childEnv = "TR87_WEBHOOK_CHILD"

// TestMain delivers events of its own if the process is the child of a test. Each device gets one event after the other.
func TestMain(m *testing.M) {
	args := strings.Split(os.Getenv(childEnv), "|")
	if len(args) < 3 {
		os.Exit(m.Run())
	}
	events, err := eventlog.Open(args[0], eventlog.Limits{Unsynced: true}, slog.Default())
	var s *Sender
	if err == nil {
		s, err = New(events, Rights{}, slog.Default())
	}
	if err == nil {
		err = s.Set([]Hook{{Name: "crm", URL: args[1], Private: true, Format: args[2]}})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	go s.Run(context.Background())
	next := 0
	if _, last := events.Bounds(); true {
		if entries, _, _ := events.Read(last-1, 1); len(entries) == 1 {
			_, number, _ := strings.Cut(string(entries[0].Data), `"n":"`)
			next, _ = strconv.Atoi(strings.TrimSuffix(number, `"}`))
			next++
		}
	}
	committed := make(chan struct{})
	for ; ; next++ {
		// Of each call: it rings, is answered and ends.
		call, device := next/3, next/3%7
		kind := []string{"delivered", "established", "connectionCleared"}[next%3]
		state := []string{"alerting", "connected", "null"}[next%3]
		data := fmt.Sprintf(`{"type":%q,"device":"%d","call":"%d","link":"pbx","caller":"5","called":"%d","state":%q,"n":"%d"}`, kind, device, call, device, state, next)
		_ = events.Append([]eventlog.Entry{{Device: fmt.Sprint(device), Kind: kind, Data: []byte(data)}}, func(uint64, error) { committed <- struct{}{} })
		<-committed
		if next%3 == 2 { // the receiver sets the pace
			response, err := http.Get(args[1] + "/pace")
			if err == nil {
				_, _ = io.Copy(io.Discard, response.Body)
				_ = response.Body.Close()
			}
		}
	}
}

// A sender that is killed at any moment delivers each event at least once when it is started again, those of a call in
// order.
func TestKilled(t *testing.T) {
	t.Parallel()
	for _, format := range []string{CloudEvents, Zammad} {
		var mu sync.Mutex
		var bodies []string // in order of their first arrival
		times := map[string]int{}
		arrived := make(chan struct{}, 1_000_000)
		server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/pace" {
				return
			}
			body, _ := io.ReadAll(r.Body)
			mu.Lock()
			if times[string(body)]++; times[string(body)] == 1 {
				bodies = append(bodies, string(body))
			}
			mu.Unlock()
			arrived <- struct{}{}
		}))
		path := filepath.Join(t.TempDir(), "events.db")
		for round := range 8 {
			cmd := exec.CommandContext(t.Context(), os.Args[0])
			cmd.Env = append(os.Environ(), childEnv+"="+path+"|"+server.URL+"|"+format)
			cmd.Stderr = os.Stderr
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			for range 50 + 37*round {
				wait.Next(t, arrived, "events")
			}
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
		// What is in the log now comes from a sender that nobody kills.
		b := sender(t, path, Hook{Name: "crm", URL: server.URL, Private: true, Format: format})
		first, last := b.events.Bounds()
		total := int(last - first + 1)
		for total%3 != 0 { // the rest of the last call
			n := total
			kind, state := []string{"delivered", "established", "connectionCleared"}[n%3], []string{"alerting", "connected", "null"}[n%3]
			b.append(fmt.Sprint(n/3%7), kind, fmt.Sprintf(`{"type":%q,"device":"%d","call":"%d","link":"pbx","caller":"5","called":"%d","state":%q,"n":"%d"}`, kind, n/3%7, n/3, n/3%7, state, n))
			total++
		}
		count := func() int {
			mu.Lock()
			defer mu.Unlock()
			return len(bodies)
		}
		wait.For(t, "the rest", func() bool { return count() >= total })
		wait.For(t, "the end", func() bool { return b.status("crm").Waiting == 0 })
		b.stop()
		server.Close()
		if count() != total {
			t.Errorf("%s: %d bodies of %d events", format, count(), total)
		}
		steps := map[string]int{} // by call
		for _, body := range bodies {
			call, step := describe(t, format, body)
			if steps[call] != step {
				t.Errorf("%s: step %d of call %s comes after %d steps", format, step, call, steps[call])
			}
			steps[call]++
		}
	}
}

// describe returns the call of a body, and which of its events it is: 0, 1 or 2.
func describe(t *testing.T, format, body string) (call string, step int) {
	t.Helper()
	before, after := `"call":"`, `"type":"`
	names := []string{"delivered", "established", "connectionCleared"}
	if format == Zammad {
		before, after, names = `"callId":"`, `"event":"`, []string{newCall, answer, hangup}
	} else if _, data, ok := strings.Cut(body, `"data":`); ok {
		body = data
	}
	_, call, _ = strings.Cut(body, before)
	call, _, _ = strings.Cut(call, `"`)
	_, name, _ := strings.Cut(body, after)
	name, _, _ = strings.Cut(name, `"`)
	for i := range names {
		if names[i] == name {
			return call, i
		}
	}
	t.Fatalf("what is %s?", body)
	return "", 0
}
