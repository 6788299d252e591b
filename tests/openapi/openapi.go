// Package openapi checks what tests say over HTTP, and what they hear, against the OpenAPI document of the server that they
// ask.
package openapi

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"
	faults "github.com/pb33f/libopenapi-validator/errors"
)

// Path is where a server has its document.
const Path = "/openapi.json"

// Document is an OpenAPI document.
type Document struct {
	mu    sync.Mutex // the library does not say that its validator may be used at the same time
	check validator.Validator
}

// documents are those that were read, by what they say: to read one takes seconds.
var documents struct {
	sync.Mutex
	read map[[32]byte]*Document
}

// Read reads a document and checks that it is one. It reads each only once.
func Read(data []byte) (*Document, error) {
	documents.Lock()
	defer documents.Unlock()
	sum := sha256.Sum256(data)
	if d := documents.read[sum]; d != nil {
		return d, nil
	}
	document, err := libopenapi.NewDocument(data)
	if err != nil {
		return nil, err
	}
	check, errs := validator.NewValidator(document)
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	if valid, list := check.ValidateDocument(); !valid {
		return nil, said("the document", list)
	}
	if documents.read == nil {
		documents.read = map[[32]byte]*Document{}
	}
	d := &Document{check: check}
	documents.read[sum] = d
	return d, nil
}

// said puts what the library finds into one error.
func said(what string, list []*faults.ValidationError) error {
	var b strings.Builder
	b.WriteString(what + " does not fit:")
	for _, e := range list {
		fmt.Fprintf(&b, "\n%s: %s", e.Message, e.Reason)
		for _, s := range e.SchemaValidationErrors {
			fmt.Fprintf(&b, "\n  %s at %s", s.Reason, s.FieldPath)
		}
	}
	return errors.New(b.String())
}

// Exchange checks a request and its response, whose bodies are given apart. The server may refuse a request that does not
// fit the document, but must not carry it out; and what is no operation of the document is not found.
func (d *Document) Exchange(req *http.Request, sent []byte, res *http.Response, got []byte) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	req, again := req.Clone(req.Context()), *res
	req.Body, again.Body = io.NopCloser(bytes.NewReader(sent)), io.NopCloser(bytes.NewReader(got))
	valid, list := d.check.ValidateHttpRequestSync(req)
	absent := false
	for _, e := range list {
		absent = absent || e.IsPathMissingError() || e.IsOperationMissingError()
	}
	what := fmt.Sprintf("%s %s %.500s (%d %.500s)", req.Method, req.URL, sent, res.StatusCode, got)
	switch {
	case absent && res.StatusCode/100 == 2:
		return fmt.Errorf("%s: the document has no such operation", what)
	case absent:
		return nil
	case !valid && res.StatusCode/100 == 2:
		return said("the request "+what, list)
	}
	if kind := res.Header.Get("Content-Type"); strings.HasPrefix(kind, "text/event-stream") {
		return nil
	}
	req.Body = io.NopCloser(bytes.NewReader(sent))
	if valid, list := d.check.ValidateHttpResponse(req, &again); !valid {
		return said("the response to "+what, list)
	}
	return nil
}

// Transport is an http.RoundTripper that checks everything against the document of each server. Servers whose pages are
// elsewhere than at [Path] are not for it.
type Transport struct {
	// Base carries out the requests; nil: http.DefaultTransport.
	Base http.RoundTripper
	// Fault is called with what does not fit.
	Fault func(error)

	mu    sync.Mutex
	known map[string]*Document // by the URL of the server
}

// open are the paths that the document need not have.
func open(path string) bool {
	return path == Path || path == "/" || path == "/asyncapi.json" || strings.HasPrefix(path, "/problems/")
}

// RoundTrip implements http.RoundTripper.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	if open(req.URL.Path) || req.Header.Get("Upgrade") != "" || req.Method == http.MethodOptions {
		return t.base().RoundTrip(req)
	}
	document, err := t.document(req.Context(), req.URL)
	if err != nil {
		t.Fault(err)
		return t.base().RoundTrip(req)
	}
	var sent []byte
	if req.Body != nil {
		if sent, err = io.ReadAll(req.Body); err != nil {
			return nil, err
		}
		_ = req.Body.Close()
		req = req.Clone(req.Context())
		req.Body = io.NopCloser(bytes.NewReader(sent))
	}
	res, err := t.base().RoundTrip(req)
	if err != nil {
		return nil, err
	}
	var got []byte
	if !strings.HasPrefix(res.Header.Get("Content-Type"), "text/event-stream") {
		got, err = io.ReadAll(res.Body)
		_ = res.Body.Close()
		if err != nil {
			return nil, err
		}
		res.Body = io.NopCloser(bytes.NewReader(got))
	}
	if err := document.Exchange(req, sent, res, got); err != nil {
		t.Fault(err)
	}
	return res, nil
}

func (t *Transport) base() http.RoundTripper {
	if t.Base == nil {
		return http.DefaultTransport
	}
	return t.Base
}

func (t *Transport) document(ctx context.Context, u *url.URL) (*Document, error) {
	server := u.Scheme + "://" + u.Host
	t.mu.Lock()
	defer t.mu.Unlock()
	if d := t.known[server]; d != nil {
		return d, nil
	}
	ask, err := http.NewRequestWithContext(ctx, http.MethodGet, server+Path, nil) //nolint:gosec // the server that the test asks
	if err != nil {
		return nil, err
	}
	res, err := t.base().RoundTrip(ask)
	if err != nil {
		return nil, err
	}
	defer func() { _ = res.Body.Close() }()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, err
	}
	d, err := Read(bytes.ReplaceAll(data, []byte(server), []byte("http://server"))) // the same for all servers
	if err != nil {
		return nil, err
	}
	if t.known == nil {
		t.known = map[string]*Document{}
	}
	t.known[server] = d
	return d, nil
}
