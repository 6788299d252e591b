package uacsta

import (
	"reflect"
	"slices"
	"strings"
)

//go:generate go run generate.go

// messageType is what messages.txt says of a message.
type messageType struct {
	typ   reflect.Type
	since Edition
}

// EventMessage is the struct of an event.
type EventMessage interface {
	// Name returns the name of the message, such as DeliveredEvent.
	Name() string
	// With returns a copy that has the shared fields which are set, where the event has a place
	// for them and nothing in it.
	With(s *Shared) EventMessage
}

// New makes the struct of a message, and returns a pointer to it that Decode
// takes; nil for a name that no struct has.
func New(name string) any {
	t, ok := messageTypes[name]
	if !ok {
		return nil
	}
	return reflect.New(t.typ).Interface()
}

// Names lists every message that has a struct.
func Names() []string {
	names := make([]string, 0, len(messageTypes))
	for name := range messageTypes {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Since returns the edition that a message came with: 3 or 6; 0 for a name that
// is none.
func Since(name string) Edition { return messageTypes[name].since }

// isSessionService reports whether a message belongs to ECMA-354.
func isSessionService(name string) bool { return strings.Contains(name, "ApplicationSession") }

// IsRequest reports whether a name is that of a service request.
func IsRequest(name string) bool {
	_, known := messageTypes[name]
	return known && NewMessage("", name).Kind() == Request
}
