package uacsta

import (
	"strings"

	"github.com/beevik/etree"
)

// Cause returns the number that [Message.SetCause] has set, or 0.
func (m *Message) Cause() uint64 { return m.cause }

// SetCause sets the number of what the message follows from. It is no part of the message; copies have it, too.
func (m *Message) SetCause(cause uint64) { m.cause = cause }

// mask stands where a secret was.
const mask = "(masked)"

// Masked returns the message without an XML declaration and without secrets, for people: passwords are replaced.
func (m *Message) Masked() string {
	if !hides(m.root) {
		return m.String()
	}
	shown := m.Clone()
	hide(shown.root)
	return shown.String()
}

// secret reports whether an element or attribute of this local name holds a secret, in the standard's messages or in those
// of vendors.
func secret(name string) bool {
	if len(name) < len("pin") {
		return false
	}
	name = strings.ToLower(name)
	return strings.Contains(name, "passw") || strings.Contains(name, "secret") || strings.Contains(name, "credential") || name == "pwd" || name == "pin"
}

// hides reports whether there is a secret in an element or below it.
func hides(e *etree.Element) bool {
	if secret(e.Tag) {
		return true
	}
	for i := range e.Attr {
		if secret(e.Attr[i].Key) {
			return true
		}
	}
	for _, t := range e.Child {
		if c, is := t.(*etree.Element); is && hides(c) {
			return true
		}
	}
	return false
}

// hide replaces the secrets in an element and below it.
func hide(e *etree.Element) {
	for i := range e.Attr {
		if secret(e.Attr[i].Key) {
			e.Attr[i].Value = mask
		}
	}
	if secret(e.Tag) {
		e.Child = nil
		e.SetText(mask)
		return
	}
	for _, c := range e.ChildElements() {
		hide(c)
	}
}
