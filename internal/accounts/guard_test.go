package accounts

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/share"
)

// somewhere is one of many addresses, each of a peer of its own.
func somewhere(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
}

// The log says how to end a lock, and the command is safe to paste: a name that a shell could read
// as something else is not in it.
func TestLockRemedy(t *testing.T) {
	for name, want := range map[string]string{
		"102": "tr87proxy unlock 102 --from 192.0.2.1", "sip.a-b@c": "tr87proxy unlock sip.a-b@c --from 192.0.2.1",
		"a;reboot": "tr87proxy unlock --from 192.0.2.1", "--all": "tr87proxy unlock --from 192.0.2.1", "": "tr87proxy unlock --from 192.0.2.1",
	} {
		var out bytes.Buffer
		var told []Lock
		g := NewGuard(GuardConfig{After: 1, Log: slog.New(slog.NewTextHandler(&out, nil)), Locked: func(l Lock) { told = append(told, l) }})
		g.Failed(name, here)
		g.Failed(name, here)
		if !strings.Contains(out.String(), `unlock="`+want+`"`) {
			t.Errorf("%q: %s", name, out.String())
		}
		if len(told) != 1 || told[0].Name != name || told[0].Address != "192.0.2.1" {
			t.Errorf("%q: %v", name, told)
		}
	}
}

// A lock is for one name from one peer, and ends; the pause before the answer grows.
func TestLock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		g := NewGuard(GuardConfig{Of: "accounts", Log: slog.New(slog.NewTextHandler(&out, nil))})
		v6 := netip.MustParseAddr("2001:db8::1")
		var pauses []time.Duration
		for range 5 {
			if err := g.Admit("crm", here); err != nil {
				t.Error("locked too early:", err)
			}
			pauses = append(pauses, g.Failed("CRM", here))
			g.Failed("crm", v6)
		}
		if got := fmt.Sprint(pauses); got != "[500ms 1s 2s 4s 8s]" {
			t.Error(got)
		}
		for _, c := range []struct {
			name string
			from netip.Addr
			want error
		}{
			{"crm", here, ErrLocked}, {"Crm", here, ErrLocked}, {"crm", somewhere(1), nil}, {"bob", here, nil},
			{"crm", netip.MustParseAddr("2001:db8::ffff:1"), ErrLocked}, {"crm", netip.MustParseAddr("2001:db8:0:1::1"), nil},
		} {
			if err := g.Admit(c.name, c.from); !errors.Is(err, c.want) {
				t.Errorf("%s from %v: %v, not %v", c.name, c.from, err, c.want)
			}
		}
		if n := strings.Count(out.String(), "name locked at an address"); n != 2 || !strings.Contains(out.String(), "of=accounts name=crm address=192.0.2.1 ") || !strings.Contains(out.String(), "address=2001:db8::/64 ") {
			t.Error(out.String())
		}
		time.Sleep(5*time.Minute + time.Second)
		if err := g.Admit("crm", here); err != nil {
			t.Error("locked for ever:", err)
		}
		if pause := g.Failed("crm", here); pause != 500*time.Millisecond || g.Admit("crm", here) != nil {
			t.Error("old wrong passwords count:", pause)
		}
		if g.Wrong() != 11 {
			t.Error(g.Wrong(), "wrong passwords")
		}
	})
}

// A lock lasts as long as is said after the last wrong password, and a wrong password counts as long
// with the next ones; neither is longer or shorter.
func TestLapse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGuard(GuardConfig{After: 2, For: time.Minute, Pause: time.Second})
		g.Failed("crm", here)
		time.Sleep(time.Minute - 1)
		if pause := g.Failed("crm", here); pause != 2*time.Second || !errors.Is(g.Admit("crm", here), ErrLocked) {
			t.Error("a wrong password is forgotten too early:", pause)
		}
		if locks := g.Locks(); len(locks) != 1 || locks[0].Wrong != 2 || time.Until(locks[0].Until) != time.Minute {
			t.Errorf("%+v", locks)
		}
		time.Sleep(time.Minute - 1)
		locked := (*LockedError)(nil)
		if err := g.Admit("crm", here); !errors.Is(err, ErrLocked) || !errors.As(err, &locked) || time.Until(locked.Until) != 1 || len(g.Locks()) != 1 {
			t.Error("the lock ends too early:", err)
		}
		time.Sleep(time.Nanosecond)
		if err := g.Admit("crm", here); err != nil || len(g.Locks()) != 0 {
			t.Error("the lock does not end:", err)
		}
		g.Failed("crm", here)
		time.Sleep(time.Minute)
		if pause := g.Failed("crm", here); pause != time.Second || g.Admit("crm", here) != nil {
			t.Error("an old wrong password counts:", pause)
		}
		g.Succeeded("crm", here)
		if pause := g.Failed("crm", here); pause != time.Second {
			t.Error("the right password does not make up for a wrong one:", pause)
		}
	})
}

