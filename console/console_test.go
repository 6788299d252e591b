package console

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/config"
	"github.com/tr87proxy/tr87proxy/internal/kind"
	"github.com/tr87proxy/tr87proxy/policy"
	"github.com/tr87proxy/tr87proxy/proxy"
)

// passwords are accounts whose password is their name.
type passwords struct{}

func (passwords) Check(_ context.Context, _, name, password string, _ netip.Addr) (proxy.Account, error) {
	if name != password {
		return proxy.Account{}, errors.New("wrong password")
	}
	return proxy.Account{Name: name}, nil
}

func (passwords) Holds(proxy.Account) bool { return true }

// bench is a console without a network.
type bench struct {
	*Console

	t    *testing.T
	core *proxy.Proxy
}

func newBench(t *testing.T) *bench {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	core := proxy.New(proxy.Config{Policy: &policy.Policy{Administrators: []string{"alice", "amy*"}}, Numbers: &policy.Numbers{}, Accounts: passwords{}, Log: log})
	env := &kind.FrontEnv{Proxy: core, Log: log, Config: &config.Config{}, Admits: func(netip.Addr) bool { return true }}
	front, err := Kind.Build(Kind.Settings(), env)
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{front.(*Console), t, core}
	b.Attach(Parts{
		Admin: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write([]byte(r.URL.Path)) }),
		API: func(w http.ResponseWriter, _ *http.Request, v *kind.Visitor) {
			_, _ = w.Write([]byte(v.Identified.Identity.Name))
		},
	})
	t.Cleanup(func() { b.Close(t.Context()) })
	return b
}

// from sends a request from an address.
func (b *bench) from(address, method, path, body string, headers ...string) *httptest.ResponseRecorder {
	b.t.Helper()
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.RemoteAddr, r.Host = address+":4000", "127.0.0.1:8870"
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	b.ServeHTTP(w, r)
	return w
}

// logIn returns the cookie of a new login, and its token against foreign pages.
func (b *bench) logIn(address, name string) (cookie, csrf string) {
	b.t.Helper()
	w := b.from(address, http.MethodPost, "/session", fmt.Sprintf(`{"name":%q,"password":%[1]q}`, name))
	var s session
	if err := json.Unmarshal(w.Body.Bytes(), &s); err != nil || w.Code != http.StatusOK || len(w.Result().Cookies()) != 1 {
		b.t.Fatal(w.Code, w.Body, err)
	}
	c := w.Result().Cookies()[0]
	return c.Name + "=" + c.Value, s.CSRF
}

func (b *bench) holds(cookie string) bool {
	return b.from("192.0.2.1", http.MethodGet, "/admin/status", "", "Cookie", cookie).Code == http.StatusOK
}

// A login ends when it is not used, and after its longest time in any case.
func TestExpiry(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		unused, _ := b.logIn("192.0.2.1", "alice")
		time.Sleep(30*time.Minute - time.Second)
		used, _ := b.logIn("192.0.2.1", "alice")
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if b.holds(unused) || !b.holds(used) {
			t.Error("a login that was not used for half an hour holds, or one that is used does not")
		}
		for range 24*2 - 2 {
			time.Sleep(15 * time.Minute)
			if !b.holds(used) {
				t.Fatal("a login that is used has ended")
			}
		}
		time.Sleep(29*time.Minute + 58*time.Second)
		synctest.Wait()
		if b.holds(used) {
			t.Error("a login holds for longer than 12 hours")
		}
	})
}

// The logins of a peer end its own oldest one, and none of another peer.
func TestShare(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	other, _ := b.logIn("192.0.2.2", "alice")
	first, _ := b.logIn("192.0.2.3", "amy")
	second, _ := b.logIn("192.0.2.3", "amy")
	for range peerLogins - 1 {
		b.logIn("192.0.2.3", "amy")
	}
	if !b.holds(other) || b.holds(first) || !b.holds(second) {
		t.Error(b.holds(other), b.holds(first), b.holds(second))
	}
	for i := range mostLogins + 10 { // of many peers, three each
		b.logIn(fmt.Sprintf("198.51.%d.%d", i/300, i%300/3), "amy")
	}
	if !b.holds(other) {
		t.Error("one login of a peer has ended because others have more")
	}
	if n := len(b.logins.table); n > mostLogins {
		t.Error(n, "logins")
	}
}

// What has ended cannot be used by what it has left behind: the API is told, and a cookie of before is nobody's.
func TestEnds(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	var visitor *kind.Visitor
	var serving context.Context
	b.parts.API = func(_ http.ResponseWriter, r *http.Request, v *kind.Visitor) {
		visitor, serving = v, kind.Serving(r.Context())
	}
	cookie, csrf := b.logIn("192.0.2.1", "alice")
	b.from("192.0.2.1", http.MethodGet, "/v1/events", "", "Cookie", cookie)
	if !visitor.Valid() || serving.Err() != nil || visitor.Identified.Identity.Name != "alice" {
		t.Fatal(visitor, serving)
	}
	if w := b.from("192.0.2.1", http.MethodDelete, "/session", "", "Cookie", cookie, "X-CSRF-Token", csrf); w.Code != http.StatusOK {
		t.Fatal(w.Code, w.Body)
	}
	if visitor.Valid() || !errors.Is(context.Cause(serving), errLeft) || b.holds(cookie) {
		t.Error("a login holds after it was left")
	}
	cookie, _ = b.logIn("192.0.2.1", "alice")
	b.from("192.0.2.1", http.MethodGet, "/v1/events", "", "Cookie", cookie)
	b.core.SetRules(&policy.Policy{}, &policy.Numbers{})
	if visitor.Valid() || b.holds(cookie) {
		t.Error("a login holds whose identity may not administer any more")
	}
}

// A new login of a browser ends the one before, and a browser cannot choose the value of its cookie.
func TestFixation(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	planted := strings.Repeat("ab", 32)
	name, _, _ := strings.Cut(func() string { c, _ := b.logIn("192.0.2.1", "alice"); return c }(), "=")
	w := b.from("192.0.2.1", http.MethodPost, "/session", `{"name":"alice","password":"alice"}`, "Cookie", name+"="+planted)
	if c := w.Result().Cookies(); w.Code != http.StatusOK || len(c) != 1 || c[0].Value == planted || b.holds(name+"="+planted) {
		t.Error(w.Code, c)
	}
	before, _ := b.logIn("192.0.2.1", "alice")
	w = b.from("192.0.2.1", http.MethodPost, "/session", `{"name":"alice","password":"alice"}`, "Cookie", before)
	if w.Code != http.StatusOK || b.holds(before) {
		t.Error("the login before holds", w.Code)
	}
	now := w.Result().Cookies()[0]
	if !b.holds(now.Name+"="+now.Value) || b.holds(now.Name+"="+now.Value+"; "+now.Name+"="+planted) {
		t.Error("two cookies of one name count, or the only one does not")
	}
	if !now.HttpOnly || now.SameSite != http.SameSiteStrictMode || now.Path != "/" || now.Domain != "" || len(now.Value) != 64 {
		t.Error(now)
	}
}
