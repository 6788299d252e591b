package sip

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	gosip "github.com/emiago/sipgo/sip"
)

// Header is a header field of a message that we send.
type Header struct{ Name, Value string }

// Request is a request received from a peer.
type Request struct {
	msg   *gosip.Request
	uri   string // Request-URI
	hop   hop
	ua    *UA
	tx    *serverTx
	size  int    // octets as received
	toTag string // tag in our responses; "" if none
	extra []Header
	kind  string // media type of the part that body is, of a multipart body; "" for the whole body
	body  []byte

	dialog   *Dialog      // the request's dialog; nil if none
	moved    *Dialog      // the dialog it names, if it came from another address than that's peer
	standing atomic.Int32 // of the sender
	credit   *credit      // for responses
}

// Method returns the method as received.
func (r *Request) Method() string { return string(r.msg.Method) }

// URI returns the Request-URI as received.
func (r *Request) URI() string { return r.uri }

// Header returns the first value of a header, or "" if it is absent.
func (r *Request) Header(name string) string {
	if h := r.msg.GetHeader(name); h != nil {
		return h.Value()
	}
	return ""
}

// Values returns the value of each line of a header.
func (r *Request) Values(name string) []string { return values(r.msg.GetHeaders(name)) }

func values(headers []gosip.Header) []string {
	out := make([]string, len(headers))
	for i, h := range headers {
		out[i] = h.Value()
	}
	return out
}

// Limits of requests from strangers, in octets.
const (
	strangerHead = 4096 // before the body
	strangerBody = 4096
)

// Known reports whether the sender is known: the configuration names it, it has authenticated,
// or [Dialog.Trust] was called for its dialog.
func (r *Request) Known() bool { return r.known() }

// Oversized reports whether the request exceeds the limits for strangers and the sender is one.
// Dialogs refuse such requests with 513 and keep nothing of them.
func (r *Request) Oversized() bool {
	return !r.known() && (len(r.msg.Body()) > strangerBody || r.largeHead())
}

// largeHead reports whether the sender is a stranger and the header section is too large.
func (r *Request) largeHead() bool { return !r.known() && r.size-len(r.msg.Body()) > strangerHead }

// From returns the From header. Whether it can be believed is up to the handler.
func (r *Request) From() Address { return parseAddress(r.Header("From")) }

// Asserted returns the first address of P-Asserted-Identity (RFC 3325 9.1), or the zero value
// without one.
func (r *Request) Asserted() Address {
	first, _, _ := splitQuoted(r.Header("P-Asserted-Identity"), ',')
	return parseAddress(strings.TrimSpace(first))
}

// Contacts returns the values of the Contact headers, in order.
func (r *Request) Contacts() []Address { return addresses(r.Values("Contact")) }

// To returns the To header.
func (r *Request) To() Address { return parseAddress(r.Header("To")) }

// Body returns the body, or its part that [Config].Accepts lists. Do not modify it.
func (r *Request) Body() []byte {
	if r.kind != "" {
		return r.body
	}
	return r.msg.Body()
}

// ContentType returns the media type of the body in lower case, without parameters.
func (r *Request) ContentType() string {
	if r.kind != "" {
		return r.kind
	}
	return mediaType(r.Header("Content-Type"))
}

func mediaType(value string) string {
	value, _, _ = strings.Cut(value, ";")
	return strings.ToLower(strings.Join(strings.Fields(value), "")) // there may be blanks around the slash
}

// Peer returns the source of the request.
func (r *Request) Peer() Peer { return r.hop.peer() }

// lists reports whether a comma-separated header contains a token.
func (r *Request) lists(name, token string) bool {
	for _, line := range r.Values(name) {
		for item := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.TrimSpace(item), token) {
				return true
			}
		}
	}
	return false
}

func (r *Request) cseq() (number uint32, method string, ok bool) {
	return parseCSeq(r.Header("CSeq"))
}

func parseCSeq(value string) (number uint32, method string, ok bool) {
	fields := strings.Fields(value)
	if len(fields) != 2 {
		return 0, "", false
	}
	n, err := strconv.ParseUint(fields[0], 10, 31)
	return uint32(n), fields[1], err == nil
}

