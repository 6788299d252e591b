package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"

	"github.com/tr87proxy/tr87proxy/policy"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// Outlook is what an action would do.
type Outlook struct {
	DryRun       bool      `json:"dryRun"`
	Allowed      bool      `json:"allowed" doc:"whether the proxy would send it to the switch, which may still refuse it"`
	Detail       string    `json:"detail,omitempty" doc:"why it would fail, for people; absent if nothing speaks against it"`
	Service      string    `json:"service"`
	Link         string    `json:"link,omitempty"`
	Destinations []string  `json:"destinations,omitempty" doc:"where it would send calls"`
	Rulings      []Ruling  `json:"rulings" doc:"what the rules say of each device that it acts on"`
	CSTA         *Refusal  `json:"csta,omitempty" doc:"the error with which the proxy would refuse it"`
	State        string    `json:"state,omitempty" doc:"the state of the connection on which it would act"`
	Possible     []string  `json:"possible,omitempty" doc:"the actions that are possible in this state and that you may use"`
	Request      rawObject `json:"request" doc:"the request of CSTA in its JSON form"`
}

// Ruling is what the rules say of a device.
type Ruling struct {
	Device  string  `json:"device,omitempty"`
	Allowed bool    `json:"allowed"`
	Rule    string  `json:"rule,omitempty" doc:"the rule that decides"`
	Reason  string  `json:"reason"`
	Tried   []Trial `json:"tried,omitempty" doc:"the client's rules before it, and why they do not apply"`
}

// Trial is a rule that does not decide.
type Trial struct {
	Rule string `json:"rule"`
	Why  string `json:"why"`
}

// outlook says what a request would do. It asks the switch for the state of the connection on which the request acts.
func (s *Server) outlook(ctx context.Context, c *client, req *uacsta.Message) Outlook {
	document, _ := json.Marshal(req) // a message always encodes
	look := c.session.Outlook(req.Clone())
	out := Outlook{
		DryRun: true, Allowed: look.Refusal == nil, Service: look.Service, Link: look.Link, Destinations: look.Destinations, Request: document, Rulings: []Ruling{},
	}
	for _, d := range look.Devices {
		ruling := Ruling{Device: d.Device, Allowed: d.Decision.Allowed, Reason: d.Decision.Reason}
		if d.Decision.Rule != nil {
			ruling.Rule = d.Decision.Rule.Name
		}
		for _, t := range d.Trials {
			if t.Why != policy.OtherIdentities { // whom else there are rules for is not the client's to know
				ruling.Tried = append(ruling.Tried, Trial{t.Rule, t.Why})
			}
		}
		out.Rulings = append(out.Rulings, ruling)
	}
	var refusal *uacsta.Error
	if errors.As(look.Refusal, &refusal) {
		p := ofCSTA(refusal)
		if p.Status == http.StatusForbidden {
			c.forbidden(p, req)
		}
		out.Detail, out.CSTA = p.Detail, p.CSTA
	}
	if out.Allowed {
		s.foresee(ctx, c, req, &out)
	}
	return out
}

// foresee adds what the switch would say to a request that the proxy would send, as far as the state of a connection or the
// services of a device tell.
func (s *Server) foresee(ctx context.Context, c *client, req *uacsta.Message, out *Outlook) {
	a, device, call := actionOf(req)
	if device == "" {
		return
	}
	if p := s.unable(ctx, c, device, a); p != nil {
		out.Detail = p.Detail
		return
	}
	if !a.call {
		return
	}
	at, p := s.connection(ctx, c, a, device, call)
	if at != nil {
		out.State, out.Possible = at.State, at.Can
	}
	if p != nil {
		out.Detail = p.Detail
	}
}

// actionOf returns the action that a request of CSTA is, and the device and the call on which it acts. Of a request that is
// no action it returns one that has only the service.
func actionOf(req *uacsta.Message) (a *action, device, call string) {
	i := slices.IndexFunc(actions(), func(a *action) bool { return a.service == req.Name() })
	if i < 0 {
		return &action{service: req.Name()}, "", ""
	}
	if a = actions()[i]; a.call {
		return a, req.Text(a.object + "/deviceID"), req.Text(a.object + "/callID")
	}
	return a, req.Text(a.object), ""
}
