package tls

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/files"
)

// source is a configuration that follows its files.
type source struct {
	files Files
	load  func(Files) (*tls.Config, error)

	mu     sync.Mutex
	looked time.Time
	stamps []files.Stamp
	cfg    *tls.Config
}

const lookEvery = time.Second

// current returns the configuration of the files as they are. When they cannot be used,
// it says so in the log and returns the one before; there is an error only if there was
// none.
func (s *source) current() (*tls.Config, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cfg != nil && time.Since(s.looked) < lookEvery {
		return s.cfg, nil
	}
	s.looked = time.Now()
	var stamps []files.Stamp
	for _, path := range s.files.paths() {
		stamps = append(stamps, files.StampOf(path))
	}
	if s.cfg != nil && slices.Equal(stamps, s.stamps) {
		return s.cfg, nil
	}
	cfg, err := s.load(s.files)
	switch {
	case err == nil:
		if s.cfg != nil {
			s.log().Info("certificate files have changed", "certificate", s.files.Certificate)
		}
		s.cfg, s.stamps = cfg, stamps
	case s.cfg == nil:
		return nil, err
	default:
		s.log().Error("certificate files cannot be used; what they said before holds", "certificate", s.files.Certificate, "err", err)
		s.stamps = stamps // said once
	}
	return s.cfg, nil
}

func (s *source) log() *slog.Logger {
	if s.files.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return s.files.Log
}

// Expiry is when a certificate file runs out.
type Expiry struct {
	File string
	At   time.Time
}

// Expiries tells when the certificates of these files run out, those that can be read.
func (f *Files) Expiries() []Expiry {
	var list []Expiry
	for _, p := range append([]Pair{{f.Certificate, f.Key}}, f.More...) {
		data, err := os.ReadFile(p.Certificate)
		if err != nil {
			continue
		}
		block, rest := pem.Decode(data)
		for block != nil && block.Type != "CERTIFICATE" { // the first is the one that is shown
			block, rest = pem.Decode(rest)
		}
		if block == nil {
			continue
		}
		if leaf, err := x509.ParseCertificate(block.Bytes); err == nil {
			list = append(list, Expiry{p.Certificate, leaf.NotAfter})
		}
	}
	return list
}
