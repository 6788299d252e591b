// Package tls makes the TLS configurations of listeners and of connections
// outward from files.
package tls

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
)

// Files names the PEM files of one side.
type Files struct {
	Certificate, Key string // "" for a client without certificate
	CA               string // who signs the peers' certificates; "" for the system's authorities
	ClientAuth       string // off, optional or required: of listeners
}

// Server makes the configuration of a listener: TLS 1.2 and up.
func Server(f Files) (*tls.Config, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	cert, err := tls.LoadX509KeyPair(f.Certificate, f.Key)
	if err != nil {
		return nil, fmt.Errorf("certificate %s: %w", f.Certificate, err)
	}
	cfg.Certificates = []tls.Certificate{cert}
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
	cfg.ClientCAs, err = pool(f.CA)
	return cfg, err
}

// Client makes the configuration of connections outward: TLS 1.2 and up, the
// server's certificate verified.
func Client(f Files) (*tls.Config, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if f.Certificate != "" {
		cert, err := tls.LoadX509KeyPair(f.Certificate, f.Key)
		if err != nil {
			return nil, fmt.Errorf("certificate %s: %w", f.Certificate, err)
		}
		cfg.Certificates = []tls.Certificate{cert}
	}
	if f.CA == "" {
		return cfg, nil
	}
	var err error
	cfg.RootCAs, err = pool(f.CA)
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

// PeerNames lists the names in a verified peer certificate: DNS names, URIs and the
// common name.
func PeerNames(state tls.ConnectionState) []string {
	if len(state.VerifiedChains) == 0 {
		return nil
	}
	cert := state.PeerCertificates[0]
	names := append([]string{}, cert.DNSNames...)
	for _, u := range cert.URIs {
		names = append(names, u.String())
	}
	if cert.Subject.CommonName != "" {
		names = append(names, cert.Subject.CommonName)
	}
	return names
}
