package webhook

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/tr87proxy/tr87proxy/internal/eventlog"
)

// calls makes requests of Zammad's generic CTI of the events of calls. For Zammad a call begins, is answered and ends
// once, whatever the number of our devices in it, so calls remembers calls that have begun. It gets all events of the
// devices of a hook in order. A device that stays in a call after a transfer or conference has a new identifier of it,
// sooner or later than the others; so calls looks at each device by itself.
type calls struct {
	users map[string]string
	views map[view]*call
	begun map[string]*call // by link and call: what another device that comes into a call is in
	order []*call          // the oldest first; calls that have ended may be among them
}

// view is a call as one device sees it.
type view struct{ call, device string }

// call is a call that has begun.
type call struct {
	id                  string // unique
	from, to, direction string
	answered            bool
	failure             string // why it will end
	views               map[view]bool
	names               map[string]bool // that it has in calls.begun
}

const (
	mostCalls   = 10_000 // that are remembered; the oldest is forgotten first
	mostParties = 1000   // devices of ours in a call
)

// request is a request to Zammad about a call.
type request struct {
	call string
	body []byte
}

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

// next returns the requests that an event causes.
func (c *calls) next(e *eventlog.Entry) []request {
	var v struct {
		Type, Call, Link, Caller, Called, State, Cause string
		CSTA                                           json.RawMessage
	}
	if json.Unmarshal(e.Data, &v) != nil || v.Call == "" {
		return nil
	}
	name := v.Link + "/" + v.Call
	seen := view{name, e.Device}
	var made []request
	add := func(event string, of *call, cause string) {
		made = append(made, request{of.id, c.encode(event, of, e.Device, cause)})
	}
	gone := v.State == "null"
	left := c.joined(seen, v.Link, v.CSTA, gone)
	known := c.views[seen]
	switch {
	case known != nil:
	case gone:
	case c.begun[name] != nil:
		known = c.begun[name]
		c.enter(known, seen)
	case v.Called != "": // otherwise it is not dialled yet
		if known = begins(v.Type, v.State); known != nil {
			known.id = fmt.Sprintf("%s-%s-%d", v.Link, v.Call, e.Seq) // a switch can use the identifier of a call again
			known.from, known.to = number(v.Caller), number(v.Called)
			c.order = append(c.order, known)
			c.enter(known, seen)
			c.forget()
			add(newCall, known, "")
		}
	}
	switch {
	case known == nil:
	case v.Type == "established" && !known.answered && !gone:
		known.answered = true
		add(answer, known, "")
	case v.Type == "failed":
		known.failure = zammadCause[v.Cause]
	case gone:
		c.leave(known, seen)
		left = append(left, known)
	}
	for _, over := range left {
		if len(over.views) == 0 {
			c.end(over)
			add(hangup, over, over.why(v.Cause))
		}
	}
	return made
}

// why returns Zammad's cause for the end of a call.
func (c *call) why(cause string) string {
	switch {
	case c.answered:
		return "normalClearing"
	case c.failure != "":
		return c.failure
	case zammadCause[cause] != "":
		return zammadCause[cause]
	}
	return "cancel"
}

// joined moves a device from the calls that a transfer or conference joins to the new one, and returns calls that it has
// left.
func (c *calls) joined(now view, link string, csta []byte, gone bool) (left []*call) {
	var events map[string]struct {
		PrimaryOldCall, SecondaryOldCall struct{ CallID string }
	}
	if json.Unmarshal(csta, &events) != nil {
		return nil
	}
	for _, event := range events {
		stays := !gone
		for _, id := range []string{event.PrimaryOldCall.CallID, event.SecondaryOldCall.CallID} {
			was := view{link + "/" + id, now.device}
			old := c.views[was]
			if id == "" || old == nil {
				continue
			}
			c.leave(old, was)
			if stays {
				c.enter(old, now)
				stays = false
			} else {
				left = append(left, old)
			}
		}
	}
	return left
}

// enter has a device take part in a call.
func (c *calls) enter(known *call, seen view) {
	if c.views == nil {
		c.views, c.begun = map[view]*call{}, map[string]*call{}
	}
	if len(known.views) >= mostParties {
		return
	}
	known.views[seen] = true
	c.views[seen] = known
	if c.begun[seen.call] == nil {
		c.begun[seen.call] = known
		known.names[seen.call] = true
	}
}

func (c *calls) leave(known *call, seen view) {
	delete(known.views, seen)
	delete(c.views, seen)
}

// end forgets a call.
func (c *calls) end(known *call) {
	for seen := range known.views {
		delete(c.views, seen)
	}
	for name := range known.names {
		delete(c.begun, name)
	}
	known.views, known.names = nil, nil
}

// forget limits how many calls are remembered.
func (c *calls) forget() {
	for len(c.order) > mostCalls {
		c.end(c.order[0])
		c.order[0] = nil
		c.order = c.order[1:]
	}
}

// begins returns the call that an event begins; nil if it begins none.
func begins(kind, state string) *call {
	begun := &call{views: map[view]bool{}, names: map[string]bool{}}
	switch {
	case kind == "delivered" && state == "alerting":
		begun.direction = inbound
	case (kind == "delivered" || kind == "originated" || kind == "networkReached") && state == "connected":
		begun.direction = outbound
	default:
		return nil
	}
	return begun
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
