package phones

import (
	"errors"
	"slices"
	"strings"

	"github.com/tr87proxy/tr87proxy/sip"
	"github.com/tr87proxy/tr87proxy/sip/registrar"
	"github.com/tr87proxy/tr87proxy/softswitch"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// What a trunk's peer says of a call is read here, once: the number called, who calls, and who sent the call here. Only a
// trunk's peer is believed; of a telephone's INVITE, the switch knows the extension by its password and takes the number
// dialled, and nothing else. What is withheld is not stored.

// Where the number called and the caller can stand: the names of headers in lower case, or the Request-URI.
const (
	inRequestURI    = "request-uri"
	inTo            = "to"
	inFrom          = "from"
	inCalledPartyID = "p-called-party-id"   // RFC 7315 4.2
	inAsserted      = "p-asserted-identity" // RFC 3325 9.1
	inRemoteParty   = "remote-party-id"     // draft-ietf-sip-privacy-04
)

// maxIdentities is how many values of a header are read. A header with more says nothing.
const maxIdentities = 20

// heading is the part of an INVITE that says who calls whom.
type heading interface {
	URI() string
	Values(name string) []string
}

var (
	errNoNumber = errors.New("it names no number that can be called")
	errUnclear  = errors.New("the header that has the number called is there more than once")
)

// arrivalOf reads what an INVITE of a trunk's peer says of its call. Of a telephone's it reads the number dialled, and
// whether its user wants to be anonymous; t is nil.
func arrivalOf(h heading, t *trunk) (softswitch.Arrival, error) {
	if t != nil {
		return t.arrival(h)
	}
	a := softswitch.Arrival{Called: registrar.Number(h.URI()), Caller: uacsta.ExtendedDeviceID{Restricted: withholds(h)}}
	if a.Called == "" {
		return a, errNoNumber
	}
	return a, nil
}

// arrival reads what an INVITE says of its call. It fails with errNoNumber or errUnclear.
func (t *trunk) arrival(h heading) (softswitch.Arrival, error) {
	called, err := t.called(h)
	a := softswitch.Arrival{Called: called, Caller: t.caller(h)}
	a.Redirected, a.Cause = redirectedBy(h)
	return a, err
}

// called returns the number that was called. By default it is that of the Request-URI. If that is our account, as
// with many providers that we register at, P-Called-Party-ID has the number, or else To.
func (t *trunk) called(h heading) (string, error) {
	places := []string{t.CalledFrom}
	if t.CalledFrom == "" {
		if places = []string{inRequestURI}; t.account(h.URI()) {
			places = []string{inCalledPartyID, inTo, inRequestURI}
		}
	}
	for _, place := range places {
		if place == inRequestURI {
			if number := registrar.Number(h.URI()); number != "" {
				return number, nil
			}
			continue
		}
		list := h.Values(place)
		if place != inTo { // of which there is one (RFC 3261 8.1.1)
			list = sip.SplitList(list)
		}
		if len(list) > 1 {
			return "", errUnclear
		}
		for _, value := range list {
			if number := registrar.Digits(value); number != "" { // a header that a peer has invented
				return number, nil
			}
			if number := numberOf(sip.ParseAddress(value).URI); number != "" {
				return number, nil
			}
		}
	}
	return "", errNoNumber
}

// account reports whether a Request-URI names our account at the peer and not a number.
func (t *trunk) account(uri string) bool {
	return slices.Contains([]string{"", t.Name, registrar.UserOf(t.own())}, registrar.UserOf(uri))
}

// caller returns who calls. It is restricted if any header says that the caller is anonymous, whichever are read. If the
// values of a header contradict each other, nobody is known.
func (t *trunk) caller(h heading) uacsta.ExtendedDeviceID {
	hidden := withholds(h)
	stated := map[string][]sip.Address{}
	for _, name := range []string{inAsserted, inRemoteParty, inFrom} {
		for _, value := range sip.SplitList(h.Values(name)) {
			a := sip.ParseAddress(value)
			if party, _ := a.Param("party"); name == inRemoteParty && party != "" && !strings.EqualFold(party, "calling") {
				continue
			}
			stated[name] = append(stated[name], a)
			hidden = hidden || anonymous(a)
		}
	}
	if hidden {
		return uacsta.ExtendedDeviceID{Restricted: true}
	}
	order := t.CallerFrom
	if order == nil {
		order = []string{inAsserted, inRemoteParty, inFrom}
	}
	for _, name := range order {
		if number, ok := oneNumber(stated[name]); number != "" || !ok {
			return uacsta.Ext(number)
		}
	}
	return uacsta.ExtendedDeviceID{}
}

// withholds reports whether an INVITE asks not to show who calls: by Privacy, or an anonymous From.
func withholds(h heading) bool {
	return private(h, "none", "critical", "session", "history") || slices.ContainsFunc(h.Values(inFrom), func(v string) bool { return anonymous(sip.ParseAddress(v)) })
}

// private reports whether Privacy (RFC 3323 4.2, RFC 3325 9.3, RFC 7044) has a value other than those. What is not known
// asks for privacy, too.
func private(h heading, but ...string) bool {
	for _, line := range h.Values("Privacy") {
		for _, value := range strings.FieldsFunc(line, func(r rune) bool { return r == ';' || r == ',' }) {
			if !slices.Contains(but, strings.ToLower(strings.TrimSpace(value))) {
				return true
			}
		}
	}
	return false
}

// anonymous reports whether an address withholds whose it is: by its URI (RFC 3323 4.1.1.3), or by the parameter privacy
// (of Remote-Party-ID, and of Diversion, RFC 5806).
func anonymous(a sip.Address) bool {
	uri := sip.ParseURI(a.URI)
	if strings.EqualFold(uri.Host, "anonymous.invalid") || strings.EqualFold(registrar.UserOf(a.URI), noNumber) {
		return true
	}
	privacy, ok := a.Param("privacy")
	privacy, _, _ = strings.Cut(strings.ToLower(privacy), "-") // full-network
	return ok && privacy != "off" && privacy != "name"
}

// numberOf returns the number in a sip, sips or tel URI, or "". A number that counts within a context (phone-context, RFC
// 3966 5.1.5) is returned as it is dialled there.
func numberOf(uri string) string {
	switch sip.ParseURI(uri).Scheme {
	case "sip", "sips", "tel":
		return registrar.Number(uri)
	}
	return ""
}

// oneNumber returns the number that the values of a header have, "" for none. ok is false if they contradict each other,
// or are too many. A tel URI, or one with user=phone, is a number by definition and goes before the user of another sip
// URI, who may be an account.
func oneNumber(list []sip.Address) (number string, ok bool) {
	if len(list) > maxIdentities {
		return "", false
	}
	var sure, likely []string
	for _, a := range list {
		n, uri := numberOf(a.URI), sip.ParseURI(a.URI)
		kind, _ := uri.Param("user")
		switch {
		case n == "":
		case uri.Scheme == "tel" || strings.EqualFold(kind, "phone"):
			sure = append(sure, n)
		default:
			likely = append(likely, n)
		}
	}
	if len(sure) == 0 {
		sure = likely
	}
	switch sure = slices.Compact(slices.Sorted(slices.Values(sure))); len(sure) {
	case 0:
		return "", true
	case 1:
		return sure[0], true
	}
	return "", false
}

// redirection is what one header says of the last redirection of a call.
type redirection struct {
	number string // "" if it is not known or withheld
	cause  uacsta.EventCause
}

// redirectedBy returns who sent the call here last, and why. Diversion (RFC 5806) and History-Info (RFC 7044) count
// alike: if an INVITE has both, and they do not agree, nobody knows who it was.
func redirectedBy(h heading) (uacsta.RedirectionDeviceID, uacsta.EventCause) {
	one, other := diversion(h), history(h)
	switch {
	case one == nil && other == nil:
		return uacsta.RedirectionDeviceID{}, ""
	case one == nil:
		one = other
	case other != nil && one.number != other.number:
		one = &redirection{}
	}
	if one.number == "" {
		return uacsta.RedirectionDeviceID{Other: "notKnown"}, one.cause
	}
	return uacsta.RedirectionDeviceID{NumberDialed: uacsta.Dev(one.number)}, one.cause
}

// reasons has the cause of ECMA-269 for each reason of Diversion (RFC 5806) and cause in a URI of History-Info (RFC 4458 2).
var reasons = []struct {
	reason, code string
	cause        uacsta.EventCause
}{
	{"unconditional", "302", uacsta.CauseCallForwardImmediate},
	{"user-busy", "486", uacsta.CauseCallForwardBusy},
	{"no-answer", "408", uacsta.CauseCallForwardNoAnswer},
	{"deflection", "480", uacsta.CauseRedirected},
	{"deflection", "487", uacsta.CauseRedirected},
	{"do-not-disturb", "", uacsta.CauseDoNotDisturb},
}

// reasonOf returns the cause for a reason or a code, or callForward for another.
func reasonOf(text string) uacsta.EventCause {
	for _, r := range reasons {
		if text != "" && (strings.EqualFold(text, r.reason) || text == r.code) {
			return r.cause
		}
	}
	return uacsta.CauseCallForward
}

// diversion reads Diversion, whose first value is the last redirection. It returns nil without one.
func diversion(h heading) *redirection {
	list := sip.SplitList(h.Values("Diversion"))
	if len(list) == 0 {
		return nil
	}
	a := sip.ParseAddress(list[0])
	why, _ := a.Param("reason")
	r := &redirection{cause: reasonOf(why)}
	if !anonymous(a) && len(list) <= maxIdentities {
		r.number = numberOf(a.URI)
	}
	return r
}

// history reads History-Info, whose entries are the targets that the call has had, the present one last. It returns nil
// if none of them was a redirection to another user.
func history(h heading) *redirection {
	list := sip.SplitList(h.Values("History-Info"))
	if len(list) > maxIdentities {
		return &redirection{}
	}
	entries, redirected, by, code := map[string]sip.Address{}, false, sip.Address{}, ""
	for _, value := range list {
		a := sip.ParseAddress(value)
		index, _ := a.Param("index")
		if _, twice := entries[index]; twice {
			return &redirection{}
		}
		entries[index] = a
		cause, caused := sip.ParseURI(a.URI).Param("cause") // of the redirection that led to this target (RFC 7544)
		from, mapped := a.Param("mp")
		if !caused && !mapped {
			continue
		}
		if !mapped {
			from = index[:max(0, strings.LastIndexByte(index, '.'))]
		}
		redirected, by, code = true, entries[from], cause
	}
	if !redirected {
		return nil
	}
	r := &redirection{cause: reasonOf(code)}
	withheld, _ := headersOf(by.URI, "Privacy")
	if !anonymous(by) && !private(h, "none", "critical", "id", "user") && !slices.ContainsFunc(withheld, func(value string) bool { return !strings.EqualFold(value, "none") }) {
		r.number = numberOf(by.URI)
	}
	return r
}
