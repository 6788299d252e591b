package uacsta

import (
	"maps"
	"slices"

	"github.com/beevik/etree"
)

// Prefixes and declarations of namespaces: those of the standard's own elements are removed, and
// elements that stay unchanged declare what they need.

// declare adds the declaration of a prefix, "" for the default, to an element. A single declaration
// above many elements would otherwise be repeated for each of them: a small document must not become a
// large one, or one with more attributes than are allowed.
func (c *canonicalizer) declare(e *etree.Element, attrs []etree.Attr, prefix, ns string) ([]etree.Attr, *Error) {
	a := etree.Attr{Space: "xmlns", Key: prefix, Value: ns}
	if prefix == "" {
		a = etree.Attr{Key: "xmlns", Value: ns}
	}
	if c.added += len(`xmlns:=""`) + len(prefix) + len(ns); c.added > MaxSize || len(attrs) >= MaxAttributes {
		return nil, unclear(e, "needs too many declarations of namespaces")
	}
	return append(attrs, a), nil
}

// keep leaves an element and its content unchanged, and makes it declare the namespaces that were
// declared above it.
func (c *canonicalizer) keep(e *etree.Element) *Error {
	if contained(e, e) {
		return nil // the usual case of vendor elements
	}
	needed := map[string]bool{}
	prefixes(e, e, needed)
	if ns, _ := resolve(e.Parent(), ""); !needed[""] || ns == c.namespace {
		c.unprefix(e)
		clear(needed)
		prefixes(e, e, needed)
		delete(needed, "") // elements without a prefix are in the root's namespace
	}
	for _, prefix := range slices.Sorted(maps.Keys(needed)) {
		ns, bound := resolve(e.Parent(), prefix)
		switch {
		case prefix == "" && ns == c.namespace:
			continue
		case prefix != "" && !bound:
			return unclear(e, "has a prefix that is not declared")
		}
		attrs, err := c.declare(e, e.Attr, prefix, ns)
		if err != nil {
			return err
		}
		e.Attr = attrs
	}
	return nil
}

// contained reports whether top or its content declares everything that an element and its content
// need.
func contained(e, top *etree.Element) bool {
	inside := func(prefix string) bool {
		for at := e; ; at = at.Parent() {
			if _, declared := declares(at, prefix); declared || at == top {
				return declared
			}
		}
	}
	if !inside(e.Space) {
		return false
	}
	for _, a := range e.Attr {
		if a.Space != "" && a.Space != "xml" && a.Space != "xmlns" && !inside(a.Space) {
			return false
		}
	}
	for _, t := range e.Child {
		if child, ok := t.(*etree.Element); ok && !contained(child, top) {
			return false
		}
	}
	return true
}

// unprefix removes prefixes that mean what no prefix will mean.
func (c *canonicalizer) unprefix(e *etree.Element) {
	if _, declared := declares(e, ""); declared {
		return
	}
	if ns, bound := resolve(e, e.Space); e.Space != "" && bound && ns == c.namespace {
		e.Space = ""
	}
	for _, t := range e.Child {
		if child, ok := t.(*etree.Element); ok {
			c.unprefix(child)
		}
	}
}

// prefixes collects the prefixes that an element and its content use and that top and what is below it
// do not declare; "" is the default namespace.
func prefixes(e, top *etree.Element, needed map[string]bool) {
	use := func(prefix string) {
		if prefix == "xml" || prefix == "xmlns" || needed[prefix] {
			return
		}
		for at := e; ; at = at.Parent() {
			if _, declared := declares(at, prefix); declared {
				return
			}
			if at == top {
				needed[prefix] = true
				return
			}
		}
	}
	use(e.Space)
	for _, a := range e.Attr {
		if a.Space != "" {
			use(a.Space)
		}
	}
	for _, t := range e.Child {
		if child, ok := t.(*etree.Element); ok {
			prefixes(child, top, needed)
		}
	}
}

const namespaceInstance = "http://www.w3.org/2001/XMLSchema-instance"

// strip removes prefix and declarations from an element of the standard. Its other attributes stay,
// with the namespaces that they need. It refuses attributes that would change the element's type or
// make it nil.
func (c *canonicalizer) strip(e *etree.Element) *Error {
	e.Space = ""
	if len(e.Attr) == 0 {
		return nil
	}
	kept := make([]etree.Attr, 0, len(e.Attr))
	for _, a := range e.Attr {
		switch ns, bound := resolve(e, a.Space); {
		case a.Space == "xmlns" || a.Space == "" && a.Key == "xmlns":
		case a.Space == "" || a.Space == "xml":
			kept = append(kept, a)
		case !bound:
			return unclear(e, "has a prefix that is not declared")
		case ns == namespaceInstance && (a.Key == "nil" || a.Key == "type"):
			return unclear(e, "says that it is something else")
		case ns != namespaceInstance: // a schema location
			if !slices.ContainsFunc(kept, func(b etree.Attr) bool { return b.Space == "xmlns" && b.Key == a.Space }) {
				var err *Error
				if kept, err = c.declare(e, kept, a.Space, ns); err != nil {
					return err
				}
			}
			kept = append(kept, a)
		}
	}
	if len(kept) >= MaxAttributes { // the root declares one more
		return unclear(e, "needs too many declarations of namespaces")
	}
	e.Attr = kept
	return nil
}

// resolve returns the namespace of a prefix at an element; "" is the default prefix.
func resolve(e *etree.Element, prefix string) (ns string, bound bool) {
	for at := e; at != nil; at = at.Parent() {
		if ns, bound = declares(at, prefix); bound {
			return ns, true
		}
	}
	return "", false
}

// declares returns the namespace that an element itself declares for a prefix.
func declares(e *etree.Element, prefix string) (ns string, declared bool) {
	space, key := "xmlns", prefix
	if prefix == "" {
		space, key = "", "xmlns"
	}
	for i := range e.Attr {
		if a := &e.Attr[i]; a.Space == space && a.Key == key {
			return a.Value, true
		}
	}
	return "", false
}
