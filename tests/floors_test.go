package tests

import (
	"encoding/json"
	"os/exec"
	"strings"
	"testing"
)

const module = "github.com/tr87proxy/tr87proxy/"

// floors says how high each package stands: it may import lower ones only.
// HACKING.md explains the house.
var floors = map[string]int{
	"uacsta": 0, "internal/files": 0, "internal/share": 0, "tls": 1, "internal/accounts": 1, "internal/directory": 0, "certs": 1, "internal/audit": 0, "sip": 2,
	"internal/config": 2, "policy": 1, // config checks patterns with policy's own rules
	"proxy/callmodel":     1,
	"proxy":               3,
	"internal/kind":       4,
	"proxy/linktest":      4,
	"tr87":                5,
	"interop/lync":        4,
	"wire/cstaxml":        5,
	"wire/asn1":           5,
	"wire/ctserver":       5,
	"links/freeswitch":    5,
	"internal/gate":       2,
	"softswitch":          4,
	"proxy/fronttest":     5,
	"internal/operations": 4,
	"softswitch/media":    1,
	"softswitch/phones":   6,
	"internal/daemon":     7,
	"internal/wait":       0,
	"cmd/tr87proxy":       8,

	"scripts/mutate":  0,
	"scripts/summary": 0,
}

// owners says which one package imports a protocol library.
var owners = map[string]string{
	"github.com/emiago/sipgo": "sip", "github.com/icholy/digest": "sip", "github.com/beevik/etree": "uacsta",
	"go.yaml.in/yaml": "internal/config", "github.com/prometheus": "internal/operations", "github.com/spf13/cobra": "cmd/tr87proxy",
	"github.com/go-asn1-ber": "wire/asn1", "golang.org/x/crypto": "internal/accounts", "github.com/pion/dtls": "tls", "github.com/pion/rtp": "softswitch/media", "github.com/pion/rtcp": "softswitch/media", "github.com/pion/srtp": "softswitch/media", "github.com/pion/sdp": "softswitch/media",
	"go.etcd.io/bbolt": "softswitch/phones", "github.com/go-ldap": "internal/directory", "software.sslmate.com/src/go-pkcs12": "certs", "golang.org/x/term": "cmd/tr87proxy",
}

func TestFloors(t *testing.T) {
	t.Parallel()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Imports", module+"...").Output()
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for d := json.NewDecoder(strings.NewReader(string(out))); d.More(); {
		var p struct {
			ImportPath string
			Imports    []string
		}
		if err := d.Decode(&p); err != nil {
			t.Fatal(err)
		}
		name := strings.TrimPrefix(p.ImportPath, module)
		if name == "tests" || strings.HasPrefix(name, "tests/") {
			continue
		}
		floor, ok := floors[name]
		if !ok {
			t.Errorf("%s has no floor", name)
			continue
		}
		seen++
		for _, imported := range p.Imports {
			if lower, ours := strings.CutPrefix(imported, module); ours && floors[lower] >= floor {
				t.Errorf("%s (floor %d) imports %s (floor %d)", name, floor, lower, floors[lower])
			}
			for library, owner := range owners {
				if strings.HasPrefix(imported, library) && owner != name {
					t.Errorf("%s imports %s, which is %s's", name, imported, owner)
				}
			}
		}
	}
	if seen != len(floors) {
		t.Errorf("%d packages, %d floors", seen, len(floors))
	}
}
