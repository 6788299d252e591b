package phones

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/share"
	"github.com/tr87proxy/tr87proxy/sip"
	"github.com/tr87proxy/tr87proxy/sip/registrar"
)

// trunk is a peer in the network that we register with, or that knows our address.
type trunk struct {
	Trunk
	server *Server

	// guarded by server.mu
	addresses []netip.Addr // addresses of its peer, from which its calls come

	// used by run only
	renew        time.Time // when to register next
	unregistered error     // why we are not registered
}

const (
	trunkRefresh = 30 * time.Second // delay before the next check without Trunk.Qualify, and after a failed registration
	trunkExpires = 10 * time.Minute // lifetime of our registration
	trunkRenewal = 10 * time.Second // of our registration, at the earliest
	trunkTimeout = 20 * time.Second // of a check, at most
)

// run keeps the trunk registered, checks its peer by OPTIONS, and tells the switch whether it is in service.
func (t *trunk) run() {
	s := t.server
	known, was := false, false
	for wait := time.Duration(0); ; wait, _ = t.schedule() {
		timer := time.NewTimer(wait)
		select {
		case <-s.ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		method, err := t.checked()
		if s.ctx.Err() != nil { // we are closing, which says nothing of the peer
			return
		}
		s.sw.InService(t.Number, err == nil, false)
		if serves := err == nil; !known || serves != was {
			known, was = true, serves
			t.report(method, err)
		}
	}
}

// report logs that the trunk is in service or, with an error, that it is not. method is what the peer was asked.
func (t *trunk) report(method string, err error) {
	t.server.mu.Lock()
	addresses := fmt.Sprint(t.addresses)
	t.server.mu.Unlock()
	log := t.server.log.With("trunk", t.Number, "method", method, "peer", t.Peer, "addresses", addresses)
	if err == nil {
		log.Info("trunk in service")
		return
	}
	log.Warn("trunk out of service", "err", err)
}

// schedule returns the delay before the next check, and the time that the check may take. Together they are shorter
// than Qualify, so that a peer that has stopped responding is noticed within that time of its last response.
func (t *trunk) schedule() (wait, timeout time.Duration) {
	wait, timeout = trunkRefresh, trunkTimeout
	if t.Qualify != 0 {
		wait, timeout = t.Qualify*2/5, min(t.Qualify/2, trunkTimeout)
	}
	if t.Register {
		due := time.Until(t.renew)
		if due <= 0 { // it has failed
			due = trunkRefresh
		}
		wait = min(wait, due)
	}
	return wait, timeout
}

// checked calls check, and treats a panic as a failure.
func (t *trunk) checked() (method string, err error) {
	defer share.Survive(t.server.log, "looking after a trunk", func(panicked error) { err = panicked })
	return t.check()
}

// check looks up the addresses of the peer, and registers there if that is due, or asks it by OPTIONS. It returns what
// it has asked, and why the trunk is out of service.
func (t *trunk) check() (method string, err error) {
	s := t.server
	_, timeout := t.schedule()
	ctx, cancel := context.WithTimeoutCause(s.ctx, timeout, sip.ErrUnanswered)
	defer cancel()
	defer func() {
		if errors.Is(err, context.DeadlineExceeded) {
			err = context.Cause(ctx)
		}
	}()
	addresses, err := t.lookUp(ctx)
	if err != nil {
		return "DNS", err
	}
	s.mu.Lock()
	t.addresses = addresses
	s.mu.Unlock()
	switch {
	case t.Register && !time.Now().Before(t.renew):
		t.unregistered = t.register(ctx)
		return "REGISTER", t.unregistered
	case t.Qualify == 0:
		return "", t.unregistered
	}
	_, err = s.ua.Request(ctx, "OPTIONS", sip.Invite{To: t.Peer, From: t.own(), Username: t.Name, Password: t.Password}) // any response will do
	if err != nil {
		t.renew = time.Time{} // it may have lost our registration
		return "OPTIONS", err
	}
	return "OPTIONS", t.unregistered
}

// lookUp returns the addresses of the peer.
func (t *trunk) lookUp(ctx context.Context) ([]netip.Addr, error) {
	host := sip.ParseURI(t.Peer).Host
	if ip, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{ip.Unmap()}, nil
	}
	addresses, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	for i, ip := range addresses {
		addresses[i] = ip.Unmap()
	}
	return addresses, err
}

