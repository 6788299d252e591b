package trace

import (
	"bytes"
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// names returns the names of records.
func names(a Answer) []string {
	list := make([]string, 0, len(a.Records))
	for i := range a.Records {
		list = append(list, a.Records[i].Name)
	}
	return list
}

// A filter selects whole exchanges, in the order in which their records were made.
func TestExchanges(t *testing.T) {
	tr := New(Limits{Records: 100, Octets: 1 << 20}, nil)
	tr.Aliases(func(call string) string { return map[string]string{"1001": "7"}[call] })
	call, other := tr.Exchange(), tr.Exchange()
	for _, r := range []Record{
		{Exchange: call, Name: "MakeCall", Devices: []string{"100", "101"}, Identity: "crm", Lane: Client},
		{Exchange: other, Name: "HoldCall", Devices: []string{"102"}, Identity: "desk", Lane: Client},
		{Exchange: call, Name: "MakeCall", Lane: Proxy, Kind: Decision, Allowed: true},
		{Exchange: other, Name: "HoldCall", Lane: Proxy, Kind: Decision},
		{Exchange: call, Name: "MakeCallResponse", Lane: Switch, Link: "pbx", Calls: []string{"7"}},
		{Name: "up", Kind: State, Lane: Switch, Link: "pbx"},
		{Name: "refused", Kind: State, Lane: Client, Identity: "stranger"},
		{Name: "down", Kind: State, Lane: Switch, Link: "other"},
	} {
		tr.Add(r, false, nil)
	}
	whole := []string{"MakeCall", "MakeCall", "MakeCallResponse"}
	for _, c := range []struct {
		f    Filter
		want []string
	}{
		{Filter{Device: "101"}, whole},
		{Filter{Call: "7"}, whole},
		{Filter{Call: "1001"}, whole},
		{Filter{Call: "1002"}, []string{}},
		{Filter{Identity: "crm"}, whole},
		{Filter{Name: "makecall"}, whole},
		{Filter{Link: "pbx"}, append(slices.Clone(whole), "up")},
		{Filter{Failures: true}, []string{"HoldCall", "HoldCall", "refused", "down"}},
		{Filter{Device: "101", Identity: "desk"}, []string{}},
		{Filter{Device: "10"}, []string{}},
		{Filter{Since: time.Now().Add(time.Hour)}, []string{}},
	} {
		if got := names(tr.Read(0, c.f, 100)); !slices.Equal(got, c.want) {
			t.Errorf("%+v selects %q, want %q", c.f, got, c.want)
		}
	}
	if got := tr.Read(0, Filter{}, 2); !slices.Equal(names(got), []string{"refused", "down"}) || got.Last != 8 {
		t.Errorf("the newest two records are %q, read on from %d", names(got), got.Last)
	}
	first := tr.Read(1, Filter{}, 2)
	if !slices.Equal(names(first), []string{"HoldCall", "MakeCall"}) || first.Last != 3 {
		t.Errorf("the two records after the first are %q, read on from %d", names(first), first.Last)
	}
	if rest := tr.Read(first.Last, Filter{}, 100); len(rest.Records) != 5 || rest.Lost {
		t.Errorf("then come %q, lost %t", names(rest), rest.Lost)
	}
}

// The memory is bounded by records and by octets, long messages are cut, and a reader hears that it lost records.
func TestBounds(t *testing.T) {
	tr := New(Limits{Records: 80, Octets: 1 << 20}, nil)
	for n := range 200 {
		tr.Add(Record{Name: fmt.Sprint(n)}, false, nil)
	}
	if a := tr.Read(1, Filter{}, 1000); len(a.Records) != 70 || a.Records[69].Name != "199" || !a.Lost {
		t.Errorf("%d of 200 records are kept, the last %s, lost %t", len(a.Records), a.Records[len(a.Records)-1].Name, a.Lost)
	}
	if a := tr.Read(150, Filter{}, 1000); a.Lost {
		t.Error("records that are kept are lost")
	}
	tr = New(Limits{Records: 1 << 20, Octets: 1 << 20}, nil)
	var long []byte
	for n := range 1000 {
		long = bytes.Repeat([]byte{byte(n)}, 1+n*97)
		tr.Add(Record{Name: "n", Devices: []string{"a", "b"}}, false, long)
	}
	list := tr.Read(0, Filter{}, 1000).Records
	if len(list) < 25 || len(tr.known.texts)+len(tr.strangers.texts) != 1<<20 {
		t.Errorf("%d records are kept", len(list))
	}
	for i, r := range list {
		n := 1000 - len(list) + i
		if r.Message != strings.Repeat(string([]byte{byte(n)}), min(maxMessage, 1+n*97)) || r.Cut != max(0, 1+n*97-maxMessage) || r.Name != "n" || !slices.Equal(r.Devices, []string{"a", "b"}) {
			t.Fatalf("record %d has %d octets, %d cut, name %q, devices %q", n, len(r.Message), r.Cut, r.Name, r.Devices)
		}
	}
	tr = New(Limits{Records: 16, Octets: 16}, nil) // less room than a record takes
	tr.Add(Record{Name: strings.Repeat("n", 100)}, false, long)
	if a := tr.Read(0, Filter{}, 10); len(a.Records) != 1 || len(a.Records[0].Name) > 16 {
		t.Errorf("without room: %+v", a)
	}
}

// Reading on with a filter costs what is new, not what is kept: of the records before, those of the same exchanges are read only.
func TestReadOn(t *testing.T) {
	tr := New(Limits{Records: 10000, Octets: 8 << 20}, func(r *Record) {
		r.Name = "read " + r.Name
	})
	message := bytes.Repeat([]byte("x"), 500)
	for n := range 9000 {
		tr.Add(Record{Exchange: uint64(1 + n/2), Kind: "request", Name: "old", Devices: []string{fmt.Sprint(n / 2 % 100)}}, false, message)
	}
	tr.Add(Record{Exchange: 4007, Kind: "response", Name: "late"}, false, message) // to a request about 6
	tr.Add(Record{Exchange: 5000, Kind: "request", Name: "new", Devices: []string{"1"}}, false, message)
	if got := names(tr.Read(9000, Filter{Device: "3"}, 10)); len(got) != 0 {
		t.Errorf("of another device: %q", got)
	}
	if got := names(tr.Read(9000, Filter{Device: "6"}, 10)); !slices.Equal(got, []string{"read late"}) {
		t.Errorf("of an exchange that began earlier: %q", got)
	}
	if got := names(tr.Read(9000, Filter{Device: "1"}, 10)); !slices.Equal(got, []string{"read new"}) {
		t.Errorf("new: %q", got)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	tr.Read(9000, Filter{Device: "1"}, 10)
	runtime.ReadMemStats(&after)
	if took := after.TotalAlloc - before.TotalAlloc; took > 64<<10 {
		t.Errorf("reading 2 records of 9002 took %d octets of memory", took)
	}
}

// Strangers push out one another's records only.
func TestStrangers(t *testing.T) {
	tr := New(Limits{Records: 80, Octets: 1 << 20}, nil)
	tr.Add(Record{Name: "MakeCall"}, false, nil)
	for range 10000 {
		tr.Add(Record{Name: "noise"}, true, nil)
	}
	got := names(tr.Read(0, Filter{}, 1000))
	if len(got) != 11 || got[0] != "MakeCall" {
		t.Errorf("after a flood the trace has %q", got)
	}
}

// A trace without room is off: it keeps nothing and nobody has to ask.
func TestOff(t *testing.T) {
	for _, l := range []Limits{{}, {Records: 10}, {Octets: 10}} {
		tr := New(l, nil)
		if tr != nil {
			t.Fatalf("%+v make a trace", l)
		}
		tr.Add(Record{}, false, nil)
		if a := tr.Read(0, Filter{}, 10); len(a.Records) != 0 || tr.Exchange() != 0 {
			t.Errorf("a trace that is off has %v", a)
		}
	}
}

// Readers wait for the next record, and no longer than they want.
func TestWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := New(Limits{Records: 100, Octets: 1 << 20}, nil)
		var group sync.WaitGroup
		woken := make(chan uint64, 10)
		for range 10 {
			group.Go(func() {
				tr.Wait(t.Context(), 0)
				woken <- tr.Read(0, Filter{}, 1).Last
			})
		}
		synctest.Wait()
		if len(woken) != 0 {
			t.Fatal("somebody did not wait")
		}
		tr.Add(Record{}, false, nil)
		group.Wait()
		for range 10 {
			if last := <-woken; last != 1 {
				t.Errorf("woken at record %d", last)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		start := time.Now()
		tr.Wait(ctx, 1)
		if waited := time.Since(start); waited != time.Minute {
			t.Errorf("waited for %s", waited)
		}
	})
}

// Many goroutines add and read at once: each record is there once, and numbers grow.
func TestConcurrent(t *testing.T) {
	tr := New(Limits{Records: 1 << 20, Octets: 1 << 24}, nil)
	var group sync.WaitGroup
	for n := range 8 {
		group.Go(func() {
			for range 1000 {
				tr.Add(Record{Exchange: tr.Exchange()}, n%2 == 0, nil)
			}
		})
	}
	group.Go(func() {
		for last := uint64(1); last < 8000; {
			tr.Wait(t.Context(), last)
			a := tr.Read(last, Filter{}, 100)
			for i := range a.Records {
				if a.Records[i].Number <= last {
					t.Errorf("record %d after %d", a.Records[i].Number, last)
				}
				last = a.Records[i].Number
			}
		}
	})
	group.Wait()
	seen := map[uint64]bool{}
	for _, r := range tr.Read(0, Filter{}, 1<<20).Records {
		seen[r.Exchange] = true
	}
	if len(seen) != 8000 {
		t.Errorf("%d of 8000 records", len(seen))
	}
}
