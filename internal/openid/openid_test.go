package openid

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	cryptotls "crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/coreos/go-oidc/v3/oidc/oidctest"

	"github.com/tr87proxy/tr87proxy/internal/wait"
)

var (
	first, second = rsaKey(), rsaKey()
	curve         = ecKey()
)

func rsaKey() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
}

func ecKey() *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	return key
}

// authority is an OpenID provider, which can be down.
type authority struct {
	*httptest.Server

	mu    sync.Mutex
	says  *oidctest.Server
	other http.HandlerFunc // nil: it is up
	hits  map[string]int
}

func serve(t *testing.T) *authority {
	a := &authority{says: &oidctest.Server{}, hits: map[string]int{}}
	a.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.mu.Lock()
		a.hits[r.URL.Path]++
		other, says := a.other, *a.says
		a.mu.Unlock()
		if other != nil {
			other(w, r)
			return
		}
		says.ServeHTTP(w, r)
	}))
	t.Cleanup(a.Close)
	a.says.SetIssuer(a.URL)
	a.has(oidctest.PublicKey{PublicKey: first.Public(), KeyID: "1", Algorithm: oidc.RS256})
	return a
}

// has makes the provider have other keys.
func (a *authority) has(keys ...oidctest.PublicKey) {
	a.mu.Lock()
	defer a.mu.Unlock()
	says := &oidctest.Server{PublicKeys: keys}
	says.SetIssuer(a.URL)
	a.says = says
}

// turns makes the provider do something else; nil: work.
func (a *authority) turns(other http.HandlerFunc) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.other = other
}

// hit returns how often documents were fetched: the description and the keys.
func (a *authority) hit() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return fmt.Sprint(a.hits["/.well-known/openid-configuration"], a.hits["/keys"])
}

// clock is a time that a test moves.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// provider returns a provider that asks an authority.
func provider(t *testing.T, a *authority, cfg Config) (*Provider, *clock) {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AddCert(a.Certificate())
	if cfg.Issuer == "" {
		cfg.Issuer = a.URL
	}
	cfg.Audience, cfg.TLS = "tr87proxy", &cryptotls.Config{RootCAs: roots, MinVersion: cryptotls.VersionTLS12}
	if cfg.Claim == "" {
		cfg.Claim = "preferred_username"
	}
	p, c := New(cfg), &clock{now: time.Now()}
	p.visits.clock = c.Now
	t.Cleanup(p.Close)
	return p, c
}

// claimed returns the claims of a good token, and others instead of some of them; nil removes one.
func claimed(a *authority, others map[string]any) string {
	all := map[string]any{"iss": a.URL, "aud": "tr87proxy", "sub": "17", "preferred_username": "alice", "exp": time.Now().Add(24 * time.Hour).Unix(), "iat": time.Now().Unix()}
	maps.Copy(all, others)
	maps.DeleteFunc(all, func(_ string, v any) bool { return v == nil })
	text, err := json.Marshal(all)
	if err != nil {
		panic(err)
	}
	return string(text)
}

func signed(claims string) string { return oidctest.SignIDToken(first, "1", oidc.RS256, claims) }

// byHand makes a token with a header and a signature of one's own.
func byHand(header, claims string, sign func(text string) []byte) string {
	text := base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString([]byte(claims))
	return text + "." + base64.RawURLEncoding.EncodeToString(sign(text))
}

func public(t *testing.T) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(first.Public())
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

