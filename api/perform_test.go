package api

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/wait"
	"github.com/tr87proxy/tr87proxy/policy"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

const (
	cstaJSON = `{"MakeCall":{"callingDevice":"100","calledDirectoryNumber":"101","autoOriginate":"doNotPrompt"}}`
	cstaText = `<MakeCall xmlns="http://www.ecma-international.org/standards/ecma-323/csta/ed6"><callingDevice>100</callingDevice><calledDirectoryNumber>101</calledDirectoryNumber><autoOriginate>doNotPrompt</autoOriginate></MakeCall>`
)

// However somebody writes dryRun, it places no call; and what cannot be read as true or false is refused.
func TestDryRunPlacesNoCall(t *testing.T) {
	o := newOffice(t)
	for _, way := range [][3]string{{placing, "application/json", `{"to":"101"}`}, {cstaPath, "application/json", cstaJSON}, {cstaPath, "application/xml", cstaText}, {cstaPath, "text/xml; charset=utf-8", cstaText}} {
		for _, query := range []string{"dryRun=true", "dryRun=1", "dryRun=T", "dryRun", "dryRun=", "dryRun=yes", "dryrun=true", "dryRun=true&dryRun=false", "dryRun=false&dryRun=true", "dryRun=true;", "dryRun%3Dtrue", "dryRun=+true", "DRYRUN=1"} {
			w := o.post(t.Context(), way[0]+"?"+query, way[1], way[2])
			var look Outlook
			switch err := json.Unmarshal(w.Body.Bytes(), &look); {
			case w.Code == http.StatusOK && err == nil && look.DryRun && look.Allowed && look.Service == uacsta.NameMakeCall && look.Link == "switch":
			case w.Code >= 400 && w.Code < 500:
			default:
				t.Errorf("%s %s %s: %d %s", way[0], way[1], query, w.Code, w.Body)
			}
			if query == "dryRun=true" && w.Code != http.StatusOK {
				t.Errorf("%s %s: %d %s", way[0], way[1], w.Code, w.Body)
			}
		}
	}
	if calls := o.callsAt("100"); len(calls) > 0 {
		t.Error(calls)
	}
}

