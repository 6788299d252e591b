package api

import (
	"net/http"
	"strconv"
	"testing"
	"time"
)

// What is kept of requests with an Idempotency-Key is limited, in number and in octets, whoever else uses such keys.
func TestKeysLimited(t *testing.T) {
	table := newKeys()
	now := time.Now()
	respond := func(who, name string, size int) {
		k := key{who, name}
		if _, first, p := table.claim(k, [32]byte{}, now); p != nil || !first {
			t.Fatal(who, name, first, p)
		}
		rec := &recorder{header: http.Header{}, status: http.StatusOK}
		rec.body.Write(make([]byte, size))
		table.keep(k, rec)
	}
	respond("alice", "first", 10) // the oldest of all, for a day
	for i := range 5 * keepShare {
		respond("bob", strconv.Itoa(i), 10)
	}
	if n := table.order.Len(); n != len(table.table) || n > keepShare+1 {
		t.Errorf("%d in order, %d kept", n, len(table.table))
	}
	for i := range 100 {
		respond("carol", strconv.Itoa(i), 300<<10)
	}
	if octets := table.count["carol"].octets; octets > shareOctets || table.octets > keepOctets {
		t.Errorf("%d octets of carol, %d of all", octets, table.octets)
	}
	if _, first, _ := table.claim(key{"alice", "first"}, [32]byte{}, now); first {
		t.Error("alice's has gone")
	}
	if _, first, _ := table.claim(key{"carol", "99"}, [32]byte{}, now); first {
		t.Error("the last has gone")
	}
	if _, first, _ := table.claim(key{"alice", "first"}, [32]byte{}, now.Add(keepFor)); !first || table.order.Len() != 1 || table.octets != 0 {
		t.Error("kept for too long", table.order.Len(), table.octets)
	}
}
