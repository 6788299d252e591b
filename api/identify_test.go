package api

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	cryptotls "crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc/oidctest"

	"github.com/tr87proxy/tr87proxy/internal/accounts"
	"github.com/tr87proxy/tr87proxy/internal/config"
	"github.com/tr87proxy/tr87proxy/internal/kind"
	"github.com/tr87proxy/tr87proxy/internal/tokens"
	"github.com/tr87proxy/tr87proxy/policy"
	"github.com/tr87proxy/tr87proxy/proxy"
)

// checked makes an accounts file the accounts of a proxy, as package daemon does.
type checked struct{ *accounts.Keeper }

func (c checked) Check(ctx context.Context, application, name, password string, from netip.Addr) (proxy.Account, error) {
	login, err := c.Keeper.Check(ctx, application, name, password, from)
	if errors.Is(err, accounts.ErrBusy) {
		err = fmt.Errorf("%w: %w", proxy.ErrBusy, err)
	}
	return proxy.Account(login), err
}

func (c checked) Holds(a proxy.Account) bool { return c.Keeper.Holds(accounts.Login(a)) }

// door is an authenticator with all that it can have.
type door struct {
	*authenticator

	log                  bytes.Buffer
	accounts, tokens     string // files
	observe, control     string // tokens
	nobody, expired, jwt string // tokens
	provider             *httptest.Server
	rules                *policy.Policy
}

const secretPassword = "s3cret:password"

// opened returns a door. change changes what it is made of.
func opened(t *testing.T, change func(*policy.Policy, *Identification)) *door {
	t.Helper()
	folder := t.TempDir()
	d := &door{accounts: filepath.Join(folder, "accounts"), tokens: filepath.Join(folder, "tokens")}
	log := slog.New(slog.NewTextHandler(&d.log, nil))
	err := accounts.Edit(d.accounts, func([]accounts.Account) ([]accounts.Account, error) { return known(), nil })
	if err != nil {
		t.Fatal(err)
	}
	err = tokens.Edit(d.tokens, func([]tokens.Token) ([]tokens.Token, error) {
		list := []tokens.Token{
			{Name: "CRM", Scope: tokens.Control, Created: time.Now().Add(-time.Hour)}, {Name: "wallboard", Scope: tokens.Observe, Created: time.Now().Add(-time.Hour), Expires: time.Now().Add(time.Hour)},
			{Name: "unnamed", Scope: tokens.Control, Created: time.Now()}, {Name: "crm", Scope: tokens.Control, Created: time.Now().Add(-time.Hour), Expires: time.Now().Add(-time.Minute)},
		}
		for i, text := range []*string{&d.control, &d.observe, &d.nobody, &d.expired} {
			*text = list[i].Make()
		}
		return list, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	keeper, err := accounts.Open(d.accounts, accounts.NewGuard(accounts.GuardConfig{Pause: time.Nanosecond, Log: log}), log)
	if err != nil {
		t.Fatal(err)
	}
	bearers, err := tokens.Open(d.tokens, log)
	if err != nil {
		t.Fatal(err)
	}
	d.rules = policy.FromGrants(nil, policy.Grant{Who: "crm", Control: []string{"100"}}, policy.Grant{Who: "wallboard", Control: []string{"1??"}}, policy.Grant{Who: "sip:alice@contoso.com", Control: []string{"101"}},
		policy.Grant{Who: "192.0.2.1", Observe: []string{"100"}}, policy.Grant{Who: "crm.contoso.com", Observe: []string{"100"}})
	d.rules.Trusted = []policy.Peer{{Network: netip.MustParsePrefix("192.0.2.0/30")}, {Certificate: "*.contoso.com"}}
	id := &Identification{Hosts: []string{"PBX.contoso.com"}, Origins: []string{"https://crm.contoso.com"}}
	d.provide(t, id)
	if change != nil {
		change(d.rules, id)
	}
	core := proxy.New(proxy.Config{Policy: d.rules, Numbers: &policy.Numbers{}, Log: log, Accounts: checked{keeper}})
	env := &kind.FrontEnv{Proxy: core, Config: &config.Config{Sessions: config.Sessions{Accounts: d.accounts}}, Log: log, Tokens: bearers, Admits: d.rules.Admits}
	if d.authenticator, err = newAuthenticator("api", id, env); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.close)
	return d
}

// known has the accounts of all doors, since hashing takes time; so does making a key.
var (
	known = sync.OnceValue(func() []accounts.Account {
		list := []accounts.Account{{Name: "crm"}, {Name: "unnamed"}}
		for i := range list {
			if err := list[i].SetPassword(secretPassword); err != nil {
				panic(err)
			}
		}
		return list
	})
	signer = sync.OnceValue(func() *rsa.PrivateKey {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			panic(err)
		}
		return key
	})
)

