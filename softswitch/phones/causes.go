package phones

import (
	"errors"
	"fmt"

	"github.com/tr87proxy/tr87proxy/sip"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// causeRow is a cause of ECMA-269, what it is in SIP and ITU-T Q.850, and what is read as it.
type causeRow struct {
	cause   uacsta.EventCause
	status  int   // of the refusal of a caller whose call fails for this cause
	q850    int   // in the Reason header of that refusal; 0 means none
	from    []int // status codes that mean it
	heard   []int // causes of Q.850 that mean it
	ends    bool  // can be why an established call ends, too
	network bool  // is about a network; a telephone has none, so it says that the telephone is out of order
}

// causes is the one table of causes. A status code or cause of Q.850 that it does not have says nothing.
var causes = []causeRow{
	{cause: uacsta.CauseBusy, status: 486, q850: 17, from: []int{486, 600}, heard: []int{17}},
	{cause: uacsta.CauseCallNotAnswered, status: 480, q850: 19, from: []int{408, 480}, heard: []int{18, 19}},
	{cause: uacsta.CauseCallCancelled, status: 603, q850: 21, from: []int{487, 603, 607}, heard: []int{21}},
	{cause: uacsta.CauseBlocked, status: 403, from: []int{401, 402, 403, 407, 433, 608}, heard: []int{46, 52, 53, 54, 55, 87}},
	{cause: uacsta.CauseNumberUnallocated, status: 404, q850: 1, from: []int{404, 485, 604}, heard: []int{1}},
	{cause: uacsta.CauseNumberChanged, status: 410, q850: 22, from: []int{410}, heard: []int{22}},
	{cause: uacsta.CauseInvalidNumberFormat, status: 484, q850: 28, from: []int{414, 416, 484}, heard: []int{5, 28}},
	{cause: uacsta.CauseDestNotObtainable, status: 404, q850: 3, from: []int{482, 483}, heard: []int{3, 20, 25}},
	{cause: uacsta.CauseDestOutOfOrder, status: 480, q850: 27, heard: []int{27}, ends: true},
	{cause: uacsta.CauseIncompatibleDestination, status: 488, q850: 88, from: []int{406, 415, 488, 501, 606}, heard: []int{79, 88}},
	{cause: uacsta.CauseUnauthorisedBearerService, status: 488, q850: 57, heard: []int{57}},
	{cause: uacsta.CauseNotAvailableBearerService, status: 488, q850: 58, heard: []int{58}},
	{cause: uacsta.CauseNotSupportedBearerService, status: 488, q850: 65, heard: []int{65, 70}},
	{cause: uacsta.CauseNetworkCongestion, status: 503, q850: 34, from: []int{503}, heard: []int{34, 42, 44}, ends: true, network: true},
	{cause: uacsta.CauseNetworkOutOfOrder, status: 502, q850: 38, from: []int{502}, heard: []int{38}, ends: true, network: true},
	{cause: uacsta.CauseNetworkNotObtainable, status: 504, q850: 2, from: []int{504}, heard: []int{2, 91}, network: true},
	{cause: uacsta.CauseResourcesNotAvailable, status: 500, q850: 47, from: []int{500}, heard: []int{41, 47}, ends: true},
	{cause: uacsta.CauseTimeout, status: 504, q850: 102, heard: []int{102}, ends: true},
	{cause: uacsta.CauseACDSaturated, status: 486},
	{cause: uacsta.CauseDoNotDisturb, status: 480},
	{cause: uacsta.CauseTrunksBusy, status: 503},
}

// inSIP, inQ850 and rowOf are the table by status code, cause of Q.850, and cause of ECMA-269.
var inSIP, inQ850, rowOf = func() (inSIP, inQ850 map[int]causeRow, rowOf map[uacsta.EventCause]causeRow) {
	inSIP, inQ850, rowOf = map[int]causeRow{}, map[int]causeRow{}, map[uacsta.EventCause]causeRow{}
	for _, r := range causes {
		for _, code := range r.from {
			inSIP[code] = r
		}
		for _, cause := range r.heard {
			inQ850[cause] = r
		}
		rowOf[r.cause] = r
	}
	return inSIP, inQ850, rowOf
}()

// failure is why a telephone, or the peer of a trunk, does not take a call.
type failure struct {
	code  int // status code of its final response; 0 if it sent none
	cause uacsta.EventCause
}

// failure returns what a final response means. The cause of Q.850 in its Reason says most, then a status code there,
// then its own.
func (l *leg) failure(code int, why sip.Causes) failure {
	f := failure{code: code}
	for _, r := range []causeRow{inQ850[why.Q850], inSIP[why.SIP], inSIP[code]} {
		if f.cause = r.cause; f.cause != "" {
			break
		}
	}
	switch {
	case l.trunk == nil && (f.cause == "" || rowOf[f.cause].network):
		f.cause = uacsta.CauseDestOutOfOrder
	case f.cause == "":
		f.cause = uacsta.CauseNetworkNotObtainable
	}
	return f
}

// rank is how much a failure says of the called user, if several telephones have failed.
func (f failure) rank() int {
	switch {
	case f.code/100 == 6:
		return 4
	case f.cause == uacsta.CauseBusy:
		return 3
	case f.code == 0, f.code == 408, f.code == 480:
		return 1
	}
	return 2
}

// cleared returns the cause of the end of a call for which a BYE or CANCEL gives a reason, or "" if the reason does not
// tell more than that it ends.
func cleared(why sip.Causes) uacsta.EventCause {
	if r := inQ850[why.Q850]; r.ends {
		return r.cause
	}
	return ""
}

// ended is cleared for the end of a dialog.
func ended(reason error) uacsta.EventCause {
	var bye *sip.ByeError
	if errors.As(reason, &bye) {
		return cleared(bye.Causes)
	}
	return ""
}

// refusal returns the SIP status code for a caller whose call has failed.
func refusal(cause uacsta.EventCause) int {
	if r := rowOf[cause]; r.status != 0 {
		return r.status
	}
	return 480
}

// refused returns how the leg of a caller ends whose call has failed.
func refused(cause uacsta.EventCause) ending {
	e := ending{code: refusal(cause)}
	if q850 := rowOf[cause].q850; q850 != 0 {
		e.headers = []sip.Header{{Name: "Reason", Value: fmt.Sprint("Q.850;cause=", q850)}}
	}
	return e
}
