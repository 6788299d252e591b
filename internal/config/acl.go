package config

import (
	"cmp"
	"encoding/binary"
	"errors"
	"io/fs"
	"math/bits"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// In FreeSWITCH's network lists (acl.conf.xml), the node whose mask has the most ones decides, of
// those that match an address, and of two the later. If none matches, the default of
// the list decides. A missing list admits nobody.

// aclList is a list of acl.conf.xml.
type aclList struct {
	Name    string    `xml:"name,attr"`
	Default *string   `xml:"default,attr"`
	Nodes   []aclNode `xml:"node"`
}

type aclNode struct {
	Type   *string `xml:"type,attr"`
	CIDR   *string `xml:"cidr,attr"`
	Host   *string `xml:"host,attr"`
	Mask   *string `xml:"mask,attr"`
	Domain *string `xml:"domain,attr"`
}

// access is a list in the form of our file: it admits addresses that are in allow and not in
// deny.
type access struct {
	allow, deny []netip.Prefix
}

const maxNetworks = 1000 // in a list, and in the networks that its denies become

// saysYes parses a word as FreeSWITCH does. It returns otherwise for a missing word.
func saysYes(word *string, otherwise bool) bool {
	if word == nil {
		return otherwise
	}
	n, err := strconv.Atoi(*word)
	return slices.Contains([]string{"yes", "on", "true", "t", "enabled", "active", "allow"}, strings.ToLower(*word)) || err == nil && n != 0
}

// access converts the ACL that mod_csta_socket used: the name of a list, or networks.
func (i *Imported) access(folder fs.FS, acl string) access {
	switch acl {
	case "loopback.auto":
		return access{allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}
	case "rfc1918.auto":
		return access{allow: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("172.16.0.0/12"), netip.MustParsePrefix("192.168.0.0/16")}}
	case "localnet.auto", "nat.auto", "wan.auto":
		i.note("trusted: the list %q depends on FreeSWITCH's machine; write the networks of your programs", acl)
		return access{}
	}
	conf, err := readConf(folder, "acl.conf.xml")
	if errors.Is(err, fs.ErrNotExist) {
		conf = &freeSWITCHConf{}
	} else if err != nil {
		i.note("trusted: write the networks of the list %q: %v", acl, err)
		return access{}
	}
	var found []aclList
	for _, list := range conf.Lists {
		if list.Name == acl {
			found = append(found, list)
		}
	}
	switch {
	case len(found) == 0 && strings.Contains(acl, "/"):
		deny := "deny"
		found = []aclList{{Name: acl, Default: &deny, Nodes: []aclNode{{CIDR: &acl, Type: new("allow")}}}}
	case len(found) == 0:
		i.note("trusted: write the networks of the list %q: there is no acl.conf.xml beside the file that has it", acl)
		return access{}
	case len(found) > 1:
		i.note("trusted: acl.conf.xml has more than one list %q; write the networks of the right one", acl)
		return access{}
	}
	return i.list(found[0])
}

// list converts a list. If our file cannot express it, nobody is admitted, and a note says so.
func (i *Imported) list(list aclList) access {
	otherwise := saysYes(list.Default, true)
	if otherwise {
		i.note("trusted: the list %q lets in who it does not name; write who is to be let in", list.Name)
	}
	var verdicts []verdict
	for _, n := range list.Nodes {
		allow := saysYes(n.Type, otherwise)
		networks, ones, err := n.networks(allow)
		switch {
		case err == nil:
			for _, network := range networks {
				v := verdict{network, cmp.Or(ones, network.Bits()), allow}
				verdicts = append(slices.DeleteFunc(verdicts, func(w verdict) bool { return w.network == v.network && w.ones == v.ones }), v)
			}
		case errors.Is(err, errNeverFits):
			i.note("trusted: an entry of the list %q fits nobody in FreeSWITCH, and is not taken over: %s", list.Name, n)
		case allow:
			i.note("trusted: an entry of the list %q is not taken over: %s", list.Name, n)
		default:
			i.note("trusted: the list %q denies what cannot be written here, so nobody is let in; write the networks: %s", list.Name, n)
			return access{}
		}
	}
	who := access{}
	if len(verdicts) <= maxNetworks {
		who = divide(verdicts)
	}
	if len(verdicts) > maxNetworks || len(who.deny) > maxNetworks {
		i.note("trusted: the list %q cannot be written here in %d networks, so nobody is let in; write the networks", list.Name, maxNetworks)
		return access{}
	}
	loopback := netip.MustParseAddr("127.0.0.1")
	if slices.ContainsFunc(who.deny, func(p netip.Prefix) bool { return p.Contains(loopback) }) {
		i.note("addresses.deny: it has 127.0.0.1, which the commands of tr87proxy come from")
	}
	return who
}

// errNeverFits means that FreeSWITCH accepts an entry but no address matches it.
var errNeverFits = errors.New("fits no address")

