package sip

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// URI is the part of a SIP URI that tells where to send.
type URI struct {
	Scheme, User, Host string
	Port               int    // 0 when absent
	Transport          string // parameter transport, in capitals, "" when absent
	MAddr              string // parameter maddr: where to send instead of Host
	Loose              bool   // parameter lr
}

// ParseURI reads a sip: or sips: URI. Other schemes have no Host.
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
	if at, headers := strings.IndexByte(rest, '@'), strings.IndexByte(rest, '?'); headers > at { // before @ it is of the user
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

// UserURI returns the URI of a user at a host. Whatever the text of user is, it becomes the
// user part and nothing else.
func UserURI(user, host string) string {
	if strings.Contains(host, ":") && !strings.HasPrefix(host, "[") {
		host = "[" + host + "]" // an IPv6 address
	}
	return WithUser("sip:"+host, user)
}

// WithUser returns a sip: or sips: URI with another user.
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
	// userUnreserved may stand in a user part as it is (RFC 3261 25.1).
	userUnreserved = "&=+$,;?/"
	// userPlain is what we leave as it is: ; begins the parameters of a number (RFC 3261
	// 19.1.6), and there are readers that end the user part at the others.
	userPlain = unreserved + "&=+$"
)

const hexadecimal = "0123456789ABCDEF"

// escapeUser writes a text as the user part of a SIP URI (RFC 3261 25.1).
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

// normal brings a part of a URI into the form in which it can be compared: characters that
// need no escape are not escaped, others are, in capitals (RFC 3261 19.1.4). It fails where
// the part has a character that it must not have.
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

// comparison is a SIP URI in the form in which it can be compared.
type comparison struct {
	scheme, user, host string
	port               uint16 // the default one where there is none
	params             map[string]string
	headers            []string
}

// compared takes a URI apart; false when it is no sip: or sips: URI by RFC 3261 25.1.
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

// at takes host and port.
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

// sameURI reports whether two SIP URIs mean the same (RFC 3261 19.1.4), but that a port and
// a transport that are left out are the default ones: user, password, host, port, headers,
// and the parameters that both have must be the same, and none may have one of user, ttl,
// method and maddr alone. What cannot be read is the same as nothing.
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