func TestCheck(t *testing.T) {
	a := serve(t)
	a.has(oidctest.PublicKey{PublicKey: first.Public(), KeyID: "1", Algorithm: oidc.RS256}, oidctest.PublicKey{PublicKey: curve.Public(), KeyID: "ec", Algorithm: oidc.ES256})
	p, _ := provider(t, a, Config{})
	good := claimed(a, nil)
	none := func(string) []byte { return nil }
	hs256 := func(text string) []byte {
		mac := hmac.New(sha256.New, public(t))
		mac.Write([]byte(text))
		return mac.Sum(nil)
	}
	parts := strings.Split(signed(good), ".")
	if _, err := p.Check(t.Context(), signed(good)); err != nil { // the keys are known now
		t.Fatal(err)
	}
	in := func(d time.Duration) int64 { return time.Now().Add(d).Unix() }
	for name, tt := range map[string]struct {
		token string
		want  string // the name, or a part of the error
		fails bool
	}{
		"good":                        {signed(good), "alice", false},
		"of a curve":                  {oidctest.SignIDToken(curve, "ec", oidc.ES256, good), "alice", false},
		"without key ID":              {oidctest.SignIDToken(first, "", oidc.RS256, good), "alice", false},
		"for several":                 {signed(claimed(a, map[string]any{"aud": []string{"other", "tr87proxy"}})), "alice", false},
		"for others":                  {signed(claimed(a, map[string]any{"aud": []string{"other"}})), "audience", true},
		"for nobody":                  {signed(claimed(a, map[string]any{"aud": nil})), "audience", true},
		"of another":                  {signed(claimed(a, map[string]any{"iss": "https://example.com"})), "different provider", true},
		"expired":                     {signed(claimed(a, map[string]any{"exp": in(-time.Second)})), "the token has expired", true},
		"for ever":                    {signed(claimed(a, map[string]any{"exp": nil})), "unusable token", true},
		"not yet":                     {signed(claimed(a, map[string]any{"nbf": in(time.Hour)})), "nbf", true},
		"another key":                 {oidctest.SignIDToken(second, "1", oidc.RS256, good), "no key of the provider", true},
		"unknown key":                 {oidctest.SignIDToken(second, "2", oidc.RS256, good), "no key of the provider", true},
		"alg none":                    {byHand(`{"alg":"none"}`, good, none), "unusable token", true},
		"alg None":                    {byHand(`{"alg":"None","kid":"1"}`, good, none), "unusable token", true},
		"no alg":                      {byHand(`{"kid":"1"}`, good, none), "unusable token", true},
		"HS256 with the public key":   {byHand(`{"alg":"HS256","kid":"1"}`, good, hs256), "unusable token", true},
		"signature of another":        {parts[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(claimed(a, map[string]any{"preferred_username": "boss"}))) + "." + parts[2], "no key of the provider", true},
		"key in the header":           {byHand(`{"alg":"RS256","jwk":{"kty":"oct","k":"AAAA"}}`, good, none), "unusable token", true},
		"a token for logging out":     {byHand(`{"alg":"RS256","kid":"1","typ":"logout+jwt"}`, good, none), `typ is "logout+jwt"`, true},
		"nothing":                     {"", "not a JWT", true},
		"garbage":                     {"a.b.c", "not a JWT", true},
		"no text":                     {signed(claimed(a, map[string]any{"preferred_username": 7})), "no claim preferred_username that is a text", true},
		"no claim":                    {signed(claimed(a, map[string]any{"preferred_username": nil})), "no claim preferred_username", true},
		"empty":                       {signed(claimed(a, map[string]any{"preferred_username": ""})), "is no name", true},
		"control characters":          {signed(claimed(a, map[string]any{"preferred_username": "a\nb"})), "is no name", true},
		"a space":                     {signed(claimed(a, map[string]any{"preferred_username": "alice "})), "is no name", true},
		"a long name":                 {signed(claimed(a, map[string]any{"preferred_username": strings.Repeat("a", 129)})), "more than 128 octets", true},
		"a long token":                {signed(claimed(a, map[string]any{"x": strings.Repeat("a", maxToken)})), "longer than", true},
		"JSON serialisation of a JWS": {`{"payload":"` + parts[1] + `","protected":"` + parts[0] + `","signature":"` + parts[2] + `"}`, "not a JWT", true},
	} {
		got, err := p.Check(t.Context(), tt.token)
		switch {
		case (err != nil) != tt.fails:
			t.Errorf("%s: %+v, %v", name, got, err)
		case err == nil && (got.Name != tt.want || got.Observe || time.Until(got.Expires) < 23*time.Hour):
			t.Errorf("%s: %+v", name, got)
		case err != nil && (!strings.Contains(err.Error(), tt.want) || got != Bearer{}):
			t.Errorf("%s: %v", name, err)
		case errors.As(err, new(*Unavailable)):
			t.Errorf("%s: the provider is up: %v", name, err)
		}
		if err != nil && len(parts[2]) > 10 && (strings.Contains(err.Error(), parts[2]) || strings.Contains(err.Error(), parts[1])) {
			t.Errorf("%s: the error has the token: %v", name, err)
		}
	}
	if hit := a.hit(); hit != "1 1" {
		t.Errorf("documents were fetched %s times", hit)
	}
}

