package kind

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/accounts"
	"github.com/tr87proxy/tr87proxy/internal/share"
	"github.com/tr87proxy/tr87proxy/proxy"
)

// Callers is what fronts over HTTP have in common about the clients of requests. Create it with [NewCallers].
type Callers struct {
	env         *FrontEnv
	front, name string
	key         [32]byte
	strangers   proxy.Strangers
}

// NewCallers returns the callers of a front. name is what the log calls it, which differs for a protocol that a front mounts.
func NewCallers(env *FrontEnv, front, name string) *Callers {
	c := &Callers{env: env, front: front, name: name}
	_, _ = rand.Read(c.key[:])
	return c
}

// Key returns a key that is the same for requests with the same credentials and certificate names from the same address. It
// does not reveal them.
func (c *Callers) Key(addr netip.Addr, names []string, credentials ...string) [32]byte {
	mac := hmac.New(sha256.New, c.key[:])
	for _, part := range slices.Concat([]string{addr.String()}, credentials, names) {
		_ = binary.Write(mac, binary.BigEndian, uint64(len(part)))
		mac.Write([]byte(part))
	}
	return [32]byte(mac.Sum(nil))
}

// Refused writes down that the client of a request was refused, and why. who is whom it says it is; "": it does not say. what
// is the kind of refusal, one of few ([proxy.Strangers.ShouldLog]).
func (c *Callers) Refused(r *http.Request, who, what string, status int, why string) {
	who = share.Clip(who)
	c.env.Proxy.Refused(c.front, c.name+":"+r.RemoteAddr, who, why)
	peer, _ := netip.ParseAddrPort(r.RemoteAddr)
	if c.strangers.ShouldLog(peer.Addr(), what, time.Now()) {
		c.env.Log.Warn("request refused: client not identified", "front", c.name, "peer", r.RemoteAddr, "who", who, "status", status, "why", why, "silent", proxy.StrangerPause)
	}
}

// busy is after what time to try again when the proxy has too much to do.
const busy = 2 * time.Second

// HTTPStatus returns the status of the response to a client for an error of [proxy.Proxy.Identify] or [accounts.Keeper.CheckDigest], and after what time the
// client may try again; 0: that is not said.
func HTTPStatus(err error) (status int, retry time.Duration) {
	locked := (*accounts.LockedError)(nil)
	switch {
	case errors.Is(err, proxy.ErrUnnamed):
		return http.StatusForbidden, 0
	case errors.As(err, &locked):
		return http.StatusTooManyRequests, max(time.Until(locked.Until), time.Second)
	case errors.Is(err, proxy.ErrBusy), errors.Is(err, accounts.ErrBusy):
		return http.StatusServiceUnavailable, busy
	}
	return http.StatusUnauthorized, 0
}

// PlaceOf returns a function that returns where the client of a request comes in, for [proxy.Opening].
func PlaceOf(r *http.Request) func() proxy.Place {
	at := proxy.Place{Transport: "tcp"}
	if r.TLS != nil {
		at.Transport = "tls"
	}
	if local, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr); ok {
		at.Addr = netip.AddrPortFrom(local.AddrPort().Addr().Unmap(), local.AddrPort().Port())
	}
	return func() proxy.Place { return at }
}
