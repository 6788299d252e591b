// Package phones carries the calls of the built-in switch at real SIP telephones and trunks: it
// rings and answers them, joins their voice, and keeps their feature keys and lamps true. It
// implements softswitch.Phones: the switch says how calls stand, and this package makes
// telephones follow, and reports to the switch what users do at their telephones. It owns a
// registrar.Server, which has the registrations and uaCSTA sessions.
//
// A leg is a dialog with a telephone. The legs of an extension share a queue, so that what a telephone
// sends in several calls is handled in the order in which it came, and an extension whose telephone
// cannot be written to delays no other; each leg of a trunk has its own. One further goroutine decides,
// after each change, which leg carries which connection and which legs hear each other (arrange.go).
package phones
