package webhook

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/tr87proxy/tr87proxy/internal/eventlog"
)

// calls makes requests of Zammad's generic CTI of the events of calls. For Zammad a call begins, is answered and ends
// once, whatever the number of our devices in it, so calls remembers calls that have begun. It gets all events of the
// devices of a hook in order.
type calls struct {
	users map[string]string
	known map[string]*call // by link and call
	order []string         // of known, the oldest first; may name calls that have ended
}

// call is a call that has begun.
type call struct {
	id                  string // unique
	from, to, direction string
	answered            bool
	failure             string          // why it will end
	devices             map[string]bool // ours that take part
}

const (
	mostCalls   = 10_000 // that are remembered; the oldest is forgotten first
	mostParties = 1000   // devices of ours in a call
)

// zammadEvent is a request to Zammad.
type zammadEvent struct {
	Event     string `json:"event"`
	From      string `json:"from"`
	To        string `json:"to"`
	Direction string `json:"direction"`
	CallID    string `json:"callId"`
	User      string `json:"user,omitempty"`
	Answering string `json:"answeringNumber,omitempty"`
	Cause     string `json:"cause,omitempty"`
}

// The events of Zammad, and directions.
const (
	newCall  = "newCall"
	answer   = "answer"
	hangup   = "hangup"
	inbound  = "in"
	outbound = "out"
)

// zammadCause has Zammad's causes for those of CSTA.
var zammadCause = map[string]string{
	"busy": "busy", "busyOverflow": "busy", "aCDBusy": "busy", "callInterceptionBusy": "busy", "callForwardBusy": hangupForwarded,
	"callCancelled": "cancel", "callNotAnswered": "noAnswer", "alertTimeExpired": "noAnswer", "doNotDisturb": "noAnswer", "callInterceptionNoAnswer": "noAnswer",
	"networkCongestion": "congestion", "resourcesNotAvailable": "congestion", "trunksBusy": "congestion", "selectedTrunkBusy": "congestion",
	"networkNotObtainable": "congestion", "networkOutOfOrder": "congestion", "timeout": "congestion",
	"destNotObtainable": "notFound", "destOutOfOrder": "notFound", "numberUnallocated": "notFound", "numberChanged": "notFound", "invalidNumberFormat": "notFound", "incompatibleDestination": "notFound",
	"callForward": hangupForwarded, "callForwardImmediate": hangupForwarded, "callForwardNoAnswer": hangupForwarded, "callPickup": hangupForwarded,
	"redirected": hangupForwarded, "distributed": hangupForwarded, "singleStepTransfer": hangupForwarded, "transfer": hangupForwarded,
}

const hangupForwarded = "forwarded"

// next returns the body of a request for an event, and the call that it is about; nil if Zammad need not know.
func (c *calls) next(e *eventlog.Entry) (body []byte, about string) {
	var v struct {
		Type, Call, Link, Caller, Called, State, Cause string
	}
	if json.Unmarshal(e.Data, &v) != nil || v.Call == "" {
		return nil, ""
	}
	about = v.Link + "/" + v.Call
	known := c.known[about]
	if known == nil {
		if known = begins(v.Type, v.State); known == nil || v.Called == "" { // not dialled yet
			return nil, ""
		}
		known.id = fmt.Sprintf("%s-%s-%d", v.Link, v.Call, e.Seq) // a switch can use the identifier of a call again
		known.from, known.to = number(v.Caller), number(v.Called)
		known.devices[e.Device] = true
		c.remember(about, known)
		return c.encode(newCall, known, e.Device, ""), about
	}
	gone := v.State == "null"
	if gone {
		delete(known.devices, e.Device)
	} else if len(known.devices) < mostParties {
		known.devices[e.Device] = true
	}
	switch {
	case v.Type == "established" && !known.answered && !gone:
		known.answered = true
		return c.encode(answer, known, e.Device, ""), about
	case v.Type == "failed":
		known.failure = zammadCause[v.Cause]
	case gone && len(known.devices) == 0:
		delete(c.known, about)
		cause := zammadCause[v.Cause]
		switch {
		case known.answered:
			cause = "normalClearing"
		case known.failure != "":
			cause = known.failure
		case cause == "":
			cause = "cancel"
		}
		return c.encode(hangup, known, e.Device, cause), about
	}
	return nil, ""
}

// begins returns the call that an event begins; nil if it begins none.
func begins(kind, state string) *call {
	switch {
	case kind == "delivered" && state == "alerting":
		return &call{direction: inbound, devices: map[string]bool{}}
	case (kind == "delivered" || kind == "originated" || kind == "networkReached") && state == "connected":
		return &call{direction: outbound, devices: map[string]bool{}}
	}
	return nil
}

func (c *calls) remember(about string, begun *call) {
	if c.known == nil {
		c.known = map[string]*call{}
	}
	c.known[about] = begun
	c.order = append(c.order, about)
	for len(c.known) > mostCalls || len(c.order) > 2*mostCalls {
		delete(c.known, c.order[0])
		c.order = c.order[1:]
	}
}

// number returns a number as Zammad has them.
func number(s string) string {
	if s == "" {
		return "anonymous"
	}
	return strings.TrimPrefix(s, "+")
}

func (c *calls) encode(event string, known *call, device, cause string) []byte {
	request := zammadEvent{Event: event, From: known.from, To: known.to, Direction: known.direction, CallID: known.id, User: c.users[device], Cause: cause}
	if event == answer && known.direction == inbound {
		request.Answering = number(device)
	}
	body, _ := json.Marshal(request) // has only texts
	return body
}

// settled reports whether a response of Zammad means that it has handled the request before, or never will: it refuses
// the beginning of a call that it knows, and what follows in a call that it does not know.
func settled(response string) bool {
	return strings.Contains(response, "already exists") || strings.Contains(response, "No such call_id")
}