// Claims become names, and scopes narrow what a token is for.
func TestClaims(t *testing.T) {
	a := serve(t)
	for name, tt := range map[string]struct {
		cfg     Config
		claims  map[string]any
		want    string // "": it is refused
		observe bool
	}{
		"subject":             {Config{Claim: "sub"}, nil, "17", false},
		"prefix":              {Config{Prefix: "sip:"}, map[string]any{"preferred_username": "alice@contoso.com"}, "sip:alice@contoso.com", false},
		"letters of others":   {Config{}, map[string]any{"preferred_username": "Jürgen Ωmega"}, "Jürgen Ωmega", false},
		"the Kelvin sign":     {Config{}, map[string]any{"preferred_username": "mi\u212ae"}, "", false},
		"a long s":            {Config{}, map[string]any{"preferred_username": "mu\u017fic"}, "", false},
		"an I with a dot":     {Config{}, map[string]any{"preferred_username": "al\u0130ce"}, "", false},
		"verified":            {Config{Claim: "email"}, map[string]any{"email": "a@b.c", "email_verified": true}, "a@b.c", false},
		"verified as text":    {Config{Claim: "email"}, map[string]any{"email": "a@b.c", "email_verified": "true"}, "a@b.c", false},
		"unverified":          {Config{Claim: "email"}, map[string]any{"email": "a@b.c", "email_verified": false}, "", false},
		"unverified as text":  {Config{Claim: "email"}, map[string]any{"email": "a@b.c", "email_verified": "false"}, "", false},
		"nothing said of it":  {Config{Claim: "email"}, map[string]any{"email": "a@b.c"}, "", false},
		"observe":             {Config{}, map[string]any{"scope": "openid tr87proxy:observe"}, "alice", true},
		"both":                {Config{}, map[string]any{"scope": "tr87proxy:observe tr87proxy:control"}, "alice", false},
		"control":             {Config{}, map[string]any{"scope": "tr87proxy:control"}, "alice", false},
		"other scopes":        {Config{}, map[string]any{"scope": "tr87proxy:observers openid"}, "alice", false},
		"a list":              {Config{}, map[string]any{"scp": []string{"tr87proxy:observe"}}, "alice", true},
		"text":                {Config{}, map[string]any{"scp": "tr87proxy:observe"}, "alice", true},
		"in different claims": {Config{}, map[string]any{"scp": []string{"tr87proxy:observe"}, "scope": "tr87proxy:control"}, "alice", false},
	} {
		p, _ := provider(t, a, tt.cfg)
		got, err := p.Check(t.Context(), signed(claimed(a, tt.claims)))
		if got.Name != tt.want || got.Observe != tt.observe || (err == nil) != (tt.want != "") {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

// patient is how often a test asks again.
const patient = 10_000

// New keys are fetched when a token needs them, but not again and again for tokens that no key has signed; keys that the
// provider has withdrawn are good for an hour at most.
func TestRotation(t *testing.T) {
	a := serve(t)
	p, clock := provider(t, a, Config{})
	old, latest := signed(claimed(a, nil)), oidctest.SignIDToken(second, "2", oidc.RS256, claimed(a, nil))
	check := func(token string, good bool, hit string) {
		t.Helper()
		var err error
		for range patient { // for a moment the library hands out the outcome of the fetch before; the clock stands still, so no other begins
			if _, err = p.Check(t.Context(), token); (err == nil) == good && a.hit() == hit {
				return
			}
			runtime.Gosched()
		}
		t.Errorf("%v; documents were fetched %s times, not %s", err, a.hit(), hit)
	}
	check(old, true, "1 1")
	a.has(oidctest.PublicKey{PublicKey: second.Public(), KeyID: "2", Algorithm: oidc.RS256})
	check(old, true, "1 1")
	clock.pass(pause - 1)
	for range 10 {
		check(latest, false, "1 1")
	}
	clock.pass(1)
	check(latest, true, "1 2")
	check(latest, true, "1 2")
	check(old, false, "1 2")
	a.has(oidctest.PublicKey{PublicKey: first.Public(), KeyID: "1", Algorithm: oidc.RS256})
	clock.pass(renewal - pause - 1)
	check(latest, true, "1 2") // it is withdrawn, which nobody knows yet
	clock.pass(1)
	check(latest, false, "2 3")
	check(old, true, "2 3")
	a.turns(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) })
	clock.pass(2 * renewal)
	check(old, true, "3 3") // the provider is down: what it said before holds
	check(old, true, "3 3")
	check(latest, false, "3 4")
	clock.pass(shortest)
	check(old, true, "4 4")
	a.turns(nil)
	clock.pass(longest)
	check(old, true, "5 5")
}

// A provider that is down makes requests fail, neither hang nor fetch all the time, until it is up.
func TestDown(t *testing.T) {
	for name, other := range map[string]http.HandlerFunc{
		"an error":  func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "s3cret", http.StatusInternalServerError) },
		"not found": http.NotFound,
		"elsewhere": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://192.0.2.1/", http.StatusFound)
		},
		"no JSON":  func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") },
		"too much": func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(bytes.Repeat([]byte(" "), maxBody+1)) },
		"another issuer": func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, `{"issuer":"https://example.com","jwks_uri":"https://example.com/keys"}`)
		},
		"nothing": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	} {
		t.Run(name, func(t *testing.T) {
			a := serve(t)
			a.turns(other)
			var out bytes.Buffer
			p, clock := provider(t, a, Config{Log: slog.New(slog.NewTextHandler(&out, nil))})
			token := signed(claimed(a, nil))
			var down *Unavailable
			for n, next := range []time.Duration{shortest, 2 * shortest, 4 * shortest} {
				if name == "no JSON" || name == "another issuer" {
					next = pause // it was fetched
				}
				for range 3 {
					if _, err := p.Check(t.Context(), token); !errors.As(err, &down) || down.Retry <= 0 || strings.Contains(err.Error(), "s3cret") {
						t.Fatal(err)
					}
				}
				if hit := a.hit(); hit != fmt.Sprint(n+1, 0) {
					t.Fatalf("fetched %s times", hit)
				}
				clock.pass(next - 1)
				if _, err := p.Check(t.Context(), token); !errors.As(err, &down) || down.Retry != 1 || a.hit() != fmt.Sprint(n+1, 0) {
					t.Fatal(err, a.hit())
				}
				clock.pass(1)
			}
			if n := strings.Count(out.String(), "could not fetch from the OpenID provider"); n != 3 {
				t.Errorf("%d lines in the log: %s", n, out.String())
			}
			a.turns(nil)
			if got, err := p.Check(t.Context(), token); err != nil || got.Name != "alice" {
				t.Error(got, err)
			}
		})
	}
}

