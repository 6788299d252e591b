package api

import (
	"errors"
	"net/http"
	"time"

	record "github.com/tr87proxy/tr87proxy/api/events"
	"github.com/tr87proxy/tr87proxy/internal/kind"
)

// Times of streams.
const (
	beatInterval  = 30 * time.Second // between two heartbeats, when nothing else is sent
	writeTime     = 10 * time.Second // that a client may take for one message
	validInterval = 5 * time.Second  // between two looks at the client's credentials
)

// serveEvents serves a stream of events as Server-Sent Events.
func (s *Server) serveEvents(w http.ResponseWriter, r *http.Request) {
	c := clientOf(r.Context())
	in, err := subscriptionOf(r.URL.Query(), r.Header.Get("Last-Event-ID"))
	var want record.Wish
	if err == nil {
		want, err = c.wish(in)
	}
	if err != nil {
		fail(w, explained(err))
		return
	}
	woken := make(chan struct{}, 1)
	want.Wake = func() {
		select {
		case woken <- struct{}{}:
		default:
		}
	}
	sub, err := s.events.recorder.Subscribe(r.Context(), want)
	if err != nil {
		fail(w, streaming(err))
		return
	}
	defer sub.Close()
	out := http.NewResponseController(w)
	_ = out.SetReadDeadline(time.Time{}) // the request has been read; its connection stays open
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Accel-Buffering", "no") // some proxies keep the stream back otherwise
	write := func(data []byte) bool {
		_ = out.SetWriteDeadline(time.Now().Add(writeTime))
		if _, err := w.Write(data); err != nil { //nolint:gosec // it is no page
			return false
		}
		return out.Flush() == nil
	}
	if !write([]byte("retry: 2000\n\n")) {
		return
	}
	end := func(why error) { write(appendLine(nil, sub.End(why.Error()))) }
	leaving := kind.Leaving(r.Context())
	valid, beat := time.NewTicker(validInterval), time.NewTimer(beatInterval)
	defer valid.Stop()
	defer beat.Stop()
	var lines []byte
	for looked := time.Now(); ; {
		if time.Since(looked) >= validInterval { // also of a client that is never done with what there is
			looked = time.Now()
			if why := c.lapsed(); why != nil {
				end(why)
				return
			}
		}
		events, err := sub.Next(eventsAtOnce)
		switch {
		case errors.Is(err, record.ErrSlow):
			write(appendLine(nil, sub.Slow()))
			return
		case err != nil:
			end(errStopping)
			return
		}
		if len(events) > 0 {
			lines = lines[:0]
			for _, e := range events {
				lines = appendLine(lines, e)
			}
			if !write(lines) {
				return
			}
			beat.Reset(beatInterval)
			continue
		}
		select {
		case <-woken:
		case <-beat.C:
			if !write(appendLine(nil, sub.Heartbeat())) {
				return
			}
			beat.Reset(beatInterval)
		case <-c.gone:
			end(c.over())
			return
		case <-valid.C: // look again
		case <-leaving:
			end(errStopping)
			return
		case <-r.Context().Done():
			return
		}
	}
}

// eventsAtOnce is how many events are taken from a stream at a time.
const eventsAtOnce = 32
