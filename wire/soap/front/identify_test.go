package front

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/accounts"
	"github.com/tr87proxy/tr87proxy/internal/kind"
	"github.com/tr87proxy/tr87proxy/policy"
	"github.com/tr87proxy/tr87proxy/proxy"
)

var discard = slog.New(slog.DiscardHandler)

// keeperOf returns accounts with crm, whose password is right, with or without HTTP Digest.
func keeperOf(t *testing.T, digest bool) *accounts.Keeper {
	t.Helper()
	file := filepath.Join(t.TempDir(), "accounts")
	a := accounts.Account{Name: "crm", Digest: digest}
	if err := a.SetPassword("right"); err != nil {
		t.Fatal(err)
	}
	if err := accounts.Edit(file, func([]accounts.Account) ([]accounts.Account, error) { return []accounts.Account{a}, nil }); err != nil {
		t.Fatal(err)
	}
	k, err := accounts.Open(file, accounts.NewGuard(accounts.GuardConfig{Pause: 1}), discard)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// Credentials of HTTP Basic and of HTTP Digest need TLS but on the machine itself, unless the configuration says otherwise. HTTP
// Digest is offered as soon as one account can use it.
func TestCredentialsNeedTLS(t *testing.T) {
	with, without := keeperOf(t, true), keeperOf(t, false)
	for name, tt := range map[string]struct {
		from      string
		tls, open bool
		keeper    *accounts.Keeper
		status    int
		offered   int
	}{
		"from elsewhere":              {"192.0.2.9:1000", false, false, with, http.StatusForbidden, 0},
		"from elsewhere, as set":      {"192.0.2.9:1000", false, true, with, http.StatusUnauthorized, 3},
		"from elsewhere, TLS":         {"192.0.2.9:1000", true, false, with, http.StatusUnauthorized, 3},
		"from the machine":            {"127.0.0.1:1000", false, false, with, http.StatusUnauthorized, 3},
		"no account with HTTP Digest": {"127.0.0.1:1000", false, false, without, http.StatusUnauthorized, 1},
		"no accounts":                 {"127.0.0.1:1000", false, false, nil, http.StatusUnauthorized, 1},
		"in IPv6, from the machine":   {"[::1]:1000", false, false, with, http.StatusUnauthorized, 3},
		"in IPv6, as one of IPv4":     {"[::ffff:127.0.0.1]:1000", false, false, with, http.StatusUnauthorized, 3},
		"in IPv6, from elsewhere":     {"[2001:db8::1]:1000", false, false, with, http.StatusForbidden, 0},
		"an address of no kind":       {"", true, true, with, http.StatusForbidden, 0},
	} {
		for _, credentials := range []string{"Basic Y3JtOndyb25n", `Digest username="crm", realm="CSTA", nonce="1.0", uri="/", qop=auth, nc=00000001, cnonce="c", response="00"`} {
			core := proxy.New(proxy.Config{Policy: &policy.Policy{}, Numbers: &policy.Numbers{}, Accounts: keys{}, Log: discard})
			d := NewDoor("xml", name, tt.open, &kind.FrontEnv{Proxy: core, Accounts: tt.keeper, Log: discard, Admits: func(netip.Addr) bool { return true }})
			r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", nil)
			r.RemoteAddr = tt.from
			r.Header.Set("Authorization", credentials)
			if tt.tls {
				r.TLS = &tls.ConnectionState{}
			}
			w := httptest.NewRecorder()
			if _, ok := d.identify(w, r); ok || w.Code != tt.status || len(w.Header().Values("WWW-Authenticate")) != tt.offered {
				t.Errorf("%s, %.6s: %v %d %v", name, credentials, ok, w.Code, w.Header())
			}
			if stale := strings.Contains(strings.Join(w.Header().Values("WWW-Authenticate"), "\n"), "stale=true"); stale != (tt.offered > 1 && credentials[0] == 'D') {
				t.Errorf("%s, %.6s: stale %v", name, credentials, stale)
			}
		}
	}
}

// jammed are accounts of which no password is checked.
type jammed struct {
	keys
	err error
}

func (j jammed) Check(context.Context, string, string, string, netip.Addr) (proxy.Account, error) {
	return proxy.Account{}, j.err
}

// A client that is not identified reads what to do, and not which accounts there are.
func TestRefusalsSayWhatToDo(t *testing.T) {
	const basic, old = "Basic Y3JtOnJpZ2h0", `Digest username="crm", realm="CSTA", nonce="1.0", uri="/", qop=auth, nc=00000001, cnonce="c", response="00"`
	lock := &accounts.LockedError{Until: time.Now().Add(time.Minute)}
	for name, tt := range map[string]struct {
		from, credentials string
		checks            proxy.Accounts
		status            int
		text              string
	}{
		"no credentials":  {"127.0.0.1:1000", "", keys{}, 401, textNoCredentials},
		"wrong password":  {"127.0.0.1:1000", "Basic Y3JtOndyb25n", keys{}, 401, textWrong},
		"no such account": {"127.0.0.1:1000", "Basic bm9ib2R5Ondyb25n", keys{}, 401, textWrong},
		"no grant":        {"127.0.0.1:1000", basic, keys{}, 403, textUnnamed},
		"an old nonce":    {"127.0.0.1:1000", old, keys{}, 401, textStale},
		"a token":         {"127.0.0.1:1000", "Bearer tr87_x", keys{}, 401, "not those of HTTP Basic or Digest"},
		"without TLS":     {"192.0.2.9:1000", basic, keys{}, 403, "without TLS; use TLS, or set xml.soap.plain-passwords"},
		"a lock":          {"127.0.0.1:1000", basic, jammed{err: lock}, 429, textLocked},
		"no turn":         {"127.0.0.1:1000", basic, jammed{err: accounts.ErrBusy}, 503, textBusy},
	} {
		core := proxy.New(proxy.Config{Policy: &policy.Policy{}, Numbers: &policy.Numbers{}, Accounts: tt.checks, Log: discard})
		d := NewDoor("xml", "soap", false, &kind.FrontEnv{Proxy: core, Accounts: keeperOf(t, true), Log: discard, Admits: func(netip.Addr) bool { return true }})
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", nil)
		r.RemoteAddr = tt.from
		if tt.credentials != "" {
			r.Header.Set("Authorization", tt.credentials)
		}
		w := httptest.NewRecorder()
		if _, ok := d.identify(w, r); ok || w.Code != tt.status || !strings.Contains(w.Body.String(), tt.text) {
			t.Errorf("%s: %v %d %s", name, ok, w.Code, w.Body)
		}
	}
}
