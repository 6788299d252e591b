package operations

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/capture"
	"github.com/tr87proxy/tr87proxy/internal/trace"
)

// TraceQuery is what a client of the admin socket wants of the trace.
type TraceQuery struct {
	trace.Filter

	Octets bool          // the octets on the wire, instead of messages and decisions
	After  uint64        // the number of a record: those after it; 0: the newest
	Wait   time.Duration // for the first record after After, at most half a minute
}

// TraceMost is how many records one response has at most.
const TraceMost = 1000

// longestWait is shorter than the time within which a response must have been written.
const longestWait = 30 * time.Second

// Path returns the query as the path of a request to the admin socket.
func (q TraceQuery) Path() string {
	v := url.Values{}
	for name, text := range map[string]string{
		"device": q.Device, "call": q.Call, "session": q.Session, "identity": q.Identity, "link": q.Link, "name": q.Name, "lane": q.Lane,
		"front": q.Front, "peer": q.Peer,
	} {
		if text != "" {
			v.Set(name, text)
		}
	}
	if !q.Since.IsZero() {
		v.Set("since", q.Since.Format(time.RFC3339Nano))
	}
	for name, set := range map[string]bool{"failures": q.Failures, "oldest": q.Oldest} {
		if set {
			v.Set(name, "")
		}
	}
	v.Set("after", strconv.FormatUint(q.After, 10))
	v.Set("wait", q.Wait.String())
	of := "/trace?"
	if q.Octets {
		of = "/octets?"
	}
	return of + v.Encode()
}

// parseTrace reads what Path has written.
func parseTrace(v url.Values) (q TraceQuery, err error) {
	q.Filter = trace.Filter{
		Device: v.Get("device"), Call: v.Get("call"), Session: v.Get("session"), Identity: v.Get("identity"), Link: v.Get("link"),
		Name: v.Get("name"), Lane: v.Get("lane"), Front: v.Get("front"), Peer: v.Get("peer"), Failures: v.Has("failures"), Oldest: v.Has("oldest"),
	}
	if text := v.Get("since"); text != "" {
		if q.Since, err = time.Parse(time.RFC3339Nano, text); err != nil {
			return q, err
		}
	}
	if text := v.Get("after"); text != "" {
		if q.After, err = strconv.ParseUint(text, 10, 64); err != nil {
			return q, err
		}
	}
	if text := v.Get("wait"); text != "" {
		q.Wait, err = time.ParseDuration(text)
	}
	return q, err
}

// ErrNoTrace means that the configuration turns the trace off.
var ErrNoTrace = errors.New("the configuration turns the trace off; write for example trace: {max-mib: 8}, and restart the proxy")

// ErrNoOctets means that the configuration does not have octets kept.
var ErrNoOctets = errors.New("the proxy keeps no octets; write trace: {octets-mib: 8}, for example, in its configuration, and restart it")

// pcap responds with the octets that there are as a capture file. The same query chooses them as for GET /octets.
func (a *Admin) pcap(w http.ResponseWriter, r *http.Request) {
	q, err := parseTrace(r.URL.Query())
	if err == nil && a.Octets == nil {
		err = ErrNoOctets
	}
	if err != nil {
		answer(w, nil, err)
		return
	}
	w.Header().Set("Content-Type", "application/vnd.tcpdump.pcap")
	w.Header().Set("Content-Disposition", `attachment; filename="tr87proxy.pcap"`)
	file, err := capture.NewWriter(w)
	for q.Oldest = true; err == nil; {
		page := a.Octets.Read(q.After, q.Filter, TraceMost)
		for i := range page.Records {
			if err = file.Write(&page.Records[i]); err != nil {
				return // the client has left
			}
		}
		if len(page.Records) < TraceMost || r.Context().Err() != nil {
			return
		}
		q.After = page.Last
	}
}

// serveTrace responds with records of a trace, or with the error off if there is none.
func serveTrace(w http.ResponseWriter, r *http.Request, of *trace.Trace, off error) {
	q, err := parseTrace(r.URL.Query())
	if err == nil && of == nil {
		err = off
	}
	if err != nil {
		answer(w, nil, err)
		return
	}
	if q.Wait > 0 {
		ctx, cancel := context.WithTimeout(r.Context(), min(q.Wait, longestWait))
		of.Wait(ctx, q.After)
		cancel()
	}
	answer(w, of.Read(q.After, q.Filter, TraceMost), nil)
}
