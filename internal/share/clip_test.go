package share

import (
	"strings"
	"testing"
)

func TestClip(t *testing.T) {
	if long := strings.Repeat("ä", 300); Clip("x"+long) != "x"+strings.Repeat("ä", 127)+"…" || Clip("short") != "short" {
		t.Error(Clip("x" + long))
	}
}
