package tls

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"os"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/files"
)

// Source is the TLS configuration of one listener or one link, made from files. It reads the files again when
// they change, and [Source.Use] replaces them by other files. A change affects later handshakes; open
// connections stay.
type Source struct {
	load func(Files) (*tls.Config, error)

	mu      sync.Mutex
	files   Files
	checked time.Time // when the files were last checked for changes
	stamps  []files.Stamp
	cfg     *tls.Config
}

const checkInterval = time.Second

// NewServer makes the source of a listener. It returns a [*FileError] if a file cannot be used.
func NewServer(f Files) (*Source, error) { return newSource(f, loadServer) }

// NewClient makes the source of connections that the proxy opens. It returns a [*FileError] if a file cannot be used.
func NewClient(f Files) (*Source, error) { return newSource(f, loadClient) }

func newSource(f Files, load func(Files) (*tls.Config, error)) (*Source, error) {
	s := &Source{load: load}
	loaded, err := s.Load(f)
	if err != nil {
		return nil, err
	}
	s.Use(loaded)
	return s, nil
}

// Loaded is the content of files that [Source.Load] has read.
type Loaded struct {
	files  Files
	stamps []files.Stamp
	cfg    *tls.Config
}

// Load reads files and leaves the source as it is; pass the result to [Source.Use]. It returns a [*FileError] if a file
// cannot be used.
func (s *Source) Load(f Files) (Loaded, error) {
	stamps := f.stamps() // before reading, so that a change meanwhile is noticed later
	cfg, err := s.load(f)
	return Loaded{files: f, stamps: stamps, cfg: cfg}, err
}

// Use makes the source follow other files. Later handshakes use them.
func (s *Source) Use(l Loaded) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.files, s.stamps, s.cfg, s.checked = l.files, l.stamps, l.cfg, time.Now()
}

// Follows reports whether the source already follows these files.
func (s *Source) Follows(f Files) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.files
	now.Log, f.Log = nil, nil
	return reflect.DeepEqual(now, f)
}

// Server returns the configuration of a listener. Each handshake uses the files as they are then.
func (s *Source) Server() *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS12, // each handshake uses the one below instead
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return s.Config(), nil },
	}
}

// Config returns the configuration that the files contain now. If they cannot be used, it logs that once and returns
// the previous one.
func (s *Source) Config() *tls.Config {
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Since(s.checked) < checkInterval {
		return s.cfg
	}
	s.checked = time.Now()
	stamps := s.files.stamps()
	if slices.Equal(stamps, s.stamps) {
		return s.cfg
	}
	s.stamps = stamps // log each change once
	cfg, err := s.load(s.files)
	if err != nil {
		s.log().Error("certificate files cannot be used; the previous ones stay in use", "certificate", s.files.Certificate, "err", err)
		return s.cfg
	}
	s.log().Info("certificate files changed", "certificate", s.files.Certificate)
	s.cfg = cfg
	return s.cfg
}

func (s *Source) log() *slog.Logger {
	if s.files.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return s.files.Log
}

func (f *Files) stamps() []files.Stamp {
	paths := f.paths()
	stamps := make([]files.Stamp, 0, len(paths))
	for _, path := range paths {
		stamps = append(stamps, files.StampOf(path))
	}
	return stamps
}

// Expiry is when the certificate in a file expires.
type Expiry struct {
	File string
	At   time.Time
}

// Expiries returns when the certificates in these files expire. It skips files that it cannot read.
func (f *Files) Expiries() []Expiry {
	var list []Expiry
	for _, p := range append([]Pair{{f.Certificate, f.Key}}, f.More...) {
		data, err := os.ReadFile(p.Certificate)
		if err != nil {
			continue
		}
		block, rest := pem.Decode(data)
		for block != nil && block.Type != "CERTIFICATE" { // the first certificate is the one presented
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
