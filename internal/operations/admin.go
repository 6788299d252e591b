package operations

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/trace"
)

// Admin serves requests of administrators, who come by the admin socket, a local socket for every user who may write to its file,
// or by a front that has let them in. The functions carry out the requests.
type Admin struct {
	Status func(sessions, devices bool) any               // for GET /status
	Server func(name string, start bool) error            // for POST /servers/NAME/start and stop
	Reload func(dryRun bool) (any, error)                 // for POST /reload, or ?dry-run
	Locks  func() any                                     // for GET /locks
	Unlock func(name, from string, all bool) (any, error) // for POST /unlock?name=NAME&from=ADDRESS, or ?all
	// Webhooks is for GET /webhooks. Webhook is for GET /webhooks/dead?name=NAME, which lists the dead letters of a
	// webhook, and POST /webhooks/replay, drop, enable and remove; letter=ID names the dead letter, owner=IDENTITY the owner.
	Webhooks func() any
	Webhook  func(ctx context.Context, do, name string, owner *string, letter string) (any, error)
	Trace    *trace.Trace // for GET /trace (see [TraceQuery]); nil: there is none
	Octets   *trace.Trace // for GET /octets, and GET /pcap, which is a capture file of them; nil: there are none
	Overview func() any   // for GET /overview
	Explain  func(Explain) (any, error)
	Numbers  func(number, from, link string) (any, error) // for GET /numbers?number=NUMBER&from=LINK&link=LINK
	// EndSession is for POST /sessions/ID/end.
	EndSession func(id string) error
	// Press is for POST /phones/NUMBER/lift, hang-up and dial?number=NUMBER.
	Press func(number, what, digits string) error
}

// Explain is for GET /explain?identity=WHO&service=NAME&device=NUMBER&destination=NUMBER,NUMBER&front=NAME&scope=SCOPE.
type Explain struct {
	Identity, Front, Scope, Service, Device string
	Destinations                            []string
}

// ListenAdmin opens the socket. It replaces a file that a process left behind, and fails if another
// process serves it.
func ListenAdmin(ctx context.Context, path string, mode os.FileMode) (net.Listener, error) {
	if info, err := os.Lstat(path); err == nil {
		if info.Mode().Type() != os.ModeSocket {
			return nil, fmt.Errorf("%s exists and is not a socket; remove it, or name another admin.socket", path)
		}
		if conn, err := (&net.Dialer{}).DialContext(ctx, "unix", path); err == nil {
			_ = conn.Close()
			return nil, fmt.Errorf("%s is served by another process", path)
		}
		if err := os.Remove(path); err != nil {
			return nil, err
		}
	}
	before := syscall.Umask(0o177) // so that no other user can open it before Chmod
	l, err := (&net.ListenConfig{}).Listen(ctx, "unix", path)
	syscall.Umask(before)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, mode); err != nil {
		_ = l.Close()
		return nil, err
	}
	return l, nil
}

// Run serves a listener until ctx ends.
func (a *Admin) Run(ctx context.Context, l net.Listener) error { return run(ctx, l, a.Handler()) }

