package uacsta

import (
	"bytes"
	"strings"

	"github.com/beevik/etree"
)

// Cause returns the number that [Message.SetCause] has set, or 0.
func (m *Message) Cause() uint64 { return m.cause }

// SetCause sets the number of what the message follows from. It is no part of the message; copies have it, too.
func (m *Message) SetCause(cause uint64) { m.cause = cause }

// mask stands where a secret was.
const mask = "(masked)"

// WriteMasked writes the message without an XML declaration and without secrets, for people: passwords are replaced.
func (m *Message) WriteMasked(b *bytes.Buffer) {
	if !hides(m.root) {
		write(b, m.root)
		return
	}
	shown := m.Clone()
	hide(shown.root)
	write(b, shown.root)
}

// secret reports whether an element or attribute of this local name holds a secret, in the standard's messages or in those
// of vendors.
func secret(name string) bool {
	for _, whole := range []string{"pwd", "pin"} {
		if strings.EqualFold(name, whole) {
			return true
		}
	}
	for i := range len(name) - len("passw") + 1 {
		for _, part := range []string{"passw", "secret", "credential"} {
			if name[i]|0x20 == part[0] && i+len(part) <= len(name) && strings.EqualFold(name[i:i+len(part)], part) {
				return true
			}
		}
	}
	return false
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
