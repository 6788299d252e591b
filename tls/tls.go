// Package tls makes the TLS configurations of listeners and of connections outward from
// files, and reads the files again when they change.
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

// Files names the files of one side.
type Files struct {
	Certificate, Key string   // "" for a client without certificate
	More             []Pair   // of a listener with several names: the one that fits the client's SNI is shown
	OCSP             string   // answer of the authority about Certificate (DER), stapled; "" for none
	CA               string   // who signs the peers' certificates; "" for the system's authorities
	CRL              string   // what they have revoked, PEM or DER; "" for none
	Pins             []string // SHA-256 of the public keys of which the peer must have one, in hex; none: any
	ClientAuth       string   // off, optional or required: of listeners
	// Legacy lets old peers in: TLS 1.0, CBC and RSA key exchange. What they say can be
	// read by whoever gets the key later, and attacks on CBC are known.
	Legacy bool
	Log    *slog.Logger // for what changes later; nil: nowhere
}

// paths lists all files.
func (f *Files) paths() []string {
	list := append(make([]string, 0, 5+2*len(f.More)), f.Certificate, f.Key, f.OCSP, f.CA, f.CRL)
	for _, p := range f.More {
		list = append(list, p.Certificate, p.Key)
	}
	return list
}

// legacyCiphers are what peers of before 2012 can: Lync 2010 on its Windows among them.
var legacyCiphers = []uint16{
	tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
	tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA, tls.TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA,
	tls.TLS_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_RSA_WITH_AES_256_GCM_SHA384, tls.TLS_RSA_WITH_AES_128_CBC_SHA, tls.TLS_RSA_WITH_AES_256_CBC_SHA,
}

// floor sets the versions and ciphers: TLS 1.2 with forward secrecy and authenticated
// encryption, or 1.3.
func (f *Files) floor() *tls.Config {
	if f.Legacy {
		return &tls.Config{MinVersion: tls.VersionTLS10, CipherSuites: legacyCiphers} //nolint:gosec // that is what it is for
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, CipherSuites: []uint16{
		tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
		tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
	}}
}

// Server makes the configuration of a listener. Later handshakes see what the files say
// then; a file that cannot be used leaves what was there.
func Server(f Files) (*tls.Config, error) {
	s := &source{files: f, load: loadServer}
	if _, err := s.current(); err != nil {
		return nil, err
	}
	cfg := f.floor()
	cfg.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return s.current() }
	return cfg, nil
}

func loadServer(f Files) (*tls.Config, error) {
	cfg := f.floor()
	for i, p := range append([]Pair{{f.Certificate, f.Key}}, f.More...) {
		cert, err := tls.LoadX509KeyPair(p.Certificate, p.Key)
		if err != nil {
			return nil, fmt.Errorf("certificate %s: %w", p.Certificate, err)
		}
		if i == 0 && f.OCSP != "" {
			if cert.OCSPStaple, err = os.ReadFile(f.OCSP); err != nil {
				return nil, err
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
		return nil, fmt.Errorf("client-auth %q is none of off, optional, required", f.ClientAuth)
	}
	var err error
	if cfg.ClientCAs, err = pool(f.CA); err != nil {
		return nil, err
	}
	cfg.VerifyConnection, err = f.verifier()
	return cfg, err
}

// Client makes the configuration of connections outward: the server's certificate is
// verified, and ours read again when its files change.
func Client(f Files) (*tls.Config, error) {
	s := &source{files: f, load: loadClient}
	cfg, err := s.current()
	if err != nil {
		return nil, err
	}
	cfg = cfg.Clone()
	if f.Certificate != "" {
		cfg.Certificates = nil
		cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			now, err := s.current()
			if err != nil {
				return nil, err
			}
			return &now.Certificates[0], nil
		}
	}
	return cfg, nil
}

func loadClient(f Files) (*tls.Config, error) {
	cfg := f.floor()
	if f.Certificate != "" {
		cert, err := tls.LoadX509KeyPair(f.Certificate, f.Key)
		if err != nil {
			return nil, fmt.Errorf("certificate %s: %w", f.Certificate, err)
		}
		cfg.Certificates = []tls.Certificate{cert}
	}
	var err error
	if f.CA != "" {
		if cfg.RootCAs, err = pool(f.CA); err != nil {
			return nil, err
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

// Why a verified certificate is refused all the same.
var (
	errRevoked = errors.New("the peer's certificate has been revoked")
	errStale   = errors.New("the list of revoked certificates is older than it may be")
	errPin     = errors.New("the peer's key is none of those that are pinned")
)

// verifier returns what is checked beyond the chain; nil where nothing is.
func (f *Files) verifier() (func(tls.ConnectionState) error, error) {
	pins := make([][]byte, 0, len(f.Pins))
	for _, pin := range f.Pins {
		sum, err := hex.DecodeString(strings.ReplaceAll(pin, ":", ""))
		if err != nil || len(sum) != sha256.Size {
			return nil, fmt.Errorf("pin %q is not a SHA-256 in hex", pin)
		}
		pins = append(pins, sum)
	}
	revoked, err := revocations(f.CRL)
	if err != nil {
		return nil, err
	}
	if len(pins) == 0 && len(revoked) == 0 {
		return nil, nil //nolint:nilnil // there is nothing to check, which is no fault
	}
	return func(state tls.ConnectionState) error {
		if len(state.PeerCertificates) == 0 {
			return nil // where one is required, its absence has been noticed
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

// revocations reads lists of revoked certificates: one in DER, or any number in PEM.
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

// checkRevoked looks for the certificates that the list's authority has signed. A list that
// is out of date says nothing, and nobody whom it is about gets in.
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

// PeerNames lists the names in a verified peer certificate: of these kinds in this order,
// or of all, DNS names before URIs before the common name.
func PeerNames(state tls.ConnectionState, kinds ...string) []string {
	if len(state.VerifiedChains) == 0 {
		return nil
	}
	if len(kinds) == 0 {
		kinds = []string{NameDNS, NameURI, NameCommon}
	}
	return Names(state.PeerCertificates[0], kinds...)
}

// Names lists the names in a certificate, of these kinds in this order.
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
