package uacsta

import "bytes"

// Conceal returns octets with secrets overwritten by asterisks: passwords in CSTA-XML that is in them. It returns as many octets,
// those that it got if there is no secret in them. It does not change what it gets. Other text, such as headers, can be
// around the XML. The XML need not be correct: where an element with a secret does not end, all that follows is overwritten.
func Conceal(octets []byte) []byte {
	if bytes.IndexByte(octets, '<') < 0 {
		return octets
	}
	c := concealer{in: octets, out: octets}
	if bytes.IndexByte(octets, 0) >= 0 { // no XML that we can read, such as UTF-16
		c.hide(0, len(octets))
	}
	for c.markup() {
		if c.what == opens && c.secret {
			begin := c.at
			c.hide(begin, c.element())
		}
	}
	return c.out
}

// concealer walks through the markup of a document.
type concealer struct {
	in, out []byte // out is in until something was overwritten
	at      int
	what    markup
	from    int  // where the markup begins
	secret  bool // the element that it opens holds a secret
}

// markup is a kind of markup. Comments, sections and instructions are other.
type markup int

const (
	other markup = iota
	opens
	closes
	empty
)

// hide overwrites octets.
func (c *concealer) hide(from, to int) {
	if &c.out[0] == &c.in[0] {
		c.out = bytes.Clone(c.in)
	}
	for i := from; i < to; i++ {
		c.out[i] = '*'
	}
}

// element goes to the end of the element that the last markup has opened, and returns where its content ends.
func (c *concealer) element() int {
	for depth := 1; c.markup(); {
		switch c.what {
		case opens:
			depth++
		case closes:
			depth--
		default:
		}
		if depth == 0 {
			return c.from
		}
	}
	return len(c.in)
}

// markup reads the next markup. It returns false if there is none.
func (c *concealer) markup() bool {
	next := bytes.IndexByte(c.in[c.at:], '<')
	if next < 0 {
		return false
	}
	c.from = c.at + next
	c.at, c.what = c.from+1, other
	rest := c.in[c.at:]
	switch {
	case bytes.HasPrefix(rest, []byte("!--")):
		c.skip("-->")
	case bytes.HasPrefix(rest, []byte("![CDATA[")):
		c.skip("]]>")
	case bytes.HasPrefix(rest, []byte("?")):
		c.skip("?>")
	case bytes.HasPrefix(rest, []byte("/")):
		c.what = closes
		c.skip(">")
	default:
		c.tag()
	}
	return true
}

// skip goes behind a text.
func (c *concealer) skip(text string) {
	if end := bytes.Index(c.in[c.at:], []byte(text)); end >= 0 {
		c.at += end + len(text)
	} else {
		c.at = len(c.in)
	}
}

// tag reads a start tag behind its first octet, and overwrites its secrets.
func (c *concealer) tag() {
	c.what, c.secret = opens, secret(local(c.name()))
	for c.at < len(c.in) {
		switch octet := c.in[c.at]; octet {
		case '>':
			c.at++
			return
		case '/':
			c.what = empty
			c.at++
		case '<': // the tag has no end
			return
		case ' ', '\t', '\r', '\n':
			c.at++
		default:
			c.what = opens
			c.attribute()
		}
	}
}

// attribute reads an attribute, or an octet that begins none.
func (c *concealer) attribute() {
	name := c.name()
	if len(name) == 0 {
		c.at++
		return
	}
	for _, between := range []string{" \t\r\n", "=", " \t\r\n"} {
		for c.at < len(c.in) && bytes.IndexByte([]byte(between), c.in[c.at]) >= 0 {
			c.at++
		}
	}
	if c.at == len(c.in) || c.in[c.at] != '"' && c.in[c.at] != '\'' {
		return
	}
	begin := c.at + 1
	end := bytes.IndexByte(c.in[begin:], c.in[c.at])
	if end < 0 {
		end = len(c.in) - begin
	}
	if secret(local(name)) {
		c.hide(begin, begin+end)
	}
	c.at = min(begin+end+1, len(c.in))
}

// name reads a name.
func (c *concealer) name() []byte {
	begin := c.at
	for c.at < len(c.in) && bytes.IndexByte([]byte(" \t\r\n/><='\""), c.in[c.at]) < 0 {
		c.at++
	}
	return c.in[begin:c.at]
}

// local returns a name without its prefix.
func local(name []byte) string {
	return string(name[bytes.LastIndexByte(name, ':')+1:])
}
