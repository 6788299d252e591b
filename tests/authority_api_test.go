package tests

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// malloryWeb is the address that Mallory is known by at the front for HTTP.
const malloryWeb = "127.0.0.67"

// overHTTP lets Mallory in over HTTP: by POST /v1/csta with documents.
func (s *stage) overHTTP() mallory {
	web := s.web(malloryWeb)
	return mallory{front: "api in XML", who: malloryWeb, alone: true, send: func(documents []string, _ string) []*uacsta.Message {
		s.t.Helper()
		answers := make([]*uacsta.Message, len(documents))
		for i, document := range documents {
			answers[i] = s.answerIn(web.ask("POST", "/v1/csta", document, "Content-Type", "application/xml"))
		}
		return answers
	}}
}

// web returns a client of HTTP that comes from an address.
func (s *stage) web(from string) *webClient {
	return &webClient{t: s.t, client: checking(s.t, from), server: fmt.Sprintf("http://127.0.0.1:%d", s.http)}
}

// answerIn returns the response of CSTA in one of HTTP. A refusal has a status that says so.
func (s *stage) answerIn(w said) *uacsta.Message {
	s.t.Helper()
	if w.status/100 == 5 && w.status != http.StatusNotImplemented && w.status != http.StatusServiceUnavailable {
		s.t.Errorf("%s", w)
	}
	if p := w.problem(); p.Status != 0 {
		if p.CSTA == nil { // that the interface has other ways for this
			return uacsta.ErrorMessage(uacsta.Refuse(uacsta.Operation, uacsta.ServiceNotSupported), uacsta.Edition3)
		}
		return uacsta.ErrorMessage(uacsta.Refuse(uacsta.Category(p.CSTA.Category), p.CSTA.Value), uacsta.Edition3)
	}
	m, err := uacsta.Parse(w.body)
	if err != nil {
		m, err = uacsta.ParseJSON(w.body)
	}
	if err != nil {
		return nil
	}
	if refused := m.Err() != nil; refused != (w.status >= 400) {
		s.t.Errorf("the status does not fit: %s", w)
	}
	return m
}

// theft is a request of Mallory's for what is not hers, in words of the API.
type theft struct {
	service, about     string // as in the audit file
	method, path, body string
}

// thefts are all ways of the API to name Alice, Bob and their call.
func (s *stage) thefts(web *webClient) (list []theft) {
	actions, _ := web.description()
	me, alice, bob, own, foreign := s.words["me"], s.words["alice"], s.words["bob"], s.words["own"], s.words["foreign"]
	for _, service := range slices.Sorted(maps.Keys(actions)) {
		op := actions[service]
		for _, n := range namings() {
			if n.service != service || !n.own && n.about == "" {
				continue
			}
			m, err := uacsta.Parse([]byte(s.fillIn(n.document)))
			if err != nil {
				continue
			}
			if method, path, body, ok := inAction(actions, m); ok && !n.own {
				list = append(list, theft{service, s.fillIn(n.about), method, path, body})
			}
			if data, err := json.Marshal(m); err == nil && !n.own {
				list = append(list, theft{service, s.fillIn(n.about), "POST", "/v1/csta", string(data)})
			}
			// What is Mallory's own in the body does not help.
			if _, _, body, ok := inAction(actions, m); ok && n.own && !strings.Contains(n.way, "private") {
				for _, at := range [][2]string{{alice, foreign}, {me, foreign}, {alice, own}, {bob, foreign}} {
					about := at[0]
					if op.call {
						about = at[1] + "@" + at[0]
					} else if at[0] == me {
						continue
					}
					list = append(list, theft{service, about, op.method, op.filled(at[0], at[1]), body})
				}
			}
		}
	}
	return list
}

