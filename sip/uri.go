package sip

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// URI holds the parts of a SIP URI that determine where to send.
type URI struct {
	Scheme, User, Host string
	Port               int    // 0 when absent
	Transport          string // parameter transport, in upper case; "" when absent
	MAddr              string // parameter maddr: send there instead of to Host
	Loose              bool   // parameter lr
}

// ParseURI parses a sip: or sips: URI. For other schemes, Host is empty and User is the rest of
// the URI.
func ParseURI(s string) URI {
	scheme, rest, ok := strings.Cut(s, ":")
	if !ok {
		return URI{}
	}
	u := URI{Scheme: strings.ToLower(scheme)}
	if u.Scheme != "sip" && u.Scheme != "sips" {
		u.User = rest
		return u
	}
	if at, headers := strings.IndexByte(rest, '@'), strings.IndexByte(rest, '?'); headers > at { // a ? before @ belongs to the user part
		rest = rest[:headers]
	}
	if at := strings.LastIndexByte(rest, '@'); at >= 0 {
		u.User, rest = rest[:at], rest[at+1:]
	}
	rest, _, _ = strings.Cut(rest, "?")
	hostPort, params, _ := strings.Cut(rest, ";")
	u.Host, u.Port = splitHostPort(hostPort)
	transport, _ := param(params, "transport")
	u.Transport = strings.ToUpper(transport)
	u.MAddr, _ = param(params, "maddr")
	_, u.Loose = param(params, "lr")
	return u
}

// UserURI returns the sip: URI of a user at a host. user may be any text; it is escaped.
func UserURI(user, host string) string {
	if strings.Contains(host, ":") && !strings.HasPrefix(host, "[") {
		host = "[" + host + "]" // an IPv6 address
	}
	return WithUser("sip:"+host, user)
}

// WithUser returns a sip: or sips: URI with its user part replaced. user may be any text; it is
// escaped.
func WithUser(uri, user string) string {
	scheme, rest, ok := strings.Cut(uri, ":")
	if !ok {
		scheme, rest = "sip", uri
	}
	if at := strings.LastIndexByte(rest, '@'); at >= 0 {
		rest = rest[at+1:]
	}
	return scheme + ":" + escapeUser(user) + "@" + rest
}

const (
	unreserved = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.!~*'()"
	// userUnreserved may appear unescaped in a user part (RFC 3261 25.1).
	userUnreserved = "&=+$,;?/"
	// userPlain is what we leave unescaped: ; begins the parameters of a telephone number (RFC
	// 3261 19.1.6), and some parsers end the user part at the other characters.
	userPlain = unreserved + "&=+$"
)

const hexadecimal = "0123456789ABCDEF"

// escapeUser escapes text for the user part of a SIP URI (RFC 3261 25.1).
func escapeUser(user string) string {
	var b strings.Builder
	for i := range len(user) {
		if c := user[i]; strings.IndexByte(userPlain, c) >= 0 {
			b.WriteByte(c)
		} else {
			b.WriteString("%" + string(hexadecimal[c>>4]) + string(hexadecimal[c&15]))
		}
	}
	return b.String()
}

// normal returns the canonical form of a part of a URI: only characters that need it are
// escaped, with upper-case digits (RFC 3261 19.1.4). It returns false if the part has a
// character that is not allowed.
func normal(part, allowed string) (string, bool) {
	var b strings.Builder
	for i := 0; i < len(part); i++ {
		c := part[i]
		if c != '%' {
			if strings.IndexByte(allowed, c) < 0 {
				return "", false
			}
			b.WriteByte(c)
			continue
		}
		if i+2 >= len(part) {
			return "", false
		}
		n, err := strconv.ParseUint(part[i+1:i+3], 16, 8)
		if err != nil {
			return "", false
		}
		if strings.IndexByte(unreserved, byte(n)) >= 0 {
			b.WriteByte(byte(n))
		} else {
			b.WriteString("%" + strings.ToUpper(part[i+1:i+3]))
		}
		i += 2
	}
	return b.String(), true
}

