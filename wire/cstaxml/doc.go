// Package cstaxml carries CSTA-XML over TCP and TLS, without SOAP (ECMA-323): a
// header of eight octets before each document, with its length and an invoke ID.
// Conn is a connection of either role, Server the front for clients that dial in,
// Link a switching function that is dialled.
package cstaxml
