package kind

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/tr87proxy/tr87proxy/internal/config"
)

// Origins are those of pages that may use a front from a browser, as browsers write them.
type Origins []string

// Check reports entries that no browser writes.
func (o Origins) Check(key string, s *config.Section) {
	for i, text := range o {
		if fault := originFault(text); fault != "" {
			s.Fault(fmt.Sprintf("%s[%d]", key, i), fault)
		}
	}
}

// Allow reports whether a WebSocket may be opened from where a request comes, or a page's request be carried out:
// from no page in a browser, from one of the proxy's own, or from one of a listed origin. Browsers let every page open WebSockets.
func (o Origins) Allow(r *http.Request) bool {
	from := r.Header["Origin"]
	return len(from) == 0 || len(from) == 1 && (from[0] == own(r) || slices.Contains(o, from[0]))
}

// Rebound reports whether a page may have opened a request by giving a name of its own the proxy's address (DNS rebinding):
// it counts as a page of the proxy's. With TLS, certificates exclude that, and an address is nobody's name.
func (o Origins) Rebound(r *http.Request) bool {
	from := r.Header["Origin"]
	return r.TLS == nil && len(from) == 1 && !slices.Contains(o, from[0]) && !LocalHost(r.Host)
}

// LocalHost reports whether the host of a request cannot be a foreign page's own name for the proxy's address.
func LocalHost(host string) bool {
	host = hostName(host)
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	return host == "localhost" || strings.HasSuffix(host, ".localhost")
}

// Hosts are names of the proxy.
type Hosts []string

// Check reports entries that are no names.
func (h Hosts) Check(key string, s *config.Section) {
	for i, host := range h {
		if u, err := url.Parse("//" + host); err != nil || u.Host != host || u.Port() != "" || strings.ContainsAny(host, "*:[]") || host == "" {
			s.Fault(fmt.Sprintf("%s[%d]", key, i), "must be a name without port; write for example pbx.contoso.com")
		}
	}
}

// Local reports whether a request to a host cannot be one of a foreign page that has a name of its own for the proxy's address:
// the host is an address, localhost or one of the names.
func (h Hosts) Local(host string) bool {
	name := hostName(host)
	return LocalHost(host) || slices.ContainsFunc(h, func(own string) bool { return strings.EqualFold(own, name) })
}

// hostName returns the host of a request in small letters, without port and brackets.
func hostName(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	return strings.ToLower(strings.Trim(host, "[]"))
}

// own returns the origin of the proxy's own pages, as the client of a request sees them.
func own(r *http.Request) string {
	if r.TLS != nil {
		return "https://" + r.Host
	}
	return "http://" + r.Host
}

// originFault returns what is wrong with an entry of origins, or "".
func originFault(text string) string {
	if text == "*" {
		return "must be a single origin: with *, any page that somebody opens could use telephones, where an address or a remembered password is enough; write for example https://crm.contoso.com"
	}
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Scheme == "" || u.Host == "" || u.Path != "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil || u.Opaque != "" || strings.Contains(text, "*"):
		return "must be an origin, as browsers write it: scheme, host and port; write for example https://crm.contoso.com"
	case text != strings.ToLower(text):
		return "must be in small letters, as browsers write it"
	case u.Scheme == "https" && u.Port() == "443", u.Scheme == "http" && u.Port() == "80":
		return "must be without :" + u.Port() + ", as browsers write it"
	}
	return ""
}