// tryHTTP tries the ways of the API, over HTTP and over a WebSocket. Every one is refused, and audited. What would happen
// (dryRun) is not audited, and says the same of a call of others as of one that there is not.
func (s *stage) tryHTTP() (all []attempt) {
	s.t.Helper()
	if s.call != nil {
		s.call()
	}
	web, socket := s.web(malloryWeb), s.webSocket(malloryWeb, "events")
	thefts := s.thefts(web)
	if len(thefts) < 200 {
		s.t.Errorf("only %d ways of the API", len(thefts))
	}
	all = append(s.tryThefts("HTTP", web.ask, thefts), s.tryThefts("a WebSocket", socket.ask, thefts)...)
	alice, foreign := s.words["alice"], s.words["foreign"]
	for way, ask := range map[string]askFunc{"HTTP": web.ask, "a WebSocket": socket.ask} {
		for _, path := range []string{"/v1/devices/" + alice, "/v1/devices/" + alice + "/calls", "/v1/calls/" + foreign} {
			if w := ask("GET", path, ""); w.status != 403 && w.status != 404 {
				s.t.Errorf("%s over %s: %s", path, way, w)
			}
			service, about := uacsta.NameSnapshotDevice, alice
			if strings.HasPrefix(path, "/v1/calls") {
				service, about = uacsta.NameSnapshotCall, foreign+"@"
			}
			all = append(all, attempt{malloryWeb, service, about, "GET " + path + " over " + way})
		}
		for _, path := range []string{"/v1/devices", "/v1/calls", "/v1/devices?filter=" + alice, "/v1/calls?filter=*", "/v1/devices?details=true"} {
			if w := ask("GET", path, ""); w.status != 200 || strings.Contains(string(w.body), `"`+alice+`"`) || strings.Contains(string(w.body), `"`+foreign+`"`) {
				s.t.Errorf("%s over %s: %s", path, way, w)
			}
		}
	}
	for way, w := range map[string]said{
		"GET": web.ask("GET", "/v1/events?devices="+alice, ""), "PUT": socket.ask("PUT", "/v1/events", `{"devices": ["`+alice+`"]}`),
	} {
		if w.status != 403 && w.status != 404 {
			s.t.Errorf("%s /v1/events: %s", way, w)
		}
		all = append(all, attempt{malloryWeb, uacsta.NameSnapshotDevice, alice, way + " /v1/events"})
	}
	s.quiet("after the API")
	return all
}

// askFunc sends a request and returns its response.
type askFunc func(method, path, body string, headers ...string) said

func (s *stage) tryThefts(way string, ask askFunc, thefts []theft) (all []attempt) {
	s.t.Helper()
	unsaid := strings.NewReplacer(s.words["foreign"], "CALL", "999999", "CALL")
	other := strings.NewReplacer(s.words["foreign"], "999999")
	for _, x := range thefts {
		name := fmt.Sprintf("%s %s %s over %s", x.method, x.path, x.body, way)
		_ = s.wire()
		w := ask(x.method, x.path, x.body)
		if !slices.Contains([]int{403, 404, 409, 422, 501}, w.status) || w.problem().Detail == "" {
			s.t.Errorf("%s: %s", name, w)
		}
		if err := s.wire(); err != nil {
			s.t.Errorf("%s: the switching function got %v", name, err)
		}
		if !strings.Contains(x.body, `"with"`) { // for that the API itself asks first
			all = append(all, attempt{malloryWeb, x.service, x.about, name})
		}
		look := ask(x.method, x.path+"?dryRun=true", x.body)
		if look.status == 200 && !strings.Contains(string(look.body), `"allowed":false`) && !strings.HasSuffix(x.about, "@"+s.words["me"]) { // there the switch is asked first
			s.t.Errorf("%s would do %s", name, look)
		}
		nobody := ask(x.method, other.Replace(x.path)+"?dryRun=true", other.Replace(x.body))
		if a, b := unsaid.Replace(look.String()), unsaid.Replace(nobody.String()); a != b {
			s.t.Errorf("%s tells calls from others:\n%s\n%s", name, a, b)
		}
	}
	return all
}

// A key is one of its identity: another identity with the same key makes a request of its own, and gets nothing of the first.
func TestAPIKeysOfOthers(t *testing.T) {
	t.Parallel()
	port := freePort(t)
	r := serve(t, fmt.Sprintf("api: {listen: [{transport: tcp, address: \"127.0.0.1:%d\"}]}\ntrusted: [{address: 127.0.0.0/8}]\ngrants: [{who: 127.0.0.1, control: [\"1000\"], dial: [\"*\"]}, {who: 127.0.0.2, control: [\"1001\"], dial: [\"*\"]}]\n", port))
	s := &stage{t: t, http: port}
	a, b := s.web("127.0.0.1"), s.web("127.0.0.2")
	first := a.ask("POST", "/v1/devices/1000/calls", `{"to":"1002"}`, "Idempotency-Key", "k")
	if first.status != http.StatusCreated {
		t.Fatal(first)
	}
	if w := b.ask("POST", "/v1/devices/1000/calls", `{"to":"1002"}`, "Idempotency-Key", "k"); w.status != http.StatusForbidden && w.status != http.StatusNotFound || strings.Contains(string(w.body), "callID") {
		t.Error(w)
	}
	if w := a.ask("POST", "/v1/devices/1000/calls", `{"to":"1002"}`, "Idempotency-Key", "k"); w.String() != first.String() {
		t.Error(w)
	}
	r.stop()
}
