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

// Peer is who a session description comes from, by its signalling.
type Peer struct {
	Addr   netip.Addr
	Secure bool // over TLS
}

// Errors of addresses.
var (
	// ErrAddress is returned for an address that is no single peer's.
	ErrAddress = errors.New("no address that voice can be sent to in the session description")
	// ErrElsewhere is returned for an address that the configuration does not allow: whoever
	// could name any address could have voice sent to anybody.
	ErrElsewhere = errors.New("voice is to go to another address than signalling comes from, and media.elsewhere does not list it")
)

// connection reads where a stream is to be sent: c= and a=rtcp (RFC 8866 5.7, RFC 3605).
func (d *description) connection(c *sdp.ConnectionInformation, m *sdp.MediaDescription) error {
	if c == nil || c.Address == nil { // RFC 8866 5.7: one must be there
		return ErrAddress
	}
	text, _, _ := strings.Cut(c.Address.Address, "/")
	ip, err := address(c.NetworkType, c.AddressType, text)
	if err != nil {
		return err
	}
	if ip == netip.IPv4Unspecified() { // hold as RFC 2543 had it (RFC 3264 8.4)
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

// address reads a unicast-address of a description.
func address(network, family, text string) (netip.Addr, error) {
	ip, err := netip.ParseAddr(text)
	if err != nil || network != "IN" || ip.Zone() != "" || family != "IP4" && family != "IP6" || ip.Is4() != (family == "IP4") {
		return netip.Addr{}, fmt.Errorf("%w: %s %s %s", ErrAddress, network, family, text)
	}
	return ip.Unmap(), nil
}

// onThisHost reports whether an address is one of the host that we run on.
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

// permit reports why voice may not be sent where a description says: to one peer, which is
// the one whose signalling it came by, or stands where the configuration allows it. A peer
// that signals over loopback is this host, by whichever of its addresses.
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
	if ip := d.address.Addr(); ip.Is6() && ip.IsLinkLocalUnicast() { // it means something on one link only
		d.address = netip.AddrPortFrom(ip.WithZone(signals.Zone()), d.address.Port())
	}
	return nil
}
