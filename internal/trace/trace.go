// Package trace keeps the last messages that passed through the proxy, in memory, for the people who run it: what clients
// and switches sent, what the proxy sent them, and what it decided in between. It knows no CSTA.
package trace

import (
	"cmp"
	"context"
	"net"
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
	Client    Lane = "client"    // between a client and the proxy
	Proxy     Lane = "proxy"     // in the proxy
	Switch    Lane = "switch"    // between the proxy and a switch
	Telephone Lane = "telephone" // between a telephone or trunk and the proxy
)

// The kinds of records that are no messages.
const (
	Decision = "decision" // of the rules, about a request
	Refusal  = "refusal"  // an error in place of a response
	State    = "state"    // a session or a link begins or ends
	Octets   = "octets"   // a message as it is on the wire; see Tap
)

// Record is one message that came in or went out, or one decision.
type Record struct {
	Number   uint64    `json:"number"` // counts all records
	Time     time.Time `json:"time"`
	Exchange uint64    `json:"exchange,omitempty"` // the same for a message from outside and all that follows from it; 0: none
	Lane     Lane      `json:"lane"`
	Out      bool      `json:"out"`            // from the proxy
	Kind     string    `json:"kind"`           // request, response, error, event; or one of Decision, Refusal, State and Octets
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
	Message  string    `json:"message,omitempty"` // as it is shown to people, without secrets
	Cut      int       `json:"cut,omitempty"`     // octets at the end of the message that are not kept
	Flow     *Flow     `json:"flow,omitempty"`    // of octets: where they passed
	Octets   []byte    `json:"octets,omitempty"`  // in place of Message, for a record of kind Octets; secrets are overwritten
}

// Failure reports whether the record shows that something went wrong: a refusal, also of a session or a login, an error, or a
// link that went down.
func (r *Record) Failure() bool {
	return r.Kind == Refusal || r.Kind == State && (r.Name == "refused" || r.Name == "down") || r.Kind == "error" || r.Kind == Decision && !r.Allowed
}

// from reports whether the peer of a record has an address, with or without a port.
func (r *Record) from(address string) bool {
	if r.Flow != nil {
		return address == r.Flow.Remote.String() || address == r.Flow.Remote.Addr().String()
	}
	_, peer, _ := strings.Cut(r.Peer, ":") // after the front or the transport
	host, _, err := net.SplitHostPort(peer)
	return address == peer || err == nil && address == host
}

// Limits bound the memory of a trace. Zero turns it off.
type Limits struct {
	Records int // that are kept; a share of them for strangers
	Octets  int // of their messages; a share of them for strangers
	Message int // octets that are kept of one message; default 32 KiB
}

const (
	strangersShare = 8        // strangers have one part in so many
	maxMessage     = 32 << 10 // the default of Limits.Message
)

// Reader fills in what a message says of itself: Name, Devices, Calls and Reason.
type Reader func(*Record)

// Trace keeps records. Methods may be called from any goroutine; a nil Trace keeps nothing.
type Trace struct {
	read      Reader
	alias     func(call string) string // see Aliases
	longest   int                      // octets that are kept of one message
	exchanges atomic.Uint64

	mu        sync.Mutex
	last      uint64        // number of the last record
	lost      uint64        // number of the last record that is no longer kept
	known     ring          // of clients with an identity, and of switches
	strangers ring          // of peers without one, so that they cannot push out the others
	changed   chan struct{} // closed at the next record; nil: nobody waits
}

// New returns a trace, or nil if it is off. Records are read with read when somebody asks for them, so that keeping them
// costs little.
func New(l Limits, read Reader) *Trace {
	if l.Octets < strangersShare || l.Records < strangersShare {
		return nil
	}
	few := Limits{Records: l.Records / strangersShare, Octets: l.Octets / strangersShare}
	return &Trace{read: read, longest: cmp.Or(l.Message, maxMessage), known: newRing(Limits{Records: l.Records - few.Records, Octets: l.Octets - few.Octets}), strangers: newRing(few)}
}

// Aliases makes a filter by a call also select records that have the call under another callID, which of returns; "": there is
// none. It must be called before other goroutines use the trace.
func (t *Trace) Aliases(of func(call string) string) {
	if t != nil {
		t.alias = of
	}
}

// Exchange returns the number of a new exchange, or 0 if the trace is off.
func (t *Trace) Exchange() uint64 {
	if t == nil {
		return 0
	}
	return t.exchanges.Add(1)
}

