package sip

import (
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

	params string
}

// Param returns a parameter of the URI. ok is false if it is absent.
func (u URI) Param(name string) (value string, ok bool) { return param(u.params, name) }

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
	u.params = params
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

// sameUser reports whether two URIs are equal, or are SIP URIs of the same user, whatever their hosts, ports and
// parameters.
func sameUser(one, other string) bool {
	if one == other {
		return true
	}
	a, b := ParseURI(one), ParseURI(other)
	if a.Host == "" || b.Host == "" {
		return false
	}
	x, ok := normal(a.User, unreserved+userUnreserved+":")
	y, also := normal(b.User, unreserved+userUnreserved+":")
	return ok && also && x == y
}