// provide starts an OpenID provider, and has it sign a token.
func (d *door) provide(t *testing.T, id *Identification) {
	t.Helper()
	says := &oidctest.Server{PublicKeys: []oidctest.PublicKey{{PublicKey: signer().Public(), KeyID: "1", Algorithm: "RS256"}}}
	d.provider = httptest.NewTLSServer(says)
	t.Cleanup(d.provider.Close)
	says.SetIssuer(d.provider.URL)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: d.provider.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	id.OpenID = OpenID{Issuer: d.provider.URL, Audience: "tr87proxy", Claim: "email", Prefix: "sip:", CA: ca}
	d.jwt = d.sign("Alice@contoso.com", "tr87proxy:observe", time.Hour)
}

func (d *door) sign(email, scope string, lasts time.Duration) string {
	claims, _ := json.Marshal(map[string]any{
		"iss": d.provider.URL, "aud": "tr87proxy", "sub": "1", "email": email, "email_verified": true, "scope": scope, "exp": time.Now().Add(lasts).Unix(),
	})
	return oidctest.SignIDToken(signer(), "1", "RS256", string(claims))
}

func asked(from string, headers ...string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/v1/devices", nil)
	r.RemoteAddr, r.Host = from+":40000", "127.0.0.1:8880"
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	return r
}

