package proxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tr87proxy/tr87proxy/policy"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// thing is an entry under a reference of a life.
type thing struct{ over bool }

func (t *thing) ended() bool { return t.over }

// A reference belongs to one entry; another gets it only once the first is being ended. A full table
// accepts no new reference, and a closed life none at all.
func TestOwned(t *testing.T) {
	l := &life{mu: lock{rank: ofLife}}
	o := owned[*thing]{life: l}
	a, b, c := &thing{}, &thing{}, &thing{}
	for i, step := range []struct {
		ref  string
		what *thing
		most int
		want error
	}{
		{"1", a, 0, nil}, {"1", a, 0, nil}, {"1", b, 0, errReferenceUsed}, {"2", b, 2, nil}, {"3", c, 2, errTableFull}, {"2", b, 2, nil}, {"3", c, 0, nil},
	} {
		if err := o.enterOf(step.ref, step.what, step.most); !errors.Is(err, step.want) {
			t.Errorf("step %d: %v, want %v", i, err, step.want)
		}
	}
	a.over = true
	if err := o.enter("1", b); err != nil || o.of("1") != b {
		t.Errorf("the reference of what is ended: %v", err)
	}
	o.leave("1", a)
	if o.of("1") != b {
		t.Error("what has left takes away what has its reference now")
	}
	o.leave("1", b)
	if o.of("1") != nil {
		t.Error("what has left is there")
	}
	if all := o.empty(); len(all) != 2 || o.of("2") != nil {
		t.Errorf("emptied: %v", all)
	}
	l.closed = true
	if err := o.enter("1", a); !errors.Is(err, errLinkDown) || o.of("1") != nil {
		t.Errorf("in a life that is over: %v", err)
	}
}

// Each key has a limit, and so have all together; give makes room.
func TestTally(t *testing.T) {
	var c tally[string]
	for i, step := range []struct {
		who  string
		give bool
		want bool
		all  int
	}{
		{"a", false, true, 1}, {"a", false, true, 2}, {"a", false, false, 2}, {"b", false, true, 3}, {"c", false, false, 3},
		{"a", true, true, 2}, {"c", false, true, 3}, {"b", false, false, 3}, {"b", true, true, 2}, {"a", false, true, 3}, {"a", true, true, 2}, {"a", true, true, 1}, {"c", true, true, 0},
	} {
		got := true
		if step.give {
			c.give(step.who)
		} else {
			got = c.take(step.who, 2, 3)
		}
		if got != step.want || c.total() != step.all {
			t.Errorf("step %d: %v, and %d in all", i, got, c.total())
		}
	}
	if len(c.count) != 0 {
		t.Errorf("those who have nothing are kept: %v", c.count)
	}
}

// A claim can be given back in part or as a whole; one that does not fit takes nothing.
func TestBudget(t *testing.T) {
	of := &budget{most: 100}
	a, b := claim{budget: of}, claim{budget: of}
	if !a.take(60) || b.take(41) || !b.take(40) || a.take(1) {
		t.Errorf("%d of 100 are taken", of.taken.Load())
	}
	a.give(10)
	if b.take(11) || !b.take(10) {
		t.Errorf("%d of 100 are taken after ten were given back", of.taken.Load())
	}
	a.release()
	if of.taken.Load() != 50 {
		t.Errorf("%d are taken, and one has 50", of.taken.Load())
	}
	a.release() // it has nothing
	b.release()
	if of.taken.Load() != 0 {
		t.Errorf("%d are taken, and nobody has any", of.taken.Load())
	}
}

// References are numbers that a client can read, all different. A link's own have a limited length.
func TestReferences(t *testing.T) {
	r := newReferences()
	seen := map[uint32]bool{}
	for n := range uint32(4000) {
		p := r.permute(n)
		if seen[p] {
			t.Fatalf("%d comes twice", p)
		}
		seen[p] = true
	}
	texts := map[string]bool{}
	for range 500 {
		var n int
		ref := r.next()
		if _, err := fmt.Sscanf(ref, "%d", &n); err != nil || n < 1 || n >= 1<<31 || fmt.Sprint(n) != ref || texts[ref] {
			t.Fatalf("reference %q", ref)
		}
		texts[ref] = true
	}
	other, same := newReferences(), 0
	for n := range uint32(1000) {
		if other.permute(n) == r.permute(n) {
			same++
		}
	}
	if same > 1 {
		t.Errorf("two tables give %d of 1000 references alike: they can be guessed", same)
	}
	long := strings.Repeat("r", maxReference)
	if reference(long) != long || reference(long+"r") != "" || reference("") != "" {
		t.Error("references of links have no bound, or another one")
	}
}

