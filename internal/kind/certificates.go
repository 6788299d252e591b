package kind

import (
	cryptotls "crypto/tls"
	"errors"
	"fmt"
	"log/slog"

	"github.com/tr87proxy/tr87proxy/internal/config"
	"github.com/tr87proxy/tr87proxy/tls"
)

// Certified are settings of a link with certificates: those with a [Secure] in them, or with a
// config.Listening. A link keeps its connections when they change.
type Certified interface {
	// ClearCertificates removes what a link takes while it runs: the names of files, and what is asked of peers.
	ClearCertificates()
}

var (
	_ Certified = (*Secure)(nil)
	_ Certified = (*config.Listening)(nil)
)

// outward are settings of a link that connects.
type outward interface{ secure() *Secure }

// inward are settings of a link that others connect to.
type inward interface{ Listeners() []config.Listener }

// CertificateFiles returns the files of a link's settings.
func CertificateFiles(settings any, log *slog.Logger) []tls.Files {
	var list []tls.Files
	if s, ok := settings.(outward); ok {
		list = append(list, s.secure().Files(log))
	}
	if s, ok := settings.(inward); ok {
		listeners := s.Listeners()
		for i := range listeners {
			list = append(list, ServerFiles(&listeners[i], log))
		}
	}
	return list
}

// An Exchange makes a source follow other files.
type Exchange struct {
	Of  string // the key of the listener in the settings; "": the settings themselves
	Use func() // the next handshakes take the new files; connections stay
}

// Exchanges returns what a link has to exchange that was built with the settings before, so that what now says
// holds. It reads the files; the error is a [*KeyError]. Sources go over from before to now.
func Exchanges(before, now any, log *slog.Logger) ([]Exchange, error) {
	var list []Exchange
	if a, ok := before.(outward); ok && a.secure().source != nil {
		from, to := a.secure(), now.(outward).secure()
		to.source = from.source
		use, err := Exchanged(to.source, to.Files(log))
		if err != nil {
			return nil, ofFile(err, "", "ca")
		}
		if use != nil {
			list = append(list, Exchange{Use: use})
		}
	}
	a, ok := before.(inward)
	if !ok {
		return list, nil
	}
	from, to := a.Listeners(), now.(inward).Listeners()
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

// Exchanged reads the files that a source is to follow and returns what makes it follow them; nil if it does already.
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

// KeyError is an error about a key of settings, written from the settings on.
type KeyError struct {
	Key string
	Err error
}

func (e *KeyError) Error() string { return e.Key + ": " + e.Err.Error() }

// Unwrap returns the cause.
func (e *KeyError) Unwrap() error { return e.Err }

// ofFile is an error of package tls as one about a key; ca is the key of the authorities.
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

// OfListener is an error of package tls as one about a key of a listener.
func OfListener(err error) error { return ofFile(err, "", "client-ca") }

// ServerTLS returns the configuration of a listener with TLS. A reload changes the files that it follows.
func ServerTLS(l *config.Listener, log *slog.Logger) (*cryptotls.Config, error) {
	source, err := SourceOf(l, log)
	if err != nil {
		return nil, err
	}
	return source.Server(), nil
}

// SourceOf returns what a listener with TLS or DTLS takes its certificates from, and makes it the first time.
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

// ServerFiles names the files of a listener with TLS or DTLS.
func ServerFiles(l *config.Listener, log *slog.Logger) tls.Files {
	f := tls.Files{
		Certificate: l.Certificate, Key: l.Key, OCSP: l.OCSP, CA: l.ClientCA, ClientAuth: l.ClientAuth, CRL: l.CRL, Pins: l.Pins, Legacy: l.Legacy, Log: log,
	}
	for _, p := range l.More {
		f.More = append(f.More, tls.Pair(p))
	}
	return f
}
