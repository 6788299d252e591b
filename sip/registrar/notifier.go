package registrar

import (
	"context"
	"log/slog"
	"time"

	"github.com/tr87proxy/tr87proxy/sip"
	"github.com/tr87proxy/tr87proxy/tr87"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// OpenStage telephones and their successors do not speak TR/87. Each CSTA request, in either direction, is a NOTIFY
// outside a dialog, and its response is in the body of the SIP response. The telephone sends no events; the server
// sends it those of features. Others take and send INFO in the same way, and get no events.

// conversation sends CSTA requests to a telephone: a TR/87 session, or a notifier.
type conversation interface {
	Request(ctx context.Context, req *uacsta.Message) (*uacsta.Message, error)
	Close()
}

// notifier sends requests by NOTIFY or INFO, each outside a dialog.
type notifier struct {
	server *Server
	user   *user
	to     *binding
}

const notifyEvent = "uaCSTA"

// Request implements conversation. A response without body is the positive one.
func (n *notifier) Request(ctx context.Context, req *uacsta.Message) (*uacsta.Message, error) {
	res, err := n.server.notifyCSTA(ctx, n.user, n.to, req)
	switch {
	case err != nil:
		return nil, err
	case res.Code()/100 != 2:
		return nil, &sip.Refusal{Response: res}
	case len(res.Body()) == 0:
		return uacsta.Accept(req, uacsta.Edition3), nil
	}
	m, err := uacsta.Parse(res.Body())
	if err != nil {
		return nil, err
	}
	if refusal := m.Err(); refusal != nil {
		return nil, refusal
	}
	return m, nil
}

// Close implements conversation: there is nothing to close.
func (n *notifier) Close() {}

func (s *Server) notifyCSTA(ctx context.Context, u *user, b *binding, m *uacsta.Message) (*sip.Response, error) {
	at := s.at(b)
	own := at.Address(u.Number)
	inv := sip.Invite{
		To: own, Target: at.URI, From: own, Flow: at.Flow, ContentType: tr87.ContentType, Body: m.Bytes(), Username: u.Name, Password: u.password(),
	}
	if !b.byNotify() {
		return s.ua.Request(ctx, "INFO", inv)
	}
	inv.Headers = []sip.Header{{Name: "Event", Value: notifyEvent}, {Name: "Subscription-State", Value: "active;expires=3600"}}
	return s.ua.Request(ctx, "NOTIFY", inv)
}

// outsideRate is how many CSTA messages a second the telephones of an extension may send outside dialogs, after a burst
// of outsideBurst.
const (
	outsideRate  = 10
	outsideBurst = 40
)

// outside handles a CSTA message that a telephone sends outside a dialog, by NOTIFY or INFO. For a request, the owner is
// the switching function, for the telephone's own extension. Events are taken of telephones that speak CSTA so.
func (s *Server) outside(r *sip.Request) {
	u := s.authenticate(r, r.From())
	if u == nil {
		return
	}
	if r.ContentType() != tr87.ContentType {
		r.Respond(sip.Answer{Code: 415, Headers: []sip.Header{{Name: "Accept", Value: tr87.ContentType}}})
		return
	}
	m, err := uacsta.Parse(r.Body())
	if err != nil {
		r.Respond(sip.Answer{Code: 400, Reason: "Body Is Not CSTA-XML"})
		return
	}
	model := s.modelOf(r.Header("User-Agent"))
	event := m.Kind() == uacsta.Event && model.withoutDialog()
	if !s.outsides.Take(u.Number, outsideRate, outsideBurst, time.Now()) || event && !u.asks.Soon(func() { s.up.Event(u.Number, m) }) {
		s.Report(slog.LevelWarn, u.Number, "refused CSTA that a telephone sends too fast", "message", m.Name())
		r.Respond(sip.Answer{Code: 503, Headers: []sip.Header{{Name: "Retry-After", Value: "5"}}})
		return
	}
	if event {
		r.Respond(sip.Answer{})
		return
	}
	answer, err := s.up.Ask(u.Number, model, m)
	if err != nil {
		answer = uacsta.ErrorMessage(err, m.Edition())
	}
	r.Respond(sip.Answer{ContentType: tr87.ContentType, Body: answer.Bytes()})
}

// Show sends an event to those telephones of an extension that take CSTA by NOTIFY, unless it equals the last one
// sent under the same name.
func (s *Server) Show(number, name string, event *uacsta.Message) {
	s.mu.Lock()
	u := s.users[number]
	var to []*binding
	if u != nil && u.sent[name] != event.String() {
		for _, b := range u.bindings {
			if b.byNotify() {
				to = append(to, b)
			}
		}
		if u.sent == nil {
			u.sent = map[string]string{}
		}
		u.sent[name] = event.String()
	}
	s.mu.Unlock()
	for _, b := range to {
		taken := u.asks.Do(func() {
			ctx, cancel := context.WithTimeout(s.ctx, cstaTimeout)
			defer cancel()
			if _, err := s.notifyCSTA(ctx, u, b, event); err != nil {
				s.log.Info("telephone takes no event", "device", number, "event", event.Name(), "err", err)
			}
		})
		if !taken {
			s.Report(slog.LevelWarn, number, "dropped an event for a telephone that has too much to answer", "event", event.Name())
		}
	}
}

// withoutDialog reports whether the telephones of a model speak CSTA by requests outside dialogs. m may be nil.
func (m *Model) withoutDialog() bool {
	return m != nil && (m.CSTA == "notify" || m.CSTA == "info")
}

// byNotify reports whether the telephone speaks CSTA by NOTIFY.
func (b *binding) byNotify() bool { return b.model != nil && b.model.CSTA == "notify" }
