package api

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/wait"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// post sends a request to the server itself, in the name of a client on this machine. headers are pairs.
func (o *office) post(ctx context.Context, path, kind, body string, headers ...string) *httptest.ResponseRecorder {
	return o.send(ctx, http.MethodPost, path, kind, body, headers...)
}

// send is post for any method.
func (o *office) send(ctx context.Context, method, path, kind, body string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequestWithContext(ctx, method, path, strings.NewReader(body))
	r.RemoteAddr, r.Host = "127.0.0.1:40000", "localhost"
	r.Header.Set("Content-Type", kind)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	o.server.ServeHTTP(w, r)
	return w
}

// callsAt are the calls of a device, as the core knows them.
func (o *office) callsAt(device string) []string {
	o.Helper()
	var list CallList
	if status, text := o.get("/v1/devices/"+device+"/calls", &list); status != http.StatusOK {
		o.Fatalf("%d %s", status, text)
	}
	var ids []string
	for _, c := range list.Calls {
		ids = append(ids, c.Call)
	}
	return ids
}

const placing = "/v1/devices/100/calls"

// Many requests with one key place one call; those that come while it is placed are told to wait.
func TestKeyPlacesOneCall(t *testing.T) {
	o := newOffice(t)
	var group sync.WaitGroup
	var placed, told atomic.Int32
	for range 40 {
		group.Go(func() {
			for {
				w := o.post(t.Context(), placing, "application/json", `{"to":"101"}`, "Idempotency-Key", "k")
				switch w.Code {
				case http.StatusConflict:
					if w.Header().Get("Retry-After") == "" {
						t.Errorf("%v %s", w.Header(), w.Body)
					}
					continue
				case http.StatusCreated:
					if w.Header().Get("Idempotency-Replayed") == "" {
						placed.Add(1)
					}
					told.Add(1)
				default:
					t.Errorf("%d %s", w.Code, w.Body)
				}
				return
			}
		})
	}
	group.Wait()
	if calls := o.callsAt("100"); placed.Load() != 1 || told.Load() != 40 || len(calls) != 1 {
		t.Errorf("placed %d, told %d, %v", placed.Load(), told.Load(), calls)
	}
	if w := o.post(t.Context(), placing, "application/json", `{"to":"102"}`, "Idempotency-Key", "k"); w.Code != http.StatusUnprocessableEntity {
		t.Errorf("another request with the key: %d %s", w.Code, w.Body)
	}
	for _, names := range [][]string{{"Idempotency-Key", ""}, {"Idempotency-Key", strings.Repeat("k", 129)}, {"Idempotency-Key", "a", "Idempotency-Key", "b"}} {
		if w := o.post(t.Context(), placing, "application/json", `{"to":"102"}`, names...); w.Code != http.StatusUnprocessableEntity {
			t.Errorf("%.40v: %d", names, w.Code)
		}
	}
	if calls := o.callsAt("100"); len(calls) != 1 {
		t.Errorf("%v", calls)
	}
}

// borrowed returns the session of a client on this machine.
func (o *office) borrowed() (*client, func()) {
	o.Helper()
	r := httptest.NewRequestWithContext(o.Context(), http.MethodGet, "/v1/devices", nil)
	r.RemoteAddr, r.Host = "127.0.0.1:40000", "localhost"
	who, err := o.server.auth.identify(r)
	if err != nil {
		o.Fatal(err)
	}
	c, giveBack, err := o.server.borrow(who, r)
	if err != nil {
		o.Fatal(err)
	}
	return c, giveBack
}

// slow is a switch that responds when the test lets it. It says nothing about devices.
type slow struct {
	requests chan func(*uacsta.Message, error)
	seen     chan *uacsta.Message
	lose     chan error
}

