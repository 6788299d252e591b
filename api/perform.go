package api

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	record "github.com/tr87proxy/tr87proxy/api/events"
	"github.com/tr87proxy/tr87proxy/policy"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// Result is what an action has done.
type Result struct {
	Device string          `json:"device,omitempty"`
	Call   string          `json:"call,omitempty" doc:"the call: the new one, if the action makes one"`
	CSTA   json.RawMessage `json:"csta" doc:"the response of CSTA in its JSON form"`
}

// Outlook is what an action would do.
type Outlook struct {
	DryRun       bool      `json:"dryRun"`
	Allowed      bool      `json:"allowed" doc:"whether the proxy would send it to the switch, which may still refuse it"`
	Service      string    `json:"service"`
	Link         string    `json:"link,omitempty"`
	Destinations []string  `json:"destinations,omitempty" doc:"where it would send calls"`
	Rulings      []Ruling  `json:"rulings" doc:"what the rules say of each device that it acts on"`
	CSTA         *Refusal  `json:"csta,omitempty" doc:"the error with which the proxy would refuse it"`
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

type rawObject = json.RawMessage

// WithBody is what a request with a body has beside its path. Package huma sees only exported types.
type WithBody struct {
	DryRun      bool   `query:"dryRun" doc:"only say what would happen, and which rule allows or refuses it"`
	ContentType string `header:"Content-Type"`
	Key         string `header:"Idempotency-Key" doc:"a name that you choose: a second request with it gets the first one's response, for a day" maxLength:"128"`
	RawBody     []byte `contentType:"application/json"`
}

// Resolve implements huma.Resolver.
func (in *WithBody) Resolve(ctx huma.Context) []error { return clearly(ctx, in.DryRun) }

// Resolve implements huma.Resolver.
func (in *getInput) Resolve(ctx huma.Context) []error { return clearly(ctx, in.DryRun) }

// clearly refuses a request that is carried out although it names dryRun in some way, or in two.
func clearly(ctx huma.Context, dryRun bool) []error {
	u := ctx.URL()
	values := u.Query()["dryRun"]
	if len(values) > 1 || len(values) == 1 && values[0] == "" && !dryRun {
		return []error{&huma.ErrorDetail{Location: "query.dryRun", Message: "write true or false, once"}}
	}
	return nil
}

type actionInput struct {
	Device string `path:"device" doc:"a number, as you write it" example:"101" maxLength:"128"`
	WithBody
}

type callActionInput struct {
	Device string `path:"device" doc:"a number, as you write it" example:"101" maxLength:"128"`
	Call   string `path:"call" doc:"the callID" example:"7" maxLength:"128"`
	WithBody
}

type getInput struct {
	Device string `path:"device" doc:"a number, as you write it" example:"101" maxLength:"128"`
	DryRun bool   `query:"dryRun" doc:"only say what would happen, and which rule allows or refuses it"`
}

type actionOutput struct {
	Status   int
	Location string `header:"Location"`
	Body     any
}

func (s *Server) describeActions() {
	for _, a := range actions() {
		op := huma.Operation{
			OperationID: a.name, Method: a.method, Path: a.path(), Summary: a.service, Tags: []string{tagOf(a)},
			Description: "The service " + a.service + " of CSTA.", DefaultStatus: http.StatusOK,
		}
		if a.service == uacsta.NameMakeCall {
			op.DefaultStatus = http.StatusCreated
		}
		switch {
		case a.call:
			huma.Register(s.api, bounded(op), func(ctx context.Context, in *callActionInput) (*actionOutput, error) {
				return s.act(ctx, a, &actionInput{in.Device, in.WithBody}, in.Call)
			})
		case a.method == http.MethodGet:
			huma.Register(s.api, op, func(ctx context.Context, in *getInput) (*actionOutput, error) {
				return s.act(ctx, a, &actionInput{Device: in.Device, WithBody: WithBody{DryRun: in.DryRun}}, "")
			})
		default:
			huma.Register(s.api, bounded(op), func(ctx context.Context, in *actionInput) (*actionOutput, error) {
				return s.act(ctx, a, in, "")
			})
		}
		s.describeBodies(a)
	}
}

func tagOf(a *action) string {
	if a.call || a.service == uacsta.NameMakeCall {
		return "calls"
	}
	return "devices"
}

// act carries out an action, or says what it would do.
func (s *Server) act(ctx context.Context, a *action, in *actionInput, call string) (*actionOutput, error) {
	ctx, cancel := s.patience(ctx)
	defer cancel()
	c := clientOf(ctx)
	req, err := s.request(ctx, c, a, in, call)
	if err != nil {
		return nil, err
	}
	if in.DryRun {
		return &actionOutput{Status: http.StatusOK, Body: outlook(c, req)}, nil
	}
	res, err := c.do(ctx, req.Clone())
	if err != nil {
		return nil, s.refusal(ctx, c, a, in.Device, call, req, err)
	}
	document, err := json.Marshal(res)
	if err != nil {
		return nil, err
	}
	out := &actionOutput{Status: http.StatusOK, Body: Result{Device: in.Device, Call: callOf(res, call), CSTA: document}}
	if a.service == uacsta.NameMakeCall {
		out.Status, out.Location = http.StatusCreated, "/v1/calls/"+url.PathEscape(callOf(res, call))
	}
	return out, nil
}

// callOf returns the call that a response names, or else the call of the request.
func callOf(res *uacsta.Message, call string) string {
	if list := res.Connections(); len(list) > 0 && list[0].CallID() != "" {
		return list[0].CallID()
	}
	return call
}

// outlook says what a request would do.
func outlook(c *client, req *uacsta.Message) Outlook {
	document, _ := json.Marshal(req) // a message always encodes
	look := c.session.Outlook(req.Clone())
	out := Outlook{
		DryRun: true, Allowed: look.Refusal == nil, Service: look.Service, Link: look.Link, Destinations: look.Destinations, Request: document, Rulings: []Ruling{},
	}
	var refusal *uacsta.Error
	if errors.As(look.Refusal, &refusal) {
		out.CSTA = &Refusal{string(refusal.Category), refusal.Value}
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
	return out
}

// refusal returns the problem of a request that failed, with what explains it: the rule, or the state of the connection.
func (s *Server) refusal(ctx context.Context, c *client, a *action, device, call string, req *uacsta.Message, err error) error {
	var p *Problem
	if !errors.As(s.explain(ctx, device, err), &p) {
		return err
	}
	if p.Status != http.StatusForbidden && p.CSTA != nil && device != "" {
		if v, err := c.session.View(device); err == nil && !slices.Contains(v.Features.Services, a.service) {
			return s.unable(ctx, c, device, a, p.CSTA)
		}
	}
	switch p.Status {
	case http.StatusForbidden:
		for _, d := range c.session.Outlook(req.Clone()).Devices {
			if !d.Decision.Allowed {
				p.Detail = d.Decision.Reason
				if d.Decision.Rule != nil {
					p.Rule = d.Decision.Rule.Name
				}
			}
		}
	case http.StatusConflict, http.StatusNotFound:
		if !a.call {
			break
		}
		calls, err := s.callsAt(ctx, c, device)
		if err != nil {
			break
		}
		i := slices.IndexFunc(calls, func(x Call) bool { return x.Call == call })
		if i < 0 {
			p.Detail = "device " + device + " has no call " + call
			break
		}
		p.State, p.Possible = calls[i].State, calls[i].Can
		p.Detail = a.service + " is not possible: the connection of device " + device + " in call " + call + " is in state " + p.State
	}
	return p
}

// unable is the problem of a device that does not support the service of an action, such as one that is no telephone.
func (s *Server) unable(ctx context.Context, c *client, device string, a *action, refusal *Refusal) *Problem {
	d, err := s.device(c, device)
	if err == nil {
		err = c.kind(ctx, &d)
	}
	what := "device " + device
	if err == nil && d.Kind != "" {
		what += " is of the kind " + d.Kind + ": it"
	}
	p := problem(http.StatusNotImplemented, "%s does not support %s; \"can\" of GET /v1/devices/%s lists what it supports", what, a.service, url.PathEscape(device))
	p.Device, p.CSTA = device, refusal
	return p
}

// request makes the CSTA request of an action: the body has its members, and the path gives the object.
func (s *Server) request(ctx context.Context, c *client, a *action, in *actionInput, call string) (*uacsta.Message, error) {
	if kind, _, err := mime.ParseMediaType(in.ContentType); len(in.RawBody) > 0 && (err != nil || kind != typeJSON) {
		return nil, problem(http.StatusUnsupportedMediaType, "write Content-Type: application/json")
	}
	fields, err := membersOf(in.RawBody)
	if err != nil {
		return nil, err
	}
	device := quoted(in.Device)
	connection := func(call string) json.RawMessage {
		return json.RawMessage(`{"callID":` + string(quoted(call)) + `,"deviceID":` + string(device) + `}`)
	}
	given := map[string]json.RawMessage{a.object: device}
	if a.call {
		given[a.object] = connection(call)
	}
	if err := a.known(fields); err != nil {
		return nil, err
	}
	for short, member := range map[string]string{"to": a.to, "by": a.by} {
		if value, ok := fields[short]; ok && member != "" {
			if short == "to" && a.many && value[0] != '[' {
				value = slices.Concat(json.RawMessage("["), value, json.RawMessage("]"))
			}
			given[member] = value
			delete(fields, short)
		}
	}
	if a.other != "" {
		with, err := text(fields, "with")
		if err != nil {
			return nil, err
		}
		held, active, err := s.pair(ctx, c, in.Device, call, with)
		if err != nil {
			return nil, err
		}
		given["heldCall"], given["activeCall"] = connection(held), connection(active)
	}
	if err := shorthand(a, fields, given); err != nil {
		return nil, err
	}
	for member, value := range given {
		if _, twice := fields[member]; twice {
			return nil, problem(http.StatusUnprocessableEntity, "%s is given twice: leave it out of the body", member)
		}
		fields[member] = value
	}
	if err := a.complete(fields); err != nil {
		return nil, err
	}
	document, err := json.Marshal(map[string]any{a.service: fields})
	if err != nil {
		return nil, problem(http.StatusBadRequest, "the body is no JSON object: %v", err)
	}
	req, err := parse(document, false)
	if err != nil {
		return nil, unread(err)
	}
	return req, nil
}

// known refuses a request with a member that there is not. Package uacsta checks what is inside the members.
func (a *action) known(fields map[string]json.RawMessage) error {
	members := a.members()
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		plain := strings.TrimPrefix(name, "@") // its attributes
		if slices.Contains(members, plain) || name == "@" || name == "otherElements" {
			continue
		}
		if slices.Contains([]string{a.object, "heldCall", "activeCall"}, plain) && a.method != http.MethodGet {
			return problem(http.StatusUnprocessableEntity, "%s is given twice: the path gives it, leave it out of the body", name)
		}
		p := problem(http.StatusUnprocessableEntity, "%.64q: there is no such member%s", name, uacsta.Advice(name, members))
		p.CSTA = &Refusal{string(uacsta.Operation), uacsta.InvalidParameterValue}
		return p
	}
	return nil
}

// complete refuses a request without a member that CSTA requires.
func (a *action) complete(fields map[string]json.RawMessage) error {
	for _, member := range a.needs {
		if _, given := fields[member]; given {
			continue
		}
		short := member
		switch member {
		case a.to:
			short = "to (" + member + ")"
		case a.by:
			short = "by (" + member + ")"
		}
		p := problem(http.StatusUnprocessableEntity, "%s is missing; docs/csta/%s.md and /openapi.json say what it is", short, a.service)
		p.CSTA = &Refusal{string(uacsta.Operation), uacsta.InvalidParameterValue}
		return p
	}
	return nil
}

// shorthand moves the members that people write into those of CSTA.
func shorthand(a *action, fields, given map[string]json.RawMessage) error {
	if a.service == uacsta.NameMakeCall {
		given["autoOriginate"] = quoted(string(uacsta.DoNotPrompt))
		if value, ok := fields["autoOriginate"]; ok {
			given["autoOriginate"] = value
			delete(fields, "autoOriginate")
		}
		if value, ok := fields["prompt"]; ok {
			var prompt bool
			if json.Unmarshal(value, &prompt) != nil {
				return problem(http.StatusUnprocessableEntity, "prompt must be true or false")
			}
			if prompt {
				given["autoOriginate"] = quoted(string(uacsta.Prompt))
			}
			delete(fields, "prompt")
		}
	}
	correlator, err := text(fields, "correlator")
	if err != nil || correlator == "" {
		return err
	}
	digits, ok := record.Digits(correlator)
	if !ok {
		return problem(http.StatusUnprocessableEntity, "correlator: what follows hex: must be hexadecimal digits, two for each octet")
	}
	given["correlatorData"] = json.RawMessage(`{"string":"` + digits + `"}`)
	return nil
}
