package tls

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"

	"github.com/pion/dtls/v3"
)

// DTLS 1.2 comes from github.com/pion/dtls v3. Version 2 draws GCM nonces at random
// (GO-2026-4479) and is no longer maintained.

// dtlsCiphers lists ciphers with forward secrecy and authenticated encryption.
var dtlsCiphers = dtls.WithCipherSuites(
	dtls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, dtls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
	dtls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, dtls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
)

const (
	dtlsMTU    = 1200 // octets; longer handshake messages are sent in fragments
	dtlsReplay = 64   // records in the window against replay
)

// ListenDTLS listens for DTLS on a UDP address. A client must first return a cookie, which proves that it
// receives at its address. Call [HandshakeDTLS] for each connection that the listener accepts. Whether
// clients are asked for a certificate is fixed while the listener is open; everything else follows the
// source.
func ListenDTLS(address string, s *Source) (net.Listener, error) {
	addr, err := net.ResolveUDPAddr("udp", address)
	if err != nil {
		return nil, err
	}
	auth := dtls.NoClientCert
	switch s.Config().ClientAuth {
	case tls.VerifyClientCertIfGiven:
		auth = dtls.RequestClientCert
	case tls.RequireAndVerifyClientCert:
		auth = dtls.RequireAnyClientCert // verified below, by the files as they are then
	}
	return dtls.ListenWithOptions("udp", addr,
		dtlsCiphers, dtls.WithMTU(dtlsMTU), dtls.WithReplayProtectionWindow(dtlsReplay), dtls.WithExtendedMasterSecret(dtls.RequireExtendedMasterSecret),
		dtls.WithClientAuth(auth),
		dtls.WithGetCertificate(func(hello *dtls.ClientHelloInfo) (*tls.Certificate, error) {
			cfg := s.Config()
			for i := range cfg.Certificates {
				if c := &cfg.Certificates[i]; hello.ServerName != "" && c.Leaf != nil && c.Leaf.VerifyHostname(hello.ServerName) == nil {
					return c, nil
				}
			}
			return &cfg.Certificates[0], nil
		}),
		dtls.WithVerifyPeerCertificate(func(raw [][]byte, _ [][]*x509.Certificate) error {
			if len(raw) == 0 {
				return nil
			}
			cfg := s.Config()
			return verify(cfg, raw, cfg.ClientCAs, x509.ExtKeyUsageClientAuth, "")
		}),
	)
}

// verify checks a peer's chain as TLS does, then pins and revocation lists.
func verify(cfg *tls.Config, raw [][]byte, roots *x509.CertPool, usage x509.ExtKeyUsage, name string) error {
	certs := make([]*x509.Certificate, 0, len(raw))
	for _, der := range raw {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return err
		}
		certs = append(certs, cert)
	}
	intermediates := x509.NewCertPool()
	for _, cert := range certs[1:] {
		intermediates.AddCert(cert)
	}
	chains, err := certs[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: intermediates, KeyUsages: []x509.ExtKeyUsage{usage}, DNSName: name})
	if err != nil || cfg.VerifyConnection == nil {
		return err
	}
	return cfg.VerifyConnection(tls.ConnectionState{PeerCertificates: certs, VerifiedChains: chains})
}

// DialDTLS connects to a UDP address. The server must have a certificate for name.
func DialDTLS(ctx context.Context, address, name string, f Files) (net.Conn, error) {
	addr, err := net.ResolveUDPAddr("udp", address)
	if err != nil {
		return nil, err
	}
	cfg, err := loadClient(f)
	if err != nil {
		return nil, err
	}
	options := []dtls.ClientOption{
		dtlsCiphers, dtls.WithMTU(dtlsMTU), dtls.WithReplayProtectionWindow(dtlsReplay), dtls.WithExtendedMasterSecret(dtls.RequireExtendedMasterSecret),
		dtls.WithInsecureSkipVerify(true), // verified below, with revocation lists and pins
		dtls.WithServerName(name),
		dtls.WithVerifyPeerCertificate(func(raw [][]byte, _ [][]*x509.Certificate) error {
			if len(raw) == 0 {
				return errors.New("the server has no certificate")
			}
			return verify(cfg, raw, cfg.RootCAs, x509.ExtKeyUsageServerAuth, name)
		}),
	}
	if len(cfg.Certificates) > 0 {
		options = append(options, dtls.WithCertificates(cfg.Certificates...))
	}
	conn, err := dtls.DialWithOptions("udp", addr, options...)
	if err != nil {
		return nil, err
	}
	if err := conn.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return conn, nil
}

// HandshakeDTLS completes the handshake of a connection, and returns the names of these kinds in the peer's verified
// certificate.
func HandshakeDTLS(ctx context.Context, nc net.Conn, kinds ...string) ([]string, error) {
	conn, ok := nc.(*dtls.Conn)
	if !ok {
		return nil, fmt.Errorf("%T is not a DTLS connection", nc)
	}
	if err := conn.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	state, ok := conn.ConnectionState()
	if !ok || len(state.PeerCertificates) == 0 {
		return nil, nil
	}
	cert, err := x509.ParseCertificate(state.PeerCertificates[0])
	if err != nil {
		return nil, err
	}
	if len(kinds) == 0 {
		kinds = []string{NameDNS, NameURI, NameCommon}
	}
	return Names(cert, kinds...), nil
}

// IsDTLS reports whether a connection uses DTLS.
func IsDTLS(nc net.Conn) bool {
	_, is := nc.(*dtls.Conn)
	return is
}
