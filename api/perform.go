package api

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// Result is what an action has done.
type Result struct {
	Device string          `json:"device,omitempty"`
	Call   string          `json:"call,omitempty" doc:"the call: the new one, if the action makes one"`
	CSTA   json.RawMessage `json:"csta" doc:"the response of CSTA in its JSON form"`
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
			OperationID: a.name, Method: a.method, Path: a.path(), Summary: strings.TrimSuffix(strings.ReplaceAll(uacsta.ServiceOf(a.service).Text(), a.object, "the device"), "."), Tags: []string{tagOf(a)},
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
		look := s.outlook(ctx, c, req)
		look.Detail = a.short(look.Detail)
		return &actionOutput{Status: http.StatusOK, Body: look}, nil
	}
	res, err := c.do(ctx, req.Clone())
	if err != nil {
		p := s.refusal(ctx, c, a, in.Device, call, req, err)
		p.Detail = a.short(p.Detail)
		return nil, p
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
