package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// SocketRequest is a request over a WebSocket. It stands for a request over HTTP, and the response has the same id.
type SocketRequest struct {
	ID      string            `json:"id" maxLength:"128" doc:"A name of the request, which its response has, too."`
	Method  string            `json:"method" enum:"GET,POST,PUT,DELETE,PATCH"`
	Path    string            `json:"path" doc:"The path, with the parameters of the query." example:"/v1/devices/101/calls"`
	Headers map[string]string `json:"headers,omitempty" doc:"Headers, such as Idempotency-Key and Content-Type."`
	Body    json.RawMessage   `json:"body,omitempty" doc:"The body; one that is not JSON is a string."`
}

// SocketResponse is the response to a request over a WebSocket.
type SocketResponse struct {
	ID      string            `json:"id"`
	Status  int               `json:"status" doc:"As over HTTP."`
	Headers map[string]string `json:"headers,omitempty" doc:"Headers that matter, such as Retry-After."`
	Body    any               `json:"body,omitempty" doc:"The body; one that is not JSON is a string."`
}

// Acknowledgement says which events an application has, on a WebSocket that the proxy has opened.
type Acknowledgement struct {
	Ack string `json:"ack" doc:"The id of the last event that need not be sent again."`
}

// cstaMessage is a message of CSTA that comes by itself: an event of a monitor that was started over this WebSocket.
type cstaMessage struct {
	Type string          `json:"type"`
	CSTA *uacsta.Message `json:"csta"`
}

const typeCSTA = "csta"

