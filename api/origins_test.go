package api

import (
	cryptotls "crypto/tls"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/tr87proxy/tr87proxy/internal/config"
)

// identificationKind is a kind of front with nothing but these keys.
type identificationKind struct{}

type identificationSettings struct {
	config.Listening
	Identification
}

func (identificationKind) Name() string  { return "api" }
func (identificationKind) Settings() any { return &identificationSettings{} }
func (identificationKind) Listens() config.Listens {
	return config.Listens{Transports: []string{"tcp"}, Port: "8880"}
}
func (identificationKind) Check(settings any, s *config.Section) {
	settings.(*identificationSettings).Check(s)
}

func TestIdentificationKeys(t *testing.T) {
	for text, want := range map[string]string{
		"origins: [https://crm.contoso.com, \"http://localhost:3000\", \"chrome-extension://abc\"]": "",
		"origins: [\"*\"]":                                                     "with *, any page",
		"origins: [\"null\"]":                                                  "must be an origin",
		"origins: [crm.contoso.com]":                                           "must be an origin",
		"origins: [\"https://crm.contoso.com/\"]":                              "must be an origin",
		"origins: [\"https://*.contoso.com\"]":                                 "must be an origin",
		"origins: [\"https://u@contoso.com\"]":                                 "must be an origin",
		"origins: [\"https://CRM.contoso.com\"]":                               "small letters",
		"origins: [\"https://a.b:443\"]":                                       "without :443",
		"origins: [\"http://a.b:80\"]":                                         "without :80",
		"origins: [\"https://a.b:8443\"]":                                      "",
		"hosts: [pbx, pbx.contoso.com]":                                        "",
		"hosts: [\"pbx:8880\"]":                                                "without port",
		"hosts: [\"*.contoso.com\"]":                                           "without port",
		"hosts: [\"\"]":                                                        "without port",
		"openid: {issuer: \"https://a.b/c\", audience: x, claim: sub}":         "",
		"openid: {issuer: \"http://localhost:8080/c\", audience: x, claim: e}": "",
		"openid: {issuer: \"http://a.b/c\", audience: x, claim: sub}":          "openid.issuer",
		"openid: {issuer: \"https://a.b/?c\", audience: x, claim: sub}":        "openid.issuer",
		"openid: {issuer: a.b, audience: x, claim: sub}":                       "openid.issuer",
		"openid: {audience: x, claim: sub}":                                    "openid.issuer",
		"openid: {issuer: \"https://a.b\", claim: sub}":                        "openid.audience",
		"openid: {issuer: \"https://a.b\", audience: x}":                       "openid.claim",
		"openid: {ca: x}":                                                      "openid.claim",
	} {
		_, err := config.Parse("x", []byte("grants: [{who: crm, control: [\"100\"]}]\napi:\n  "+text+"\n"), config.Kinds{Fronts: []config.FrontKind{identificationKind{}}})
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestCORS(t *testing.T) {
	d := opened(t, nil)
	c := newCORS(&Identification{Origins: []string{"https://crm.contoso.com", "http://localhost:3000"}}, d.authenticator)
	served := 0
	handler := c.wrap(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { served++ }))
	for name, tt := range map[string]struct {
		method  string
		tls     bool
		headers []string
		status  int
		origin  string // that is permitted
		served  bool
	}{
		"no browser":              {"POST", false, nil, 200, "", true},
		"listed":                  {"POST", false, []string{"Origin", "https://crm.contoso.com"}, 200, "https://crm.contoso.com", true},
		"listed, WebSocket":       {"GET", false, []string{"Origin", "http://localhost:3000", "Upgrade", "websocket"}, 200, "http://localhost:3000", true},
		"own":                     {"POST", false, []string{"Origin", "http://pbx:8880"}, 200, "http://pbx:8880", true},
		"own, TLS":                {"POST", true, []string{"Origin", "https://pbx:8880"}, 200, "https://pbx:8880", true},
		"own, without TLS":        {"POST", true, []string{"Origin", "http://pbx:8880"}, 403, "", false},
		"own, with TLS elsewhere": {"POST", false, []string{"Origin", "https://pbx:8880"}, 403, "", false},
		"another port":            {"GET", false, []string{"Origin", "http://pbx:8881"}, 403, "", false},
		"foreign":                 {"GET", false, []string{"Origin", "https://evil.example"}, 403, "", false},
		"foreign, WebSocket":      {"GET", false, []string{"Origin", "https://evil.example", "Upgrade", "websocket"}, 403, "", false},
		"longer":                  {"GET", false, []string{"Origin", "https://crm.contoso.com.evil.example"}, 403, "", false},
		"another scheme":          {"GET", false, []string{"Origin", "http://crm.contoso.com"}, 403, "", false},
		"null":                    {"POST", false, []string{"Origin", "null"}, 403, "", false},
		"empty":                   {"POST", false, []string{"Origin", ""}, 403, "", false},
		"two":                     {"POST", false, []string{"Origin", "https://crm.contoso.com", "Origin", "https://crm.contoso.com"}, 403, "", false},
		"form of a page":          {"POST", false, []string{"Sec-Fetch-Site", "cross-site"}, 403, "", false},
		"form of a neighbour":     {"DELETE", false, []string{"Sec-Fetch-Site", "same-site"}, 403, "", false},
		"own form":                {"POST", false, []string{"Sec-Fetch-Site", "same-origin"}, 200, "", true},
		"link of a page":          {"GET", false, []string{"Sec-Fetch-Site", "cross-site"}, 200, "", true},
		"preflight":               {"OPTIONS", false, []string{"Origin", "https://crm.contoso.com", "Access-Control-Request-Method", "POST", "Access-Control-Request-Private-Network", "true"}, 204, "https://crm.contoso.com", false},
		"foreign preflight":       {"OPTIONS", false, []string{"Origin", "https://evil.example", "Access-Control-Request-Method", "POST", "Access-Control-Request-Private-Network", "true"}, 403, "", false},
		"options":                 {"OPTIONS", false, nil, 200, "", true},
	} {
		r := httptest.NewRequest(tt.method, "/v1/devices", nil)
		r.Host = "pbx:8880"
		if tt.tls {
			r.TLS = &cryptotls.ConnectionState{}
		}
		for i := 0; i < len(tt.headers); i += 2 {
			r.Header.Add(tt.headers[i], tt.headers[i+1])
		}
		w := httptest.NewRecorder()
		served = 0
		handler.ServeHTTP(w, r)
		h := w.Header()
		if w.Code != tt.status || (served == 1) != tt.served || h.Get("Access-Control-Allow-Origin") != tt.origin || h.Get("Vary") != "Origin" {
			t.Errorf("%s: %d %v", name, w.Code, h)
		}
		if h.Get("Access-Control-Allow-Credentials") != "" || (h.Get("Access-Control-Allow-Private-Network") != "") != (tt.status == 204) || (h.Get("Access-Control-Allow-Methods") != "") != (tt.status == 204) {
			t.Errorf("%s: %v", name, h)
		}
		if c.allowed(r) != (tt.status != 403) {
			t.Errorf("%s is allowed: %v", name, c.allowed(r))
		}
	}
	if !strings.Contains(d.log.String(), "which api.origins does not list") {
		t.Error("foreign pages are not in the log", d.log.String())
	}
}
