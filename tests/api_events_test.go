package tests

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// interfaced is a running tr87proxy whose front api listens.
type interfaced struct {
	*running
	address string
	rest    *http.Client
}

func serveAPI(t *testing.T) *interfaced {
	t.Helper()
	i := &interfaced{address: fmt.Sprintf("127.0.0.1:%d", freePort(t)), rest: &http.Client{Timeout: patience}}
	i.running = serve(t, fmt.Sprintf("%sapi:\n  listen:\n  - {transport: tcp, address: %q}\n  events: {file: %s}\nlimits: {calls-per-minute: 100000}\n",
		everybody, i.address, filepath.Join(t.TempDir(), "events.db")))
	return i
}

// killed is how the program ends without notice, and begins again.
func (i *interfaced) killed() {
	i.t.Helper()
	_ = i.cmd.Process.Kill()
	if err := i.wait(patience); err == nil {
		i.t.Fatal("the program was not killed")
	}
	i.process = start(i.t, program(i.t), "serve", "-c", filepath.Join(i.dir, "config.yaml"))
	waitFor(i.t, "readiness", func() bool { return i.get("/readyz") == "ready\n" })
}

// watched waits until the events of all devices are recorded.
func (i *interfaced) watched() {
	i.t.Helper()
	var devices []string
	for n := range 400 {
		devices = append(devices, fmt.Sprint(1000+n), fmt.Sprint(2000+n))
	}
	i.watch(devices...)
}

// watch waits until the events of devices are recorded.
func (i *interfaced) watch(devices ...string) {
	i.t.Helper()
	waitFor(i.t, "all devices are watched", func() bool {
		s, err := i.subscriber("?devices=" + strings.Join(devices, ","))
		if err != nil {
			return false
		}
		defer s.close()
		e, err := s.next()
		return err == nil && e.Type == "ready" && len(e.Waiting) == 0
	})
}

// post sends a request, and returns the status and the call that the response names.
func (i *interfaced) post(path, body string) (status int, call string) {
	req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, "http://"+i.address+path, strings.NewReader(body))
	if err != nil {
		return 0, ""
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := i.rest.Do(req)
	if err != nil {
		return 0, ""
	}
	defer res.Body.Close()
	data, _ := io.ReadAll(res.Body)
	var made struct{ Call string }
	_ = json.Unmarshal(data, &made)
	return res.StatusCode, made.Call
}

// told is an event as tests look at it.
type told struct {
	ID, Type, Device, Call, Caller, State string
	Seq                                   uint64
	Waiting                               []string
}

// subscriber is a client of events whose transport connection can be cut.
type subscriber struct {
	nc   net.Conn
	conn *websocket.Conn
}

func (i *interfaced) subscriber(query string) (*subscriber, error) {
	s := &subscriber{}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		var err error
		s.nc, err = (&net.Dialer{}).DialContext(ctx, network, address)
		return s.nc, err
	}}}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var err error
	if s.conn, _, err = websocket.Dial(ctx, "ws://"+i.address+"/v1/events"+query, &websocket.DialOptions{HTTPClient: client}); err != nil {
		return nil, err
	}
	s.conn.SetReadLimit(1 << 20)
	return s, nil
}

func (s *subscriber) next() (e told, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_, data, err := s.conn.Read(ctx)
	if err == nil {
		err = json.Unmarshal(data, &e)
	}
	return e, err
}

func (s *subscriber) close() {
	_ = s.nc.Close()
	_ = s.conn.CloseNow()
}

