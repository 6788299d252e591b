// Package tls makes TLS and DTLS configurations from files, for listeners and for connections that the proxy
// opens. It reads the files again when they change.
package tls

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"
)

// Pair names a certificate and its key, both PEM.
type Pair struct{ Certificate, Key string }

// Files names the files of a listener or of a client, and the checks of its peers' certificates.
type Files struct {
	Certificate, Key string   // "" for a client without certificate
	More             []Pair   // more certificates of a listener, which presents the one that matches the client's SNI
	OCSP             string   // response of the authority about Certificate (DER), stapled; "" for none
	CA               string   // authorities that sign the peers' certificates; "" for those of the system
	CRL              string   // revocation lists of these authorities, PEM or DER; "" for none
	Pins             []string // SHA-256 of public keys in hex, one of which the peer must have; empty for any key
	ClientAuth       string   // off, optional or required; for listeners
	// Legacy allows TLS 1.0, CBC and RSA key exchange, for old peers. An attacker who gets the key later can
	// decrypt what they have sent, and attacks on CBC are known.
	Legacy bool
	Log    *slog.Logger // for later changes of the files; nil: no log
}

// paths returns the names of all files.
func (f *Files) paths() []string {
	list := append(make([]string, 0, 5+2*len(f.More)), f.Certificate, f.Key, f.OCSP, f.CA, f.CRL)
	for _, p := range f.More {
		list = append(list, p.Certificate, p.Key)
	}
	return list
}

// legacyCiphers lists the ciphers of peers from before 2012, such as Lync 2010.
var legacyCiphers = []uint16{
	tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
	tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA, tls.TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA,
	tls.TLS_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_RSA_WITH_AES_256_GCM_SHA384, tls.TLS_RSA_WITH_AES_128_CBC_SHA, tls.TLS_RSA_WITH_AES_256_CBC_SHA,
}

// base returns a configuration with the minimum version and the ciphers: TLS 1.2 with forward
// secrecy and authenticated encryption, or TLS 1.3. Records are not cut short: some programs take what one read returns for a
// whole message.
func (f *Files) base() *tls.Config {
	if f.Legacy {
		return &tls.Config{MinVersion: tls.VersionTLS10, CipherSuites: legacyCiphers, DynamicRecordSizingDisabled: true} //nolint:gosec // the purpose of legacy-tls
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, DynamicRecordSizingDisabled: true, CipherSuites: []uint16{
		tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
		tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
	}}
}

// FileError says why a file cannot be used.
type FileError struct {
	Part string // certificate, more-certificates[N], ocsp, ca, crl, pins or client-auth
	Err  error
}

func (e *FileError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *FileError) Unwrap() error { return e.Err }

func loadServer(f Files) (*tls.Config, error) {
	cfg := f.base()
	for i, p := range append([]Pair{{f.Certificate, f.Key}}, f.More...) {
		cert, err := tls.LoadX509KeyPair(p.Certificate, p.Key)
		if err != nil {
			part := "certificate"
			if i > 0 {
				part = fmt.Sprintf("more-certificates[%d]", i-1)
			}
			return nil, &FileError{part, fmt.Errorf("certificate %s: %w", p.Certificate, err)}
		}
		if i == 0 && f.OCSP != "" {
			if cert.OCSPStaple, err = os.ReadFile(f.OCSP); err != nil {
				return nil, &FileError{"ocsp", err}
			}
		}
		cfg.Certificates = append(cfg.Certificates, cert)
	}
	switch f.ClientAuth {
	case "", "off":
		return cfg, nil
	case "optional":
		cfg.ClientAuth = tls.VerifyClientCertIfGiven
	case "required":
		cfg.ClientAuth = tls.RequireAndVerifyClientCert
	default:
		return nil, &FileError{"client-auth", fmt.Errorf("%q is none of off, optional, required", f.ClientAuth)}
	}
	var err error
	if cfg.ClientCAs, err = pool(f.CA); err != nil {
		return nil, &FileError{"ca", err}
	}
	cfg.VerifyConnection, err = f.verifier()
	return cfg, err
}

func loadClient(f Files) (*tls.Config, error) {
	cfg := f.base()
	if f.Certificate != "" {
		cert, err := tls.LoadX509KeyPair(f.Certificate, f.Key)
		if err != nil {
			return nil, &FileError{"certificate", fmt.Errorf("certificate %s: %w", f.Certificate, err)}
		}
		cfg.Certificates = []tls.Certificate{cert}
	}
	var err error
	if f.CA != "" {
		if cfg.RootCAs, err = pool(f.CA); err != nil {
			return nil, &FileError{"ca", err}
		}
	}
	cfg.VerifyConnection, err = f.verifier()
	return cfg, err
}

