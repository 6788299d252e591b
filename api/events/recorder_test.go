package events

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/wait"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// A subscriber gets the events of its device, with caller, called and state.
func TestCall(t *testing.T) {
	w := newWorld(t, "")
	s := w.subscribe(Wish{Devices: []string{"101"}})
	if e := s.next(); e.Type != Ready || !slices.Equal(e.Devices, []string{"101"}) || e.Waiting != nil {
		t.Fatalf("%+v", e)
	}
	call := w.call("100", "101").CallID
	w.answer(call, "101")
	w.clear(call, "100")
	all := s.until("connectionCleared", "")
	all = append(all, s.until("connectionCleared", "")...)
	want := []string{
		"delivered 101 100 101 alerting", "established 101 100 101 connected", "connectionCleared 101 100 101 connected", "connectionCleared 101 100 101 null",
	}
	if got := lines(all); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	for i, e := range all {
		if e.Link != "switch" || e.Call != call || e.Cause == "" || !strings.HasPrefix(string(e.CSTA), `{"`) || e.Time.IsZero() || i > 0 && e.Seq != all[i-1].Seq+1 {
			t.Errorf("%+v", e)
		}
	}
}

// The caller stays who calls, through transfers.
func TestTransfer(t *testing.T) {
	w := newWorld(t, "")
	s := w.subscribe(Wish{Devices: []string{"100", "101", "102"}})
	first := w.call("100", "101").CallID
	w.answer(first, "101")
	var consulted uacsta.ConsultationCallResponse
	if err := w.ask(uacsta.ConsultationCall{ExistingCall: uacsta.Conn(first, "101"), ConsultedDevice: uacsta.Dev("102")}).Decode(&consulted); err != nil {
		t.Fatal(err)
	}
	second := consulted.InitiatedCall.CallID
	w.answer(second, "102")
	w.ask(uacsta.TransferCall{HeldCall: uacsta.Conn(first, "101"), ActiveCall: uacsta.Conn(second, "101")})
	all := s.until("transfered", "102")
	calls, ok := w.recorder.CallsOf(t.Context(), "102")
	if !ok || len(calls) != 1 || calls[0].Caller != "100" || calls[0].Called != "102" || calls[0].State != "connected" || len(calls[0].Parties) != 2 {
		t.Fatalf("%+v", calls)
	}
	w.clear(calls[0].Call, "100")
	for !slices.ContainsFunc(all, func(e seen) bool { return e.line() == "connectionCleared 102 100 102 null" }) {
		all = append(all, s.next())
	}
	for _, want := range []string{
		"delivered 102 101 102 alerting", "established 102 101 102 connected", "transfered 102 100 102 connected", "transfered 101 100 101 null", "transfered 100 100 101 connected",
		"connectionCleared 102 100 102 connected",
	} {
		if got := lines(all); !slices.Contains(got, want) {
			t.Errorf("%q is not in %q", want, got)
		}
	}
}

// A subscriber that stops and resumes again and again gets what one gets that stays.
func TestResume(t *testing.T) {
	w := newWorld(t, "")
	stays := w.subscribe(Wish{Patterns: []string{"*"}})
	stays.until(Ready, "")
	leaves := w.subscribe(Wish{Devices: []string{"100", "101", "102", "103"}})
	leaves.until(Ready, "")
	random := rand.New(rand.NewPCG(1, 2))
	var whole, pieces []seen
	kills := 0
	read := func(most int) {
		for range most {
			events, err := leaves.Next(1 + random.IntN(3))
			if err != nil {
				t.Fatal(err)
			}
			leaves.got = append(leaves.got, events...)
			for len(leaves.got) > 0 {
				pieces = append(pieces, leaves.next())
			}
		}
		if random.IntN(2) == 0 && len(pieces) > 0 {
			after := pieces[len(pieces)-1].Seq
			leaves.Close()
			leaves = w.subscribe(Wish{Devices: []string{"100", "101", "102", "103"}, After: &after, Snapshot: true})
			if e := leaves.next(); e.Type != Ready {
				t.Fatalf("%+v", e)
			}
			kills++
		}
	}
	for n := range 100 {
		from, to := fmt.Sprint(100+n%2), fmt.Sprint(102+n%2)
		call := w.call(from, to).CallID
		read(random.IntN(3))
		if n%3 > 0 {
			w.answer(call, to)
			read(random.IntN(3))
		}
		w.clear(call, from)
		read(random.IntN(3))
	}
	last := w.call("104", "100").CallID
	w.clear(last, "104")
	for len(whole) == 0 || whole[len(whole)-1].line() != "connectionCleared 100 104 100 null" {
		whole = append(whole, stays.next())
	}
	for len(pieces) == 0 || pieces[len(pieces)-1].line() != "connectionCleared 100 104 100 null" {
		pieces = append(pieces, leaves.next())
	}
	of := func(all []seen) (seqs []uint64) {
		for _, e := range all {
			if e.Device != "104" && e.Device != "900" && e.Seq <= pieces[len(pieces)-1].Seq && e.Type != Snapshot {
				seqs = append(seqs, e.Seq)
			}
		}
		return seqs
	}
	if a, b := of(whole), of(pieces); !slices.Equal(a, b) || len(a) < 500 || kills < 50 {
		t.Errorf("%d events, %d in pieces, %d times stopped", len(a), len(b), kills)
	}
}

