package uacsta

import (
	"slices"
	"strings"
)

// Service is what the table of messages says about a request. The zero value is a request that is not
// in the table: it has no class and acts on every device that it names.
type Service struct {
	group      string
	fromSwitch bool // only the switching function sends it
	bothWays   bool // both sides send it
	classes    []string
	mandatory  bool // every link must serve it
	oneWay     bool // it has no positive response
	objects    []object
	text       string // what it does
}

// Group returns the group of the service in the table of messages, such as callcontrol; each is a clause of ECMA-269.
func (s Service) Group() string { return s.group }

// ToSwitch reports whether computing functions send the request.
func (s Service) ToSwitch() bool { return !s.fromSwitch }

// FromSwitch reports whether switching functions send the request.
func (s Service) FromSwitch() bool { return s.fromSwitch || s.bothWays }

// object is an element of a request that names devices or connections.
type object struct {
	element string
	role    Role
	refusal string // the error value if policy refuses them; "" for the usual one of the role
}

// Role is what a request does with the devices or connections in one of its elements.
type Role int

// The roles of devices in a request.
const (
	Subject     Role = iota // it acts on them
	Destination             // it sends a call to them, or makes them send calls
	Mentioned               // neither
)

// ServiceOf returns what the table of messages says about a request.
func ServiceOf(name string) Service { return services[name] }

// Role returns the role of the devices at a path of the request, such as "heldCall/deviceID". It is
// Subject if the table has no such element.
func (s Service) Role(path string) Role {
	element, _, _ := strings.Cut(path, "/")
	for _, o := range s.objects {
		if o.element == element {
			return o.role
		}
	}
	return Subject
}

// Text says in a sentence what the service does, as its page in docs/csta begins: "Answers a call.". "" if the table does not
// have it.
func (s Service) Text() string {
	if s.text == "" {
		return ""
	}
	return strings.ToUpper(s.text[:1]) + s.text[1:] + "."
}

// Elements returns the elements whose devices have a role, in schema order.
func (s Service) Elements(role Role) []string {
	var elements []string
	for _, o := range s.objects {
		if o.role == role {
			elements = append(elements, o.element)
		}
	}
	return elements
}

// Refusal returns the error value, of category Operation, for a client that has no right to use the
// service on devices of a role (ECMA-269 clause 12.2).
func (s Service) Refusal(role Role) string {
	for _, o := range s.objects {
		if o.role == role && o.refusal != "" {
			return o.refusal
		}
	}
	if role == Destination {
		return PrivilegeViolationDestinationDevice
	}
	return PrivilegeViolationSpecifiedDevice
}

// Mandatory returns the services that every link must support, by the names of their requests.
func Mandatory() []string { return named(func(s Service) bool { return s.mandatory }) }

// Services returns all services, by the names of their requests.
func Services() []string { return named(func(Service) bool { return true }) }

// Classes returns the classes that rules may name, from the most to the least general: observe, calls,
// new-calls and so on. A service outside the class observe controls.
func Classes() []string { return slices.Clone(classes) }

// InClass reports whether a service, by the name of its request, is in a class. A service that is not
// in the table of messages is in none.
func InClass(service, class string) bool { return slices.Contains(services[service].classes, class) }

// Observes reports whether a service, by the name of its request, changes nothing. Any other service
// controls, also one that is not in the table of messages.
func Observes(service string) bool { return InClass(service, "observe") }

// OfClass returns the services of a class, by the names of their requests.
func OfClass(class string) []string {
	return named(func(s Service) bool { return slices.Contains(s.classes, class) })
}

// named returns the services that fulfil a condition, by the names of their requests.
func named(fulfils func(Service) bool) []string {
	var names []string
	for name, s := range services {
		if fulfils(s) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
