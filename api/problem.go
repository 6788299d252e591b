package api

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/tr87proxy/tr87proxy/policy"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// typeJSON is the media type of most bodies.
const typeJSON = "application/json"

// Problem is the body of every response that reports an error (RFC 9457).
type Problem struct {
	Type     string   `json:"type" format:"uri-reference" doc:"a page of the documentation about this kind of problem"`
	Title    string   `json:"title"`
	Status   int      `json:"status"`
	Detail   string   `json:"detail" doc:"what is wrong and what to do, for people"`
	CSTA     *Refusal `json:"csta,omitempty" doc:"the error of CSTA, if the proxy or the switch has refused the request"`
	Rule     string   `json:"rule,omitempty" doc:"the rule of the configuration that refuses it"`
	Device   string   `json:"device,omitempty"`
	Call     string   `json:"call,omitempty" doc:"the call that is in the way, or in the wrong state"`
	State    string   `json:"state,omitempty" doc:"the state of the device's connection in it"`
	Possible []string `json:"possible,omitempty" doc:"the actions that are possible in this state"`
	Errors   []string `json:"errors,omitempty" doc:"what is wrong in the request, item by item"`

	retry     time.Duration // after which to try again; 0: not said
	challenge string        // the value of WWW-Authenticate; "": another, or none
}

// Refusal is an error of CSTA (ECMA-269 clause 12.2).
type Refusal struct {
	Category string `json:"category"`
	Value    string `json:"value"`
}

// Error implements error.
func (p *Problem) Error() string { return p.Detail }

// GetStatus implements huma.StatusError.
func (p *Problem) GetStatus() int { return p.Status }

// ContentType implements huma.ContentTypeFilter.
func (*Problem) ContentType(string) string { return "application/problem+json" }

// GetHeaders implements huma.HeadersError.
func (p *Problem) GetHeaders() http.Header {
	h := http.Header{}
	if p.retry > 0 {
		h.Set("Retry-After", strconv.Itoa(int((p.retry+time.Second-1)/time.Second)))
	}
	if p.challenge != "" {
		h.Set("WWW-Authenticate", p.challenge)
	}
	return h
}

// kinds are the problems by their status: the last part of the type, and the title.
var kinds = map[int]struct{ path, title string }{
	http.StatusBadRequest:            {"bad-request", "The request cannot be read"},
	http.StatusUnauthorized:          {"unauthorized", "Say who you are"},
	http.StatusForbidden:             {"forbidden", "Not allowed"},
	http.StatusNotFound:              {"not-found", "There is no such thing"},
	http.StatusMethodNotAllowed:      {"not-found", "This path has no such method"},
	http.StatusRequestTimeout:        {"bad-request", "The request has not come in time"},
	http.StatusConflict:              {"conflict", "Not possible in this state"},
	http.StatusRequestEntityTooLarge: {"too-large", "The request is too large"},
	http.StatusUnsupportedMediaType:  {"bad-request", "The body has the wrong type"},
	http.StatusUnprocessableEntity:   {"invalid", "The request does not fit"},
	http.StatusTooManyRequests:       {"too-many", "Too many requests"},
	http.StatusNotImplemented:        {"not-supported", "The switch does not support it"},
	http.StatusServiceUnavailable:    {"unavailable", "Not available now"},
	http.StatusGatewayTimeout:        {"timeout", "The switch has not responded"},
}

// problem returns a problem of a status.
func problem(status int, format string, args ...any) *Problem {
	k, ok := kinds[status]
	if !ok {
		k.path, k.title = "internal", http.StatusText(status)
	}
	return &Problem{Type: "/problems/" + k.path, Title: k.title, Status: status, Detail: fmt.Sprintf(format, args...)}
}

// failure is the error of huma for a request that it refuses itself.
func failure(status int, message string, errs ...error) huma.StatusError {
	if status == http.StatusRequestTimeout {
		return lateBody
	}
	p := problem(status, "%s", message)
	if status == http.StatusRequestEntityTooLarge {
		p.Detail = fmt.Sprintf("the body is too large: a request has at most %d KiB", maxBody>>10)
	}
	for _, err := range errs {
		var detailed huma.ErrorDetailer
		switch {
		case errors.As(err, &detailed): // without the value, which the client knows
			d := detailed.ErrorDetail()
			p.Errors = append(p.Errors, strings.TrimPrefix(d.Location+": "+d.Message, ": "))
		case err != nil:
			p.Errors = append(p.Errors, err.Error())
		}
	}
	if len(p.Errors) > 0 { // "validation failed" says nothing
		p.Detail = strings.Join(p.Errors, "; ")
	}
	return p
}