func pool(file string) (*x509.CertPool, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	p := x509.NewCertPool()
	if !p.AppendCertsFromPEM(data) {
		return nil, fmt.Errorf("%s has no certificate", file)
	}
	return p, nil
}

// Errors for certificates with a valid chain.
var (
	errRevoked = errors.New("the peer's certificate has been revoked")
	errStale   = errors.New("the list of revoked certificates is out of date")
	errPin     = errors.New("the peer's key is not pinned")
)

// verifier returns a function that checks pins and revocation lists, or nil if there are none.
func (f *Files) verifier() (func(tls.ConnectionState) error, error) {
	pins := make([][]byte, 0, len(f.Pins))
	for _, pin := range f.Pins {
		sum, err := hex.DecodeString(strings.ReplaceAll(pin, ":", ""))
		if err != nil || len(sum) != sha256.Size {
			return nil, &FileError{"pins", fmt.Errorf("pin %q is not a SHA-256 in hex", pin)}
		}
		pins = append(pins, sum)
	}
	revoked, err := revocations(f.CRL)
	if err != nil {
		return nil, &FileError{"crl", err}
	}
	if len(pins) == 0 && len(revoked) == 0 {
		return nil, nil //nolint:nilnil // nothing to check is no error
	}
	return func(state tls.ConnectionState) error {
		if len(state.PeerCertificates) == 0 {
			return nil // the peer needs none; otherwise the handshake has failed already
		}
		leaf := state.PeerCertificates[0]
		if len(pins) > 0 && !pinned(pins, leaf) {
			return errPin
		}
		for _, list := range revoked {
			if err := checkRevoked(list, state.VerifiedChains); err != nil {
				return err
			}
		}
		return nil
	}, nil
}

// revocations reads revocation lists from a file: one in DER, or any number in PEM.
func revocations(file string) ([]*x509.RevocationList, error) {
	if file == "" {
		return nil, nil
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	ders := [][]byte{}
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		ders = append(ders, block.Bytes)
	}
	if len(ders) == 0 {
		ders = append(ders, data)
	}
	lists := make([]*x509.RevocationList, 0, len(ders))
	for _, der := range ders {
		list, err := x509.ParseRevocationList(der)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		lists = append(lists, list)
	}
	return lists, nil
}

func pinned(pins [][]byte, leaf *x509.Certificate) bool {
	sum := sha256.Sum256(leaf.RawSubjectPublicKeyInfo)
	for _, pin := range pins {
		if subtle.ConstantTimeCompare(pin, sum[:]) == 1 {
			return true
		}
	}
	return false
}

// checkRevoked returns an error if a certificate of a chain is on the list. If the list is out of date, it
// rejects every certificate of the list's authority.
func checkRevoked(list *x509.RevocationList, chains [][]*x509.Certificate) error {
	for _, chain := range chains {
		for i, cert := range chain[:len(chain)-1] {
			authority := chain[i+1]
			if !bytes.Equal(authority.RawSubject, list.RawIssuer) || list.CheckSignatureFrom(authority) != nil {
				continue
			}
			if !list.NextUpdate.IsZero() && time.Now().After(list.NextUpdate) {
				return errStale
			}
			for _, entry := range list.RevokedCertificateEntries {
				if entry.SerialNumber.Cmp(cert.SerialNumber) == 0 {
					return errRevoked
				}
			}
		}
	}
	return nil
}

// Kinds of names in a certificate.
const (
	NameDNS    = "dns"
	NameURI    = "uri"
	NameCommon = "cn"
)

// PeerNames returns the names of these kinds in a verified peer certificate, in the order of the kinds. Without kinds
// it returns DNS names, then URIs, then the common name.
func PeerNames(state tls.ConnectionState, kinds ...string) []string {
	if len(state.VerifiedChains) == 0 {
		return nil
	}
	if len(kinds) == 0 {
		kinds = []string{NameDNS, NameURI, NameCommon}
	}
	return Names(state.PeerCertificates[0], kinds...)
}

// Names returns the names of these kinds in a certificate, in the order of the kinds.
func Names(cert *x509.Certificate, kinds ...string) []string {
	var names []string
	for _, kind := range kinds {
		switch kind {
		case NameDNS:
			names = append(names, cert.DNSNames...)
		case NameURI:
			for _, u := range cert.URIs {
				names = append(names, u.String())
			}
		case NameCommon:
			if cert.Subject.CommonName != "" {
				names = append(names, cert.Subject.CommonName)
			}
		}
	}
	return names
}
