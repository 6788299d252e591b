package console

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/audit"
	"github.com/tr87proxy/tr87proxy/internal/tokens"
	"github.com/tr87proxy/tr87proxy/policy"
)

// A page that nobody touches does not have its login last longer, whatever it asks for, and a WebSocket that reconnects does not.
func TestUnattended(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		left, _ := b.logIn("192.0.2.1", "alice")
		touched, _ := b.logIn("192.0.2.1", "amy")
		ask := func(cookie, header, value string) int {
			return b.from("192.0.2.1", http.MethodGet, "/admin/status", "", "Cookie", cookie, header, value, "Origin", "http://127.0.0.1:8870").Code
		}
		for minute := range 30 {
			if ask(left, "X-Unattended", "true") != http.StatusOK || ask(left, "Upgrade", "websocket") != http.StatusOK {
				t.Fatal("the login has ended after minutes:", minute)
			}
			ask(touched, "Accept", "application/json")
			time.Sleep(time.Minute)
		}
		synctest.Wait()
		if b.holds(left) || !b.holds(touched) {
			t.Error("a login holds that nobody has used, or one does not that somebody has")
		}
	})
}

// What a request has waited for does not go to an identity that lost its right meanwhile.
func TestRightIsLostMeanwhile(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	parts := 0
	b.parts.Admin = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for range parts {
			_, _ = w.Write([]byte("part "))
		}
		b.core.SetRules(&policy.Policy{}, &policy.Numbers{})
		_, _ = w.Write([]byte("secret"))
	})
	for parts = range 2 {
		b.core.SetRules(&policy.Policy{Administrators: []string{"alice"}}, &policy.Numbers{})
		cookie, _ := b.logIn("192.0.2.1", "alice")
		w := b.from("192.0.2.1", http.MethodGet, "/admin/trace", "", "Cookie", cookie)
		if want := http.StatusUnauthorized - 201*parts; w.Code != want || w.Body.String() != strings.Repeat("part ", parts) {
			t.Error(w.Code, w.Body)
		}
		if len(b.logins.table) != 0 {
			t.Error("the login is kept")
		}
	}
}

// timed is a response that knows by when its parts must have been taken.
type timed struct {
	*httptest.ResponseRecorder

	by      time.Time
	unbound int // parts without a time
}

func (d *timed) SetWriteDeadline(by time.Time) error {
	d.by = by
	return nil
}

func (d *timed) Write(p []byte) (int, error) {
	if left := time.Until(d.by); left <= 0 || left > writeTime {
		d.unbound++
	}
	return d.ResponseRecorder.Write(p)
}

// A browser that takes nothing keeps no request: every part of a response must be taken in time. The time of a response does not
// cut the next one on its connection.
func TestSlowReader(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	cookie, _ := b.logIn("192.0.2.1", "alice")
	for _, path := range []string{"/", "/static/main.js", "/session", "/admin/trace", "/v1/devices", "/nothing"} {
		r := httptest.NewRequest(http.MethodGet, path, nil)
		r.RemoteAddr, r.Host = "192.0.2.1:4000", "127.0.0.1:8870"
		r.Header.Set("Cookie", cookie)
		w := &timed{ResponseRecorder: httptest.NewRecorder(), by: time.Now().Add(-time.Hour)}
		b.ServeHTTP(w, r)
		if w.unbound > 0 || w.Body.Len() == 0 {
			t.Error(path, w.unbound, "parts may take for ever, of octets:", w.Body.Len())
		}
	}
	w := &timed{ResponseRecorder: httptest.NewRecorder(), by: time.Now()}
	b.ServeHTTP(w, httptest.NewRequest(http.MethodHead, "http://127.0.0.1:8870/static/main.js", nil))
	if !w.by.IsZero() {
		t.Error("the time of the response before is left:", w.by)
	}
}

// What a browser says of a page's site is one value that is known.
func TestSites(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	cookie, _ := b.logIn("192.0.2.1", "alice")
	for site, want := range map[string]int{"same-origin": 200, "none": 200, "same-site": 403, "cross-site": 403, "Cross-Site": 403, "": 403, "same-origin, cross-site": 403} {
		if w := b.from("192.0.2.1", http.MethodGet, "/admin/status", "", "Cookie", cookie, "Sec-Fetch-Site", site); w.Code != want {
			t.Errorf("%q: %d", site, w.Code)
		}
	}
	if w := b.from("192.0.2.1", http.MethodGet, "/admin/status", "", "Cookie", cookie, "Sec-Fetch-Site", "same-origin", "Sec-Fetch-Site", "cross-site"); w.Code != http.StatusForbidden {
		t.Error("the first of two counts:", w.Code)
	}
}

// The audit file has who has read octets, whether as a capture file or not; without it nobody does. What is only polled is not in it.
func TestOctetsAreAudited(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	file := filepath.Join(t.TempDir(), "audit.log")
	log, err := audit.Open(audit.Config{Path: file, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	b.parts.Audit = log
	cookie, _ := b.logIn("192.0.2.1", "alice")
	for _, path := range []string{"/admin/octets?after=1", "/admin/pcap", "/admin/status"} {
		if w := b.from("192.0.2.1", http.MethodGet, path, "", "Cookie", cookie); w.Code != http.StatusOK {
			t.Error(path, w.Code)
		}
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]int{"/admin/octets": 503, "/admin/pcap": 503, "/admin/status": 200} {
		if w := b.from("192.0.2.1", http.MethodGet, path, "", "Cookie", cookie); w.Code != want {
			t.Errorf("%s while nothing can be audited: %d", path, w.Code)
		}
	}
	lines, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for service, want := range map[string]int{"GET /admin/octets?after=1": 2, "GET /admin/pcap": 2, "GET /admin/status": 0} {
		if got := strings.Count(string(lines), `"service":"`+service+`"`); got != want {
			t.Errorf("%s: %d lines", service, got)
		}
	}
}

// Who guesses tokens is slowed down, and locks nobody out who shares the address, as all do behind a reverse proxy.
func TestGuessingTokens(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	file := filepath.Join(t.TempDir(), "tokens")
	right := tokens.Token{Name: "alice", Scope: tokens.Control, Created: time.Now()}
	text := right.Make()
	if err := tokens.Edit(file, func(list []tokens.Token) ([]tokens.Token, error) { return append(list, right), nil }); err != nil {
		t.Fatal(err)
	}
	var err error
	if b.env.Tokens, err = tokens.Open(file, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	try := func(token string) int {
		return b.from("192.0.2.1", http.MethodPost, "/session", `{"token":"`+token+`"}`).Code
	}
	wrong := tokens.Token{}
	guess := wrong.Make()
	for range guessBurst {
		if status := try(guess); status != http.StatusUnauthorized {
			t.Error(status)
		}
	}
	if status := try(guess); status != http.StatusTooManyRequests {
		t.Error("one may guess on:", status)
	}
	if status := try(text); status != http.StatusOK {
		t.Error("the right token is locked out:", status)
	}
}
