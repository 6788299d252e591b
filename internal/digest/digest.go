// Package digest is the server's side of digest authentication (RFC 7616, RFC 8760): challenges whose nonces need no memory,
// and responses to them, each of which serves once. It knows no passwords, and neither SIP nor HTTP.
package digest

import (
	"cmp"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/icholy/digest"
)

// Errors of responses. Neither counts as a wrong password.
var (
	// ErrUnusable means that there are no credentials, or that they are no response to a challenge of the realm.
	ErrUnusable = errors.New("no usable credentials in the request")
	// ErrStale is an ErrUnusable: the nonce was not given to this address, has expired, or was used before with this
	// count. A client responds to the next challenge without asking its user again.
	ErrStale = fmt.Errorf("%w: the nonce has expired or was used before", ErrUnusable)
)

// maxUsername limits what is checked and logged, in octets.
const maxUsername = 256

// Realm challenges clients and reads their responses. It is safe for concurrent use.
type Realm struct {
	name       string
	algorithms []string
	key        [32]byte
	nonces     nonces
}

// New returns a realm. Its challenges list the algorithms in the given order.
func New(name string, algorithms ...string) *Realm {
	r := &Realm{name: name, algorithms: algorithms, nonces: newNonces()}
	_, _ = rand.Read(r.key[:])
	return r
}

// Name returns the name of the realm.
func (r *Realm) Name() string { return r.name }

// Challenges returns challenges to a client at an address, one for each algorithm, with the same nonce. stale says that only
// the nonce of the client's last response was unusable.
func (r *Realm) Challenges(from netip.Addr, stale bool) []string {
	nonce := r.nonce(r.nonces.next(), from.String())
	list := make([]string, len(r.algorithms))
	for i, algorithm := range r.algorithms {
		c := digest.Challenge{Realm: r.name, Nonce: nonce, Algorithm: algorithm, QOP: []string{"auth"}, Stale: stale}
		list[i] = c.String()
	}
	return list
}

// Response is a client's response to a challenge. It has not been compared with a password: use Right, then Use.
type Response struct {
	Username  string
	URI       string // of the request that it is for, as the client has written it
	Algorithm string // in upper case

	realm *Realm
	cred  *digest.Credentials
	from  netip.Addr
	stamp int64 // of the nonce
}

// Read reads the credentials of a request from an address. The error is ErrUnusable or ErrStale; the response has the
// username that the client claims, then, too.
func (r *Realm) Read(credentials string, from netip.Addr) (Response, error) {
	cred, err := digest.ParseCredentials(credentials)
	if err != nil || len(cred.Username) > maxUsername {
		return Response{}, ErrUnusable
	}
	res := Response{Username: cred.Username, URI: cred.URI, Algorithm: strings.ToUpper(cmp.Or(cred.Algorithm, "MD5")), realm: r, cred: cred, from: from}
	var given bool
	if res.stamp, given = r.given(cred.Nonce, from.String()); !given {
		return res, ErrStale
	}
	if cred.Realm != r.name || cred.QOP != "auth" || cred.Nc < 1 || cred.Userhash || !slices.Contains(r.algorithms, res.Algorithm) {
		return res, ErrUnusable
	}
	return res, nil
}

// Right reports whether the response is that of a client that knows the password with hash h1 (H(A1) of RFC 7616), to a request
// with a method. No response is right for "".
func (r Response) Right(method, h1 string) bool {
	want, err := digest.Digest(
		&digest.Challenge{Realm: r.cred.Realm, Nonce: r.cred.Nonce, Algorithm: r.cred.Algorithm, QOP: []string{"auth"}},
		digest.Options{Method: method, URI: r.cred.URI, Count: r.cred.Nc, Cnonce: r.cred.Cnonce, Username: r.cred.Username, A1: h1},
	)
	return err == nil && h1 != "" && subtle.ConstantTimeCompare([]byte(want.Response), []byte(r.cred.Response)) == 1
}

// Use records that a response that is right was used. It returns false for a replay: the nonce was used with this count or
// a higher one, or that is not known any more.
func (r Response) Use() bool { return r.realm.nonces.use(r.Username, r.from, r.stamp, r.cred.Nc) }

// nonce returns the issue time with a MAC over time and address, so that unanswered challenges
// need no memory.
func (r *Realm) nonce(stamp int64, address string) string {
	at := strconv.FormatInt(stamp, 36)
	mac := hmac.New(sha256.New, r.key[:])
	fmt.Fprintf(mac, "nonce|%s|%s", at, address)
	return at + "." + hex.EncodeToString(mac.Sum(nil)[:sha256.Size/2])
}

// given returns the issue time of a nonce, and whether it was issued to this address and is
// still valid.
func (r *Realm) given(nonce, address string) (stamp int64, ok bool) {
	at, _, _ := strings.Cut(nonce, ".")
	stamp, err := strconv.ParseInt(at, 36, 64)
	return stamp, err == nil && r.nonces.young(stamp) && hmac.Equal([]byte(nonce), []byte(r.nonce(stamp, address)))
}
