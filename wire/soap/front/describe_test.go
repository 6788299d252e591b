package front

import (
	"net/http"
	"net/http/httptest"
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
