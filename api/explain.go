package api

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// explain converts an error about a device into a problem, with what the core knows about the device.
func (s *Server) explain(ctx context.Context, device string, err error) *Problem {
	p := explained(err)
	p.Device = device
	if device == "" {
		return p
	}
	c := clientOf(ctx)
	switch p.Status {
	case http.StatusNotFound:
		switch {
		case errors.Is(err, proxy.ErrUnknownLine):
			p.Detail = "there is no device " + device + ": no link serves it"
		case p.CSTA != nil && c.kind(ctx, &Device{Device: device, services: []string{uacsta.NameGetLogicalDeviceInformation}}) != nil:
			p.Detail = "there is no device " + device
		}
	case http.StatusForbidden:
		c.unseen(p, device)
	case http.StatusServiceUnavailable:
		v, viewed := c.session.View(device)
		if viewed != nil || v.Link.Up {
			break
		}
		p.Detail = "link " + v.Link.Name + " is down since " + v.Link.Since.UTC().Format(time.RFC3339)
		if v.Link.Since.IsZero() {
			p.Detail = "link " + v.Link.Name + " has not come up yet"
		}
		p.retry = 5 * time.Second
	}
	return p
}

// refusal returns the problem of a request that failed, with what explains it: the rule, the kind of the device, or the state
// of the connection.
func (s *Server) refusal(ctx context.Context, c *client, a *action, device, call string, req *uacsta.Message, err error) *Problem {
	p := s.explain(ctx, device, err)
	if p.Status == http.StatusForbidden {
		c.forbidden(p, req)
		return p
	}
	if p.CSTA != nil && device != "" && p.Status < http.StatusInternalServerError {
		if why := s.unable(ctx, c, device, a); why != nil {
			why.CSTA = p.CSTA
			return why
		}
	}
	switch {
	case p.CSTA != nil && p.CSTA.Value == uacsta.ConnectedCallExists:
		s.engaged(ctx, c, device, p)
	case a.call && (p.Status == http.StatusConflict || p.Status == http.StatusNotFound):
		at, why := s.connection(ctx, c, a, device, call)
		switch {
		case at != nil:
			p.Call, p.State, p.Possible = at.Call, at.State, at.Can
			p.Detail = inState(a, at)
		case why != nil:
			p.Detail = why.Detail
		}
	}
	return p
}

// engaged adds to the problem of a device that has an active call which call that is, and what to do.
func (s *Server) engaged(ctx context.Context, c *client, device string, p *Problem) {
	calls, err := s.callsAt(ctx, c, device)
	i := slices.IndexFunc(calls, func(x Call) bool { return slices.Contains(activeStates, x.State) })
	if err != nil || i < 0 {
		return
	}
	at, what := &calls[i], "clear"
	if slices.Contains(at.Can, "hold") {
		what = "hold or clear"
	}
	p.Call, p.State, p.Possible = at.Call, at.State, at.Can
	p.Detail += ": device " + device + " is in call " + at.Call + ", state " + at.State + "; " + what + " that first"
}

// activeStates are the states of a connection beside which a device has no other active one.
var activeStates = []string{string(uacsta.Connected), string(uacsta.Initiated), string(uacsta.Fail)}

// forbidden adds to a problem which rule refuses a request, and how to find out more.
func (c *client) forbidden(p *Problem, req *uacsta.Message) {
	look, device := c.session.Outlook(req.Clone()), ""
	for _, d := range look.Devices {
		if d.Decision.Allowed {
			continue
		}
		device, p.Detail = d.Device, d.Decision.Reason
		if d.Decision.Rule != nil {
			p.Rule = d.Decision.Rule.Name
		}
	}
	if device == "" {
		return
	}
	words := []string{"tr87proxy policy explain --front", c.who.front(), "--as", shell(c.session.Identity().Name)}
	if c.who.reach == proxy.ReachObserve {
		words = append(words, "--scope observe")
	}
	words = append(words, req.Name(), shell(device))
	for _, to := range look.Destinations {
		words = append(words, shell(to))
	}
	p.Detail += "; at the proxy, " + strings.Join(words, " ") + " shows how its configuration decides"
}

// unseen is forbidden for a device that the client may not observe, whichever service would show it.
func (c *client) unseen(p *Problem, device string) {
	c.forbidden(p, uacsta.Encode(uacsta.SnapshotDevice{SnapshotObject: uacsta.Dev(device)}, uacsta.Edition6))
	p.Detail = strings.Replace(p.Detail, "use "+uacsta.NameSnapshotDevice+" on", "observe", 1)
}

// shell writes a text as a word of a command line.
func shell(text string) string {
	if text != "" && strings.Trim(text, "+-.:@_/0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") == "" {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}

// unable returns the problem of a device that does not support the service of an action, such as one that is no telephone;
// nil if it supports it, or the client may not know.
func (s *Server) unable(ctx context.Context, c *client, device string, a *action) *Problem {
	v, err := c.session.View(device)
	if err != nil || slices.Contains(v.Features.Services, a.service) {
		return nil //nolint:nilerr // what the client may not know is no reason
	}
	d := Device{Device: device, services: v.Features.Services}
	what := "device " + device
	if c.kind(ctx, &d) == nil && d.Kind != "" {
		what += " is of the kind " + d.Kind + ": it"
	}
	p := problem(http.StatusNotImplemented, "%s does not support %s; \"can\" of GET /v1/devices/%s lists what it supports", what, a.service, url.PathEscape(device))
	p.Device = device
	return p
}

// connection returns the call of a device on which an action acts, and why the action is not possible there; nil if it is.
// Without either, the switch does not say.
func (s *Server) connection(ctx context.Context, c *client, a *action, device, call string) (*Call, *Problem) {
	calls, err := s.callsAt(ctx, c, device)
	if err != nil {
		return nil, nil //nolint:nilerr // the switch does not say
	}
	i := slices.IndexFunc(calls, func(x Call) bool { return x.Call == call })
	if i < 0 {
		return nil, notFound(device, "device "+device+" has no call "+call)
	}
	if slices.Contains(calls[i].Can, a.name) {
		return &calls[i], nil
	}
	return &calls[i], conflict(device, inState(a, &calls[i]))
}

// inState says that an action is not possible in the state of a connection.
func inState(a *action, at *Call) string {
	return a.service + " is not possible: the connection of device " + at.Device + " in call " + at.Call + " is in state " + at.State
}
