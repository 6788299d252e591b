package api

import (
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/accounts"
	"github.com/tr87proxy/tr87proxy/internal/tokens"
	"github.com/tr87proxy/tr87proxy/internal/wait"
)

// tokened gives an office a file of tokens, and returns what adds one of crm and what revokes all.
func (o *office) tokened() (add func(tokens.Scope) string, revoke func(text string)) {
	o.Helper()
	path := filepath.Join(o.TempDir(), "tokens")
	edit := func(change func([]tokens.Token) []tokens.Token) {
		o.Helper()
		if err := tokens.Edit(path, func(list []tokens.Token) ([]tokens.Token, error) { return change(list), nil }); err != nil {
			o.Fatal(err)
		}
	}
	edit(func(list []tokens.Token) []tokens.Token { return list })
	k, err := tokens.Open(path, slog.New(slog.DiscardHandler))
	if err != nil {
		o.Fatal(err)
	}
	o.server.auth.env.Tokens = k
	add = func(scope tokens.Scope) string {
		t := tokens.Token{Name: "crm", Scope: scope, Created: time.Now().Add(-time.Hour)}
		text := t.Make()
		edit(func(list []tokens.Token) []tokens.Token { return append(list, t) })
		return text
	}
	revoke = func(text string) {
		edit(func(list []tokens.Token) []tokens.Token {
			left, _, _ := tokens.Remove(list, tokens.IDOf(text))
			return left
		})
	}
	return add, revoke
}

// A webhook stops when its token is revoked, and not when another of the same name is. It goes on with the token with which
// its owner enables it.
func TestWebhookOfRevokedToken(t *testing.T) {
	o := newOffice(t)
	add, revoke := o.tokened()
	first, second := add(tokens.Control), add(tokens.Control)
	ask := func(token, method, path, body string) (int, string) {
		w := o.send(t.Context(), method, "/v1/webhooks"+path, "application/json", body, "Authorization", "Bearer "+token)
		return w.Code, w.Body.String()
	}
	if status, text := ask(first, http.MethodPost, "", `{"name":"own","url":"https://crm.contoso.com/"}`); status != http.StatusCreated {
		t.Fatal(text)
	}
	third := add(tokens.Control)
	revoke(third)
	if _, text := ask(second, http.MethodGet, "/own", ""); !strings.Contains(text, `"disabled":false`) {
		t.Error(text)
	}
	revoke(first)
	wait.For(t, "the webhook to stop", func() bool {
		_, text := ask(second, http.MethodGet, "/own", "")
		return strings.Contains(text, `"disabled":true`) && strings.Contains(text, `"why":"the token has been revoked"`)
	})
	if status, text := ask(second, http.MethodPost, "/own/enable", ""); status != http.StatusNoContent {
		t.Error(text)
	}
	if _, text := ask(second, http.MethodGet, "/own", ""); !strings.Contains(text, `"disabled":false`) {
		t.Error(text)
	}
	if status, text := ask(second, http.MethodDelete, "/own", ""); status != http.StatusNoContent || len(o.server.webhooks.wants) > 0 {
		t.Error(text, "or its devices are still recorded")
	}
}

