package api

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"

	record "github.com/tr87proxy/tr87proxy/api/events"
	"github.com/tr87proxy/tr87proxy/internal/config"
	"github.com/tr87proxy/tr87proxy/internal/eventlog"
	"github.com/tr87proxy/tr87proxy/internal/kind"
	"github.com/tr87proxy/tr87proxy/internal/share"
	"github.com/tr87proxy/tr87proxy/proxy"
)

// Events is the key events: which events are kept.
type Events struct {
	File    string        `yaml:"file"`    // "": in memory
	Entries int           `yaml:"entries"` // that are kept
	Octets  int           `yaml:"octets"`  // that they take
	Age     time.Duration `yaml:"age"`     // after which they are dropped
	Devices []string      `yaml:"devices"` // patterns of the devices whose events are always kept
}

// defaultEvents are the defaults of the key events.
var defaultEvents = Events{Entries: 100_000, Octets: 256 << 20, Age: 24 * time.Hour}

// Check reports faults.
func (e *Events) Check(s *config.Section) {
	s.Positive(map[string]int{"events.entries": e.Entries, "events.octets": e.Octets})
	s.Longer(map[string]time.Duration{"events.age": e.Age})
	s.Patterns("events.devices", e.Devices)
}

// events is the streams of events of a server: the recorder, the log, and the WebSockets.
type events struct {
	log      *slog.Logger
	kept     *eventlog.Log
	recorder *record.Recorder

	ctx   context.Context //nolint:containedctx // ends with Close
	halt  context.CancelFunc
	group sync.WaitGroup // the recorder, the pulse, and all streams

	mu      sync.Mutex
	sockets map[*socket]struct{}
	closed  bool
}

// newEvents opens the log and starts to record. Its error is a *kind.KeyError.
func newEvents(settings *Events, p *proxy.Proxy, log *slog.Logger) (*events, error) {
	limits := eventlog.Limits{Entries: settings.Entries, Octets: int64(settings.Octets), Age: settings.Age}
	if settings.File == "" {
		limits.Octets = min(limits.Octets, 32<<20)
	}
	kept, err := eventlog.Open(settings.File, limits, log)
	if err != nil {
		return nil, &kind.KeyError{Key: "events.file", Err: err}
	}
	e := &events{log: log, kept: kept, sockets: map[*socket]struct{}{}}
	e.recorder = record.New(record.Config{Proxy: p, Log: log, Events: kept, Front: name, Devices: settings.Devices, Age: settings.Age})
	e.ctx, e.halt = context.WithCancel(context.Background())
	e.group.Go(func() { e.recorder.Run(e.ctx) })
	e.group.Go(func() { e.pulse(e.ctx) })
	return e, nil
}

// stop ends all streams, closes all WebSockets and stops recording. It does not wait.
func (e *events) stop() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.closed = true
	for k := range e.sockets {
		k.close(statusGoingAway, errStopping.Error())
	}
	e.halt()
}

// Close closes the log, after stop, when all streams have ended.
func (e *events) Close() {
	e.group.Wait()
	if err := e.kept.Close(); err != nil {
		e.log.Error("could not close the event log", "err", err)
	}
}

// enter takes a WebSocket into the table and serves it. It returns false when the proxy is stopping.
func (e *events) enter(k *socket) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return false
	}
	e.sockets[k] = struct{}{}
	e.group.Go(func() {
		defer e.leave(k)
		k.run()
	})
	return true
}

// spawn serves a stream on a goroutine. It returns false when the proxy is stopping.
func (e *events) spawn(stream func()) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return false
	}
	e.group.Go(stream)
	return true
}

func (e *events) leave(k *socket) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.sockets, k)
}

// pulse looks at all WebSockets once a second.
func (e *events) pulse(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			e.mu.Lock()
			sockets := make([]*socket, 0, len(e.sockets))
			for k := range e.sockets {
				sockets = append(sockets, k)
			}
			e.mu.Unlock()
			for _, k := range sockets {
				func() {
					defer share.Survive(e.log, "the pulse of a WebSocket", nil)
					k.pulse(now)
				}()
			}
		}
	}
}

