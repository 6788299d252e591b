// Package uacsta is the CSTA language: the messages of ECMA-323 (CSTA-XML),
// their types, errors, causes and profiles. It knows no transport.
//
// A message travels as its XML tree, a [Message]: what this package does not
// know (private data, new elements, vendor extensions, other prefixes) is passed
// on untouched. Whoever carries out or makes a message uses the typed structs,
// one for each message, which [Message.Decode] and [Encode] turn from and into
// the tree in schema order.
package uacsta
