package softswitch

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tr87proxy/tr87proxy/uacsta"
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

// A device alone does not stand for a connection that clients do not know: that of a call on its way to the telephone.
func TestUnknownConnectionIsNotMeant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorldOf(t, Config{Extensions: []Extension{{Number: "100"}, {Number: "101", Real: true}, {Number: "102"}}}, "101")
		w.sw.InService("101", true, true)
		w.must(w.makeCall("100", "101"))
		w.answers("101")
		w.must(w.makeCall("102", "101"))
		w.events()
		w.must(uacsta.ClearConnection{ConnectionToBeCleared: uacsta.Conn("", "101")})
		w.expect("the call that clients know ends", "answer", "101: ConnectionCleared X101 null normalClearing")
		w.finish()
	})
}