// comparison is a SIP URI in canonical form.
type comparison struct {
	scheme, user, host string
	port               uint16 // the default port if there is none
	params             map[string]string
	headers            []string
}

// compared returns the canonical form of a URI, or false if it is no valid sip: or sips: URI
// (RFC 3261 25.1).
func compared(uri string) (c comparison, ok bool) {
	scheme, rest, _ := strings.Cut(uri, ":")
	c.scheme = strings.ToLower(scheme)
	if c.scheme != "sip" && c.scheme != "sips" {
		return c, false
	}
	if user, behind, found := strings.Cut(rest, "@"); found {
		if c.user, ok = normal(user, unreserved+userUnreserved+":"); !ok || c.user == "" || c.user[0] == ':' {
			return c, false
		}
		rest = behind
	}
	rest, headers, asked := strings.Cut(rest, "?")
	hostPort, params, more := strings.Cut(rest, ";")
	c.params = map[string]string{}
	for more {
		var one string
		one, params, more = strings.Cut(params, ";")
		name, value, _ := strings.Cut(one, "=")
		name, named := normal(name, unreserved+"[]/:&+$")
		value, valued := normal(value, unreserved+"[]/:&+$")
		name = strings.ToLower(name)
		if _, twice := c.params[name]; !named || !valued || name == "" || twice {
			return c, false
		}
		c.params[name] = strings.ToLower(value)
	}
	for asked {
		var one string
		one, headers, asked = strings.Cut(headers, "&")
		name, value, _ := strings.Cut(one, "=")
		name, named := normal(name, unreserved+"[]/?:+$")
		value, valued := normal(value, unreserved+"[]/?:+$")
		if !named || !valued || name == "" {
			return c, false
		}
		c.headers = append(c.headers, strings.ToLower(name)+"="+value)
	}
	slices.Sort(c.headers)
	return c, c.at(hostPort)
}

// at sets host and port. It returns false if they are malformed.
func (c *comparison) at(hostPort string) bool {
	host := hostPort
	if i := strings.LastIndexByte(hostPort, ':'); i > strings.LastIndexByte(hostPort, ']') {
		host = hostPort[:i]
		n, err := strconv.ParseUint(hostPort[i+1:], 10, 16)
		if err != nil || n == 0 {
			return false
		}
		c.port = uint16(n)
	}
	if inner, bracketed := strings.CutPrefix(host, "["); bracketed {
		ip, err := netip.ParseAddr(strings.TrimSuffix(inner, "]"))
		if err != nil || !ip.Is6() || ip.Zone() != "" || !strings.HasSuffix(inner, "]") {
			return false
		}
		host = ip.String()
	} else if host == "" || strings.Trim(host, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-.") != "" {
		return false
	}
	c.host = strings.ToLower(host)
	switch {
	case c.port != 0:
	case c.scheme == "sips", c.params["transport"] == "tls":
		c.port = 5061
	default:
		c.port = 5060
	}
	return true
}

// sameURI reports whether two SIP URIs are equivalent (RFC 3261 19.1.4), except that an omitted
// port or transport equals the default. User, password, host, port, headers and the parameters
// in both must be equal, and user, ttl, method and maddr must be in both or neither. A
// malformed URI equals no other.
func sameURI(one, other string) bool {
	a, ok := compared(one)
	b, also := compared(other)
	if !ok || !also || a.scheme != b.scheme || a.user != b.user || a.host != b.host || a.port != b.port || !slices.Equal(a.headers, b.headers) {
		return false
	}
	for _, pair := range [][2]comparison{{a, b}, {b, a}} {
		for name, value := range pair[0].params {
			twin, has := pair[1].params[name]
			if has && twin != value || !has && slices.Contains([]string{"user", "ttl", "method", "maddr"}, name) {
				return false
			}
		}
	}
	return true
}
