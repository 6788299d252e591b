package sip

import "bytes"

// Conceal returns a message with its secrets overwritten by asterisks, in as many octets: credentials in the header, passwords
// in URIs of the header, keys of SDP, and what body overwrites in a body. It returns the message itself if it has none, and
// does not change it.
func Conceal(message []byte, body func([]byte) []byte) []byte {
	if len(message) == 0 {
		return message
	}
	c := concealer{in: message, out: message}
	for c.at < len(message) && c.line() {
	}
	hidden := body(c.out[c.at:])
	switch {
	case len(hidden) == 0 || &hidden[0] == &c.out[c.at]:
	case c.copied():
		copy(c.out[c.at:], hidden)
	default:
		c.out = append(bytes.Clone(message[:c.at]), hidden...)
	}
	for c.at < len(message) {
		c.sdp()
	}
	return c.out
}

// concealer walks through the lines of a message.
type concealer struct {
	in, out []byte // out is in until something was overwritten
	at      int
}

func (c *concealer) copied() bool { return &c.out[0] != &c.in[0] }

// hide overwrites octets.
func (c *concealer) hide(from, to int) {
	if !c.copied() {
		c.out = bytes.Clone(c.in)
	}
	for i := from; i < to; i++ {
		c.out[i] = '*'
	}
}

// next returns the end of the line at an offset, without its end, and where the next line begins.
func (c *concealer) next(from int) (end, next int) {
	n := bytes.IndexByte(c.in[from:], '\n')
	if n < 0 {
		return len(c.in), len(c.in)
	}
	end = from + n
	if end > from && c.in[end-1] == '\r' {
		end--
	}
	return end, from + n + 1
}

// line handles a line of the header, with those that continue it, and goes to the next one. It returns false behind the empty
// line, where the body begins.
func (c *concealer) line() bool {
	begin := c.at
	end, next := c.next(begin)
	for end > begin && next < len(c.in) && (c.in[next] == ' ' || c.in[next] == '\t') {
		end, next = c.next(next)
	}
	c.at = next
	if begin == end {
		return false
	}
	colon := bytes.IndexByte(c.in[begin:end], ':')
	if colon >= 0 && credentials(c.in[begin:begin+colon]) {
		c.values(begin+colon+1, end)
	} else {
		c.uris(begin, end)
	}
	return true
}

// credentials reports whether a header with this name is about credentials. It is true for Authorization, WWW-Authenticate,
// Authentication-Info and the like.
func credentials(name []byte) bool {
	return containsFold(name, "auth")
}

// containsFold reports whether a text contains a word in lower case, in letters of either case.
func containsFold(text []byte, word string) bool {
	for i := 0; i+len(word) <= len(text); i++ {
		if text[i]|0x20 == word[0] && bytes.EqualFold(text[i:i+len(word)], []byte(word)) {
			return true
		}
	}
	return false
}

// open are the parameters of credentials that are no secrets, nor lead to one.
var open = map[string]bool{
	"username": true, "realm": true, "uri": true, "algorithm": true, "qop": true, "nc": true, "nonce": true, "opaque": true, "stale": true, "domain": true,
}

// values overwrites the value of a header with credentials: all but its scheme and the parameters of Digest that are open.
func (c *concealer) values(from, to int) {
	for from < to && bytes.IndexByte([]byte(" \t\r\n"), c.in[from]) >= 0 {
		from++
	}
	scheme := bytes.IndexAny(c.in[from:to], " \t\r\n")
	if scheme < 0 {
		c.hide(from, to)
		return
	}
	digest := bytes.EqualFold(c.in[from:from+scheme], []byte("Digest"))
	if bytes.IndexByte(c.in[from:from+scheme], '=') < 0 {
		from += scheme
	}
	for from < to {
		begin := from
		quoted := false
		for from < to && (quoted || c.in[from] != ',') {
			switch c.in[from] {
			case '\\':
				from++
			case '"':
				quoted = !quoted
			}
			from++
		}
		from = min(from, to)
		name, _, found := bytes.Cut(c.in[begin:from], []byte("="))
		name = bytes.ToLower(bytes.TrimSpace(name))
		switch {
		case digest && found && open[string(name)] && !quoted:
		case found && digest:
			at := begin + bytes.IndexByte(c.in[begin:from], '=') + 1
			c.hide(at, from)
		default:
			for begin < from && bytes.IndexByte([]byte(" \t\r\n"), c.in[begin]) >= 0 {
				begin++
			}
			c.hide(begin, from)
		}
		from++ // the comma
	}
}

// uris overwrites the passwords of SIP URIs: what is between the colon and the at of sip:user:password@host.
func (c *concealer) uris(from, to int) {
	for from < to {
		at := bytes.IndexByte(c.in[from:to], '@')
		if at < 0 {
			return
		}
		at += from
		begin := at
		for begin > from && bytes.IndexByte([]byte(" \t<>\"\r\n"), c.in[begin-1]) < 0 {
			begin--
		}
		user := c.in[begin:at]
		if i := lastScheme(user); i >= 0 {
			if colon := bytes.IndexByte(user[i:], ':'); colon >= 0 {
				c.hide(begin+i+colon+1, at)
			}
		}
		from = at + 1
	}
}

// lastScheme returns where the user of a URI begins behind sip: or sips:; -1 if there is no such scheme.
func lastScheme(text []byte) int {
	for i := len(text) - 1; i >= 3; i-- {
		if text[i] != ':' {
			continue
		}
		if before := bytes.ToLower(text[:i]); bytes.HasSuffix(before, []byte("sip")) || bytes.HasSuffix(before, []byte("sips")) {
			return i + 1
		}
	}
	return -1
}

// sdp handles a line of a body: keys of SRTP (RFC 4568), and of k= (RFC 4566).
func (c *concealer) sdp() {
	begin := c.at
	end, next := c.next(begin)
	c.at = next
	line := c.in[begin:end]
	switch {
	case bytes.HasPrefix(line, []byte("k=")):
		c.hide(begin+2, end)
	case bytes.HasPrefix(line, []byte("a=crypto:")):
		if key := bytes.Index(line, []byte("inline:")); key >= 0 {
			c.hide(begin+key+len("inline:"), end)
		}
	case bytes.HasPrefix(line, []byte("a=key-mgmt:")):
		c.hide(begin+len("a=key-mgmt:"), end)
	}
}