// valid returns the name of a mandatory header that is missing, malformed or there twice (RFC 3261 8.1.1), or "".
func (r *Request) valid() string {
	if _, ok := parseVia(r.Header("Via")); !ok {
		return "Via"
	}
	for _, name := range []string{"From", "To", "Call-ID", "CSeq"} {
		if len(r.Values(name)) != 1 {
			return name
		}
	}
	for _, name := range []string{"From", "To"} {
		if !oneAddress(r.Header(name)) {
			return name
		}
	}
	if id := r.Header("Call-ID"); id == "" || strings.ContainsAny(id, " \t,") {
		return "Call-ID"
	}
	if _, method, ok := r.cseq(); !ok || method != r.Method() {
		return "CSeq"
	}
	return ""
}

// Answer describes a response to send. A zero Code means 200.
type Answer struct {
	Code        int
	Reason      string // "" means the default phrase
	ContentType string
	Body        []byte
	Headers     []Header
}

// brevity says how much of a response to omit for an unvalidated address.
type brevity int

const (
	whole    brevity = iota
	bare             // without dispensable headers
	bodiless         // and without the body
)

// dispensable lists response headers that a peer can do without.
var dispensable = []string{"Allow", "Supported", "Accept", "Allow-Events", "Retry-After"}

// Respond sends the final response. Later calls do nothing. A 415 lists what is accepted, unless a does.
func (r *Request) Respond(a Answer) {
	if a.Code == 415 && len(a.Headers) == 0 { // RFC 3261 21.4.13
		a.Headers = r.ua.accepts()
	}
	if !r.Oversized() {
		r.tx.respond(r, a)
		if r.dialog != nil && !r.known() {
			r.dialog.keep(r.tx)
		}
		return
	}
	if r.tx.answered.Swap(true) {
		return
	}
	// The response repeats the large headers, so it is not kept for retransmissions.
	if a.Code == 0 {
		a.Code = 200
	}
	r.tx.req.Store(nil)
	r.tx.Terminate()
	r.once(a)
}

// tag adds a To tag to our responses if the request has none (RFC 3261 8.2.6.2).
func (r *Request) tag() {
	if r.toTag == "" && r.To().Tag() == "" {
		r.toTag = newTag()
	}
}

// once responds without a transaction: the response is not repeated.
func (r *Request) once(a Answer) {
	r.tag()
	if wire := r.fitting(a); wire != nil && r.credit.spend(len(wire)) {
		_ = r.hop.conn.send(wire, r.hop.answerTo(r.Header("Via")))
	}
}

// fitting returns the response, shortened as far as the peer's credit requires, or nil if even
// the shortest exceeds it.
func (r *Request) fitting(a Answer) []byte {
	for how := whole; how <= bodiless; how++ {
		if wire := r.response(a, how); r.credit.covers(len(wire)) {
			return wire
		}
	}
	r.ua.stats.Withheld.Add(1)
	return nil
}

// response returns a response in wire format: Via, From, To, Call-ID and CSeq as received (RFC
// 3261 8.2.6), and Record-Route if a dialog needs it (12.1.1).
func (r *Request) response(a Answer, how brevity) []byte {
	var b bytes.Buffer
	b.Grow(1024)
	phrase := ""
	if how == whole {
		phrase = reason(a)
	}
	statusLine(&b, a.Code, phrase)
	top := true
	for _, v := range r.msg.GetHeaders("Via") {
		value := v.Value()
		if top {
			value = r.hop.received(value)
			top = false
		}
		line(&b, "Via", value)
	}
	if a.Code > 100 && a.Code < 300 {
		for _, rr := range r.msg.GetHeaders("Record-Route") {
			line(&b, "Record-Route", rr.Value())
		}
	}
	line(&b, "From", r.Header("From"))
	to, extra := r.Header("To"), []Header(nil)
	if a.Code != 100 { // a timer sends the 100, perhaps while the handler sets extra and toTag
		extra = r.extra
		if r.toTag != "" {
			to += ";tag=" + r.toTag
		}
	}
	line(&b, "To", to)
	line(&b, "Call-ID", r.Header("Call-ID"))
	line(&b, "CSeq", r.Header("CSeq"))
	for _, headers := range [][]Header{extra, a.Headers} {
		for _, h := range headers {
			if how == whole || !slices.Contains(dispensable, h.Name) {
				line(&b, h.Name, h.Value)
			}
		}
	}
	if how == whole {
		line(&b, "User-Agent", r.ua.cfg.UserAgent)
	}
	if how == bodiless {
		a.Body = nil
	}
	end(&b, a.ContentType, a.Body)
	return b.Bytes()
}

