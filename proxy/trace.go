package proxy

import (
	"bytes"
	"slices"
	"strings"
	"sync"

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
	r := trace.Record{Lane: trace.Client, Out: out, Kind: m.Kind().String()}
	if refusal := m.Err(); refusal != nil {
		r.Reason = strings.Clone(refusal.Error()) // with the detail that the message does not have
	}
	who := s.complete(&r)
	s.proxy.traceMessage(r, who == "", m)
}

// complete adds to a record whose session it is about. It returns the identity.
func (s *Session) complete(r *trace.Record) string {
	r.Session, r.Identity, r.Front, r.Peer = s.id, s.Identity().Name, s.front, s.peer
	return r.Identity
}

// keep adds a record about the session that is no message to the trace.
func (s *Session) keep(r trace.Record) {
	who := s.complete(&r)
	s.proxy.cfg.Trace.Add(r, who == "", nil)
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
	t.proxy.traceMessage(trace.Record{Lane: trace.Switch, Out: out, Link: t.name, Kind: m.Kind().String()}, false, m)
}

// tracedAnswer keeps the switch's answer to a request: a response, or the error in its place.
func (t *managedLink) tracedAnswer(req, res *uacsta.Message, err error) {
	if t.proxy.cfg.Trace == nil {
		return
	}
	if err != nil {
		t.proxy.cfg.Trace.Add(trace.Record{Exchange: req.Cause(), Lane: trace.Switch, Kind: trace.Refusal, Name: req.Name(), Link: t.name, Reason: err.Error()}, false, nil)
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
	t.proxy.cfg.Trace.Add(r, false, nil)
}

// otherCallID returns the callID that the switch has for a call by the one that clients see, or the reverse; "" for a call that
// is not known.
func (p *Proxy) otherCallID(call string) string {
	for _, t := range p.list() {
		if other := t.calls.other(call); other != "" {
			return other
		}
	}
	return ""
}

// buffers are for messages on their way into the trace.
var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// traceMessage keeps a record of a message.
func (p *Proxy) traceMessage(r trace.Record, stranger bool, m *uacsta.Message) {
	r.Exchange = m.Cause()
	b, _ := buffers.Get().(*bytes.Buffer)
	defer buffers.Put(b)
	b.Reset()
	m.WriteMasked(b)
	p.cfg.Trace.Add(r, stranger, b.Bytes())
}

// Explain fills in what the message of a record of the trace says. It is a trace.Reader.
func Explain(r *trace.Record) {
	m, err := uacsta.Parse([]byte(r.Message))
	if err != nil { // it was cut, or is none of CSTA-XML
		r.Name, _, _ = strings.Cut(strings.TrimPrefix(r.Message, "<"), " ")
		return
	}
	r.Name = m.Name()
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
	if refusal := m.Err(); refusal != nil && r.Reason == "" {
		r.Reason = refusal.Error()
	}
}