func basicOf(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

const (
	stranger = "198.51.100.7"
	trusted  = "192.0.2.1"
)

func TestIdentify(t *testing.T) {
	d := opened(t, nil)
	certified := func(verified bool, name string) func(*http.Request) {
		return func(r *http.Request) {
			cert := &x509.Certificate{DNSNames: []string{name}}
			r.TLS = &cryptotls.ConnectionState{PeerCertificates: []*x509.Certificate{cert}}
			if verified {
				r.TLS.VerifiedChains = [][]*x509.Certificate{{cert}}
			}
		}
	}
	host := func(name string) func(*http.Request) { return func(r *http.Request) { r.Host = name } }
	query := func(text string) func(*http.Request) { return func(r *http.Request) { r.URL.RawQuery = text } }
	path := func(text string) func(*http.Request) { return func(r *http.Request) { r.URL = &url.URL{Path: text} } }
	const auth, protocol = "Authorization", "Sec-Websocket-Protocol"
	unsigned := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + "." + base64.RawURLEncoding.EncodeToString([]byte(`{"sub":"crm"}`)) + "."
	for name, tt := range map[string]struct {
		request *http.Request
		change  func(*http.Request)
		want    string // the identity, and how
		reach   proxy.Reach
		status  int // 0: it is identified
		detail  string
	}{
		"token":                     {asked(stranger, auth, "Bearer "+d.control), nil, "crm (token)", proxy.ReachPolicy, 0, ""},
		"to observe":                {asked(stranger, auth, "bearer  "+d.observe), nil, "wallboard (token)", proxy.ReachObserve, 0, ""},
		"by any name":               {asked(stranger, auth, "Bearer "+d.control), host("evil.example"), "crm (token)", proxy.ReachPolicy, 0, ""},
		"WebSocket":                 {asked(stranger, protocol, "tr87proxy.v1, bearer."+d.control), nil, "crm (token)", proxy.ReachPolicy, 0, ""},
		"WebSocket, two headers":    {asked(stranger, protocol, "tr87proxy.v1", protocol, "bearer."+d.jwt), nil, "sip:alice@contoso.com (openid)", proxy.ReachObserve, 0, ""},
		"OpenID":                    {asked(stranger, auth, "Bearer "+d.jwt), nil, "sip:alice@contoso.com (openid)", proxy.ReachObserve, 0, ""},
		"OpenID, everything":        {asked(stranger, auth, "Bearer "+d.sign("alice@contoso.com", "openid", time.Hour)), nil, "sip:alice@contoso.com (openid)", proxy.ReachPolicy, 0, ""},
		"account":                   {asked(stranger, auth, basicOf("CRM", secretPassword)), nil, "crm (account)", proxy.ReachPolicy, 0, ""},
		"certificate":               {asked(stranger), certified(true, "crm.contoso.com"), "crm.contoso.com (certificate)", proxy.ReachPolicy, 0, ""},
		"certificate by name":       {asked(stranger), func(r *http.Request) { certified(true, "crm.contoso.com")(r); r.Host = "any.example" }, "crm.contoso.com (certificate)", proxy.ReachPolicy, 0, ""},
		"address":                   {asked(trusted), nil, "192.0.2.1 (address)", proxy.ReachPolicy, 0, ""},
		"address, IPv6 form":        {asked("[::ffff:192.0.2.1]"), nil, "192.0.2.1 (address)", proxy.ReachPolicy, 0, ""},
		"address, by name":          {asked(trusted), host("pbx.contoso.com:8880"), "192.0.2.1 (address)", proxy.ReachPolicy, 0, ""},
		"address, at localhost":     {asked(trusted), host("localhost:8880"), "192.0.2.1 (address)", proxy.ReachPolicy, 0, ""},
		"address, IPv6":             {asked(trusted), host("[::1]:8880"), "192.0.2.1 (address)", proxy.ReachPolicy, 0, ""},
		"address, another name":     {asked(trusted), host("evil.example:8880"), "", 0, 403, "api.hosts"},
		"address, no port":          {asked(trusted), host("evil.example"), "", 0, 403, "api.hosts"},
		"address, a trick":          {asked(trusted), host("localhost.evil.example"), "", 0, 403, "api.hosts"},
		"token over trust":          {asked(trusted, auth, "Bearer "+d.control), nil, "crm (token)", proxy.ReachPolicy, 0, ""},
		"nobody":                    {asked(stranger), nil, "", 0, 401, "no credentials"},
		"unverified certificate":    {asked(stranger), certified(false, "crm.contoso.com"), "", 0, 401, "no credentials"},
		"another certificate":       {asked(stranger), certified(true, "crm.example"), "", 0, 401, "no credentials"},
		"trusted, unnamed":          {asked("192.0.2.2"), nil, "", 0, 403, "no rule and no grant"},
		"unnamed token":             {asked(stranger, auth, "Bearer "+d.nobody), nil, "", 0, 403, "no rule and no grant"},
		"unnamed account":           {asked(stranger, auth, basicOf("unnamed", secretPassword)), nil, "", 0, 403, "no rule and no grant"},
		"unnamed by OpenID":         {asked(stranger, auth, "Bearer "+d.sign("bob@contoso.com", "", time.Hour)), nil, "", 0, 403, "no rule and no grant"},
		"wrong token":               {asked(stranger, auth, "Bearer "+d.control[:len(d.control)-1]+"0"), nil, "", 0, 401, "unknown or revoked token"},
		"wrong token, trusted":      {asked(trusted, auth, "Bearer tr87_x"), nil, "", 0, 401, "unknown or revoked token"},
		"expired token":             {asked(stranger, auth, "Bearer "+d.expired), nil, "", 0, 401, "the token has expired"},
		"expired by OpenID":         {asked(stranger, auth, "Bearer "+d.sign("alice@contoso.com", "", -time.Minute)), nil, "", 0, 401, "the token has expired"},
		"unsigned":                  {asked(stranger, auth, "Bearer "+unsigned), nil, "", 0, 401, "unusable token"},
		"no JWT":                    {asked(stranger, auth, "Bearer abc"), nil, "", 0, 401, "unusable token"},
		"wrong password":            {asked("198.51.100.8", auth, basicOf("crm", "wrong")), nil, "", 0, 401, "unknown name or wrong password"},
		"wrong password, trusted":   {asked(trusted, auth, basicOf("crm", "wrong")), nil, "", 0, 401, "unknown name or wrong password"},
		"unknown name":              {asked("198.51.100.9", auth, basicOf("boss", secretPassword)), nil, "", 0, 401, "unknown name or wrong password"},
		"another scheme":            {asked(stranger, auth, "Digest username=crm"), nil, "", 0, 401, "another scheme"},
		"no scheme":                 {asked(stranger, auth, d.control), nil, "", 0, 401, "another scheme"},
		"empty":                     {asked(trusted, auth, ""), nil, "", 0, 401, "another scheme"},
		"empty token":               {asked(trusted, auth, "Bearer "), nil, "", 0, 400, "no token"},
		"empty protocol":            {asked(trusted, protocol, "bearer."), nil, "", 0, 400, "no token"},
		"two tokens":                {asked(stranger, auth, "Bearer "+d.control, auth, "Bearer "+d.observe), nil, "", 0, 400, "more than once"},
		"a token and a password":    {asked(stranger, auth, "Bearer "+d.control, auth, basicOf("crm", secretPassword)), nil, "", 0, 400, "more than once"},
		"header and protocol":       {asked(stranger, auth, "Bearer "+d.control, protocol, "bearer."+d.control), nil, "", 0, 400, "more than once"},
		"two protocols":             {asked(stranger, protocol, "bearer."+d.control+",bearer."+d.control), nil, "", 0, 400, "more than once"},
		"tokens in a list":          {asked(stranger, auth, "Bearer "+d.control+", Basic x"), nil, "", 0, 400, "no token"},
		"no base64":                 {asked(stranger, auth, "Basic crm:"+secretPassword), nil, "", 0, 400, "base64"},
		"no colon":                  {asked(stranger, auth, "Basic "+base64.StdEncoding.EncodeToString([]byte("crm"))), nil, "", 0, 400, "base64"},
		"control characters":        {asked(stranger, auth, basicOf("crm\x00", "x")), nil, "", 0, 400, "base64"},
		"in the URL":                {asked(stranger), query("access_token=" + d.control), "", 0, 400, "the parameter access_token"},
		"in the URL, trusted":       {asked(trusted), query("Token=x"), "", 0, 400, "the parameter token"},
		"in the URL and the header": {asked(stranger, auth, "Bearer "+d.control), query("access_token=" + d.control), "", 0, 400, "the parameter access_token"},
		"in any parameter":          {asked(stranger), query("q=" + d.control), "", 0, 400, "a parameter"},
		"in the path":               {asked(stranger), path("/v1/" + d.control), "", 0, 400, "its path"},
	} {
		if tt.change != nil {
			tt.change(tt.request)
		}
		got, err := d.identify(tt.request)
		f := (*refusal)(nil)
		switch {
		case tt.status == 0:
			if err != nil || got.identified.Identity.String() != tt.want || got.reach != tt.reach || !got.valid() || got.key == [32]byte{} || !got.addr.IsValid() {
				t.Errorf("%s: %v, %v, reach %v", name, err, got.identified.Identity, got.reach)
			}
		case !errors.As(err, &f) || f.status != tt.status || !strings.Contains(f.detail, tt.detail):
			t.Errorf("%s: %v %v", name, got.identified.Identity, err)
		}
	}
	for _, secret := range []string{secretPassword, "s3cret", d.control, d.control[14:], d.expired[14:], d.jwt, strings.Split(d.jwt, ".")[2], basicOf("crm", "wrong")[6:]} {
		if strings.Contains(d.log.String(), secret) {
			t.Errorf("the log has %s", secret)
		}
	}
	if !strings.Contains(d.log.String(), "request refused") {
		t.Error("nothing is logged", d.log.String())
	}
}

// Callers with the same credentials from the same address have the same key, and no others.
func TestKeysOfCallers(t *testing.T) {
	d := opened(t, nil)
	seen := map[[32]byte]int{}
	for i, r := range []*http.Request{
		asked(stranger, "Authorization", "Bearer "+d.control), asked("198.51.100.8", "Authorization", "Bearer "+d.control), asked(stranger, "Authorization", "Bearer "+d.observe),
		asked(stranger, "Authorization", basicOf("crm", secretPassword)), asked(trusted), asked(trusted, "Authorization", basicOf("crm", secretPassword)),
	} {
		first, err := d.identify(r)
		second, wrong := d.identify(r)
		if other, there := seen[first.key]; there || first.key != second.key || err != nil || wrong != nil {
			t.Errorf("%d has the key of %d, or another each time: %v %v", i, other, err, wrong)
		}
		seen[first.key] = i
	}
	again := opened(t, nil)
	if c, err := again.identify(asked(trusted)); err != nil || seen[c.key] != 0 {
		t.Error("another process has the same keys", err)
	}
}

// What is revoked or changed is good no longer, at once.
func TestRevoked(t *testing.T) {
	d := opened(t, nil)
	token, err := d.identify(asked(stranger, "Authorization", "Bearer "+d.control))
	account, wrong := d.identify(asked(stranger, "Authorization", basicOf("crm", secretPassword)))
	if err != nil || wrong != nil {
		t.Fatal(err, wrong)
	}
	err = tokens.Edit(d.tokens, func(list []tokens.Token) ([]tokens.Token, error) {
		left, _, err := tokens.Remove(list, "crm")
		return left, err
	})
	if err != nil {
		t.Fatal(err)
	}
	err = accounts.Edit(d.accounts, func(list []accounts.Account) ([]accounts.Account, error) { return list, list[0].SetPassword("new") })
	if err != nil {
		t.Fatal(err)
	}
	if token.valid() || account.valid() {
		t.Error("sessions stay")
	}
	if _, err := d.identify(asked(stranger, "Authorization", "Bearer "+d.control)); err == nil {
		t.Error("a revoked token is taken")
	}
	if _, err := d.identify(asked(stranger, "Authorization", basicOf("crm", secretPassword))); err == nil {
		t.Error("an old password is taken")
	}
}

// A password is hashed once, not for each request.
func TestPasswordsAreHashedOnce(t *testing.T) {
	d := opened(t, nil)
	r := asked(stranger, "Authorization", basicOf("crm", secretPassword))
	took := func(times int) time.Duration {
		began := time.Now()
		for range times {
			if _, err := d.identify(r); err != nil {
				t.Fatal(err)
			}
		}
		return time.Since(began)
	}
	once := took(1)
	if often := took(300); often > 100*once {
		t.Errorf("the first request took %v, the next 300 %v", once, often)
	}
}

// A locked name, and a proxy that is busy, say when to come again; so does an OpenID provider that is down.
func TestComeAgain(t *testing.T) {
	d := opened(t, nil)
	response := func(r *http.Request) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		_, err := d.identify(r)
		if err == nil {
			t.Fatal("it is identified")
		}
		d.refuse(w, r, err)
		return w
	}
	wrong := asked(stranger, "Authorization", basicOf("crm", "wrong"))
	for range 5 {
		if w := response(wrong); w.Code != 401 || w.Header().Get("Retry-After") != "" {
			t.Error(w.Code, w.Header())
		}
	}
	for _, r := range []*http.Request{wrong, asked(stranger, "Authorization", basicOf("crm", secretPassword))} {
		if w := response(r); w.Code != 429 || w.Header().Get("Retry-After") != "300" || w.Header().Get("WWW-Authenticate") != "" {
			t.Error(w.Code, w.Header(), w.Body)
		}
	}
	if _, err := d.identify(asked("198.51.100.8", "Authorization", basicOf("crm", secretPassword))); err != nil {
		t.Error("the name is locked elsewhere:", err)
	}
	d.provider.Close()
	if w := response(asked(stranger, "Authorization", "Bearer "+d.jwt)); w.Code != 503 || w.Header().Get("Retry-After") != "1" {
		t.Error(w.Code, w.Header(), w.Body)
	}
	if f := unidentified(fmt.Errorf("%w: %w", proxy.ErrBusy, accounts.ErrBusy), &proxy.Proof{}); f.status != 503 || f.retry <= 0 {
		t.Errorf("%+v", f)
	}
}

