package sip

import (
	"bytes"
	"io"
	"sync"

	"github.com/icholy/digest"
)

// authorization answers digest challenges to our requests.
type authorization struct {
	username, password string

	mu    sync.Mutex
	chal  *digest.Challenge
	name  string // Authorization or Proxy-Authorization
	count int
}

// challenge adopts the first usable challenge of a 401 or 407. It reports whether a retry makes
// sense.
func (a *authorization) challenge(res *Response) bool {
	from, name := "WWW-Authenticate", "Authorization"
	if res.Code() == 407 {
		from, name = "Proxy-Authenticate", "Proxy-Authorization"
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, value := range values(res.msg.GetHeaders(from)) {
		c, err := digest.ParseChallenge(value)
		if err != nil || !digest.CanDigest(c) {
			continue
		}
		if a.chal != nil && a.chal.Realm == c.Realm && a.name == name && a.count > 0 && !c.Stale {
			return false // the peer refused these credentials
		}
		a.chal, a.name, a.count = c, name, 0
		return true // the peer lists its preferred algorithm first (RFC 7616 3.7)
	}
	return false
}

// header returns the credentials for a request, or "" before the first challenge.
func (a *authorization) header(method, uri string, body []byte) (name, value string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.chal == nil {
		return "", ""
	}
	a.count++
	cred, err := digest.Digest(a.chal, digest.Options{
		Method: method, URI: uri, Count: a.count, Username: a.username, Password: a.password,
		GetBody: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil },
	})
	if err != nil {
		return "", ""
	}
	return a.name, cred.String()
}
