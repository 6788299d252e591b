package softswitch

import (
	"fmt"
	"testing"
	"time"
)

// Old callIDs are forgotten after a while, and the oldest when there are too many.
func TestFormerCallIDs(t *testing.T) {
	var f former
	now := time.Now()
	for i := range 2 * maxFormer {
		f.add(fmt.Sprint(i), "into", now)
	}
	if len(f.order) != maxFormer || len(f.into) != maxFormer {
		t.Errorf("%d %d callIDs", len(f.order), len(f.into))
	}
	if _, known := f.into[fmt.Sprint(maxFormer-1)]; known {
		t.Error("the oldest are still known")
	}
	f.add("last", "into", now.Add(formerTime))
	if len(f.order) != 1 || len(f.into) != 1 {
		t.Errorf("%d %d callIDs after their time", len(f.order), len(f.into))
	}
}
