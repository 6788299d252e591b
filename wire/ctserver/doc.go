// Package ctserver reads and writes the lines of the protocol of Voicetronix ctserver, which drives cards with ports
// for analogue lines. Package link makes devices of the ports of cards; package front makes devices look like the ports of
// a card, for programs that were written for ctserver. Neither knows the other.
package ctserver
