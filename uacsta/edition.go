package uacsta

import "strings"

// Edition is an edition of ECMA-323; it shows in the namespace of a message.
type Edition int

// The editions whose messages this package writes. Peers of other editions are
// served by [Edition.Written].
const (
	Edition3 Edition = 3
	Edition6 Edition = 6
)

// NamespaceED3 is the namespace of edition 3, which Lync-style clients speak.
const NamespaceED3 = "http://www.ecma-international.org/standards/ecma-323/csta/ed3"

const (
	namespacePrefix = "http://www.ecma-international.org/standards/ecma-323/csta/ed"
	// Edition 2 was published under another host name.
	namespacePrefixED2 = "http://www.ecma.ch/standards/ecma-323/csta/ed"
	// NamespaceApplSession is the namespace of ECMA-354 application sessions.
	NamespaceApplSession = "http://www.ecma-international.org/standards/ecma-354/appl_session"
)

// EditionOf returns the edition that a namespace names, 0 when it names none.
// A trailing "/privN", which Avaya adds, is passed over.
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

// Namespace returns the XML namespace of the edition; of edition 3 when e is 0.
func (e Edition) Namespace() string {
	switch {
	case e == 2:
		return namespacePrefixED2 + "2"
	case e <= 0 || e > 9:
		return NamespaceED3
	}
	return namespacePrefix + string(rune('0'+e))
}

// Written returns the edition whose content is written towards a peer of edition
// e: 6 for 6 and later, 3 for all others.
func (e Edition) Written() Edition {
	if e >= Edition6 {
		return Edition6
	}
	return Edition3
}
