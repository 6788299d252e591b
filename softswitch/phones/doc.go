// Package phones serves real SIP telephones and trunks for the built-in switch: it
// registers them (RFC 3261 10), rings and answers them, joins their voice, and keeps their
// feature keys and lamps true. It implements softswitch.Phones: the switch says how calls
// stand, and this package makes telephones follow; what users do at their telephones, it
// tells the switch.
//
// Each leg, which is one dialog with a telephone, has a goroutine of its own, so that one
// that cannot be written to stops nobody else. One further goroutine decides, after each
// change, which leg carries which connection and who hears whom (arrange.go).
package phones