// encoded encodes a message of ours.
func encoded(message any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(message); err != nil {
		return []byte(`{"type":"error"}`) // JSON of a message that is not valid, which tests of uacsta exclude
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// message handles a message of the client.
func (k *socket) message(data []byte) {
	q, err := requestIn(data)
	var p *Problem
	switch {
	case q.ack != nil && err == nil:
		k.acked.Store(*q.ack)
	case errors.As(err, &p):
		k.refuse(q.ID, p)
	case q.Path == cstaPath && q.Method == http.MethodPost && q.header("Idempotency-Key") == "":
		k.csta(q)
	case q.Path == eventsPath && q.Method == http.MethodPut:
		k.begin(q, func() { k.resubscribe(q) })
	default:
		k.begin(q, func() { k.carryOut(q) })
	}
}

const cstaPath = "/v1/csta"

// inquiry is a request that was read.
type inquiry struct {
	SocketRequest

	ack *uint64
}

// header returns the value of a header.
func (q *inquiry) header(name string) string {
	for key, value := range q.Headers {
		if strings.EqualFold(key, name) {
			return value
		}
	}
	return ""
}

// body returns the body as it would be over HTTP.
func (q *inquiry) body() []byte {
	var text string
	if kind, _, _ := mime.ParseMediaType(q.header("Content-Type")); kind != "" && kind != typeJSON && json.Unmarshal(q.Body, &text) == nil {
		return []byte(text)
	}
	return q.Body
}

// requestIn reads a message. With an error, the id is there if it could be read.
func requestIn(data []byte) (q inquiry, err error) {
	fields, err := membersOf(data)
	if err != nil {
		return q, err
	}
	if value, ok := fields["ack"]; ok && len(fields) == 1 {
		var text string
		if json.Unmarshal(value, &text) == nil {
			if n, err := strconv.ParseUint(text, 10, 64); err == nil {
				q.ack = &n
				return q, nil
			}
		}
		return q, problem(http.StatusBadRequest, "ack must be the id of an event")
	}
	if json.Unmarshal(fields["id"], &q.ID) != nil || q.ID == "" || len(q.ID) > 128 {
		q.ID = ""
		return q, problem(http.StatusBadRequest, "the request has no id: a text that you choose, and that its response has, too")
	}
	for name, value := range fields {
		var into any
		switch name {
		case "id":
			continue
		case "body":
			q.Body = value
			continue
		case "method":
			into = &q.Method
		case "path":
			into = &q.Path
		case "headers":
			into = &q.Headers
		default:
			return q, problem(http.StatusBadRequest, "a request has id, method, path, headers and body, and no %.64q", name)
		}
		if json.Unmarshal(value, into) != nil {
			return q, problem(http.StatusBadRequest, "%s has the wrong type", name)
		}
	}
	u, err := url.ParseRequestURI(q.Path)
	if err != nil || !strings.HasPrefix(q.Path, "/") || strings.HasPrefix(q.Path, "//") || strings.Contains(q.Path, "#") || u.Host != "" || u.Scheme != "" {
		return q, problem(http.StatusBadRequest, "path must be that of a request over HTTP, such as /v1/devices")
	}
	switch q.Method {
	case http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodPatch:
	default:
		return q, problem(http.StatusBadRequest, "method must be GET, POST, PUT, DELETE or PATCH")
	}
	return q, nil
}

// begin carries a request out on a goroutine, if not too many are.
func (k *socket) begin(q inquiry, what func()) {
	k.mu.Lock()
	full := k.open >= maxRequests
	if !full {
		k.open++
	}
	k.mu.Unlock()
	if full {
		p := problem(http.StatusTooManyRequests, "at most %d requests at a time on a WebSocket: wait for a response", maxRequests)
		k.refuse(q.ID, p)
		return
	}
	k.spawn("a request over a WebSocket", func() {
		defer func() {
			k.mu.Lock()
			k.open--
			k.mu.Unlock()
		}()
		what()
	})
}

// carryOut carries out a request as one over HTTP.
func (k *socket) carryOut(q inquiry) {
	r, err := http.NewRequestWithContext(k.ctx, q.Method, q.Path, bytes.NewReader(q.body()))
	if err != nil {
		k.refuse(q.ID, problem(http.StatusBadRequest, "the request cannot be read"))
		return
	}
	r.RequestURI, r.Host = q.Path, "localhost"
	if len(q.Body) > 0 {
		r.Header.Set("Content-Type", typeJSON)
	}
	for key, value := range q.Headers {
		if !allowedHeaders[http.CanonicalHeaderKey(key)] {
			k.refuse(q.ID, problem(http.StatusBadRequest, "the header %.64q means nothing on a WebSocket", key))
			return
		}
		r.Header.Set(key, value)
	}
	out := &recorder{header: http.Header{}, status: http.StatusOK}
	k.server.ServeHTTP(out, r)
	k.respond(q.ID, out.status, out.header, out.body.Bytes())
}

// allowedHeaders may be in a request over a WebSocket.
var allowedHeaders = map[string]bool{"Content-Type": true, "Accept": true, "Idempotency-Key": true}

// respond sends the response to a request.
func (k *socket) respond(id string, status int, header http.Header, body []byte) {
	res := SocketResponse{ID: id, Status: status}
	for _, name := range []string{"Retry-After", "Location", "Idempotency-Replayed"} {
		if value := header.Get(name); value != "" {
			if res.Headers == nil {
				res.Headers = map[string]string{}
			}
			res.Headers[name] = value
		}
	}
	kind, _, _ := mime.ParseMediaType(header.Get("Content-Type"))
	switch {
	case len(body) == 0:
	case (kind == typeJSON || strings.HasSuffix(kind, "+json")) && json.Valid(body):
		res.Body = json.RawMessage(body)
	default:
		res.Body = string(body)
	}
	k.send(encoded(res))
}

// refuse sends a problem as the response to a request.
func (k *socket) refuse(id string, p *Problem) {
	res := SocketResponse{ID: id, Status: p.Status, Body: p}
	for name, values := range p.GetHeaders() {
		res.Headers = map[string]string{name: values[0]}
	}
	k.send(encoded(res))
}

// resubscribe changes which events the stream has.
func (k *socket) resubscribe(q inquiry) {
	in, err := subscriptionIn(q.body())
	if err == nil {
		err = k.subscribe(k.ctx, in)
	}
	if err != nil {
		k.refuse(q.ID, streaming(err))
		return
	}
	k.respond(q.ID, http.StatusNoContent, http.Header{}, nil)
}
