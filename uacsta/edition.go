package uacsta

import "strings"

// Edition is an edition of ECMA-323. The namespace of a message names it.
type Edition int

// The editions that this package writes. [Edition.Written] maps others to them.
const (
	Edition3 Edition = 3
	Edition6 Edition = 6
)

// NamespaceED3 is the namespace of edition 3, which clients of Lync's kind use.
const NamespaceED3 = "http://www.ecma-international.org/standards/ecma-323/csta/ed3"

const (
	namespacePrefix = "http://www.ecma-international.org/standards/ecma-323/csta/ed"
	// Edition 2 was published under another host name.
	namespacePrefixED2 = "http://www.ecma.ch/standards/ecma-323/csta/ed"
	// NamespaceApplSession is the namespace of ECMA-354 application sessions.
	NamespaceApplSession = "http://www.ecma-international.org/standards/ecma-354/appl_session"
)

// EditionOf returns the edition that a namespace names, or 0. It ignores a trailing "/privN", which
// Avaya adds.
func EditionOf(namespace string) Edition {
	rest, ok := strings.CutPrefix(namespace, namespacePrefix)
	if !ok {
		if rest, ok = strings.CutPrefix(namespace, namespacePrefixED2); !ok {
			return 0
		}
	}
	if rest == "" || rest[0] < '1' || rest[0] > '9' || (len(rest) > 1 && rest[1] != '/') {
		return 0
	}
	return Edition(rest[0] - '0')
}

// Namespace returns the XML namespace of the edition, or that of edition 3 if e is 0.
func (e Edition) Namespace() string {
	switch {
	case e == 2:
		return namespacePrefixED2 + "2"
	case e <= 0 || e > 9:
		return NamespaceED3
	}
	return namespacePrefix + string(rune('0'+e))
}

// Written returns the edition in which to write to a peer of edition e: 6 for 6 and later, 3
// otherwise.
func (e Edition) Written() Edition {
	if e >= Edition6 {
		return Edition6
	}
	return Edition3
}
