package operations

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// Administrators get every request with its fields and an example, and a message of theirs in XML, or why it is none.
func TestMessages(t *testing.T) {
	ask := func(path string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		(&Admin{}).Handler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
		return w
	}
	var all struct {
		Requests []struct {
			Name    string
			Fields  []struct{ Name, Type string }
			Example map[string]any
		}
	}
	if w := ask("/messages"); w.Code != http.StatusOK || json.Unmarshal(w.Body.Bytes(), &all) != nil || len(all.Requests) < 100 {
		t.Fatalf("%d, %d requests", w.Code, len(all.Requests))
	}
	for _, r := range all.Requests {
		if r.Example[r.Name] == nil {
			t.Errorf("the example of %s is %v", r.Name, r.Example)
		}
	}
	w := ask("/messages?json=" + url.QueryEscape(`{"DeflectCall":{"callToBeDiverted":{"callID":"<7>","deviceID":"102"},"newDestination":["103"]}}`))
	if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), `\u0026lt;7\u0026gt;`) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	for _, wrong := range []string{`{`, `{"MakeCall":{"autoOriginate":"none of the standard"}}`, `{"MakeCall":{"nothing":1}}`} {
		if w := ask("/messages?json=" + url.QueryEscape(wrong)); w.Code != http.StatusConflict {
			t.Errorf("%s: %d %s", wrong, w.Code, w.Body)
		}
	}
}
