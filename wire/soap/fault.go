package soap

import (
	"net/http"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/tr87proxy/tr87proxy/internal/share"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// Code is the code of a fault: who must change something (SOAP 1.1 4.4.1, SOAP 1.2 part 1 5.4.6).
type Code int

// The codes.
const (
	Client          Code = iota // the request is wrong; Sender in SOAP 1.2
	Server                      // the request may be right; Receiver in SOAP 1.2
	VersionMismatch             // it is no envelope of a version that is known here
	MustUnderstand              // a header block that must be understood is not
)

var codes = [...][2]string{Client: {"Client", "Sender"}, Server: {"Server", "Receiver"}, VersionMismatch: {"VersionMismatch", "VersionMismatch"}, MustUnderstand: {"MustUnderstand", "MustUnderstand"}}

// Fault is a request that failed. It is an error.
type Fault struct {
	Code     Code
	Reason   string // for people
	Subcode  string // of WS-Eventing, in the namespace of Eventing; "": none
	Eventing string
	Detail   string // XML; "": none
	TooLarge bool   // the request was not read for its size

	to *Envelope // the request; nil if it could not be read
}

// Error implements error.
func (f *Fault) Error() string { return f.Reason }

// Refuse returns the fault for a negative response to a request of an edition: its reason is category/value and
// what is wrong, in words, its detail the CSTAErrorCode (ECMA-348 6.3.3).
func (e *Envelope) Refuse(err *uacsta.Error, edition uacsta.Edition) *Fault {
	f := e.Fault(Server, strings.TrimSuffix(string(err.Category)+"/"+err.Value, "/"))
	if err.Detail != "" && !err.Rules {
		f.Reason += ": " + strings.Map(character, share.Clip(err.Detail))
	}
	switch err.Category {
	case uacsta.Operation, uacsta.Security, uacsta.StateIncompatibility, uacsta.SubscribedResourceAvailability, uacsta.PrivateDataError:
		f.Code = Client
	}
	f.Detail = err.Message(edition).String()
	return f
}

// character returns a character of XML: r, or a replacement.
func character(r rune) rune {
	if unicode.IsControl(r) || r == 0xfffe || r == 0xffff {
		return utf8.RuneError
	}
	return r
}

// Status returns the HTTP status of the fault.
func (f *Fault) Status() int {
	switch {
	case f.TooLarge:
		return http.StatusRequestEntityTooLarge
	case f.to == nil && f.Code != VersionMismatch:
		return http.StatusBadRequest
	}
	return http.StatusInternalServerError
}

// Version returns the version of SOAP in which the fault is written.
func (f *Fault) Version() Version {
	if f.to == nil {
		return V11
	}
	return f.to.Version
}

// Envelope returns the envelope of the fault.
func (f *Fault) Envelope() []byte {
	to, v := f.to, f.Version()
	if to == nil {
		to = &Envelope{}
	}
	code := "s:" + codes[f.Code][v]
	var body string
	if v == V11 {
		if f.Subcode != "" { // SOAP 1.1 has one code
			code = `e:` + f.Subcode + `</faultcode>`
			body = `<faultcode xmlns:e="` + f.Eventing + `">` + code
		} else {
			body = "<faultcode>" + code + "</faultcode>"
		}
		body += "<faultstring>" + escape(f.Reason) + "</faultstring>"
		if f.Detail != "" {
			body += "<detail>" + f.Detail + "</detail>"
		}
	} else {
		body = "<s:Code><s:Value>" + code + "</s:Value>"
		if f.Subcode != "" {
			body += `<s:Subcode><s:Value xmlns:e="` + f.Eventing + `">e:` + f.Subcode + `</s:Value></s:Subcode>`
		}
		body += `</s:Code><s:Reason><s:Text xml:lang="en">` + escape(f.Reason) + "</s:Text></s:Reason>"
		if f.Detail != "" {
			body += "<s:Detail>" + f.Detail + "</s:Detail>"
		}
	}
	action := ""
	if to.wsa != "" {
		action = to.wsa + "/fault"
		if f.Subcode != "" {
			action = f.Eventing + "/fault"
		}
	}
	return to.Answer(action, "<s:Fault>"+body+"</s:Fault>")
}