// Keys that cannot be fetched are a failure of the provider, not of the token, and nobody keeps the others from them with
// tokens that are refused before.
func TestKeysDown(t *testing.T) {
	a := serve(t)
	p, clock := provider(t, a, Config{})
	strange, token := byHand(`{"alg":"none"}`, "{}", func(string) []byte { return nil }), signed(claimed(a, nil))
	a.turns(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/keys" {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		a.mu.Lock()
		says := *a.says
		a.mu.Unlock()
		says.ServeHTTP(w, r)
	})
	var down *Unavailable
	for range 3 {
		if _, err := p.Check(t.Context(), strange); !errors.As(err, new(*WrongError)) {
			t.Error(err)
		}
		if _, err := p.Check(t.Context(), token); !errors.As(err, &down) {
			t.Error(err)
		}
	}
	if a.hit() != "1 1" {
		t.Error(a.hit())
	}
	a.turns(nil)
	clock.pass(shortest)
	if _, err := p.Check(t.Context(), strange); !errors.As(err, new(*WrongError)) {
		t.Error(err)
	}
	wait.For(t, "the keys", func() bool { // the library may still hand out the outcome of the fetch before
		_, err := p.Check(t.Context(), token)
		return err == nil
	})
}

// While a provider does not respond, one request fetches, and a client that hangs up ends its own waiting only. Close ends
// the fetch.
func TestSilent(t *testing.T) {
	a := serve(t)
	came, gone := make(chan struct{}, 10), make(chan struct{}, 10)
	a.turns(func(_ http.ResponseWriter, r *http.Request) {
		came <- struct{}{}
		<-r.Context().Done()
		gone <- struct{}{}
	})
	p, _ := provider(t, a, Config{})
	token := signed(claimed(a, nil))
	errs := make(chan error, 10)
	for range 3 {
		go func() {
			_, err := p.Check(context.Background(), token)
			errs <- err
		}()
	}
	wait.Next(t, came, "a fetch")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.Check(ctx, token); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	p.Close()
	wait.Next(t, gone, "the end of the fetch")
	for range 3 {
		if err := wait.Next(t, errs, "a response"); !errors.As(err, new(*Unavailable)) {
			t.Error(err)
		}
	}
	if a.hit() != "1 0" {
		t.Error(a.hit())
	}
}

