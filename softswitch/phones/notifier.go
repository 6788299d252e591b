package phones

import (
	"context"
	"log/slog"
	"slices"

	"github.com/tr87proxy/tr87proxy/sip"
	"github.com/tr87proxy/tr87proxy/softswitch"
	"github.com/tr87proxy/tr87proxy/tr87"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// OpenStage and its successors are no TR/87 peers: each CSTA request is a NOTIFY outside a
// dialog, to the telephone and from it, and its answer rides in the response. The telephone
// sends no events; those of features go to it.

// conversation is a way to ask a telephone by CSTA: a TR/87 session, or a notifier.
type conversation interface {
	Request(ctx context.Context, req *uacsta.Message) (*uacsta.Message, error)
	Close()
}

// notifier asks by NOTIFY.
type notifier struct {
	server *Server
	user   *user
	to     *binding
}

const notifyEvent = "uaCSTA"

// Request implements conversation. A response without body is the positive answer.
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

// Close implements conversation: there is nothing to end.
func (n *notifier) Close() {}

func (s *Server) notifyCSTA(ctx context.Context, u *user, b *binding, m *uacsta.Message) (*sip.Response, error) {
	own := s.address(u.Number, b)
	return s.ua.Request(ctx, "NOTIFY", sip.Invite{
		To: own, Target: b.contact, From: own, Flow: b.flow, ContentType: tr87.ContentType, Body: m.Bytes(), Username: u.Name, Password: u.password(),
		Headers: []sip.Header{{Name: "Event", Value: notifyEvent}, {Name: "Subscription-State", Value: "active;expires=3600"}},
	})
}

// served are the services that telephones may ask of us.
var served = []string{uacsta.NameGetDoNotDisturb, uacsta.NameSetDoNotDisturb, uacsta.NameGetForwarding, uacsta.NameSetForwarding}

// fromOutside handles a CSTA request that a telephone sends outside a dialog: the switch is
// the switching function, for the telephone's own extension.
func (s *Server) fromOutside(r *sip.Request) {
	u := s.account(r, r.From())
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
	var answer *uacsta.Message
	if slices.Contains(served, m.Name()) && s.desk == nil {
		m.SetText("device", u.Number)
		answer, err = s.sw.Ask(m)
	} else {
		err = uacsta.Refuse(uacsta.Operation, uacsta.ServiceNotSupported)
	}
	if err != nil {
		answer = uacsta.ErrorMessage(err, m.Edition())
	}
	r.Respond(sip.Answer{ContentType: tr87.ContentType, Body: answer.Bytes()})
}

// showFeatures tells telephones that take events by NOTIFY what has changed.
func (s *Server) showFeatures(f softswitch.Features) {
	events := map[string]any{"dnd": uacsta.DoNotDisturbEvent{MonitorCrossRefID: "1", Device: uacsta.Ext(f.Device), DoNotDisturbOn: f.DND.On}}
	for _, set := range f.Forwardings {
		if slices.Contains(forwardingKeys, set.Type) {
			event := uacsta.ForwardingEvent{MonitorCrossRefID: "1", Device: uacsta.Ext(f.Device), ForwardingType: set.Type, ForwardStatus: set.On}
			if set.To != "" {
				to := uacsta.Dev(set.To)
				event.ForwardTo = &to
			}
			events[string(set.Type)] = event
		}
	}
	for name, event := range events {
		m := uacsta.Encode(event, uacsta.Edition3)
		s.mu.Lock()
		u := s.users[f.Device]
		var to []*binding
		if u != nil && u.shown[name] != m.String() {
			for _, b := range u.bindings {
				if b.byNotify() {
					to = append(to, b)
				}
			}
			if u.shown == nil {
				u.shown = map[string]string{}
			}
			u.shown[name] = m.String()
		}
		s.mu.Unlock()
		for _, b := range to {
			taken := u.asks.do(func() {
				ctx, cancel := context.WithTimeout(s.ctx, cstaPatience)
				defer cancel()
				if _, err := s.notifyCSTA(ctx, u, b, m); err != nil {
					s.log.Info("a telephone takes no event", "device", u.Number, "event", m.Name(), "err", err)
				}
			})
			if !taken {
				s.report(slog.LevelWarn, u.Number, "a telephone has too much to answer: it is not told of an event", "event", m.Name())
			}
		}
	}
}

// byNotify reports whether the telephone speaks CSTA by NOTIFY.
func (b *binding) byNotify() bool { return b.model != nil && b.model.CSTA == "notify" }
