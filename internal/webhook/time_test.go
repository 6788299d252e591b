package webhook

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/eventlog"
)

// fake returns a sender with a log in memory whose hook crm sends to a function, for tests with false time. respond
// returns a status, plus 1000 times the seconds of Retry-After.
func fake(t *testing.T, respond func(got) int) *bench { return fakeAged(t, 0, respond) }

// fakeAged is fake with a log that keeps events for a time.
func fakeAged(t *testing.T, age time.Duration, respond func(got) int) *bench {
	b := aged(t, "", age)
	b.clients[false].Transport = transport(func(r *http.Request) int {
		b.mu.Lock()
		defer b.mu.Unlock()
		return respond(read(r))
	})
	if err := b.Set([]Hook{{Name: "crm", URL: "https://crm.example/"}}); err != nil {
		t.Fatal(err)
	}
	return b
}

// change changes what the receiver of a test does.
func (b *bench) change(what func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	what()
}

// settle waits until nothing moves but time.
func settle(wait time.Duration) {
	time.Sleep(wait)
	synctest.Wait()
}

// A receiver that is down gets ever fewer requests, however many devices have events. When it is back it gets all of
// them at once, in order of each device.
func TestDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		down, tries := true, 0
		seen := map[string][]int{}
		b := fake(t, func(g got) int {
			if down {
				tries++
				return http.StatusBadGateway
			}
			seen[g.device] = append(seen[g.device], g.n)
			return http.StatusOK
		})
		for range 3 {
			for n := range 100 {
				b.add(fmt.Sprint(100 + n))
			}
		}
		settle(time.Hour)
		b.change(func() {
			if tries < 10 || tries > 60 {
				t.Errorf("%d requests in an hour", tries)
			}
			tries = 0
		})
		settle(20 * time.Hour)
		b.change(func() {
			if tries < 100 || tries > 300 {
				t.Errorf("%d requests in 20 hours", tries)
			}
		})
		if s := b.status("crm"); s.Waiting != 300 || s.Dead > 0 || !strings.HasPrefix(s.Failure, "502 Bad Gateway") {
			t.Errorf("%+v", s)
		}
		b.change(func() { down = false })
		settle(longPause + time.Second)
		if len(seen) != 100 {
			t.Errorf("%d devices", len(seen))
		}
		for device, numbers := range seen {
			if !slices.Equal(numbers, []int{1, 2, 3}) {
				t.Errorf("%s: %v", device, numbers)
			}
		}
		if d := b.find("", "crm"); len(d.rows)+len(d.due)+len(d.failing) > 0 {
			t.Errorf("%d rows stay", len(d.rows))
		}
		b.stop()
		_ = b.events.Close()
	})
}

// When a receiver is down for too long, each event that has waited so long is a dead letter, and no other.
func TestExpired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		down := true
		seen := map[string][]int{}
		b := fake(t, func(g got) int {
			if down {
				return http.StatusBadGateway
			}
			seen[g.device] = append(seen[g.device], g.n)
			return http.StatusOK
		})
		for range 2 {
			for n := range 100 {
				b.add(fmt.Sprint(n))
			}
		}
		settle(time.Hour)
		for n := range 100 {
			b.add(fmt.Sprint(n))
		}
		settle(patience - time.Hour + 2*looks)
		b.change(func() { down = false })
		settle(longPause)
		letters, err := b.Dead("", "crm", true)
		if len(letters) != 200 || err != nil || !strings.HasPrefix(letters[199].Reason, "502") {
			t.Error(len(letters), err)
		}
		if s := b.status("crm"); s.Delivered != 100 || s.Dead != 200 || s.Lost+s.Waiting > 0 || len(seen) != 100 || !slices.Equal(seen["7"], []int{3}) {
			t.Errorf("%+v, %v", s, seen["7"])
		}
		b.stop()
		_ = b.events.Close()
	})
}

