package registrar

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/wait"
)

// features is an event package whose state a test changes.
type features struct {
	mu    sync.Mutex
	texts []string
}

func (f *features) set(texts ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.texts = texts
}

func (f *features) pkg() Package {
	return Package{
		Event: "features",
		Documents: func(number, _ string, _ *Model) (list []Document) {
			f.mu.Lock()
			defer f.mu.Unlock()
			for n, text := range f.texts {
				list = append(list, Document{fmt.Sprint(n), "text/plain", number + " " + text})
			}
			return list
		},
		Change: func(number, contentType string, body []byte) string {
			if contentType != "text/plain" {
				return ""
			}
			f.set(number + " wants " + string(body))
			return "0"
		},
	}
}

// ours reports whether an extension is there.
func ours(number string) bool { return number == "100" || number == "101" }

// subscribe subscribes a number to an event, by raw SIP over TCP.
func (w *raw) subscribe(to, event string, cseq int, toTag string, more ...string) (code int, text string) {
	return w.request("SUBSCRIBE", to, "sub", cseq, toTag, "secret", append([]string{"Event: " + event, "Contact: <sip:" + w.number + "@" + w.conn.LocalAddr().String() + ";transport=tcp>"}, more...)...)
}

// A telephone subscribes, is sent the state, what has changed, and what it asked to change, and unsubscribes.
func TestSubscribe(t *testing.T) {
	var f features
	f.set("one", "two")
	r := aStation(t, Config{Packages: []Package{f.pkg(), {Event: "calls", Others: ours, Documents: func(number, _ string, _ *Model) []Document {
		return []Document{{"calls", "text/plain", `version="VERSION" of ` + number}}
	}}}})
	w := r.raw("TCP", "100")
	if code, _ := w.subscribe("100", "features", 1, ""); code != 401 {
		t.Fatal("no challenge:", code)
	}
	code, text := w.subscribe("100", "features;id=1", 2, "", "Expires: 600")
	if code != 200 || !strings.Contains(text, "Expires: 600\r\n") {
		t.Fatal(text)
	}
	tag := tagOf(text)
	first := w.notify()
	for _, part := range []string{"Event: features;id=1\r\n", "Subscription-State: active;expires=600", "multipart/mixed;boundary=fks", "100 one", "100 two"} {
		if !strings.Contains(first, part) {
			t.Errorf("no %q in %s", part, first)
		}
	}
	sent := func(want int) { // so many NOTIFYs, once all that it waits for has been looked at
		t.Helper()
		looked := make(chan int, 1)
		r.mu.Lock()
		sub := slices.Collect(maps.Keys(r.watchers))[0]
		r.mu.Unlock()
		sub.sends.Must(func() { looked <- sub.version })
		if got := wait.Next(t, looked, "the look at what has changed"); got != want {
			t.Errorf("%d NOTIFYs, want %d", got, want)
		}
	}
	f.set("one", "three")
	r.Changed("100", "other")
	r.Changed("101", "features")
	sent(1)
	r.Changed("100", "features")
	if got := w.notify(); !strings.Contains(got, "100 three") || strings.Contains(got, "100 one") {
		t.Errorf("what has changed: %s", got)
	}
	r.Changed("100", "features") // nothing has changed: no NOTIFY
	sent(2)
	if code, text := w.subscribe("100", "features", 3, tag, "Content-Type: text/plain", "BODY:four"); code != 200 {
		t.Fatal(text)
	}
	if got := w.notify(); !strings.Contains(got, "100 100 wants four") {
		t.Errorf("what it asked for: %s", got)
	}
	if code, text := w.subscribe("100", "features", 4, tag, "Expires: never"); code != 400 {
		t.Error(text)
	}
	if code, text := w.subscribe("100", "features", 5, tag, "Expires: 0"); code != 200 {
		t.Fatal(text)
	}
	if got := w.notify(); !strings.Contains(got, "Subscription-State: terminated;reason=timeout") {
		t.Errorf("the end: %s", got)
	}
	r.mu.Lock()
	watchers, watching := len(r.watchers), r.users["100"].watching
	r.mu.Unlock()
	if watchers != 0 || watching != 0 {
		t.Errorf("%d subscriptions are left, %d places", watchers, watching)
	}
}