// A snapshot and the events after it have no hole between them, whatever happens meanwhile.
func TestSnapshot(t *testing.T) {
	w := newWorld(t, "")
	first := w.call("100", "101").CallID
	w.answer(first, "101")
	s := w.subscribe(Wish{Devices: []string{"101"}, Snapshot: true})
	all := s.until(Snapshot, "101")
	if got := all[len(all)-1]; len(got.Calls) != 1 || got.Calls[0].State != "connected" || got.Calls[0].Caller != "100" || got.Calls[0].Called != "101" || got.Calls[0].Call != first {
		t.Fatalf("%+v", got)
	}
	var group sync.WaitGroup
	stop := make(chan struct{})
	group.Go(func() {
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			default:
				call := w.call("103", "102").CallID
				if n%2 == 0 {
					w.answer(call, "102")
				}
				w.clear(call, "103")
			}
		}
	})
	defer group.Wait()
	defer close(stop)
	for range 50 {
		s := w.subscribe(Wish{Devices: []string{"102"}, Snapshot: true})
		var states = map[string]string{}
		for range 8 {
			e := s.next()
			for _, c := range e.Calls {
				states[c.Call] = c.State
			}
			if e.Call == "" {
				continue
			}
			before := states[e.Call]
			switch states[e.Call] = e.State; {
			case before == e.State && e.Type != "connectionCleared", before == "" && e.Type != "delivered", e.Type == "delivered" && before != "":
				t.Fatalf("%s: the call was %q", e.line(), before)
			}
			if e.State == "null" {
				delete(states, e.Call)
			}
		}
		s.Close()
	}
}

// A subscriber asks for types and links.
func TestFilter(t *testing.T) {
	w := newWorld(t, "")
	s := w.subscribe(Wish{Devices: []string{"100", "101"}, Types: []string{"delivered"}, Link: "switch"})
	none := w.subscribe(Wish{Devices: []string{"100", "101"}, Link: "other"})
	s.until(Ready, "")
	none.until(Ready, "")
	call := w.call("100", "101").CallID
	w.clear(call, "100")
	if got := lines([]seen{s.next(), s.next()}); !slices.Equal(got, []string{"delivered 100 100 101 connected", "delivered 101 100 101 alerting"}) {
		t.Errorf("%q", got)
	}
	if events, err := none.Next(10); len(events) > 0 || err != nil {
		t.Errorf("%v %v", events, err)
	}
}

// A subscriber gets numbers as it writes them.
func TestSpelling(t *testing.T) {
	w := newWorld(t, "")
	call := w.call("100", "101").CallID
	s := w.subscribe(Wish{Devices: []string{"101"}, Spelled: map[string]string{"101": "tel:101", "100": "N<100>"}, Snapshot: true})
	if e := s.next(); !slices.Equal(e.Devices, []string{"tel:101"}) {
		t.Errorf("%+v", e)
	}
	if e := s.next(); e.Device != "tel:101" || e.Calls[0].Caller != "N<100>" || e.Calls[0].Parties[0].Number != "tel:101" {
		t.Errorf("%+v", e)
	}
	w.answer(call, "101")
	if e := s.next(); e.line() != "established tel:101 N<100> tel:101 connected" || !strings.Contains(string(e.CSTA), `"deviceIdentifier":"tel:101"`) || strings.Contains(string(e.CSTA), `"101"`) || e.ID != strconv.FormatUint(e.Seq, 10) {
		t.Errorf("%+v %s", e, e.CSTA)
	}
}

// What happens while the recorder is not running is a gap, and snapshots say what is then. It goes on by itself with
// what it watched before.
func TestRestart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events.db")
	w := newWorld(t, path)
	s := w.subscribe(Wish{Devices: []string{"101"}})
	s.until(Ready, "")
	first := w.call("100", "101").CallID
	last := s.until("delivered", "101")[0].Seq
	w.stop()
	if _, err := s.Next(1); !errors.Is(err, ErrClosed) {
		t.Errorf("%v", err)
	}
	s.Close()
	w.clear(first, "100")
	second := w.call("102", "101").CallID
	w.start(path)
	wait.For(t, "101 is watched", func() bool { _, ok := w.recorder.CallsOf(t.Context(), "101"); return ok })
	s = w.subscribe(Wish{Devices: []string{"101"}, After: &last})
	w.answer(second, "101")
	all := s.until("established", "101")
	if got := lines(all); !slices.Equal(got, []string{"ready", "gap", "snapshot 101", "established 101 102 101 connected"}) {
		t.Errorf("%q", got)
	}
	if snapshot := all[2]; len(snapshot.Calls) != 1 || snapshot.Calls[0].Caller != "102" {
		t.Errorf("%+v", snapshot)
	}
}

