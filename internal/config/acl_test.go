package config_test

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/tr87proxy/tr87proxy/internal/config"
	"github.com/tr87proxy/tr87proxy/internal/daemon"
	"github.com/tr87proxy/tr87proxy/policy"
)

// imported makes a configuration of a list csta in acl.conf.xml, or of another value of
// apply-inbound-acl; it must be one without faults.
func imported(t *testing.T, acl, lists string) (*config.Config, string) {
	t.Helper()
	out, err := config.ImportCSTASocket(fstest.MapFS{
		"c.xml":        {Data: []byte(`<configuration name="csta_socket.conf"><settings><param name="apply-inbound-acl" value="` + acl + `"/></settings></configuration>`)},
		"acl.conf.xml": {Data: []byte(`<configuration name="acl.conf"><network-lists>` + lists + `</network-lists></configuration>`)},
	}, "c.xml")
	if err != nil {
		t.Fatal(err)
	}
	c, err := config.Parse("made.yaml", []byte(out.YAML), daemon.Kinds())
	if err != nil {
		t.Fatalf("%v\n%s", err, out.YAML)
	}
	return c, strings.Join(out.Notes, "\n")
}

// letsIn reports whether the configuration trusts an address, and lets it connect.
func letsIn(c *config.Config, addr netip.Addr) bool {
	p := &policy.Policy{}
	for _, t := range c.Trusted {
		network, _ := config.ParseNetwork(t.Address)
		p.Trusted = append(p.Trusted, policy.Peer{Network: network})
	}
	for _, d := range c.Addresses.Deny {
		network, _ := config.ParseNetwork(d)
		p.Deny = append(p.Deny, network)
	}
	return p.Admits(addr) && p.Trusts(addr, nil)
}

