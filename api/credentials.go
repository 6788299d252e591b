package api

import (
	"encoding/base64"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/tr87proxy/tr87proxy/internal/tokens"
)

// credentials are what a request says of its client. At most one of them is there.
type credentials struct {
	token string // a bearer token
	login *login // a name and a password
}

type login struct{ user, password string }

// tokenProtocol begins the subprotocol of WebSocket that is a bearer token: a page in a browser cannot set headers there. It
// is never the subprotocol that the server selects, so such a client offers another one, too.
const tokenProtocol = "bearer."

// maxCredentials is the maximum length of credentials, in octets.
const maxCredentials = 16 << 10

// credentialsOf returns the credentials of a request. What can be read in two ways is refused, and so is a token in a URL.
func credentialsOf(r *http.Request) (credentials, *refusal) {
	if where := tokenInURL(r); where != "" {
		return credentials{}, refuse(http.StatusBadRequest, "the URL has a token in %s: URLs end up in logs and histories. Send it in the header Authorization (Bearer), or, for a WebSocket of a page, as the subprotocol bearer.TOKEN; a page reads Server-Sent Events by fetch. Revoke this token", where)
	}
	offered := offeredToken(r)
	headers := r.Header["Authorization"]
	switch {
	case len(headers)+len(offered) > 1:
		return credentials{}, refuse(http.StatusBadRequest, "the request has credentials more than once")
	case len(offered) == 1:
		return bearer(offered[0])
	case len(headers) == 1:
		return authorization(headers[0])
	}
	return credentials{}, nil
}

// authorization reads the header Authorization (RFC 9110 section 11.6.2).
func authorization(header string) (credentials, *refusal) {
	scheme, rest, _ := strings.Cut(header, " ")
	rest = strings.TrimLeft(rest, " ")
	switch strings.ToLower(scheme) {
	case "bearer":
		return bearer(rest)
	case "basic":
		return basic(rest)
	}
	return credentials{}, refuse(http.StatusUnauthorized, "the header Authorization has another scheme than Bearer and Basic")
}

// bearer reads a token (RFC 6750 section 2.1).
func bearer(text string) (credentials, *refusal) {
	value := strings.TrimRight(text, "=")
	if value == "" || len(text) > maxCredentials || strings.ContainsFunc(value, func(r rune) bool { return !tokenRune(r) }) {
		return credentials{}, refuse(http.StatusBadRequest, "what follows Bearer is no token")
	}
	return credentials{token: text}, nil
}

func tokenRune(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-._~+/", r)
}

// basic reads a name and a password (RFC 7617).
func basic(text string) (credentials, *refusal) {
	data, err := base64.StdEncoding.Strict().DecodeString(text)
	user, password, parted := strings.Cut(string(data), ":")
	control := func(r rune) bool { return r < ' ' || r == 0x7f }
	if err != nil || !parted || len(text) > maxCredentials || !utf8.Valid(data) || strings.ContainsFunc(string(data), control) {
		return credentials{}, refuse(http.StatusBadRequest, "what follows Basic is not the base64 of name:password")
	}
	return credentials{login: &login{user, password}}, nil
}

// offeredToken returns the tokens among the subprotocols that a WebSocket's client offers.
func offeredToken(r *http.Request) (list []string) {
	for _, header := range r.Header["Sec-Websocket-Protocol"] {
		for protocol := range strings.SplitSeq(header, ",") {
			if token, found := strings.CutPrefix(strings.TrimSpace(protocol), tokenProtocol); found {
				list = append(list, token)
			}
		}
	}
	return list
}

// tokenInURL returns the parameter of the URL that has a token, or "".
func tokenInURL(r *http.Request) string {
	for key, values := range r.URL.Query() {
		switch strings.ToLower(key) {
		case "access_token", "token", "bearer", "authorization", "api_key", "apikey":
			return "the parameter " + strings.ToLower(key)
		}
		for _, value := range values {
			if strings.HasPrefix(value, tokens.Prefix) {
				return "a parameter"
			}
		}
	}
	if strings.Contains(r.URL.Path, "/"+tokens.Prefix) || r.URL.User != nil {
		return "its path"
	}
	return ""
}
