package media

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Peer is the sender of a session description, as its signalling shows it.
type Peer struct {
	Addr   netip.Addr
	Secure bool // the signalling uses TLS
}

// refusals are why SRTP keys are not agreed on in a way.
type refusals map[keying]error

// refuses returns which ways to agree on keys a peer may not use.
func (p Peer) refuses() refusals {
	if p.Secure {
		return refusals{}
	}
	return refusals{bySDES: ErrPlainKeys}
}

// Errors of addresses in session descriptions.
var (
	// ErrAddress is returned for an address that is not unicast.
	ErrAddress = errors.New("session description has no usable address")
	// ErrElsewhere is returned for an address that the configuration does not allow. Without
	// this check a peer could direct voice to any host.
	ErrElsewhere = errors.New("voice address differs from the signalling address and is not in media.elsewhere")
)

// connection reads where to send a stream: c= and a=rtcp (RFC 8866 5.7, RFC 3605).
func (d *description) connection(m *stream, signals netip.Addr) error {
	fields := strings.Fields(m.connection)
	if len(fields) != 3 { // mandatory (RFC 8866 5.7)
		return fmt.Errorf("%w: c=%s", ErrAddress, m.connection)
	}
	text, _, _ := strings.Cut(fields[2], "/")
	ip, err := address(fields[0], fields[1], text, signals)
	if err != nil {
		return err
	}
	if ip == netip.IPv4Unspecified() { // on hold in the manner of RFC 2543 (RFC 3264 8.4)
		d.direction = Inactive
	} else {
		d.address = netip.AddrPortFrom(ip, m.port)
	}
	for _, value := range values(m.attributes, "rtcp") {
		fields := strings.Fields(value)
		if len(fields) != 1 && len(fields) != 4 || d.control.IsValid() {
			return fmt.Errorf("%w: a=rtcp:%s", ErrAddress, value)
		}
		if port, err := strconv.ParseUint(fields[0], 10, 16); err != nil || port == 0 {
			return fmt.Errorf("%w: a=rtcp:%s", ErrAddress, value)
		}
		if len(fields) == 1 {
			continue
		}
		if d.control, err = address(fields[1], fields[2], fields[3], signals); err != nil {
			return err
		}
	}
	return nil
}

// address parses a unicast address. A host name stands for the address of the signalling: looking it up would
// let a peer keep us waiting, and voice goes to that address or to a network of Config.Elsewhere only.
func address(network, family, text string, signals netip.Addr) (netip.Addr, error) {
	ip, err := netip.ParseAddr(text)
	if err != nil && hostName(text) {
		ip, err = signals.Unmap().WithZone(""), nil
		family = map[bool]string{true: "IP4", false: "IP6"}[ip.Is4()]
	}
	if err != nil || network != "IN" || ip.Zone() != "" || family != "IP4" && family != "IP6" || ip.Is4() != (family == "IP4") {
		return netip.Addr{}, fmt.Errorf("%w: %s %s %s", ErrAddress, network, family, text)
	}
	return ip.Unmap(), nil
}

// hostName reports whether a text is a domain name (RFC 1123 2.1): its last label has a letter first, so that no
// malformed address is one.
func hostName(text string) bool {
	text = strings.TrimSuffix(text, ".")
	last := text[strings.LastIndexByte(text, '.')+1:]
	return last != "" && (last[0]|0x20 >= 'a' && last[0]|0x20 <= 'z') && strings.Trim(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-") == ""
}

// onThisHost reports whether an address belongs to this host.
func onThisHost(ip netip.Addr) bool {
	if ip.IsLoopback() {
		return true
	}
	own, err := net.InterfaceAddrs()
	return err == nil && slices.ContainsFunc(own, func(a net.Addr) bool {
		network, err := netip.ParsePrefix(a.String())
		return err == nil && network.Addr().Unmap() == ip
	})
}

// permit checks that voice may be sent where a description says: to the address the signalling
// came from, or to a network in Config.Elsewhere. A peer that signals over loopback is this
// host, so any address of the host is permitted.
func (e *Engine) permit(d *description, signals netip.Addr) error {
	signals = signals.Unmap()
	for _, ip := range []netip.Addr{d.address.Addr(), d.control} {
		own := signals.WithZone("") == ip
		switch {
		case !ip.IsValid(), ip == netip.IPv4Unspecified() && !d.address.IsValid(): // on hold
			continue
		case ip.IsUnspecified(), ip.IsMulticast(), ip == netip.AddrFrom4([4]byte{255, 255, 255, 255}), ip.Is6() && ip.IsLinkLocalUnicast() && !signals.IsLinkLocalUnicast():
			return fmt.Errorf("%w: %s", ErrAddress, ip)
		case own, signals.IsLoopback() && onThisHost(ip):
			continue
		}
		if !slices.ContainsFunc(e.cfg.Elsewhere, func(network netip.Prefix) bool { return network.Contains(ip) }) {
			return fmt.Errorf("%w: %s instead of %s", ErrElsewhere, ip, signals)
		}
	}
	if ip := d.address.Addr(); ip.Is6() && ip.IsLinkLocalUnicast() { // link-local
		d.address = netip.AddrPortFrom(ip.WithZone(signals.Zone()), d.address.Port())
	}
	return nil
}
