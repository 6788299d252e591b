package gate

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/tr87proxy/tr87proxy/share"
)

// faults says in a log what peers do wrong: of each kind and peer one line a second, and of each
// kind ten lines a second of all peers, with how many were not told.
type faults struct {
	log  *slog.Logger
	each share.Hush[fault]

	mu    sync.Mutex
	kinds map[string]*kind // there are few: they are texts of ours
}

type fault struct {
	peer netip.Prefix
	what string
}

// kind is what all peers do wrong in one way.
type kind struct {
	rate   *rate.Limiter
	untold int
}

// kindRate is how many lines there are a second of one kind of fault.
const kindRate = 10

func newFaults(log *slog.Logger) *faults {
	return &faults{log: log, each: share.Hush[fault]{Most: manyPeers}, kinds: map[string]*kind{}}
}

// tell writes a line, if it is not one too many. Of texts, errors and lists of texts among args it
// writes as much as share.Clip leaves: they may be the peer's.
func (f *faults) tell(level slog.Level, peer net.Conn, what string, args ...any) {
	if !f.log.Enabled(context.Background(), level) {
		return
	}
	now := time.Now()
	tell, untold := f.each.Tell(fault{share.Of(AddrOf(peer)), what}, now)
	if !tell {
		return
	}
	if tell, untold = f.ofAll(what, untold, now); !tell {
		return
	}
	args = clipped(args)
	if untold > 0 {
		args = append(args, "untold", untold)
	}
	f.log.Log(context.Background(), level, what, append([]any{"peer", peer.RemoteAddr().String()}, args...)...)
}

// ofAll is Hush.Tell for all peers together: untold are those of the peer that were not told.
func (f *faults) ofAll(what string, untold int, now time.Time) (bool, int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	k := f.kinds[what]
	if k == nil {
		k = &kind{rate: rate.NewLimiter(kindRate, kindRate)}
		f.kinds[what] = k
	}
	k.untold += untold
	if !k.rate.AllowN(now, 1) {
		k.untold++
		return false, 0
	}
	untold, k.untold = k.untold, 0
	return true, untold
}

// clipped returns attributes for the log with what is too long in them cut off.
func clipped(args []any) []any {
	short := make([]any, len(args))
	for i, arg := range args {
		switch value := arg.(type) {
		case string:
			arg = share.Clip(value)
		case error:
			arg = share.Clip(value.Error())
		case []string:
			arg = share.Clip(fmt.Sprint(value))
		}
		short[i] = arg
	}
	return short
}
