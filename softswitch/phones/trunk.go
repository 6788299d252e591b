package phones

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/share"
	"github.com/tr87proxy/tr87proxy/sip"
	"github.com/tr87proxy/tr87proxy/sip/registrar"
	"github.com/tr87proxy/tr87proxy/softswitch"
)

// trunk is a peer in the network that we register with, or that knows our address.
type trunk struct {
	Trunk
	server *Server

	// guarded by server.mu
	addresses []netip.Addr // addresses of its peer, from which its calls come
}

const (
	trunkRefresh = 30 * time.Second // interval of OPTIONS, and delay after a failure
	trunkExpires = 10 * time.Minute // lifetime of our registration
)

// run keeps the trunk registered, or checks its peer by OPTIONS.
func (t *trunk) run() {
	s := t.server
	wait, known, was := time.Duration(0), false, false
	for {
		timer := time.NewTimer(wait)
		select {
		case <-s.ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		var err error
		wait, err = t.checked()
		s.sw.InService(t.Number, err == nil, false)
		if serves := err == nil; !known || serves != was {
			known, was = true, serves
			if serves {
				s.log.Info("trunk in service", "trunk", t.Number)
			} else {
				s.log.Warn("trunk out of service", "trunk", t.Number, "err", err)
			}
		}
	}
}

// checked calls check, and treats a panic as a failure.
func (t *trunk) checked() (wait time.Duration, err error) {
	defer share.Survive(t.server.log, "looking after a trunk", func(panicked error) { wait, err = trunkRefresh, panicked })
	return t.check()
}

// check looks up the addresses of the peer, and registers there, or checks it by OPTIONS. It returns the delay
// before the next check.
func (t *trunk) check() (time.Duration, error) {
	s := t.server
	ctx, cancel := context.WithTimeout(s.ctx, 20*time.Second)
	defer cancel()
	host := sip.ParseURI(t.Peer).Host
	var addresses []netip.Addr
	if ip, err := netip.ParseAddr(host); err == nil {
		addresses = []netip.Addr{ip.Unmap()}
	} else {
		found, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		if err != nil {
			return trunkRefresh, err
		}
		for _, ip := range found {
			addresses = append(addresses, ip.Unmap())
		}
	}
	s.mu.Lock()
	t.addresses = addresses
	s.mu.Unlock()
	inv := sip.Invite{To: t.own(), Target: t.Peer, From: t.own(), Username: t.Name, Password: t.Password}
	if !t.Register {
		inv.To = t.Peer
		_, err := s.ua.Request(ctx, "OPTIONS", inv) // any response will do
		return trunkRefresh, err
	}
	inv.Headers = []sip.Header{{Name: "Expires", Value: strconv.Itoa(int(trunkExpires / time.Second))}}
	res, err := s.ua.Request(ctx, "REGISTER", inv)
	if err != nil {
		return trunkRefresh, err
	}
	if res.Code()/100 != 2 {
		return trunkRefresh, &sip.Refusal{Response: res}
	}
	return trunkExpires / 2, nil
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

// invite returns the INVITE for a call to a number over the trunk.
func (t *trunk) invite(v *softswitch.View, p *softswitch.Party) sip.Invite {
	inv := sip.Invite{To: sip.WithUser(t.Peer, p.Number), From: t.own(), Name: v.Name, Username: t.Name, Password: t.Password}
	if registrar.Dialable(v.Calling.Device.ID) {
		inv.Headers = []sip.Header{{Name: "P-Asserted-Identity", Value: "<" + sip.UserURI(v.Calling.Device.ID, sip.ParseURI(t.Peer).Host) + ">"}}
	}
	return inv
}

// maxRedirected is how many URIs a trunk's peer can redirect one call to.
const maxRedirected = 10

// redirected stores where a trunk's peer redirects a call (3xx), best first, to be tried before what it asked for
// earlier. Other hosts, and a path that is not encrypted when the peer's is, are refused: anybody who can answer for the
// peer could have us call at the owner's expense.
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
		if !l.trunk.serves(target) || secured(&inv) && !secured(&to) {
			l.server.log.Warn("refused a redirection by the peer of a trunk", "trunk", l.device, "to", share.Clip(target))
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
