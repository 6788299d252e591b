// Package ctserver speaks with Voicetronix ctserver, which drives cards with ports for
// analogue lines. In the one role it is a link: each port of a card is a device, with a small
// state machine of its own, for the line tells little. In the other it makes devices of any
// switch look like the ports of a card, for programs that were written for ctserver.
package ctserver
