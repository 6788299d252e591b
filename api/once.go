package api

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"
)

// A client that has not got the response of a request repeats it with the same Idempotency-Key, and gets the response of
// the first one: no call is placed twice.

// Limits of the responses that are kept.
const (
	keepFor   = 24 * time.Hour
	keepMost  = 20000 // of all identities
	keepShare = 1000  // of one identity; the oldest goes
)

type key struct{ who, key string }

// kept is a request with a key, and its response once it has one.
type kept struct {
	sum    [32]byte // of the method, the path and the body
	at     time.Time
	done   bool
	status int
	header http.Header
	body   []byte
}

type keys struct {
	mu    sync.Mutex
	table map[key]*kept
	order []key // the oldest first; it can name keys that have gone
	count map[string]int
}

// once serves requests with an Idempotency-Key once.
func (s *Server) once(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, names := clientOf(r.Context()), r.Header["Idempotency-Key"]
		if len(names) == 0 || c == nil || r.Method != http.MethodPost {
			next.ServeHTTP(w, r)
			return
		}
		if len(names) > 1 || names[0] == "" || len(names[0]) > 128 {
			fail(w, problem(http.StatusUnprocessableEntity, "a request has one Idempotency-Key, of 1 to 128 characters"))
			return
		}
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTime)) // a WebSocket has none
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
		var large *http.MaxBytesError
		switch {
		case errors.As(err, &large):
			fail(w, problem(http.StatusRequestEntityTooLarge, "the body has more than %d octets", maxBody))
			return
		case err != nil:
			fail(w, problem(http.StatusBadRequest, "the body has not come completely"))
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		k := key{c.session.Identity().Name, names[0]}
		sum := sha256.Sum256(append([]byte(r.Method+" "+r.URL.String()+"\n"), body...))
		entry, first, p := s.keys.claim(k, sum, time.Now())
		switch {
		case p != nil:
			fail(w, p)
			return
		case !first:
			w.Header().Set("Idempotency-Replayed", "true")
			entry.write(w)
			return
		}
		rec := &recorder{header: http.Header{}, status: http.StatusOK}
		kept := false
		defer func() {
			if !kept { // a panic
				s.keys.release(k)
			}
		}()
		// The request goes on when its client leaves: a client that has lost its connection repeats it, and a second request
		// must not place a second call.
		ctx, cancel := context.WithCancel(context.WithoutCancel(r.Context()))
		defer cancel()
		defer context.AfterFunc(s.events.ctx, cancel)()
		next.ServeHTTP(rec, r.WithContext(ctx))
		kept = s.keys.keep(k, rec)
		rec.write(w)
	})
}

// claim enters a key, or returns the entry of a request before that has its response.
func (t *keys) claim(k key, sum [32]byte, now time.Time) (entry *kept, first bool, p *Problem) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.expire(now)
	if before := t.table[k]; before != nil {
		switch {
		case before.sum != sum:
			return nil, false, problem(http.StatusUnprocessableEntity, "this Idempotency-Key belongs to another request: choose a new one for each request")
		case !before.done:
			p := problem(http.StatusConflict, "the request with this Idempotency-Key is still being carried out")
			p.retry = time.Second
			return nil, false, p
		}
		return before, false, nil
	}
	if t.count == nil {
		t.count = map[string]int{}
	}
	for t.count[k.who] >= keepShare || len(t.table) >= keepMost {
		if !t.drop(k.who, t.count[k.who] >= keepShare) {
			p := problem(http.StatusTooManyRequests, "too many requests with an Idempotency-Key are being carried out")
			p.retry = time.Second
			return nil, false, p
		}
	}
	t.table[k] = &kept{sum: sum, at: now}
	t.count[k.who]++
	t.order = append(t.order, k)
	return nil, true, nil
}

// drop forgets the oldest response, of one identity if own. It returns false if there is none.
func (t *keys) drop(who string, own bool) bool {
	for _, k := range t.order {
		if e := t.table[k]; e != nil && e.done && (!own || k.who == who) {
			t.forget(k)
			return true
		}
	}
	return false
}

func (t *keys) forget(k key) {
	if t.table[k] == nil {
		return
	}
	delete(t.table, k)
	if t.count[k.who]--; t.count[k.who] == 0 {
		delete(t.count, k.who)
	}
}

// expire forgets what is too old, and what the order names in vain.
func (t *keys) expire(now time.Time) {
	for len(t.order) > 0 {
		e := t.table[t.order[0]]
		if e != nil && now.Sub(e.at) < keepFor {
			break
		}
		t.forget(t.order[0])
		t.order = t.order[1:]
	}
}

// keep stores a response. One that says that nothing was tried is not kept: the request may be repeated.
func (t *keys) keep(k key, r *recorder) bool {
	if r.status == http.StatusTooManyRequests || r.status == http.StatusServiceUnavailable {
		t.release(k)
		return true
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if e := t.table[k]; e != nil {
		e.done, e.status, e.header, e.body = true, r.status, r.header, r.body.Bytes()
	}
	return true
}

func (t *keys) release(k key) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.forget(k)
}

func (e *kept) write(w http.ResponseWriter) {
	(&recorder{header: e.header, status: e.status, body: *bytes.NewBuffer(e.body)}).write(w)
}

// recorder is a response in memory.
type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (r *recorder) Header() http.Header         { return r.header }
func (r *recorder) WriteHeader(status int)      { r.status = status }
func (r *recorder) Write(p []byte) (int, error) { return r.body.Write(p) }

func (r *recorder) write(w http.ResponseWriter) {
	for name, values := range r.header {
		w.Header()[name] = values
	}
	w.WriteHeader(r.status)
	_, _ = w.Write(r.body.Bytes()) // the client may have left
}
