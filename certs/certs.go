// Package certs makes and inspects certificates: a lab authority, certificates of servers
// and clients for mutual TLS, requests for a company's authority, PKCS#12 in and out. It
// never overwrites a file, and keys are for their owner only.
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
	Server = "server" // of a listener
	Client = "client" // of a program that connects
	Peer   = "peer"   // both: of Lync-style front ends and their gateways
)

// Wish says what a certificate shall be.
type Wish struct {
	Name  string   // of its files, and its common name
	Kind  string   // Server, Client or Peer
	Names []string // DNS names, IP addresses, URIs; none: Name
	Valid time.Duration
	RSA   bool // an RSA key of 3072 bits, for old peers; else ECDSA P-256
}

// authority is the name of the lab authority's files.
const authority = "ca"

var fileName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._@-]*$`)

func (w *Wish) check() error {
	switch {
	case !fileName.MatchString(w.Name) || len(w.Name) > 64:
		return fmt.Errorf("%q cannot be the name of a file: write letters, digits, dots and dashes, 64 at most", w.Name)
	case w.Name == authority:
		return errors.New("ca is the authority's own name")
	case w.Kind != Server && w.Kind != Client && w.Kind != Peer:
		return fmt.Errorf("%q is none of server, client, peer", w.Kind)
	case w.Valid < 0:
		return errors.New("a certificate cannot be valid for less than nothing")
	}
	return nil
}

// Init makes a lab authority in a folder, which is made when it is not there: ca.pem and
// ca.key. It is for tests and small networks; whoever has ca.key is believed to be anybody.
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

// Issue makes a key and a certificate, signed by the folder's authority: NAME.pem, with the
// authority's behind it, and NAME.key.
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

// names sorts the names by their kinds.
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
				return nil, nil, nil, fmt.Errorf("%q is neither a name, nor an address, nor a URI", name)
			}
			uris = append(uris, u)
			continue
		}
		if name == "" || strings.ContainsAny(name, " /\n\r\t@") {
			return nil, nil, nil, fmt.Errorf("%q is neither a name, nor an address, nor a URI", name)
		}
		dns = append(dns, name)
	}
	return dns, ips, uris, nil
}

// Request makes a key and a request for a company's authority: NAME.key and NAME.csr.
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

// Renew makes a new key and certificate with the names and the kind of an old one, whose
// files get its serial number behind their names.
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
		return fmt.Errorf("%s was not signed by the authority of %s; ask whoever signed it", name, folder)
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
		if err := os.Link(path, kept); err != nil { // fails when there is one
			return err
		}
	}
	keyPEM, err := encodeKey(key)
	if err != nil {
		return err
	}
	// The key first: who reads in between finds a pair that does not fit, and keeps the old.
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

// Export writes a certificate, its key and its chain as PKCS#12.
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

// Import takes a certificate, its key and its chain out of PKCS#12: NAME.pem and NAME.key.
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
		return fmt.Errorf("%s: its key cannot sign", file)
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
