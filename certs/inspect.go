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
	"io"
	"slices"
	"strings"
	"time"
)

// Inspect writes a description of the certificates, requests and revocation lists in a file. It
// reports keys without showing them.
func Inspect(out io.Writer, path string, now time.Time) error {
	data, err := readFile(path)
	if err != nil {
		return err
	}
	found := false
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		found = true
		if err := inspectBlock(out, block, now); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	if found {
		return nil
	}
	cert, err := x509.ParseCertificate(data)
	if err != nil {
		return fmt.Errorf("%s is neither PEM nor a certificate", path)
	}
	describe(out, cert, now)
	return nil
}

func inspectBlock(out io.Writer, block *pem.Block, now time.Time) error {
	switch {
	case block.Type == "CERTIFICATE":
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return err
		}
		describe(out, cert, now)
	case block.Type == "CERTIFICATE REQUEST":
		csr, err := x509.ParseCertificateRequest(block.Bytes)
		if err != nil {
			return err
		}
		row(out, "request of", csr.Subject.String())
		names := append([]string{}, csr.DNSNames...)
		for _, ip := range csr.IPAddresses {
			names = append(names, ip.String())
		}
		for _, u := range csr.URIs {
			names = append(names, u.String())
		}
		row(out, "names", strings.Join(names, " "))
		row(out, "key", keyKind(csr.PublicKey))
	case block.Type == "X509 CRL":
		list, err := x509.ParseRevocationList(block.Bytes)
		if err != nil {
			return err
		}
		row(out, "revoked by", list.Issuer.String())
		row(out, "until", list.NextUpdate.Format(time.DateTime)+span(list.NextUpdate, now))
		for _, entry := range list.RevokedCertificateEntries {
			row(out, "serial", entry.SerialNumber.Text(16))
		}
	case strings.HasSuffix(block.Type, "PRIVATE KEY"):
		row(out, "private key", "not shown")
	default:
		row(out, strings.ToLower(block.Type), "not known here")
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

func describe(out io.Writer, cert *x509.Certificate, now time.Time) {
	row(out, "certificate of", cert.Subject.String())
	row(out, "signed by", cert.Issuer.String())
	row(out, "serial", cert.SerialNumber.Text(16))
	row(out, "names", strings.Join(Names(cert), " "))
	row(out, "for", Purpose(cert))
	row(out, "valid from", cert.NotBefore.Format(time.DateTime))
	row(out, "until", cert.NotAfter.Format(time.DateTime)+span(cert.NotAfter, now))
	row(out, "key", keyKind(cert.PublicKey))
	sum := sha256.Sum256(cert.Raw)
	row(out, "fingerprint", hex.EncodeToString(sum[:]))
	sum = sha256.Sum256(cert.RawSubjectPublicKeyInfo)
	row(out, "pin", hex.EncodeToString(sum[:]))
	fmt.Fprintln(out)
}

// row writes a line and removes control characters, which certificates may contain.
func row(out io.Writer, name, value string) {
	value = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '?'
		}
		return r
	}, value)
	fmt.Fprintf(out, "%-15s %s\n", name, value)
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
