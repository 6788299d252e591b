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

// Digest authenticates requests by RFC 7616 and RFC 8760.
type Digest struct {
	// Knows reports whether a request came the way that telephones of a user use who have proved
	// its password: wrong ones of others do not shut it out. nil: nobody is known.
	Knows func(username string, r *Request) bool

	realm      string
	algorithms []string
	lookup     func(username string) (password string, ok bool)
	guard      *accounts.Guard
	key        [32]byte
	nonces     nonces
}

// longestUsername is what is looked at, and written into the log.
const longestUsername = 256

// The algorithms of [Digest]. There are peers that know MD5 only, and some of those fail
// when they are offered another one beside it.
const (
	SHA256 = "SHA-256"
	MD5    = "MD5"
)

// NewDigest makes an authenticator for a realm. lookup tells a user's password; the guard says
// whose passwords are looked at. The algorithms are offered in their order: the strongest
// belongs first (RFC 7616 3.7).
func NewDigest(realm string, algorithms []string, guard *accounts.Guard, lookup func(username string) (password string, ok bool)) *Digest {
	d := &Digest{realm: realm, algorithms: algorithms, lookup: lookup, guard: guard, nonces: newNonces()}
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

// ErrChallenged says that credentials are wanted: there are none, or they are for something
// else than the request, or with a nonce that cannot be used. They prove nothing.
var ErrChallenged = errors.New("no credentials for the request")

// Check returns the user who sent a request. Otherwise it answers the request, and returns
// whom it names and why it is not believed: ErrChallenged, [accounts.ErrWrong], or
// [accounts.ErrLocked] or [accounts.ErrBusy] if nobody looks at its password.
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

// verify finds out who sent a request.
func (d *Digest) verify(r *Request) (username string, stale bool, err error) {
	cred, err := digest.ParseCredentials(r.Header("Authorization"))
	if err != nil || len(cred.Username) > longestUsername {
		return "", false, ErrChallenged
	}
	username = cred.Username
	// Credentials with a nonce that was not given to this address say nothing of anybody, for
	// whoever sends a datagram can write any address into it. They count nothing.
	addr := r.hop.addr.Addr()
	stamp, given := d.given(cred.Nonce, addr.String())
	if !given {
		return username, true, ErrChallenged
	}
	algorithm := strings.ToUpper(cmp.Or(cred.Algorithm, MD5))
	if cred.Realm != d.realm || cred.QOP != "auth" || cred.URI != r.URI() && !sameURI(cred.URI, r.URI()) ||
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
	if !known { // who is has not answered for others at its address
		d.guard.Succeeded(username, addr)
	}
	return username, false, nil
}

// right reports whether credentials are made with their user's password.
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

// nonce is when it was made, and a seal of that and of whom it is given to, so that nothing is
// kept for challenges that nobody answers.
func (d *Digest) nonce(stamp int64, address string) string {
	at := strconv.FormatInt(stamp, 36)
	mac := hmac.New(sha256.New, d.key[:])
	fmt.Fprintf(mac, "nonce|%s|%s", at, address)
	return at + "." + hex.EncodeToString(mac.Sum(nil)[:sha256.Size/2])
}

// given returns when a nonce was made, if it was for this address, and lately.
func (d *Digest) given(nonce, address string) (stamp int64, ok bool) {
	at, _, _ := strings.Cut(nonce, ".")
	stamp, err := strconv.ParseInt(at, 36, 64)
	return stamp, err == nil && d.nonces.young(stamp) && hmac.Equal([]byte(nonce), []byte(d.nonce(stamp, address)))
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
