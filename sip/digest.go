package sip

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/tr87proxy/tr87proxy/internal/accounts"
	"github.com/tr87proxy/tr87proxy/internal/digest"
)

// Digest authenticates requests (RFC 7616, RFC 8760).
type Digest struct {
	// Knows reports whether a request came by a path on which this user has already proved its
	// password. Such requests stay accepted while failures of others lock the user. nil: no
	// path is known.
	Knows func(username string, r *Request) bool

	realm  *digest.Realm
	lookup func(username string) (password string, ok bool)
	guard  *accounts.Guard
	key    [32]byte // for seals
}

// Algorithms of [Digest]. Some peers know only MD5, and some of them fail when another
// algorithm is offered beside it.
const (
	SHA256 = accounts.SHA256
	MD5    = accounts.MD5
)

// NewDigest returns an authenticator for a realm. lookup returns a user's password. guard
// bounds wrong passwords. Challenges list the algorithms in the given order, so put the
// strongest first (RFC 7616 3.7).
func NewDigest(realm string, algorithms []string, guard *accounts.Guard, lookup func(username string) (password string, ok bool)) *Digest {
	d := &Digest{realm: digest.New(realm, algorithms...), lookup: lookup, guard: guard}
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
	res, _ := d.realm.Read(r.Header("Authorization"), r.hop.addr.Addr())
	return d.seal(res.Username)
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
var ErrChallenged = digest.ErrUnusable

// Check authenticates a request and returns its user. If that fails, it sends the response
// itself (401, 403 or 503) and returns the claimed user with [ErrChallenged],
// [accounts.ErrWrong], or, if the password was not checked, [accounts.ErrLocked] or
// [accounts.ErrBusy].
func (d *Digest) Check(r *Request) (username string, err error) {
	username, err = d.verify(r)
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
		for _, challenge := range d.realm.Challenges(r.hop.addr.Addr(), errors.Is(err, digest.ErrStale)) {
			a.Headers = append(a.Headers, Header{"WWW-Authenticate", challenge})
		}
	}
	r.Respond(a)
	return username, err
}

// verify checks the credentials of a request. An ErrChallenged is digest.ErrStale if only the nonce is unusable.
func (d *Digest) verify(r *Request) (username string, err error) {
	// Read ignores credentials whose nonce was not issued to this address: the source address of a
	// datagram can be forged, so they must count neither for nor against the user.
	addr := r.hop.addr.Addr()
	res, err := d.realm.Read(r.Header("Authorization"), addr)
	username = res.Username
	if err != nil {
		return username, err
	}
	// Proxies change the Request-URI, and telephones write it in another form here, so only whom it names must be
	// the same (RFC 3261 22.4).
	if !sameUser(res.URI, r.URI()) {
		return username, ErrChallenged
	}
	known := d.Knows != nil && d.Knows(username, r)
	if !known {
		if err := d.guard.Admit(username, addr); err != nil {
			return username, err
		}
	}
	password, exists := d.lookup(username)
	if !res.Right(r.Method(), accounts.H1(res.Algorithm, username, d.realm.Name(), password)) || !exists {
		d.guard.Failed(username, addr)
		return username, accounts.ErrWrong
	}
	if !res.Use() {
		return username, digest.ErrStale
	}
	if !known { // a known path must not reset the failures of others at its address
		d.guard.Succeeded(username, addr)
	}
	return username, nil
}
