package front

import (
	"bytes"
	"fmt"
	"html"
	"io"
	"net/http"
	"path"
	"strconv"
	"strings"
	"sync"

	"github.com/tr87proxy/tr87proxy/uacsta"
	"github.com/tr87proxy/tr87proxy/wire/soap"
)

// The editions that the service is described in.
const oldest, newest = 3, 6

// editionOf returns the edition that a path names, such as /csta/ed3; the oldest if it names none, and 0 if it names one that
// is not described.
func editionOf(p string) uacsta.Edition {
	text, named := strings.CutPrefix(strings.TrimSuffix(strings.ToLower(path.Base(p)), ".xsd"), "ed")
	edition, err := strconv.Atoi(text)
	switch {
	case !named || err != nil:
		return oldest
	case edition < oldest || edition > newest:
		return 0
	}
	return uacsta.Edition(edition)
}

// texts are the descriptions and schemas that have been served, by kind and edition, each in parts between which the address of the
// service stands. Strangers get them, so a response must take neither time nor memory of its own.
var texts sync.Map

// textOf returns the parts of a text, which text makes for an address if it is not there yet.
func textOf(kind string, edition uacsta.Edition, text func(address string) []byte) [][]byte {
	type key struct {
		kind    string
		edition uacsta.Edition
	}
	if parts, known := texts.Load(key{kind, edition}); known {
		return parts.([][]byte)
	}
	const address = "http://address.invalid/"
	parts := bytes.Split(text(address), []byte(address))
	texts.Store(key{kind, edition}, parts)
	return parts
}

// describe serves descriptions and schemas. They have no secrets, and tools fetch them before they know a password.
func (s *Server) describe(w http.ResponseWriter, r *http.Request) {
	query := strings.ToLower(r.URL.RawQuery)
	edition := editionOf(r.URL.Path)
	file := strings.ToLower(path.Base(r.URL.Path))
	var parts [][]byte
	switch {
	case edition == 0:
		http.Error(w, fmt.Sprintf("CSTA over SOAP: the service is described in the editions ed%d to ed%d, such as GET /csta/ed%d?wsdl", oldest, newest, oldest), http.StatusNotFound)
		return
	case query == "wsdl":
		parts = textOf("service", edition, func(address string) []byte { return soap.Describe(edition, address) })
	case query == "wsdl=events":
		parts = textOf("sink", edition, func(string) []byte { return soap.DescribeSink(edition) })
	case file == "session.xsd":
		parts = textOf("session", 0, func(string) []byte { return uacsta.SessionSchema() })
	case file == fmt.Sprintf("ed%d.xsd", edition):
		parts = textOf("schema", edition, func(string) []byte { return uacsta.Schema(edition) })
	default:
		http.Error(w, "CSTA over SOAP: GET /csta/ed3?wsdl describes the service, ed3 to ed6 for the editions of CSTA, ?wsdl=events what a program serves that takes events", http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", "text/xml; charset=utf-8")
	address := html.EscapeString(s.address(r))
	for i, part := range parts {
		if i > 0 {
			_, _ = io.WriteString(w, address)
		}
		_, _ = w.Write(part) //nolint:gosec // it is ours
	}
}

// address returns the URL by which a client reaches the service.
func (s *Server) address(r *http.Request) string { return s.base(r) + r.URL.EscapedPath() }

// base returns the URL of the server as a client sees it, without a path.
func (s *Server) base(r *http.Request) string {
	if s.cfg.Address != "" {
		return strings.TrimSuffix(s.cfg.Address, "/")
	}
	if r.TLS != nil {
		return "https://" + r.Host
	}
	return "http://" + r.Host
}
