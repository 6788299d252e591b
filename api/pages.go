package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"sync"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

func typeOf[T any]() reflect.Type { return reflect.TypeFor[T]() }

const problems = "/problems/"

// isProblemPage reports whether a path is that of a page about a kind of problem.
func isProblemPage(path string) bool { return strings.HasPrefix(path, problems) }

// describePages registers what is not part of the interface itself: its description, and what answers paths that there
// are not.
func (s *Server) describePages() {
	document := sync.OnceValue(func() []byte { // few ask for it, and it takes longer than all the rest
		document, err := s.api.OpenAPI().MarshalJSON()
		if err != nil {
			panic(err) // it depends on nothing but the code
		}
		return document
	})
	s.mux.HandleFunc("GET /{$}", servePage)
	s.mux.HandleFunc("GET /openapi.json", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", typeJSON)
		_, _ = fmt.Fprintf(w, `{"servers":%s,%s`, servers(r), document()[1:]) // the client may have left
	})
	s.mux.HandleFunc("GET "+problems+"{kind}", func(w http.ResponseWriter, r *http.Request) {
		for _, k := range kinds {
			if k.path == r.PathValue("kind") {
				w.Header().Set("Content-Type", "text/plain; charset=utf-8")
				_, _ = w.Write([]byte(k.title + "\n\n" + explanations[k.path] + "\n"))
				return
			}
		}
		fail(w, problem(http.StatusNotFound, "there is no such kind of problem"))
	})
	s.mux.HandleFunc("/", s.astray)
}

// servers returns the address that was asked, as the list of servers in a description.
func servers(r *http.Request) []byte {
	address := url.URL{Scheme: "http", Host: r.Host, Path: "/"}
	if r.TLS != nil {
		address.Scheme = "https"
	}
	list, _ := json.Marshal([]map[string]string{{"url": address.String()}}) // texts always encode
	return list
}

// explanations say what to do about the kinds of problems.
var explanations = map[string]string{
	"bad-request":   "The proxy cannot read the request: it is no JSON, or has another type than the path takes. The detail says where.",
	"unauthorized":  "The request does not say who sends it, or its token or password is not valid. Send Authorization: Bearer TOKEN (tr87proxy tokens add), or Basic with an account.",
	"forbidden":     "No rule or grant of the configuration lets this identity do this with this device, or send calls there. The problem names the rule that refuses it; tr87proxy policy explain --front api --as NAME SERVICE DEVICE DESTINATION, at the proxy, shows how its configuration decides.",
	"not-found":     "There is no such path, device, call or destination. GET /v1/devices lists the devices that you may observe.",
	"conflict":      "The service is not possible in the state in which the call is. The problem says the state, and what is possible.",
	"too-large":     "A request has at most 64 KiB.",
	"invalid":       "The request can be read, but a member is missing, unknown, or has a value that the service does not take. The detail says which.",
	"too-many":      "A limit of the configuration is exceeded, or the rate of a rule. Try again after the time that Retry-After gives.",
	"not-supported": "The switch does not support this service, or not for this device. \"can\" of a device lists what it supports.",
	"unavailable":   "The link to the switch is down, or the proxy is stopping; nothing was sent to the switch. Try again after the time that Retry-After gives.",
	"timeout":       "The switch has not responded in time, or its link went down before it did. It may have carried out the request, or still do so: look at the calls of the device before you repeat it.",
}

// astray answers requests to paths that there are not.
func (s *Server) astray(w http.ResponseWriter, r *http.Request) {
	var allowed []string
	for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete} {
		other := r.Clone(r.Context())
		other.Method = method
		if _, pattern := s.mux.Handler(other); pattern != "/" && pattern != "" {
			allowed = append(allowed, method)
		}
	}
	if len(allowed) > 0 {
		w.Header().Set("Allow", strings.Join(allowed, ", "))
		fail(w, problem(http.StatusMethodNotAllowed, "this path takes %s", strings.Join(allowed, ", ")))
		return
	}
	fail(w, problem(http.StatusNotFound, "there is no path %.128q; %s", r.URL.Path, instead(r.URL.Path)))
}

// instead says which paths there are instead of one that there is not.
func instead(path string) string {
	below, of := strings.CutPrefix(path, "/v1/devices/")
	parts := strings.Split(below, "/")
	if !of || len(parts) < 2 {
		return "GET /openapi.json lists them"
	}
	call := len(parts) > 2 && parts[1] == "calls"
	var list []string
	for _, a := range actions() {
		if a.call == call && a.service != uacsta.NameMakeCall {
			list = append(list, a.last)
		}
	}
	list = slices.Compact(slices.Sorted(slices.Values(list)))
	if !call {
		return "what follows a device is calls, or one of " + strings.Join(list, ", ")
	}
	return "what follows a call of a device is one of " + strings.Join(list, ", ") + "; POST of clear hangs up"
}