func (s *slow) Run(ctx context.Context, up proxy.Upcalls) error {
	up.Ready()
	select {
	case err := <-s.lose:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *slow) Request(req *uacsta.Message, reply func(*uacsta.Message, error)) {
	s.seen <- req
	s.requests <- reply
}

// slowly adds a link to such a switch, which has the device 200.
func (o *office) slowly() *slow {
	o.Helper()
	s := &slow{requests: make(chan func(*uacsta.Message, error), 100), seen: make(chan *uacsta.Message, 100), lose: make(chan error)}
	o.core.AddLink("slow", s, func(n string) bool { return n == "200" })
	if err := o.core.Await(o.Context(), "slow"); err != nil {
		o.Fatal(err)
	}
	o.rules("100", "101", "102", "200")
	return s
}

// A client that leaves before it has the response gets it when it repeats the request with its key. Without a key the
// request is given up.
func TestKeyOutlivesConnection(t *testing.T) {
	o := newOffice(t)
	s := o.slowly()
	ctx, leave := context.WithCancel(t.Context())
	first := make(chan *httptest.ResponseRecorder, 1)
	begin := func(headers ...string) {
		go func() { first <- o.post(ctx, "/v1/devices/200/calls", "application/json", `{"to":"101"}`, headers...) }()
		wait.Next(t, s.seen, "the request")
	}
	begin("Idempotency-Key", "k")
	answer := wait.Next(t, s.requests, "the request")
	leave()
	if w := o.post(t.Context(), "/v1/devices/200/calls", "application/json", `{"to":"101"}`, "Idempotency-Key", "k"); w.Code != http.StatusConflict {
		t.Errorf("while it is placed: %d %s", w.Code, w.Body)
	}
	answer(uacsta.Encode(uacsta.MakeCallResponse{CallingDevice: uacsta.Conn("a/b", "200")}, uacsta.Edition3), nil)
	w := wait.Next(t, first, "the response")
	if w.Code != http.StatusCreated || !strings.HasPrefix(w.Header().Get("Location"), "/v1/calls/") {
		t.Fatalf("%d %v %s", w.Code, w.Header(), w.Body)
	}
	again := o.post(t.Context(), "/v1/devices/200/calls", "application/json", `{"to":"101"}`, "Idempotency-Key", "k")
	if again.Code != w.Code || again.Body.String() != w.Body.String() || again.Header().Get("Location") != w.Header().Get("Location") {
		t.Errorf("%d %s", again.Code, again.Body)
	}
	ctx, leave = context.WithCancel(t.Context())
	begin()
	leave()
	if w := wait.Next(t, first, "the response"); w.Code != http.StatusServiceUnavailable {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	wait.Next(t, s.requests, "the request")(nil, uacsta.Refuse(uacsta.Operation, uacsta.ServiceNotSupported))
	if len(s.seen) > 0 {
		t.Error("a request was sent twice")
	}
}

// What a key must mean, said simply: a response by identity and key, until it is dropped.
type keyModel map[key]string

// FuzzKeys compares the table of keys with the model: a key belongs to one request of one identity; its response is what is
// repeated; a key that was freed can be used again; and no identity has more than its share, nor drops those of another.
func FuzzKeys(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 64, 65, 66, 128, 129, 200, 201, 255})
	f.Fuzz(func(t *testing.T, script []byte) {
		table := newKeys()
		model := keyModel{}
		now := time.Unix(1e9, 0)
		for i := 0; i+1 < len(script); i += 2 {
			k := key{fmt.Sprintf("who%d", script[i]&3), fmt.Sprintf("key%d", script[i]>>2&7)}
			sum := [32]byte{script[i+1] & 1}
			want, has := model[k]
			entry, first, p := table.claim(k, sum, now)
			switch {
			case !has && (!first || p != nil), has && first:
				t.Fatalf("%v: first %v, %v; the model has %q", k, first, p, want)
			case has && want[0] != '0'+sum[0]:
				if p == nil || p.Status != http.StatusUnprocessableEntity {
					t.Fatalf("%v belongs to another request: %v", k, p)
				}
			case has && (p != nil || string(entry.body) != want[1:]):
				t.Fatalf("%v: %v %q, want %q", k, p, entry.body, want)
			}
			if has {
				continue
			}
			if _, _, p := table.claim(k, sum, now); p == nil || p.Status != http.StatusConflict {
				t.Fatalf("%v while it is carried out: %v", k, p)
			}
			out := &recorder{header: http.Header{}, status: []int{200, 201, 403, 503, 429, 0}[script[i+1]>>1%6], body: *bytes.NewBuffer([]byte(fmt.Sprint(i)))}
			switch out.status {
			case 0: // a panic
				table.release(k)
			default:
				table.keep(k, out)
			}
			if out.status/100 == 2 || out.status == 403 {
				model[k] = string('0'+sum[0]) + fmt.Sprint(i)
			}
			if n := len(table.table); n != len(model) {
				t.Fatalf("%d entries, the model has %d", n, len(model))
			}
		}
		if _, _, p := table.claim(key{"late", "late"}, [32]byte{}, now.Add(keepFor)); p != nil || len(table.table) != 1 || table.order.Len() != 1 || len(table.count) != 1 {
			t.Fatalf("after a day: %v, %d entries, %d in order, %d counts", p, len(table.table), table.order.Len(), len(table.count))
		}
	})
}

// An identity has at most its share, and loses its own oldest response. It cannot drop requests that are being carried out.
func TestKeyShares(t *testing.T) {
	table := newKeys()
	now := time.Now()
	claim := func(who string, n int) *Problem {
		_, _, p := table.claim(key{who, fmt.Sprint(n)}, [32]byte{}, now)
		return p
	}
	_ = claim("other", 0)
	table.keep(key{"other", "0"}, &recorder{status: 200})
	for n := range keepShare {
		if p := claim("busy", n); p != nil {
			t.Fatal(n, p)
		}
	}
	if p := claim("busy", keepShare); p == nil || p.Status != http.StatusTooManyRequests || p.retry == 0 {
		t.Fatalf("%+v", p)
	}
	table.keep(key{"busy", "7"}, &recorder{status: 200})
	if p := claim("busy", keepShare); p != nil {
		t.Fatal(p)
	}
	if table.table[key{"busy", "7"}] != nil || table.table[key{"other", "0"}] == nil || table.count["busy"].requests != keepShare {
		t.Errorf("%+v of busy", table.count["busy"])
	}
}

// A handler that panics, or one that has not tried, frees the key.
func TestKeyFreed(t *testing.T) {
	o := newOffice(t)
	calls := 0
	handler := o.server.surviving(o.server.once(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		switch calls++; calls {
		case 1:
			panic("on purpose")
		case 2:
			fail(w, problem(http.StatusServiceUnavailable, "down"))
		default:
			w.WriteHeader(http.StatusCreated)
		}
	})))
	c, giveBack := o.borrowed()
	defer giveBack()
	for i, want := range []int{500, 503, 201, 201} {
		r := httptest.NewRequestWithContext(withClient(t.Context(), c), http.MethodPost, placing, strings.NewReader("{}"))
		r.Header.Set("Idempotency-Key", "k")
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("%d: %d %s", i, w.Code, w.Body)
		}
	}
	if calls != 3 {
		t.Errorf("%d calls", calls)
	}
}
