// Package freeswitch makes a FreeSWITCH a switching function, over its event socket and without a
// module on it: the link follows its channels by their events, keeps a picture of calls in CSTA's
// words, and carries out services by FreeSWITCH's commands.
package freeswitch
