package proxy

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/tr87proxy/tr87proxy/internal/audit"
)

// The log and audit entry of a refused request is short, however long the request is.
func TestRefusedIsBrief(t *testing.T) {
	long := strings.Repeat("9", 40000)
	e := brief(audit.Entry{Reason: long, Devices: []string{long, "1000"}, Destinations: slices.Repeat([]string{"1001"}, 100), Connections: []string{long + "@1000"}})
	if n := len(fmt.Sprint(e)); n > 2000 || e.Devices[1] != "1000" || len(e.Destinations) != maxNamed+1 {
		t.Errorf("%d octets: %v", n, e)
	}
}
