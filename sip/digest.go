package sip

import (
	"bytes"
	"crypto/hmac"
	"crypto/md5" //nolint:gosec // RFC 7616 keeps it for old peers
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/icholy/digest"
)

// Digest authenticates requests by RFC 7616 and RFC 8760.
type Digest struct {
	realm      string
	algorithms []string
	lookup     func(username string) (password string, ok bool)
	key        [32]byte

	mu   sync.Mutex
	used map[string]int // nonce -> highest nc seen
}

const (
	nonceLife = 5 * time.Minute
	maxNonces = 10000
)

// The algorithms of [Digest]. There are peers that know MD5 only, and some of those fail
// when they are offered another one beside it.
const (
	SHA256 = "SHA-256"
	MD5    = "MD5"
)

// NewDigest makes an authenticator for a realm. lookup tells a user's password. The
// algorithms are offered in their order: the strongest belongs first (RFC 7616 3.7).
func NewDigest(realm string, algorithms []string, lookup func(username string) (password string, ok bool)) *Digest {
	d := &Digest{realm: realm, algorithms: algorithms, lookup: lookup, used: map[string]int{}}
	_, _ = rand.Read(d.key[:])
	return d
}

// Seal tells one password of a user from another, and not the password. The zero value is
// nobody's.
type Seal [sha256.Size]byte

// Seal returns that of the user whom a request names, as the password is now. Taken before
// Check, it is that of the password that Check finds right, or of one before it.
func (d *Digest) Seal(r *Request) Seal {
	cred, err := digest.ParseCredentials(r.Header("Authorization"))
	if err != nil {
		return Seal{}
	}
	return d.seal(cred.Username)
}

// Holds reports whether a user has the password of a seal still.
func (d *Digest) Holds(username string, s Seal) bool { return s != Seal{} && d.seal(username) == s }

func (d *Digest) seal(username string) Seal {
	password, known := d.lookup(username)
	if !known {
		return Seal{}
	}
	mac := hmac.New(sha256.New, d.key[:])
	fmt.Fprintf(mac, "password|%q|%s", username, password)
	return Seal(mac.Sum(nil))
}

// Check returns the user who sent a request. Without valid credentials it answers
// the request with 401, and reports failed when there were some.
func (d *Digest) Check(r *Request) (username string, ok, failed bool) {
	value := r.Header("Authorization")
	stale := false
	if value != "" {
		username, ok, stale = d.verify(r, value)
		if ok {
			return username, true, false
		}
	}
	nonce := d.nonce(time.Now(), rand.Text(), r.hop.addr.Addr().String())
	a := Answer{Code: 401, Once: true}
	for _, algorithm := range d.algorithms {
		c := digest.Challenge{Realm: d.realm, Nonce: nonce, Algorithm: algorithm, QOP: []string{"auth"}, Stale: stale}
		a.Headers = append(a.Headers, Header{"WWW-Authenticate", c.String()})
	}
	r.Respond(a)
	return username, false, value != "" && !stale
}

func (d *Digest) verify(r *Request, value string) (username string, ok, stale bool) {
	cred, err := digest.ParseCredentials(value)
	if err != nil {
		return "", false, false
	}
	algorithm := strings.ToUpper(cred.Algorithm)
	if algorithm == "" {
		algorithm = MD5
	}
	if cred.Realm != d.realm || cred.QOP != "auth" || cred.URI != r.URI() && !sameURI(cred.URI, r.URI()) ||
		!slices.Contains(d.algorithms, algorithm) {
		return cred.Username, false, false
	}
	// Credentials with a nonce that we have not given to this address say nothing of its
	// user: their sender may be anybody. Their password is not looked at.
	address := r.hop.addr.Addr().String()
	if !d.given(cred.Nonce, address) {
		return cred.Username, false, true
	}
	password, known := d.lookup(cred.Username)
	want, err := digest.Digest(
		&digest.Challenge{Realm: d.realm, Nonce: cred.Nonce, Algorithm: cred.Algorithm, QOP: []string{"auth"}},
		digest.Options{Method: r.Method(), URI: cred.URI, Count: cred.Nc, Cnonce: cred.Cnonce, Username: cred.Username, A1: a1(algorithm, cred.Username, d.realm, password)},
	)
	if err != nil || !known || subtle.ConstantTimeCompare([]byte(want.Response), []byte(cred.Response)) != 1 {
		return cred.Username, false, false
	}
	if !d.fresh(cred.Nonce, address, cred.Nc) {
		return cred.Username, false, true
	}
	return cred.Username, true, false
}

func a1(algorithm, username, realm, password string) string {
	text := []byte(username + ":" + realm + ":" + password)
	if algorithm == SHA256 {
		sum := sha256.Sum256(text)
		return hex.EncodeToString(sum[:])
	}
	sum := md5.Sum(text) //nolint:gosec // RFC 7616 keeps it for old peers
	return hex.EncodeToString(sum[:])
}

// nonce is a time, something unique and their seal, so that nothing is kept for
// challenges that nobody answers.
func (d *Digest) nonce(at time.Time, unique, address string) string {
	stamp := strconv.FormatInt(at.Unix(), 16)
	mac := hmac.New(sha256.New, d.key[:])
	fmt.Fprintf(mac, "%s|%s|%s", stamp, unique, address)
	return stamp + "." + unique + "." + hex.EncodeToString(mac.Sum(nil))
}

// given reports whether a nonce is ours, for this address, and young.
func (d *Digest) given(nonce, address string) bool {
	stamp, rest, _ := strings.Cut(nonce, ".")
	unique, _, _ := strings.Cut(rest, ".")
	unix, err := strconv.ParseInt(stamp, 16, 64)
	if err != nil {
		return false
	}
	at := time.Unix(unix, 0)
	age := time.Since(at)
	return age <= nonceLife && age >= -nonceLife && hmac.Equal([]byte(nonce), []byte(d.nonce(at, unique, address)))
}

// fresh reports whether a nonce is given, and used with a higher count than before.
func (d *Digest) fresh(nonce, address string, count int) bool {
	if !d.given(nonce, address) {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if count <= d.used[nonce] {
		return false
	}
	if _, known := d.used[nonce]; !known && len(d.used) >= maxNonces {
		d.prune()
		if len(d.used) >= maxNonces {
			return false
		}
	}
	d.used[nonce] = count
	return true
}

// prune forgets nonces that are too old to be used again.
func (d *Digest) prune() {
	for nonce := range d.used {
		stamp, _, _ := strings.Cut(nonce, ".")
		if unix, err := strconv.ParseInt(stamp, 16, 64); err != nil || time.Since(time.Unix(unix, 0)) > nonceLife {
			delete(d.used, nonce)
		}
	}
}

// authorization answers digest challenges.
type authorization struct {
	username, password string

	mu    sync.Mutex
	chal  *digest.Challenge
	name  string // Authorization or Proxy-Authorization
	count int
}

// challenge takes the best challenge of a 401 or 407 and reports whether trying
// again makes sense.
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
			return false // these credentials were refused
		}
		a.chal, a.name, a.count = c, name, 0
		return true // peers list the algorithm they like best first (RFC 7616 3.7)
	}
	return false
}

// header makes the credentials for a request; none before the first challenge.
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