// While one request waits for a provider that was down, the others do not.
func TestDownAndSilent(t *testing.T) {
	a := serve(t)
	a.turns(http.NotFound)
	p, clock := provider(t, a, Config{})
	token := signed(claimed(a, nil))
	if _, err := p.Check(t.Context(), token); !errors.As(err, new(*Unavailable)) {
		t.Fatal(err)
	}
	came := make(chan struct{}, 10)
	a.turns(func(_ http.ResponseWriter, r *http.Request) {
		came <- struct{}{}
		<-r.Context().Done()
	})
	clock.pass(shortest)
	tried := make(chan error, 1)
	go func() {
		_, err := p.Check(context.Background(), token)
		tried <- err
	}()
	wait.Next(t, came, "a fetch")
	began := time.Now()
	if _, err := p.Check(t.Context(), token); !errors.Is(err, errDown) || time.Since(began) >= patience {
		t.Error(err, "after", time.Since(began))
	}
	p.Close()
	if err := wait.Next(t, tried, "the end of the fetch"); !errors.As(err, new(*Unavailable)) {
		t.Error(err)
	}
}

// Keys come from where nobody on the way can change them.
func TestSecure(t *testing.T) {
	a := serve(t)
	a.turns(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":"http://192.0.2.1/keys"}`, a.URL)
	})
	p, _ := provider(t, a, Config{})
	if _, err := p.Check(t.Context(), signed(claimed(a, nil))); err == nil || !strings.Contains(err.Error(), "http://192.0.2.1/keys is not https") {
		t.Error(err)
	}
	other := serve(t)
	stranger, _ := provider(t, other, Config{Issuer: a.URL}) // it does not know the authority of a's certificate
	stranger.visits.base.TLSClientConfig = &cryptotls.Config{MinVersion: cryptotls.VersionTLS12}
	if _, err := stranger.Check(t.Context(), signed(claimed(a, nil))); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Error(err)
	}
}

func FuzzCheck(f *testing.F) {
	f.Add(byHand(`{"alg":"none"}`, `{"sub":"x"}`, func(string) []byte { return nil }))
	f.Add(byHand(`{"alg":"RS256","kid":"1"}`, `{"sub":"x"}`, func(string) []byte { return []byte("x") }))
	p := New(Config{Issuer: "https://127.0.0.1:1", Audience: "x", Claim: "sub"})
	keys := &keySet{remote: &oidc.StaticKeySet{}, down: p.down}
	p.now = &description{oidc.NewVerifier("https://127.0.0.1:1", keys, &oidc.Config{ClientID: "x", SupportedSigningAlgs: algorithms}), keys, time.Now()}
	keys.has.Store(true)
	f.Fuzz(func(t *testing.T, text string) {
		if got, err := p.Check(t.Context(), text); err == nil {
			t.Errorf("%q is a token of %s", text, got.Name)
		}
	})
}
