package api

import (
	"cmp"
	"errors"
	"mime"
	"net/http"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// csta sends a request of CSTA to the core at once: requests reach it in the order in which the client sent them, and a
// response precedes the events that its request causes.
func (k *socket) csta(q inquiry) {
	xml := false
	switch kind, _, err := mime.ParseMediaType(q.header("Content-Type")); {
	case q.header("Content-Type") == "" || err == nil && kind == typeJSON:
	case err == nil && isXML(kind):
		xml = true
	default:
		k.refuse(q.ID, problem(http.StatusUnsupportedMediaType, "write the header Content-Type: application/json, or application/xml"))
		return
	}
	body := []byte(q.Body)
	if xml {
		body = q.body()
	}
	req, err := parse(body, xml)
	var unclear *uacsta.Unclear
	reply := func(m *uacsta.Message) { k.answer(q.ID, xml, m, unclear) }
	switch {
	case errors.As(err, &unclear):
		k.client.session.Unclear(unclear, reply)
		return
	case err != nil:
		k.refuse(q.ID, explained(unread(err)))
		return
	}
	if err := k.client.alone(req); err != nil {
		k.refuse(q.ID, explained(err))
		return
	}
	k.client.session.Request(req, reply)
}

// isXML reports whether a media type is that of a document of CSTA-XML.
func isXML(kind string) bool {
	return kind == "application/xml" || kind == "text/xml" || kind == "application/csta+xml"
}

// answer sends the response of the core; nil: there is none. unclear is why the request could not be read, or nil.
func (k *socket) answer(id string, xml bool, m *uacsta.Message, unclear *uacsta.Unclear) {
	res := SocketResponse{ID: id, Status: http.StatusOK}
	switch {
	case m == nil:
		res.Status = http.StatusNoContent
	case xml:
		if refusal := m.Err(); refusal != nil {
			res.Status = ofCSTA(refusal).Status
		}
		res.Body = string(m.Bytes()) + comment(detailOf(unclear, m))
	case m.Err() != nil:
		p := ofCSTA(m.Err())
		p.Detail = cmp.Or(detailOf(unclear, m), p.Detail)
		k.refuse(id, p)
		return
	default:
		res.Body = m
	}
	k.send(encoded(res))
}