// errUnknown means that import cannot tell which addresses match an entry.
var errUnknown = errors.New("cannot be read here")

// networks returns the networks of a node. The ones of its mask, 0 for the bits of each network, say which node decides. An
// address without mask matches nothing in FreeSWITCH; networks still returns a denied one, because its author means it.
func (n aclNode) networks(allow bool) (list []netip.Prefix, ones int, err error) {
	switch {
	case n.Domain != nil: // users of the directory that have an attribute cidr
		return nil, 0, errUnknown
	case n.CIDR != nil:
		for word := range strings.SplitSeq(*n.CIDR, ",") {
			network, err := ParseNetwork(strings.TrimSpace(word))
			switch {
			case err != nil:
				return nil, 0, errUnknown
			case network.Bits() == 0 || allow && !strings.Contains(word, "/"): // no mask is shorter: the default decides
				return nil, 0, errNeverFits
			}
			list = append(list, network.Masked())
		}
		return list, 0, nil
	case n.Host == nil || n.Mask == nil:
		return nil, 0, errNeverFits
	}
	host, err1 := netip.ParseAddr(*n.Host)
	mask, err2 := netip.ParseAddr(*n.Mask)
	if err1 != nil || err2 != nil || !host.Is4() || !mask.Is4() {
		return nil, 0, errUnknown
	}
	h, m := host.As4(), mask.As4()
	return masked(binary.BigEndian.Uint32(h[:]), binary.BigEndian.Uint32(m[:]))
}

// masked returns the networks that a mask makes of an address: one, or, if the mask has zeros before its last one, a network
// for each value of these bits.
func masked(host, mask uint32) (list []netip.Prefix, ones int, err error) {
	length := 32 - bits.TrailingZeros32(mask)
	free := ^mask &^ (1<<(32-length) - 1) // the zeros before the last one
	switch {
	case mask == 0:
		return nil, 0, errNeverFits
	case 1<<bits.OnesCount32(free) > maxNetworks:
		return nil, 0, errUnknown
	}
	for value := free; ; value = (value - 1) & free { // each subset of the free bits
		addr := netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, host&mask|value)))
		if list = append(list, netip.PrefixFrom(addr, length)); value == 0 {
			return list, bits.OnesCount32(mask), nil
		}
	}
}

// String returns the attributes of a node for notes.
func (n aclNode) String() string {
	var parts []string
	for _, attribute := range []struct {
		name  string
		value *string
	}{{"type", n.Type}, {"cidr", n.CIDR}, {"host", n.Host}, {"mask", n.Mask}, {"domain", n.Domain}} {
		if attribute.value != nil {
			parts = append(parts, attribute.name+" "+strconv.Quote(*attribute.value))
		}
	}
	return strings.Join(parts, ", ")
}

// verdict is what a node says about a network. Of the verdicts about an address, the one with the most ones in its mask
// decides, and of two the later.
type verdict struct {
	network netip.Prefix
	ones    int
	allow   bool
}

// divide converts verdicts, in the order of their nodes, into networks to allow and networks to deny, where deny always
// comes first.
func divide(verdicts []verdict) access {
	var who access
	for i, v := range verdicts {
		if v.allow {
			who.allow = append(who.allow, v.network)
			continue
		}
		rest := []netip.Prefix{v.network}
		for j, other := range verdicts {
			if other.allow && (other.ones > v.ones || other.ones == v.ones && j > i) {
				rest = without(rest, other.network)
			}
			if len(who.deny)+len(rest) > maxNetworks {
				break
			}
		}
		who.deny = append(who.deny, rest...)
		if len(who.deny) > maxNetworks {
			return who
		}
	}
	for _, list := range []*[]netip.Prefix{&who.allow, &who.deny} {
		slices.SortFunc(*list, func(a, b netip.Prefix) int {
			return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
		})
		*list = slices.Compact(*list)
	}
	return who
}

// without removes a network from a list of networks. It splits a network that contains the other in
// halves until one half is the network to remove.
func without(networks []netip.Prefix, out netip.Prefix) []netip.Prefix {
	var rest []netip.Prefix
	for _, network := range networks {
		if !network.Overlaps(out) {
			rest = append(rest, network)
			continue
		}
		for network.Bits() < out.Bits() {
			lower, upper := halves(network)
			if lower.Contains(out.Addr()) {
				network = lower
				rest = append(rest, upper)
			} else {
				network = upper
				rest = append(rest, lower)
			}
		}
	}
	return rest
}

// halves returns the two halves of a network, which must have more than one address.
func halves(p netip.Prefix) (lower, upper netip.Prefix) {
	octets := p.Addr().AsSlice()
	octets[p.Bits()/8] |= 0x80 >> (p.Bits() % 8)
	addr, _ := netip.AddrFromSlice(octets)
	return netip.PrefixFrom(p.Addr(), p.Bits()+1), netip.PrefixFrom(addr, p.Bits()+1)
}