// The pause does not grow for ever, and what is not said takes a default.
func TestPauseIsBounded(t *testing.T) {
	g := NewGuard(GuardConfig{Of: "telephones", After: 100, Pause: 3 * time.Second})
	for _, want := range []time.Duration{3 * time.Second, 6 * time.Second, maxPause, maxPause} {
		if pause := g.Failed("crm", here); pause != want {
			t.Error(pause, "instead of", want)
		}
	}
	for range 80 {
		if pause := g.Failed("crm", here); pause != maxPause {
			t.Fatal(pause)
		}
	}
	g = NewGuard(GuardConfig{After: 100, Pause: time.Nanosecond})
	for range 11 {
		g.Failed("crm", here)
	}
	if pause := g.Failed("crm", here); pause != 1024*time.Nanosecond {
		t.Error(pause)
	}
	g = NewGuard(GuardConfig{After: -1, For: -1, Pause: -1})
	if g.cfg.After != 5 || g.cfg.For != 5*time.Minute || g.cfg.Pause != 500*time.Millisecond || g.Of() != "" || g.Wrong() != 0 {
		t.Errorf("%+v", g.cfg)
	}
	if of := NewGuard(GuardConfig{Of: "telephones"}).Of(); of != "telephones" {
		t.Error(of)
	}
}

// A name is known where it proved its password lately: the peers that it came from last.
func TestKnows(t *testing.T) {
	g := NewGuard(GuardConfig{})
	if g.Knows("crm", here) {
		t.Error("known before it came")
	}
	for i := range maxGood {
		g.Succeeded("CRM", somewhere(i))
	}
	g.Succeeded("crm", somewhere(0)) // again: it is the latest
	g.Succeeded("crm", here)
	for i := range maxGood + 1 {
		if got := g.Knows("Crm", somewhere(i)); got != (i != 1 && i < maxGood) {
			t.Errorf("known at %v: %v", somewhere(i), got)
		}
	}
	g.Succeeded("crm", here)
	if !g.Knows("crm", here) || !g.Knows("crm", somewhere(2)) || g.Knows("bob", here) {
		t.Error("who comes again pushes others out, or another name is known")
	}
	long := strings.Repeat("x", maxName)
	g.Succeeded(long, here)
	if !g.Knows(long, here) || g.Knows(long[1:], here) {
		t.Error("a long name is another")
	}
}

// Who tries many names, or one name from everywhere, meets a rate; those who are known do not,
// and neither do others elsewhere.
func TestGuardRates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGuard(GuardConfig{})
		g.Succeeded("crm", here)
		g.Succeeded("boss", here)
		for i := range 100 {
			if err := g.Admit(fmt.Sprint(i), here); err != nil {
				t.Fatal(i, err)
			}
			g.Failed(fmt.Sprint(i), here)
		}
		if err := g.Admit("new", here); !errors.Is(err, ErrBusy) || err.Error() != "too many wrong passwords from this address" {
			t.Error("an address that tries many names:", err)
		}
		if g.Admit("crm", here) != nil || g.Admit("new", somewhere(0)) != nil {
			t.Error("who is known, or elsewhere, is shut out")
		}
		time.Sleep(time.Second)
		if err := g.Admit("new", here); err != nil {
			t.Error("not even once in a second:", err)
		}
		for i := range 300 {
			g.Failed("boss", somewhere(i))
		}
		if err := g.Admit("boss", somewhere(1000)); !errors.Is(err, ErrBusy) || err.Error() != "too many wrong passwords for this name" {
			t.Error("a name tried from many addresses:", err)
		}
		if g.Admit("boss", here) != nil || g.Admit("crm", somewhere(1000)) != nil {
			t.Error("who is known, or another name, is shut out")
		}
		for i := range maxGood { // what proves itself from very many addresses costs itself only
			g.Succeeded("boss", somewhere(i))
		}
		if err := g.Admit("boss", here); !errors.Is(err, ErrBusy) || len(g.good["boss"]) != maxGood {
			t.Error("all addresses are remembered:", err, len(g.good["boss"]))
		}
	})
}

