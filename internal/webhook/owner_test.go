package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/eventlog"
	"github.com/tr87proxy/tr87proxy/internal/wait"
)

// own adds a hook of alice whose requests go to respond.
func (b *bench) own(name string, respond func(got) int, change ...func(*Hook)) {
	b.t.Helper()
	b.clients[false].Transport = transport(func(r *http.Request) int { return respond(read(r)) })
	h := Hook{Name: name, URL: "https://crm.example/", Owner: "alice", By: json.RawMessage(`"old"`)}
	for _, f := range change {
		f(&h)
	}
	if _, err := b.Add(h); err != nil {
		b.t.Fatal(err)
	}
}

// A hook stops when its owner's credentials do not hold any more, also after a restart, although they hold again; its owner
// enables it with others, and gets what has waited.
func TestLapsed(t *testing.T) {
	b := sender(t, filepath.Join(t.TempDir(), "events.db"))
	b.stop()
	revoked := errors.New("the token has been revoked")
	var mu sync.Mutex
	good := map[string]bool{`"old"`: true, `"new"`: true}
	b.holds = func(_ string, by json.RawMessage) error {
		mu.Lock()
		defer mu.Unlock()
		if good[string(by)] {
			return nil
		}
		return revoked
	}
	set := func(by string, holds bool) {
		mu.Lock()
		defer mu.Unlock()
		good[by] = holds
	}
	b.run()
	requests := make(chan got, 10)
	respond := func(g got) int { requests <- g; return http.StatusOK }
	b.own("crm", respond)
	b.add("100")
	wait.Next(t, requests, "the first event")
	wait.For(t, "the count", func() bool { return b.status("crm").Delivered == 1 })
	set(`"old"`, false)
	if s := b.status("crm"); !s.Disabled || s.Why != revoked.Error() || s.By != nil {
		t.Errorf("%+v", s)
	}
	b.add("100")
	wait.For(t, "the log", func() bool {
		return strings.Contains(b.said.String(), "webhook disabled: its owner could not add it any more")
	})
	if err := b.Enable("alice", "crm", nil); !errors.Is(err, revoked) {
		t.Errorf("enabled without credentials that hold: %v", err)
	}
	b.stop()
	set(`"old"`, true)
	b.run()
	b.clients[false].Transport = transport(func(r *http.Request) int { return respond(read(r)) })
	if s := b.status("crm"); !s.Disabled || s.Why != revoked.Error() {
		t.Errorf("after a restart: %+v", s)
	}
	if len(requests) > 0 {
		t.Error("a disabled hook sends")
	}
	set(`"old"`, false)
	if err := b.Enable("alice", "crm", json.RawMessage(`"new"`)); err != nil {
		t.Fatal(err)
	}
	if g := wait.Next(t, requests, "what has waited"); g.n != 2 {
		t.Errorf("event %d", g.n)
	}
	b.stop()
	b.run()
	if s := b.status("crm"); s.Disabled {
		t.Errorf("the new credentials are forgotten: %+v", s)
	}
}

// While a hook ends that has something under way, others are added, enabled and removed, and its name is taken until then.
func TestRemoveWaitsAlone(t *testing.T) {
	b := sender(t, "")
	begun, release := make(chan struct{}), make(chan struct{})
	b.clients[false].Transport = transport(func(*http.Request) int { // heeds no context
		close(begun)
		<-release
		return http.StatusOK
	})
	hook := Hook{Name: "slow", URL: "https://crm.example/", Owner: "alice", Devices: []string{"100"}}
	if _, err := b.Add(hook); err != nil {
		t.Fatal(err)
	}
	b.add("100")
	<-begun
	removed := make(chan error, 1)
	go func() { removed <- b.Remove("alice", "slow") }()
	wait.For(t, "the removal to begin", func() bool {
		d := b.find("alice", "slow")
		if d.change.TryLock() {
			d.change.Unlock()
			return false
		}
		return true
	})
	if _, err := b.Add(hook); !errors.Is(err, ErrExists) {
		t.Errorf("a hook of the name is added: %v", err)
	}
	hook.Name, hook.Devices = "other", []string{"101"}
	if _, err := b.Add(hook); err != nil {
		t.Error(err)
	}
	if err := b.Enable("alice", "other", nil); err != nil {
		t.Error(err)
	}
	if err := b.Remove("alice", "other"); err != nil {
		t.Error(err)
	}
	if len(removed) > 0 {
		t.Error("the removal has not waited")
	}
	close(release)
	if err := <-removed; err != nil || len(b.All()) > 0 {
		t.Error(err)
	}
}

