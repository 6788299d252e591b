package tests

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tr87proxy/tr87proxy/tests/openapi"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// checking returns a client of HTTP that comes from an address, and checks all that it says and hears against the OpenAPI
// document of the server.
func checking(t *testing.T, from string) *http.Client {
	t.Helper()
	base := &http.Transport{DialContext: (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}).DialContext}
	t.Cleanup(base.CloseIdleConnections)
	return &http.Client{
		Transport:     &openapi.Transport{Base: base, Fault: func(err error) { t.Error(err) }},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// webClient is a client of the API.
type webClient struct {
	t       *testing.T
	client  *http.Client
	server  string
	headers []string // of all its requests, in pairs
}

// said is a response.
type said struct {
	status int
	header http.Header
	body   []byte
}

func (w said) String() string { return fmt.Sprintf("%d %s", w.status, w.body) }

// problem is what tests look at of a problem document.
func (w said) problem() (p struct {
	Type, Title, Detail, Rule string
	Status                    int
	CSTA                      *struct{ Category, Value string }
}) {
	_ = json.Unmarshal(w.body, &p)
	return p
}

func (c *webClient) ask(method, path, body string, headers ...string) said {
	c.t.Helper()
	req, err := http.NewRequestWithContext(c.t.Context(), method, c.server+path, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	all := slices.Concat(c.headers, headers)
	for i := 0; i < len(all); i += 2 {
		req.Header.Set(all[i], all[i+1])
	}
	res, err := c.client.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return said{res.StatusCode, res.Header, data}
}

// operation is one of the document, as far as tests need it.
type operation struct {
	method, path string
	call         bool            // the path names a call
	members      map[string]bool // of the body
	action       bool
}

// description reads the OpenAPI document of a server: its operations by what they do, and all of their paths.
func (c *webClient) description() (actions map[string]operation, all []operation) {
	c.t.Helper()
	var document struct {
		Paths map[string]map[string]struct {
			Summary, Description string
			RequestBody          struct {
				Content map[string]struct {
					Schema struct{ Properties map[string]any }
				}
			}
		}
	}
	w := c.ask("GET", openapi.Path, "")
	if err := json.Unmarshal(w.body, &document); err != nil || w.status != http.StatusOK {
		c.t.Fatal(w.status, err)
	}
	actions = map[string]operation{}
	for _, path := range slices.Sorted(maps.Keys(document.Paths)) {
		for method, o := range document.Paths[path] {
			op := operation{method: strings.ToUpper(method), path: path, call: strings.Contains(path, "{call}"), members: map[string]bool{}}
			for name := range o.RequestBody.Content["application/json"].Schema.Properties {
				op.members[name] = true
			}
			if service, _, is := strings.Cut(strings.TrimPrefix(o.Description, "The service "), " of CSTA."); is {
				op.action = true
				actions[service] = op
			}
			all = append(all, op)
		}
	}
	return actions, all
}

// filled is the path of an operation for a device and a call.
func (o operation) filled(device, call string) string {
	path := o.path
	for _, name := range []string{"{device}", "{id}"} {
		path = strings.ReplaceAll(path, name, url.PathEscape(device))
	}
	return strings.ReplaceAll(path, "{call}", url.PathEscape(call))
}

// inAction says a request in the words of its action: the path gives what it acts on. It returns false if that has no words
// for it: it names a typed device, or no call, or what the action finds out by itself.
func inAction(actions map[string]operation, m *uacsta.Message) (method, path, body string, ok bool) {
	op, has := actions[m.Name()]
	if !has {
		return "", "", "", false
	}
	data, err := json.Marshal(m)
	var document map[string]map[string]json.RawMessage
	if err != nil || json.Unmarshal(data, &document) != nil {
		return "", "", "", false
	}
	fields := document[m.Name()]
	var device, call, with string
	for name, value := range fields {
		if op.members[name] {
			continue
		}
		delete(fields, name)
		if op.method == http.MethodGet && device != "" {
			return "", "", "", false
		}
		if !op.call {
			if device != "" || json.Unmarshal(value, &device) != nil {
				return "", "", "", false
			}
			continue
		}
		var c map[string]string
		if json.Unmarshal(value, &c) != nil || len(c) != 2 || c["callID"] == "" || c["deviceID"] == "" || device != "" && c["deviceID"] != device {
			return "", "", "", false
		}
		device = c["deviceID"]
		if call, with = c["callID"], call; name == "heldCall" || with == "" {
			continue
		}
		call, with = with, call
	}
	if device == "" || op.call && call == "" || op.method == http.MethodGet && len(fields) > 0 {
		return "", "", "", false
	}
	if with != "" {
		fields["with"] = json.RawMessage(fmt.Sprintf("%q", with))
	}
	if m.Name() == uacsta.NameMakeCall && fields["autoOriginate"] == nil {
		fields["prompt"] = json.RawMessage("true") // the default of CSTA, and not of the action
	}
	if len(fields) > 0 {
		data, _ = json.Marshal(fields)
		body = string(data)
	}
	return op.method, op.filled(device, call), body, true
}

// The document is one of OpenAPI, has an operation for every service that the standard lets act on something, and everybody
// can read it, but nothing else: without an identity every other path says 401, and knows nothing of what is asked.
func TestAPIDescription(t *testing.T) {
	t.Parallel()
	dir, port := t.TempDir(), freePort(t)
	tokens := filepath.Join(dir, "tokens")
	token := addToken(t, tokens, "watcher")
	r := serve(t, fmt.Sprintf("api: {listen: [{transport: tcp, address: \"127.0.0.1:%d\"}]}\napplication-sessions: {tokens-file: %s}\nlimits: {requests-per-second: 100000}\ngrants: [{who: watcher, control: [\"*\"], dial: [\"*\"]}]\n", port, tokens))
	stranger := &webClient{t: t, client: checking(t, "127.0.0.1"), server: fmt.Sprintf("http://127.0.0.1:%d", port)}
	actions, all := stranger.description()
	if len(actions) < 90 {
		t.Errorf("%d actions", len(actions))
	}
	for _, path := range []string{"/", "/openapi.json", "/asyncapi.json", "/problems/conflict"} {
		if w := stranger.ask("GET", path, ""); w.status == http.StatusUnauthorized || w.status >= 500 {
			t.Errorf("%s: %s", path, w)
		}
	}
	for _, op := range all {
		body := ""
		if op.method != http.MethodGet && op.method != http.MethodDelete {
			body = "{}"
		}
		if w := stranger.ask(op.method, op.filled("1000", "7"), body); w.status != http.StatusUnauthorized || w.header.Get("WWW-Authenticate") == "" || bytes.Contains(w.body, []byte("1000")) {
			t.Errorf("%s %s: %s", op.method, op.path, w)
		}
	}
	for _, path := range []string{"/v1/nothing", "/problems/../v1/devices", "/problems/..%2fv1/devices", "//v1/devices", "/openapi.json/../v1/devices", "/v1/devices/"} {
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "TRACE", "CONNECT"} {
			if method == "CONNECT" {
				continue // http.Client has another meaning for it
			}
			if w := stranger.ask(method, path, ""); w.status/100 != 3 && w.status != 401 && w.status != 404 && w.status != 405 {
				t.Errorf("%s %s: %s", method, path, w)
			}
		}
	}
	observer := &webClient{t: t, client: checking(t, "127.0.0.1"), server: stranger.server, headers: []string{"Authorization", "Bearer " + token}}
	if w := observer.ask("GET", "/v1/devices?limit=2", ""); w.status != http.StatusOK {
		t.Fatal(w)
	}
	// A token that may only observe controls nothing, by no action and by no form of POST /v1/csta.
	for service, op := range actions {
		if uacsta.Observes(service) {
			continue
		}
		request := ""
		for _, n := range namings() {
			if n.service == service && n.own {
				request = strings.NewReplacer("{me}", "1000", "{partner}", "1001", "{own}", "7", "{held}", "8").Replace(n.document)
				break
			}
		}
		m, err := uacsta.Parse([]byte(request))
		if err != nil {
			t.Errorf("%s: %v", service, err)
			continue
		}
		data, _ := json.Marshal(m)
		answers := map[string]said{"JSON": observer.ask("POST", "/v1/csta", string(data)), "XML": observer.ask("POST", "/v1/csta", request, "Content-Type", "application/xml")}
		if method, path, body, ok := inAction(actions, m); ok {
			answers[op.path] = observer.ask(method, path, body)
		}
		for way, w := range answers {
			if w.status != 403 && w.status != 404 && w.status != 409 && w.status != 422 && w.status != 501 {
				t.Errorf("%s by %s: %s", service, way, w)
			}
		}
	}
	if w := observer.ask("GET", "/v1/devices/1000/calls", ""); !bytes.HasPrefix(w.body, []byte(`{"calls":[]`)) {
		t.Error(w)
	}
	r.stop()
}