// register registers with the peer.
func (t *trunk) register(ctx context.Context) error {
	t.renew = time.Now().Add(trunkRefresh)
	inv := sip.Invite{To: t.own(), Target: t.Peer, From: t.own(), Username: t.Name, Password: t.Password}
	inv.Headers = []sip.Header{{Name: "Expires", Value: strconv.Itoa(int(trunkExpires / time.Second))}}
	res, err := t.server.ua.Request(ctx, "REGISTER", inv)
	switch {
	case err != nil:
		t.renew = time.Time{}
		return err
	case res.Code()/100 != 2:
		return &sip.Refusal{Response: res}
	}
	t.renew = time.Now().Add(max(granted(res)/2, trunkRenewal))
	return nil
}

// granted returns for how long the peer keeps our registration: the shortest time in its response (RFC 3261 10.2.4), but
// not longer than we have asked for.
func granted(res *sip.Response) time.Duration {
	lifetime := trunkExpires
	limit := func(expires string) {
		if seconds, err := strconv.ParseUint(strings.TrimSpace(expires), 10, 31); err == nil {
			lifetime = min(lifetime, time.Duration(seconds)*time.Second)
		}
	}
	limit(res.Header("Expires"))
	for _, c := range res.Contacts() {
		expires, _ := c.Param("expires")
		limit(expires)
	}
	return lifetime
}

// own returns our address of record at the peer.
func (t *trunk) own() string {
	if t.From != "" {
		return t.From
	}
	name := t.Name
	if name == "" {
		name = t.Number
	}
	return sip.UserURI(name, sip.ParseURI(t.Peer).Host)
}

// maxRedirected is how many URIs a trunk's peer can redirect one call to.
const maxRedirected = 10

// redirected stores where a trunk's peer redirects a call (3xx), best first, to be tried before what it asked for
// earlier. Other hosts, a path that is not encrypted when the peer's is, and numbers that the extension may not call are
// refused: anybody who can answer for the peer, or who is called, could have us call at the owner's expense.
func (l *leg) redirected(inv sip.Invite, targets []string) {
	if l.tried == nil {
		l.tried = map[string]bool{inv.To: true}
	}
	var list []sip.Invite
	for _, target := range targets {
		to := inv
		to.Target = target
		if l.tried[target] || len(l.tried) > maxRedirected {
			continue
		}
		number := registrar.Number(target) // "" in a route of the peer's own
		elsewhere := number != "" && number != registrar.Number(inv.To) && !l.server.sw.MayReach(l.device, l.keyNow(), number)
		if elsewhere || !l.trunk.serves(target) || secured(&inv) && !secured(&to) {
			l.server.telephones.Report(slog.LevelWarn, l.device, "refused a redirection by the peer of a trunk", "to", share.Clip(target))
			continue
		}
		l.tried[target] = true
		list = append(list, to)
	}
	l.further = append(list, l.further...)
}

// serves reports whether a URI leads to the host of the trunk's peer.
func (t *trunk) serves(uri string) bool {
	to, peer := sip.ParseURI(uri), sip.ParseURI(t.Peer)
	return to.Host != "" && strings.EqualFold(to.Host, peer.Host) && to.MAddr == peer.MAddr
}

// tryFurther calls where the trunk's peer has redirected the call. It returns false if there is nothing left to try.
func (l *leg) tryFurther() bool {
	if len(l.further) == 0 {
		return false
	}
	next := l.further[0]
	l.further = l.further[1:]
	l.dialog = nil // of the INVITE that was refused
	l.invite(next)
	return true
}

// trunkOf returns the trunk whose peer sends a request, or nil. It compares the address, and the port if two
// trunks share an address, or on loopback addresses, which telephones may share.
func (s *Server) trunkOf(r *sip.Request) *trunk {
	s.mu.Lock()
	defer s.mu.Unlock()
	peer := r.Peer().Addr
	var found *trunk
	for _, t := range s.trunks {
		if !slices.Contains(t.addresses, peer.Addr()) {
			continue
		}
		if port := sip.ParseURI(t.Peer).Port; port == int(peer.Port()) || port == 0 && peer.Port() == 5060 {
			return t
		}
		if !peer.Addr().IsLoopback() {
			found = t
		}
	}
	return found
}

// peers reports whether a peer has the address of a trunk.
func (s *Server) peers(p sip.Peer) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.trunks {
		if slices.Contains(t.addresses, p.Addr.Addr()) {
			return true
		}
	}
	return false
}

// whereabouts returns the address from which a device's signalling comes, or the zero address.
func (s *Server) whereabouts(device string) netip.Addr {
	s.mu.Lock()
	t := s.trunks[device]
	var addresses []netip.Addr
	if t != nil {
		addresses = t.addresses
	}
	s.mu.Unlock()
	switch {
	case t == nil:
		return s.telephones.Addr(device)
	case len(addresses) == 0:
		return netip.Addr{}
	}
	return addresses[0]
}