// A refusal for want of room or because something is out of order may be retried, as may a failure;
// any other is final.
func TestWorthAnother(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want bool
	}{
		{uacsta.Refuse(uacsta.SystemResourceAvailability, uacsta.Generic), true},
		{uacsta.Refuse(uacsta.SubscribedResourceAvailability, uacsta.ObjectMonitorLimitExceeded), true},
		{fmt.Errorf("wrapped: %w", uacsta.Refuse(uacsta.SystemResourceAvailability, uacsta.ResourceOutOfService)), true},
		{errors.New("it has failed"), true},
		{uacsta.Refuse(uacsta.Operation, uacsta.InvalidDeviceID), false},
		{uacsta.Refuse(uacsta.StateIncompatibility, uacsta.InvalidConnectionState), false},
		{uacsta.Refuse(uacsta.PerformanceManagement, uacsta.PerformanceLimitExceeded), false},
		{uacsta.Refuse(uacsta.Security, uacsta.Generic), false},
		{uacsta.Refuse(uacsta.Unspecified, ""), false},
	} {
		if worthAnother(tt.err) != tt.want {
			t.Errorf("%v is worth another try: %v", tt.err, !tt.want)
		}
	}
}

// The delay after a refusal grows with their number to about thirty times the first, and ends with its
// life.
func TestPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(Config{Retry: time.Second})
		defer p.stop()
		for refusals, about := range map[int]time.Duration{0: time.Second, 1: 2 * time.Second, 3: 8 * time.Second, 4: 16 * time.Second, 5: 30 * time.Second, 9: 30 * time.Second, 100: 30 * time.Second} {
			for range 20 {
				began := time.Now()
				if !p.pause(t.Context(), refusals) {
					t.Fatal("it ends before its time")
				}
				if took := time.Since(began); took < about/2 || took > about*3/2 {
					t.Errorf("after %d refusals it takes %v", refusals, took)
				}
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		began := time.Now()
		time.AfterFunc(time.Second, cancel)
		if p.pause(ctx, 100) || time.Since(began) != time.Second {
			t.Errorf("it goes on for %v after its life", time.Since(began))
		}
	})
}

// Zero limits take the documented defaults.
func TestDefaults(t *testing.T) {
	p := New(Config{})
	defer p.stop()
	c := p.cfg
	for what, got := range map[string]bool{
		"sessions": c.MaxSessions == 20000 && c.MaxIdentity == 2000 && c.MaxMonitors == 500 && c.MaxWatches == 20000,
		"rates":    c.MaxRequests == policy.Rate{Count: 5000, Per: time.Second} && c.MaxCalls == policy.Rate{Count: 3000, Per: time.Minute},
		"requests": c.MaxOutstanding == 64 && c.MaxAtLink == 256 && c.Turn == 5*time.Second && c.Pace == 1000,
		"queues":   c.QueueLength == 1024 && c.QueueOctets == 4<<20 && c.QueuesOctets == 256<<20,
		"times":    c.Linger == 0 && c.Heartbeat == time.Minute && c.BackOff == 500*time.Millisecond && c.Retry == time.Second,
		"logins":   c.Sessions == ApplicationSessions{Duration: time.Hour, MaxDuration: 24 * time.Hour, Max: 2000, MaxAccount: 500, Tries: 5, LoginTime: 30 * time.Second},
		"a log":    c.Log != nil,
	} {
		if !got {
			t.Errorf("%s: %+v", what, c)
		}
	}
	set := Config{
		BackOff: 13, MaxAtLink: 14, Turn: 15, Pace: 16, Retry: 17, Log: slog.New(slog.DiscardHandler), Limits: Limits{
			MaxSessions: 1, MaxIdentity: 2, MaxRequests: policy.Rate{Count: 3, Per: time.Hour}, MaxWatches: 4, MaxCalls: policy.Rate{Count: 5, Per: time.Hour}, MaxMonitors: 6, MaxOutstanding: 7, QueueLength: 8, QueueOctets: 9,
			QueuesOctets: 10, Linger: 11, Heartbeat: 12, Sessions: ApplicationSessions{Duration: 18, MaxDuration: 19, Max: 20, MaxAccount: 21, Tries: 22, LoginTime: 23},
		},
	}
	other := New(set)
	defer other.stop()
	if !reflect.DeepEqual(other.cfg, set) {
		t.Errorf("%+v is made of %+v", other.cfg, set)
	}
}
