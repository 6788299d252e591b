package uacsta

import (
	"reflect"
	"slices"
	"strings"
)

//go:generate go run generate.go table.go
//go:generate go run document.go table.go

// messageType is what messages.txt says about a message.
type messageType struct {
	typ   reflect.Type
	since Edition
}

// EventMessage is implemented by the structs of events.
type EventMessage interface {
	// Name returns the name of the message, such as DeliveredEvent.
	Name() string
	// With returns a copy with the shared fields that are set, if the event has these fields and they
	// are empty.
	With(s *Shared) EventMessage
}

// New returns a pointer to a new struct of a message, for Decode, or nil if there is none of that
// name.
func New(name string) any {
	t, ok := messageTypes[name]
	if !ok {
		return nil
	}
	return reflect.New(t.typ).Interface()
}

// Names returns the names of all messages that have a struct.
func Names() []string {
	names := make([]string, 0, len(messageTypes))
	for name := range messageTypes {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Since returns the edition that introduced a message, 3 or 6, or 0 if there is none of that name.
func Since(name string) Edition { return messageTypes[name].since }

// isSessionService reports whether a message belongs to ECMA-354.
func isSessionService(name string) bool { return strings.Contains(name, "ApplicationSession") }

// IsRequest reports whether name is the name of a service request.
func IsRequest(name string) bool {
	_, known := messageTypes[name]
	return known && NewMessage("", name).Kind() == Request
}
