package api

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
)

// quoted returns a text as a JSON string.
func quoted(text string) json.RawMessage {
	data, _ := json.Marshal(text) // a string always encodes
	return data
}

// membersOf reads the members of a JSON object. No body is an object without members; a member that is there twice is
// refused.
func membersOf(data []byte) (map[string]json.RawMessage, error) {
	fields := map[string]json.RawMessage{}
	if len(bytes.TrimSpace(data)) == 0 {
		return fields, nil
	}
	d := json.NewDecoder(bytes.NewReader(data))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, problem(http.StatusBadRequest, "the body must be a JSON object")
	}
	for d.More() {
		t, err := d.Token()
		name, ok := t.(string)
		var value json.RawMessage
		if err != nil || !ok || d.Decode(&value) != nil {
			return nil, problem(http.StatusBadRequest, "the body is no JSON")
		}
		if _, twice := fields[name]; twice {
			return nil, problem(http.StatusBadRequest, "%.64q is there twice", name)
		}
		fields[name] = value
	}
	_, err := d.Token()
	if _, more := d.Token(); err != nil || more == nil || strings.TrimSpace(string(data[d.InputOffset():])) != "" {
		return nil, problem(http.StatusBadRequest, "the body is no JSON, or goes on after the object")
	}
	return fields, nil
}

// text takes a string out of the members; "" if it is not there.
func text(fields map[string]json.RawMessage, name string) (string, error) {
	value, ok := fields[name]
	if !ok {
		return "", nil
	}
	delete(fields, name)
	var s string
	if json.Unmarshal(value, &s) != nil || s == "" {
		return "", problem(http.StatusUnprocessableEntity, "%s must be a string that is not empty", name)
	}
	return s, nil
}
