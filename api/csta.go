package api

import (
	"context"
	"encoding/json"
	"errors"
	"mime"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

func (s *Server) describeCSTA() {
	op := huma.Operation{
		OperationID: "csta", Method: http.MethodPost, Path: "/v1/csta", Summary: "Send any request of CSTA", Tags: []string{"csta"}, DefaultStatus: http.StatusOK,
		Description: "The request and its response are in the JSON form of CSTA, or in CSTA-XML if that is the type of the body. " +
			"docs/csta has a page for each request. Requests that open something that sends events need a WebSocket (/v1/events).",
	}
	huma.Register(s.api, bounded(op), func(ctx context.Context, in *WithBody) (*huma.StreamResponse, error) {
		kind, _, err := mime.ParseMediaType(in.ContentType)
		if err != nil || kind != typeJSON && !isXML(kind) {
			return nil, problem(http.StatusUnsupportedMediaType, "write Content-Type: application/json, or application/xml")
		}
		ctx, cancel := s.patience(ctx)
		if isXML(kind) && !in.DryRun {
			return &huma.StreamResponse{Body: func(h huma.Context) {
				defer cancel()
				_, w := humago.Unwrap(h)
				s.answerXML(ctx, w, in.RawBody)
			}}, nil
		}
		defer cancel()
		out, err := s.csta(ctx, in, isXML(kind))
		if err != nil {
			return nil, err
		}
		return &huma.StreamResponse{Body: func(h huma.Context) {
			h.SetHeader("Content-Type", typeJSON)
			_, _ = h.BodyWriter().Write(out)
		}}, nil
	})
	form := &huma.Schema{Type: huma.TypeObject, AdditionalProperties: true, Description: "one member: the name of the message, with its members"}
	document := &huma.MediaType{Schema: textual("a document of CSTA-XML")}
	example := map[string]any{uacsta.NameGetDoNotDisturb: map[string]any{"device": "101"}}
	described := s.api.OpenAPI().Paths[op.Path].Post
	described.RequestBody.Content = map[string]*huma.MediaType{typeJSON: {Schema: form, Example: example}, "application/xml": document}
	described.Responses["default"].Content["application/xml"] = document // a refusal of CSTA
	described.Responses["200"].Content = map[string]*huma.MediaType{typeJSON: {Schema: form}, "application/xml": document}
}

// parse reads a message whose values are those of the standard.
func parse(document []byte, xml bool) (*uacsta.Message, error) {
	read := uacsta.ParseJSON
	if xml {
		read = uacsta.Parse
	}
	m, err := read(document)
	if err == nil {
		err = m.Values()
	}
	return m, err
}

// csta carries out a request, or says what it would do, in JSON.
func (s *Server) csta(ctx context.Context, in *WithBody, xml bool) ([]byte, error) {
	c := clientOf(ctx)
	req, err := parse(in.RawBody, xml)
	if err != nil {
		return nil, unread(err)
	}
	if req.Kind() != uacsta.Request {
		return nil, problem(http.StatusUnprocessableEntity, "%s is no request", req.Name())
	}
	if in.DryRun {
		return json.Marshal(s.outlook(ctx, c, req))
	}
	if err := c.alone(req); err != nil {
		return nil, err
	}
	again := req.Clone()
	res, err := c.do(ctx, req)
	switch {
	case err != nil:
		a, device, call := actionOf(again)
		return nil, s.refusal(ctx, c, a, device, call, again, err)
	case res == nil:
		return []byte("{}"), nil
	}
	return json.Marshal(res)
}

// alone refuses requests that need a session of the client's own.
func (c *client) alone(req *uacsta.Message) error {
	switch name := req.Name(); {
	case name == uacsta.NameStartApplicationSession, name == uacsta.NameStopApplicationSession:
		return problem(http.StatusUnprocessableEntity, "%s: this interface has no application sessions; say who you are by HTTP", name)
	case c.events == nil && name == uacsta.NameGetSwitchingFunctionDevices:
		return problem(http.StatusUnprocessableEntity, "%s brings the list in events: use GET /v1/devices, or send it over a WebSocket (GET /v1/events)", name)
	case c.events == nil && proxy.Opens(name+"Response"):
		return problem(http.StatusUnprocessableEntity, "%s brings events: GET /v1/events has those of devices; or send it there, over the WebSocket", name)
	}
	return nil
}

// answerXML carries out a request in CSTA-XML. The response to one that is refused is CSTA-XML, too, with a comment for
// people.
func (s *Server) answerXML(ctx context.Context, w http.ResponseWriter, document []byte) {
	c := clientOf(ctx)
	write := func(status int, m *uacsta.Message, detail string) {
		w.Header().Set("Content-Type", "application/xml")
		w.WriteHeader(status)
		if m != nil {
			_, _ = w.Write(append(m.Bytes(), comment(detail)...)) // the client may have left
		}
	}
	req, err := parse(document, true)
	var unclear *uacsta.Unclear
	switch {
	case errors.As(err, &unclear):
		answer := make(chan *uacsta.Message, 1)
		c.session.Unclear(unclear, func(m *uacsta.Message) { answer <- m })
		select {
		case m := <-answer:
			write(http.StatusUnprocessableEntity, m, detailOf(unclear, m))
		case <-ctx.Done():
			fail(w, explained(ctx.Err()))
		}
		return
	case err != nil:
		fail(w, unread(err))
		return
	}
	if err := c.alone(req); err != nil {
		fail(w, explained(err))
		return
	}
	edition, again := req.Edition(), req.Clone()
	res, err := c.do(ctx, req)
	var refusal *uacsta.Error
	switch {
	case errors.As(err, &refusal):
		a, device, call := actionOf(again)
		p := s.refusal(ctx, c, a, device, call, again, err)
		write(p.Status, uacsta.ErrorMessage(refusal, edition), p.Detail)
	case err != nil:
		fail(w, explained(err))
	default:
		write(http.StatusOK, res, "")
	}
}

// detailOf says what is wrong with a request that could not be read, if m refuses it for that.
func detailOf(unclear *uacsta.Unclear, m *uacsta.Message) string {
	if unclear == nil || m == nil || m.Err() == nil || m.Err().Value != unclear.Refusal.Value {
		return ""
	}
	return unclear.Refusal.Detail
}

// comment returns a comment of XML behind a document; "" for no text.
func comment(text string) string {
	if text == "" {
		return ""
	}
	plain := strings.Map(func(r rune) rune {
		if r < ' ' || r == '\uFFFE' || r == '\uFFFF' {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, "?"))
	for strings.Contains(plain, "--") { // which ends a comment
		plain = strings.ReplaceAll(plain, "--", "- -")
	}
	return "\n<!-- " + plain + " -->\n"
}
