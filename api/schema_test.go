package api

import (
	"crypto/tls"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// Every action is described with the sentence of its page, and an example that the action takes as it is.
func TestExamplesOfActions(t *testing.T) {
	t.Parallel()
	s, seen := &Server{}, 0
	for _, a := range actions() {
		if a.method == http.MethodGet {
			continue
		}
		example := a.example()
		if len(example) == 0 {
			continue
		}
		seen++
		body, err := json.Marshal(example)
		if err != nil {
			t.Fatal(err)
		}
		if a.other != "" { // which asks the switch
			continue
		}
		if _, err := s.request(t.Context(), nil, a, &actionInput{Device: "101", WithBody: WithBody{ContentType: typeJSON, RawBody: body}}, "7"); err != nil {
			t.Errorf("%s %s: %v", a.name, body, err)
		}
	}
	if seen < 30 {
		t.Errorf("%d examples", seen)
	}
	for _, a := range actions() {
		if a.service == uacsta.NameMakeCall {
			if got, _ := json.Marshal(a.example()); !strings.Contains(string(got), `"to":"102"`) || strings.Contains(string(got), "calledDirectoryNumber") {
				t.Errorf("%s", got)
			}
		}
	}
}

// The description names the server at the address that was asked, and says what actions do.
func TestDescriptionAtAddress(t *testing.T) {
	o := newOffice(t)
	for want, over := range map[string]*tls.ConnectionState{"http://pbx.contoso.com:8880/": nil, "https://pbx.contoso.com:8880/": {}} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/openapi.json", nil)
		r.Host, r.TLS = "pbx.contoso.com:8880", over
		w := httptest.NewRecorder()
		o.server.ServeHTTP(w, r)
		var document struct {
			Openapi string
			Servers []struct{ URL string }
			Paths   map[string]map[string]struct{ Summary string }
		}
		if err := json.Unmarshal(w.Body.Bytes(), &document); err != nil || document.Openapi == "" || len(document.Servers) != 1 || document.Servers[0].URL != want {
			t.Errorf("%v %.200s", err, w.Body)
		}
		if got := document.Paths["/v1/devices/{device}/calls/{call}/answer"]["post"].Summary + "."; got != uacsta.ServiceOf(uacsta.NameAnswerCall).Text() || len(got) < 10 {
			t.Error(got)
		}
	}
}