// Who comes with very many names pushes out its own.
func TestGuardIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGuard(GuardConfig{})
		for range 5 {
			g.Failed("crm", here)
		}
		for peer := range 60 {
			for i := range peerGuesses + 10 {
				g.Failed(fmt.Sprint(i), somewhere(peer))
			}
			g.Failed(strings.Repeat("x", 1<<16), somewhere(peer))
		}
		if len(g.wrongs) > maxGuesses {
			t.Error("unbounded:", len(g.wrongs))
		}
		for key := range g.wrongs {
			if len(key.name) > maxName {
				t.Fatal("a name of", len(key.name), "octets is kept")
			}
		}
		if err := g.Admit("crm", here); !errors.Is(err, ErrLocked) {
			t.Error("another's names pushed a lock out:", err)
		}
		time.Sleep(time.Hour)
		if n := len(g.Locks()); n != 0 || len(g.wrongs) != 0 {
			t.Error(n, "locks for ever;", len(g.wrongs), "guesses")
		}
		if all, _ := g.table.Counts(); all != 0 {
			t.Error(all, "places are taken")
		}
	})
}

func TestUnlock(t *testing.T) {
	g := NewGuard(GuardConfig{Of: "telephones"})
	peers := []netip.Addr{here, somewhere(1), netip.MustParseAddr("2001:db8::1")}
	lock := func() {
		for _, name := range []string{"100", "Bob"} {
			for _, from := range peers {
				for range 5 {
					g.Failed(name, from)
				}
			}
		}
		g.Failed("once", here)
	}
	shown := func(list []Lock) string {
		var all []string
		for _, l := range list {
			if l.Of != "telephones" || l.Wrong < 5 || time.Until(l.Until) <= 0 {
				t.Errorf("%+v", l)
			}
			all = append(all, l.Name+"@"+l.Address)
		}
		return strings.Join(all, " ")
	}
	const (
		phone = "100@10.0.0.1 100@192.0.2.1 100@2001:db8::/64"
		bob   = "bob@10.0.0.1 bob@192.0.2.1 bob@2001:db8::/64"
	)
	for _, c := range []struct {
		name           string
		from           netip.Prefix
		unlocked, left string
	}{
		{"", netip.Prefix{}, phone + " " + bob, ""},
		{"BOB", netip.Prefix{}, bob, phone},
		{"100", netip.MustParsePrefix("10.0.0.1/32"), "100@10.0.0.1", "100@192.0.2.1 100@2001:db8::/64 " + bob},
		{"", netip.MustParsePrefix("2001:db8::/64"), "100@2001:db8::/64 bob@2001:db8::/64", "100@10.0.0.1 100@192.0.2.1 bob@10.0.0.1 bob@192.0.2.1"},
		{"nobody", netip.Prefix{}, "", phone + " " + bob},
		{"once", netip.Prefix{}, "", phone + " " + bob},
	} {
		g.Unlock("", netip.Prefix{})
		lock()
		if got := shown(g.Unlock(c.name, c.from)); got != c.unlocked {
			t.Errorf("%s at %v: unlocked %s", c.name, c.from, got)
		}
		if got := shown(g.Locks()); got != c.left {
			t.Errorf("%s at %v: left %s", c.name, c.from, got)
		}
	}
	if pause := g.Failed("once", here); pause != 500*time.Millisecond {
		t.Error("what locked nothing yet is not forgotten:", pause)
	}
}

// waiters wait for turns, and note what becomes of them.
type waiters struct {
	turns turns
	group sync.WaitGroup

	mu          sync.Mutex
	served      []netip.Addr
	busy, ended int
}

func (w *waiters) take(ctx context.Context, from netip.Addr, known bool) {
	w.group.Go(func() {
		err := w.turns.take(ctx, from, known)
		w.mu.Lock()
		defer w.mu.Unlock()
		switch {
		case errors.Is(err, ErrBusy):
			w.busy++
		case err != nil:
			w.ended++
		default:
			w.served = append(w.served, from)
		}
	})
	synctest.Wait()
}

