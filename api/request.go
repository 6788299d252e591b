package api

import (
	"context"
	"encoding/json"
	"maps"
	"mime"
	"net/http"
	"slices"
	"strings"

	record "github.com/tr87proxy/tr87proxy/api/events"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// request makes the CSTA request of an action: the body has its members, and the path gives the object.
func (s *Server) request(ctx context.Context, c *client, a *action, in *actionInput, call string) (*uacsta.Message, error) {
	if kind, _, err := mime.ParseMediaType(in.ContentType); len(in.RawBody) > 0 && (err != nil || kind != typeJSON) {
		return nil, problem(http.StatusUnsupportedMediaType, "write Content-Type: application/json")
	}
	fields, err := membersOf(in.RawBody)
	if err != nil {
		return nil, err
	}
	device := quoted(in.Device)
	connection := func(call string) json.RawMessage {
		return json.RawMessage(`{"callID":` + string(quoted(call)) + `,"deviceID":` + string(device) + `}`)
	}
	given := map[string]json.RawMessage{a.object: device}
	if a.call {
		given[a.object] = connection(call)
	}
	if err := a.known(fields); err != nil {
		return nil, err
	}
	for short, member := range a.shorts() {
		if value, ok := fields[short]; ok {
			if string(value) == `""` {
				return nil, problem(http.StatusUnprocessableEntity, "%s is empty", a.short(member))
			}
			if short == "to" && a.many && value[0] != '[' {
				value = slices.Concat(json.RawMessage("["), value, json.RawMessage("]"))
			}
			given[member] = value
			delete(fields, short)
		}
	}
	if a.other != "" {
		with, err := text(fields, "with")
		if err != nil {
			return nil, err
		}
		held, active, err := s.pair(ctx, c, in.Device, call, with)
		if err != nil {
			return nil, err
		}
		given["heldCall"], given["activeCall"] = connection(held), connection(active)
	}
	if err := shorthand(a, fields, given); err != nil {
		return nil, err
	}
	for member, value := range given {
		if _, twice := fields[member]; twice {
			return nil, problem(http.StatusUnprocessableEntity, "%s is given twice: leave it out of the body", member)
		}
		fields[member] = value
	}
	if err := a.complete(fields); err != nil {
		return nil, err
	}
	document, err := json.Marshal(map[string]any{a.service: fields})
	if err != nil {
		return nil, problem(http.StatusBadRequest, "the body is no JSON object: %v", err)
	}
	req, err := parse(document, false)
	if err != nil {
		p := unread(err)
		p.Detail = a.short(p.Detail)
		return nil, p
	}
	return req, nil
}

// short names the members in a text about the action's request as its body may have them.
func (a *action) short(detail string) string {
	detail = strings.ReplaceAll(detail, a.service+".", "")
	for short, member := range a.shorts() {
		before, after, found := strings.Cut(detail, member)
		if found && (before == "" || strings.HasSuffix(before, ": ")) && strings.IndexAny(after, " :[") <= 0 {
			detail = before + short + " (" + member + ")" + after
		}
	}
	return detail
}

// known refuses a request with a member that there is not. Package uacsta checks what is inside the members.
func (a *action) known(fields map[string]json.RawMessage) error {
	members := a.members()
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		plain := strings.TrimPrefix(name, "@") // its attributes
		if slices.Contains(members, plain) || name == "@" || name == "otherElements" {
			continue
		}
		if slices.Contains([]string{a.object, "heldCall", "activeCall"}, plain) && a.method != http.MethodGet {
			return problem(http.StatusUnprocessableEntity, "%s is given twice: the path gives it, leave it out of the body", name)
		}
		p := problem(http.StatusUnprocessableEntity, "%.64q: there is no such member%s", name, uacsta.Advice(name, members))
		p.CSTA = &Refusal{string(uacsta.Operation), uacsta.InvalidParameterValue}
		return p
	}
	return nil
}

// complete refuses a request without a member that CSTA requires.
func (a *action) complete(fields map[string]json.RawMessage) error {
	for _, member := range a.needs {
		if _, given := fields[member]; given {
			continue
		}
		p := problem(http.StatusUnprocessableEntity, "%s is missing; docs/csta/%s.md and /openapi.json say what it is", a.short(member), a.service)
		p.CSTA = &Refusal{string(uacsta.Operation), uacsta.InvalidParameterValue}
		return p
	}
	return nil
}

// shorthand moves the members that people write into those of CSTA.
func shorthand(a *action, fields, given map[string]json.RawMessage) error {
	if a.service == uacsta.NameMakeCall {
		given["autoOriginate"] = quoted(string(uacsta.DoNotPrompt))
		if value, ok := fields["autoOriginate"]; ok {
			given["autoOriginate"] = value
			delete(fields, "autoOriginate")
		}
		if value, ok := fields["prompt"]; ok {
			var prompt bool
			if json.Unmarshal(value, &prompt) != nil {
				return problem(http.StatusUnprocessableEntity, "prompt must be true or false")
			}
			if prompt {
				given["autoOriginate"] = quoted(string(uacsta.Prompt))
			}
			delete(fields, "prompt")
		}
	}
	correlator, err := text(fields, "correlator")
	if err != nil || correlator == "" {
		return err
	}
	digits, ok := record.Digits(correlator)
	if !ok {
		return problem(http.StatusUnprocessableEntity, "correlator: what follows hex: must be hexadecimal digits, two for each octet")
	}
	given["correlatorData"] = json.RawMessage(`{"string":"` + digits + `"}`)
	return nil
}