// What identifies owners of webhooks is compared with what identifies them now, whatever it is.
func TestHolds(t *testing.T) {
	o := newOffice(t)
	path := filepath.Join(t.TempDir(), "accounts")
	set := func(text string) *accounts.Keeper {
		t.Helper()
		if err := accounts.Edit(path, func([]accounts.Account) ([]accounts.Account, error) {
			a := accounts.Account{Name: "crm"}
			err := a.SetPassword(text)
			return []accounts.Account{a}, err
		}); err != nil {
			t.Fatal(err)
		}
		k, err := accounts.Open(path, accounts.NewGuard(accounts.GuardConfig{}), slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	env := o.server.auth.env
	env.Accounts = set("one")
	c := caller{}
	c.identified.Identity.Name, c.identified.Identity.How = "crm", "account"
	account := o.server.auth.standing(&c)
	if err := o.server.holds("CRM", account); err != nil {
		t.Error(err)
	}
	if strings.Contains(string(account), "$2") {
		t.Errorf("the hash is shown: %s", account)
	}
	env.Accounts = set("two")
	if err := o.server.holds("crm", account); err != errAccountChanged { //nolint:errorlint // exactly this
		t.Error(err)
	}
	for text, want := range map[string]error{
		`{"how":"token","token":"aaaaaaaa"}`: errTokenRevoked, `{"how":"account"}`: errAccountChanged, `{"how":"openid"}`: errNotConfigured,
		`{"how":"connect"}`: errNotConfigured, `{}`: errUnknownOwner, ``: errUnknownOwner,
		`{"how":"address","addr":"127.0.0.2"}`: errNotTrusted, `{"how":"certificate","addr":"10.1.1.1","names":["crm"]}`: errNotTrusted,
	} {
		if err := o.server.holds("crm", []byte(text)); err != want { //nolint:errorlint // exactly this
			t.Errorf("%s: %v", text, err)
		}
	}
	if err := o.server.holds("127.0.0.1", []byte(`{"how":"address","addr":"127.0.0.1"}`)); err != nil {
		t.Error(err)
	}
}

// A token that may only observe sees of a webhook what has no secrets; nobody sees the password in its URL.
func TestWebhookForObserver(t *testing.T) {
	o := newOffice(t)
	add, _ := o.tokened()
	controls, observes := "Bearer "+add(tokens.Control), "Bearer "+add(tokens.Observe)
	made := o.send(t.Context(), http.MethodPost, "/v1/webhooks", "application/json",
		`{"name":"own","url":"https://me:s3cret@crm.contoso.com/p4th?k=qu3ry","format":"template","template":"t3mplate"}`, "Authorization", controls)
	if made.Code != http.StatusCreated || strings.Contains(made.Body.String(), "s3cret") {
		t.Fatal(made.Body)
	}
	for _, path := range []string{"/v1/webhooks", "/v1/webhooks/own"} {
		all := o.send(t.Context(), http.MethodGet, path, "", "", "Authorization", controls).Body.String()
		if strings.Contains(all, "s3cret") || strings.Contains(all, "whsec") || !strings.Contains(all, "p4th?k=qu3ry") || !strings.Contains(all, "t3mplate") {
			t.Error(all)
		}
		some := o.send(t.Context(), http.MethodGet, path, "", "", "Authorization", observes).Body.String()
		if !strings.Contains(some, `"url":"https://crm.contoso.com"`) {
			t.Error(some)
		}
		for _, secret := range []string{"s3cret", "p4th", "qu3ry", "t3mplate", "me:"} {
			if strings.Contains(some, secret) {
				t.Errorf("an observer sees %s: %s", secret, some)
			}
		}
	}
}

// The response with the secret of a webhook is not kept. A repetition adds no second webhook and gets no secret.
func TestSecretIsNotKept(t *testing.T) {
	o := newOffice(t)
	const body = `{"name":"own","url":"https://crm.contoso.com/"}`
	first := o.post(t.Context(), "/v1/webhooks", "application/json", body, "Idempotency-Key", "k")
	if first.Code != http.StatusCreated || !strings.Contains(first.Body.String(), "whsec_") || first.Header().Get("Cache-Control") != "no-store" {
		t.Fatal(first.Code, first.Body)
	}
	if o.server.keys.octets != 0 || len(o.server.keys.table) > 0 {
		t.Errorf("%d octets are kept", o.server.keys.octets)
	}
	again := o.post(t.Context(), "/v1/webhooks", "application/json", body, "Idempotency-Key", "k")
	if again.Code != http.StatusConflict || strings.Contains(again.Body.String(), "whsec_") || len(o.server.webhooks.List("127.0.0.1")) != 1 {
		t.Error(again.Code, again.Body)
	}
}