// Add keeps a record, and gives it its number and time. stranger says that its peer has no identity. The oldest records go
// when there is no more room. Add keeps copies of message, Name, Devices and Calls; the other texts of the record must
// not be parts of longer ones.
func (t *Trace) Add(r Record, stranger bool, message []byte) {
	if t == nil {
		return
	}
	if over := len(message) - t.longest; over > 0 {
		message, r.Cut = message[:t.longest], r.Cut+over
	}
	now := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last++
	r.Number, r.Time = t.last, now
	of := &t.known
	if stranger {
		of = &t.strangers
	}
	t.lost = max(t.lost, of.add(&r, message))
	if t.changed != nil {
		close(t.changed)
		t.changed = nil
	}
}

// Answer is what [Trace.Read] returns.
type Answer struct {
	Records []Record `json:"records"`
	Last    uint64   `json:"last"` // the number to read on from
	Lost    bool     `json:"lost"` // records after the number that was asked from are no longer kept
}

// Read returns the records after a number that a filter selects, in order, at most so many: the first of them, or with number
// 0 the newest. A record is selected, too, if another of its exchange is.
func (t *Trace) Read(after uint64, f Filter, most int) Answer {
	if t == nil {
		return Answer{Records: []Record{}}
	}
	t.mu.Lock()
	all := t.strangers.list(t.known.list(nil, after), after)
	if f != (Filter{Oldest: f.Oldest}) { // an earlier record can select later ones of its exchange
		of := map[uint64]bool{}
		for i := range all {
			if all[i].Exchange != 0 {
				of[all[i].Exchange] = true
			}
		}
		all = t.strangers.earlier(t.known.earlier(all, after, of), after, of)
	}
	answer := Answer{Last: t.last, Lost: after < t.lost && after > 0}
	t.mu.Unlock()
	slices.SortFunc(all, func(a, b Record) int { return int(a.Number) - int(b.Number) })
	wanted := func(r *Record) bool { return r.Number > after && !r.Time.Before(f.Since) }
	recent := map[uint64]bool{} // exchanges with records that may be selected
	for i := range all {
		if wanted(&all[i]) {
			recent[all[i].Exchange] = true
		}
	}
	if f.Call != "" && t.alias != nil {
		f.alias = t.alias(f.Call)
	}
	chosen := map[uint64]bool{}
	matches := make([]bool, len(all))
	for i := range all {
		r := &all[i]
		if !wanted(r) && (r.Exchange == 0 || !recent[r.Exchange]) {
			continue
		}
		if t.read != nil && r.Message != "" {
			t.read(r)
		}
		if matches[i] = f.matches(r); matches[i] && r.Exchange != 0 {
			chosen[r.Exchange] = true
		}
	}
	answer.Records = make([]Record, 0, min(most, len(all)))
	for i := range all {
		if wanted(&all[i]) && (matches[i] || chosen[all[i].Exchange]) {
			answer.Records = append(answer.Records, all[i])
		}
	}
	switch over := len(answer.Records) - most; {
	case over <= 0:
	case after > 0 || f.Oldest:
		answer.Records = answer.Records[:most]
		answer.Last = answer.Records[most-1].Number
	default:
		answer.Records = answer.Records[over:]
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
	Front                                             string
	Peer                                              string // address, with or without port
	Failures                                          bool   // only what went wrong
	Oldest                                            bool   // of too many records the first ones, also with number 0

	alias string // another callID of Call
}

func (f Filter) matches(r *Record) bool {
	return (f.Device == "" || slices.Contains(r.Devices, f.Device)) &&
		(f.Call == "" || slices.Contains(r.Calls, f.Call) || f.alias != "" && slices.Contains(r.Calls, f.alias)) &&
		(f.Session == "" || r.Session == f.Session) &&
		(f.Identity == "" || r.Identity == f.Identity) &&
		(f.Link == "" || r.Link == f.Link) &&
		(f.Front == "" || r.Front == f.Front) &&
		(f.Peer == "" || r.from(f.Peer)) &&
		(f.Lane == "" || string(r.Lane) == f.Lane) &&
		(f.Name == "" || strings.EqualFold(r.Name, f.Name) || strings.EqualFold(r.Name, f.Name+"Response") || strings.EqualFold(r.Name, f.Name+"Event")) &&
		(!f.Failures || r.Failure())
}