// After a day an event is a dead letter, and the next one has its turn.
func TestDay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		status := http.StatusInternalServerError
		var seen []int
		b := fake(t, func(g got) int {
			if status == http.StatusOK {
				seen = append(seen, g.n)
			}
			return status
		})
		b.add("100")
		settle(patience - time.Hour)
		b.add("100")
		if letters, err := b.Dead("", "crm", true); len(letters) > 0 || err != nil || b.status("crm").Letters != 0 {
			t.Error(letters, err)
		}
		settle(time.Hour + looks)
		letters, err := b.Dead("", "crm", true)
		if len(letters) != 1 || err != nil || letters[0].Device != "100" || letters[0].Type != "delivered" || letters[0].Attempts < 50 || !strings.HasPrefix(letters[0].Reason, "500 Internal Server Error") {
			t.Fatal(letters, err)
		}
		if age := letters[0].Died.Sub(letters[0].Time); age < patience || age > patience+looks {
			t.Error(age)
		}
		if err := b.Replay(t.Context(), "", "crm", letters[0].ID); err == nil || !strings.HasPrefix(err.Error(), "500") {
			t.Error(err)
		}
		b.change(func() { status = http.StatusOK })
		settle(longPause)
		b.change(func() {
			if !slices.Equal(seen, []int{2}) {
				t.Error(seen)
			}
		})
		if err := b.Replay(t.Context(), "", "crm", letters[0].ID); err != nil || !slices.Equal(seen, []int{2, 1}) {
			t.Error(err, seen)
		}
		for _, id := range []string{letters[0].ID, "", "x"} {
			if err := b.Replay(t.Context(), "", "crm", id); err != ErrNone { //nolint:errorlint // exactly this
				t.Error(err)
			}
		}
		if s := b.status("crm"); s.Dead != 1 || s.Delivered != 2 || s.Waiting > 0 || s.Failure != "" {
			t.Errorf("%+v", s)
		}
		b.stop()
		_ = b.events.Close()
	})
}

// An event that a receiver does not take while it takes others is a dead letter soon; at once if it refuses what the
// event says. What waits behind it is delivered then.
func TestPoison(t *testing.T) {
	for status, tries := range map[int]int{http.StatusInternalServerError: triesOthers, http.StatusNotFound: triesOthers, http.StatusUnprocessableEntity: triesBad} {
		synctest.Test(t, func(t *testing.T) {
			tried, seen := 0, 0
			b := fake(t, func(g got) int {
				if g.device == "100" && g.n == 1 {
					tried++
					return status
				}
				if g.device == "100" {
					seen++
				}
				return http.StatusOK
			})
			b.add("100")
			b.add("100")
			for range 60 {
				settle(time.Minute)
				b.add("200")
			}
			settle(time.Minute)
			if s := b.status("crm"); tried != tries || seen != 1 || s.Dead != 1 || s.Delivered != 61 || s.Retried != int64(tries-1) || s.Failed != int64(tries) {
				t.Errorf("%d: %d attempts, %d events behind, %+v", status, tried, seen, s)
			}
			b.stop()
			_ = b.events.Close()
		})
	}
}

// Retry-After pauses the hook, for all its devices.
func TestRetryAfter(t *testing.T) {
	for _, status := range []int{http.StatusTooManyRequests, http.StatusServiceUnavailable} {
		synctest.Test(t, func(t *testing.T) {
			var at []time.Duration
			begun := time.Now()
			b := fake(t, func(got) int {
				if at = append(at, time.Since(begun)); len(at) == 1 {
					return 1800*1000 + status
				}
				return http.StatusOK
			})
			b.add("100")
			settle(time.Second)
			b.add("101")
			settle(29 * time.Minute)
			b.change(func() {
				if len(at) != 1 {
					t.Error(at)
				}
			})
			settle(time.Minute)
			b.change(func() {
				if len(at) != 3 || at[1] < 30*time.Minute {
					t.Error(at)
				}
			})
			b.stop()
			_ = b.events.Close()
		})
	}
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for text, want := range map[string]time.Duration{
		"": 0, "x": 0, "-5": 0, "120": 2 * time.Minute, "Fri, 02 Jan 2026 03:05:05 GMT": time.Minute, "Fri, 02 Jan 2026 03:03:05 GMT": 0, "99999999": mostPause, "99999999999999": 0,
	} {
		if got := retryAfter(text, now); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}

// While more events wait than a hook holds it reads no further, and loses nothing.
func TestWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		down, last := true, map[string]int{}
		b := fake(t, func(g got) int {
			if down {
				return http.StatusBadGateway
			}
			if g.n != last[g.device]+1 {
				t.Errorf("event %d behind %d", g.n, last[g.device])
			}
			last[g.device] = g.n
			return http.StatusOK
		})
		for n := range mostWaiting + 2000 {
			b.add(fmt.Sprint(n % 10))
		}
		settle(time.Minute)
		if s := b.status("crm"); s.Waiting < mostWaiting || s.Waiting >= mostWaiting+readAtOnce {
			t.Errorf("%d events wait", s.Waiting)
		}
		b.change(func() { down = false })
		settle(longPause)
		if s := b.status("crm"); s.Delivered != mostWaiting+2000 || s.Waiting > 0 {
			t.Errorf("%+v", s)
		}
		b.stop()
		_ = b.events.Close()
	})
}

