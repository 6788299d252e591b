package front

import (
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// The bounds of the sessions that clients can come back to.
const (
	longestKept = time.Hour // after the end of the connection
	maxKept     = 200       // without a connection
	maxKeptOf   = 20        // of these, of one identity
	maxRecorded = 1 << 20   // octets of the requests of one
)

var errResumed = errors.New("the client has resumed its session on another connection")

// resumable are the application sessions that clients can come back to after their connection has ended.
type resumable struct {
	mu       sync.Mutex
	sessions map[string]*record // by identifier
}

// record is what a session needs to be resumed. The table's lock protects it.
type record struct {
	id, identity string
	client       *avaya
	keep         time.Duration     // after the end of the connection
	until        time.Time         // zero: it has its connection
	monitors     map[string]string // MonitorStart by the reference that the client knows; "": it cannot be sent again
	octets       int               // of monitors
}

func newResumable() *resumable { return &resumable{sessions: map[string]*record{}} }

// open enters a session.
func (t *resumable) open(r *record) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sessions[r.id] = r
}

// leave keeps a session whose connection has ended, unless it has been resumed, and forgets those that have been kept as long as
// their clients wanted, or are too many.
func (t *resumable) leave(r *record) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	if t.sessions[r.id] == r {
		r.until = now.Add(r.keep)
	}
	maps.DeleteFunc(t.sessions, func(_ string, other *record) bool { return other.over(now) })
	t.shorten(maxKeptOf, func(other *record) bool { return other.identity == r.identity })
	t.shorten(maxKept, func(*record) bool { return true })
}

// shorten forgets those sessions without a connection that end first until no more than most are left of those that count.
// Callers hold t.mu.
func (t *resumable) shorten(most int, counts func(*record) bool) {
	var kept []*record
	for _, r := range t.sessions {
		if !r.until.IsZero() && counts(r) {
			kept = append(kept, r)
		}
	}
	if len(kept) <= most {
		return
	}
	slices.SortFunc(kept, func(a, b *record) int { return a.until.Compare(b.until) })
	for _, r := range kept[:len(kept)-most] {
		delete(t.sessions, r.id)
	}
}

// over reports whether a session has been kept for long enough.
func (r *record) over(now time.Time) bool { return !r.until.IsZero() && !now.Before(r.until) }

// forget removes a session that its client has ended.
func (t *resumable) forget(r *record) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if r != nil && t.sessions[r.id] == r {
		delete(t.sessions, r.id)
	}
}

// has reports whether there is a session that one of these identities can come back to.
func (t *resumable) has(id string, identities ...string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.sessions[id]
	return r != nil && !r.over(time.Now()) && slices.Contains(identities, r.identity)
}

// take removes a session of the same identity as another one, closes the connection that it may still have, and returns its
// monitors; nil if there is no such session.
func (t *resumable) take(id string, by *record) map[string]string {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.sessions[id]
	if r == nil || r == by || r.identity != by.identity || r.over(time.Now()) {
		return nil
	}
	delete(t.sessions, id)
	if r.until.IsZero() && r.client != by.client {
		r.client.of.conn.Close(errResumed)
	}
	return maps.Clone(r.monitors)
}

// started records the request of a monitor; "" if it cannot be sent again.
func (t *resumable) started(r *record, ref, request string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	r.octets -= len(r.monitors[ref])
	if r.octets+len(request) > maxRecorded {
		request = ""
	}
	r.octets += len(request)
	r.monitors[ref] = request
}

// stopped removes a monitor.
func (t *resumable) stopped(r *record, ref string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	r.octets -= len(r.monitors[ref])
	delete(r.monitors, ref)
}

// start reads StartApplicationSession, which may name the session that the client has had before.
func (v *avaya) start(req *uacsta.Message) asked {
	var start uacsta.StartApplicationSession
	if err := req.Decode(&start); err != nil {
		return asked{req: req} // the core refuses it
	}
	const login = "applicationInfo/applicationSpecificInfo/SessionLoginInfo/"
	who, _ := start.ApplicationInfo.Login()
	old := strings.Clone(req.Text(login + "sessionID"))
	if old != "" && !v.sessions.has(old, who.User, v.of.session.Identity().Name) {
		return asked{req: req, own: func(answer func(*uacsta.Message, error)) {
			if !v.of.guest.Proved() {
				if err := v.of.conn.Strike(slog.LevelInfo, "client names a session that is over"); err != nil {
					v.of.conn.Close(err)
				}
			}
			answer(nil, uacsta.Refuse(uacsta.Operation, uacsta.InvalidParameterValue))
		}}
	}
	seconds, _ := strconv.Atoi(req.Text(login + "sessionCleanupDelay"))
	keep := min(time.Duration(min(max(seconds, 0), int(longestKept/time.Second)))*time.Second, longestKept)
	return asked{req: req, done: func(res *uacsta.Message, respond func()) {
		if res.Name() != uacsta.NameStartApplicationSessionPosResponse {
			respond()
			return
		}
		v.opened(&record{
			id: strings.Clone(res.Text("sessionID")), identity: v.of.session.Identity().Name,
			client: v, keep: keep, monitors: map[string]string{},
		}, old, respond)
	}}
}

