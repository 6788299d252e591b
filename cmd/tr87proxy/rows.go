package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// row is one device as watch shows it.
type row struct {
	device   string
	calls    []callAt
	features map[string]string // active features by name
	shown    string            // the last line of it, where there is no terminal
}

// callAt is a call at a device.
type callAt struct {
	id        string
	direction direction
	state     string
	with      string    // who else is in it: a device, or how many
	as        string    // the state of that device, unless it is connected
	since     time.Time // when it came to the device, or when watch began
	earlier   bool      // watch began after that
}

// keep takes over what is known of the call from what was there before.
func (c *callAt) keep(before []callAt) {
	if at := slices.IndexFunc(before, func(b callAt) bool { return b.id == c.id }); at >= 0 {
		c.direction, c.since, c.earlier = before[at].direction, before[at].since, before[at].earlier
	}
}

// direction says who called.
type direction int

const (
	unclear direction = iota
	from              // the device was called
	to                // the device calls
)

func (d direction) String() string { return [...]string{"with", "from", "to"}[d] }

// look replaces a device's calls by a snapshot, which corrects missed events. m is the event that is the reason, or nil.
func (r *row) look(ctx context.Context, c *connection, m *uacsta.Message) error {
	res, err := c.do(ctx, uacsta.SnapshotDevice{SnapshotObject: uacsta.Dev(r.device)})
	if err != nil {
		return err
	}
	calls, err := callsOf(res)
	if err != nil {
		return err
	}
	before := r.calls
	r.calls = nil
	for _, info := range calls {
		states := info.LocalCallState.CompoundCallState
		if len(states) == 0 || info.ConnectionIdentifier.CallID == "" {
			continue
		}
		call := callAt{id: info.ConnectionIdentifier.CallID, state: string(states[0]), since: time.Now(), earlier: m == nil}
		call.keep(before)
		switch {
		case info.EndpointDevice != nil:
			call.with = info.EndpointDevice.Device.ID
			if len(states) == 2 && states[1] != uacsta.Connected {
				call.as = string(states[1])
			}
		case len(states) > 2:
			call.with = fmt.Sprintf("%d others", len(states)-1)
		}
		call.direction = cmp.Or(call.direction, r.directionOf(call, m))
		r.calls = append(r.calls, call)
	}
	return nil
}

// directionOf returns the direction of a call that is new at the device.
func (r *row) directionOf(call callAt, m *uacsta.Message) direction {
	switch {
	case call.state == string(uacsta.Alerting) || call.state == string(uacsta.Queued):
		return from
	case call.state == string(uacsta.Initiated):
		return to
	case m == nil || len(m.Connections()) == 0 || m.Connections()[0].CallID() != call.id:
		return unclear
	case m.Name() == uacsta.NameServiceInitiatedEvent, m.Name() == uacsta.NameOriginatedEvent:
		return to
	case m.Text("callingDevice/deviceIdentifier") == r.device:
		return to
	case m.Text("calledDevice/deviceIdentifier") == r.device:
		return from
	}
	return unclear
}

// ask requests the active features. A device without features refuses.
func (r *row) ask(ctx context.Context, c *connection) error {
	r.features = map[string]string{}
	device := uacsta.Dev(r.device)
	for _, req := range []any{
		uacsta.GetDoNotDisturb{Device: device}, uacsta.GetForwarding{Device: device}, uacsta.GetMessageWaitingIndicator{Device: device},
		uacsta.GetAutoAnswer{Device: device}, uacsta.GetAgentState{Device: device},
	} {
		res, err := c.do(ctx, req)
		var refusal *uacsta.Error
		if errors.As(err, &refusal) {
			continue
		}
		if err != nil {
			return err
		}
		r.feature(res)
		var forwarding uacsta.GetForwardingResponse
		if res.Name() == uacsta.NameGetForwardingResponse && res.Decode(&forwarding) == nil {
			for _, item := range forwarding.ForwardingList {
				if item.ForwardStatus && item.ForwardDN != nil {
					r.features[string(item.ForwardingType)] = "to " + item.ForwardDN.ID
				}
			}
		}
		var agents uacsta.GetAgentStateResponse
		if res.Name() == uacsta.NameGetAgentStateResponse && res.Decode(&agents) == nil {
			for _, a := range agents.AgentStateList {
				for _, info := range a.AgentInfo {
					r.features["agent "+a.AgentID] = strings.TrimPrefix(string(info.AgentState), "agent")
				}
			}
		}
	}
	return nil
}

// feature stores an event or response about a feature.
func (r *row) feature(m *uacsta.Message) bool {
	set := func(name, value string, on bool) {
		delete(r.features, name)
		if on {
			r.features[name] = value
		}
	}
	on := func(path string) bool { return m.Text(path) == "true" }
	switch name := m.Name(); name {
	case uacsta.NameDoNotDisturbEvent, uacsta.NameGetDoNotDisturbResponse:
		set("dnd", "", on("doNotDisturbOn"))
	case uacsta.NameForwardingEvent:
		set(m.Text("forwardingType"), "to "+m.Text("forwardTo"), on("forwardStatus"))
	case uacsta.NameMessageWaitingEvent, uacsta.NameGetMessageWaitingIndicatorResponse:
		set("message", "", on("messageWaitingOn"))
	case uacsta.NameAutoAnswerEvent, uacsta.NameGetAutoAnswerResponse:
		set("auto-answer", "", on("autoAnswerOn"))
	default:
		if !strings.HasPrefix(name, "Agent") {
			return false
		}
		state := strings.TrimSuffix(strings.TrimPrefix(name, "Agent"), "Event")
		set("agent "+m.Text("agentID"), state, state != "LoggedOff")
	}
	return true
}

// parties says who is in the call, and who called whom; "" if nobody else is in it.
func (c *callAt) parties(known deviceNames) string {
	switch {
	case c.with == "":
		return ""
	case c.as != "":
		return c.direction.String() + " " + known.of(c.with) + " (" + c.as + ")"
	}
	return c.direction.String() + " " + known.of(c.with)
}

// age returns how long the call is at the device.
func (c *callAt) age(now time.Time) string {
	age := now.Sub(c.since).Round(time.Second).String()
	if c.earlier {
		return ">" + age
	}
	return age
}

// text returns the row without its device, for a line of its own; with now also how long each call is at the device.
func (r *row) text(known deviceNames, now time.Time) string {
	list := make([]string, 0, len(r.calls))
	for _, call := range r.calls {
		line := strings.TrimSpace(call.state + " " + call.parties(known))
		if !now.IsZero() && (call.earlier || now.Sub(call.since) >= time.Second) {
			line += " for " + call.age(now)
		}
		list = append(list, line)
	}
	if len(list) == 0 {
		list = []string{"idle"}
	}
	return printable(strings.Join(list, ", ") + r.active())
}

// colour returns the colour of the row: that of its first call.
func (r *row) colour() colour {
	if len(r.calls) == 0 {
		return faint
	}
	switch uacsta.LocalConnectionState(r.calls[0].state) {
	case uacsta.Alerting, uacsta.Queued, uacsta.Initiated:
		return busy
	case uacsta.Connected:
		return good
	case uacsta.Hold:
		return held
	case uacsta.Fail:
		return bad
	}
	return uncoloured
}

// active lists the active features.
func (r *row) active() string {
	text := ""
	for _, name := range slices.Sorted(maps.Keys(r.features)) {
		text += "  " + strings.TrimSpace(name+" "+r.features[name])
	}
	return text
}
