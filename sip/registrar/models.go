package registrar

import (
	"context"
	"regexp"
	"strings"

	"github.com/tr87proxy/tr87proxy/internal/config"
	"github.com/tr87proxy/tr87proxy/sip"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// Model describes how telephones of one maker are commanded in addition to SIP.
type Model struct {
	Name           string
	Agent          *regexp.Regexp // matches their header User-Agent
	Answer, Resume *Notify        // makes them answer or retrieve a call; nil if nothing does
	CSTA           string         // "notify" or "info" if they speak uaCSTA by NOTIFY or INFO outside dialogs
	Requests       []string       // services that they may request outside dialogs
	Idle           bool           // its lamps want a dialog in state terminated of an extension without calls
	Services       []string       // uaCSTA services of telephones that do not list them; empty for the usual ones
}

// Notify is a NOTIFY outside a dialog. In its body, {call-id} stands for the Call-ID of the call.
type Notify struct{ Event, Type, Body string }

// ModelsOf converts the table of telephones, which config has checked.
func ModelsOf(list []config.Model) []Model {
	models := make([]Model, 0, len(list))
	for _, m := range list {
		models = append(models, Model{
			Name: m.Name, Agent: regexp.MustCompile(m.Agent), Services: messagesOf(m.Services), CSTA: m.CSTA, Requests: messagesOf(m.Requests), Idle: m.Idle == "terminated",
			Answer: (*Notify)(m.Answer), Resume: (*Notify)(m.Resume),
		})
	}
	return models
}

// messagesOf returns the names of the messages of services that are named as in capability lists.
func messagesOf(capabilities []string) []string {
	names := make([]string, 0, len(capabilities))
	for _, capability := range capabilities {
		names = append(names, uacsta.MessageOf(capability, false))
	}
	return names
}

// modelOf returns the model for a header User-Agent, or nil if none matches.
func (s *Server) modelOf(agent string) *Model {
	for i := range s.cfg.Models {
		if s.cfg.Models[i].Agent.MatchString(agent) {
			return &s.cfg.Models[i]
		}
	}
	return nil
}

// Command is a NOTIFY, defined by its maker, that makes a telephone answer or retrieve a call.
type Command struct {
	// Model is the name of the telephone's model.
	Model string

	server *Server
	user   *user
	to     Contact
	notify *Notify
}

// Command returns the command that makes a telephone of an extension answer the call that alerts there, or, with
// held, retrieve the one that its user holds. It returns nil if its maker has none.
func (s *Server) Command(number string, held bool) *Command {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.users[number]
	if u == nil {
		return nil
	}
	var c *Command
	for _, b := range u.bindings {
		if b.model == nil {
			continue
		}
		notify := b.model.Answer
		if held {
			notify = b.model.Resume
		}
		if notify != nil {
			c = &Command{Model: b.model.Name, server: s, user: u, to: s.at(b), notify: notify}
		}
	}
	return c
}

// Send sends the command, for the call of a dialog. It does not wait; the result shows in the call.
func (c *Command) Send(callID string) {
	s, u, n := c.server, c.user, c.notify
	own := c.to.Address(u.Number)
	s.spawn(func() {
		ctx, cancel := context.WithTimeout(s.ctx, requestTimeout)
		defer cancel()
		res, err := s.ua.Request(ctx, "NOTIFY", sip.Invite{
			To: own, Target: c.to.URI, From: own, Flow: c.to.Flow,
			ContentType: n.Type, Body: []byte(strings.ReplaceAll(n.Body, "{call-id}", callID)), Username: u.Name, Password: u.password(),
			Headers: []sip.Header{{Name: "Event", Value: n.Event}, {Name: "Subscription-State", Value: "terminated;reason=noresource"}},
		})
		if err != nil || res.Code()/100 != 2 {
			s.log.Info("telephone refused its maker's NOTIFY", "device", u.Number, "model", c.Model, "event", n.Event, "err", err)
		}
	})
}