func TestImportACL(t *testing.T) {
	for _, tt := range []struct {
		acl, nodes, in, out, note string
	}{
		{"csta", `<list name="csta" default="deny"><node type="allow" cidr="10.0.0.0/8"/><node type="deny" cidr="10.1.0.0/16"/></list>`, "10.0.0.1 10.2.0.0", "10.1.0.0 10.1.255.255 11.0.0.1 127.0.0.1", ""},
		{"csta", `<list name="csta" default="deny"><node type="deny" cidr="10.1.0.0/16"/><node type="allow" cidr="10.0.0.0/8"/></list>`, "10.0.0.1", "10.1.0.1", ""},
		{"csta", `<list name="csta" default="deny"><node type="deny" cidr="10.0.0.0/8"/><node type="allow" cidr="10.1.0.0/16"/><node type="deny" cidr="10.1.2.0/24"/><node type="allow" cidr="10.1.2.3/32"/></list>`, "10.1.1.1 10.1.2.3", "10.2.0.1 10.1.2.2 10.1.2.4", ""},
		{"csta", `<list name="csta" default="deny"><node type="allow" cidr="10.1.0.0/16"/><node type="deny" host="10.1.2.9" mask="255.255.255.0"/></list>`, "10.1.1.1", "10.1.2.1 10.1.2.9", ""},
		{"csta", `<list name="csta" default="deny"><node type="allow" host="10.1.2.9" mask="255.255.255.0"/></list>`, "10.1.2.1", "10.1.3.1", ""},
		{"csta", `<list name="csta" default="deny"><node type="allow" cidr="10.1.0.0/16, 10.2.0.0/16"/><node type="deny" cidr="10.1.1.0/24,10.2.2.0/24"/></list>`, "10.1.2.1 10.2.1.1", "10.1.1.1 10.2.2.1", ""},
		{"csta", `<list name="csta" default="deny"><node type="allow" cidr="2001:db8::/32"/><node type="deny" cidr="2001:db8:1::/48"/></list>`, "2001:db8::1", "2001:db8:1::1 10.1.1.1", ""},
		// of two for the same network the later decides
		{"csta", `<list name="csta" default="deny"><node type="allow" cidr="10.1.0.0/16"/><node type="deny" cidr="10.1.9.9/16"/></list>`, "", "10.1.0.1", ""},
		{"csta", `<list name="csta" default="deny"><node type="deny" cidr="10.1.0.0/16"/><node type="allow" cidr="10.1.0.0/16"/></list>`, "10.1.0.1", "", ""},
		// words, and what is left out
		{"csta", `<list name="csta" default="deny"><node type="TRUE" cidr="10.1.0.0/16"/><node type="maybe" cidr="10.1.1.0/24"/><node cidr="10.1.2.0/24"/></list>`, "10.1.0.1", "10.1.1.1 10.1.2.1", ""},
		{"csta", `<list name="csta"><node cidr="10.1.0.0/16"/><node type="deny" cidr="10.1.1.0/24"/></list>`, "10.1.0.1", "10.1.1.1 10.9.0.1", "lets in who it does not name"},
		{"csta", `<list name="csta" default="allow"><node type="deny" cidr="10.1.1.0/24"/></list>`, "", "10.1.1.1 10.9.0.1 127.0.0.1", "lets in who it does not name"},
		// what cannot be written here
		{"csta", `<list name="csta" default="deny"><node type="allow" cidr="10.1.0.0/16"/><node type="deny" domain="pbx"/></list>`, "", "10.1.0.1 127.0.0.1", `nobody is let in; write the networks: type "deny", domain "pbx"`},
		{"csta", `<list name="csta" default="deny"><node type="allow" cidr="10.1.0.0/16"/><node type="deny" cidr="$${bad_guys}"/></list>`, "", "10.1.0.1", `nobody is let in`},
		{"csta", `<list name="csta" default="deny"><node type="allow" cidr="10.1.0.0/16"/><node type="allow" cidr="$${lan}"/></list>`, "10.1.0.1", "127.0.0.1", `is not taken over: type "allow", cidr "$${lan}"`},
		{"csta", `<list name="csta" default="deny"><node type="allow" host="10.1.0.1" mask="255.0.255.255"/></list>`, "10.1.0.1 10.9.0.1", "10.1.0.2 11.1.0.1", ""},
		{"csta", `<list name="csta" default="deny"><node type="allow" host="10.1.0.1" mask="0.0.255.255"/></list>`, "", "10.1.0.1", "is not taken over"},
		{"csta", `<list name="csta" default="deny"><node type="allow" cidr="10.1.0.0/16"/><node type="deny" host="10.1.0.1" mask="0.0.255.255"/></list>`, "", "10.1.0.2", "nobody is let in"},
		{"csta", `<list name="csta" default="deny"><node type="allow" cidr="10.1.0.0/16"/><node type="deny" host="10.1.0.1" mask="255.255.0.255"/></list>`, "10.1.0.2 10.1.9.2", "10.1.0.1 10.1.9.1", ""},
		// the ones of the mask count, not where they are
		{"csta", `<list name="csta" default="deny"><node type="deny" host="10.1.0.1" mask="255.0.255.255"/><node type="allow" host="10.1.0.0" mask="255.255.255.128"/></list>`, "10.1.0.1 10.1.0.5", "10.2.0.1 10.1.1.1", ""},
		{"csta", `<list name="csta" default="deny"><node type="allow" host="10.0.7.0" mask="255.0.255.0"/><node type="deny" host="10.1.0.0" mask="255.255.0.0"/></list>`, "10.2.7.1", "10.1.7.1 10.1.8.1 10.2.8.1", ""},
		{"csta", `<list name="csta" default="deny"><node type="deny" host="10.1.0.0" mask="255.255.0.0"/><node type="allow" host="10.0.7.0" mask="255.0.255.0"/></list>`, "10.1.7.1 10.2.7.1", "10.1.8.1 10.2.8.1", ""},
		// what fits nobody there
		{"csta", `<list name="csta" default="deny"><node type="allow" cidr="0.0.0.0/0"/><node type="allow" cidr="10.1.0.1"/><node type="allow" host="10.1.0.1"/></list>`, "", "10.1.0.1 127.0.0.1", "fits nobody in FreeSWITCH"},
		{"csta", `<list name="csta" default="deny"><node type="allow" cidr="10.1.0.0/16"/><node type="deny" cidr="10.1.0.1"/></list>`, "10.1.0.2", "10.1.0.1", ""},
		{"csta", `<list name="csta" default="deny"><node type="allow" cidr="10.1.0.0/16"/></list><list name="csta" default="deny"/>`, "", "10.1.0.1", "more than one list"},
		{"csta", `<list name="csta" default="deny"><node type="deny" cidr="127.0.0.0/8"/></list>`, "", "127.0.0.1", "127.0.0.1, which the commands of tr87proxy come from"},
		{"csta", ``, "", "127.0.0.1", "there is no acl.conf.xml beside the file that has it"},
		{"localnet.auto", ``, "", "127.0.0.1 10.0.0.1", "depends on FreeSWITCH's machine"},
		{"loopback.auto", ``, "127.0.0.1 127.9.9.9", "10.0.0.1", ""},
		{"rfc1918.auto", ``, "10.0.0.1 172.31.0.1 192.168.1.1", "127.0.0.1 172.32.0.1", ""},
		{"10.1.0.0/16,10.2.0.0/16", ``, "10.1.0.1 10.2.0.1", "10.3.0.1 127.0.0.1", ""},
	} {
		c, notes := imported(t, tt.acl, tt.nodes)
		for want, list := range map[bool]string{true: tt.in, false: tt.out} {
			for _, addr := range strings.Fields(list) {
				if got := letsIn(c, netip.MustParseAddr(addr)); got != want {
					t.Errorf("%s %s: %s is let in: %v\ntrusted %v, denied %v", tt.acl, tt.nodes, addr, got, c.Trusted, c.Addresses.Deny)
				}
			}
		}
		if !strings.Contains(notes, tt.note) {
			t.Errorf("%s: nothing is said of %q:\n%s", tt.nodes, tt.note, notes)
		}
	}
}

