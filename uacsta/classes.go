package uacsta

import "slices"

// Classes lists the classes that rules about services may name, from the most to the least
// general: observe, calls, new-calls and so on. A service that is not of the class observe
// controls.
func Classes() []string { return slices.Clone(classes) }

// InClass reports whether a service, by the name of its request, is of a class. A service
// that the table of messages does not have is in none.
func InClass(service, class string) bool { return slices.Contains(services[service], class) }

// Observes reports whether a service, by the name of its request, changes nothing. Every
// other service controls, and so does one that the table of messages does not have.
func Observes(service string) bool { return InClass(service, "observe") }

// OfClass lists the services of a class, by the names of their requests.
func OfClass(class string) []string {
	var names []string
	for name := range services {
		if InClass(name, class) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