// A client that is killed and resumes again and again during many calls misses nothing and gets nothing twice, although
// the proxy is killed in between, too. The sequence has no hole.
func TestEventsThroughKills(t *testing.T) {
	long(t)
	calls, kills := 600, 30
	if *exhaustive {
		calls, kills = 10_000, 500
	}
	i := serveAPI(t)
	var before told
	first, err := i.subscriber("?devices=*")
	if err == nil {
		before, err = first.next()
	}
	if err != nil || before.Type != "ready" {
		t.Fatal(err, before)
	}
	first.close()
	i.watched()

	var made sync.Map // calls that were made and ended, by callID: in which life of the proxy, and their place among all
	var done, life atomic.Int64
	var group sync.WaitGroup
	work := make(chan int)
	for range 4 {
		group.Go(func() {
			for n := range work {
				from, to := 1000+n%400, 2000+n%400
				now := life.Load()
				status, call := i.post(fmt.Sprintf("/v1/devices/%d/calls", from), fmt.Sprintf(`{"to":"%d"}`, to))
				if status == http.StatusCreated {
					if status, _ = i.post(fmt.Sprintf("/v1/devices/%d/calls/%s/clear", from, call), ""); status == http.StatusOK {
						made.Store(call, ended{now, done.Load()})
					}
				}
				done.Add(1)
			}
		})
	}
	group.Go(func() {
		defer close(work)
		for n := range calls {
			if n == calls/3 || n == 2*calls/3 {
				waitFor(t, "calls", func() bool { return int(done.Load()) >= n-4 })
				life.Add(1)
				i.killed()
				i.watched()
			}
			work <- n
		}
	})

	random := rand.New(rand.NewPCG(3, 4))
	var got []told
	last := before.ID
	resumed := 0
	for finished := false; !finished; {
		s, err := i.subscriber("?devices=*&after=" + last)
		if err != nil { // the proxy is down
			time.Sleep(10 * time.Millisecond)
			continue
		}
		resumed++
		most := max(1, random.IntN(1+2*calls*6/kills))
		for range most {
			e, err := s.next()
			if err != nil {
				break
			}
			switch e.Type {
			case "ready":
				continue
			case "heartbeat":
				finished = int(done.Load()) == calls // nothing else comes
			default:
				got = append(got, e)
			}
			last = e.ID
			if finished {
				break
			}
		}
		s.close()
		if int(done.Load()) == calls && resumed > kills {
			finished = finished || i.caughtUp(last)
		}
	}
	group.Wait()
	if resumed < kills {
		t.Errorf("the client resumed %d times", resumed)
	}
	i.checkSequence(before.Seq, got, &made)
}

// caughtUp reports whether nothing follows an event for a while.
func (i *interfaced) caughtUp(after string) bool {
	s, err := i.subscriber("?devices=*&after=" + after)
	if err != nil {
		return false
	}
	defer s.close()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	for {
		_, data, err := s.conn.Read(ctx)
		if err != nil {
			return ctx.Err() != nil
		}
		if !bytes.Contains(data, []byte(`"type":"ready"`)) {
			return false
		}
	}
}

// ended is a call that has ended.
type ended struct{ life, place int64 }

// onTheWay is how many calls may end while the events of one are on their way to the log.
const onTheWay = 8

// checkSequence checks that the events follow one another without a hole, and that each call is whole: of each life of the
// proxy, those before the last one that is in the log.
func (i *interfaced) checkSequence(at uint64, got []told, made *sync.Map) {
	i.t.Helper()
	delivered, cleared := map[string]int{}, map[string]int{}
	gaps := 0
	for _, e := range got {
		if e.Seq != at+1 {
			i.t.Fatalf("event %d follows %d", e.Seq, at)
		}
		at = e.Seq
		switch {
		case e.Type == "gap":
			gaps++
		case e.Type == "delivered" && strings.HasPrefix(e.Device, "2"):
			delivered[e.Call]++
		case e.Type == "connectionCleared" && strings.HasPrefix(e.Device, "2") && e.State == "null":
			cleared[e.Call]++
		}
	}
	count, missing, latest := 0, []string{}, map[int64]int64{}
	made.Range(func(call, e any) bool {
		if e := e.(ended); cleared[call.(string)] > 0 {
			latest[e.life] = max(latest[e.life], e.place)
		}
		return true
	})
	made.Range(func(call, e any) bool {
		if e := e.(ended); e.place > latest[e.life]-onTheWay && e.life < 2 {
			return true // the kill may have overtaken its events
		}
		count++
		if delivered[call.(string)] != 1 || cleared[call.(string)] != 1 {
			missing = append(missing, fmt.Sprintf("%s: %d delivered, %d cleared", call, delivered[call.(string)], cleared[call.(string)]))
		}
		return true
	})
	slices.Sort(missing)
	if len(missing) > 0 || count == 0 || gaps != 2 {
		i.t.Errorf("%d calls, %d gaps; not whole: %d, such as %q", count, gaps, len(missing), missing[:min(5, len(missing))])
	}
	i.t.Logf("%d events of %d calls", len(got), count)
}