// serve gives so many turns back, and returns who had them.
func (w *waiters) serve(n int) string {
	w.mu.Lock()
	w.served = nil
	w.mu.Unlock()
	for range n {
		w.turns.give()
		synctest.Wait()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return fmt.Sprint(w.served)
}

// crowd runs a test while the only turn is taken. Nothing may be left of it.
func crowd(t *testing.T, test func(ctx context.Context, w *waiters)) {
	synctest.Test(t, func(t *testing.T) {
		w := &waiters{turns: turns{free: 1}}
		ctx, cancel := context.WithCancel(t.Context())
		w.take(ctx, here, false)
		test(ctx, w)
		cancel()
		w.group.Wait()
		w.turns.give()
		if w.turns.free != 1 || w.ended == 0 {
			t.Error(w.turns.free, "turns are free;", w.ended, "gave up")
		}
		for _, l := range []*line{&w.turns.known, &w.turns.other} {
			if l.waiting != 0 || len(l.queues) != 0 || len(l.order) != 0 {
				t.Errorf("left: %+v", l)
			}
		}
	})
}

// A right password from elsewhere is checked while a peer has all its own waiting, and before
// most of them.
func TestTurns(t *testing.T) {
	crowd(t, func(ctx context.Context, w *waiters) {
		for range peerWaiting + 3 {
			w.take(ctx, here, false)
		}
		w.take(ctx, somewhere(0), false)
		w.take(ctx, somewhere(0), false)
		if got := w.serve(4); w.busy != 3 || got != "[192.0.2.1 10.0.0.0 192.0.2.1 10.0.0.0]" {
			t.Error(got, w.busy)
		}
		for i := range maxWaiting { // full: the longest queue gives way
			w.take(ctx, somewhere(1+i), false)
		}
		if left := w.turns.other.length(share.Of(here)); w.turns.other.waiting != maxWaiting || left > 1 || w.busy != 3+peerWaiting-2 {
			t.Error(w.turns.other.waiting, left, w.busy)
		}
	})
}

// Where everybody has one waiting, somebody gives way to one who comes, but not to a second of a peer.
func TestNewcomersHaveTurns(t *testing.T) {
	crowd(t, func(ctx context.Context, w *waiters) {
		for i := range maxWaiting {
			w.take(ctx, somewhere(i), false)
		}
		w.take(ctx, here, false)
		w.take(ctx, here, false)
		if w.turns.other.waiting != maxWaiting || w.turns.other.length(share.Of(here)) != 1 || w.busy != 2 {
			t.Error(w.turns.other.waiting, w.turns.other.length(share.Of(here)), w.busy)
		}
	})
}

// Who has proved a password before goes first, in the place of a stranger where there is no other.
func TestKnownNamesGoFirst(t *testing.T) {
	crowd(t, func(ctx context.Context, w *waiters) {
		for i := range maxWaiting {
			w.take(ctx, somewhere(i), false)
		}
		w.take(ctx, here, true)
		w.take(ctx, somewhere(maxWaiting), false)
		if got := w.serve(1); got != "[192.0.2.1]" || w.busy != 2 {
			t.Error(got, w.busy)
		}
	})
}

// A name that has logged in before is known when it comes with another password, as one has that was
// changed, at that peer only.
func TestChangedPasswordGoesFirst(t *testing.T) {
	path := filepath.Join(t.TempDir(), "accounts")
	add(t, path, "crm", "right", "")
	synctest.Test(t, func(t *testing.T) {
		k := keeper(t, path, GuardConfig{})
		if _, err := k.Check(t.Context(), "", "crm", "right", here); err != nil {
			t.Fatal(err)
		}
		k.turns.free = 0
		var group sync.WaitGroup
		for _, from := range []netip.Addr{here, somewhere(0)} {
			group.Go(func() { _, _ = k.Check(t.Context(), "", "CRM", "new", from) })
		}
		synctest.Wait()
		if k.turns.known.length(share.Of(here)) != 1 || k.turns.other.length(share.Of(somewhere(0))) != 1 {
			t.Error(k.turns.known.waiting, k.turns.other.waiting)
		}
		k.turns.give()
		group.Wait()
	})
}

// Passwords that wait to be checked when a name is locked are not looked at.
func TestLockedWhileWaiting(t *testing.T) {
	path := filepath.Join(t.TempDir(), "accounts")
	add(t, path, "crm", "right", "")
	synctest.Test(t, func(t *testing.T) {
		k := keeper(t, path, GuardConfig{After: 3})
		login, err := k.Check(t.Context(), "", "crm", "right", here)
		if err != nil {
			t.Fatal(err)
		}
		k.turns.free = 0
		var waited error
		var group sync.WaitGroup
		group.Go(func() { _, waited = k.Check(t.Context(), "", "crm", "another", here) })
		synctest.Wait()
		if again, err := k.Check(t.Context(), "", "crm", "right", here); err != nil || again != login {
			t.Error("what was right lately waits:", err)
		}
		for range 3 {
			k.guard.Failed("crm", here)
		}
		k.turns.give()
		group.Wait()
		if !errors.Is(waited, ErrLocked) || k.turns.free != 1 {
			t.Error(waited, k.turns.free)
		}
	})
}