// When a link comes back, subscribers learn that, and events go on.
func TestLink(t *testing.T) {
	w := newWorld(t, "")
	s := w.subscribe(Wish{Devices: []string{"101"}})
	s.until(Ready, "")
	w.call("100", "101")
	s.until("delivered", "101")
	back := w.link.down()
	if e := s.next(); e.Type != LinkDown || e.Link != "switch" || e.Reason != "" || e.Time.IsZero() { // why, is not for clients
		t.Errorf("%+v", e)
	}
	back()
	if e := s.next(); e.Type != LinkUp || e.Link != "switch" {
		t.Errorf("%+v", e)
	}
	if e := s.next(); e.line() != "connectionCleared 101 100 101 null" { // the call ended with the link
		t.Errorf("%q", e.line())
	}
	w.answer(w.call("102", "101").CallID, "101")
	if got := lines(s.until("established", "101")); !slices.Equal(got, []string{"delivered 101 102 101 alerting", "established 101 102 101 connected"}) {
		t.Errorf("%q", got)
	}
}

// A subscriber that does not keep up ends, and says so itself.
func TestSlow(t *testing.T) {
	w := newWorld(t, "")
	s := w.subscribe(Wish{Devices: []string{"101"}})
	s.until(Ready, "")
	if events, err := s.Next(1); len(events) > 0 || err != nil {
		t.Fatal(events, err)
	}
	for range maxWaiting/3 + 1 {
		call := w.call("100", "101").CallID
		w.clear(call, "100")
	}
	wait.For(t, "the subscriber is too slow", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.slow
	})
	if _, err := s.Next(1); !errors.Is(err, ErrSlow) {
		t.Error(err)
	}
	var sign seen
	if err := json.Unmarshal(s.Slow().Data, &sign); err != nil || sign.Type != Slow || sign.Reason == "" {
		t.Errorf("%+v", sign)
	}
}

// A position that is gone is told as a gap with its bounds, and then comes a snapshot.
func TestGone(t *testing.T) {
	w := newWorld(t, "")
	call := w.call("100", "101").CallID
	one := uint64(1)
	s := w.subscribe(Wish{Devices: []string{"101"}, After: &one, Snapshot: true})
	all := s.until(Snapshot, "101")
	if got := lines(all); !slices.Equal(got, []string{"gap", "ready", "snapshot 101"}) || all[0].From != "2" || all[0].To == "" || all[2].Calls[0].Call != call {
		t.Errorf("%+v", all)
	}
}

// A device that nobody wants is let go after a time.
func TestExpiry(t *testing.T) {
	w := newWorld(t, "")
	s := w.subscribe(Wish{Devices: []string{"101"}})
	s.until(Ready, "")
	s.Close()
	expire := func(age time.Duration) {
		if err := w.recorder.do(t.Context(), func() { w.recorder.cfg.Age = age; w.recorder.expire() }); err != nil {
			t.Fatal(err)
		}
	}
	expire(time.Hour)
	if n := w.proxy.Status().Monitors; n != 1 {
		t.Errorf("%d monitors", n)
	}
	expire(0)
	wait.For(t, "the monitor stops", func() bool { return w.proxy.Status().Monitors == 0 && w.recorder.Status() == Status{} })
}

// The core may close the recorder's session: it opens another, and tells that something may be missing.
func TestReopen(t *testing.T) {
	w := newWorld(t, "")
	s := w.subscribe(Wish{Devices: []string{"101"}})
	s.until(Ready, "")
	if err := w.recorder.do(t.Context(), func() { ear{w.recorder, w.recorder.epoch}.Closed(proxy.ErrSlow) }); err != nil {
		t.Fatal(err)
	}
	all := s.until(Snapshot, "101")
	if got := lines(all); !slices.Equal(got, []string{"gap", "snapshot 101"}) {
		t.Errorf("%q", got)
	}
	call := w.call("100", "101").CallID
	s.until("delivered", "101")
	w.clear(call, "100")
	if n := w.proxy.Status().Sessions; n != 2 {
		t.Errorf("%d sessions", n)
	}
}

// A monitor that is refused is tried again, and its subscriber knows that it waits.
func TestRefused(t *testing.T) {
	w := newWorld(t, "")
	back := w.link.down()
	wait.For(t, "the link is down", func() bool { return !w.proxy.Status().Links[0].Up })
	s := w.subscribe(Wish{Devices: []string{"101"}})
	if e := s.next(); e.Type != Ready || !slices.Equal(e.Waiting, []string{"101"}) {
		t.Errorf("%+v", e)
	}
	back()
	s.until(Snapshot, "101")
	call := w.call("100", "101").CallID
	s.until("delivered", "101")
	w.clear(call, "100")
}