// The link goes down while a request is out, or it does not respond: 504, for the switch may have carried the request out, and
// the key is kept. It stays down: 503 that says since when.
func TestLinkDownMeanwhile(t *testing.T) {
	o := newOffice(t, func(s *Settings) { s.RequestTimeout = 300 * time.Millisecond })
	s := o.slowly()
	if w := o.post(t.Context(), "/v1/devices/200/calls", "application/json", `{"to":"101"}`); w.Code != http.StatusGatewayTimeout {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	wait.Next(t, s.seen, "the request")
	o.server.settings.RequestTimeout = time.Minute
	out := make(chan *httptest.ResponseRecorder, 1)
	keyed := func() *httptest.ResponseRecorder {
		return o.post(t.Context(), "/v1/devices/200/calls", "application/json", `{"to":"101"}`, "Idempotency-Key", "k")
	}
	go func() { out <- keyed() }()
	wait.Next(t, s.seen, "the request")
	s.lose <- io.EOF
	if w := wait.Next(t, out, "the response"); w.Code != http.StatusGatewayTimeout || w.Header().Get("Retry-After") != "" || !strings.Contains(w.Body.String(), "/problems/timeout") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := keyed(); w.Code != http.StatusGatewayTimeout || w.Header().Get("Idempotency-Replayed") == "" {
		t.Errorf("again: %d %s", w.Code, w.Body)
	}
	wait.For(t, "the end of the link", func() bool {
		w := o.post(t.Context(), "/v1/devices/200/calls", "application/json", `{"to":"101"}`)
		return w.Code == http.StatusServiceUnavailable && strings.Contains(w.Body.String(), "link slow is down since 20") && w.Header().Get("Retry-After") != ""
	})
}

// The core closes the session of a client while its requests are out: they get a response that says what to do, and the next
// request has a new session.
func TestSessionClosedMeanwhile(t *testing.T) {
	o := newOffice(t)
	c, giveBack := o.borrowed()
	c.Closed(proxy.ErrSlow)
	_, err := c.do(t.Context(), uacsta.SnapshotDevice{SnapshotObject: uacsta.Dev("100")})
	if p := explained(err); p.Status != http.StatusServiceUnavailable || p.retry == 0 {
		t.Errorf("%+v", p)
	}
	if _, _, err := c.devices(t.Context(), "", nil); explained(err).Status != http.StatusServiceUnavailable {
		t.Error(err)
	}
	if calls := o.callsAt("100"); len(calls) > 0 { // by a new session
		t.Error(calls)
	}
	o.core.SetRules(policy.FromGrants(nil), &policy.Numbers{})
	_, err = c.do(t.Context(), uacsta.SnapshotDevice{SnapshotObject: uacsta.Dev("100")})
	if p := explained(err); p.Status != http.StatusUnauthorized || p.GetHeaders().Get("WWW-Authenticate") == "" {
		t.Errorf("%+v", p)
	}
	giveBack()
	if w := o.post(t.Context(), placing, "application/json", `{"to":"101"}`); w.Code != http.StatusUnauthorized {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// What is too large, too deep, or no JSON is refused with a problem, by every route that takes a body, with and without a key.
func TestBodiesRefused(t *testing.T) {
	o := newOffice(t)
	large := `{"to":"` + strings.Repeat("1", maxBody) + `"}`
	deep := `{"to":` + strings.Repeat(`{"a":`, 10000) + "1" + strings.Repeat("}", 10001)
	lists := `{"to":` + strings.Repeat("[", 30000) + strings.Repeat("]", 30000) + "}"
	for name, tt := range map[string]struct {
		body   string
		status []int
	}{
		"large": {large, []int{413}}, "deep": {deep, []int{400, 422}}, "lists": {lists, []int{400, 422}}, "twice": {`{"to":"101","to":"102"}`, []int{400}}, "more": {`{"to":"101"}{}`, []int{400}},
		"text": {`"101"`, []int{400}}, "open": {`{"to":"101"`, []int{400}}, "not UTF-8": {"{\"to\":\"\xff\"}", []int{400, 422, 404}}, "unknown": {`{"to":"101","x":1}`, []int{422}}, "null": {`{"to":null}`, []int{422}},
		"by the path": {`{"to":"101","callingDevice":"199"}`, []int{422}},
	} {
		for _, headers := range [][]string{nil, {"Idempotency-Key", name}} {
			w := o.post(t.Context(), placing, "application/json", tt.body, headers...)
			fits := false
			for _, status := range tt.status {
				fits = fits || w.Code == status
			}
			if !fits || w.Header().Get("Content-Type") != "application/problem+json" {
				t.Errorf("%s %v: %d %.300s", name, headers, w.Code, w.Body)
			}
		}
	}
	if calls := o.callsAt("100"); len(calls) > 0 {
		t.Error(calls)
	}
}

// FuzzMembers: what membersOf reads is what encoding/json reads, unless it is refused.
func FuzzMembers(f *testing.F) {
	for _, seed := range []string{``, `{}`, `{"a":1}`, `{"a":1,"a":2}`, `{"a":1}x`, `[]`, `null`, `{"a":{"b":[1,2]}}`, `{"\u0061":1,"a":2}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		fields, err := membersOf(data)
		if err != nil {
			return
		}
		var same map[string]json.RawMessage
		if len(fields) > 0 && (json.Unmarshal(data, &same) != nil || len(same) != len(fields)) {
			t.Fatalf("%q: %v", data, fields)
		}
		for name, value := range fields {
			if !json.Valid(value) || string(same[name]) != string(value) {
				t.Fatalf("%q: %q is %q", data, name, value)
			}
		}
	})
}

// FuzzAction: whatever the body of an action is, its request acts on the device and the call of the path alone, and what
// cannot be read is refused without a panic.
func FuzzAction(f *testing.F) {
	for i, seed := range []string{
		`{"to":"101"}`, `{"callingDevice":"199"}`, `{"CallingDevice":"199","to":"101"}`, `{"@callingDevice":{"typeOfNumber":"other"},"to":"101"}`, `{"with":"8"}`, `{"callToBeHeld":{"callID":"1","deviceID":"199"}}`,
		`{"otherElements":"<callToBeHeld><deviceID>199</deviceID></callToBeHeld>"}`, `{"@":{"xmlns":"x"}}`, `{"to":"101","correlator":"hex:zz"}`, `{"prompt":true,"autoOriginate":"prompt"}`, `{"by":"199"}`,
	} {
		for n := range 8 {
			f.Add(uint8(i*17+n*29), []byte(seed))
		}
	}
	f.Fuzz(func(t *testing.T, which uint8, data []byte) {
		a := actions()[int(which)%len(actions())]
		if a.other != "" { // which asks the switch
			return
		}
		s := &Server{}
		req, err := s.request(t.Context(), nil, a, &actionInput{Device: "100", WithBody: WithBody{ContentType: "application/json", RawBody: data}}, "7")
		if err != nil {
			if p := explained(err); p.Status < 400 || p.Status >= 500 {
				t.Fatalf("%s %q: %v", a.name, data, err)
			}
			return
		}
		if req.Name() != a.service {
			t.Fatalf("%s %q: %s", a.name, data, req)
		}
		again, err := uacsta.Parse(req.Bytes())
		if err != nil {
			t.Fatalf("%s %q: %s: %v", a.name, data, req, err)
		}
		for _, m := range []*uacsta.Message{req, again} {
			if a.call {
				if got := m.Text(a.object + "/callID"); got != "7" {
					t.Fatalf("%s %q: call %q", a.name, data, got)
				}
				if got := m.Text(a.object + "/deviceID"); got != "100" {
					t.Fatalf("%s %q: device %q", a.name, data, got)
				}
			} else if got := m.Text(a.object); got != "100" {
				t.Fatalf("%s %q: device %q", a.name, data, got)
			}
		}
	})
}

// Every action is in the description, once, and its path gives what it acts on.
func TestActionsDescribed(t *testing.T) {
	o := newOffice(t)
	paths := o.server.api.OpenAPI().Paths
	seen := map[string]string{}
	for _, a := range actions() {
		item := paths[a.path()]
		if item == nil {
			t.Errorf("%s: no path %s", a.name, a.path())
			continue
		}
		id := fmt.Sprint(a.method, " ", a.path())
		if before, twice := seen[id]; twice {
			t.Errorf("%s is %s and %s", id, before, a.name)
		}
		seen[id] = a.name
	}
	if len(seen) < 90 {
		t.Errorf("%d actions", len(seen))
	}
}
