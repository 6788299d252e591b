package media

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"
)

// identity is the certificate by which telephones know us in DTLS. Each engine makes one, and nothing stores it.
type identity struct {
	certificate tls.Certificate
	fingerprint string
}

// newIdentity makes a certificate. It is valid for longer than the process runs, and from the day before for
// telephones whose clock is slow.
func newIdentity() (*identity, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "tr87proxy"}, NotBefore: now.AddDate(0, 0, -1), NotAfter: now.AddDate(10, 0, 0),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	return &identity{tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, fingerprint("sha-256", sha256Sum(der))}, nil
}

// hash is a hash function of certificates.
type hash struct {
	name string
	size int
	sum  func([]byte) []byte
}

// hashes are those that we accept, strongest first. SHA-1 and MD5 can be forged.
var hashes = []hash{
	{"sha-512", sha512.Size, func(data []byte) []byte { s := sha512.Sum512(data); return s[:] }},
	{"sha-384", sha512.Size384, func(data []byte) []byte { s := sha512.Sum384(data); return s[:] }},
	{"sha-256", sha256.Size, sha256Sum},
}

func sha256Sum(data []byte) []byte { s := sha256.Sum256(data); return s[:] }

// fingerprint returns the value of a=fingerprint (RFC 8122 5).
func fingerprint(name string, sum []byte) string {
	pairs := make([]string, 0, len(sum))
	for _, octet := range sum {
		pairs = append(pairs, fmt.Sprintf("%02X", octet))
	}
	return name + " " + strings.Join(pairs, ":")
}

// fingerprints returns those values of a=fingerprint that have the strongest hash function of all that we accept. Each
// may be that of the peer's certificate (RFC 8122 5).
func fingerprints(values []string) []string {
	for _, h := range hashes {
		var found []string
		for _, value := range values {
			fields := strings.Fields(value)
			if len(fields) != 2 || !strings.EqualFold(fields[0], h.name) || len(fields[1]) != 3*h.size-1 {
				continue
			}
			sum, err := hex.DecodeString(strings.ReplaceAll(fields[1], ":", ""))
			if text := fingerprint(h.name, sum); err == nil && len(sum) == h.size && !slices.Contains(found, text) {
				found = append(found, text)
			}
		}
		if len(found) > 0 {
			return found
		}
	}
	return nil
}

var errStranger = errors.New("the certificate of the telephone is not that of its session description")

// verify checks a certificate, in DER, against the fingerprints of a session description.
func verify(der []byte, prints []string) error {
	for _, h := range hashes {
		if slices.Contains(prints, fingerprint(h.name, h.sum(der))) {
			return nil
		}
	}
	return errStranger
}
