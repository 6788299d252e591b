package digest

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

var (
	thisPeer  = netip.MustParseAddr("192.0.2.1")
	otherPeer = netip.MustParseAddr("192.0.2.2")
)

// A nonce works once for each count, for some minutes, and not from another address.
func TestNonces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := New("example", "SHA-256")
		first, second := d.nonces.next(), d.nonces.next()
		for i, step := range []struct {
			user  string
			nonce int64
			count int
			taken bool
		}{
			{"alice", second, 1, true}, {"alice", first, 1, true}, {"alice", first, 1, false}, {"alice", first, 3, true}, {"alice", first, 2, false},
			{"alice", second, 1, false}, {"alice", second, 0, false}, {"alice", d.nonces.next(), 0, false}, {"bob", first, 1, true}, // it has another password
		} {
			if taken := d.nonces.use(step.user, thisPeer, step.nonce, step.count); taken != step.taken {
				t.Errorf("step %d: %v", i, taken)
			}
		}
		nonce := d.nonce(first, "192.0.2.1")
		if stamp, given := d.given(nonce, "192.0.2.1"); !given || stamp != first {
			t.Error("not given:", nonce)
		}
		for name, wrong := range map[string]string{"another's": d.nonce(first, "192.0.2.2"), "made up": "5f.00", "none": "", "changed": "1" + nonce, "longer": nonce + "0"} {
			if _, given := d.given(wrong, "192.0.2.1"); given {
				t.Errorf("a nonce that is %s works", name)
			}
		}
		time.Sleep(nonceLife + time.Second)
		if _, given := d.given(nonce, "192.0.2.1"); given {
			t.Error("an old nonce works")
		}
		d.nonces.use("carol", thisPeer, d.nonces.next(), 1)
		if len(d.nonces.users) != 1 {
			t.Error("what is too old is kept:", len(d.nonces.users))
		}
	})
}

// A user with very many nonces, or from very many addresses, makes only its own nonces stale.
func TestNoncesOfOthers(t *testing.T) {
	n := newNonces()
	one, other := n.next(), n.next()
	if !n.use("alice", otherPeer, one, 1) || !n.use("bob", thisPeer, other, 1) {
		t.Fatal("not taken")
	}
	mine := n.next()
	for range 100 * peerNonces {
		if !n.use("alice", thisPeer, n.next(), 1) {
			t.Fatal("a new nonce is stale")
		}
	}
	if n.use("alice", thisPeer, mine, 1) {
		t.Error("a nonce is taken of which nobody knows whether it was used")
	}
	if !n.use("alice", otherPeer, one, 2) || !n.use("bob", thisPeer, other, 2) {
		t.Error("one peer makes others' nonces stale")
	}
	mine = n.next()
	for i := range 100 * userPeers {
		if !n.use("alice", netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), n.next(), 1) {
			t.Fatal("a new nonce is stale")
		}
	}
	if n.use("alice", otherPeer, one, 3) || n.use("alice", thisPeer, mine, 1) {
		t.Error("a nonce is taken of which nobody knows whether it was used")
	}
	if !n.use("bob", thisPeer, other, 3) || !n.use("alice", thisPeer, n.next(), 1) {
		t.Error("what is fresh is stale")
	}
	if peers := n.users["alice"].peers; len(peers) != userPeers || len(peers[netip.PrefixFrom(thisPeer, 32)].used) > peerNonces {
		t.Error("unbounded:", len(peers))
	}
}

// No history makes a nonce work twice for a count.
func TestNoReplay(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := newNonces()
		type use struct {
			user  string
			from  netip.Addr
			nonce int64
			count int
		}
		taken := map[use]bool{}
		var given []int64
		for range rapid.IntRange(1, 400).Draw(t, "steps") {
			if len(given) == 0 || rapid.Bool().Draw(t, "fresh") {
				given = append(given, n.next())
			}
			u := use{
				rapid.SampledFrom([]string{"alice", "bob"}).Draw(t, "user"), netip.AddrFrom4([4]byte{10, 0, 0, byte(rapid.IntRange(0, userPeers+3).Draw(t, "from"))}),
				rapid.SampledFrom(given[max(0, len(given)-2*peerNonces):]).Draw(t, "nonce"), rapid.IntRange(1, 3).Draw(t, "count"),
			}
			if n.use(u.user, u.from, u.nonce, u.count) {
				if taken[u] {
					t.Fatalf("%+v is taken twice", u)
				}
				taken[u] = true
			}
		}
	})
}
