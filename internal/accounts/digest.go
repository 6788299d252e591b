package accounts

import (
	"context"
	"crypto/md5" //nolint:gosec // RFC 7616 keeps it for old peers
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Algorithms of digest authentication (RFC 7616).
const (
	SHA256 = "SHA-256"
	MD5    = "MD5"
)

// algorithms are those whose hashes the file has, in its order.
var algorithms = []string{MD5, SHA256}

// DigestRealm is the realm of accounts in HTTP Digest. It is part of what is hashed, so it never changes.
const DigestRealm = "CSTA"

// H1 returns the hash of a name and password in a realm: H(A1) of RFC 7616 section 3.4.2, in hexadecimal. Whoever has it can
// respond to challenges of the realm as if with the password.
func H1(algorithm, name, realm, password string) string {
	text := []byte(name + ":" + realm + ":" + password)
	if algorithm == SHA256 {
		sum := sha256.Sum256(text)
		return hex.EncodeToString(sum[:])
	}
	sum := md5.Sum(text) //nolint:gosec // as above
	return hex.EncodeToString(sum[:])
}

// parseH1 reads the hashes for HTTP Digest.
func parseH1(text string) ([]string, error) {
	list := strings.Split(text, ",")
	if len(list) != len(algorithms) {
		return nil, errH1
	}
	for i, algorithm := range algorithms {
		hash, found := strings.CutPrefix(list[i], algorithm+"=")
		if raw, err := hex.DecodeString(hash); !found || err != nil || len(hash) != len(H1(algorithm, "", "", "")) || hash != hex.EncodeToString(raw) {
			return nil, errH1
		}
		list[i] = hash
	}
	return list, nil
}

var errH1 = errors.New("the hashes for HTTP Digest must be MD5=... and SHA-256=..., in lower-case hexadecimal")

// formatH1 writes the hashes for HTTP Digest, with a comma in front of each.
func formatH1(list []string) string {
	var text strings.Builder
	for i, hash := range list {
		text.WriteString("," + algorithms[i] + "=" + hash)
	}
	return text.String()
}

// Digests reports whether any account can log in by HTTP Digest.
func (k *Keeper) Digests() bool { return k.file.Content().digests }

// errNoDigest is an ErrWrong for the log: a client that reads it learns which accounts there are.
var errNoDigest = fmt.Errorf("no account of this spelling and without application ID has HTTP Digest (tr87proxy accounts change NAME --digest): %w", ErrWrong)

// CheckDigest returns the login if the client knows the password, which it has not sent: respond reports whether it has
// responded to a challenge of DigestRealm as a client does that knows the password with hash h1 of an algorithm; with "",
// for an account that does not exist, is spelt otherwise, has no such hash or needs an application ID, it returns ErrWrong. Another error of respond does
// not count, and CheckDigest returns it. Errors and delays are otherwise those of Check.
func (k *Keeper) CheckDigest(ctx context.Context, name, algorithm string, respond func(h1 string) error, from netip.Addr) (Login, error) {
	if err := k.guard.Admit(name, from); err != nil {
		return Login{}, err
	}
	a := k.file.Content().list[strings.ToLower(name)]
	h1 := ""
	// The name is part of the hash. In another spelling beside a response it would be that of a replay.
	if i := slices.Index(algorithms, algorithm); i >= 0 && a.Digest && a.Name == name && a.fits("") {
		h1 = a.h1[i]
	}
	err := respond(h1)
	switch {
	case errors.Is(err, ErrWrong) || err == nil && h1 == "":
		err = k.wrong(ctx, name, from)
		if h1 == "" {
			err = errNoDigest
		}
		return Login{}, err
	case err != nil:
		return Login{}, err
	}
	k.guard.Succeeded(name, from)
	return k.login(a), nil
}