// Phrase returns the reason phrase of a status code (RFC 3261 21).
func Phrase(code int) string { return reason(Answer{Code: code}) }

func reason(a Answer) string {
	if a.Reason != "" {
		return a.Reason
	}
	if r := reasons[a.Code]; r != "" {
		return r
	}
	return "Unknown"
}

var reasons = map[int]string{
	100: "Trying", 180: "Ringing", 183: "Session Progress", 200: "OK", 202: "Accepted",
	400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed",
	408: "Request Timeout", 413: "Request Entity Too Large", 415: "Unsupported Media Type", 416: "Unsupported URI Scheme", 420: "Bad Extension", 422: "Session Interval Too Small", 423: "Interval Too Brief",
	480: "Temporarily Unavailable", 481: "Call/Transaction Does Not Exist", 486: "Busy Here", 487: "Request Terminated",
	488: "Not Acceptable Here", 489: "Bad Event", 491: "Request Pending",
	500: "Server Internal Error", 503: "Service Unavailable", 504: "Server Time-out", 505: "Version Not Supported", 513: "Message Too Large",
	600: "Busy Everywhere", 603: "Decline",
}

// Response is a response received from a peer.
type Response struct{ msg *gosip.Response }

// Tag returns the To tag, which tells the forks of an INVITE apart.
func (r *Response) Tag() string { return parseAddress(r.Header("To")).Tag() }

// Code returns the status code.
func (r *Response) Code() int { return r.msg.StatusCode }

// Reason returns the reason phrase.
func (r *Response) Reason() string { return r.msg.Reason }

// Header returns the first value of a header, or "" if it is absent.
func (r *Response) Header(name string) string {
	if h := r.msg.GetHeader(name); h != nil {
		return h.Value()
	}
	return ""
}

// Contacts returns the values of the Contact headers, in order.
func (r *Response) Contacts() []Address { return addresses(values(r.msg.GetHeaders("Contact"))) }

// Targets returns the URIs of the Contact headers of a redirection, those with the highest q first (RFC 3261 20.10).
func (r *Response) Targets() (uris []string) {
	list := r.Contacts()
	q := func(a Address) float64 {
		if value, ok := a.Param("q"); ok {
			if n, err := strconv.ParseFloat(value, 64); err == nil {
				return n
			}
		}
		return 1
	}
	slices.SortStableFunc(list, func(a, b Address) int { return cmp.Compare(q(b), q(a)) })
	for _, a := range list {
		uris = append(uris, a.URI)
	}
	return uris
}

// Body returns the body. Do not modify it.
func (r *Response) Body() []byte { return r.msg.Body() }

// ContentType returns the media type in lower case, without parameters.
func (r *Response) ContentType() string { return mediaType(r.Header("Content-Type")) }

// Peer identifies the sender of a message.
type Peer struct {
	Transport string // UDP, TCP, TLS or DTLS-UDP
	Addr      netip.AddrPort
	Local     netip.AddrPort
	// Names lists the names in the peer's verified certificate: DNS names, URIs, then the
	// common name. It is nil without mutual TLS.
	Names []string
}

func (p Peer) String() string { return strings.ToLower(p.Transport) + ":" + p.Addr.String() }

const branchCookie = "z9hG4bK"

func newBranch() string { return branchCookie + rand.Text() }

func newTag() string { return rand.Text() }

// Secure reports whether the transport is encrypted.
func (p Peer) Secure() bool { return p.Transport == "TLS" || p.Transport == dtlsKind }

// ParseAddress parses the value of a From, To, Contact, Refer-To or similar header.
func ParseAddress(value string) Address { return parseAddress(value) }

// Param returns a header parameter. ok is false if it is absent.
func (a Address) Param(name string) (value string, ok bool) { return param(a.Params, name) }

// SplitList splits the lines of a comma-separated header into trimmed values.
func SplitList(lines []string) []string { return routes(lines) }
