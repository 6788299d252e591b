// Package audio has the sound of telephony in memory and in files: 8 kHz mono, G.711, and WAV and AU files in a directory that
// no name leads out of.
package audio
