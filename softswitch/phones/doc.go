// Package phones carries the calls of the built-in switch at real SIP telephones and trunks: it
// rings and answers them, joins their voice, and keeps their feature keys and lamps true. It
// implements softswitch.Phones: the switch says how calls stand, and this package makes
// telephones follow, and reports to the switch what users do at their telephones. It owns a
// registrar.Server, which has the registrations and uaCSTA sessions.
//
// Each leg, one dialog with a telephone, has its own queue, so that a telephone that cannot be
// written to delays no other. One further goroutine decides, after each change, which leg carries
// which connection and which legs hear each other (arrange.go).
package phones