// Handler returns what serves the requests of administrators, whoever has let them in. A failure is the status 409, or another of
// HTTP, with {"error": TEXT}.
func (a *Admin) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, r *http.Request) {
		answer(w, a.Status(r.URL.Query().Has("sessions"), r.URL.Query().Has("devices")), nil)
	})
	mux.HandleFunc("POST /servers/{name}/{what}", func(w http.ResponseWriter, r *http.Request) {
		what := r.PathValue("what")
		if what != "start" && what != "stop" {
			http.NotFound(w, r)
			return
		}
		answer(w, struct{}{}, a.Server(r.PathValue("name"), what == "start"))
	})
	mux.HandleFunc("POST /reload", func(w http.ResponseWriter, r *http.Request) {
		report, err := a.Reload(r.URL.Query().Has("dry-run"))
		answer(w, report, err)
	})
	mux.HandleFunc("GET /locks", func(w http.ResponseWriter, _ *http.Request) { answer(w, a.Locks(), nil) })
	mux.HandleFunc("POST /unlock", func(w http.ResponseWriter, r *http.Request) {
		query := r.URL.Query()
		unlocked, err := a.Unlock(query.Get("name"), query.Get("from"), query.Has("all"))
		answer(w, unlocked, err)
	})
	mux.HandleFunc("GET /webhooks", func(w http.ResponseWriter, _ *http.Request) { answer(w, a.Webhooks(), nil) })
	mux.HandleFunc("GET /webhooks/dead", func(w http.ResponseWriter, r *http.Request) { a.webhook(w, r, "dead") })
	mux.HandleFunc("GET /trace", func(w http.ResponseWriter, r *http.Request) { serveTrace(w, r, a.Trace, ErrNoTrace) })
	mux.HandleFunc("GET /messages", serveMessages)
	mux.HandleFunc("GET /octets", func(w http.ResponseWriter, r *http.Request) { serveTrace(w, r, a.Octets, ErrNoOctets) })
	mux.HandleFunc("GET /pcap", a.pcap)
	mux.HandleFunc("GET /overview", func(w http.ResponseWriter, _ *http.Request) { answer(w, a.Overview(), nil) })
	mux.HandleFunc("GET /explain", a.explain)
	mux.HandleFunc("GET /numbers", func(w http.ResponseWriter, r *http.Request) {
		query := r.URL.Query()
		translated, err := a.Numbers(query.Get("number"), query.Get("from"), query.Get("link"))
		answer(w, translated, err)
	})
	mux.HandleFunc("POST /sessions/{id}/end", func(w http.ResponseWriter, r *http.Request) {
		answer(w, struct{}{}, a.EndSession(r.PathValue("id")))
	})
	mux.HandleFunc("POST /phones/{number}/{what}", func(w http.ResponseWriter, r *http.Request) {
		answer(w, struct{}{}, a.Press(r.PathValue("number"), r.PathValue("what"), r.URL.Query().Get("number")))
	})
	mux.HandleFunc("POST /webhooks/{do}", func(w http.ResponseWriter, r *http.Request) { a.webhook(w, r, r.PathValue("do")) })
	return mux
}

func (a *Admin) explain(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	q := Explain{Identity: query.Get("identity"), Front: query.Get("front"), Scope: query.Get("scope"), Service: query.Get("service"), Device: query.Get("device")}
	for _, list := range query["destination"] {
		for one := range strings.SplitSeq(list, ",") {
			if one = strings.TrimSpace(one); one != "" {
				q.Destinations = append(q.Destinations, one)
			}
		}
	}
	explained, err := a.Explain(q)
	answer(w, explained, err)
}

func (a *Admin) webhook(w http.ResponseWriter, r *http.Request, do string) {
	query := r.URL.Query()
	var owner *string
	if query.Has("owner") {
		text := query.Get("owner")
		owner = &text
	}
	done, err := a.Webhook(r.Context(), do, query.Get("name"), owner, query.Get("letter"))
	answer(w, done, err)
}

// failure is the body of the response to a request that failed.
type failure struct {
	Error string `json:"error"`
}

func answer(w http.ResponseWriter, what any, err error) {
	w.Header().Set("Content-Type", "application/json")
	if err != nil {
		w.WriteHeader(http.StatusConflict)
		what = failure{err.Error()}
	}
	_ = json.NewEncoder(w).Encode(what) // the client may have disconnected
}

// ErrNoAdmin means that no proxy serves the socket.
var ErrNoAdmin = errors.New("no running tr87proxy has this socket")

// ErrNoRight means that the user may not write to the socket.
var ErrNoRight = errors.New("permission denied; run it as a user who may write to the socket (admin.mode)")

// AskAdmin sends a request to a running proxy and decodes its response.
func AskAdmin(ctx context.Context, socket, method, path string, into any) error {
	client := http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}, Timeout: time.Minute}
	req, err := http.NewRequestWithContext(ctx, method, "http://tr87proxy"+path, nil)
	if err != nil {
		return err
	}
	res, err := client.Do(req)
	if err != nil {
		return unreached(socket, err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(res.Body, 64<<20))
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		var f failure
		if json.Unmarshal(body, &f) != nil || f.Error == "" {
			f.Error = res.Status
		}
		return errors.New(f.Error)
	}
	return json.Unmarshal(body, into)
}

// unreached returns why a socket cannot be reached.
func unreached(socket string, err error) error {
	var wrapped *url.Error
	switch {
	case errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("%s: %w", socket, ErrNoAdmin)
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("%s: %w", socket, ErrNoRight)
	case errors.As(err, &wrapped):
		return wrapped.Err
	}
	return err
}
