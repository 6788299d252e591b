package kind

import (
	cryptotls "crypto/tls"
	"errors"
	"fmt"
	"log/slog"

	"github.com/tr87proxy/tr87proxy/internal/config"
	"github.com/tr87proxy/tr87proxy/tls"
)

// Certified is implemented by settings that embed a [Secure] or a config.Listening. A link keeps its connections when its
// certificates change.
type Certified interface {
	// ClearCertificates removes the keys that a reload changes while the link runs: certificate files, and what peers must
	// present.
	ClearCertificates()
}

var (
	_ Certified = (*Secure)(nil)
	_ Certified = (*config.Listening)(nil)
)

// connecting is implemented by settings of a link that connects.
type connecting interface{ secure() *Secure }

// accepting is implemented by settings of a link that peers connect to.
type accepting interface{ Listeners() []config.Listener }

// CertificateFiles returns the certificate files that the settings of a link name.
func CertificateFiles(settings any, log *slog.Logger) []tls.Files {
	var list []tls.Files
	if s, ok := settings.(connecting); ok {
		list = append(list, s.secure().Files(log))
	}
	if s, ok := settings.(accepting); ok {
		listeners := s.Listeners()
		for i := range listeners {
			list = append(list, ServerFiles(&listeners[i], log))
		}
	}
	return list
}

// Exchange replaces the certificate files of a source.
type Exchange struct {
	Of  string // the key of the listener in the settings, or "" for the settings themselves
	Use func() // makes later handshakes use the new files; connections stay
}

// Exchanges returns the exchanges that a link needs to change from the settings before to the settings now. It reads the
// files, and returns a [*KeyError] if one cannot be used. It moves the sources from before to now.
func Exchanges(before, now any, log *slog.Logger) ([]Exchange, error) {
	var list []Exchange
	if a, ok := before.(connecting); ok && a.secure().source != nil {
		from, to := a.secure(), now.(connecting).secure()
		to.source = from.source
		use, err := Exchanged(to.source, to.Files(log))
		if err != nil {
			return nil, ofFile(err, "", "ca")
		}
		if use != nil {
			list = append(list, Exchange{Use: use})
		}
	}
	a, ok := before.(accepting)
	if !ok {
		return list, nil
	}
	from, to := a.Listeners(), now.(accepting).Listeners()
	for i := range from {
		if to[i].Source = from[i].Source; to[i].Source == nil { // it has no certificates
			continue
		}
		key := fmt.Sprintf("listen[%d]", i)
		use, err := Exchanged(to[i].Source, ServerFiles(&to[i], log))
		if err != nil {
			return nil, ofFile(err, key+".", "client-ca")
		}
		if use != nil {
			list = append(list, Exchange{Of: key, Use: use})
		}
	}
	return list, nil
}

// Exchanged reads files and returns a function that makes a source follow them, or nil if it already does.
func Exchanged(source *tls.Source, files tls.Files) (use func(), err error) {
	if source.Follows(files) {
		return nil, nil
	}
	loaded, err := source.Load(files)
	if err != nil {
		return nil, err
	}
	return func() { source.Use(loaded) }, nil
}

// KeyError is an error about a key. The key is relative to the settings.
type KeyError struct {
	Key string
	Err error
}

func (e *KeyError) Error() string { return e.Key + ": " + e.Err.Error() }

// Unwrap returns the cause.
func (e *KeyError) Unwrap() error { return e.Err }

// ofFile converts an error of package tls into a [*KeyError]. before is the path to the key, and ca the key of the
// authorities.
func ofFile(err error, before, ca string) error {
	key := "certificate"
	if wrong := (*tls.FileError)(nil); errors.As(err, &wrong) {
		key = wrong.Part
	}
	if key == "ca" {
		key = ca
	}
	return &KeyError{before + key, err}
}

// OfListener converts an error of package tls into a [*KeyError] about a listener.
func OfListener(err error) error { return ofFile(err, "", "client-ca") }

// ServerTLS returns the configuration of a listener with TLS. A reload can change its files.
func ServerTLS(l *config.Listener, log *slog.Logger) (*cryptotls.Config, error) {
	source, err := SourceOf(l, log)
	if err != nil {
		return nil, err
	}
	return source.Server(), nil
}

// SourceOf returns the source of a listener with TLS or DTLS. The first call makes it.
func SourceOf(l *config.Listener, log *slog.Logger) (*tls.Source, error) {
	if l.Source != nil {
		return l.Source, nil
	}
	source, err := tls.NewServer(ServerFiles(l, log))
	if err != nil {
		return nil, OfListener(err)
	}
	l.Source = source
	return source, nil
}

// ServerFiles returns the files of a listener with TLS or DTLS for package tls.
func ServerFiles(l *config.Listener, log *slog.Logger) tls.Files {
	f := tls.Files{
		Certificate: l.Certificate, Key: l.Key, OCSP: l.OCSP, CA: l.ClientCA, ClientAuth: l.ClientAuth, CRL: l.CRL, Pins: l.Pins, Legacy: l.Legacy, Log: log,
	}
	for _, p := range l.More {
		f.More = append(f.More, tls.Pair(p))
	}
	return f
}
