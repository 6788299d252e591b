package kind

import (
	stdlog "log"
	"log/slog"
	"net/netip"
	"strings"

	"github.com/tr87proxy/tr87proxy/internal/share"
)

// httpLog takes the lines of an http.Server's log, and logs them in words of ours, at a limited rate.
type httpLog struct {
	log   *slog.Logger
	lines share.PeerLog[netip.Prefix]
}

// errorLog returns what to set as the ErrorLog of an http.Server.
func errorLog(log *slog.Logger) *stdlog.Logger { return stdlog.New(&httpLog{log: log}, "", 0) }

// Write implements io.Writer. A write is one line.
func (l *httpLog) Write(line []byte) (int, error) {
	text := strings.TrimSpace(string(line))
	if about, found := strings.CutPrefix(text, "http: TLS handshake error from "); found {
		peer, why, _ := strings.Cut(about, ": ")
		if addr, err := netip.ParseAddrPort(peer); err == nil {
			l.lines.Log(l.log, slog.LevelWarn, share.Of(addr.Addr()), "TLS handshake failed", "peer", peer, "err", share.Clip(why))
			return len(line), nil
		}
	}
	l.lines.Log(l.log, slog.LevelInfo, netip.Prefix{}, "HTTP server reports a fault", "text", share.Clip(text))
	return len(line), nil
}
