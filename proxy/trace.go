package proxy

import (
	"slices"

	"github.com/tr87proxy/tr87proxy/internal/trace"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// Each message from outside begins an exchange, whose number travels with the message and its copies (uacsta.Message.Cause),
// so that the trace shows what followed from what.

// traced keeps a message of the session's client, or one to it, in the trace.
func (s *Session) traced(out bool, m *uacsta.Message) {
	if s.proxy.cfg.Trace == nil || m == nil || s.reach == ReachOwn {
		return
	}
	r := recordOf(m)
	r.Lane, r.Out = trace.Client, out
	s.keep(r)
}

// keep adds a record about the session to the trace.
func (s *Session) keep(r trace.Record) {
	who := s.Identity()
	r.Session, r.Identity, r.Front, r.Peer = s.id, who.Name, s.front, s.peer
	s.proxy.cfg.Trace.Add(r, who.Name == "")
}

// tracedUnclear keeps that a request came that different readers could read differently.
func (s *Session) tracedUnclear(cause uint64, u *uacsta.Unclear) {
	if s.proxy.cfg.Trace != nil {
		s.keep(trace.Record{Exchange: cause, Lane: trace.Client, Kind: uacsta.Request.String(), Name: u.Name, Reason: u.Error()})
	}
}

// tracedState keeps that the session began or ended.
func (s *Session) tracedState(name string, reason error) {
	if s.proxy.cfg.Trace == nil || s.reach == ReachOwn {
		return
	}
	r := trace.Record{Lane: trace.Client, Kind: trace.State, Name: name, Devices: texts(s.line)}
	if reason != nil {
		r.Reason = reason.Error()
	}
	s.keep(r)
}

// tracedDecision keeps what was decided about a request, and why.
func (s *Session) tracedDecision(req *uacsta.Message, o *object, err error) {
	if s.proxy.cfg.Trace == nil || o.trial {
		return
	}
	r := trace.Record{Exchange: req.Cause(), Lane: trace.Proxy, Kind: trace.Decision, Name: o.service, Allowed: err == nil, Reason: o.reason}
	r.Devices = append(texts(o.subjects...), texts(o.destinations...)...)
	for _, c := range o.connections {
		r.Calls = append(r.Calls, c.CallID)
	}
	if err != nil {
		r.Reason = err.Error()
	}
	s.keep(r)
}

// traced keeps a message of the switch, or one to it, in the trace.
func (t *managedLink) traced(out bool, m *uacsta.Message) {
	if t.proxy.cfg.Trace == nil || m == nil {
		return
	}
	r := recordOf(m)
	r.Lane, r.Out, r.Link = trace.Switch, out, t.name
	t.proxy.cfg.Trace.Add(r, false)
}

// tracedAnswer keeps the switch's answer to a request: a response, or the error in its place.
func (t *managedLink) tracedAnswer(req, res *uacsta.Message, err error) {
	if t.proxy.cfg.Trace == nil {
		return
	}
	if err != nil {
		t.proxy.cfg.Trace.Add(trace.Record{Exchange: req.Cause(), Lane: trace.Switch, Kind: trace.Refusal, Name: req.Name(), Link: t.name, Reason: err.Error()}, false)
		return
	}
	if res != nil {
		res.SetCause(req.Cause())
		t.traced(false, res)
	}
}

// tracedState keeps that the link came up or went down.
func (t *managedLink) tracedState(name string, reason error) {
	if t.proxy.cfg.Trace == nil {
		return
	}
	r := trace.Record{Lane: trace.Switch, Kind: trace.State, Name: name, Link: t.name}
	if reason != nil {
		r.Reason = reason.Error()
	}
	t.proxy.cfg.Trace.Add(r, false)
}

// recordOf returns a record with what a message says.
func recordOf(m *uacsta.Message) trace.Record {
	r := trace.Record{Exchange: m.Cause(), Kind: m.Kind().String(), Name: m.Name(), Message: m.Masked()}
	for _, d := range m.Devices() {
		if id := d.ID(); id != "" && !slices.Contains(r.Devices, id) {
			r.Devices = append(r.Devices, id)
		}
	}
	for _, c := range m.Connections() {
		if id := c.CallID(); id != "" && !slices.Contains(r.Calls, id) {
			r.Calls = append(r.Calls, id)
		}
	}
	if refusal := m.Err(); refusal != nil {
		r.Reason = refusal.Error()
	}
	return r
}