// newOutbounds returns the connections to the applications that the configuration names. The error is a *kind.KeyError.
func (s *Server) newOutbounds(list []Connection) ([]*outbound, error) {
	outbounds := make([]*outbound, 0, len(list))
	for i, c := range list {
		o, err := s.newOutbound(fmt.Sprintf("connect[%d]", i), c)
		if err != nil {
			return nil, err
		}
		outbounds = append(outbounds, o)
	}
	return outbounds, nil
}

// describeEvents registers the streams.
func (s *Server) describeEvents() {
	document, err := asyncAPI()
	if err != nil {
		panic(err) // it depends on nothing but the code
	}
	s.mux.HandleFunc("GET /asyncapi.json", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", typeJSON)
		_, _ = w.Write(document) // the client may have left
	})
	s.mux.HandleFunc("GET "+eventsPath, func(w http.ResponseWriter, r *http.Request) {
		if _, inside := w.(*recorder); inside {
			fail(w, problem(http.StatusConflict, "this WebSocket is a stream of events already; PUT %s changes which events it has", eventsPath))
			return
		}
		s.serveEvents(w, r)
	})
	s.describeStream()
}

// describeStream adds the stream to the OpenAPI document.
func (s *Server) describeStream() {
	list := func(name, doc string) *huma.Param {
		separate := false
		return &huma.Param{Name: name, In: "query", Description: doc, Style: "form", Explode: &separate, Schema: &huma.Schema{Type: huma.TypeArray, Items: &huma.Schema{Type: huma.TypeString}}}
	}
	text := func(in, name, doc string) *huma.Param {
		return &huma.Param{Name: name, In: in, Description: doc, Schema: &huma.Schema{Type: huma.TypeString}}
	}
	refused := &huma.Response{Description: "Refused.", Content: map[string]*huma.MediaType{
		"application/problem+json": {Schema: s.api.OpenAPI().Components.Schemas.Schema(typeOf[Problem](), true, "Problem")},
	}}
	s.api.OpenAPI().AddOperation(&huma.Operation{
		OperationID: "events", Method: http.MethodGet, Path: eventsPath, Summary: "Get events as they happen", Tags: []string{"events"},
		Description: "Server-Sent Events; with Upgrade: websocket, a WebSocket. /asyncapi.json describes the events, and the requests over a WebSocket.",
		Parameters: []*huma.Param{
			list("devices", docOf("Devices")+" Not there: every device that you may observe."), list("types", docOf("Types")), text("query", "link", docOf("Link")),
			text("query", "after", docOf("After")), {Name: "snapshot", In: "query", Description: docOf("Snapshot"), Schema: &huma.Schema{Type: huma.TypeBoolean}},
			text("header", "Last-Event-ID", "The same as after; it takes precedence."),
		},
		Responses: map[string]*huma.Response{
			"101":     {Description: "The WebSocket is open."},
			"200":     {Description: "The stream. It ends when the client, its credentials or the proxy end.", Content: map[string]*huma.MediaType{typeStream: {Schema: &huma.Schema{Type: huma.TypeString}}}},
			"default": refused,
		},
	})
}

// docOf returns what the documentation says of a member of a subscription.
func docOf(member string) string {
	field, _ := typeOf[Subscription]().FieldByName(member)
	return field.Tag.Get("doc")
}

// isUpgrade reports whether a request opens a WebSocket.
func isUpgrade(r *http.Request) bool {
	return r.URL.Path == eventsPath && r.Method == http.MethodGet && strings.EqualFold(r.Header.Get("Upgrade"), "websocket")
}

// eventsPath is the path of the streams.
const eventsPath = "/v1/events"

// appendLine appends an event as Server-Sent Events have it.
func appendLine(b []byte, e record.Event) []byte {
	b = append(b, "id: "...)
	b = strconv.AppendUint(b, e.Seq, 10)
	b = append(b, "\ndata: "...)
	b = append(b, e.Data...)
	return append(b, "\n\n"...)
}
