package front

import (
	"fmt"
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

// schemas are the XML schemas by edition; 0 is that of application sessions.
var schemas sync.Map

func schemaOf(edition uacsta.Edition) []byte {
	if text, known := schemas.Load(edition); known {
		return text.([]byte)
	}
	text := uacsta.SessionSchema()
	if edition != 0 {
		text = uacsta.Schema(edition)
	}
	schemas.Store(edition, text)
	return text
}

// describe serves descriptions and schemas. They have no secrets, and tools fetch them before they know a password.
func (s *Server) describe(w http.ResponseWriter, r *http.Request) {
	query := strings.ToLower(r.URL.RawQuery)
	edition := editionOf(r.URL.Path)
	file := strings.ToLower(path.Base(r.URL.Path))
	var text []byte
	switch {
	case edition == 0:
		http.Error(w, fmt.Sprintf("CSTA over SOAP: the service is described in the editions ed%d to ed%d, such as GET /csta/ed%d?wsdl", oldest, newest, oldest), http.StatusNotFound)
		return
	case query == "wsdl":
		text = soap.Describe(edition, s.address(r))
	case query == "wsdl=events":
		text = soap.DescribeSink(edition)
	case file == "session.xsd":
		text = schemaOf(0)
	case file == fmt.Sprintf("ed%d.xsd", edition):
		text = schemaOf(edition)
	default:
		http.Error(w, "CSTA over SOAP: GET /csta/ed3?wsdl describes the service, ed3 to ed6 for the editions of CSTA, ?wsdl=events what a program serves that takes events", http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", "text/xml; charset=utf-8")
	_, _ = w.Write(text) //nolint:gosec // what is the client's own in it is escaped
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