// A response says how a client can say who it is; a script in a page gets no challenge that its browser would put to its user.
func TestChallenges(t *testing.T) {
	d := opened(t, nil)
	for name, tt := range map[string]struct {
		request *http.Request
		want    string
	}{
		"nothing":    {asked(stranger), `Bearer realm="tr87proxy"|Basic realm="tr87proxy", charset="UTF-8"`},
		"a browser":  {asked(stranger, "Sec-Fetch-Mode", "navigate"), `Bearer realm="tr87proxy"|Basic realm="tr87proxy", charset="UTF-8"`},
		"a script":   {asked(stranger, "Sec-Fetch-Mode", "cors"), `Bearer realm="tr87proxy"`},
		"wrong":      {asked(stranger, "Authorization", "Bearer tr87_x"), `Bearer realm="tr87proxy", error="invalid_token"`},
		"expired":    {asked(stranger, "Authorization", "Bearer "+d.expired), `Bearer realm="tr87proxy", error="invalid_token", error_description="the token has expired"`},
		"no request": {asked(stranger, "Authorization", "Bearer ,"), ""},
		"unnamed":    {asked(stranger, "Authorization", "Bearer "+d.nobody), ""},
	} {
		w := httptest.NewRecorder()
		_, err := d.identify(tt.request)
		d.refuse(w, tt.request, err)
		if got := strings.Join(w.Header()["Www-Authenticate"], "|"); got != tt.want || w.Header().Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: %s %v", name, got, w.Header())
		}
	}
	d.passwords = false
	w := httptest.NewRecorder()
	_, err := d.identify(asked(stranger))
	if d.refuse(w, asked(stranger), err); len(w.Header()["Www-Authenticate"]) != 1 {
		t.Error(w.Header())
	}
}

