package tr87

import (
	"errors"

	"github.com/tr87proxy/tr87proxy/sip"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// ContentType is the media type of CSTA-XML messages.
const ContentType = "application/csta+xml"

// disposition makes a peer that does not know the content type refuse the request (TR/87).
var disposition = sip.Header{Name: "Content-Disposition", Value: "signal;handling=required"}

// lcsNamespace is the namespace of the private data in which clients of the Lync family name
// their line.
const lcsNamespace = "http://schemas.microsoft.com/Lcs/2005/04/RCCExtension"

// WithLine returns a copy of m that names the line in private data, as Lync clients do.
func WithLine(m *uacsta.Message, line string) *uacsta.Message {
	return m.WithPrivate("lcs", lcsNamespace, "line", line)
}

// readOpening parses the body of an INVITE or INFO; m is nil if there is none. refusal is the
// response to a body that is no CSTA message or too large. unclear is set as well if the body
// is ambiguous.
func readOpening(r *sip.Request) (m *uacsta.Message, unclear *uacsta.Unclear, refusal *sip.Answer) {
	if r.Oversized() {
		return nil, nil, &sip.Answer{Code: 513}
	}
	if len(r.Body()) == 0 {
		return nil, nil, nil
	}
	if r.ContentType() != ContentType {
		return nil, nil, &sip.Answer{Code: 415, Headers: []sip.Header{{Name: "Accept", Value: ContentType}}}
	}
	elements := uacsta.MaxElements
	if !r.Known() {
		elements = strangerElements
	}
	m, err := uacsta.ParseWithin(r.Body(), elements)
	switch {
	case errors.As(err, &unclear):
		return nil, unclear, &sip.Answer{Code: 400, Reason: "Body Can Be Read In Two Ways"}
	case errors.Is(err, uacsta.ErrTooManyElements) && !r.Known():
		return nil, nil, &sip.Answer{Code: 513}
	case err != nil:
		return nil, nil, &sip.Answer{Code: 400, Reason: "Body Is Not CSTA-XML"}
	}
	return m, nil, nil
}
