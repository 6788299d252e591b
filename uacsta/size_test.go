package uacsta_test

import (
	"runtime"
	"strings"
	"testing"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// Size estimates the memory of a copy, for trees of few and of many elements.
func TestSize(t *testing.T) {
	for _, doc := range []string{
		`<HeldEvent><heldConnection><callID>1</callID><deviceID>100</deviceID></heldConnection></HeldEvent>`,
		`<HeldEvent><extensions><privateData><private>` + strings.Repeat("<a/>", 4000) + `</private></privateData></extensions></HeldEvent>`,
		`<HeldEvent><extensions><privateData><private>` + strings.Repeat(`<a b="c" d="e">text</a>`, 2000) + `</private></privateData></extensions></HeldEvent>`,
	} {
		m := parse(t, doc)
		const copies = 100
		kept := make([]*uacsta.Message, copies)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for n := range kept {
			kept[n] = m.Clone()
		}
		runtime.ReadMemStats(&after)
		if took := int(after.TotalAlloc-before.TotalAlloc) / copies; m.Size() < took/2 || m.Size() > 2*took {
			t.Errorf("%d octets of %.60s, in truth %d", m.Size(), doc, took)
		}
		runtime.KeepAlive(kept)
	}
}