// In demo mode everybody may do everything, but not pages that come by a name of their own.
func TestDemo(t *testing.T) {
	d := opened(t, func(rules *policy.Policy, id *Identification) { rules.Demo, id.Hosts = true, nil })
	for host, identified := range map[string]bool{"127.0.0.1:8880": true, "localhost:8880": true, "[::1]:8880": true, "evil.example:8880": false, "pbx.contoso.com": false, "": false} {
		r := asked("127.0.0.1")
		r.Host = host
		c, err := d.identify(r)
		if (err == nil) != identified || identified && c.identified.Identity.How != "demo" {
			t.Errorf("%q: %v %v", host, c.identified.Identity, err)
		}
	}
	if _, err := d.identify(asked("127.0.0.1", "Authorization", "Bearer tr87_x")); err == nil {
		t.Error("a wrong token is taken")
	}
}

// Addresses that the configuration does not admit get nothing, whatever they bring.
func TestAdmits(t *testing.T) {
	d := opened(t, func(rules *policy.Policy, _ *Identification) {
		rules.Deny = []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}
	})
	f := (*refusal)(nil)
	if _, err := d.identify(asked(stranger, "Authorization", "Bearer "+d.control)); !errors.As(err, &f) || f.status != 403 {
		t.Error(err)
	}
	if _, err := d.identify(asked(trusted)); err != nil {
		t.Error(err)
	}
}

