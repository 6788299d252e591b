package front

import (
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"

	"github.com/tr87proxy/tr87proxy/wire/soap"
)

// An edition that is not described is not found: software made from another edition than its author named would be wrong.
func TestEditions(t *testing.T) {
	within(t, func(b *bench) {
		for path, want := range map[string]string{
			"/csta/ed3?wsdl": "ecma-323/csta/ed3", "/csta/ED6?WSDL": "ecma-323/csta/ed6", "/?wsdl": "ecma-323/csta/ed3", "/edge?wsdl=events": "ecma-323/csta/ed3",
			"/csta/xsd/ed4.xsd": "ecma-323/csta/ed4", "/csta/xsd/session.xsd": "appl_session",
			"/csta/ed2?wsdl": "", "/csta/ed9?wsdl": "", "/csta/ed9?wsdl=events": "", "/csta/xsd/ed7.xsd": "", "/csta/ed-3?wsdl": "", "/csta/ed3": "",
		} {
			w := httptest.NewRecorder()
			b.server.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "http://pbx"+path, nil))
			switch text := w.Body.String(); {
			case want == "" && (w.Code != http.StatusNotFound || !strings.Contains(text, "ed3 to ed6")):
				t.Errorf("%s: %d %.200s", path, w.Code, text)
			case want != "" && (w.Code != http.StatusOK || !strings.Contains(text, want)):
				t.Errorf("%s: %d %.200s", path, w.Code, text)
			}
		}
	})
}

// unread is a client that keeps nothing.
type unread struct{ header http.Header }

func (u unread) Header() http.Header           { return u.header }
func (unread) Write(p []byte) (int, error)     { return len(p), nil }
func (unread) WriteString(string) (int, error) { return 0, nil }
func (unread) WriteHeader(int)                 {}

// A description takes no memory for each client that fetches it: anybody can, and read it as slowly as he likes. It has the
// address by which that client has come.
func TestDescriptionsAreShared(t *testing.T) {
	within(t, func(b *bench) {
		for _, query := range []string{"/csta/ed6?wsdl", "/csta/ed6?wsdl=events", "/csta/xsd/ed6.xsd", "/csta/xsd/session.xsd"} {
			r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "http://pbx"+query, nil)
			b.server.ServeHTTP(unread{http.Header{}}, r)
			const times = 100
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			for range times {
				b.server.ServeHTTP(unread{http.Header{}}, r)
			}
			runtime.ReadMemStats(&after)
			if each := (after.TotalAlloc - before.TotalAlloc) / times; each > 8<<10 {
				t.Errorf("%s: %d octets for a response", query, each)
			}
		}
		for _, host := range []string{"a.example", "b.example:1"} {
			w := httptest.NewRecorder()
			b.server.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+host+"/csta/ed3?wsdl", nil))
			if n := strings.Count(w.Body.String(), `<soap:address location="http://`+host+`/csta/ed3"/>`); n == 0 || n != strings.Count(w.Body.String(), "<soap:address ") {
				t.Errorf("%s: %d addresses", host, n)
			}
		}
	})
}

// Clients that are not identified get a fault that their software understands, in its version of SOAP.
func TestUnidentified(t *testing.T) {
	within(t, func(b *bench) {
		for contentType, want := range map[string]string{
			"text/xml": "<faultcode>s:Client</faultcode>", `application/soap+xml; charset=utf-8; action="x"`: "<s:Value>s:Sender</s:Value>",
		} {
			r := b.request("", disturb("101"))
			r.Header.Set("Content-Type", contentType)
			w := httptest.NewRecorder()
			b.server.ServeHTTP(w, r)
			media, _, _ := strings.Cut(contentType, ";")
			if text := w.Body.String(); w.Code != http.StatusUnauthorized || w.Header().Get("WWW-Authenticate") != "Test" || !strings.HasPrefix(w.Header().Get("Content-Type"), media) || !strings.Contains(text, want) || !strings.Contains(text, "send the name and password") {
				t.Errorf("%s: %d %s", contentType, w.Code, text)
			}
			if _, fault := soap.Parse(w.Body.Bytes(), 100); fault != nil {
				t.Errorf("%s: %v", contentType, fault)
			}
		}
	})
}
