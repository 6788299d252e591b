package api

import (
	"net/http"
	"net/netip"
	"strings"

	"github.com/tr87proxy/tr87proxy/internal/kind"
	"github.com/tr87proxy/tr87proxy/proxy"
	soap "github.com/tr87proxy/tr87proxy/wire/soap/front"
)

// soapPath is the path under which the listeners serve CSTA over SOAP.
const soapPath = "/soap"

// SOAP are the settings of CSTA over SOAP. The address of a client may be that of a reverse proxy: so no private one is that of a
// sink by itself.
type SOAP struct {
	Private bool `yaml:"private-sinks"` // events may be pushed to private addresses
}

// newSOAP returns what serves CSTA over SOAP to clients that identify themselves as they do for the other paths.
func (s *Server) newSOAP() *soap.Server {
	return soap.New(soap.Config{
		Proxy: s.proxy, Log: s.log,
		Private: func(netip.Addr, netip.Addr) bool { return s.settings.SOAP.Private },
		Identify: func(w http.ResponseWriter, r *http.Request) (soap.Caller, bool) {
			who, err := s.auth.identify(r)
			if err != nil {
				s.auth.refuse(w, r, err)
				return soap.Caller{}, false
			}
			kind.Known(r.Context())
			return soap.Caller{Key: who.key, Opening: proxy.Opening{
				Identity: who.identified.Identity, Reach: who.reach, Peer: "soap:" + r.RemoteAddr, Front: name, Addr: who.addr, Names: who.names,
				Place: kind.PlaceOf(r), Sessions: proxy.SessionsOff, NoLogin: true, Valid: who.valid, Until: who.identified.Until,
			}}, true
		},
	})
}

// withSOAP serves CSTA over SOAP under its path, and the other paths by next.
func (s *Server) withSOAP(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == soapPath || strings.HasPrefix(r.URL.Path, soapPath+"/") {
			s.soap.ServeHTTP(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}
