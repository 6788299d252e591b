package sip

import (
	"strconv"
	"strings"
)

// Causes are the causes that the Reason headers of a message name (RFC 3326). 0 means none.
type Causes struct {
	Q850 int // of ITU-T Q.850, 1 to 127 (RFC 6432)
	SIP  int // a status code, 100 to 699
}

// Causes returns what the request's Reason headers say: of a BYE or CANCEL, why the peer ends the call.
func (r *Request) Causes() Causes { return parseCauses(r.Values("Reason")) }

// Causes returns what the response's Reason headers say: of a final response, why the call failed.
func (r *Response) Causes() Causes { return parseCauses(values(r.msg.GetHeaders("Reason"))) }

// ByeError is [ErrBye] with the causes that the BYE names.
type ByeError struct{ Causes Causes }

func (e *ByeError) Error() string { return ErrBye.Error() }

func (e *ByeError) Unwrap() error { return ErrBye }

// parseCauses parses Reason headers. A malformed value makes all of them say nothing, and two causes of one protocol
// make them say nothing in that protocol, since another reader could take the other one.
func parseCauses(lines []string) Causes {
	named := map[string]int{}
	for _, line := range lines {
		plain, ok := withoutQuoted(line)
		if !ok {
			return Causes{}
		}
		for value := range strings.SplitSeq(plain, ",") {
			protocol, params, _ := strings.Cut(value, ";")
			protocol = strings.ToUpper(strings.TrimSpace(protocol))
			cause, ok := causeIn(params)
			if !ok || !spells(protocol, nameMarks) {
				return Causes{}
			}
			if before, again := named[protocol]; again && before != cause {
				cause = 0
			}
			named[protocol] = cause
		}
	}
	within := func(cause, from, to int) int {
		if cause < from || cause > to {
			return 0
		}
		return cause
	}
	return Causes{Q850: within(named["Q.850"], 1, 127), SIP: within(named["SIP"], 100, 699)}
}

// causeIn returns the cause among the parameters of a Reason value without quoted strings, or 0 if there is none. It
// returns false if they are malformed.
func causeIn(params string) (cause int, ok bool) {
	if params == "" {
		return 0, true
	}
	seen := map[string]bool{}
	for param := range strings.SplitSeq(params, ";") {
		name, value, _ := strings.Cut(param, "=")
		name = strings.ToLower(strings.TrimSpace(name))
		if !spells(name, nameMarks) || seen[name] {
			return 0, false
		}
		seen[name] = true
		if name != "cause" {
			continue
		}
		number, err := strconv.ParseUint(strings.TrimSpace(value), 10, 16)
		if err != nil {
			return 0, false
		}
		cause = int(number)
	}
	return cause, true
}
