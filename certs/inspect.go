package certs

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Description is what a certificate, request or revocation list says.
type Description struct {
	Rows []Row `json:"rows"`
}

// Row is a thing that it says. Its value is as somebody has written it, with any characters.
type Row struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

func (d *Description) row(name, value string) { d.Rows = append(d.Rows, Row{name, value}) }

// Inspect describes the certificates, requests and revocation lists in a file. It reports keys without showing them.
func Inspect(path string, now time.Time) (list []Description, err error) {
	data, err := readFile(path)
	if err != nil {
		return nil, err
	}
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		var d Description
		if err := d.block(block, now); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		list = append(list, d)
	}
	if len(list) > 0 {
		return list, nil
	}
	cert, err := x509.ParseCertificate(data)
	if err != nil {
		return nil, fmt.Errorf("%s is neither PEM nor a certificate", path)
	}
	var d Description
	d.certificate(cert, now)
	return []Description{d}, nil
}

func (d *Description) block(block *pem.Block, now time.Time) error {
	switch {
	case block.Type == "CERTIFICATE":
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return err
		}
		d.certificate(cert, now)
	case block.Type == "CERTIFICATE REQUEST":
		csr, err := x509.ParseCertificateRequest(block.Bytes)
		if err != nil {
			return err
		}
		d.row("request of", csr.Subject.String())
		names := append([]string{}, csr.DNSNames...)
		for _, ip := range csr.IPAddresses {
			names = append(names, ip.String())
		}
		for _, u := range csr.URIs {
			names = append(names, u.String())
		}
		d.row("names", strings.Join(names, " "))
		d.row("key", keyKind(csr.PublicKey))
	case block.Type == "X509 CRL":
		list, err := x509.ParseRevocationList(block.Bytes)
		if err != nil {
			return err
		}
		d.row("revoked by", list.Issuer.String())
		d.row("until", list.NextUpdate.Format(time.DateTime)+span(list.NextUpdate, now))
		for _, entry := range list.RevokedCertificateEntries {
			d.row("serial", entry.SerialNumber.Text(16))
		}
	case strings.HasSuffix(block.Type, "PRIVATE KEY"):
		d.row("private key", "not shown")
	default:
		d.row(strings.ToLower(block.Type), "not known here")
	}
	return nil
}

// Names returns the names of a certificate: DNS names, addresses and URIs.
func Names(cert *x509.Certificate) []string {
	names := slices.Clone(cert.DNSNames)
	for _, ip := range cert.IPAddresses {
		names = append(names, ip.String())
	}
	for _, u := range cert.URIs {
		names = append(names, u.String())
	}
	return names
}

func (d *Description) certificate(cert *x509.Certificate, now time.Time) {
	d.row("certificate of", cert.Subject.String())
	d.row("signed by", cert.Issuer.String())
	d.row("serial", cert.SerialNumber.Text(16))
	d.row("names", strings.Join(Names(cert), " "))
	d.row("for", Purpose(cert))
	d.row("valid from", cert.NotBefore.Format(time.DateTime))
	d.row("until", cert.NotAfter.Format(time.DateTime)+span(cert.NotAfter, now))
	d.row("key", keyKind(cert.PublicKey))
	sum := sha256.Sum256(cert.Raw)
	d.row("fingerprint", hex.EncodeToString(sum[:]))
	sum = sha256.Sum256(cert.RawSubjectPublicKeyInfo)
	d.row("pin", hex.EncodeToString(sum[:]))
}

// span returns the time until or since at.
func span(at, now time.Time) string {
	days := int(at.Sub(now).Hours() / 24)
	switch {
	case at.Before(now):
		return ", over since then"
	case days < 30:
		return fmt.Sprintf(", only %d days from now", days)
	}
	return fmt.Sprintf(", %d days from now", days)
}

// Purpose returns what a certificate is for, in a word or two.
func Purpose(cert *x509.Certificate) string {
	if cert.IsCA {
		return "authority"
	}
	return kindOf(cert)
}

func keyKind(key any) string {
	switch k := key.(type) {
	case *rsa.PublicKey:
		return fmt.Sprintf("RSA, %d bits", k.N.BitLen())
	case *ecdsa.PublicKey:
		return "ECDSA " + k.Curve.Params().Name
	case ed25519.PublicKey:
		return "Ed25519"
	}
	return "of another kind"
}
