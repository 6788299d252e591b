// Package uacsta is the language of CSTA: the messages of ECMA-323 (CSTA-XML), their types, errors,
// causes and profiles. It knows no transport.
//
// A [Message] is the XML tree of a message. [Parse] makes one from a document and [Message.Bytes]
// writes it. What this package does not define (private data, new elements, vendor extensions) stays
// in the tree unchanged, so the proxy can forward it.
//
// To use or make a message, convert the tree from or to a typed struct, of which there is one for each
// message: [Message.Decode] and [Encode]. Fields are in schema order. Messages exist in two editions,
// [Edition3] and [Edition6]; [Message.Convert] changes the edition.
//
// Parse gives a message the one form that every reader reads alike, or fails with an [*Unclear]. So
// policy, the link and the audit file see the same request. A message has one form in JSON, too:
// [Message.MarshalJSON] and [ParseJSON].
package uacsta
