package operations

import (
	"encoding/json"
	"net/http"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// Request is a request of CSTA, for a form.
type Request struct {
	Name    string         `json:"name"`
	Fields  []uacsta.Field `json:"fields"`
	Example json.Marshaler `json:"example"` // in JSON
}

// requests returns the requests that clients can send.
func requests() []Request {
	list := []Request{}
	for _, name := range uacsta.Services() {
		if example := uacsta.Example(name); example != nil {
			list = append(list, Request{Name: name, Fields: uacsta.Fields(name), Example: example})
		}
	}
	return list
}

// serveMessages responds with the requests of CSTA, or with json, a message in its JSON form, in CSTA-XML.
func serveMessages(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	if !query.Has("json") {
		answer(w, map[string]any{"requests": requests()}, nil)
		return
	}
	m, err := uacsta.ParseJSON([]byte(query.Get("json")))
	if err == nil {
		err = m.Values()
	}
	if err != nil {
		answer(w, nil, err)
		return
	}
	answer(w, map[string]string{"xml": m.Indented()}, nil)
}
