package daemon

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"

	"github.com/tr87proxy/tr87proxy/internal/config"
	"github.com/tr87proxy/tr87proxy/internal/directory"
	"github.com/tr87proxy/tr87proxy/internal/kind"
	"github.com/tr87proxy/tr87proxy/policy"
	"github.com/tr87proxy/tr87proxy/tls"
)

const maxLines = 1000000

// ownLines returns a function that returns the canonical devices of an identity. They come from the configuration, from
// the CSV file that it names, and from the directory.
func ownLines(cfg config.Lines, known *directory.Directory, numbers *policy.Numbers) (func(identity string) []string, error) {
	lines := map[string][]string{}
	add := func(who string, devices ...string) error {
		who = strings.ToLower(strings.TrimSpace(who))
		for _, device := range devices {
			if device = strings.TrimSpace(device); device == "" {
				continue
			}
			number, err := numbers.Parse(device, "")
			if err != nil {
				return fmt.Errorf("%.64q %w", device, err)
			}
			lines[who] = append(lines[who], number.String())
		}
		return nil
	}
	for i, l := range cfg.Own {
		if err := add(l.Who, l.Devices...); err != nil {
			return nil, fmt.Errorf("lines.own[%d]: %w", i, err)
		}
	}
	own := func(identity string) []string {
		list := lines[identity]
		for _, written := range known.Lines(identity) {
			if number, err := numbers.Parse(written, ""); err == nil { // else the directory has no number there
				list = append(list[:len(list):len(list)], number.String())
			}
		}
		return list
	}
	if cfg.File == "" {
		return own, nil
	}
	f, err := os.Open(cfg.File)
	if err != nil {
		return nil, fmt.Errorf("lines.file: %w", err)
	}
	defer func() { _ = f.Close() }()
	r := csv.NewReader(f)
	r.FieldsPerRecord, r.Comment, r.TrimLeadingSpace = -1, '#', true
	for n := 0; ; n++ {
		record, err := r.Read()
		switch {
		case errors.Is(err, io.EOF):
			return own, nil
		case err != nil:
			return nil, fmt.Errorf("%s: %w", cfg.File, err)
		case n == maxLines:
			return nil, fmt.Errorf("%s: more than %d lines", cfg.File, maxLines)
		}
		line, _ := r.FieldPos(0)
		if len(record) < 2 || strings.TrimSpace(record[0]) == "" || strings.TrimSpace(record[1]) == "" {
			return nil, fmt.Errorf("%s:%d: must be identity,device", cfg.File, line)
		}
		if err := add(record[0], record[1:]...); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", cfg.File, line, err)
		}
	}
}

// openDirectory makes the directory that the configuration names, or returns nil if it names none.
func (n *Node) openDirectory(cfg config.LDAP) (*directory.Directory, error) {
	if cfg.URL == "" {
		return nil, nil //nolint:nilnil // none is no fault
	}
	password, err := kind.Secret(cfg.Password, cfg.PasswordFile)
	if err != nil {
		return nil, fmt.Errorf("lines.ldap: %w", err)
	}
	source, err := tls.NewClient(tls.Files{CA: cfg.CA, Log: n.log})
	if err != nil {
		return nil, fmt.Errorf("lines.ldap: %w", err)
	}
	secure := source.Config().Clone()
	if u, err := url.Parse(cfg.URL); err == nil {
		secure.ServerName = u.Hostname()
	}
	return directory.New(directory.Config{
		URL: cfg.URL, StartTLS: cfg.StartTLS, TLS: secure, User: cfg.User, Password: password, Base: cfg.Base, Filter: cfg.Filter,
		Identity: cfg.Identity, Line: cfg.Line, Refresh: cfg.Refresh, Log: n.log,
	}, func() { n.core.Recheck() }), nil
}
