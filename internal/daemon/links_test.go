package daemon

import (
	"slices"
	"testing"

	"github.com/tr87proxy/tr87proxy/config"
	"github.com/tr87proxy/tr87proxy/cstaxml"
)

// What the configuration takes is what there is.
func TestDialects(t *testing.T) {
	if there := cstaxml.DialectNames(); !slices.Equal(there, slices.Sorted(slices.Values(config.Dialects))) {
		t.Errorf("config knows %v, cstaxml %v", config.Dialects, there)
	}
}
