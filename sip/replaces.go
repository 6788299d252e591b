package sip

import (
	"slices"
	"strings"
)

// Replaces names a dialog that a new one takes the place of (RFC 3891 6.1).
type Replaces struct {
	CallID string
	// ToTag is the tag of whoever gets the Replaces, FromTag that of the other side.
	ToTag, FromTag string
	EarlyOnly      bool // only as long as the dialog is an early one
}

const (
	nameMarks = "-.!%*_+`'~"
	wordMarks = nameMarks + "()<>:\\\"/[]?{}"
)

// spells reports whether a text is made of letters, digits and marks (RFC 3261 25.1, token
// and word).
func spells(text, marks string) bool {
	return text != "" && strings.IndexFunc(text, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune(marks, r)
	}) < 0
}

// ParseReplaces reads the value of a header Replaces: a Call-ID, exactly one to-tag, and
// exactly one from-tag.
func ParseReplaces(value string) (r Replaces, ok bool) {
	id, params, more := strings.Cut(value, ";")
	r.CallID = strings.TrimSpace(id)
	local, host, atHost := strings.Cut(r.CallID, "@")
	if !spells(local, wordMarks) || atHost && !spells(host, wordMarks) {
		return Replaces{}, false
	}
	seen := map[string]bool{}
	for more {
		var param string
		param, params, more = splitQuoted(params, ';')
		name, value, valued := strings.Cut(param, "=")
		name, value = strings.ToLower(strings.TrimSpace(name)), strings.TrimSpace(value)
		if !spells(name, nameMarks) || seen[name] {
			return Replaces{}, false
		}
		seen[name] = true
		switch name {
		case "to-tag":
			r.ToTag, ok = value, spells(value, nameMarks)
		case "from-tag":
			r.FromTag, ok = value, spells(value, nameMarks)
		case "early-only":
			r.EarlyOnly, ok = true, !valued
		default:
			ok = !strings.ContainsAny(value, ", ")
		}
		if !ok {
			return Replaces{}, false
		}
	}
	return r, r.ToTag != "" && r.FromTag != ""
}

// Replaces returns what the request is to take the place of; false when it is nothing.
func (r *Request) Replaces() (Replaces, bool) { return ParseReplaces(r.Header("Replaces")) }

// misreplaces reports whether a request has a Replaces that must be refused: more than one,
// one that is malformed, beside Join, or in anything but an INVITE for a new dialog (RFC
// 3891 3, RFC 3911 4). Where we do not support the extension it is a header like others.
func (r *Request) misreplaces() bool {
	values := r.Values("Replaces")
	if len(values) == 0 || !slices.Contains(r.ua.cfg.Supports, "replaces") {
		return false
	}
	_, ok := ParseReplaces(values[0])
	return !ok || len(values) > 1 || r.Method() != "INVITE" || r.To().Tag() != "" || r.Header("Join") != ""
}

// Dialog returns the dialog that these names fit, nil for none: local is our tag.
func (ua *UA) Dialog(callID, local, remote string) *Dialog {
	ua.mu.Lock()
	d := ua.dialogs[local]
	ua.mu.Unlock()
	if d == nil || d.callID != callID {
		return nil
	}
	if _, tag := d.Tags(); tag != remote || tag == "" {
		return nil
	}
	return d
}

// Handler returns who gets what comes in the dialog.
func (d *Dialog) Handler() DialogHandler { return d.handler }

// Ours reports whether the dialog was opened by a request of ours.
func (d *Dialog) Ours() bool { return d.invitation == nil && !d.subscription }
