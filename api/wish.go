package api

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	record "github.com/tr87proxy/tr87proxy/api/events"
)

// Subscription is which events a stream has.
type Subscription struct {
	Devices  []string `json:"devices,omitempty" doc:"Numbers, as you write them, and patterns such as 10* and 200-299. * is every device that you may observe. None: no events." maxItems:"1000"`
	Types    []string `json:"types,omitempty" doc:"Types of events. None: all." maxItems:"200"`
	Link     string   `json:"link,omitempty" doc:"Events of this link only."`
	After    string   `json:"after,omitempty" doc:"The id of the last event that you have: the stream goes on after it, also with events from before the client got the right to observe a device. 0 is the oldest event that is kept. Not there: it begins now."`
	Snapshot bool     `json:"snapshot,omitempty" doc:"Begin with the calls that there are, and say them again after events that are missing. With after, only then."`
}

// maxWished is how many devices and patterns a stream may have.
const maxWished = 1000

// subscriptionOf reads the parameters of a stream. Without the parameter devices it has every device that the client may
// observe.
func subscriptionOf(query url.Values, lastEvent string) (Subscription, error) {
	in := Subscription{Devices: []string{"*"}}
	for key, values := range query {
		text := values[len(values)-1]
		if !utf8.ValidString(strings.Join(values, "")) {
			return in, problem(http.StatusUnprocessableEntity, "the parameter %.64q is no UTF-8", key)
		}
		if len(values) > 1 && key != "devices" && key != "types" {
			return in, problem(http.StatusUnprocessableEntity, "the parameter %s is there twice", key)
		}
		switch key {
		case "devices":
			in.Devices = items(values)
		case "types":
			in.Types = items(values)
		case "link":
			in.Link = text
		case "after":
			in.After = text
		case "snapshot":
			var err error
			if in.Snapshot, err = strconv.ParseBool(text); err != nil {
				return in, problem(http.StatusUnprocessableEntity, "snapshot is true or false")
			}
		default:
			return in, problem(http.StatusUnprocessableEntity, "there is no parameter %.64q; there are devices, types, link, after and snapshot", key)
		}
	}
	if lastEvent != "" { // a browser that reconnects: its URL is from before
		in.After = lastEvent
	}
	return in, nil
}

// items splits lists with commas.
func items(values []string) (list []string) {
	for _, text := range values {
		for item := range strings.SplitSeq(text, ",") {
			if item = strings.TrimSpace(item); item != "" {
				list = append(list, item)
			}
		}
	}
	return list
}

// subscriptionIn reads the body of a request that changes a stream.
func subscriptionIn(body []byte) (in Subscription, err error) {
	fields, err := membersOf(body)
	if err != nil {
		return in, err
	}
	for name, value := range fields {
		var into any
		switch name {
		case "devices":
			into = &in.Devices
		case "types":
			into = &in.Types
		case "link":
			into = &in.Link
		case "after":
			into = &in.After
		case "snapshot":
			into = &in.Snapshot
		default:
			return in, problem(http.StatusUnprocessableEntity, "there is no member %.64q; there are devices, types, link, after and snapshot", name)
		}
		if json.Unmarshal(value, into) != nil || string(value) == "null" {
			return in, problem(http.StatusUnprocessableEntity, "the member %s has the wrong type", name)
		}
	}
	return in, nil
}

// wish checks what a client asks for.
func (c *client) wish(in Subscription) (record.Wish, error) {
	want := record.Wish{Who: c.session.Identity().Name, Link: in.Link, Snapshot: in.Snapshot, Rights: c.rights()}
	if len(in.Devices) > maxWished {
		return want, problem(http.StatusUnprocessableEntity, "at most %d devices and patterns; a pattern such as 10* stands for many", maxWished)
	}
	for _, text := range in.Devices {
		if isPattern(text) {
			if err := checkPattern(text); err != nil {
				return want, err
			}
			want.Patterns = append(want.Patterns, text)
			continue
		}
		view, err := c.view(text)
		if err != nil {
			p := explained(err)
			if p.Device = text; p.Status == http.StatusForbidden {
				c.unseen(p, text)
			}
			return want, p
		}
		if slices.Contains(want.Devices, view.Device) {
			continue
		}
		if want.Devices = append(want.Devices, view.Device); text != view.Device {
			if want.Spelled == nil {
				want.Spelled = map[string]string{}
			}
			want.Spelled[view.Device] = text
		}
	}
	if len(want.Patterns) > record.MostPatterns {
		return want, problem(http.StatusUnprocessableEntity, "at most %d patterns; one such as 10* stands for many devices", record.MostPatterns)
	}
	if kind := unknownType(in.Types); kind != "" {
		return want, problem(http.StatusUnprocessableEntity, "there is no type of events %.64q; the document /asyncapi.json lists them", kind)
	}
	want.Types = in.Types
	if in.After != "" {
		after, err := strconv.ParseUint(in.After, 10, 64)
		if err != nil {
			return want, problem(http.StatusUnprocessableEntity, "after must be the id of an event, in digits")
		}
		want.After = &after
	}
	return want, nil
}

// unknownType returns the first of some types of events that there is not; "" if there are all.
func unknownType(types []string) string {
	for _, kind := range types {
		if _, known := slices.BinarySearch(record.Types(), kind); !known {
			return kind
		}
	}
	return ""
}

// streaming converts an error of a stream of events into a problem.
func streaming(err error) *Problem {
	switch {
	case errors.Is(err, record.ErrFull):
		p := problem(http.StatusServiceUnavailable, "%v", err)
		p.retry = idle
		return p
	case errors.Is(err, record.ErrOften):
		p := problem(http.StatusTooManyRequests, "%v; keep streams open, and name fewer patterns", err)
		p.retry = 5 * time.Second
		return p
	case errors.Is(err, record.ErrClosed):
		return explained(errStopping)
	}
	return explained(err)
}

// rights returns what says which devices the client may observe now. It allocates only when the rules have changed.
func (c *client) rights() func() record.Rights {
	var last record.Rights
	return func() record.Rights {
		if now := c.session.Rights(); last != now {
			last = now
		}
		return last
	}
}
