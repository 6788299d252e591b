package tests

import (
	"encoding/json"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/tr87proxy/tr87proxy/"

// floors says how high each package stands: it may import lower ones only.
// HACKING.md explains the house.
var floors = map[string]int{
	"uacsta": 0, "internal/audio": 0, "internal/files": 0, "internal/share": 0, "internal/trace": 0, "internal/capture": 1, "internal/hep": 1, "tls": 1, "internal/accounts": 1, "internal/digest": 1, "internal/tokens": 1, "internal/openid": 1, "api": 7, "console": 7, "internal/directory": 0, "certs": 1, "internal/audit": 0, "sip": 2,
	"internal/config": 2, "policy": 1, // config checks patterns with policy's own rules
	"proxy/callmodel":     1,
	"proxy":               3,
	"internal/kind":       4,
	"proxy/linktest":      4,
	"tr87":                5,
	"interop/lync":        4,
	"wire/cstaxml":        3,
	"wire/cstaxml/front":  6,
	"wire/cstaxml/socket": 5,
	"wire/soap":           3,
	"wire/soap/front":     5,
	"wire/cstaxml/link":   5,
	"wire/asn1":           3,
	"wire/asn1/front":     5,
	"wire/asn1/link":      5,
	"wire/ctserver":       0,
	"wire/ctserver/front": 5,
	"wire/ctserver/link":  5,
	"links/freeswitch":    5,
	"internal/gate":       2,
	"softswitch":          4,
	"proxy/fronttest":     5,
	"internal/operations": 4,
	"api/events":          4,
	"softswitch/media":    1,
	"internal/database":   0,
	"internal/state":      1,
	"internal/eventlog":   1,
	"internal/webhook":    3,
	"internal/tasks":      1,
	"internal/wait":       0,
	"sip/registrar":       6,
	"links/desk":          7,
	"softswitch/phones":   7,
	"internal/daemon":     8,
	"cmd/tr87proxy":       9,

	"examples/api/dial":      0,
	"examples/api/screenpop": 0,
	"examples/csta":          4,
	"examples/dialler":       5,
	"examples/ivr":           5,

	"scripts/bench.d/api": 0,
	"scripts/mutate":      0,
	"scripts/summary":     0,
}

// owners says which packages import a protocol library.
var owners = map[string]string{
	"github.com/emiago/sipgo": "sip", "github.com/icholy/digest": "sip internal/digest", "github.com/beevik/etree": "uacsta",
	"go.yaml.in/yaml": "internal/config", "github.com/prometheus": "internal/operations", "github.com/spf13/cobra": "cmd/tr87proxy",
	"github.com/go-asn1-ber": "wire/asn1", "golang.org/x/crypto": "internal/accounts", "github.com/pion/dtls": "tls softswitch/media", "github.com/pion/rtp": "softswitch/media", "github.com/pion/rtcp": "softswitch/media", "github.com/pion/srtp": "softswitch/media",
	"github.com/coreos/go-oidc": "internal/openid", "go.etcd.io/bbolt": "internal/database internal/state internal/eventlog", "github.com/go-ldap": "internal/directory", "software.sslmate.com/src/go-pkcs12": "certs", "golang.org/x/term": "cmd/tr87proxy",
	"github.com/coder/websocket": "api wire/cstaxml/socket scripts/bench.d/api",
}

// listed is a package as go list describes it.
type listed struct {
	ImportPath    string
	Imports, Deps []string
}

// packages returns the packages of the module without those of the tests, by their path in it.
func packages(t *testing.T) map[string]listed {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Imports,Deps", module+"...").Output()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]listed{}
	for d := json.NewDecoder(strings.NewReader(string(out))); d.More(); {
		var p listed
		if err := d.Decode(&p); err != nil {
			t.Fatal(err)
		}
		if name := strings.TrimPrefix(p.ImportPath, module); name != "tests" && !strings.HasPrefix(name, "tests/") {
			all[name] = p
		}
	}
	return all
}

func TestFloors(t *testing.T) {
	all := packages(t)
	for name, p := range all {
		floor, ok := floors[name]
		if !ok {
			t.Errorf("%s has no floor", name)
			continue
		}
		for _, imported := range p.Imports {
			if lower, ours := strings.CutPrefix(imported, module); ours && floors[lower] >= floor {
				t.Errorf("%s (floor %d) imports %s (floor %d)", name, floor, lower, floors[lower])
			}
			for library, owner := range owners {
				if strings.HasPrefix(imported, library) && !slices.Contains(strings.Fields(owner), name) {
					t.Errorf("%s imports %s, which is %s's", name, imported, owner)
				}
			}
		}
	}
	for name := range floors {
		if _, is := all[name]; !is {
			t.Errorf("%s has a floor, and is no package", name)
		}
	}
}

// The sides of the proxy: computing functions connect to fronts, links connect to switching functions.
const (
	frontSide = "front"
	linkSide  = "link"
)

// sideOf returns the side that a package belongs to; "": neither, such as a codec, or the core. The built-in switch and
// its telephones are switching functions, and stand on the side of links.
func sideOf(name string) string {
	folders := strings.Split(name, "/")
	switch {
	case name == "tr87" || slices.Contains(folders, frontSide):
		return frontSide
	case folders[0] == "links" || folders[0] == "softswitch" || slices.Contains(folders, linkSide):
		return linkSide
	}
	return ""
}

// acrossFrom is the other side of each.
var acrossFrom = map[string]string{frontSide: linkSide, linkSide: frontSide}

// crossings returns the packages of the other side that a package imports, by itself or through others. A link may import
// tr87, which is a front and, apart from that, the client that speaks CSTA over SIP to a switching function.
func crossings(name string, deps []string) (found []string) {
	side := sideOf(name)
	for _, imported := range deps {
		if across, ours := strings.CutPrefix(imported, module); ours && side != "" && across != "tr87" && sideOf(across) == acrossFrom[side] {
			found = append(found, across)
		}
	}
	return found
}

// No front knows a link, and no link knows a front, whatever their floors.
func TestFrontsKnowNoLinks(t *testing.T) {
	count := map[string]int{}
	for name, p := range packages(t) {
		count[sideOf(name)]++
		if found := crossings(name, p.Deps); len(found) > 0 {
			t.Errorf("%s is on the side of a %s, and imports %v", name, sideOf(name), found)
		}
	}
	if count[frontSide] < 2 || count[linkSide] < 2 {
		t.Errorf("the sides have %v packages", count)
	}
}

func TestCrossings(t *testing.T) {
	for _, tt := range []struct {
		name, imported string
		crosses        bool
	}{
		{"wire/x/front", "wire/x/link", true}, {"wire/x/link", "wire/x/front", true}, {"tr87", "wire/x/link", true}, {"wire/x/link", "tr87", false},
		{"wire/x/front", "links/y", true}, {"links/y", "wire/x/front", true}, {"tr87", "softswitch/phones", true},
		{"wire/x/front", "wire/x", false}, {"wire/x/link", "wire/x", false}, {"tr87", "proxy/fronttest", false}, {"internal/daemon", "wire/x/link", false},
		{"links/y", "proxy/linktest", false}, {"softswitch/phones", "softswitch", false}, {"softswitch/phones", "proxy", false},
	} {
		if found := crossings(tt.name, []string{"fmt", module + tt.imported}); (len(found) > 0) != tt.crosses {
			t.Errorf("%s imports %s: %v", tt.name, tt.imported, found)
		}
	}
}
