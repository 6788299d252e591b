package media

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/pion/sdp/v3"
)

// Peer is the sender of a session description, as its signalling shows it.
type Peer struct {
	Addr   netip.Addr
	Secure bool // the signalling uses TLS
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
func (d *description) connection(c *sdp.ConnectionInformation, m *sdp.MediaDescription) error {
	if c == nil || c.Address == nil { // mandatory (RFC 8866 5.7)
		return ErrAddress
	}
	text, _, _ := strings.Cut(c.Address.Address, "/")
	ip, err := address(c.NetworkType, c.AddressType, text)
	if err != nil {
		return err
	}
	if ip == netip.IPv4Unspecified() { // on hold in the manner of RFC 2543 (RFC 3264 8.4)
		d.direction = Inactive
	} else {
		d.address = netip.AddrPortFrom(ip, uint16(m.MediaName.Port.Value))
	}
	for _, a := range m.Attributes {
		if a.Key != "rtcp" {
			continue
		}
		fields := strings.Fields(a.Value)
		if len(fields) != 1 && len(fields) != 4 || d.control.IsValid() {
			return fmt.Errorf("%w: a=rtcp:%s", ErrAddress, a.Value)
		}
		if port, err := strconv.ParseUint(fields[0], 10, 16); err != nil || port == 0 {
			return fmt.Errorf("%w: a=rtcp:%s", ErrAddress, a.Value)
		}
		if len(fields) == 1 {
			continue
		}
		if d.control, err = address(fields[1], fields[2], fields[3]); err != nil {
			return err
		}
	}
	return nil
}

// address parses a unicast address.
func address(network, family, text string) (netip.Addr, error) {
	ip, err := netip.ParseAddr(text)
	if err != nil || network != "IN" || ip.Zone() != "" || family != "IP4" && family != "IP6" || ip.Is4() != (family == "IP4") {
		return netip.Addr{}, fmt.Errorf("%w: %s %s %s", ErrAddress, network, family, text)
	}
	return ip.Unmap(), nil
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