// A body that a template has made is sent again at each attempt, and bodies of one owner are made one at a time.
func TestBodiesOfAnOwner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := sender(t, "")
		tries := 0
		b.own("one", func(got) int {
			if tries++; tries < 5 {
				return http.StatusInternalServerError
			}
			return http.StatusOK
		}, func(h *Hook) { h.Format, h.Template = Template, `{{.device}}` })
		b.own("two", func(got) int { return http.StatusOK }, func(h *Hook) { h.Devices = []string{"none"} })
		one, two := b.find("alice", "one"), b.find("alice", "two")
		b.clients[false].Transport = transport(func(*http.Request) int {
			if tries++; tries < 5 {
				return http.StatusInternalServerError
			}
			return http.StatusOK
		})
		made := 0
		body := one.target.format.body
		one.target.format.body = func(e *eventlog.Entry) ([]byte, error) { made++; return body(e) }
		b.add("100")
		settle(time.Minute)
		if tries != 5 || made != 1 || one.held != 0 {
			t.Errorf("%d attempts, the body was made %d times, %d octets are held", tries, made, one.held)
		}
		if one.making != two.making {
			t.Fatal("the hooks of an owner make bodies at the same time")
		}
		one.making <- struct{}{} // a body is being made
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := two.body(ctx, &eventlog.Entry{Data: []byte(`{}`)}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a second body is made: %v", err)
		}
		<-one.making
		b.stop()
		_ = b.events.Close()
	})
}

// Dead letters are for an owner who may observe the device: nobody else reads them, and those of a device on which the right
// is gone are not kept. The administrator sees all.
func TestLettersOfOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := sender(t, "")
		var mu sync.Mutex
		may := true
		b.rights.Observe = func(string, eventlog.Entry) bool { // nothing reads it before Add
			mu.Lock()
			defer mu.Unlock()
			return may
		}
		allow := func(yes bool) {
			mu.Lock()
			defer mu.Unlock()
			may = yes
		}
		b.own("crm", func(got) int { return http.StatusUnprocessableEntity })
		b.add("100")
		settle(time.Minute)
		count := func(all bool) int {
			letters, err := b.Dead("alice", "crm", all)
			if err != nil {
				t.Error(err)
			}
			return len(letters)
		}
		if count(false) != 1 || count(true) != 1 {
			t.Fatal(count(false), count(true))
		}
		allow(false)
		if count(false) != 0 || count(true) != 1 {
			t.Error(count(false), count(true))
		}
		allow(true)
		b.clients[false].Transport = transport(func(*http.Request) int { return http.StatusBadGateway })
		for n := range rowsDown + 5 {
			b.add(fmt.Sprint(n))
		}
		settle(patience - time.Minute)
		allow(false)
		settle(time.Hour)
		if n := count(true); n != 1 || b.status("crm").Waiting > 0 {
			t.Errorf("%d dead letters, %d events wait", n, b.status("crm").Waiting)
		}
		b.stop()
		_ = b.events.Close()
	})
}

// The hooks of an owner share the room for dead letters, those of all owners, too; the oldest go, and are counted as lost.
func TestSharesOfLetters(t *testing.T) {
	b := sender(t, "")
	const hooks = 6
	for n := range hooks {
		b.own(fmt.Sprint(n), func(got) int { return http.StatusOK }, func(h *Hook) { h.Devices = []string{"none"} })
	}
	body := json.RawMessage(`"` + strings.Repeat("x", lettersSized/2-1000) + `"`)
	seq := uint64(0)
	for range 2 {
		for n := range hooks {
			seq++
			d := b.find("alice", fmt.Sprint(n))
			d.bury(&eventlog.Entry{Seq: seq, Device: "100", Data: body}, nil, 1, "test")
		}
	}
	octets, lost := 0, int64(0)
	for n := range hooks {
		octets += b.find("alice", fmt.Sprint(n)).letters.size()
		lost += b.status(fmt.Sprint(n)).Lost
	}
	if octets > ownerSized || octets < ownerSized-lettersSized || lost != 2*hooks-8 {
		t.Errorf("%d octets are kept, %d letters lost", octets, lost)
	}
	if first := b.find("alice", "3").letters.first(); first != letterKey(10) {
		t.Errorf("the oldest of hook 3 is %s", first)
	}
	if freed, err := free(nil, 1); freed != 0 || err != nil {
		t.Error(freed, err)
	}
}