func FuzzAuthorization(f *testing.F) {
	for _, text := range []string{"Bearer tr87_abc", "Basic Y3JtOnB3", "basic  Y3JtOnB3", "Bearer a.b.c==", "Basic Y3JtOnB3=", "", " ", "Bearer", "Basic \x00"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, header string) {
		got, why := authorization(header)
		if why != nil {
			if got != (credentials{}) || why.status != 400 && why.status != 401 {
				t.Errorf("%q: %+v %v", header, got, why)
			}
			return
		}
		if (got.token != "") == (got.login != nil) {
			t.Fatalf("%q: %+v", header, got)
		}
		if got.token != "" {
			if again, why := authorization("Bearer " + got.token); why != nil || again != got || strings.ContainsAny(got.token, " ,;\"\r\n\t") {
				t.Errorf("%q: %q", header, got.token)
			}
			return
		}
		scheme, rest, _ := strings.Cut(header, " ")
		r := &http.Request{Header: http.Header{"Authorization": {scheme + " " + strings.TrimLeft(rest, " ")}}}
		if user, password, ok := r.BasicAuth(); !ok || user != got.login.user || password != got.login.password {
			t.Errorf("%q: %+v, net/http reads %q %q", header, got.login, user, password)
		}
	})
}

// A peer that is refused for one reason is still seen to be refused for another, and each kind of reason is logged once.
func TestRefusalsHideNoOthers(t *testing.T) {
	d := opened(t, nil)
	for range 3 {
		for _, headers := range [][]string{{"Authorization", "Bearer " + d.expired}, {"Authorization", "Bearer tr87_wrong"}, {"Authorization", basicOf("crm", "wrong")}, nil} {
			_, _ = d.identify(asked(stranger, headers...))
		}
	}
	for _, why := range []string{"expired", "unknown or revoked token", "wrong password", "not trusted"} {
		if n := strings.Count(d.log.String(), why); n != 1 {
			t.Errorf("%d lines say %q in\n%s", n, why, d.log.String())
		}
	}
}
