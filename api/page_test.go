package api

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/config"
	"github.com/tr87proxy/tr87proxy/internal/kind"
	"github.com/tr87proxy/tr87proxy/policy"
	"github.com/tr87proxy/tr87proxy/proxy"
)

// reading returns a server whose open paths can be read.
func reading(t *testing.T) func(path string) *httptest.ResponseRecorder {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	p := proxy.New(proxy.Config{Log: log, Policy: policy.FromGrants(nil), Numbers: &policy.Numbers{}})
	settings := Kind.Settings().(*Settings)
	settings.RequestTimeout = time.Minute
	s, err := NewServer(settings, &kind.FrontEnv{Proxy: p, Log: log, Config: &config.Config{}, Admits: func(netip.Addr) bool { return true }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return func(path string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		s.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		return w
	}
}

// The page runs its own script and no other, and nothing that it shows can become HTML.
func TestPage(t *testing.T) {
	get := reading(t)
	w := get("/")
	document, policy := w.Body.String(), w.Header().Get("Content-Security-Policy")
	if w.Code != http.StatusOK || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/html") {
		t.Fatalf("%d %v", w.Code, w.Header())
	}
	for _, part := range []string{"default-src 'none'", "connect-src 'self'", "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'", "script-src 'sha256-", "style-src 'sha256-"} {
		if !slices.ContainsFunc(strings.Split(policy, "; "), func(p string) bool { return strings.HasPrefix(p, part) }) {
			t.Errorf("%s is missing in %s", part, policy)
		}
	}
	if strings.Contains(policy, "unsafe") || w.Header().Get("X-Content-Type-Options") != "nosniff" || w.Header().Get("Referrer-Policy") != "no-referrer" {
		t.Error(w.Header())
	}
	for _, element := range []string{"<script", "<style"} { // one of each, whose hash is in the policy
		if strings.Count(document, element) != 1 || !strings.Contains(document, element+">") {
			t.Errorf("%s has attributes, or is there several times", element)
		}
	}
	if found := regexp.MustCompile(`(?i)https?://|\bsrc=|<link|<img|<iframe|\bon[a-z]+="|style="|innerHTML|outerHTML|insertAdjacent|document\.write|\beval\(|new Function|localStorage|sessionStorage|document\.cookie`).FindAllString(document, -1); found != nil {
		t.Errorf("the page has %q", found)
	}
}

// The page can show every operation: it knows the places of parameters, the types of bodies and the words of schemas.
func TestPageShowsAllOperations(t *testing.T) {
	get := reading(t)
	var described struct {
		Paths map[string]map[string]struct {
			OperationID, Summary string
			Tags                 []string
			Parameters           []struct {
				Name, In string
				Schema   json.RawMessage
			}
			RequestBody struct {
				Content map[string]struct{ Schema json.RawMessage }
			}
			Responses map[string]struct {
				Content map[string]struct{ Schema json.RawMessage }
			}
		}
		Components struct{ Schemas map[string]json.RawMessage }
	}
	if err := json.Unmarshal(get("/openapi.json").Body.Bytes(), &described); err != nil {
		t.Fatal(err)
	}
	var check func(where string, schema json.RawMessage)
	check = func(where string, schema json.RawMessage) {
		var members map[string]json.RawMessage
		if json.Unmarshal(schema, &members) != nil { // false, as in additionalProperties
			return
		}
		for name, value := range members {
			switch name {
			case "properties":
				var properties map[string]json.RawMessage
				_ = json.Unmarshal(value, &properties)
				for member, s := range properties {
					check(where+"."+member, s)
				}
			case "items":
				check(where+"[]", value)
			case "anyOf":
				var alternatives []json.RawMessage
				_ = json.Unmarshal(value, &alternatives)
				for _, s := range alternatives {
					check(where, s)
				}
			case "$ref":
				var to string
				_ = json.Unmarshal(value, &to)
				if described.Components.Schemas[strings.TrimPrefix(to, "#/components/schemas/")] == nil {
					t.Errorf("%s: %s leads nowhere", where, to)
				}
			case "type", "description", "required", "enum", "default", "format", "x-short":
			case "additionalProperties", "examples", "maxLength", "minLength", "minimum", "maximum", "minItems", "maxItems", "pattern", "contentEncoding": // not shown
			default:
				t.Errorf("%s: the page does not know %s", where, name)
			}
		}
	}
	ids, count := map[string]bool{}, 0
	for path, item := range described.Paths {
		for method, o := range item {
			where := method + " " + path
			count++
			if o.OperationID == "" || o.Summary == "" || len(o.Tags) != 1 || ids[o.OperationID] {
				t.Errorf("%s: %q, %q, %v", where, o.OperationID, o.Summary, o.Tags)
			}
			ids[o.OperationID] = true
			for _, p := range o.Parameters {
				if !slices.Contains([]string{"path", "query", "header"}, p.In) || p.In == "path" && !strings.Contains(path, "{"+p.Name+"}") {
					t.Errorf("%s: %s in %s", where, p.Name, p.In)
				}
				check(where+" "+p.Name, p.Schema)
			}
			if o.RequestBody.Content != nil && o.RequestBody.Content["application/json"].Schema == nil {
				t.Errorf("%s: no body in JSON", where)
			}
			for _, content := range o.RequestBody.Content {
				check(where, content.Schema)
			}
			for status, r := range o.Responses {
				for _, content := range r.Content {
					check(where+" "+status, content.Schema)
				}
			}
		}
	}
	for name, schema := range described.Components.Schemas {
		check(name, schema)
	}
	if count < len(actions()) {
		t.Errorf("only %d operations", count)
	}
}