// A hook keeps a limited number of dead letters, and drops the oldest.
func TestLetters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fake(t, func(got) int { return http.StatusUnprocessableEntity })
		first := b.add("0")
		for n := range mostLetters + 9 {
			b.add(fmt.Sprint(n + 1))
		}
		settle(10 * time.Minute)
		letters, err := b.Dead("", "crm", true)
		if len(letters) != mostLetters || err != nil || letters[0].ID != fmt.Sprint(first+10) {
			t.Fatal(len(letters), err)
		}
		if s := b.status("crm"); s.Dead != mostLetters+10 || s.Lost != 10 {
			t.Errorf("%+v", s)
		}
		if err := b.Drop("", "crm", letters[5].ID); err != nil {
			t.Error(err)
		}
		if err := b.Drop("", "crm", letters[5].ID); err != ErrNone { //nolint:errorlint // exactly this
			t.Error(err)
		}
		b.append("x", "delivered", fmt.Sprintf(`{"x":%q}`, strings.Repeat("x", 900_000)))
		b.append("y", "delivered", fmt.Sprintf(`{"x":%q}`, strings.Repeat("x", 900_000)))
		settle(10 * time.Minute)
		if letters, err = b.Dead("", "crm", true); b.status("crm").Letters != len(letters) || len(letters) < 900 || len(letters) > 990 || letters[len(letters)-1].Device != "y" || err != nil {
			t.Fatal(len(letters), err)
		}
		if err := b.Set(nil); err != nil {
			t.Fatal(err)
		}
		if _, err := b.Dead("", "crm", true); err != ErrNone { //nolint:errorlint // exactly this
			t.Error(err)
		}
		left := 0
		if err := b.events.List(dead+id("", "crm"), func(string, []byte) bool { left++; return true }); left > 0 || err != nil {
			t.Errorf("%d letters stay, %v", left, err)
		}
		b.stop()
		_ = b.events.Close()
	})
}

// An event that has left the log before its turn is lost, and counted.
func TestLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		down := true
		var seen []int
		b := fakeAged(t, time.Hour, func(g got) int {
			if down {
				return http.StatusBadGateway
			}
			seen = append(seen, g.n)
			return http.StatusOK
		})
		b.add("100") // fails, and is remembered
		b.add("100")
		settle(2 * time.Hour)
		b.add("100")
		b.change(func() { down = false })
		settle(longPause)
		if !slices.Equal(seen, []int{1, 3}) {
			t.Error(seen)
		}
		if s := b.status("crm"); s.Delivered != 2 || s.Dead > 0 || s.Lost != 1 || s.Waiting > 0 || !strings.Contains(b.said.String(), "webhook missed events: they had left the event log") {
			t.Errorf("%+v", s)
		}
		b.stop()
		_ = b.events.Close()
	})
}

// A panic ends a delivery for a while only.
func TestPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var seen []int
		b := fake(t, func(g got) int {
			seen = append(seen, g.n)
			return http.StatusOK
		})
		defects := 0
		b.rights.Observe = func(string, eventlog.Entry) bool { // nothing reads it before Add
			if defects++; defects == 1 {
				panic("test")
			}
			return true
		}
		if _, err := b.Add(Hook{Name: "own", URL: "https://crm.example/", Owner: "alice"}); err != nil {
			t.Fatal(err)
		}
		if err := b.Set(nil); err != nil {
			t.Fatal(err)
		}
		b.add("100")
		b.add("100")
		settle(time.Hour)
		if !slices.Equal(seen, []int{1, 2}) || !strings.Contains(b.said.String(), "panic") {
			t.Error(seen, b.said.String())
		}
		b.stop()
		_ = b.events.Close()
	})
}

// A dead letter that the receiver takes shows that it is not down: what waits goes out at once, not at the next attempt.
func TestReplayWakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		status := http.StatusInternalServerError
		b := fake(t, func(got) int { return status })
		for range 2 * rowsDown {
			b.add(strconv.Itoa(100 + 2*b.next["all"]))
			b.next["all"]++
		}
		settle(patience - time.Hour)
		b.add("100")
		settle(time.Hour + looks)
		letters, err := b.Dead("", "crm", true)
		if len(letters) != 2*rowsDown || err != nil {
			t.Fatal(letters, err)
		}
		settle(longPause)
		b.change(func() { status = http.StatusOK })
		if s := b.status("crm"); s.Waiting != 1 || s.Failure == "" {
			t.Fatalf("%+v", s)
		}
		if err := b.Replay(t.Context(), "", "crm", letters[0].ID); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if s := b.status("crm"); s.Waiting > 0 || s.Failure != "" || s.Delivered != 2 {
			t.Errorf("%+v", s)
		}
		b.stop()
		_ = b.events.Close()
	})
}
