// Package directory reads from an LDAP directory, such as Active Directory, which lines belong
// to which identity, and keeps the last result. It never writes to the directory, and knows
// nothing of CSTA.
package directory

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-ldap/ldap/v3"
)

// Config configures a [Directory]. Zero fields take the defaults in the comments.
type Config struct {
	URL      string // such as ldaps://dc1.contoso.com, or ldap:// with StartTLS
	StartTLS bool
	TLS      *tls.Config
	User     string // distinguished name or user@domain
	Password string
	Base     string        // search base, such as dc=contoso,dc=com
	Filter   string        // default (msRTCSIP-Line=*)
	Identity string        // attribute with the identity; default msRTCSIP-PrimaryUserAddress
	Line     string        // attribute with its lines; default msRTCSIP-Line
	Refresh  time.Duration // interval of reading; default 15 min
	Log      *slog.Logger
}

const (
	timeLimit  = 30 * time.Second // for a response
	pageSize   = 500
	maxEntries = 500000
)

// Directory is the last result from an LDAP directory. It is safe for concurrent use.
type Directory struct {
	cfg     Config
	changed func()
	lines   atomic.Pointer[map[string][]string] // by lower-case identity
}

// New returns a directory without content. changed is called after each change.
func New(cfg Config, changed func()) *Directory {
	for p, v := range map[*string]string{&cfg.Filter: "(msRTCSIP-Line=*)", &cfg.Identity: "msRTCSIP-PrimaryUserAddress", &cfg.Line: "msRTCSIP-Line"} {
		if *p == "" {
			*p = v
		}
	}
	if cfg.Refresh == 0 {
		cfg.Refresh = 15 * time.Minute
	}
	d := &Directory{cfg: cfg, changed: changed}
	d.lines.Store(&map[string][]string{})
	return d
}

// Lines returns the lines of an identity in the directory's spelling.
func (d *Directory) Lines(identity string) []string {
	if d == nil {
		return nil
	}
	return (*d.lines.Load())[strings.ToLower(identity)]
}

// Ask reads the directory once.
func (d *Directory) Ask(ctx context.Context) error {
	if d == nil {
		return nil
	}
	lines, err := d.ask(ctx)
	if err == nil {
		d.lines.Store(&lines)
	}
	return err
}

// Run reads the directory at once and then at each interval until ctx ends. While it cannot be
// read, the last result stays.
func (d *Directory) Run(ctx context.Context) {
	ticker := time.NewTicker(d.cfg.Refresh)
	defer ticker.Stop()
	for {
		lines, err := d.ask(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			d.cfg.Log.Error("could not read directory: keeping its last content", "url", d.cfg.URL, "err", err)
		default:
			if !equal(*d.lines.Swap(&lines), lines) {
				d.cfg.Log.Info("directory read", "url", d.cfg.URL, "identities", len(lines))
				d.changed()
			}
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

func equal(a, b map[string][]string) bool {
	if len(a) != len(b) {
		return false
	}
	for who, lines := range a {
		if strings.Join(lines, "\n") != strings.Join(b[who], "\n") {
			return false
		}
	}
	return true
}

// ask reads all entries, page by page.
func (d *Directory) ask(ctx context.Context) (map[string][]string, error) {
	conn, err := ldap.DialURL(d.cfg.URL, ldap.DialWithTLSConfig(d.cfg.TLS))
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	conn.SetTimeout(timeLimit)
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	if d.cfg.StartTLS {
		if err := conn.StartTLS(d.cfg.TLS); err != nil {
			return nil, err
		}
	}
	if err := conn.Bind(d.cfg.User, d.cfg.Password); err != nil {
		return nil, fmt.Errorf("bind: %w", err)
	}
	paging := ldap.NewControlPaging(pageSize)
	lines := map[string][]string{}
	for entries := 0; ; {
		res, err := conn.Search(ldap.NewSearchRequest(d.cfg.Base, ldap.ScopeWholeSubtree, ldap.NeverDerefAliases, 0, int(timeLimit/time.Second), false,
			d.cfg.Filter, []string{d.cfg.Identity, d.cfg.Line}, []ldap.Control{paging}))
		if err != nil {
			return nil, err
		}
		for _, e := range res.Entries {
			if entries++; entries > maxEntries {
				return nil, fmt.Errorf("more than %d entries: choose a narrower base or filter", maxEntries)
			}
			who := strings.ToLower(strings.TrimSpace(e.GetEqualFoldAttributeValue(d.cfg.Identity)))
			if who != "" {
				lines[who] = append(lines[who], e.GetEqualFoldAttributeValues(d.cfg.Line)...)
			}
		}
		next, ok := ldap.FindControl(res.Controls, ldap.ControlTypePaging).(*ldap.ControlPaging)
		if !ok || len(next.Cookie) == 0 {
			return lines, nil
		}
		paging.SetCookie(next.Cookie)
	}
}
