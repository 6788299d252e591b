package uacsta

import (
	"bytes"
	"unicode/utf8"

	"github.com/beevik/etree"
)

const xmlDeclaration = `<?xml version="1.0" encoding="UTF-8"?>`

// write serializes a tree unchanged: with prefixes, attribute order, comments and CDATA sections.
func write(b *bytes.Buffer, e *etree.Element) {
	b.WriteByte('<')
	writeName(b, e.Space, e.Tag)
	for i := range e.Attr {
		a := &e.Attr[i]
		b.WriteByte(' ')
		writeName(b, a.Space, a.Key)
		b.WriteString(`="`)
		escape(b, a.Value, true)
		b.WriteByte('"')
	}
	if len(e.Child) == 0 {
		b.WriteString("/>")
		return
	}
	b.WriteByte('>')
	for _, c := range e.Child {
		writeToken(b, c)
	}
	b.WriteString("</")
	writeName(b, e.Space, e.Tag)
	b.WriteByte('>')
}

func writeToken(b *bytes.Buffer, t etree.Token) {
	switch t := t.(type) {
	case *etree.Element:
		write(b, t)
	case *etree.CharData:
		if t.IsCData() {
			b.WriteString("<![CDATA[")
			b.WriteString(t.Data)
			b.WriteString("]]>")
			return
		}
		escape(b, t.Data, false)
	case *etree.Comment:
		b.WriteString("<!--")
		b.WriteString(t.Data)
		b.WriteString("-->")
	case *etree.ProcInst:
		b.WriteString("<?")
		b.WriteString(t.Target)
		if t.Inst != "" {
			b.WriteByte(' ')
			b.WriteString(t.Inst)
		}
		b.WriteString("?>")
	}
}

func writeName(b *bytes.Buffer, space, local string) {
	if space != "" {
		b.WriteString(space)
		b.WriteByte(':')
	}
	b.WriteString(local)
}

// escape writes character data. It writes \r, and in attributes \t and \n, as references, since the
// next reader would otherwise change them. It replaces what is no character in XML, which a link may
// have got from its switching function, by U+FFFD.
func escape(b *bytes.Buffer, s string, attribute bool) {
	for {
		i := special(s, attribute)
		if i < 0 {
			b.WriteString(s)
			return
		}
		b.WriteString(s[:i])
		switch s[i] {
		case '&':
			b.WriteString("&amp;")
		case '<':
			b.WriteString("&lt;")
		case '>':
			b.WriteString("&gt;")
		case '"':
			b.WriteString("&quot;")
		case '\r':
			b.WriteString("&#13;")
		case '\t':
			b.WriteString("&#9;")
		case '\n':
			b.WriteString("&#10;")
		default:
			_, size := utf8.DecodeRuneInString(s[i:])
			b.WriteRune(utf8.RuneError)
			i += size - 1
		}
		s = s[i+1:]
	}
}

// special returns the index of the first character that must be escaped, or -1.
func special(s string, attribute bool) int {
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '&' || c == '<' || c == '>' || c == '\r':
			return i
		case c == '"' || c == '\t' || c == '\n':
			if attribute {
				return i
			}
		case c < ' ':
			return i
		case c >= utf8.RuneSelf:
			r, size := utf8.DecodeRuneInString(s[i:])
			if r == utf8.RuneError && size == 1 || !isChar(r) {
				return i
			}
			i += size - 1
		}
	}
	return -1
}
