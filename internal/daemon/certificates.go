package daemon

import (
	"context"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/kind"
	"github.com/tr87proxy/tr87proxy/tls"
)

const (
	warnAhead = 30 * 24 * time.Hour
	warnEvery = 12 * time.Hour
)

// eachCertificate calls each with the certificates of listeners and links: whose they are, and when they expire.
func (n *Node) eachCertificate(each func(of string, e tls.Expiry)) {
	all := func(of string, f *tls.Files) {
		for _, e := range f.Expiries() {
			each(of, e)
		}
	}
	n.serversMu.Lock()
	for _, s := range n.servers {
		if s.cfg.Transport == "tls" || s.cfg.Transport == "dtls" {
			f := kind.ServerFiles(&s.cfg, n.log)
			all(s.cfg.Name, &f)
		}
	}
	n.serversMu.Unlock()
	for _, l := range *n.linkConfigs.Load() {
		for _, f := range kind.CertificateFiles(l.Settings, n.log) {
			all("link "+l.Name, &f)
		}
	}
}

// certificates returns when the certificates of listeners and links expire.
func (n *Node) certificates() (list []tls.Expiry) {
	n.eachCertificate(func(_ string, e tls.Expiry) { list = append(list, e) })
	return list
}

// watchCertificates logs a warning for each certificate that expires soon, every 12 hours, until ctx ends.
func (n *Node) watchCertificates(ctx context.Context) {
	ticker := time.NewTicker(warnEvery)
	defer ticker.Stop()
	for {
		for _, e := range n.certificates() {
			left := time.Until(e.At)
			switch {
			case left <= 0:
				n.log.Error("certificate expired: peers reject it", "file", e.File, "since", e.At.Format(time.DateOnly))
			case left < warnAhead:
				n.log.Warn("certificate expires soon", "file", e.File, "at", e.At.Format(time.DateOnly), "days", int(left.Hours()/24))
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}