// opened enters a session, which takes over the monitors of an old one, and then calls respond.
func (v *avaya) opened(r *record, old string, respond func()) {
	v.mu.Lock()
	previous := v.record
	v.record, v.inner, v.outer = r, map[string]string{}, map[string]string{}
	v.mu.Unlock()
	monitors := v.sessions.take(old, r)
	v.sessions.forget(previous) // the core has ended it
	v.sessions.open(r)
	v.resume(r, monitors, slices.Sorted(maps.Keys(monitors)), respond)
}

// resume starts monitors again one after the other, under the references that the client knows, and then calls done. The client gets
// MonitorStop for those that do not start.
func (v *avaya) resume(r *record, monitors map[string]string, refs []string, done func()) {
	if len(refs) == 0 {
		done()
		return
	}
	ref := refs[0]
	next := func() { v.resume(r, monitors, refs[1:], done) }
	fail := func() {
		v.of.conn.Request(uacsta.Encode(uacsta.MonitorStop{MonitorCrossRefID: ref}, uacsta.Edition3), func(*uacsta.Message, error) {})
		next()
	}
	start, err := uacsta.Parse([]byte(monitors[ref]))
	if err != nil {
		fail()
		return
	}
	v.of.session.Request(start, func(res *uacsta.Message) {
		if refusalOf(res) != nil {
			fail()
			return
		}
		inner := strings.Clone(res.CrossRef())
		v.mu.Lock()
		v.inner[ref], v.outer[inner] = inner, ref
		v.mu.Unlock()
		v.sessions.started(r, ref, monitors[ref])
		next()
	})
}

// transfer carries out TransferMonitorObjects: the client's session takes over the monitors of another one of its identity.
func (v *avaya) transfer(req *uacsta.Message) ownRequest {
	from, to := strings.Clone(req.Text("fromSessionID")), strings.Clone(req.Text("toSessionID"))
	return func(answer func(*uacsta.Message, error)) {
		r := v.session()
		var monitors map[string]string
		if r != nil && r.id == to {
			monitors = v.sessions.take(from, r)
		}
		if monitors == nil {
			answer(nil, uacsta.Refuse(uacsta.Operation, uacsta.InvalidMonitorObject))
			return
		}
		v.resume(r, monitors, slices.Sorted(maps.Keys(monitors)), func() {
			answer(uacsta.NewMessage(namespaceAvaya, "TransferMonitorObjectsResponse"), nil)
		})
	}
}

// session returns the record of the client's application session, or nil.
func (v *avaya) session() *record {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.record
}

// left implements vocabulary.
func (v *avaya) left() (returns bool) {
	r := v.session()
	if r == nil {
		return false
	}
	v.sessions.leave(r)
	return r.keep > 0
}

// monitor records what becomes of a monitor, and puts the core's reference of a resumed one into a request.
func (v *avaya) monitor(req *uacsta.Message) (done func(res *uacsta.Message, respond func())) {
	ref := strings.Clone(req.CrossRef())
	v.mu.Lock()
	r, inner := v.record, v.inner[ref]
	v.mu.Unlock()
	if inner != "" {
		req.SetCrossRef(inner)
	}
	var note func(res *uacsta.Message)
	switch req.Name() {
	case uacsta.NameMonitorStart:
		request := string(req.Bytes())
		note = func(res *uacsta.Message) { v.sessions.started(r, strings.Clone(res.CrossRef()), request) }
	case uacsta.NameChangeMonitorFilter: // the recorded request has the old one
		note = func(*uacsta.Message) { v.sessions.started(r, ref, "") }
	case uacsta.NameMonitorStop:
		note = func(*uacsta.Message) { v.stopped(r, ref) }
	}
	if r == nil || note == nil {
		return nil
	}
	return func(res *uacsta.Message, respond func()) {
		if refusalOf(res) == nil {
			note(res)
		}
		respond()
	}
}

// stopped forgets a monitor by the reference that the client knows.
func (v *avaya) stopped(r *record, ref string) {
	v.sessions.stopped(r, ref)
	v.mu.Lock()
	defer v.mu.Unlock()
	if inner := v.inner[ref]; inner != "" {
		delete(v.inner, ref)
		delete(v.outer, inner)
	}
}

// reference puts the reference that the client knows into a message about a resumed monitor.
func (v *avaya) reference(m *uacsta.Message) {
	v.mu.Lock()
	r := v.record
	if ref := v.outer[m.CrossRef()]; ref != "" {
		m.SetCrossRef(ref)
	}
	v.mu.Unlock()
	if r != nil && m.Name() == uacsta.NameMonitorStop {
		v.stopped(r, m.CrossRef())
	}
}
