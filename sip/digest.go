package sip

import (
	"bytes"
	"cmp"
	"crypto/hmac"
	"crypto/md5" //nolint:gosec // RFC 7616 keeps it for old peers
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/icholy/digest"

	"github.com/tr87proxy/tr87proxy/internal/accounts"
)

// Digest authenticates requests (RFC 7616, RFC 8760).
type Digest struct {
	// Knows reports whether a request came by a path on which this user has already proved its
	// password. Such requests stay accepted while failures of others lock the user. nil: no
	// path is known.
	Knows func(username string, r *Request) bool

	realm      string
	algorithms []string
	lookup     func(username string) (password string, ok bool)
	guard      *accounts.Guard
	key        [32]byte
	nonces     nonces
}

// longestUsername bounds what is checked and logged, in octets.
const longestUsername = 256

// Algorithms of [Digest]. Some peers know only MD5, and some of them fail when another
// algorithm is offered beside it.
const (
	SHA256 = "SHA-256"
	MD5    = "MD5"
)

// NewDigest returns an authenticator for a realm. lookup returns a user's password. guard
// bounds wrong passwords. Challenges list the algorithms in the given order, so put the
// strongest first (RFC 7616 3.7).
func NewDigest(realm string, algorithms []string, guard *accounts.Guard, lookup func(username string) (password string, ok bool)) *Digest {
	d := &Digest{realm: realm, algorithms: algorithms, lookup: lookup, guard: guard, nonces: newNonces()}
	_, _ = rand.Read(d.key[:])
	return d
}

// Seal identifies one password of a user without revealing it, so that a session can end when
// the password changes. No user has the zero value.
type Seal [sha256.Size]byte

// Seal returns the seal of the current password of the user in a request's credentials. Call it
// before Check: then it belongs to the password that Check accepts or to an older one, never to
// a newer one.
func (d *Digest) Seal(r *Request) Seal {
	cred, err := digest.ParseCredentials(r.Header("Authorization"))
	if err != nil {
		return Seal{}
	}
	return d.seal(cred.Username)
}

// Holds reports whether the user's password is still the one with seal s.
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

// ErrChallenged means that the request had no usable credentials: none at all, or for another
// request, or with an unusable nonce. It does not count as a failed attempt.
var ErrChallenged = errors.New("no usable credentials in the request")

// Check authenticates a request and returns its user. If that fails, it sends the response
// itself (401, 403 or 503) and returns the claimed user with [ErrChallenged],
// [accounts.ErrWrong], or, if the password was not checked, [accounts.ErrLocked] or
// [accounts.ErrBusy].
func (d *Digest) Check(r *Request) (username string, err error) {
	username, stale, err := d.verify(r)
	a := Answer{}
	switch {
	case err == nil:
		r.authenticated()
		return username, nil
	case errors.Is(err, accounts.ErrLocked):
		a.Code = 403
	case errors.Is(err, accounts.ErrBusy):
		a.Code, a.Headers = 503, []Header{{"Retry-After", "10"}}
	default:
		a.Code = 401
		nonce := d.nonce(d.nonces.next(), r.hop.addr.Addr().String())
		for _, algorithm := range d.algorithms {
			c := digest.Challenge{Realm: d.realm, Nonce: nonce, Algorithm: algorithm, QOP: []string{"auth"}, Stale: stale}
			a.Headers = append(a.Headers, Header{"WWW-Authenticate", c.String()})
		}
	}
	r.Respond(a)
	return username, err
}

// verify checks the credentials of a request. stale means that only the nonce is unusable.
func (d *Digest) verify(r *Request) (username string, stale bool, err error) {
	cred, err := digest.ParseCredentials(r.Header("Authorization"))
	if err != nil || len(cred.Username) > longestUsername {
		return "", false, ErrChallenged
	}
	username = cred.Username
	// Ignore credentials whose nonce was not issued to this address: the source address of a
	// datagram can be forged, so they must count neither for nor against the user.
	addr := r.hop.addr.Addr()
	stamp, given := d.given(cred.Nonce, addr.String())
	if !given {
		return username, true, ErrChallenged
	}
	algorithm := strings.ToUpper(cmp.Or(cred.Algorithm, MD5))
	// Proxies change the Request-URI, and telephones write it in another form here, so only whom it names must be
	// the same (RFC 3261 22.4). A nonce serves one request only.
	if cred.Realm != d.realm || cred.QOP != "auth" || !sameUser(cred.URI, r.URI()) ||
		!slices.Contains(d.algorithms, algorithm) {
		return username, false, ErrChallenged
	}
	known := d.Knows != nil && d.Knows(username, r)
	if !known {
		if err := d.guard.Admit(username, addr); err != nil {
			return username, false, err
		}
	}
	if !d.right(cred, algorithm, r.Method()) {
		d.guard.Failed(username, addr)
		return username, false, accounts.ErrWrong
	}
	if !d.nonces.use(username, addr, stamp, cred.Nc) {
		return username, true, ErrChallenged
	}
	if !known { // a known path must not reset the failures of others at its address
		d.guard.Succeeded(username, addr)
	}
	return username, false, nil
}

// right reports whether the credentials match the user's password.
func (d *Digest) right(cred *digest.Credentials, algorithm, method string) bool {
	password, known := d.lookup(cred.Username)
	want, err := digest.Digest(
		&digest.Challenge{Realm: d.realm, Nonce: cred.Nonce, Algorithm: cred.Algorithm, QOP: []string{"auth"}},
		digest.Options{Method: method, URI: cred.URI, Count: cred.Nc, Cnonce: cred.Cnonce, Username: cred.Username, A1: a1(algorithm, cred.Username, d.realm, password)},
	)
	return err == nil && known && subtle.ConstantTimeCompare([]byte(want.Response), []byte(cred.Response)) == 1
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

// nonce returns the issue time with a MAC over time and address, so that unanswered challenges
// need no memory.
func (d *Digest) nonce(stamp int64, address string) string {
	at := strconv.FormatInt(stamp, 36)
	mac := hmac.New(sha256.New, d.key[:])
	fmt.Fprintf(mac, "nonce|%s|%s", at, address)
	return at + "." + hex.EncodeToString(mac.Sum(nil)[:sha256.Size/2])
}

// given returns the issue time of a nonce, and whether it was issued to this address and is
// still valid.
func (d *Digest) given(nonce, address string) (stamp int64, ok bool) {
	at, _, _ := strings.Cut(nonce, ".")
	stamp, err := strconv.ParseInt(at, 36, 64)
	return stamp, err == nil && d.nonces.young(stamp) && hmac.Equal([]byte(nonce), []byte(d.nonce(stamp, address)))
}

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
