package api

import (
	"bytes"
	"container/list"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/tr87proxy/tr87proxy/proxy"
)

// A client that has not got the response of a request repeats it with the same Idempotency-Key, and gets the response of
// the first one: no call is placed twice.

// Limits of the responses that are kept.
const (
	keepFor   = 24 * time.Hour
	keepMost  = 20000 // of all identities
	keepShare = 1000  // of one identity; the oldest goes

	keepOctets  = 64 << 20 // of all responses
	shareOctets = 4 << 20  // of those of one identity; the oldest goes
)

type key struct{ who, key string }

// kept is a request with a key, and its response once it has one.
type kept struct {
	key    key
	place  *list.Element
	sum    [32]byte // of the method, the path and the body
	at     time.Time
	done   bool
	status int
	header http.Header
	body   []byte
}

type keys struct {
	mu     sync.Mutex
	table  map[key]*kept
	order  list.List // of *kept, the oldest first
	count  map[string]*portion
	octets int
}

// portion is what is kept for one identity.
type portion struct{ requests, octets int }

func newKeys() *keys { return &keys{table: map[key]*kept{}, count: map[string]*portion{}} }

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
		case errors.Is(err, os.ErrDeadlineExceeded):
			fail(w, lateBody)
			return
		case err != nil:
			fail(w, problem(http.StatusBadRequest, "the body has not come completely"))
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		k := key{c.session.Identity().Name, names[0]}
		if c.who.reach != proxy.ReachPolicy { // the response to a client that controls is not for one that only observes
			k.who += " (observes)"
		}
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
		s.keys.keep(k, rec)
		kept = true
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
	own := t.count[k.who]
	for own != nil && own.requests >= keepShare || len(t.table) >= keepMost {
		if !t.drop(k.who, own != nil && own.requests >= keepShare) {
			p := problem(http.StatusTooManyRequests, "too many requests with an Idempotency-Key are being carried out")
			p.retry = time.Second
			return nil, false, p
		}
	}
	if t.count[k.who] == nil {
		t.count[k.who] = &portion{}
	}
	t.count[k.who].requests++
	entry = &kept{key: k, sum: sum, at: now}
	entry.place = t.order.PushBack(entry)
	t.table[k] = entry
	return nil, true, nil
}

// drop forgets the oldest response, of one identity if own. It returns false if there is none.
func (t *keys) drop(who string, own bool) bool {
	for place := t.order.Front(); place != nil; place = place.Next() {
		if e := place.Value.(*kept); e.done && (!own || e.key.who == who) {
			t.forget(e)
			return true
		}
	}
	return false
}

func (t *keys) forget(e *kept) {
	delete(t.table, e.key)
	t.order.Remove(e.place)
	t.octets -= len(e.body)
	of := t.count[e.key.who]
	of.octets -= len(e.body)
	if of.requests--; of.requests == 0 {
		delete(t.count, e.key.who)
	}
}

// expire forgets what is too old.
func (t *keys) expire(now time.Time) {
	for place := t.order.Front(); place != nil && now.Sub(place.Value.(*kept).at) >= keepFor; place = t.order.Front() {
		t.forget(place.Value.(*kept))
	}
}

// noStore is the Cache-Control of a response with a secret.
const noStore = "no-store"

// keep stores a response. One that says that nothing was tried is not kept: the request may be repeated. Nor is one with a
// secret: the request that it belongs to finds by itself that it is a repetition.
func (t *keys) keep(k key, r *recorder) {
	if r.status == http.StatusTooManyRequests || r.status == http.StatusServiceUnavailable || r.header.Get("Cache-Control") == noStore {
		t.release(k)
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if e := t.table[k]; e != nil {
		e.done, e.status, e.header, e.body = true, r.status, r.header, bytes.Clone(r.body.Bytes()) // without spare room
		of := t.count[k.who]
		t.octets += len(e.body)
		of.octets += len(e.body)
		for of.octets > shareOctets || t.octets > keepOctets {
			t.drop(k.who, of.octets > shareOctets)
		}
	}
}

func (t *keys) release(k key) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if e := t.table[k]; e != nil {
		t.forget(e)
	}
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
