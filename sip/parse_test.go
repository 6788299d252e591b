package sip

import (
	"fmt"
	"strings"
	"testing"

	gosip "github.com/emiago/sipgo/sip"

	"github.com/tr87proxy/tr87proxy/tests/samples"
)

// found returns what the codec finds in a message, in the words of [samples.SIP].
func found(data string, msg gosip.Message, what string) string {
	var header func(string) string
	var contacts []Address
	var body []byte
	kind := ""
	switch m := msg.(type) {
	case *gosip.Request:
		r := &Request{msg: m, uri: requestURI([]byte(data))}
		header, contacts, body, kind = r.Header, r.Contacts(), r.Body(), r.ContentType()
		switch what {
		case "method":
			return r.Method()
		case "uri":
			return r.URI()
		}
	case *gosip.Response:
		r := &Response{m}
		header, contacts, body, kind = r.Header, r.Contacts(), r.Body(), r.ContentType()
		switch what {
		case "code":
			return fmt.Sprint(r.Code())
		case "reason":
			return r.Reason()
		}
	}
	v, _ := parseVia(header("Via"))
	switch what {
	case "sent-by":
		return v.sentBy
	case "branch":
		return v.branch()
	case "from":
		return parseAddress(header("From")).URI
	case "from-tag":
		return parseAddress(header("From")).Tag()
	case "to":
		return parseAddress(header("To")).URI
	case "to-tag":
		return parseAddress(header("To")).Tag()
	case "media-type":
		return kind
	case "body":
		return string(body)
	case "contacts":
		var uris []string
		for _, c := range contacts {
			uris = append(uris, c.URI)
		}
		return strings.Join(uris, " ")
	}
	return header(what)
}

func TestMessages(t *testing.T) {
	for _, s := range samples.Messages {
		msg, err := parse([]byte(s.Wire))
		fault := ""
		if r, ok := msg.(*gosip.Request); err != nil {
			fault = "message"
		} else if ok {
			fault = (&Request{msg: r}).valid()
		}
		if fault != s.Fault {
			t.Errorf("%s: fault %q, want %q (%v)", s.Name, fault, s.Fault, err)
			continue
		}
		for line := range strings.Lines(s.Found) {
			what, want, _ := strings.Cut(strings.TrimRight(line, "\n"), "=")
			if got := found(s.Wire, msg, what); got != want {
				t.Errorf("%s: %s is %q, want %q", s.Name, what, got, want)
			}
		}
	}
}