// What cannot be subscribed to is refused; a question is answered by one NOTIFY and the end; a subscription
// expires, and ends when the password changes.
func TestSubscriptions(t *testing.T) {
	var f features
	f.set("one")
	r := aStation(t, Config{Packages: []Package{f.pkg(), {Event: "calls", Others: ours, Documents: func(number, _ string, _ *Model) []Document {
		return []Document{{"calls", "text/plain", `version="VERSION" of ` + number}}
	}}}})
	for _, tt := range []struct {
		to, event, expires string
		code               int
		has                string
	}{
		{"100", "presence", "600", 489, "Allow-Events: features, calls\r\n"},
		{"102", "calls", "600", 404, ""},
		{"100", "features", "soon", 400, ""},
	} {
		w := r.raw("TCP", "100")
		w.subscribe(tt.to, tt.event, 1, "")
		if code, text := w.subscribe(tt.to, tt.event, 2, "", "Expires: "+tt.expires); code != tt.code || !strings.Contains(text, tt.has) {
			t.Errorf("%v: %s", tt, text)
		}
	}
	ask := r.raw("TCP", "100")
	ask.subscribe("101", "calls", 1, "")
	if code, text := ask.subscribe("101", "calls", 2, "", "Expires: 0"); code != 200 {
		t.Fatal(text)
	}
	if got := ask.notify(); !strings.Contains(got, `version="0" of 101`) {
		t.Error(got)
	}
	if got := ask.notify(); !strings.Contains(got, "terminated") {
		t.Error(got)
	}
	stay := r.raw("TCP", "100")
	stay.subscribe("101", "calls", 1, "")
	if code, text := stay.subscribe("101", "calls", 2, "", "Expires: 60"); code != 200 {
		t.Fatal(text)
	}
	stay.notify()
	r.look(time.Now().Add(50 * time.Second))
	r.look(time.Now().Add(70 * time.Second))
	if got := stay.notify(); !strings.Contains(got, "terminated") {
		t.Error(got)
	}
	changes := r.raw("TCP", "100")
	changes.subscribe("101", "calls", 1, "")
	if code, text := changes.subscribe("101", "calls", 2, ""); code != 200 || !strings.Contains(text, "Expires: 3600\r\n") {
		t.Fatal(text)
	}
	changes.notify()
	r.SetPasswords([]User{{Number: "100", Password: "another"}, {Number: "101", Password: "secret"}})
	if got := changes.notify(); !strings.Contains(got, "terminated") {
		t.Error(got)
	}
}

// A subscription without packages is refused, and nothing is offered.
func TestNoPackages(t *testing.T) {
	r := aStation(t, Config{})
	w := r.raw("TCP", "100")
	w.subscribe("100", "dialog", 1, "")
	if code, text := w.subscribe("100", "dialog", 2, ""); code != 489 || strings.Contains(text, "Allow-Events") {
		t.Error(text)
	}
}

// A panic in a package ends the subscription that asked, and no other.
func TestPanicOfAPackage(t *testing.T) {
	var bad atomic.Bool
	r := aStation(t, Config{Packages: []Package{{Event: "calls", Others: ours, Documents: func(number, _ string, _ *Model) []Document {
		if number == "101" && bad.Load() {
			panic("as told")
		}
		return []Document{{"calls", "text/plain", fmt.Sprint("of ", number, " ", bad.Load())}}
	}}}})
	one, two := r.raw("TCP", "100"), r.raw("TCP", "100")
	for w, to := range map[*raw]string{one: "101", two: "100"} {
		w.subscribe(to, "calls", 1, "")
		if code, text := w.subscribe(to, "calls", 2, ""); code != 200 {
			t.Fatal(text)
		}
		w.notify()
	}
	bad.Store(true)
	failed := make(chan struct{})
	r.mu.Lock()
	list := slices.Collect(maps.Keys(r.watchers))
	r.mu.Unlock()
	r.Changed("101", "calls")
	for _, sub := range list {
		if sub.of == "101" {
			sub.sends.Must(func() { close(failed) })
		}
	}
	wait.Next(t, failed, "the end of the subscription")
	r.log.await(t, "panic", 1)
	r.Changed("100", "calls")
	if got := two.notify(); !strings.Contains(got, "of 100 true") {
		t.Error(got)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.watchers) != 1 {
		t.Errorf("%d subscriptions", len(r.watchers))
	}
}