func number(addr netip.Addr) uint32 {
	octets := addr.As4()
	return binary.BigEndian.Uint32(octets[:])
}

func dotted(n uint32) netip.Addr {
	return netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, n)))
}

// What is imported lets in those, and only those, whom FreeSWITCH's rule lets in: the longest
// mask decides, of two the later.
func TestImportACLLetsInTheSame(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2)) // the same lists each time
	for range 300 {
		type node struct {
			host, mask uint32
			allow      bool
		}
		var nodes []node
		var b strings.Builder
		b.WriteString(`<list name="csta" default="deny">`)
		for range 1 + r.IntN(12) {
			addr := netip.AddrFrom4([4]byte{10, byte(r.IntN(2)), byte(r.IntN(4)), byte(r.IntN(256))})
			length := 6 + r.IntN(27)
			n := node{number(addr), ^uint32(0) << (32 - length), r.IntN(2) == 0}
			word := map[bool]string{true: "allow", false: "deny"}[n.allow]
			if r.IntN(3) > 0 {
				fmt.Fprintf(&b, `<node type="%s" cidr="%s/%d"/>`, word, addr, length)
			} else { // perhaps with a hole of some bits
				n.mask &^= uint32(r.IntN(16)) << (4 * r.IntN(6))
				fmt.Fprintf(&b, `<node type="%s" host="%s" mask="%s"/>`, word, addr, dotted(n.mask))
			}
			nodes = append(nodes, n)
		}
		b.WriteString("</list>")
		c, _ := imported(t, "csta", b.String())
		for range 300 {
			addr := netip.AddrFrom4([4]byte{10, byte(r.IntN(2)), byte(r.IntN(4)), byte(r.IntN(256))})
			most, want := 0, false
			for _, n := range slices.Backward(nodes) { // it keeps the last one first
				if ones := bits.OnesCount32(n.mask); ones > most && number(addr)&n.mask == n.host&n.mask {
					most, want = ones, n.allow
				}
			}
			if got := letsIn(c, addr); got != want {
				t.Fatalf("%s: %s is let in: %v, not %v\ntrusted %v, denied %v", b.String(), addr, got, want, c.Trusted, c.Addresses.Deny)
			}
		}
	}
}
