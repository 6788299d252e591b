// Package trace keeps the last messages that passed through the proxy, in memory, for the people who run it: what clients
// and switches sent, what the proxy sent them, and what it decided in between. It knows no CSTA.
package trace

import (
	"context"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Lane is where a record was made.
type Lane string

// The lanes.
const (
	Client Lane = "client" // between a client and the proxy
	Proxy  Lane = "proxy"  // in the proxy
	Switch Lane = "switch" // between the proxy and a switch
)

// The kinds of records that are no messages.
const (
	Decision = "decision" // of the rules, about a request
	Refusal  = "refusal"  // an error in place of a response
	State    = "state"    // a session or a link begins or ends
)

// Record is one message that came in or went out, or one decision.
type Record struct {
	Number   uint64    `json:"number"` // counts all records
	Time     time.Time `json:"time"`
	Exchange uint64    `json:"exchange,omitempty"` // the same for a message from outside and all that follows from it; 0: none
	Lane     Lane      `json:"lane"`
	Out      bool      `json:"out"`            // from the proxy
	Kind     string    `json:"kind"`           // request, response, error, event; or one of Decision, Refusal and State
	Name     string    `json:"name,omitempty"` // of the message, or the service that was decided on
	Session  string    `json:"session,omitempty"`
	Identity string    `json:"identity,omitempty"` // "": the client has none
	Front    string    `json:"front,omitempty"`
	Peer     string    `json:"peer,omitempty"`
	Link     string    `json:"link,omitempty"`
	Devices  []string  `json:"devices,omitempty"` // in the order of the message; for a decision in their canonical form
	Calls    []string  `json:"calls,omitempty"`   // callIDs
	Allowed  bool      `json:"allowed,omitempty"` // the outcome of a decision
	Reason   string    `json:"reason,omitempty"`
	Message  string    `json:"message,omitempty"` // as CSTA-XML, without secrets
	Cut      int       `json:"cut,omitempty"`     // octets at the end of the message that are not kept
}

// Failure reports whether the record shows that something went wrong.
func (r *Record) Failure() bool {
	return r.Kind == Refusal || r.Kind == "error" || r.Kind == Decision && !r.Allowed
}

// Limits bound the memory of a trace. Zero octets turn it off.
type Limits struct {
	Records int // records; a share of them for strangers
	Octets  int // octets of memory, about; a share of them for strangers
}

const (
	strangersShare = 8       // strangers have one part in so many
	maxMessage     = 8 << 10 // octets that are kept of one message
	recordOctets   = 384     // of a record without its texts
)

// Trace keeps records. Methods may be called from any goroutine; a nil Trace keeps nothing.
type Trace struct {
	exchanges atomic.Uint64

	mu        sync.Mutex
	last      uint64        // number of the last record
	lost      uint64        // number of the last record that is no longer kept
	known     ring          // of clients with an identity, and of switches
	strangers ring          // of peers without one, so that they cannot push out the others
	changed   chan struct{} // closed at the next record; nil: nobody waits
}

// New returns a trace, or nil if it is off.
func New(l Limits) *Trace {
	if l.Octets <= 0 || l.Records <= 0 {
		return nil
	}
	few := Limits{Records: max(1, l.Records/strangersShare), Octets: l.Octets / strangersShare}
	return &Trace{known: ring{limits: Limits{l.Records - few.Records, l.Octets - few.Octets}}, strangers: ring{limits: few}}
}

// Exchange returns the number of a new exchange, or 0 if the trace is off.
func (t *Trace) Exchange() uint64 {
	if t == nil {
		return 0
	}
	return t.exchanges.Add(1)
}

// Add keeps a record, and gives it its number and time. stranger says that its peer has no identity. The oldest records go
// when there is no more room.
func (t *Trace) Add(r Record, stranger bool) {
	if t == nil {
		return
	}
	if over := len(r.Message) - maxMessage; over > 0 {
		r.Message, r.Cut = strings.ToValidUTF8(r.Message[:maxMessage], ""), over
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last++
	r.Number, r.Time = t.last, time.Now()
	of := &t.known
	if stranger {
		of = &t.strangers
	}
	t.lost = max(t.lost, of.add(r))
	if t.changed != nil {
		close(t.changed)
		t.changed = nil
	}
}

// ring is a queue of records whose oldest go when there is no more room.
type ring struct {
	limits  Limits
	records []Record
	octets  int
}

// add keeps a record and returns the number of the last one that went for it, or 0.
func (q *ring) add(r Record) (lost uint64) {
	q.records = append(q.records, r)
	q.octets += r.octets()
	for len(q.records) > q.limits.Records || q.octets > q.limits.Octets && len(q.records) > 1 {
		lost = q.records[0].Number
		q.octets -= q.records[0].octets()
		q.records[0] = Record{}
		q.records = q.records[1:]
	}
	return lost
}

// octets returns about how much memory the record takes.
func (r *Record) octets() int {
	n := recordOctets + len(r.Message) + len(r.Reason)
	for _, list := range [][]string{r.Devices, r.Calls} {
		for _, s := range list {
			n += len(s) + 16
		}
	}
	return n
}

// Answer is what [Trace.Read] returns.
type Answer struct {
	Records []Record `json:"records"`
	Last    uint64   `json:"last"` // the number to read on from
	Lost    bool     `json:"lost"` // records after the number that was asked from are no longer kept
}

// Read returns the records after a number that a filter selects, in order, at most so many. A record is selected, too, if
// another of its exchange is.
func (t *Trace) Read(after uint64, f Filter, most int) Answer {
	if t == nil {
		return Answer{Records: []Record{}}
	}
	t.mu.Lock()
	known, strangers := slices.Clone(t.known.records), slices.Clone(t.strangers.records)
	answer := Answer{Last: t.last, Lost: after < t.lost && after > 0}
	t.mu.Unlock()
	all := append(known, strangers...)
	slices.SortFunc(all, func(a, b Record) int { return int(a.Number) - int(b.Number) }) //nolint:gosec // no trace has that many
	chosen := map[uint64]bool{}
	for i := range all {
		if f.matches(&all[i]) {
			chosen[all[i].Exchange] = true
		}
	}
	answer.Records = slices.DeleteFunc(all, func(r Record) bool {
		return r.Number <= after || r.Time.Before(f.Since) || !(f.matches(&r) || r.Exchange != 0 && chosen[r.Exchange])
	})
	if len(answer.Records) > most {
		if after > 0 {
			answer.Records = answer.Records[:most]
			answer.Last = answer.Records[most-1].Number
		} else { // the newest count when somebody looks back
			answer.Records = answer.Records[len(answer.Records)-most:]
		}
	}
	return answer
}

// Wait returns once there are records after a number, or ctx has ended.
func (t *Trace) Wait(ctx context.Context, after uint64) {
	if t == nil {
		<-ctx.Done()
		return
	}
	t.mu.Lock()
	if t.last > after {
		t.mu.Unlock()
		return
	}
	if t.changed == nil {
		t.changed = make(chan struct{})
	}
	changed := t.changed
	t.mu.Unlock()
	select {
	case <-changed:
	case <-ctx.Done():
	}
}

// Filter selects records. Empty members select all; more than one must match.
type Filter struct {
	Since                                             time.Time
	Device, Call, Session, Identity, Link, Name, Lane string
	Failures                                          bool // only what went wrong
}

func (f Filter) matches(r *Record) bool {
	return (f.Device == "" || slices.Contains(r.Devices, f.Device)) &&
		(f.Call == "" || slices.Contains(r.Calls, f.Call)) &&
		(f.Session == "" || r.Session == f.Session) &&
		(f.Identity == "" || r.Identity == f.Identity) &&
		(f.Link == "" || r.Link == f.Link) &&
		(f.Lane == "" || string(r.Lane) == f.Lane) &&
		(f.Name == "" || strings.EqualFold(r.Name, f.Name) || strings.EqualFold(r.Name, f.Name+"Response") || strings.EqualFold(r.Name, f.Name+"Event")) &&
		(!f.Failures || r.Failure())
}
