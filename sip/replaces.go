package sip

import (
	"slices"
	"strings"
)

// Replaces identifies the dialog that a new dialog replaces (RFC 3891 6.1).
type Replaces struct {
	CallID string
	// ToTag is the tag of the recipient of the Replaces, FromTag that of the other party.
	ToTag, FromTag string
	EarlyOnly      bool // replace only an early dialog
}

const (
	nameMarks = "-.!%*_+`'~"
	wordMarks = nameMarks + "()<>:\\\"/[]?{}"
)

// spells reports whether text is not empty and has only letters, digits and marks (RFC 3261
// 25.1, token and word).
func spells(text, marks string) bool {
	return text != "" && strings.IndexFunc(text, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune(marks, r)
	}) < 0
}

// ParseReplaces parses the value of a Replaces header: a Call-ID with exactly one to-tag and
// one from-tag.
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

// Replaces returns the dialog that the request wants to replace, or false if there is none.
func (r *Request) Replaces() (Replaces, bool) { return ParseReplaces(r.Header("Replaces")) }

// misreplaces reports whether a Replaces must be refused: several, a malformed one, one with
// Join, or one in anything but an INVITE outside dialogs (RFC 3891 3, RFC 3911 4). Without
// support for the extension the header is ignored.
func (r *Request) misreplaces() bool {
	values := r.Values("Replaces")
	if len(values) == 0 || !slices.Contains(r.ua.cfg.Supports, "replaces") {
		return false
	}
	_, ok := ParseReplaces(values[0])
	return !ok || len(values) > 1 || r.Method() != "INVITE" || r.To().Tag() != "" || r.Header("Join") != ""
}

// Dialog returns the dialog with this Call-ID and these tags, or nil. local is our tag.
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

// Handler returns the dialog's handler.
func (d *Dialog) Handler() DialogHandler { return d.handler }

// Ours reports whether we opened the dialog.
func (d *Dialog) Ours() bool { return d.invitation == nil && !d.subscription }
