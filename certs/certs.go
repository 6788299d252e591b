// Package certs creates and inspects certificates: a lab authority, certificates of servers and
// clients for mutual TLS, requests for a company's authority, and PKCS#12 in both directions.
// It never overwrites a file. Key files are readable by their owner only.
package certs

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"software.sslmate.com/src/go-pkcs12"

	"github.com/tr87proxy/tr87proxy/internal/files"
)

// Kinds of certificates.
const (
	Server = "server" // for a listener
	Client = "client" // for a client
	Peer   = "peer"   // for both: front ends of the Lync family and their gateways
)

// Wish describes the certificate to create.
type Wish struct {
	Name  string   // of the files, and the common name
	Kind  string   // Server, Client or Peer
	Names []string // DNS names, IP addresses and URIs; empty means Name
	Valid time.Duration
	RSA   bool // RSA key of 3072 bits, for old peers; otherwise ECDSA P-256
}

// authority is the base name of the authority's files.
const authority = "ca"

var fileName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._@-]*$`)

func (w *Wish) check() error {
	switch {
	case !fileName.MatchString(w.Name) || len(w.Name) > 64:
		return fmt.Errorf("invalid name %q: use at most 64 letters, digits, dots and dashes", w.Name)
	case w.Name == authority:
		return errors.New("the name ca is reserved for the authority")
	case w.Kind != Server && w.Kind != Client && w.Kind != Peer:
		return fmt.Errorf("invalid kind %q: use server, client or peer", w.Kind)
	case w.Valid < 0:
		return errors.New("the validity must not be negative")
	}
	return nil
}

// Init creates a lab authority, ca.pem and ca.key, in a folder, which it creates if necessary.
// It is meant for tests and small networks: the holder of ca.key can impersonate anyone.
func Init(folder, name string, valid time.Duration, useRSA bool) error {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return err
	}
	key, err := newKey(useRSA)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-5 * time.Minute), NotAfter: time.Now().Add(valid),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	return writePair(folder, authority, key, der)
}

// Issue creates a key and a certificate signed by the folder's authority: NAME.key, and
// NAME.pem with the authority's certificate appended.
func Issue(folder string, w Wish) error {
	if err := w.check(); err != nil {
		return err
	}
	ca, caKey, err := load(folder, authority)
	if err != nil {
		return fmt.Errorf("%w; make an authority with: tr87proxy certs init", err)
	}
	key, err := newKey(w.RSA)
	if err != nil {
		return err
	}
	der, err := sign(w, ca, caKey, key)
	if err != nil {
		return err
	}
	return writePair(folder, w.Name, key, der, ca.Raw)
}

func sign(w Wish, ca *x509.Certificate, caKey, key crypto.Signer) ([]byte, error) {
	template := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: w.Name}, NotBefore: time.Now().Add(-5 * time.Minute), NotAfter: time.Now().Add(w.Valid),
		KeyUsage: x509.KeyUsageDigitalSignature, BasicConstraintsValid: true,
	}
	if _, ok := key.(*rsa.PrivateKey); ok {
		template.KeyUsage |= x509.KeyUsageKeyEncipherment
	}
	if template.NotAfter.After(ca.NotAfter) {
		template.NotAfter = ca.NotAfter
	}
	if w.Kind != Client {
		template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
	}
	if w.Kind != Server {
		template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageClientAuth)
	}
	dns, ips, uris, err := w.names()
	if err != nil {
		return nil, err
	}
	template.DNSNames, template.IPAddresses, template.URIs = dns, ips, uris
	return x509.CreateCertificate(rand.Reader, template, ca, key.Public(), caKey)
}

// names sorts the names by kind.
func (w *Wish) names() (dns []string, ips []net.IP, uris []*url.URL, err error) {
	names := w.Names
	if len(names) == 0 {
		names = []string{w.Name}
	}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			ips = append(ips, ip)
			continue
		}
		if strings.Contains(name, ":") {
			u, err := url.Parse(name)
			if err != nil || u.Scheme == "" {
				return nil, nil, nil, fmt.Errorf("%q is not a DNS name, IP address or URI", name)
			}
			uris = append(uris, u)
			continue
		}
		if name == "" || strings.ContainsAny(name, " /\n\r\t@") {
			return nil, nil, nil, fmt.Errorf("%q is not a DNS name, IP address or URI", name)
		}
		dns = append(dns, name)
	}
	return dns, ips, uris, nil
}

// Request creates a key and a certificate request for another authority: NAME.key and NAME.csr.
func Request(folder string, w Wish) error {
	if err := w.check(); err != nil {
		return err
	}
	dns, ips, uris, err := w.names()
	if err != nil {
		return err
	}
	key, err := newKey(w.RSA)
	if err != nil {
		return err
	}
	template := &x509.CertificateRequest{Subject: pkix.Name{CommonName: w.Name}, DNSNames: dns, IPAddresses: ips, URIs: uris}
	der, err := x509.CreateCertificateRequest(rand.Reader, template, key)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return err
	}
	keyPEM, err := encodeKey(key)
	if err != nil {
		return err
	}
	return writeNew(map[string][]byte{
		filepath.Join(folder, w.Name+".key"): keyPEM,
		filepath.Join(folder, w.Name+".csr"): pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}),
	})
}

// Renew replaces a certificate and its key by new ones with the same names and kind. It keeps
// the old files with the serial number appended to their names.
func Renew(folder, name string, valid time.Duration) error {
	old, oldKey, err := load(folder, name)
	if err != nil {
		return err
	}
	ca, caKey, err := load(folder, authority)
	if err != nil {
		return err
	}
	if name == authority || old.CheckSignatureFrom(ca) != nil {
		return fmt.Errorf("%s was not signed by the authority in %s; request a new one from its issuer", name, folder)
	}
	_, isRSA := oldKey.(*rsa.PrivateKey)
	w := Wish{Name: name, Kind: kindOf(old), Valid: valid, RSA: isRSA}
	for _, ip := range old.IPAddresses {
		w.Names = append(w.Names, ip.String())
	}
	for _, u := range old.URIs {
		w.Names = append(w.Names, u.String())
	}
	w.Names = append(w.Names, old.DNSNames...)
	key, err := newKey(isRSA)
	if err != nil {
		return err
	}
	der, err := sign(w, ca, caKey, key)
	if err != nil {
		return err
	}
	for _, ending := range []string{".pem", ".key"} {
		path := filepath.Join(folder, name+ending)
		kept := path + "." + old.SerialNumber.Text(16)
		if err := os.Link(path, kept); err != nil { // fails if it exists
			return err
		}
	}
	keyPEM, err := encodeKey(key)
	if err != nil {
		return err
	}
	// The key first: a reader in between finds a pair that does not match, and keeps the old
	// one.
	if err := files.Replace(filepath.Join(folder, name+".key"), keyPEM, 0o600); err != nil {
		return err
	}
	return files.Replace(filepath.Join(folder, name+".pem"), encodeCertificates(der, ca.Raw), 0o644)
}

func kindOf(cert *x509.Certificate) string {
	server, client := false, false
	for _, usage := range cert.ExtKeyUsage {
		server = server || usage == x509.ExtKeyUsageServerAuth
		client = client || usage == x509.ExtKeyUsageClientAuth
	}
	switch {
	case server && client:
		return Peer
	case client:
		return Client
	}
	return Server
}

// Export writes a certificate, its key and its chain to a PKCS#12 file.
func Export(folder, name, file, password string) error {
	cert, key, err := load(folder, name)
	if err != nil {
		return err
	}
	chain, err := certificates(filepath.Join(folder, name+".pem"))
	if err != nil {
		return err
	}
	data, err := pkcs12.Modern.Encode(key, cert, chain[1:], password)
	if err != nil {
		return err
	}
	return writeNew(map[string][]byte{file: data})
}

// Import extracts a certificate, its key and its chain from a PKCS#12 file to NAME.pem and
// NAME.key.
func Import(folder, name, file, password string) error {
	w := Wish{Name: name, Kind: Peer}
	if err := w.check(); err != nil {
		return err
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	key, cert, chain, err := pkcs12.DecodeChain(data, password)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return fmt.Errorf("%s: the key cannot sign", file)
	}
	ders := [][]byte{cert.Raw}
	for _, c := range chain {
		ders = append(ders, c.Raw)
	}
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return err
	}
	return writePair(folder, name, signer, ders...)
}

func newKey(useRSA bool) (crypto.Signer, error) {
	if useRSA {
		return rsa.GenerateKey(rand.Reader, 3072)
	}
	return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
}

func serial() *big.Int {
	n, _ := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	return n.Add(n, big.NewInt(1))
}