// lateBody is the problem of a request whose body has not come in time.
var lateBody = problem(http.StatusRequestTimeout, "the body has not come within %.0f seconds", bodyTime.Seconds())

// unsure is what there is to say of a request that was sent and has no response.
const unsure = "the switch has not responded in time, or its link went down before it did; it may have carried out the request, or still do so"

var errStopping = errors.New("the proxy is stopping")

// explained converts an error into a problem.
func explained(err error) *Problem {
	var p *Problem
	var refusal *uacsta.Error
	switch {
	case errors.As(err, &p):
		return p
	case errors.As(err, &refusal):
		return ofCSTA(refusal)
	case errors.Is(err, context.DeadlineExceeded):
		return problem(http.StatusGatewayTimeout, unsure)
	case errors.Is(err, context.Canceled):
		return problem(http.StatusServiceUnavailable, "the request was given up")
	case errors.Is(err, policy.ErrNumber):
		return problem(http.StatusUnprocessableEntity, "%v", err)
	case errors.Is(err, proxy.ErrForbidden):
		return problem(http.StatusForbidden, "no rule lets you do this")
	case errors.Is(err, proxy.ErrUnknownLine):
		return problem(http.StatusNotFound, "no link serves this device")
	case errors.Is(err, proxy.ErrTooMany):
		p = problem(http.StatusTooManyRequests, "too many sessions of this identity (limits.sessions-per-identity)")
		p.retry = idle
	case errors.Is(err, proxy.ErrLinkDown):
		p = problem(http.StatusServiceUnavailable, "the link of the device is down")
		p.retry = 5 * time.Second
	case errors.Is(err, errStopping):
		p = problem(http.StatusServiceUnavailable, "the proxy is stopping")
		p.retry = 5 * time.Second
	default:
		p = problem(http.StatusInternalServerError, "the proxy could not do it; its log says more")
	}
	return p
}

// statuses are the statuses of errors of CSTA whose category does not say enough.
var statuses = map[string]int{
	uacsta.InvalidConnectionID: http.StatusNotFound, uacsta.InvalidDeviceID: http.StatusNotFound, uacsta.InvalidCallingDeviceID: http.StatusNotFound,
	uacsta.InvalidMonitorCrossRefID: http.StatusNotFound, uacsta.ServiceNotSupported: http.StatusNotImplemented,
}

// ofCSTA returns the problem for an error of CSTA.
func ofCSTA(e *uacsta.Error) *Problem {
	status, detail := statuses[e.Value], words(e)
	switch {
	case e.Unsure:
		status, detail = http.StatusGatewayTimeout, unsure
	case status != 0:
	case strings.HasPrefix(e.Value, "privilegeViolation"), e.Category == uacsta.Security:
		status = http.StatusForbidden
	case e.Category == uacsta.StateIncompatibility:
		status = http.StatusConflict
	case e.Category == uacsta.PerformanceManagement, e.Category == uacsta.SubscribedResourceAvailability:
		status = http.StatusTooManyRequests
	case e.Category == uacsta.SystemResourceAvailability:
		status = http.StatusServiceUnavailable
	default:
		status = http.StatusUnprocessableEntity
	}
	p := problem(status, "%s", detail)
	p.CSTA = &Refusal{Category: string(e.Category), Value: e.Value}
	switch status {
	case http.StatusTooManyRequests:
		p.retry = time.Second
	case http.StatusServiceUnavailable:
		p.retry = 5 * time.Second
	}
	return p
}

// words says an error of CSTA in words.
func words(e *uacsta.Error) string {
	text := strings.ReplaceAll(kebab(cmp.Or(e.Value, string(e.Category))), "-", " ")
	if e.Detail != "" {
		text += ": " + e.Detail
	}
	return text
}

// unread is the problem of a request that cannot be read.
func unread(err error) *Problem {
	var unclear *uacsta.Unclear
	if errors.As(err, &unclear) && unclear.Refusal != nil {
		p := problem(http.StatusUnprocessableEntity, "%s", cmp.Or(unclear.Refusal.Detail, words(unclear.Refusal)))
		p.CSTA = &Refusal{string(unclear.Refusal.Category), unclear.Refusal.Value}
		return p
	}
	return problem(http.StatusUnprocessableEntity, "%v", err)
}

// fail writes a problem.
func fail(w http.ResponseWriter, p *Problem) {
	for name, values := range p.GetHeaders() {
		w.Header()[name] = values
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p) // the client may have left
}
