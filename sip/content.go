package sip

import (
	"bytes"
	"io"
	"mime"
	"mime/multipart"
	"slices"
	"strings"
)

// maxParts bounds the parts of a multipart body.
const maxParts = 16

// accepts returns the header that lists the media types we read, or none if nothing says which.
func (ua *UA) accepts() []Header {
	if len(ua.cfg.Accepts) == 0 {
		return nil
	}
	return []Header{{"Accept", strings.Join(ua.cfg.Accepts, ", ")}}
}

// unpack finds the body that handlers read: the first part of a multipart body that has a type in [Config].Accepts,
// or the last one of multipart/alternative (RFC 5621 3). The Answer, if not nil, refuses the request: its body is
// encoded, is no multipart body although it says so, or has another part that the sender declares required.
func (r *Request) unpack() *Answer {
	body := r.msg.Body()
	if len(body) == 0 {
		return nil
	}
	if coding := strings.TrimSpace(r.Header("Content-Encoding")); coding != "" && !strings.EqualFold(coding, "identity") { // RFC 3261 8.2.3
		return &Answer{Code: 415, Headers: []Header{{"Accept-Encoding", "identity"}}}
	}
	whole := r.Header("Content-Type")
	if !strings.HasPrefix(mediaType(whole), "multipart/") || len(r.ua.cfg.Accepts) == 0 {
		return nil
	}
	_, params, err := mime.ParseMediaType(whole)
	if err != nil || params["boundary"] == "" {
		return &Answer{Code: 400, Reason: "Malformed Content-Type"}
	}
	parts := multipart.NewReader(bytes.NewReader(body), params["boundary"])
	for range maxParts {
		part, err := parts.NextRawPart()
		if err == io.EOF { //nolint:errorlint // the documented end
			break
		}
		if err != nil {
			return &Answer{Code: 400, Reason: "Malformed Multipart Body"}
		}
		text, err := io.ReadAll(part)
		if err != nil {
			return &Answer{Code: 400, Reason: "Malformed Multipart Body"}
		}
		kind := mediaType(part.Header.Get("Content-Type"))
		handling, _ := param(part.Header.Get("Content-Disposition"), "handling")
		switch read := slices.Contains(r.ua.cfg.Accepts, kind); {
		case read && (r.kind == "" || mediaType(whole) == "multipart/alternative"):
			r.kind, r.body = kind, text
		case !read && strings.EqualFold(handling, "required"):
			return &Answer{Code: 415}
		}
	}
	return nil
}
